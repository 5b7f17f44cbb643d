"""Paths under a rule: what is decided, when, and that nothing else about a path changes."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.dynamics.checks import Method
from persist.dynamics.paths import Course, Lanes, Steered
from persist.dynamics.trajectories import simulate, steered
from persist.errors import ScheduleError, UsageError
from persist.forecast import simulation
from persist.forecast.order import order
from persist.forecast.outcome import ask, forecast
from persist.inference import store
from persist.records.table import read
from persist.treatment.exposure import relax
from persist.treatment.grammar import Adaptive, parse_plan
from persist.treatment.rules import Memory, decide, remember
from persist.types import Cells, Grid, Rates

SPR = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02,
    tolerance_base=1e-4, tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
    capacity=2000.0, onset_days=2.0, washout_days=5.0,
)  # fmt: skip
START = Cells(900.0, 20.0, 5.0)
DAYS = 120
KEY = jax.random.key(3)


def test_a_rule_stops_restarts_and_otherwise_waits() -> None:
    memory = remember(Adaptive(0.5, 1.0, absolute=False), 4)
    memory = decide(memory, jnp.full(4, 100.0))
    np.testing.assert_array_equal(memory.reference, 100.0)
    np.testing.assert_array_equal(memory.dose, 1.0)
    for measured, dose in (([49.0, 50.0, 51.0, 100.0], [0, 1, 1, 1]), ([99.0, 1.0, 60.0, 70.0], [0, 0, 1, 1])):
        memory = decide(memory, jnp.array(measured))
        np.testing.assert_array_equal(memory.dose, dose)
    np.testing.assert_array_equal(decide(memory, jnp.full(4, 100.0)).dose, 1.0)


def test_where_nothing_is_measured_nothing_is_given() -> None:
    memory = decide(remember(Adaptive(0.5, 1.0, absolute=False), 2), jnp.array([0.0, 8.0]))
    np.testing.assert_array_equal(memory.dose, [0.0, 1.0])
    memory = decide(memory, jnp.zeros(2))
    np.testing.assert_array_equal(memory.dose, 0.0)
    np.testing.assert_array_equal(decide(memory, jnp.array([3.0, 8.0])).dose, 1.0)


def test_absolute_thresholds_need_no_reference() -> None:
    memory = decide(remember(Adaptive(4.0, 10.0, absolute=True), 2), jnp.array([3.9, 4.0]))
    np.testing.assert_array_equal(memory.dose, [0.0, 1.0])
    np.testing.assert_array_equal(decide(memory, jnp.array([10.0, 9.0])).dose, 1.0)


def by_cells(memory: Memory, cells: Cells, _: object) -> Memory:
    return decide(memory, cells.total)


def lanes(members: np.ndarray) -> Lanes:
    memory = remember(Adaptive(0.5, 1.0, absolute=False), len(members))
    memory = decide(memory, jnp.full(len(members), 925.0))
    return Lanes(START, SPR, 0.0, False, jnp.zeros((1, len(members))), memory)


def followed(course: Course, engine: str = "leap", number: int = 300):
    grid = Grid(np.ones(DAYS), course.dose)
    parts = list(
        steered(lambda *all_of: all_of, by_cells, KEY, lanes, grid, course, Method(engine, 1.0), trajectories=number)
    )
    return [jax.tree.map(lambda *chunks: np.concatenate(chunks), *[part[2] for part in parts])][0]


@pytest.mark.parametrize("engine", ["leap", "ssa"])
def test_a_plan_that_is_not_ruled_runs_as_it_does_without_a_rule(engine: str) -> None:
    dose = np.repeat([1.0, 0.0, 0.5], 40)
    path = followed(Course(dose, np.zeros(DAYS, bool), np.full(DAYS, -1)), engine)
    grid = Grid(np.ones(DAYS), dose)
    level = relax(grid, SPR.onset_days, SPR.washout_days)
    plain = simulate(KEY, START, SPR, grid, level, engine=engine, trajectories=300, max_step=1.0)
    for one, other in zip(path.cells, plain, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(path.days_on_drug, 80.0)
    np.testing.assert_array_equal(path.dose_days, 60.0)
    np.testing.assert_array_equal(path.course[0], [1] * 39 + [0] * 40 + [2] * 41)


@pytest.mark.parametrize("engine", ["leap", "tau", "ssa"])
def test_every_path_obeys_its_rule_and_only_at_visits(engine: str) -> None:
    visits = np.arange(13, DAYS, 14)
    visit = np.where(np.isin(np.arange(DAYS), visits), 0, -1)
    path = followed(Course(np.ones(DAYS), np.ones(DAYS, bool), visit), engine)
    total, dose = np.asarray(path.cells.total), np.ones(300)
    seen = set()
    for day in range(DAYS):
        if day in visits:
            dose = np.where(total[:, day] < 462.5, 0.0, np.where(total[:, day] >= 925.0, 1.0, dose))
        np.testing.assert_array_equal(path.dose[:, day], dose)
        seen |= set(dose)
    assert seen == {0.0, 1.0}
    given = np.concatenate([np.ones((300, 1)), path.dose[:, :-1]], axis=1)
    np.testing.assert_allclose(path.days_on_drug, given.sum(axis=1))
    starts = np.diff(np.concatenate([np.zeros((300, 1)), np.ones((300, 1)), path.dose], axis=1)) > 0
    np.testing.assert_array_equal(path.course, np.where(path.dose > 0, starts.cumsum(axis=1)[:, 1:], 0))


def test_each_path_in_leaps_of_its_own_is_what_it_is_among_its_like() -> None:
    """By number, in whatever order they run; chunks mix them."""
    visit = np.where(np.arange(DAYS) % 14 == 13, 0, -1)
    grid, course = Grid(np.ones(DAYS), np.ones(DAYS)), Course(np.ones(DAYS), np.ones(DAYS, bool), visit)
    leaps = np.array([1, 4, 2] * 100)

    def run(leaps: np.ndarray) -> dict[int, np.ndarray]:
        def told(members: np.ndarray, _: Lanes, path: Steered) -> list[tuple[int, np.ndarray]]:
            return list(zip(members.tolist(), np.asarray(path.cells.total), strict=True))

        parts = steered(told, by_cells, KEY, lanes, grid, course, Method(), trajectories=300, leaps=leaps)
        return dict(pair for part in parts for pair in part)

    mixed = run(leaps)
    assert len(mixed) == 300
    for some in (1, 2, 4):
        alike = run(np.full(300, some))
        for number in np.flatnonzero(leaps == some):
            np.testing.assert_array_equal(mixed[int(number)], alike[int(number)])
    same = followed(course, number=300)
    np.testing.assert_array_equal(run(np.ones(300, int))[7], same.cells.total[7])


def test_a_rule_needs_a_named_step() -> None:
    course = Course(np.ones(DAYS), np.ones(DAYS, bool), np.full(DAYS, -1))
    with pytest.raises(UsageError, match="no longest step"):
        steered(lambda *_: 0, by_cells, KEY, lanes, Grid(np.ones(DAYS), course.dose), course, Method(), trajectories=2)


# ------------------------------------------------------------------ plans with a rule, from their text to the forecast


@pytest.mark.parametrize(
    ("text", "rule", "begin"),
    [
        ("adaptive 0.5/1.0", Adaptive(0.5, 1.0, False), 0.0),
        ("x = Adaptive 4 / 10 ABSOLUTE", Adaptive(4.0, 10.0, True), 0.0),
        ("on 56, off 14, adaptive .5/1", Adaptive(0.5, 1.0, False), 70.0),
    ],
)
def test_a_rule_is_read(text: str, rule: Adaptive, begin: float) -> None:
    plan = parse_plan(text)
    assert (plan.rule, plan.ruled_from) == (rule, begin)
    assert parse_plan("on").ruled_from == np.inf


@pytest.mark.parametrize(
    ("text", "column", "what"),
    [
        ("adaptive", 1, "no two thresholds"),
        ("adaptive 0.5", 1, "no two thresholds"),
        ("adaptive 0.5/", 1, "no two thresholds"),
        ("adaptive 0.5 1.0", 14, "no two thresholds"),
        ("adaptive 0.5/1.0 relative", 18, "no two thresholds"),
        ("adaptive 1.0/0.5", 10, "stop under 1 and restart from 0.5"),
        ("adaptive 0/1", 10, "stop under 0"),
        ("adaptive 0.5/1.0, on", 1, "at the end only"),
        ("on, adaptive 0.5/1.0", 1, '"on" has no days'),
        ("on 5/6, off", 5, 'unexpected "/"'),
    ],
)
def test_a_mistake_in_a_rule_has_its_column(text: str, column: int, what: str) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_plan(text)
    assert caught.value.where == f'plan "{text}", column {column}'
    assert what in caught.value.what


def test_simulate_runs_a_rule_and_tells_the_mean_dose() -> None:
    asked = order("on 20.5, adaptive 200/600 absolute", 100, trajectories=200, visit_every=10.0)
    made = simulation.run(START, SPR, asked)
    dose = made["summary"]["dose"].values
    np.testing.assert_array_equal(dose[:21], 1.0)
    assert np.any(dose < 1.0)
    changes = np.flatnonzero(np.diff(dose)) + 1
    assert set(changes) <= {21, 30, 40, 50, 60, 70, 80, 90, 100}
    with pytest.raises(UsageError, match="no paths"):
        order("adaptive 0.5/1.0", 10, engine="mean")
    with pytest.raises(UsageError, match="visits every 0"):
        order("adaptive 0.5/1.0", 10, visit_every=0.0)


def test_the_reference_is_that_of_the_start_of_the_plan() -> None:
    """After two weeks on drug a tenth is left: under half of the start, so the drug stops at once."""
    asked = order("on 14, adaptive 0.5/1.0", 20, trajectories=50)
    dose = simulation.run(START, SPR._replace(onset_days=0.0), asked)["summary"]["dose"].values
    np.testing.assert_array_equal(dose, [1.0] * 14 + [0.0] * 7)


def test_the_first_dose_is_that_of_the_rule() -> None:
    asked = order("adaptive 1000/1500 absolute", 5, trajectories=50)
    np.testing.assert_array_equal(simulation.run(START, SPR, asked)["summary"]["dose"].values, 0.0)


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


def test_a_forecast_runs_a_rule(planted) -> None:
    """Absolute thresholds about the burden of the patient: some paths stop and start again, none drifts away."""
    plans = ("on", "never=adaptive 1e-6/1e9 absolute", "band=adaptive 1/4 absolute", "off")
    made = forecast(planted, ask(plans, 400.0, draws=40, replicates=1))
    summary = store.attribute(made, "summary")["P02"]["plans"]
    assert summary["never"]["days_on_drug"] == 400.0
    assert summary["on"]["time_to_progression"] == summary["never"]["time_to_progression"]
    np.testing.assert_array_equal(
        made["futures"]["burden"].sel(plan="on").values, made["futures"]["burden"].sel(plan="never").values
    )
    assert 0.0 < summary["band"]["days_on_drug"] < 400.0
    dose = made["futures"]["dose"].sel(plan="band").values.ravel()
    assert np.any((dose > 0) & (dose < 1))
    ends = {name: made["futures"]["burden"].sel(plan=name).values[0, -1, 2] for name in ("band", "off")}
    assert ends["band"] < 0.3 * ends["off"]
