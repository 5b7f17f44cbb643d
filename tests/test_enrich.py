"""Selecting patients by a biomarker: the table against closed forms, and what the command makes of a population."""

from __future__ import annotations

import json

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import fakes
import laws
from persist.cli.main import main
from persist.forecast import recruits as recruiting
from persist.forecast.enrich import Price, enriched
from persist.forecast.recruits import recruits
from persist.inference import leaning, pooled, store
from persist.inference.priors import score
from persist.types import Biomarkers, Table
from test_leaning_biomarkers import APART, CHAINS, FREE, MEAN, OFF, POOLED, SCALE, TOWARD, known
from test_leaning_biomarkers import INTERCEPT as APART_BEFORE

LAWS, PATIENTS = 40, 10_000
EFFECT, INTERCEPT = 1.2, -0.8


def toy(sign: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A standard normal biomarker, and a response by a probit of it."""
    rng = np.random.default_rng(1)
    x = rng.standard_normal((LAWS, PATIENTS))
    return x, INTERCEPT + sign * EFFECT * x + rng.standard_normal(x.shape) > 0.0


def both(cut: float) -> float:
    """P(x at or over the cut, and a response), by the normal law of x and the probit's own variable."""
    r = EFFECT / np.sqrt(1.0 + EFFECT**2)
    limit = INTERCEPT / np.sqrt(1.0 + EFFECT**2)
    return float(stats.multivariate_normal.cdf([-cut, limit], [0.0, 0.0], [[1.0, r], [r, 1.0]]))


def test_the_table_is_that_of_the_closed_form() -> None:
    price = Price(harm=0.4, cost=0.01)
    found = enriched(*toy(), price)
    every = float(stats.norm.cdf(INTERCEPT / np.sqrt(1.0 + EFFECT**2)))
    treat_all = every - 0.4 * (1.0 - every)
    assert found["direction"] == "high"
    assert found["rate"]["mean"] == pytest.approx(every, abs=0.003)
    assert found["treat_all"]["mean"] == pytest.approx(treat_all, abs=0.004)
    assert len(found["rows"]) == 9
    for row, share in zip(found["rows"], (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1), strict=True):
        cut = stats.norm.isf(share)
        hits = both(cut)
        benefit = hits - 0.4 * (share - hits) - 0.01
        assert row["cut"] == pytest.approx(cut, abs=0.01)
        assert row["selected"]["mean"] == pytest.approx(share, abs=1e-3)
        assert row["rate"]["mean"] == pytest.approx(hits / share, abs=0.008)
        assert row["rate"]["q05"] < hits / share < row["rate"]["q95"]
        assert row["rate_of_others"]["mean"] == pytest.approx((every - hits) / (1.0 - share), abs=0.005)
        assert row["treated_for_one"]["mean"] == pytest.approx(share / hits, rel=0.02)
        assert row["tested_for_one"]["mean"] == pytest.approx(1.0 / hits, rel=0.02)
        assert row["net_benefit"]["mean"] == row["over_treating_none"]["mean"] == pytest.approx(benefit, abs=0.004)
        assert row["over_treating_all"]["mean"] == pytest.approx(benefit - treat_all, abs=0.004)
        assert row["value"] == pytest.approx(benefit - max(treat_all, 0.0), abs=0.004)
    worth = [row["value"] for row in found["rows"]]
    assert 0 < int(np.argmax(worth)) < 8
    assert found["rows"][int(np.argmax(worth))]["probability_of_value"] == 1.0


def test_less_of_a_biomarker_may_be_better() -> None:
    up, down = enriched(*toy(), Price()), enriched(*toy(-1.0), Price())
    assert down["direction"] == "low"
    for one, other in zip(up["rows"], down["rows"], strict=True):
        assert other["cut"] == pytest.approx(-one["cut"], abs=0.02)
        assert other["rate"]["mean"] == pytest.approx(one["rate"]["mean"], abs=0.01)


def test_a_biomarker_of_two_values_has_one_cut() -> None:
    rng = np.random.default_rng(2)
    x = (rng.uniform(size=(20, 500)) < 0.3).astype(float)
    found = enriched(x, rng.uniform(size=x.shape) < np.where(x > 0, 0.6, 0.1), Price())
    assert [row["cut"] for row in found["rows"]] == [1.0]
    row = found["rows"][0]
    assert row["selected"]["mean"] == pytest.approx(0.3, abs=0.02)
    assert row["rate"]["mean"] == pytest.approx(0.6, abs=0.03)
    assert row["rate_of_others"]["mean"] == pytest.approx(0.1, abs=0.02)


def test_a_test_that_says_nothing_is_worth_nothing() -> None:
    rng = np.random.default_rng(3)
    x = rng.standard_normal((LAWS, PATIENTS))
    found = enriched(x, rng.uniform(size=x.shape) < 0.5, Price(cost=0.001))
    assert all(row["value"] < 0.0 for row in found["rows"])


def test_where_none_responds_there_is_no_number_to_treat() -> None:
    found = enriched(np.random.default_rng(4).standard_normal((5, 50)), np.zeros((5, 50), bool), Price())
    assert all(row["treated_for_one"]["mean"] is None for row in found["rows"])


@pytest.fixture(scope="module")
def population(tmp_path_factory):
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=CHAINS)
    made.attrs["pooled"] = store.as_attribute(True)
    pooled.lean(made, known(leaning.names_of(made)), Biomarkers(SCALE.names, ("A",), np.array([[14.0, 1.0]])))
    path = tmp_path_factory.mktemp("enrich") / "pop.nc"
    store.save(made, path)
    return path


def test_recruits_follow_the_population(population) -> None:
    """FLIP has its mean and spread; who has much of it falls less."""
    found = recruits(store.load(population, "fit"), SCALE.names[0], 60.0, 10, 100, 0)
    assert found.biomarker.shape == found.burden.shape == (10, 100)
    assert found.biomarker.mean() == pytest.approx(10.0, abs=0.3)
    assert found.biomarker.std() == pytest.approx(2.0, abs=0.2)
    assert ((found.burden > 0.0) & (found.burden <= 1.0)).all()
    assert stats.spearmanr(found.biomarker.ravel(), found.burden.ravel()).statistic > 0.2


@pytest.mark.law
def test_recruits_without_a_clone_are_off(population, monkeypatch) -> None:
    """By the shift, in scores that are pooled and in others; all else is of the law, or of the pack's prior. Of one law and of
    recruits who have TNF one standard deviation up, by which more of them are apart.
    """
    fit, many, made = store.load(population, "fit"), 40_000, {}
    names, pack = leaning.names_of(fit), leaning.pack_of(fit)
    fit[leaning.GROUP] = store.DataTree(known(names, noise=0.0, off=OFF))
    monkeypatch.setattr(recruiting, "_biomarkers", lambda *_: np.broadcast_to([0.0, 1.0], (1, many, 2)))
    monkeypatch.setattr(recruiting, "_least", lambda values, *_: made.update(values) or np.zeros(many))
    recruits(fit, "TNF", 60.0, 1, many, 0)
    apart = float(stats.norm.cdf(APART_BEFORE + TOWARD[1]))

    def check(off: dict[str, float]) -> None:
        """The mean of each score, and shares of it under cuts, of the mixture of its four kinds."""
        for name in names:
            z, by = np.asarray(score(pack.every[name], made[name])), off.get(name, 0.0)
            at = POOLED.index(name) if name in POOLED else None
            mean, sd, far = (0.0, 1.0, 0.0) if at is None else (MEAN[at], 0.5, APART[at])
            laws.check_mean(z, mean + apart * far + FREE * by, what=name)
            for cut in (-2.5, -0.5, 1.0):
                under = [stats.norm.cdf(cut, mean + c * far + e * by, sd) for e, c in np.ndindex(2, 2)]
                weight = np.outer((1.0 - FREE, FREE), (1.0 - apart, apart)).ravel()
                laws.check_share(z < cut, float(weight @ under), what=f"{name} under {cut}")

    check(OFF)
    for name in OFF:
        laws.must_fail(lambda name=name: check({other: by for other, by in OFF.items() if other != name}))


def run(population, tmp_path, *more: str):
    words = ["enrich", str(population), "-o", str(tmp_path / "e.json"), "--draws", "10", "--patients", "100", *more]
    return CliRunner().invoke(main, words)


def test_the_command_writes_and_tells_the_table(population, tmp_path) -> None:
    told = run(population, tmp_path, "--biomarker", SCALE.names[0], "--response", "-90%", "--days", "300", "--json")
    assert told.exit_code == 0, told.stderr
    content = json.loads(told.stdout)
    assert content == json.loads((tmp_path / "e.json").read_text())
    assert content["direction"] == "low"
    assert content["response"] == {"fall": 0.9, "days": 300.0}
    assert content["rows"][-1]["rate"]["mean"] > content["rate"]["mean"]
    told = run(population, tmp_path, "--biomarker", SCALE.names[0], "--force")
    assert "at or under the cut-off" in told.stdout


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--biomarker", "TNFa"), "did you mean 'TNF'"),
        (("--biomarker", "TNF", "--response", "all"), "'all' is no fall of a burden"),
        (("--biomarker", "TNF", "--response", "120%"), "write how far the burden must fall"),
    ],
)
def test_the_command_refuses_in_one_line(population, tmp_path, more: tuple[str, ...], part: str) -> None:
    told = run(population, tmp_path, *more)
    assert told.exit_code == 2
    assert part in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "e.json").exists()
