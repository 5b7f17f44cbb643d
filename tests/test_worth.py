"""What a further value is worth: against closed forms, without optimism, and as the model measures it."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import integrate, stats

import fakes
import laws
from persist.cli.main import main
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT
from persist.errors import UsageError
from persist.forecast.ahead import ahead, moved
from persist.forecast.candidates import coarse
from persist.forecast.further import of_day, whats_next
from persist.forecast.limits import Limits
from persist.forecast.optimise import subject, wanted
from persist.forecast.search import Terms, play
from persist.forecast.to_measure import COUNTED, burden, fraction
from persist.forecast.worth import Worth, worth
from persist.inference import store
from persist.inference.posterior import series
from persist.records.table import read
from persist.treatment.schedule import parse_plan
from persist.types import Cells

# ---------------------------------------------------------------- two states, two actions, a normal value

SHARE, WIN, LOSS, SIGMA = 0.4, 60.0, 50.0, 0.8
"""Share of draws in which the plan wins so many days; in the others it loses; the value is the state with so much noise."""


def closed_form(sigma: float = SIGMA) -> float:
    """EVSI: the plan is taken where y > y*, at which both weigh the same; without a value, whichever is better."""
    cut = 0.5 + sigma**2 * np.log((1.0 - SHARE) * LOSS / (SHARE * WIN))
    taken = SHARE * WIN * stats.norm.sf((cut - 1.0) / sigma) - (1.0 - SHARE) * LOSS * stats.norm.sf(cut / sigma)
    return float(taken - max(0.0, SHARE * WIN - (1.0 - SHARE) * LOSS))


def two_states(number: int, draws: int = 200, sigma: float = SIGMA, wrong: float = 1.0) -> Worth:
    """One posterior of two states, with the shares of its law in each half; densities as if of ``wrong`` times the noise."""
    rng = np.random.default_rng(number)
    half = np.arange(draws // 2) < SHARE * draws // 2
    state = np.concatenate([half, half]).astype(float)
    gains = np.stack([np.zeros(draws), np.where(state > 0, WIN, -LOSS)])
    data = state[:, None] + sigma * rng.standard_normal((draws, 2))

    def density(value: np.ndarray, some: np.ndarray) -> np.ndarray:
        return np.asarray(stats.norm.logpdf(value[:, None], state[some], wrong * sigma))

    return worth(gains, data, density)


@pytest.mark.law
def test_the_worth_of_a_normal_value_is_that_of_the_closed_form() -> None:
    found = [two_states(number) for number in range(600)]
    mean = [float(one.added.mean()) for one in found]
    assert closed_form() > 5.0
    laws.check_mean(mean, closed_form(), what="EVSI")
    laws.check_mean(
        [one.naive for one in found], closed_form(), what="naive EVSI", slack=0.05
    )  # nothing to be lucky with
    laws.must_fail(lambda: laws.check_mean(1.05 * np.array(mean), closed_form()))
    blunt = [float(two_states(number, wrong=4.0).added.mean()) for number in range(600)]
    laws.must_fail(lambda: laws.check_mean(blunt, closed_form()))


def test_perfect_knowledge_is_worth_what_the_closed_form_says_and_no_value_more() -> None:
    perfect = SHARE * WIN - max(0.0, SHARE * WIN - (1.0 - SHARE) * LOSS)
    assert two_states(0).perfect.mean() == pytest.approx(perfect)
    assert two_states(0, sigma=1e-3).added.mean() == pytest.approx(perfect)
    for sigma in (0.1, 0.5, 2.0, 10.0):
        one = two_states(1, sigma=sigma)
        assert np.all(one.added <= one.perfect + 1e-12)
    assert two_states(1, sigma=1e3).added.mean() == pytest.approx(0.0, abs=0.5)


@pytest.mark.law
def test_a_value_that_tells_nothing_of_the_gain_seems_to_tell_some_and_honestly_does_not() -> None:
    """It tells of something else about a draw, and few draws bear on it, so on the same draws luck passes for knowledge."""
    honest, naive = [], []
    for number in range(1500):
        rng = np.random.default_rng(number)
        gains, other = 30.0 * rng.standard_normal((5, 80)), rng.standard_normal(80)

        def density(value: np.ndarray, some: np.ndarray, other: np.ndarray = other) -> np.ndarray:
            return np.asarray(stats.norm.logpdf(value[:, None], other[some], 0.05))

        one = worth(gains, other[:, None] + 0.05 * rng.standard_normal((80, 1)), density)
        honest.append(float(one.added.mean()))
        naive.append(one.naive)
    laws.check_at_least(naive, 5.0, what="naive EVSI")
    laws.check_mean(honest, 0.0, what="honest EVSI")
    laws.must_fail(lambda: laws.check_mean(np.array(honest) + 0.1 * np.mean(naive), 0.0))


def test_draws_that_bear_on_a_value_are_counted() -> None:
    assert two_states(0, sigma=1e3).effective == pytest.approx(100.0, rel=0.01)
    assert two_states(0, sigma=1e-3).effective == pytest.approx(
        60.0, abs=21.0
    )  # those of one state: 40 or 60 of a half
    with pytest.raises(ValueError, match="3 draws"):
        worth(np.zeros((2, 3)), np.zeros((3, 1)), lambda *_: np.zeros((1, 1)))


# ---------------------------------------------------------------- what is measured


@pytest.fixture(scope="module")
def planted() -> Any:
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01",))
    return fakes.posterior(table, {"P01": fakes.truth("P01")}, draws=400)


def who(planted: Any, draws: int = 800) -> Any:
    return subject(planted, series(planted)[0], wanted(365.0, draws=draws, replicates=1).question)


@pytest.mark.law
@pytest.mark.parametrize("days", [3.0, 40.0])
def test_a_burden_to_come_is_that_which_the_engine_measures(planted: Any, days: float) -> None:
    """As `ahead` measures it, with wander and errors drawn by chance, on the same cells; soon, and later."""
    one = who(planted)
    day = np.array([one.at.day + days])
    seen = ahead(0, "P01", one.at, one.history, day)
    path = moved(0, "P01", one.at, one.history, day)
    law = burden(one.at, Cells(*(np.asarray(state)[:, 0] for state in path)), days)
    strayed = law.variance[0] - (NOISE_SCALE[0] * one.at.values["noise_sd"]) ** 2
    wander = (seen.level[:, 0] - law.mean) / np.sqrt(strayed)
    laws.check_mean(wander, 0.0, what="wander")
    laws.check_variance(wander, 1.0, what="wander")
    laws.must_fail(lambda: laws.check_variance(1.5 * wander, 1.0))
    weight = NOISE_WEIGHT / NOISE_WEIGHT.sum()
    own = (seen.measured[:, 0] - law.mean) / np.sqrt(weight @ law.variance)
    laws.check_mean(own, 0.0, what="mean")
    laws.check_share(np.abs(own) < 1.0, float(np.mean(_within(law, 1.0))), what="share within one sd")
    laws.must_fail(lambda: laws.check_share(np.abs(1.5 * own) < 1.0, float(np.mean(_within(law, 1.0)))))
    planned = law.drawn(np.random.default_rng(0), 5)
    laws.check_mean((planned - law.mean[:, None]).mean(axis=1), 0.0, what="drawn")


def _within(law: Any, sds: float) -> np.ndarray:
    """Probability within so many standard deviations, of each draw."""
    weight = NOISE_WEIGHT / NOISE_WEIGHT.sum()
    edge = sds * np.sqrt(weight @ law.variance)
    return np.asarray(weight @ (2.0 * stats.norm.cdf(edge / np.sqrt(law.variance)) - 1.0))


def test_densities_integrate_to_one(planted: Any) -> None:
    one = who(planted, 8)
    cells = one.at.cells
    law = burden(one.at, cells, 20.0)
    grid = law.mean[0] + np.linspace(-30.0, 30.0, 60_001)
    total = integrate.trapezoid(np.exp(law.density(grid, np.arange(3))), grid, axis=0)
    np.testing.assert_allclose(total, 1.0, atol=1e-3)
    for marker in ("resistant", "persister"):
        part = fraction(cells, marker)
        each = np.exp(part.density(np.arange(COUNTED + 1.0), np.arange(3)))
        np.testing.assert_allclose(each.sum(axis=0), 1.0, rtol=1e-6)
        drawn = part.drawn(np.random.default_rng(0), 4000)
        assert drawn.mean() / COUNTED == pytest.approx(part.share.mean(), rel=0.1)


# ---------------------------------------------------------------- of a patient


GROWTH = 0.008
"""Per day, on drug, of what is not S: alike in both states, so that the burden does not tell them apart."""


def alike(draws: int, start: float) -> Any:
    """A tumour that persists in every other draw, whose cells come back off drug, and resists in the others, which the drug
    slows.
    """
    resists = np.arange(draws) % 2 == 1
    rates = {"birth_s": 0.14, "death_s": 0.13, "kill_s": 0.06, "birth_p": GROWTH, "tolerance_drug": 1e-3}
    rates |= {"reversion": 0.05, "reversion_block": 1.0, "birth_r": 0.14, "death_r": 0.127, "kill_r": 0.013 - GROWTH}
    cells = Cells(1e7, np.where(resists, 0.0, 9e8), np.where(resists, 9e8, 0.0))
    return fakes.tumour(rates, cells, draws=draws, horizon=365.0, limit=3e9, start=start)


def test_fractions_decide_between_states_that_the_burden_does_not_tell_apart() -> None:
    who = alike(120, 14.0)
    terms = Terms(("holidays",), parse_plan("on"), replicates=1)
    reference, played = play(who, terms, coarse(("holidays",), 365.0))
    gains = np.stack([one.gains.mean(axis=1) for one in played])
    resists = np.arange(120) % 2 == 1
    assert gains[:, ~resists].mean(axis=1).max() > 30.0
    assert gains[:, resists].mean(axis=1).max() < -10.0
    one = of_day(who, terms, reference, played, 120.0)
    best = int(gains.mean(axis=1).argmax())
    saved = (
        -gains[best, resists].sum() / 120.0 if gains[best].mean() > 0.0 else gains[:, ~resists].mean(axis=1).max() / 2.0
    )
    for kind in ("resistant", "persister"):
        assert one[kind]["mean"] >= saved - 3.0 * one[kind]["mcse"]
        assert one[kind]["mean"] > 3.0 * one[kind]["mcse"]
        assert one[kind]["mean"] <= one["perfect_at_most"] + 1e-9
        assert not one[kind]["rough"]
    assert abs(one["burden"]["mean"]) < 0.3 * one["resistant"]["mean"]


def test_where_only_the_reference_is_left_nothing_is_worth_measuring() -> None:
    who = alike(8, 14.0)
    terms = Terms(("holidays",), parse_plan("on"), Limits(days_on=1.0), replicates=1)
    reference, played = play(who, terms, coarse(("holidays",), 365.0))
    assert of_day(who, terms, reference, played, 8.0)["burden"] is None


def test_a_day_must_lie_after_the_last_value(planted: Any) -> None:
    asked = wanted(365.0, families=("doses",), draws=8, replicates=1)
    with pytest.raises(UsageError, match="--next: 0 days after the last value"):
        whats_next(planted, series(planted)[0], asked, (0.0,), 80.0)


def test_the_command_tells_what_to_measure_next(planted: Any, tmp_path: Any) -> None:
    store.save(planted, tmp_path / "fit.nc")
    words = ["optimise", str(tmp_path / "fit.nc"), "-o", str(tmp_path / "o.json"), "--horizon", "365", "--draws", "8"]
    words += ["--replicates", "1", "--family", "doses", "--next", "28", "--next", "56"]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 0, told.stderr
    assert "what one more value is worth" in told.stdout
    rows = json.loads((tmp_path / "o.json").read_text())["patients"]["P01"]["next"]
    last = float(series(planted)[0].day[-1])
    assert [row["day"] - last for row in rows] == [28.0, 56.0]
    assert set(rows[0]["burden"]) == {"mean", "mcse", "naive", "effective_draws", "rough"}
