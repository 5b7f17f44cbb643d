"""Endpoints by hand, at their edges, and against a slow reading of their definition."""

from __future__ import annotations

import functools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persist.errors import UsageError
from persist.forecast.endpoints import (
    RULES,
    Rule,
    nadir,
    recist_response,
    response,
    rule_for,
    time_to_progression,
)

INF = math.inf
PSA, RECIST, RELATIVE = RULES["psa"], RULES["recist"], RULES["relative"]
MONTHLY = [0.0, 28.0, 56.0, 84.0, 112.0]
ON = [True] * 5


@functools.cache
def compiled(rule: Rule):  # type: ignore[no-untyped-def]
    return jax.jit(functools.partial(time_to_progression, rule=rule))


def progressed(burden: list[float], on: list[bool], rule: Rule, day: list[float] = MONTHLY) -> float:
    return float(compiled(rule)(np.array(day), np.array(burden, float), np.array(on)))


def any_time(rule: Rule) -> Rule:
    return rule._replace(any_time=True)


# ---------------------------------------------------------------- progression by hand


def test_psa_progression_counts_from_its_first_value() -> None:
    assert progressed([20, 8, 4, 7, 9], ON, PSA) == 84.0


@pytest.mark.parametrize(
    ("burden", "expected"),
    [
        ([8, 4, 7, 4.1, 4], INF),  # not confirmed: the next value has fallen back
        ([20, 8, 4, 4, 9], INF),  # too late to be confirmed
        ([8, 4, 7, 4.1, 9], INF),  # the first rise fell back, the second is too late
        ([4, 7, 4.1, 9, 9], 84.0),  # only the second rise is confirmed
        ([1, 0.2, 1.0, 1.8, 2.1], INF),  # ten-fold, but less than 2 ng/mL
        ([1, 0.2, 1.0, 2.2, 2.3], 84.0),  # exactly 2 ng/mL over the nadir
        ([40, 40, 48, 49, 49.9], INF),  # more than 2 ng/mL, but less than 25 %
        ([40, 40, 50, 50, 50], 56.0),  # exactly 25 %
        ([5, 5, 5, 5, 5], INF),
        ([0, 0, 0, 0, 0], INF),
    ],
)
def test_psa_edges(burden: list[float], expected: float) -> None:
    assert progressed(burden, ON, PSA) == expected


def test_confirmation_skips_visits_within_three_weeks() -> None:
    day = [0.0, 10.0, 20.0, 31.0, 40.0]
    assert progressed([4, 7, 4, 7, 7], ON, PSA, day) == 10.0  # the visit of day 20 is not asked, that of day 31 is
    assert progressed([4, 7, 7, 4, 7], ON, PSA, day) == INF  # day 31 refuses day 10; day 20 finds none 21 days later
    assert progressed([4, 7, 7, 4, 7], ON, PSA, [*day[:4], 41.0]) == 20.0  # exactly 21 days later


def test_confirmation_must_be_on_drug() -> None:
    assert progressed([4, 7, 9, 9, 9], [True, True, False, False, False], PSA) == INF
    weekly = [0.0, 7.0, 14.0, 21.0, 28.0]
    assert progressed([4, 7, 9, 5, 8], [True, True, False, True, True], PSA, weekly) == INF  # a holiday in between
    assert progressed([4, 7, 9, 5, 8], ON, PSA, weekly) == 7.0


def test_a_rise_in_a_holiday_does_not_count() -> None:
    burden, holiday = [10, 30, 60, 60, 60], [True, False, False, True, True]
    assert progressed(burden, holiday, RELATIVE) == INF
    assert progressed(burden, holiday, PSA) == INF
    assert progressed(burden, holiday, any_time(RELATIVE)) == 28.0  # 60 confirms 30
    assert progressed(burden, holiday, any_time(PSA)) == 28.0
    assert progressed(burden, [False] * 5, RELATIVE) == INF


def test_a_restart_begins_a_new_nadir() -> None:
    on = [True, False, True, True, True]
    assert progressed([10, 30, 60, 75, 75], on, RELATIVE) == 84.0  # +25 % over 60, the value at the restart
    assert progressed([10, 30, 40, 50, 50], on, RELATIVE) == 84.0  # over 40
    assert progressed([10, 30, 60, 74, 74], on, RELATIVE) == INF
    assert progressed([10, 30, 60, 74, 74], ON, RELATIVE) == 28.0


def test_a_pause_between_visits_is_a_restart() -> None:
    burden, day = np.array([10.0, 10, 13, 13, 13]), np.array(MONTHLY)
    assert float(time_to_progression(day, burden, np.array([1, 1, 1, 1, 1]), RELATIVE)) == 56.0
    assert float(time_to_progression(day, burden, np.array([1, 1, 2, 2, 2]), RELATIVE)) == INF  # 13 is the new nadir
    assert float(time_to_progression(day, burden, np.array([1, 1, 1, 2, 2]), RELATIVE)) == INF  # nothing confirms it
    assert float(time_to_progression(day, burden, np.array([1, 1, 2, 2, 2]), any_time(RELATIVE))) == 56.0


def test_the_first_value_on_drug_counts_where_the_plan_begins_off() -> None:
    assert progressed([10, 30, 60, 74, 74], [False, False, True, True, True], RELATIVE) == INF
    assert progressed([10, 30, 60, 75, 75], [False, False, True, True, True], RELATIVE) == 84.0


def test_recist_needs_both_a_fifth_and_five_millimetres() -> None:
    assert progressed([50, 20, 24.9, 24.9, 24.9], ON, RECIST) == INF  # +24.5 %, under 5 mm
    assert progressed([50, 20, 25, 20, 20], ON, RECIST) == 56.0  # 5 mm, and no confirmation is asked
    assert progressed([100, 90, 96, 107.9, 107], ON, RECIST) == INF  # more than 5 mm, under 20 %
    assert progressed([100, 90, 96, 108, 107], ON, RECIST) == 84.0


def test_a_limit_reached_in_decimals_is_reached() -> None:
    assert 0.07 * 1.25 > 0.0875
    assert progressed([0.07, 0.07, 0.0875, 0.0875, 0.07], ON, RELATIVE) == 56.0


def test_one_high_value_alone_is_no_relative_progression() -> None:
    assert progressed([10, 10, 13, 10, 10], ON, RELATIVE) == INF
    assert progressed([10, 10, 13, 10, 13], ON, RELATIVE) == INF  # the last one has no visit to confirm it
    assert progressed([10, 10, 13, 13, 10], ON, RELATIVE) == 56.0
    assert progressed([1, 1, 2, 2, 1], ON, RELATIVE, [0.0, 0.1, 0.2, 0.3, 0.4]) == 0.2


def test_over_a_nadir_of_nothing_any_burden_has_risen() -> None:
    assert progressed([5, 0, 0, 1, 1], ON, RELATIVE) == 84.0
    assert progressed([0, 0, 0, 0, 0], ON, any_time(RELATIVE)) == INF


def test_one_visit_never_progresses() -> None:
    for rule in RULES.values():
        assert progressed([5.0], [True], rule, [0.0]) == INF


# ---------------------------------------------------------------- progression against its definition


def slow_progression(day: list[float], burden: list[float], on: list[bool], rule: Rule) -> float:
    """The definition, read visit by visit."""

    def judged(visit: int) -> bool:
        return rule.any_time or on[visit]

    def met(visit: int) -> bool:
        if not judged(visit):
            return False
        begin = visit
        while begin > 0 and judged(begin - 1):
            begin -= 1
        low, value = min(burden[begin : visit + 1]), burden[visit]
        return value > low and value >= max(low * (1 + rule.rise), low + rule.rise_absolute) - 1e-9

    for visit in range(len(day)):
        if not met(visit):
            continue
        if rule.confirm_days == 0:
            return day[visit]
        later = [other for other in range(len(day)) if day[other] >= day[visit] + rule.confirm_days]
        if later and met(later[0]) and all(judged(other) for other in range(visit, later[0] + 1)):
            return day[visit]
    return INF


SIZE, PATHS = 9, 8
PATH = st.lists(st.sampled_from([0.0, 1.0, 3.0, 4.0, 5.0, 10.0, 12.0, 12.5, 40.0]), min_size=SIZE, max_size=SIZE)
SWITCHES = st.lists(st.sampled_from([True, True, False]), min_size=SIZE, max_size=SIZE)


@settings(deadline=None)
@given(
    st.lists(st.sampled_from([7.0, 14.0, 21.0, 28.0]), min_size=SIZE, max_size=SIZE),
    st.lists(PATH, min_size=PATHS, max_size=PATHS),
    st.lists(SWITCHES, min_size=PATHS, max_size=PATHS),
    st.sampled_from(sorted(RULES)),
    st.booleans(),
)
def test_progression_is_its_definition(
    gaps: list[float], burden: list[list[float]], on: list[list[bool]], name: str, always: bool
) -> None:
    rule = RULES[name]._replace(any_time=always)
    day = (np.cumsum(gaps) - gaps[0]).tolist()
    found = compiled(rule)(np.array(day), np.array(burden), np.array(on))
    slow = [slow_progression(day, path, switch, rule) for path, switch in zip(burden, on, strict=True)]
    assert found.tolist() == slow


def test_shapes_batch() -> None:
    rng = np.random.default_rng(3)
    burden = rng.lognormal(1.0, 1.0, (3, 4, 5))
    on = rng.random((3, 4, 5)) < 0.8
    day = np.array(MONTHLY)
    for rule in RULES.values():
        whole = compiled(rule)(day, burden, on)
        assert whole.shape == (3, 4)
        spread = jnp.broadcast_to(day, (3, 4, 5))
        np.testing.assert_array_equal(whole, compiled(rule)(spread, burden, on))
        one = [[progressed(list(burden[i, j]), list(on[i, j]), rule) for j in range(4)] for i in range(3)]
        np.testing.assert_array_equal(whole, one)
        shared = compiled(rule)(day, burden, on[0, 0])
        same = compiled(rule)(day, burden, np.broadcast_to(on[0, 0], on.shape))
        np.testing.assert_array_equal(shared, same)
    assert response(day, burden).shape == recist_response(day, burden).shape == (3, 4)
    assert [part.shape for part in nadir(day, burden)] == [(3, 4), (3, 4)]


# ---------------------------------------------------------------- response and nadir


def test_psa50_by_hand() -> None:
    day = np.array(MONTHLY)
    assert response(day, np.array([20.0, 11, 10, 9, 30])) == 56.0
    assert response(day, np.array([20.0, 10, 11, 9, 8])) == 84.0  # day 28 is not confirmed
    assert response(day, np.array([20.0, 19, 18, 17, 5])) == INF  # too late to be confirmed
    assert response(day, np.array([20.0, 19, 18, 17, 5]), confirm_days=0.0) == 112.0
    assert response(day, np.zeros(5), confirm_days=0.0) == INF  # nothing cannot fall


def test_recist_response_by_hand() -> None:
    day = np.array(MONTHLY)
    assert recist_response(day, np.array([100.0, 71, 70, 90, 90])) == 56.0
    assert recist_response(day, np.array([100.0, 71, 70, 90, 90]), 28.0) == INF
    assert recist_response(day, np.array([100.0, 71, 70, 69, 90]), 28.0) == 56.0
    assert recist_response(day, np.array([0.9, 0.63, 1, 1, 1])) == 28.0


def test_nadir_is_the_first_of_its_ties() -> None:
    value, when = nadir(np.array(MONTHLY), np.array([[5.0, 2, 3, 2, 9], [1, 2, 3, 4, 5]]))
    assert (value.tolist(), when.tolist()) == ([2.0, 1.0], [28.0, 0.0])


# ---------------------------------------------------------------- names of rules


@pytest.mark.parametrize(
    ("observable", "text", "rule"),
    [
        ("psa", None, PSA),
        ("PSA", None, PSA),
        ("sld", None, RECIST),
        ("diameter", None, RECIST),
        ("volume", None, RELATIVE),
        ("m-protein", None, RELATIVE),
        ("psa", "psa", PSA),
        ("psa", "relative", RELATIVE),
        ("psa", " PSA : Any-Time ", any_time(PSA)),
        ("cells", "relative:any-time", any_time(RELATIVE)),
    ],
)
def test_rule_by_name(observable: str, text: str | None, rule: Rule) -> None:
    assert rule_for(observable, text) == rule


@pytest.mark.parametrize(
    ("observable", "text", "what", "remedy"),
    [
        ("psa", "pcwg", 'unknown rule "pcwg"', "psa, recist, relative"),
        ("psa", "", 'unknown rule ""', "psa, recist, relative"),
        ("psa", "psa:always", 'unknown addition "always"', "psa:any-time"),
        ("psa", "psa:", 'unknown addition ""', "psa:any-time"),
        ("volume", "psa", "PSA in ng/mL, and the observable is volume", "use relative"),
        ("psa", "recist", "sum of diameters in mm", "use psa or relative"),
    ],
)
def test_rule_errors(observable: str, text: str, what: str, remedy: str) -> None:
    with pytest.raises(UsageError) as caught:
        rule_for(observable, text)
    assert caught.value.where == f'--endpoint "{text}"'
    assert what in caught.value.what
    assert remedy in caught.value.remedy
