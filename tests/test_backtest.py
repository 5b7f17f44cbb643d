"""The back-test: landmarks, scores and baselines on numbers known by hand; no fit is made here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from scipy import stats

import laws
from persist.errors import UsageError
from persist.inference.clone_free import Frame
from persist.inference.pooling import Pooled
from persist.inference.population import Law
from persist.inference.settings import Settings
from persist.inference.weights import half_of
from persist.records.table import read
from persist.types import Schedule, Series, Table
from persist.validation import backtest, backtest_table, baselines
from persist.validation.backtest import FOLDS, Judged, Place, Plan, folds, populations
from persist.validation.cuts import Cut, cuts, fails, periods
from persist.validation.scoring import (
    Forecast,
    about,
    auc,
    bootstrap,
    brier,
    crps_of,
    log_density,
    score,
    score_of_both,
)

CYCLES = Schedule(np.array([0.0, 100.0, 300.0, 700.0]), np.array([100.0, 200.0, 500.0, 900.0]), np.ones(4))
"""On drug for 200 days (two rows that touch), off 100, on 200, off 200, on 200."""


def patient(name: str = "A", every: float = 25.0, last: float = 900.0, *, floor: float = 0.2) -> Series:
    """PSA that falls by half in 50 days on drug and doubles in 50 off it, not under a floor."""
    day = np.arange(0.0, last + 1e-6, every)
    level = np.zeros(len(day))
    for k in range(1, len(day)):
        on = (day[k - 1] < 200.0) | (300.0 <= day[k - 1] < 500.0) | (day[k - 1] >= 700.0)
        level[k] = level[k - 1] + (-1.0 if on else 1.0) * every * np.log(2.0) / 50.0
    burden = 16.0 * np.exp(level)
    return Series(
        name, "psa", "ng/mL", day, np.maximum(burden, floor), np.where(burden < floor, -1, 0), {"drug": CYCLES}
    )


def test_periods_that_touch_are_one() -> None:
    assert periods(CYCLES) == [(0.0, 200.0), (300.0, 500.0), (700.0, 900.0)]


def test_landmarks_are_the_later_periods_with_enough_before() -> None:
    found = cuts(patient())
    assert [one.day for one in found] == [300.0, 700.0]
    assert found[0].series.day[-1] == 300.0
    assert found[0].days[0] == 325.0
    assert found[0].days[-1] == 900.0
    assert found[0].scored.sum() == 14  # up to 365 days after
    assert [one.day for one in cuts(patient(every=50.0))] == [700.0]  # seven values up to day 300
    assert [one.day for one in cuts(patient(), "after:3")] == [50.0]
    assert cuts(patient(), "after:99") == []
    with pytest.raises(UsageError, match="landmark"):
        cuts(patient(), "after:x")


def test_values_are_raised_to_their_floor() -> None:
    """To that of the assay where the value is there, and to 0.1 anyway."""
    one = cuts(patient(floor=0.4))[0]
    low = one.value <= np.log(0.4) + 1e-9
    assert low.any()
    np.testing.assert_allclose(one.floor[low], np.log(0.4))
    np.testing.assert_allclose(one.floor[~low], np.log(0.1))


def test_the_period_is_judged_between_its_days() -> None:
    one = cuts(patient())[0]
    np.testing.assert_array_equal(one.days[one.period], [325, 350, 375, 400, 425, 450, 475, 500])
    assert not cuts(patient(every=100.0), "after:4")[0].period.sum() > 2


@pytest.mark.parametrize(
    ("burden", "failed"),
    [
        ([10.0, 5.0, 4.1], True),  # never under 4
        ([10.0, 1.0, 0.5, 2.4], False),  # a rise by less than 2
        ([10.0, 1.0, 0.5, 2.6], True),
        ([50.0, 3.0, 1.0], False),
        ([12.0, 3.9, 20.0, 1.0], True),  # the rise came before the nadir of all
    ],
)
def test_a_period_fails_by_its_nadir_or_by_a_rise(burden, failed) -> None:
    assert bool(fails(np.log(np.array(burden)))) is failed


def test_failing_periods_of_the_real_series_are_those_of_the_list(shared_data: Path) -> None:
    folder = shared_data / "iadt_bruchovsky"
    table = read(folder / "observations.csv", folder / "treatments.csv", observable="psa")
    found = [(series.patient_id, one) for series in table.series for one in cuts(series)]
    mine = {(name, one.day): bool(fails(one.value[one.period])) for name, one in found if one.period.any()}
    listed = {}
    for line in (folder / "failing_periods.csv").read_text().splitlines()[1:]:
        name, _, start, *_, failed = line.split(",")
        listed[name, float(start)] = failed == "True"
    assert mine == listed
    assert (len(found), sum(one.scored.sum() for _, one in found)) == (108, 801)


def test_crps_of_draws_is_that_of_the_law() -> None:
    """A normal law has it in closed form (Gneiting & Raftery 2007)."""
    x = stats.norm.ppf((np.arange(4000) + 0.5) / 4000)[:, None]
    for y in (-1.5, 0.0, 2.0):
        exact = y * (2.0 * stats.norm.cdf(y) - 1.0) + 2.0 * stats.norm.pdf(y) - 1.0 / np.sqrt(np.pi)
        np.testing.assert_allclose(crps_of(x, np.array([y])), exact, atol=2e-4)


def made(value: list[float], floor: list[float]) -> Cut:
    count = len(value)
    days = 10.0 + 10.0 * np.arange(count)
    return Cut(patient(), 0.0, CYCLES, days, np.array(value), np.array(floor), np.zeros(count, bool))


def test_a_value_at_its_floor_has_the_mass_below_it() -> None:
    cut = made([1.0, 0.0], [0.0, 0.0])
    one = about(np.array([0.5, 0.5]), np.array([2.0, 2.0]))
    found = log_density(one, cut.scored, cut.value, cut.floor)
    np.testing.assert_allclose(found, [stats.norm.logpdf(1.0, 0.5, 2.0), stats.norm.logcdf(0.0, 0.5, 2.0)], rtol=1e-9)


def test_robust_errors_have_the_density_of_their_mixture() -> None:
    """Against numbers drawn from the noise of the model."""
    from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT

    cut = made([0.4], [-9.0])
    one = Forecast(np.zeros((1, 1)), np.array([[0.0]]), np.array([[0.5]]))
    dense = np.sum(NOISE_WEIGHT * stats.norm.pdf(0.4, 0.0, 0.5 * NOISE_SCALE))
    np.testing.assert_allclose(log_density(one, cut.scored, cut.value, cut.floor), np.log(dense), rtol=1e-9)


@pytest.mark.law
def test_a_right_forecast_is_covered_as_it_says_and_its_pit_is_even() -> None:
    """Also where values are at their floor, if the PIT is spread over the mass there; a spread too small is seen."""
    rng = np.random.default_rng(1)
    value = np.maximum(rng.normal(0.0, 1.0, 4000), -0.5)
    cut = made(value.tolist(), [-0.5] * 4000)._replace(days=np.full(4000, 10.0))

    def check(sd: float) -> None:
        found = score(about(np.zeros(4000), np.full(4000, sd)), cut, np.random.default_rng(2))
        laws.check_share(found.pit < 0.2, 0.2, what="PIT")
        laws.check_share(found.pit < 0.9, 0.9, what="PIT")
        above = value > -0.5
        held = found.held[above]
        asked = (0.95 - stats.norm.cdf(-0.5)) / stats.norm.sf(-0.5)
        laws.check_share(held[:, 2], asked, what="coverage above the floor", slack=0.003)

    check(1.0)
    laws.must_fail(lambda: check(0.8))


def test_the_previous_cycle_is_aligned_at_start_and_stop() -> None:
    """This patient repeats exactly, so the replay is right where the earlier period was as long."""
    late = cuts(patient())[1]
    value = baselines.repeat(late)
    earlier = np.interp(late.days - 700.0 + 300.0, patient().day, np.log(np.maximum(patient().burden, 0.1)))
    np.testing.assert_allclose(value, earlier, atol=1e-9)
    first = cuts(patient())[0]
    off = (first.days > 525.0) & (first.days <= 600.0)
    same = np.interp(first.days[off] - 500.0 + 200.0, patient().day, np.log(np.maximum(patient().burden, 0.1)))
    np.testing.assert_allclose(baselines.repeat(first)[off], same, atol=1e-9)


def test_the_spread_of_a_rule_is_that_of_its_errors_elsewhere() -> None:
    """Of other folds only: the own errors do not count."""
    found = [made([1.0, 1.0], [-9.0, -9.0]), made([2.0, 2.0], [-9.0, -9.0])]
    off = [np.log(one.series.burden[-1]) - one.value for one in found]
    told = baselines.forecasts("last value", found, np.array([0, 1]))
    np.testing.assert_allclose(told[0].sd[0], np.abs(off[1][0]))
    np.testing.assert_allclose(told[1].sd[0], np.abs(off[0][0]))


def test_folds_have_about_as_many_patients_each() -> None:
    names = [f"{k}" for k in range(54)]
    sizes = np.bincount(list(folds(0, names).values()))
    assert (len(sizes), sizes.min(), sizes.max()) == (10, 5, 6)
    assert folds(0, names) == folds(0, names)
    assert folds(1, names) != folds(0, names)


def test_the_population_of_a_fold_has_lanes_of_both_halves_and_none_of_its_patients(monkeypatch) -> None:
    """One run for all folds; its laws have the number of their lane for a mean."""
    table, heard = Table(tuple(patient(f"{number}") for number in range(23)), (), ""), {}

    def pool(seed, everyone, pace, *, counted, folder, progress) -> Pooled:
        heard.update(pace=pace, counted=counted)
        mean = np.tile(np.arange(float(pace.lanes)), (2, 1))[..., None]
        shares = np.full(mean.shape[:2], 0.2), np.full(mean.shape[:2], 0.4)
        laws = Law(mean, np.ones((*mean.shape, 1)), np.zeros_like(mean), *shares)
        frame = Frame(np.array([True, False]), np.array([0.0, -3.0]))
        return Pooled(frame, np.ones(2), laws, np.zeros(0), np.zeros(0), (), 0.0)

    monkeypatch.setattr(backtest, "pool", pool)
    monkeypatch.setattr(backtest, "members", lambda *_: [None] * 23)
    found = populations(table, Plan(Settings()), None)
    of, half = folds(0, [one.patient_id for one in table.series]), half_of(heard["pace"].lanes)
    for number, population in enumerate(found):
        lanes = np.unique(population.mean[:, 0].astype(int))
        without = np.exp(population.log_weight) @ (population.mean[:, 1] == -3.0)
        assert without == pytest.approx(0.4)  # who has no clone is off in each of its laws
        assert np.bincount(half[lanes]).tolist() == [backtest.LANES // 2] * 2
        left_out = [of[one.patient_id] == number for one in table.series]
        np.testing.assert_array_equal(~heard["counted"][lanes], np.tile(left_out, (len(lanes), 1)))
    assert len(found) == FOLDS


def test_events_are_scored_against_their_base_rate() -> None:
    said, happened = np.array([0.9, 0.2, 0.1, 0.4]), np.array([1.0, 0.0, 0.0, 1.0])
    found = brier(said, happened, np.full(4, 0.5))
    np.testing.assert_allclose(found["brier"], (0.01 + 0.04 + 0.01 + 0.36) / 4.0)
    np.testing.assert_allclose(found["brier_skill"], 1.0 - found["brier"] / 0.25)
    assert found["auc"] == 1.0
    assert found["balanced_accuracy"] == 0.75
    assert auc(np.array([1.0, 1.0]), np.array([1.0])) == 0.5


@pytest.mark.law
def test_the_bootstrap_draws_patients() -> None:
    """Values of a patient that are all alike count once: its interval is as wide as that of the patients' means."""
    rng = np.random.default_rng(3)
    mean = rng.standard_normal(40)
    found = bootstrap(np.repeat(np.arange(40), 10), np.repeat(mean, 10), np.random.default_rng(4))
    half = 0.5 * (found["q95"] - found["q05"])
    np.testing.assert_allclose(half, 1.645 * mean.std() / np.sqrt(40), rtol=0.1)


def test_what_is_told_of_a_model_and_a_baseline() -> None:
    """Two patients, two values each: averages, paired differences and rows are those by hand."""
    where = [Place(name, k, made([1.0, 1.0], [-9.0, -9.0])) for k, name in enumerate("AB")]
    rng = np.random.default_rng(5)
    near, far = (about(np.full(2, at), np.full(2, 0.1)) for at in (1.1, 2.0))
    own, other = ([score(one, place.cut, rng) for place in where] for one in (near, far))
    told = backtest_table.as_json(
        [Judged(*pair, np.nan, 1.0, 0) for pair in zip(where, own, strict=True)], {"far": other}, 0
    )
    assert told["model"]["values"] == {"0-182": 4, "182-365": 0}
    assert told["model"]["crps"]["182-365"] is None
    gap = own[0].crps.mean() - other[0].crps.mean()
    np.testing.assert_allclose(told["difference"]["far"]["mean"], gap)
    np.testing.assert_allclose(told["difference"]["far"]["0-182"]["saved"], -gap / other[0].crps.mean())
    assert told["model"]["event"]["auc"] is None
    assert len(told["rows"]) == 4
    assert told["rows"][0]["patient_id"] == "A"
    assert told["rows"][0]["time_days"] == 10.0


def test_half_of_each_is_scored_as_the_mixture_that_it_is() -> None:
    """Of two normal laws: density by hand, CRPS by quadrature; the pool is never worse than the two on average."""
    place = made([1.0, 1.0], [-9.0, -9.0])
    near, far = about(np.full(2, 1.1), np.full(2, 0.1)), about(np.full(2, 2.0), np.full(2, 0.4), draws=300)
    rng = np.random.default_rng(5)
    both = score_of_both(near, far, place, rng)
    y = place.value[0]

    def law(x, of) -> np.ndarray:
        return 0.5 * sum(of(x, at, sd) for at, sd in ((1.1, 0.1), (2.0, 0.4)))

    np.testing.assert_allclose(both.log_score[0], -np.log(law(y, stats.norm.pdf)), rtol=1e-5)
    x = np.linspace(-3.0, 6.0, 20001)
    by_hand = np.trapezoid((law(x, stats.norm.cdf) - (x >= y)) ** 2, x)
    np.testing.assert_allclose(both.crps[0], by_hand, rtol=0.01)
    assert both.crps[0] < 0.5 * sum(score(one, place, rng).crps[0] for one in (near, far))


def test_the_pool_of_model_and_replay_is_told_where_both_are_there() -> None:
    where = [Place(name, k, made([1.0, 1.0], [-9.0, -9.0])) for k, name in enumerate("AB")]
    rng = np.random.default_rng(5)
    near, far = (about(np.full(2, at), np.full(2, 0.1)) for at in (1.1, 2.0))
    own, other = ([score(one, place.cut, rng) for place in where] for one in (near, far))
    both = [score_of_both(near, far, place.cut, rng) for place in where]
    pooled = [Judged(*pair, np.nan, 1.0, 0, more) for *pair, more in zip(where, own, both, strict=True)]
    told = backtest_table.as_json(pooled, {baselines.REPLAY: other}, 0)["with_repeat"]
    np.testing.assert_allclose(told["crps"]["0-182"], np.mean([one.crps for one in both]))
    gap = np.mean([one.crps for one in both]) - np.mean([one.crps for one in other])
    np.testing.assert_allclose(told["difference"]["mean"], gap)
    assert backtest_table.as_json(pooled, {"far": other}, 0)["with_repeat"] is None
    assert (
        backtest_table.as_json([*pooled[:1], pooled[1]._replace(both=None)], {"repeat": other}, 0)["with_repeat"]
        is None
    )
