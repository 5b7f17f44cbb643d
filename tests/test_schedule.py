"""Plans as written, schedules as given, and the grid of steps between."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from persist.errors import ScheduleError
from persist.treatment.schedule import Piece, Plan, course_at, dose_at, grid, parse_plan, plan_schedule, splice
from persist.types import Schedule

RAMP = "dose 0.05 7, dose 0.12 7, dose 0.25 7, dose 0.5 7, on"
INF = math.inf


def schedule(*rows: tuple[float, float, float]) -> Schedule:
    start, stop, dose = (
        (np.array(column, dtype=float) for column in zip(*rows, strict=True)) if rows else [np.empty(0)] * 3
    )
    return Schedule(start, stop, dose)


def rows(given_schedule: Schedule) -> list[tuple[float, float, float]]:
    return [tuple(float(value) for value in row) for row in zip(*given_schedule, strict=True)]


# ---------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "pieces", "repeat"),
    [
        ("on", [(1, INF)], False),
        ("off", [(0, INF)], False),
        ("dose 0.5", [(0.5, INF)], False),
        ("dose .5", [(0.5, INF)], False),
        ("dose 0", [(0, INF)], False),
        ("off 90, on", [(0, 90), (1, INF)], False),
        ("on 35, off 21, repeat", [(1, 35), (0, 21)], True),
        ("on 5, repeat", [(1, 5)], True),
        ("off 0.5,dose 1 2e1,off", [(0, 0.5), (1, 20), (0, INF)], False),
        (RAMP, [(0.05, 7), (0.12, 7), (0.25, 7), (0.5, 7), (1, INF)], False),
    ],
)
def test_a_plan_is_read(text: str, pieces: list[tuple[float, float]], repeat: bool) -> None:
    assert parse_plan(text) == Plan(text, text, tuple(Piece(*piece) for piece in pieces), repeat)


@pytest.mark.parametrize(
    ("text", "first", "second"),
    [
        ("until progression: on, then off", "on", "off"),
        ("UNTIL progression :dose .5 90, on,THEN off 30, on", "dose 0.5 90, on", "off 30, on"),
        ("until progression: on 35, off 21, repeat, then on", "on 35, off 21, repeat", "on"),
        ("until progression: adaptive 0.5/1, then adaptive 4/10 absolute", "adaptive 0.5/1", "adaptive 4/10 absolute"),
    ],
)
def test_a_plan_may_end_with_progression(text: str, first: str, second: str) -> None:
    plan, before, after = parse_plan(f"x={text}"), parse_plan(first), parse_plan(second)
    assert (plan.name, plan.text) == ("x", text)
    assert (plan.pieces, plan.repeat, plan.rule) == (before.pieces, before.repeat, before.rule)
    assert plan.then is not None
    assert (plan.then.pieces, plan.then.repeat, plan.then.rule) == (after.pieces, after.repeat, after.rule)
    assert rows(plan_schedule(plan, 0.0, 100.0)) == rows(plan_schedule(before, 0.0, 100.0))
    assert before.then is None


def test_case_and_spaces_do_not_matter() -> None:
    spaced = parse_plan("  ON 35 ,\n Off21,REPEAT ")
    plain = parse_plan("on 35, off 21, repeat")
    assert (spaced.pieces, spaced.repeat) == (plain.pieces, plain.repeat)


def test_a_plan_may_be_named() -> None:
    plan = parse_plan(" my holiday = off 90, on")
    assert (plan.name, plan.text) == ("my holiday", "off 90, on")
    assert parse_plan(" off 90, on ").name == "off 90, on"


@pytest.mark.parametrize(
    ("text", "column", "what", "remedy"),
    [
        ("onn", 1, 'unknown word "onn"', 'did you mean "on"?'),
        ("off 90, offf", 9, 'unknown word "offf"', 'did you mean "off"?'),
        ("on 5, repat", 7, 'unknown word "repat"', 'did you mean "repeat"?'),
        ("h=pause 9, on", 3, 'unknown word "pause"', "the words are on, off, dose, adaptive, repeat"),
        ("off 90", 1, "does not say what follows", "end with on, off or dose D without days, or with repeat"),
        ("off 90, on 30", 9, '"on 30"', "repeat"),
        ("on, off", 1, '"on" has no days', 'write "on 28"'),
        ("off 9, dose 0.5, off", 8, '"dose 0.5" has no days', 'write "dose 0.5 28"'),
        ("on 35, off, repeat", 8, '"off" has no days', "before repeat"),
        ("repeat", 1, "at the end only", "on, off"),
        ("on 5, repeat, on", 7, "at the end only", "on, off"),
        ("on 5, repeat 3", 14, '"3" after "repeat"', "bare word"),
        ("on 5 repeat", 6, 'unexpected "repeat"', "comma"),
        ("on off", 4, 'unexpected "off"', "comma"),
        ("on 5 6, off", 6, 'unexpected "6"', "comma"),
        ("on 5,, off", 6, "nothing where a piece", "on, off"),
        ("on 5, ", 6, "nothing where a piece", "on, off"),
        ("", 1, "nothing where a piece", "on, off"),
        ("h=", 3, "nothing where a piece", "on, off"),
        ("=on", 1, "no name", "NAME=PLAN"),
        ("off 9, h=on", 9, 'unexpected "="', "before the whole plan"),
        ("a=b=on", 4, 'unexpected "="', "on, off"),
        ("dose", 5, "a dose expected", "0 to 1"),
        ("dose on", 6, 'found "on"', "0 to 1"),
        ("dose 50", 6, "dose 50 is not within 0 and 1", "fraction"),
        ("dose -0.1", 6, "dose -0.1", "fraction"),
        ("dose 0,5", 7, "comma inside a number", "write 0.5"),
        ("dose 0.5%", 9, 'unexpected "%"', "on, off"),
        ("dose 0.5.1", 6, 'found "0.5.1"', "0 to 1"),
        ("off 0, on", 5, "0 days", "over 0"),
        ("off -3, on", 5, "-3 days", "over 0"),
        ("off 1e999, on", 5, "1e999 days", "over 0"),
        ("off 7d, on", 5, 'found "7d"', "plain number"),
        ("off 1_0, on", 5, 'found "1_0"', "plain number"),
        ("off inf, on", 5, 'unexpected "inf"', "comma"),
        ("off 9, Until progression: on", 8, 'before "until progression"', "until progression: off 90, on, then off"),
        ("until", 6, "found nothing", "until progression: PLAN, then PLAN"),
        ("until relapse: on, then off", 7, 'found "relapse"', "until progression: PLAN, then PLAN"),
        ("x=until progression on, then off", 20, "no colon", "until progression: PLAN, then PLAN"),
        ("until progression: on", 22, 'no ", then PLAN"', "until progression: PLAN, then PLAN"),
        ("until progression: on then off", 31, 'no ", then PLAN"', "until progression: on, then off"),
        ("until progression: then off", 20, "no plan between", "until progression: PLAN, then PLAN"),
        ("until progression: on, then", 28, "nothing where a piece", "on, off"),
        ("until progression: , then off", 20, "nothing where a piece", "on, off"),
        ("until progression: on, then off, then on", 34, 'a second "then"', "off 90, on"),
        ("until progression: on, then until progression: off, then on", 29, "within another", "write it once"),
        ("until progression: until progression: on, then off, then on", 20, "within another", "write it once"),
        ("until progression: on 90, then off", 20, "does not say what follows", "end with on, off"),
        ("until progression: on, then off 90", 29, "does not say what follows", "end with on, off"),
        ("until progression: A: on, then off", 21, '":" has no place here', "for two drugs write A: until progression"),
        ("on 9, then off", 7, '"then" without "until progression:"', "until progression: PLAN, then PLAN"),
    ],
)
def test_a_mistake_has_its_column_and_its_remedy(text: str, column: int, what: str, remedy: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_plan(text)
    assert caught.value.where == f'plan "{text}", column {column}'
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_the_message_is_one_line() -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_plan("on 5,\r\n\x00offf")
    assert "column 9" in caught.value.where
    assert str(caught.value).isprintable()


@settings(deadline=None)
@given(
    st.text(alphabet="onfdserpativ 0159.,=-;:/\n", max_size=30)
    | st.text(alphabet="onf 5,th:", max_size=20).map("until progression: on, then {}".format)
)
def test_any_text_is_a_plan_or_a_schedule_error(text: str) -> None:
    try:
        plan = parse_plan(text)
    except ScheduleError:
        return
    assert all(0.0 <= dose <= 1.0 and days > 0.0 for dose, days in plan.pieces)
    ends = [plan.repeat or plan.rule is not None] if plan.pieces else []
    assert [math.isfinite(days) for _, days in plan.pieces] == [True] * (len(plan.pieces) - 1) + ends
    assert plan.rule is None or 0.0 < plan.rule.stop < plan.rule.restart
    assert plan.then is None or (
        plan.then.then is None and plan.then.pieces + ((plan.then.rule,) if plan.then.rule else ())
    )


# ---------------------------------------------------------------- plan to schedule


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("on", [(10, 110, 1)]),
        ("off", []),
        ("off 90, on", [(100, 110, 1)]),
        ("off 100, on", []),
        ("on 35, off 21, repeat", [(10, 45, 1), (66, 101, 1)]),
        ("on 5, repeat", [(10, 110, 1)]),
        ("off 50, dose 0.5 20, dose 0.5 10, on 500, off", [(60, 90, 0.5), (90, 110, 1)]),
        ("off 1e308, on 1e308, repeat", []),
    ],
)
def test_a_plan_unrolls_to_its_horizon(text: str, expected: list[tuple[float, float, float]]) -> None:
    assert rows(plan_schedule(parse_plan(text), 10.0, 100.0)) == expected


def test_a_long_repetition_does_not_drift() -> None:
    turned = plan_schedule(parse_plan("on 0.1, off 0.2, repeat"), 0.0, 3000.0)
    assert len(turned.start) == 10_000
    np.testing.assert_allclose(turned.start, 0.3 * np.arange(10_000), atol=1e-9)


@pytest.mark.parametrize("days", ["1e-9", "1e-320"])
def test_pieces_too_short_for_the_horizon_are_refused(days: str) -> None:
    with pytest.raises(ScheduleError, match="more than 100000 pieces"):
        plan_schedule(parse_plan(f"on {days}, off {days}, repeat"), 0.0, 100.0)


@pytest.mark.parametrize(("start", "horizon"), [(0.0, 0.0), (0.0, INF), (math.nan, 10.0)])
def test_a_horizon_must_be_one(start: float, horizon: float) -> None:
    with pytest.raises(ValueError, match="horizon"):
        plan_schedule(parse_plan("on"), start, horizon)


def test_splice_keeps_the_past_and_takes_the_plan() -> None:
    history = schedule((0, 30, 1), (50, INF, 0.5), (INF, INF, 1))
    planned = plan_schedule(parse_plan("off 10, on"), 60.0, 100.0)
    assert rows(splice(history, planned, 60.0)) == [(0, 30, 1), (50, 60, 0.5), (70, 160, 1)]


def test_splice_joins_a_treatment_that_goes_on() -> None:
    going_on = plan_schedule(parse_plan("on"), 60.0, 100.0)
    assert rows(splice(schedule((50, INF, 1), (200, 300, 1)), going_on, 60.0)) == [(50, 160, 1)]
    assert rows(splice(schedule(), schedule(), 60.0)) == []


# ---------------------------------------------------------------- dose and grid


def test_dose_is_right_continuous() -> None:
    given_schedule = schedule((0, 10, 1), (10, 20, 0.5), (30, INF, 1))
    np.testing.assert_array_equal(
        dose_at(given_schedule, [[-1, 0, 9.9, 10], [19.9, 20, 30, 1e9]]), [[0, 1, 1, 0.5], [0.5, 0, 1, 1]]
    )
    assert dose_at(given_schedule, 5.0) == 1.0
    np.testing.assert_array_equal(dose_at(schedule(), np.zeros((2, 3))), np.zeros((2, 3)))


def test_grid_by_hand() -> None:
    steps, index = grid(schedule((4, INF, 1)), [10.0, 0.0, 7.0, 7.0], start=0.0, stop=10.0, max_step=2.5)
    np.testing.assert_allclose(steps.length, [2, 2, 1.5, 1.5, 1.5, 1.5])
    np.testing.assert_array_equal(steps.dose, [0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(index, [6, 0, 4, 4])


def test_breaks_nearer_than_a_billionth_of_a_day_are_one() -> None:
    near = schedule((5 + 1e-10, 8, 1), (8 + 5e-10, 12, 0.5), (12 + 1e-7, INF, 1))
    steps, index = grid(near, [5.0, 10.0, 10.0 + 5e-10, 20.0 - 1e-12], start=0.0, stop=20.0, max_step=INF)
    np.testing.assert_allclose(steps.length, [5, 3, 2, 2, 1e-7, 8 - 1e-7], rtol=1e-6)
    np.testing.assert_array_equal(steps.dose, [0, 1, 0.5, 0.5, 0, 1])
    np.testing.assert_array_equal(index, [1, 3, 3, 6])


def test_a_grid_of_no_days_has_no_steps() -> None:
    steps, index = grid(schedule((0, INF, 1)), [3.0], start=3.0, stop=3.0, max_step=1.0)
    assert np.shape(steps.length) == np.shape(steps.dose) == (0,)
    assert index.tolist() == [0]
    assert grid(schedule(), [], start=0.0, stop=1.0, max_step=1.0)[1].tolist() == []


@pytest.mark.parametrize("marks", [[-1.0], [11.0], [math.nan]])
def test_marks_outside_the_grid_are_refused(marks: list[float]) -> None:
    with pytest.raises(ValueError, match="marks outside"):
        grid(schedule(), marks, start=0.0, stop=10.0, max_step=1.0)


@pytest.mark.parametrize(("start", "stop", "max_step"), [(1.0, 0.0, 1.0), (0.0, INF, 1.0), (0.0, 1.0, 0.0)])
def test_bounds_that_are_none_are_refused(start: float, stop: float, max_step: float) -> None:
    with pytest.raises(ValueError, match="no grid"):
        grid(schedule(), [], start=start, stop=stop, max_step=max_step)


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Up to four segments, touching or apart, the last one at times without end."""
    edges = draw(st.lists(st.floats(-50, 150), min_size=8, max_size=8).map(sorted))
    doses = draw(st.lists(st.sampled_from([0.25, 0.5, 1.0]), min_size=4, max_size=4))
    if draw(st.booleans()):
        edges[2] = edges[1]
    if draw(st.booleans()):
        edges[-1] = INF
    found = [(a, b, d) for a, b, d in zip(edges[::2], edges[1::2], doses, strict=True) if b > a]
    return schedule(*found)


@settings(deadline=None)
@given(
    schedules(),
    st.lists(st.floats(0, 1), max_size=6),
    st.floats(-20, 20),
    st.floats(0, 120),
    st.sampled_from([0.3, 1.0, 7.0, INF]),
)
def test_grid_properties(given_schedule: Schedule, shares: list[float], start: float, span: float, most: float) -> None:
    stop = start + span
    marks = np.clip(start + span * np.array(shares), start, stop)
    steps, index = grid(given_schedule, marks, start=start, stop=stop, max_step=most)
    length, dose = np.asarray(steps.length), np.asarray(steps.dose)
    edge = start + np.concatenate([[0.0], np.cumsum(length)])
    assert np.all((length > 0.0) & (length <= most * (1 + 1e-8)))
    np.testing.assert_allclose(edge[-1], stop, atol=2e-9)
    np.testing.assert_allclose(edge[index], marks, atol=2e-9)
    np.testing.assert_array_equal(dose, dose_at(given_schedule, (edge[:-1] + edge[1:]) / 2))
    changes = np.concatenate([given_schedule.start, given_schedule.stop])
    inside = changes[(changes > start) & (changes < stop)]
    if len(length):
        assert np.all(np.min(np.abs(inside[:, None] - edge[None, :]), axis=1, initial=INF) <= 2e-9) or not len(inside)


@settings(deadline=None)
@given(schedules(), st.floats(-60, 160))
def test_dose_is_that_of_the_segment_that_holds_the_day(given_schedule: Schedule, day: float) -> None:
    expected = next((dose for start, stop, dose in rows(given_schedule) if start <= day < stop), 0.0)
    assert dose_at(given_schedule, day) == expected


def test_courses_are_numbered_and_a_pause_between_visits_is_known() -> None:
    plan = plan_schedule(parse_plan("on 35, off 21, repeat"), 0.0, 168.0)
    assert course_at(plan, [0.0, 28.0, 56.0, 84.0, 112.0]).tolist() == [1, 1, 2, 2, 3]
    assert course_at(plan, [35.0, 55.9, 91.0]).tolist() == [0, 0, 0]
    stepped = plan_schedule(parse_plan("dose 0.5 7, on"), 0.0, 50.0)
    assert course_at(stepped, [0.0, 7.0, 40.0]).tolist() == [1, 1, 1]  # another dose is no restart
    empty = Schedule(np.zeros(0), np.zeros(0), np.zeros(0))
    assert course_at(empty, [0.0, 9.0]).tolist() == [0, 0]
