"""Candidates, limits, failure, and the choice among plans without the winner's curse."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
import laws
from persist.dynamics.stepsize import Step
from persist.errors import UsageError
from persist.forecast import decide
from persist.forecast.candidates import FAMILIES, chosen, coarse, finer
from persist.forecast.choose import Choice, choose, halves
from persist.forecast.endpoints import time_to_progression
from persist.forecast.failure import OVER, judged_by
from persist.forecast.landmark import Landmark
from persist.forecast.limits import Limits, broken, unseen
from persist.forecast.under import Futures
from persist.types import Cells, Rates

ALL = tuple(FAMILIES)


def open_to_all(count: int) -> np.ndarray:
    return np.ones((2, count), bool)


def found(gains: np.ndarray, pools: np.ndarray | None = None) -> Choice:
    choice = choose(gains, open_to_all(len(gains)) if pools is None else pools)
    assert choice is not None
    return choice


# ---------------------------------------------------------------- candidates


@pytest.mark.parametrize("horizon", [12.0, 90.0, 365.0, 3650.0])
def test_the_grid_of_a_horizon_has_plans_of_every_family_each_once(horizon: float) -> None:
    grid = coarse(ALL, horizon)
    assert {one.family for one in grid} == set(ALL)
    assert len({one.plan for one in grid}) == len(grid)
    assert "dose 0.5" in {one.plan.text for one in grid}
    assert all(piece.days < horizon for one in grid for piece in one.plan.pieces[:1] if one.family != "doses")


def test_days_are_whole_over_a_long_horizon_only() -> None:
    assert [one.plan.text for one in coarse(("holidays",), 365.0)][:2] == ["off 30, on", "off 61, on"]
    assert coarse(("holidays",), 10.0)[0].plan.text == "off 0.833, on"


def test_an_adaptive_plan_restarts_over_where_it_stops() -> None:
    rules = [one.plan.rule for one in coarse(("adaptive",), 365.0)]
    assert all(rule is not None and rule.stop < rule.restart for rule in rules)
    assert len(rules) == 6  # of nine pairs


@settings(deadline=None, max_examples=50)
@given(st.sampled_from(ALL), st.integers(0, 30), st.floats(5.0, 4000.0))
def test_finer_plans_are_of_the_family_about_the_best_and_not_the_best(family: str, place: int, horizon: float) -> None:
    grid = coarse((family,), horizon)
    best = grid[place % len(grid)]
    near = finer(best, horizon)
    assert best.plan not in [one.plan for one in near]
    for one in near:
        assert one.family == family
        ratio = np.array(one.numbers) / np.array(best.numbers)
        assert np.all((ratio > 0.6) & (ratio < 1.6)) or min(best.numbers) < 5.0  # whole days are coarse
        assert family != "doses" or one.numbers[0] < 1.0


def test_families_are_chosen_by_name() -> None:
    assert chosen(()) == ALL
    assert chosen(("doses", "cycles", "doses")) == ("cycles", "doses")
    with pytest.raises(UsageError, match='no family "cycle"; choose cycles, holidays'):
        chosen(("cycle",))


# ---------------------------------------------------------------- the choice


def test_each_half_is_valued_under_what_the_other_chose() -> None:
    first, second = [10.0, 10.0, 1.0, 3.0], [2.0, 4.0, 20.0, 20.0]
    choice = found(np.array([first, second])[..., None])
    assert choice.halves == (0, 1)
    np.testing.assert_array_equal(choice.honest[:, 0], [2.0, 4.0, 1.0, 3.0])
    assert choice.best == 1
    assert choice.naive == 11.5
    assert choice.regret == pytest.approx(0.5 * (20.0 - 2.0) + 0.5 * (10.0 - 3.0))


def test_the_reference_counts_for_the_regret_where_it_may_be_kept() -> None:
    gains = np.full((1, 4, 1), -5.0)
    told = [choose(gains, open_to_all(1), reference=may) for may in (True, False)]
    assert [one.regret for one in told if one] == [5.0, 0.0]


def test_a_plan_that_is_open_to_one_half_is_never_chosen_by_the_other() -> None:
    gains = np.stack([np.full((8, 2), 1.0), np.full((8, 2), 9.0)])
    pools = np.array([[True, True], [True, False]])
    choice = found(gains, pools)
    assert choice.halves == (1, 0)
    assert choice.best == 1
    assert choose(gains, np.array([[True, True], [False, False]])) is None


def test_halves_are_of_the_order_of_the_draws_and_need_two_each() -> None:
    np.testing.assert_array_equal(halves(5), [[1, 1, 0, 0, 0], [0, 0, 1, 1, 1]])
    with pytest.raises(ValueError, match="3 draws are too few"):
        halves(3)


@pytest.mark.law
def test_limits_that_hang_together_with_the_gain_leave_it_unbiased() -> None:
    """Plans worth nothing, each refused where a quantity that goes with its gain is high; looked at on all draws, also by the
    half that values, the honest gain is too high or too low.
    """

    def gains_of(by_half: bool) -> np.ndarray:
        honest = []
        for number in range(3000):
            gains = equal_plans(number)
            own = gains.mean(axis=2) + SPREAD * np.random.default_rng(10_000 + number).standard_normal(gains.shape[:2])
            looked = [own[:, side if by_half else np.ones(DRAWS, bool)].mean(axis=1) > -2.0 for side in halves(DRAWS)]
            choice = choose(gains, np.stack(looked))
            honest.append(0.0 if choice is None else float(choice.honest.mean()))
        return np.array(honest)

    laws.check_mean(gains_of(True), 0.0)
    laws.must_fail(lambda: laws.check_mean(gains_of(False), 0.0))


PLANS, DRAWS, SPREAD = 30, 60, 40.0


def equal_plans(number: int) -> np.ndarray:
    """Gains of plans that are all worth nothing, partly alike from plan to plan, ``(PLANS, DRAWS, 2)``."""
    rng = np.random.default_rng(number)
    shared = rng.standard_normal((1, DRAWS, 1))
    own = rng.standard_normal((PLANS, DRAWS, 1)) + 0.5 * rng.standard_normal((PLANS, DRAWS, 2))
    return np.asarray(SPREAD * (0.3 * shared + own))


@pytest.mark.law
def test_of_equal_plans_the_naive_gain_is_positive_and_the_honest_one_unbiased() -> None:
    naive, honest, cursed, standard = [], [], [], []
    for number in range(4000):
        gains = equal_plans(number)
        choice = found(gains)
        one = decide.judge(choice.honest)
        own = np.where(halves(DRAWS)[0][:, None], gains[choice.halves[0]], gains[choice.halves[1]])
        naive.append(choice.naive)
        honest.append(one.mean)
        cursed.append(own.mean())  # valued on the draws that chose
        standard.append(one.mean / one.mcse)
    laws.check_at_least(naive, 5.0, what="naive gain")
    laws.check_mean(honest, 0.0, what="honest gain")
    laws.must_fail(lambda: laws.check_mean(naive, 0.0))
    laws.must_fail(lambda: laws.check_mean(cursed, 0.0))
    laws.must_fail(lambda: laws.check_mean(np.array(honest) + 0.05 * np.mean(naive), 0.0))
    laws.check_variance(standard, 1.0, what="errors as told", slack=0.1)
    laws.must_fail(lambda: laws.check_variance(1.2 * np.array(standard), 1.0, slack=0.1))


@pytest.mark.law
def test_a_plan_that_is_better_is_found_and_its_gain_is_right() -> None:
    honest = []
    for number in range(1000):
        gains = equal_plans(number)
        gains[7] += 40.0
        choice = found(gains)
        honest.append(float(choice.honest.mean()) if choice.halves == (7, 7) else np.nan)
    chose = np.isfinite(honest)
    assert chose.mean() > 0.99
    laws.check_mean(np.array(honest)[chose], 40.0, what="honest gain", slack=0.1)
    laws.must_fail(lambda: laws.check_mean(1.05 * np.array(honest)[chose], 40.0, slack=0.1))


# ---------------------------------------------------------------- limits and failure


LATE = "its risk of a flare cannot be told: no future is followed for 21 days after its first stop"


def future(days_on: float, visits: int = 9, burden: float = 1.0) -> Futures:
    end = np.full((1, 5), burden)
    of = {"burden": end, "days_on_drug": days_on, "visits_on_drug": visits, "step": Step(1, 1.0, 0.0)}
    of["on"] = np.full((2, 1), days_on)
    return Futures(**{**dict.fromkeys(Futures._fields, np.zeros((2, 1))), **of})


def test_limits_are_kept_up_to_and_on_them() -> None:
    assert broken(Limits(), future(365.0), 365.0) == ""
    assert broken(Limits(on=0.5), future(182.5), 365.0) == ""
    assert broken(Limits(on=0.5), future(190.0), 365.0) == "on drug for 52% of the horizon"
    assert broken(Limits(days_on=100.0), future(100.0), 365.0) == ""
    assert broken(Limits(on=0.5, days_on=100.0), future(101.0), 365.0) == "on drug for 101 days"


def test_a_flare_counts_among_those_who_are_followed_after_a_stop() -> None:
    """Two of four paths stop early and one of them flares; one stops too late to be followed, one never."""
    one = future(9.0)._replace(
        stopped=np.array([[10.0, 20.0], [360.0, np.inf]]), flared=np.array([[15.0, np.inf], [np.inf, np.inf]])
    )
    assert broken(Limits(flare=0.5), one, 365.0) == ""
    assert broken(Limits(flare=0.4), one, 365.0) == "a flare within 21 days of the first stop in 50% of futures"
    assert broken(Limits(flare=0.0), one._replace(stopped=np.full((2, 2), np.inf)), 365.0) == ""
    assert "cannot be told" in broken(Limits(flare=1.0), one._replace(stopped=np.full((2, 2), 360.0)), 365.0)
    by_half = [broken(Limits(flare=0.4), one, 365.0, rows) for rows in halves(4)[:, ::2]]
    assert by_half == ["a flare within 21 days of the first stop in 50% of futures", LATE]


def test_what_is_not_judged_is_no_merit() -> None:
    assert unseen(future(9.0), future(9.0)) == ""
    assert "fewer than 3 visits" in unseen(future(9.0, visits=2), future(9.0))
    assert "2.0 times" in unseen(future(9.0, burden=2.0), future(9.0))


def landmark() -> Landmark:
    none = np.zeros(1)
    return Landmark(150.0, Rates(), Cells(none, none, none), none, none, none, none, {}, 1.0, False, 0.5, 0.5)


def test_failure_is_the_largest_burden_and_a_quarter_up_to_the_start() -> None:
    series = fakes.FIVE_VALUES._replace(burden=np.array([20.0, 8.0, 1.0, 0.5, 300.0]))  # the last one is after day 150
    at, rule = judged_by(series, landmark())
    assert (at.nadir, rule.any_time, rule.rise_absolute) == (0.0, True, OVER * 20.0)
    assert judged_by(series, landmark(), "Limit: 7.5")[1].rise_absolute == 7.5
    at, rule = judged_by(series, landmark(), "psa")
    assert (at.nadir, rule.name, rule.any_time) == (0.5, "psa", False)
    assert judged_by(series, landmark(), "psa:any-time")[1].any_time
    for wrong in ("limit:0", "limit:-3", "limit:x", "limit:inf"):
        with pytest.raises(UsageError, match="no limit of a burden"):
            judged_by(series, landmark(), wrong)


def test_a_limit_is_met_on_drug_or_off_whatever_the_nadir() -> None:
    """As the futures judge it: a nadir of 0 stands first."""
    _, rule = judged_by(fakes.FIVE_VALUES, landmark(), "limit:10")
    day, on = np.array([0.0, 7.0, 14.0, 21.0, 28.0]), np.array([1, 0, 0, 2, 2])
    burden = np.array([[0.0, 9.9, 10.0, 12.0, 1.0], [0.0, 10.0, 9.9, 0.1, 9.0], [0.0, 0.0, 0.1, 10.0, 11.0]])
    np.testing.assert_array_equal(time_to_progression(day, burden, on, rule), [14.0, np.inf, 21.0])
