"""Real patients from the table to the verdict, with the defaults: two that must pass every check, and one of many explanations.

Three fits: about four minutes on two cores.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persist.cli.main import main
from persist.inference import store

pytestmark = [pytest.mark.slow, pytest.mark.ci]


@pytest.fixture(scope="module")
def made(shared_data, tmp_path_factory) -> dict[str, Any]:
    """What fit and forecast say of three patients of the IADT archive."""
    folder, where = shared_data / "iadt_bruchovsky", tmp_path_factory.mktemp("real")
    burden, treatments = (str(folder / f"{name}.csv") for name in ("observations", "treatments"))
    patients = [word for name in ("019", "037", "105") for word in ("--patient", name)]
    fit, futures = str(where / "fit.nc"), str(where / "futures.nc")
    plans = ["--plan", "on", "--plan", "holiday=off 180, on", "--plan", "off"]

    def told(codes: tuple[int, ...], *words: str) -> Any:
        result = CliRunner().invoke(main, [*words, "--json"])
        assert result.exit_code in codes, result.stderr
        return json.loads(result.stdout)

    say = told((0, 3), "fit", burden, "--treatments", treatments, *patients, "--observable", "psa", "-o", fit)
    said = told((0,), "forecast", fit, *plans, "--horizon", "730", "-o", futures)
    told((0,), "report", fit, futures, "-o", str(where / "report.html"))
    stats = store.load(fit, "fit")["sample_stats"]["resistant_share"]
    resistant = {"105": stats.sel(patient="105").values}
    page = (where / "report.html").read_text()
    return {"fit": say["patients"], "forecast": said["patients"], "page": page, "resistant": resistant}


@pytest.mark.parametrize("patient", ["019", "037"])
def test_chains_agree_and_nothing_diverges(made, patient) -> None:
    one = made["fit"][patient]
    assert one["ok"], one["problems"]
    assert one["max_rhat"] < 1.01
    assert one["min_ess_bulk"] > 400
    assert one["divergences"] == 0


def test_chains_agree_on_the_one_with_two_explanations(made) -> None:
    """Chains that were led there apart weigh resistant and sensitive regrowth alike, and what is wrong is told everywhere."""
    one = made["fit"]["105"]
    assert one["max_rhat"] < 1.03
    shares = [np.mean(chain > 0.2) for chain in made["resistant"]["105"]]
    assert max(shares) - min(shares) < 0.15, shares
    assert ("The fit of 105 is marked" in made["page"]) == (not one["ok"])


def test_a_plan_that_is_never_judged_gets_no_verdict(made) -> None:
    for one in made["forecast"].values():
        assert one["benefit"]["off"]["verdict"] == "cannot tell"
        assert not one["benefit"]["off"]["judged"]
        assert one["benefit"]["holiday"]["judged"]
        assert 0.0 < one["plans"]["on"]["progressed_by_horizon"] <= 1.0
