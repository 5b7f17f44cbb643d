"""The population of a pooled fit is judged as a patient is, and told in words."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner

import fakes
from persist.cli.main import main
from persist.inference import leaning, pooled, store
from persist.inference.clone_free import Frame
from persist.inference.population import one_kind
from persist.types import Table
from persist.validation import populations

MEAN, COVARIANCE = np.array([0.8, -0.6]), np.array([[0.5, 0.2], [0.2, 0.8]])
ROUNDS, LANES, CHAINS = 40, 32, 4


def leaning_on(
    mean: np.ndarray,
    covariance: np.ndarray,
    clone_free: np.ndarray | None = None,
    *,
    own: bool = True,
    effective: list[float] | None = None,
):
    """A fit whose population, its ``own`` or another's, has these draws ``(rounds, lanes, ...)`` of two scores and of the share
    without a clone, and patients of whom so many draws are ``effective``; the first of them is apart, the second has no clone.
    """
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=CHAINS)
    made.attrs["pooled"] = store.as_attribute(own)
    names = leaning.names_of(made)
    taken = np.isin(names, ("net_growth_s", "decline_s"))
    chances = {"A": (0.9, 0.1), "B": (0.1, 0.8), "C": (0.1, 0.1)}
    members = {name: np.tile(np.array([row]).T, LANES) for name, row in chances.items()} if effective else {}
    many = None if effective is None else np.array(effective)
    law = one_kind(mean, covariance)._replace(clone_free=shares() if clone_free is None else clone_free)
    frame = Frame(taken, np.where(np.isin(names, ("mutation", "decline_s")), -1.5, 0.0))
    group = leaning.group(names, frame, np.where(taken, 0.7, 0.1), law, CHAINS, members, effective=many)
    pooled.lean(made, group)
    return made


def draws(drift: float = 0.0, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Good draws; with a ``drift`` of the mean that all lanes share, and lanes of the last chain ``apart``."""
    rng = np.random.default_rng(0)
    mean = MEAN + 0.3 * rng.standard_normal((ROUNDS, LANES, 2))
    mean[..., 0] += np.linspace(0.0, drift, ROUNDS)[:, None]
    mean[:, -LANES // CHAINS :, 1] += apart
    return mean, COVARIANCE * np.exp(0.2 * rng.standard_normal((ROUNDS, LANES, 1, 1)))


def shares(drift: float = 0.0, apart: float = 0.0) -> np.ndarray:
    """Good draws of the share without a clone, about 0.4; planted as of `draws`."""
    share = 0.4 + 0.05 * np.random.default_rng(1).standard_normal((ROUNDS, LANES))
    share += np.linspace(0.0, drift, ROUNDS)[:, None]
    share[:, -LANES // CHAINS :] += apart
    return share


def test_good_draws_pass_and_are_told() -> None:
    found = populations.examine(leaning_on(*draws(), effective=[90.0, 90.0, 90.0]))
    assert found is not None
    assert found["ok"], found["problems"]
    assert found["min_ess_bulk"] > 800
    for name, mean, variance in zip(("net_growth_s", "decline_s"), MEAN, np.diag(COVARIANCE), strict=True):
        one = found["scores"][name]
        assert one["mean"]["q50"] == pytest.approx(mean, abs=0.05)
        assert one["spread"]["q05"] < np.sqrt(variance) < one["spread"]["q95"]
    for part, right in zip(("q05", "q50", "q95"), np.quantile(shares(), (0.05, 0.5, 0.95)), strict=True):
        assert found["share_clone_free"][part] == pytest.approx(right)
    assert found["is_apart"] == pytest.approx({"A": 0.9, "B": 0.1, "C": 0.1})
    assert found["is_clone_free"] == pytest.approx({"A": 0.1, "B": 0.8, "C": 0.1})


def test_of_a_patient_who_came_after_the_cohort_it_is_told_too(monkeypatch: pytest.MonkeyPatch) -> None:
    """By its own draws; those of the cohort keep what was told of them."""
    monkeypatch.setattr(leaning, "belonging", lambda fit, patient: {"A": (0.7, 0.2)}[patient])
    fit = leaning_on(*draws(), effective=[90.0, 90.0, 90.0])
    group = fit[leaning.GROUP].to_dataset()
    fit[leaning.GROUP] = store.DataTree(group.assign_coords(member=["X", "Y", "Z"]))
    found = populations.examine(fit)
    assert found is not None
    assert found["is_apart"] == pytest.approx({"X": 0.9, "Y": 0.1, "Z": 0.1, "A": 0.7})
    assert found["is_clone_free"] == pytest.approx({"X": 0.1, "Y": 0.8, "Z": 0.1, "A": 0.2})


def test_of_a_cohort_that_has_no_clones_no_share_is_told() -> None:
    """A model without resistant cells: the share keeps its prior, and is neither told nor judged."""
    fit = leaning_on(*draws(), clone_free=shares(drift=0.5))
    group = fit[leaning.GROUP].to_dataset()
    fit[leaning.GROUP] = store.DataTree(group.assign(shift=0.0 * group["shift"]))
    found = populations.examine(fit)
    assert found is not None
    assert found["ok"], found["problems"]
    assert found["share_clone_free"] is None
    assert found["is_clone_free"] == {}


@pytest.mark.parametrize(
    ("planted", "what"), [({"drift": 1.0}, "mean of net_growth_s"), ({"apart": 0.5}, "mean of decline_s")]
)
def test_means_that_have_not_settled_are_found(planted, what) -> None:
    found = populations.examine(leaning_on(*draws(**planted)))
    assert found is not None
    assert [problem for problem in found["problems"] if f"the population: chains disagree: R-hat of {what}" in problem]


@pytest.mark.parametrize("planted", [{"drift": 0.15}, {"apart": 0.1}])
def test_a_share_without_a_clone_that_has_not_settled_is_found(planted) -> None:
    """And nothing else is: of means and spreads all is well."""
    found = populations.examine(leaning_on(*draws(), shares(**planted)))
    assert found is not None
    assert found["problems"][0].startswith("the population: chains disagree: R-hat of share without a clone is ")
    assert all(" of share without a clone is " in problem for problem in found["problems"])


def test_spreads_that_have_not_settled_are_found() -> None:
    mean, covariance = draws()
    covariance = covariance * np.linspace(1.0, 3.0, ROUNDS)[:, None, None, None]
    found = populations.examine(leaning_on(mean, covariance))
    assert found is not None
    assert any("R-hat of spread of" in problem for problem in found["problems"])
    assert found["correlations"]["max_rhat"] is None or not found["correlations"]["max_rhat"] > 1.01


def test_correlations_are_those_of_the_covariance() -> None:
    """Their R-hat is told; here they drift while means and spreads do not."""
    mean, covariance = draws()
    covariance[..., 0, 1] = covariance[..., 1, 0] = np.linspace(-0.3, 0.3, ROUNDS)[:, None]
    made = leaning_on(mean, covariance)
    columns = populations._correlations(made[leaning.GROUP].to_dataset())
    kept = made[leaning.GROUP].to_dataset()["covariance"].values
    want = [
        np.corrcoef(np.linalg.cholesky(one) @ np.array([[1.0, -1.0, 1.0, -1.0], [1.0, 1.0, -1.0, -1.0]]))[0, 1]
        for one in kept[0]
    ]
    np.testing.assert_allclose(columns["net_growth_s and decline_s"][1][0], want, atol=1e-9)
    found = populations.examine(made)
    assert found is not None
    assert found["ok"], found["problems"]
    assert found["correlations"]["max_rhat"] > 1.1


def test_the_remedy_is_that_of_the_cohort_where_it_was_another() -> None:
    own, others = (populations.examine(leaning_on(*draws(drift=1.0), own=own)) for own in (True, False))
    assert own is not None
    assert others is not None
    assert "fit the cohort that it was learned from longer" in others["problems"][0]
    assert "fit the cohort" not in own["problems"][0]


def test_few_draws_are_found() -> None:
    """Lanes that keep their place for ten rounds."""
    mean, covariance = draws()
    slow = np.repeat(mean[::10], 10, axis=0)
    found = populations.examine(leaning_on(slow, covariance))
    assert found is not None
    assert any("few effective draws" in problem for problem in found["problems"])


def test_patients_of_whom_few_draws_count_are_named() -> None:
    """The remedy is more draws, of the cohort that the population was learned from."""
    good = populations.examine(leaning_on(*draws(), effective=[300.0, 20.0, 90.0]))
    assert good is not None
    assert good["ok"], good["problems"]
    assert good["effective"] == {"least": 20.0, "median": 90.0}
    for few, words in (
        ([300.0, 7.6, 90.0], ""),
        ([3.0, 2.5, 90.0], ", nor of another"),
        ([3.0, 2.5, 9.9], ", nor of 2 others"),
    ):
        found = populations.examine(leaning_on(*draws(), effective=few))
        assert found is not None
        said = f"the population: not 10 draws of patient B count for a law ({min(few):.1f}){words}; use --draws"
        assert found["problems"] == [said]
    others = populations.examine(leaning_on(*draws(), own=False, effective=[300.0, 7.6, 90.0]))
    assert others is not None
    assert others["problems"][0].endswith(populations.LONGER)
    unknown = populations.examine(leaning_on(*draws()))
    assert unknown is not None
    assert unknown["effective"] is None


def test_a_plain_fit_has_none() -> None:
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")})
    assert populations.examine(made) is None


def test_it_marks_the_patients_that_lean_on_it_and_is_told_once(tmp_path) -> None:
    store.save(leaning_on(*draws(drift=1.0)), tmp_path / "fit.nc")
    told = CliRunner().invoke(main, ["diagnose", str(tmp_path / "fit.nc")])
    assert told.exit_code == 3
    assert told.stdout.count("the population: chains disagree") == 1
    told = CliRunner().invoke(main, ["diagnose", str(tmp_path / "fit.nc"), "--json"])
    patient = json.loads(told.stdout)["patients"]["A"]
    assert not patient["ok"]
    assert patient["problems"][-1].startswith("the population: ")
