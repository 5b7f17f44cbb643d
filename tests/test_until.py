"""Plans until progression: when it is seen, and what follows then, path by path."""

from __future__ import annotations

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.errors import ScheduleError, UsageError
from persist.forecast.agenda import agendas
from persist.forecast.endpoints import RULES, Rule, judge, judged, room, time_to_progression
from persist.forecast.landmark import Look, Patient
from persist.forecast.order import order
from persist.forecast.outcome import ask, forecast
from persist.forecast.visits import Chance, Scale
from persist.forecast.watch import Visit, Watch, following, look, watch
from persist.inference import store
from persist.records.table import read
from persist.treatment.grammar import parse_plan
from persist.treatment.schedule import dose_at, plan_schedule
from persist.types import Cells

INF = math.inf
PSA = RULES["psa"]

# ------------------------------------------------------------------ the judge, visit by visit


@pytest.mark.parametrize("name", sorted(RULES))
@pytest.mark.parametrize("gap", [5.0, 7.0, 21.0, 28.0])
def test_a_judge_with_room_for_what_waits_sees_what_the_whole_path_shows(name: str, gap: float) -> None:
    """Progression as of all visits at once, and seen at the visit that confirms it; a rise forgotten too early is another."""
    rng, rule, day = np.random.default_rng(5), RULES[name], gap * np.arange(1.0, 15.0)
    burden = rng.choice([3.0, 4.0, 5.0, 6.5, 9.0, 12.0], (400, 14))
    course = np.cumsum(rng.random((400, 14)) < 0.1, axis=1) + 1
    course = np.where(rng.random((400, 14)) < 0.1, 0, course)
    memory = judge(rule, (400,), room(day, rule.confirm_days))
    for visit in range(14):
        memory = judged(memory, day[visit], burden[:, visit], course[:, visit])
    whole = np.asarray(time_to_progression(day, burden, course, rule))
    np.testing.assert_array_equal(memory.rose, whole)
    confirmed = np.append(day, INF)[np.searchsorted(day, whole + rule.confirm_days - 1e-9)]
    np.testing.assert_array_equal(memory.seen, np.where(np.isfinite(whole), confirmed, INF))
    assert np.isfinite(whole).sum() > 20


def test_room_is_that_of_visits_within_the_wait() -> None:
    assert room(np.arange(0.0, 100.0, 7.0), PSA.confirm_days) == 4
    assert room(np.arange(0.0, 100.0, 4.0), PSA.confirm_days) == 16  # six may wait
    assert room(np.arange(0.0, 9.0, 0.1), RULES["relative"].confirm_days) == 4


def test_a_nadir_from_before_counts_while_its_course_goes_on() -> None:
    for course, expected in ((3, 28.0), (4, INF)):
        memory = judge(PSA, (1,), 4, (1.0, 3))
        for day in (28.0, 56.0):
            memory = judged(memory, day, np.array([5.0]), np.array([course]))
        assert float(memory.rose[0]) == expected


# ------------------------------------------------------------------ the watch against a slow reading of its words


VISITS = 28.0 * np.arange(1.0, 13.0)
STEP = 7.0


whole_path = jax.jit(time_to_progression, static_argnames="rule")


def slow(first: str, second: str, burden: np.ndarray, rule: Rule) -> tuple[float, list[float]]:
    """One path that is measured as ``burden``, whatever is given: the day on which progression is seen, and doses by week."""
    before, after = parse_plan(first), parse_plan(second)
    seen, doses = INF, []
    days, courses, levels = np.full(12, INF), np.zeros(12, int), np.zeros(12)
    on = {True: 1.0, False: 1.0}
    reference: dict[bool, float] = {}
    start, horizon = 0.0, float(VISITS[-1])

    def dose_of(which: bool, day: float) -> float:
        plan = after if which else before
        if day - start >= plan.ruled_from - 1e-9:
            return on[which]
        return float(dose_at(plan_schedule(plan, start, horizon + 1.0), day))

    def decide(which: bool, value: float) -> None:
        rule_of = (after if which else before).rule
        if rule_of is None:
            return
        scale = reference.setdefault(which, 1.0 if rule_of.absolute else value)
        on[which] = 0.0 if value < rule_of.stop * scale else 1.0 if value >= rule_of.restart * scale else on[which]

    decide(False, burden[0])
    number, last = 0, 0.0
    for week in range(int(horizon / STEP) + 1):
        day, which = STEP * week, seen < INF
        visit = int(day / 28.0) if day > 0 and day % 28.0 == 0 else None
        if visit is not None and day - start >= (after if which else before).ruled_from - 1e-9:
            decide(which, burden[visit])
        dose = dose_of(which, day)
        if dose > 0 and last <= 0:
            number += 1
        if visit is not None:
            days[visit - 1], courses[visit - 1], levels[visit - 1] = day, number if dose > 0 else 0, burden[visit]
            if not which and float(whole_path(days, levels, courses, rule)) < INF:
                seen = start = day
                decide(True, burden[visit])
                dose = dose_of(True, day)
                number -= int(dose <= 0 and last <= 0 and courses[visit - 1] > 0)
        last = dose
        doses.append(dose)
    return seen, doses


def watched(first: str, second: str, burden: np.ndarray, rule: Rule) -> tuple[np.ndarray, np.ndarray]:
    """The same of many paths by the program's own watch, stepped as the engine does it."""
    number, plan = len(burden), parse_plan(f"until progression: {first}, then {second}")
    assert plan.then is not None
    horizon = float(VISITS[-1])
    still = Chance(*(np.zeros(number) for _ in range(3)))
    memory = watch(
        Scale(np.zeros(number), 1.0, False),
        (judge(rule, (number,), room(VISITS, rule.confirm_days)),),
        plan.rule,
        None,
        second=following(plan.then, plan_schedule(plan.then, 0.0, horizon), number),
    )
    schedule = plan_schedule(plan, 0.0, horizon + 1.0)
    none = jnp.zeros(number)

    @jax.jit
    def step(memory: Watch, level: jax.Array, row: Visit, visit: bool, course: jax.Array) -> tuple[Watch, jax.Array]:
        after = look(memory, Cells(level, none, none), row)
        memory = jax.tree.map(lambda new, old: jnp.where(visit, new, old), after, memory)
        dose = jnp.broadcast_to(memory.given(row.dose, row.ruled, row.day), (number,))
        course = course + ((dose > 0) & (memory.dose <= 0))
        return memory.along(Cells(level, none, none), row.day, dose, course), course

    doses, course = [], jnp.zeros(number, int)
    for week in range(int(horizon / STEP) + 1):
        day = STEP * week
        visit, start = day > 0 and day % 28.0 == 0, day == 0
        level = jnp.asarray(burden[:, int(day / 28.0)])
        decides = start or (visit and day >= plan.ruled_from - 1e-9)
        row = Visit(
            still, np.zeros(number, bool), day, float(dose_at(schedule, day)), day >= plan.ruled_from, decides, visit
        )
        memory, course = step(memory, level, row, visit or (start and plan.rule is not None), course)
        doses.append(np.asarray(memory.dose))
    return np.asarray(memory.marks.seen), np.stack(doses, axis=1)


@pytest.mark.parametrize("rule", [PSA, RULES["relative"], PSA._replace(any_time=True)], ids=lambda rule: str(rule[0]))
@pytest.mark.parametrize(
    ("first", "second"),
    [
        ("on", "off"),
        ("on", "dose 0.5 21, off 35, on"),
        ("off 28, on", "off 14, dose 0.25 7, repeat"),
        ("on 112, off 28, repeat", "off 28, adaptive 0.6/1.0"),
        ("adaptive 0.5/1.0", "adaptive 4/8 absolute"),
        ("on 56, adaptive 4/8 absolute", "off"),
    ],
)
def test_paths_are_watched_as_the_words_say(first: str, second: str, rule: Rule) -> None:
    burden = np.random.default_rng(8).choice([2.0, 3.0, 4.0, 5.0, 7.0, 9.0, 12.0], (40, 13))
    seen, doses = watched(first, second, burden, rule)
    expected = [slow(first, second, path, rule) for path in burden]
    np.testing.assert_array_equal(seen, [one for one, _ in expected])
    np.testing.assert_array_equal(doses, [weeks for _, weeks in expected])
    assert np.isfinite(seen).sum() > 5


# ------------------------------------------------------------------ forecasts


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


TEXTS = {
    "on": "on",
    "stop": "until progression: on, then off",
    "go on": "until progression: on, then on",
    "pause": "until progression: on, then off 33.5, on",
    "rule": "until progression: adaptive 1e-9/1e9 absolute, then off",
    "then rule": "until progression: on, then adaptive 1e-9/1e9 absolute",
    "turns": "on 35, off 21, repeat",
    "turns stop": "until progression: on 35, off 21, repeat, then off",
}
HORIZON = 400.0


@pytest.fixture(scope="module")
def made(planted):
    plans = [f"{name}={text}" for name, text in TEXTS.items()]
    return forecast(planted, ask(plans, HORIZON, draws=40, replicates=2, visit_every=14.0, start=1100.0))


def of(made, group: str, name: str, plan: str) -> np.ndarray:
    return made[group][name].sel(patient="P02", plan=plan).values


@pytest.mark.parametrize(("one", "other"), [("on", "go on"), ("on", "then rule"), ("stop", "rule")])
def test_other_words_for_the_same_treatment_give_the_same_futures(made, one, other) -> None:
    for group, name in (("endpoints", "time_to_progression"), ("endpoints", "seen"), ("futures", "burden")):
        np.testing.assert_array_equal(of(made, group, name, one), of(made, group, name, other))


def test_every_path_stops_on_the_day_on_which_its_own_progression_is_seen(made) -> None:
    times, seen = (of(made, "endpoints", name, "stop") for name in ("time_to_progression", "seen"))
    visits = np.append(np.append(np.arange(14.0, HORIZON, 14.0), HORIZON), INF)
    np.testing.assert_array_equal(
        seen, np.where(np.isfinite(times), visits[np.searchsorted(visits, times + 21.0)], INF)
    )
    assert len(np.unique(seen[np.isfinite(seen)])) > 3
    day = of(made, "futures", "day", "stop")[:-1]
    np.testing.assert_allclose(of(made, "futures", "dose", "stop")[:-1], [(seen > one).mean() for one in day])
    told = store.attribute(made, "summary")["P02"]["plans"]
    assert told["stop"]["days_on_drug"] == pytest.approx(np.minimum(seen, HORIZON).mean())
    pause = [((one < seen) | (one >= seen + 33.5)).mean() for one in day]
    np.testing.assert_allclose(of(made, "futures", "dose", "pause")[:-1], pause)
    away = np.clip(HORIZON - seen, 0.0, 33.5)
    assert told["pause"]["days_on_drug"] == pytest.approx(HORIZON - away.mean())


@pytest.mark.parametrize(("whole", "first"), [("on", "stop"), ("turns", "turns stop")])
def test_what_follows_progression_does_not_change_it(made, whole, first) -> None:
    for name in ("time_to_progression", "seen"):
        np.testing.assert_array_equal(of(made, "endpoints", name, whole), of(made, "endpoints", name, first))
    told = store.attribute(made, "summary")["P02"]
    assert told["plans"][whole]["judged"] == told["plans"][first]["judged"]
    assert np.isfinite(of(made, "endpoints", "seen", first)).mean() > 0.1 or whole == "turns"


@pytest.mark.parametrize(("start", "days"), [(1100.0, 30.5), (1100.5, 90.0)])
def test_futures_without_progression_are_the_same_to_the_last_cell(planted, start, days) -> None:
    """Even where what may follow would change the dose between the days of the record."""
    plans = ("on", f"pause=until progression: on, then off {days}, on", "stop=until progression: on, then off")
    found = forecast(planted, ask(plans, 300.0, draws=20, replicates=2, visit_every=14.0, start=start))
    seen, area = (of(found, "endpoints", name, "on") for name in ("seen", "burden_time"))
    for other in ("pause", "stop"):
        np.testing.assert_array_equal(seen, of(found, "endpoints", "seen", other))
        same = of(found, "endpoints", "burden_time", other) == area
        np.testing.assert_array_equal(same[~np.isfinite(seen)], True)
        assert not same[np.isfinite(seen)].all()
    assert (~np.isfinite(seen)).any()


def test_where_no_plan_waits_for_progression_others_add_no_steps() -> None:
    who = fakes.tumour({}, Cells(1.0, 0.0, 0.0), draws=2, horizon=60.0, limit=10.0)
    patient = Patient(0, "A", who.at, Look(0.0, 60.0, 14.0), who.rule, 1, True)
    alone, beside, waiting = (
        agendas(patient, who.history, [parse_plan(text) for text in plans])[0].steps.length
        for plans in (("on",), ("on", "off 30.5, on"), ("on", "until progression: on, then off 30.5, on"))
    )
    np.testing.assert_array_equal(alone, beside)
    assert len(waiting) > len(alone)


def test_a_plan_that_stops_at_once_was_judged_all_the_same(planted) -> None:
    """Progression at the first visits leaves few on drug: these were enough to see it."""
    question = ask(("on", "until progression: on, then off"), 1080.0, draws=20, replicates=1, visit_every=200.0)
    told = store.attribute(forecast(planted, question), "summary")["P02"]
    assert told["plans"]["until progression: on, then off"]["judged"] is told["plans"]["on"]["judged"] is True


def test_a_first_part_without_drug_needs_a_rule_that_judges_it(planted) -> None:
    text = "until progression: off, then on"
    with pytest.raises(UsageError, match="never gives the drug") as caught:
        forecast(planted, ask((text,), 400.0, draws=4))
    assert caught.value.remedy.startswith("use --endpoint psa:any-time")
    made = forecast(planted, ask(("off", text), 400.0, draws=20, replicates=1, endpoint="psa:any-time"))
    times, seen = (of(made, "endpoints", name, text) for name in ("time_to_progression", "seen"))
    assert np.isfinite(seen).all()
    assert (seen >= times + 21.0).all()
    assert store.attribute(made, "summary")["P02"]["plans"][text]["days_on_drug"] == pytest.approx(
        (400.0 - seen).mean()
    )


def test_a_dose_of_the_second_part_that_was_never_given_is_said(planted) -> None:
    made = forecast(planted, ask(("until progression: on, then dose 0.5",), 60.0, draws=4, replicates=1))
    assert ["was never given the dose 0.5" in note for note in store.attribute(made, "notes")] == [True]


def test_a_second_part_that_changes_too_often_is_refused(planted) -> None:
    text = "until progression: on, then on 0.1, off 0.13, repeat"
    with pytest.raises(ScheduleError, match="changes the dose too often"):
        forecast(planted, ask((text,), 400.0, draws=4))


def test_a_simulation_sees_no_progression() -> None:
    with pytest.raises(UsageError, match="sees no progression") as caught:
        order("until progression: on, then off", 100)
    assert "on 180, off" in caught.value.remedy
