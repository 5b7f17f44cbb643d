"""Paths: a batch of trajectories followed along a grid, step by step, by any of the engines.

An engine is a function ``(stream, cells, rates, exposure, dt, table) -> cells`` over any batch. `follow` takes an
exposure that is known beforehand; `steer` takes a rule that looks at each path on visit days and sets its dose. Both are
pure and may be compiled; nothing is checked here. Every trajectory has its own stream of random numbers, and every step
its own part of that, so a path comes out the same whoever runs beside it, and two plans share the numbers of each day.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import jax
import jax.numpy as jnp

from persist.dynamics import sampling
from persist.dynamics.attenuation import attenuated_step
from persist.dynamics.branching import leap_step
from persist.dynamics.gillespie import ssa_step
from persist.dynamics.reactions import REACTIONS, within
from persist.dynamics.tau_leap import tau_step
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.dynamics.reactions import Reactions

ENGINES = ("leap", "ssa", "tau")


class Engine(NamedTuple):
    """How cells are carried on: ``name``, of `ENGINES`; for the leap, whether populations of up to ``exact_below`` cells in
    all are followed event by event (``hybrid``); ``table`` of reactions. The same in every compiled run of one program.

    A few R among many S need no hybrid: given S and P, the leap draws them from their law of birth, death and arrival.
    """

    name: str = "leap"
    hybrid: bool = False
    table: Reactions = REACTIONS


class Pace(NamedTuple):
    """What may differ between runs of one program: ``substeps`` of the leap, ``()`` or ``(n,)``, and ``exact_below`` of the
    hybrid (cells).
    """

    substeps: Any = 1
    exact_below: Any = 0.0


class Steps(NamedTuple):
    """The grid of a run, each ``(n_steps,)``: ``length`` (days; 0 is padding), ``place`` in the record of what is reached
    at the end of a step (the number of records where none is wanted), and the ``number`` of each step, under which its
    random numbers stand.
    """

    length: Any
    place: Any
    number: Any


class Course(NamedTuple):
    """A plan along the grid, each ``(n_steps,)``: ``dose`` planned, whether the dose is ``ruled`` by the rule instead, and
    the number of the ``visit`` at the end of a step, or -1.
    """

    dose: Any
    ruled: Any
    visit: Any


class Lanes(NamedTuple):
    """What paths under a rule have of their own: ``cells`` and ``rates``, fields ``()`` or ``(n,)``; ``level``, the
    exposure at the start, likewise; whether they are on drug ``before`` the first step, ``()``; ``seen``, what the rule
    gets to see beside the cells, a pytree of ``(n_visits, n)`` or ``(n_visits,)``; its ``memory``, a pytree of ``()`` or ``(n,
    ...)`` with the methods of a `Remembers`; and the ``potency`` of the kill at the start, ``()`` or ``(n,)``, None where it
    does not fade.
    """

    cells: Cells
    rates: Rates
    level: Any
    before: Any
    seen: Any
    memory: Any
    potency: Any = None


class Remembers(Protocol):
    """What a memory must be able to do, days counted from the first step: say the dose ``given`` ``(n,)`` from a day on where
    the plan says ``planned``, or that a rule decides (``ruled``); take in a step that ends (``along``) with its cells, and the
    dose and the number of the course of treatment from there on; and tell at the end what it found, a pytree of ``(n, ...)``.
    """

    @property
    def marks(self) -> Any: ...  # noqa: D102

    def given(self, planned: Any, ruled: Any, day: Any) -> Any: ...  # noqa: D102

    def along(self, cells: Cells, day: Any, dose: Any, course: Any) -> Any: ...  # noqa: D102


class Steered(NamedTuple):
    """Paths under a rule: ``cells``, number of the ``course`` of treatment (0: off drug; 1 is that before the first step,
    where there was one) and ``dose`` from then on, each ``(n, n_records)``; ``days_on_drug`` and ``dose_days`` (days times
    dose) ``(n,)``; and the ``marks`` of the memory.
    """

    cells: Cells
    course: Array
    dose: Array
    days_on_drug: Array
    dose_days: Array
    marks: Any = None


def advance(
    engine: Engine, pace: Pace, stream: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: Array
) -> Cells:
    """Cells ``(n,)`` after a step of ``dt`` days (scalar; 0: nothing happens), by the engine asked for."""
    go = (stream, cells, rates, exposure, dt, engine.table)
    if engine.name == "ssa":
        return ssa_step(*go)
    if engine.name == "tau":
        return tau_step(*go)
    if not engine.hybrid:
        return leap_step(*go, substeps=pace.substeps)
    few = cells.total <= pace.exact_below
    counted = Cells(*[jnp.where(few, count, 0.0) for count in cells])
    exact = ssa_step(stream, counted, *go[2:])
    leapt = leap_step(*go, substeps=pace.substeps)
    return Cells(*[jnp.where(few, one, other) for one, other in zip(exact, leapt, strict=True)])


def follow(
    streams: Array,
    cells: Cells,
    rates: Rates,
    steps: Steps,
    exposure: Exposure,
    pace: Pace = Pace(),  # noqa: B008 - immutable
    *,
    records: int,
    engine: Engine = Engine(),  # noqa: B008
) -> Cells:
    """Cells at the recorded ends of steps, ``(n, records)``, of the trajectories of ``streams`` (uint64, ``(n,)``).

    Fields of ``cells`` and ``rates`` are scalars or ``(n,)``, those of ``exposure`` ``(n_steps,)`` or ``(n_steps, n)``.
    """

    def step(carry: tuple[Cells, Array], piece: tuple[Steps, Exposure]) -> tuple[tuple[Cells, Array], None]:
        state, seen = carry
        here, level = piece
        state = _moved(engine, pace, sampling.substream(streams, here.number), state, rates, level, here.length)
        return (state, seen.at[here.place].set(jnp.stack(state))), None

    pieces = (Steps(*map(jnp.asarray, steps)), exposure)
    begin = (_whole(cells, streams), jnp.zeros((records + 1, 3, *streams.shape)))
    (_, seen), _ = jax.lax.scan(step, begin, pieces)
    return Cells(*jnp.moveaxis(seen[:records], (0, 1), (2, 0)))


def steer(
    streams: Array,
    lanes: Lanes,
    steps: Steps,
    plan: Course,
    pace: Pace = Pace(),  # noqa: B008
    *,
    rule: Callable[[Any, Cells, Any], Any],
    records: int,
    engine: Engine = Engine(),  # noqa: B008
) -> Steered:
    """Paths whose dose follows ``rule`` wherever the plan says so.

    At the end of a step with a visit, ``memory = rule(memory, cells, seen)``; from then on the dose (0..1) is that which the
    memory says is ``given``. The record of a day has the course and the dose after that day's decision.
    """
    shape, rates = streams.shape, lanes.rates

    def given(memory: Remembers, dose: Array, ruled: Array, day: Array) -> Array:
        return jnp.broadcast_to(memory.given(dose, ruled, day), shape)

    def step(carry: _Steer, piece: Any) -> tuple[_Steer, None]:
        at, (here, visit, day, next_dose, next_ruled) = carry, piece
        lag = jnp.where(at.dose > at.level, rates.onset_days, rates.washout_days)
        exposure, potency = attenuated_step(Exposure(at.level, at.dose, lag), rates, here.length, at.potency)
        state = _moved(engine, pace, sampling.substream(streams, here.number), at.cells, rates, exposure, here.length)
        level = jnp.where(here.length > 0, within(exposure, here.length), at.level)
        row = jax.tree.map(lambda all_visits: all_visits[jnp.maximum(visit, 0)], lanes.seen)
        memory = jax.lax.cond(visit >= 0, lambda: rule(at.memory, state, row), lambda: at.memory)
        dose = given(memory, next_dose, next_ruled, day)
        course = at.course + ((dose > 0) & (at.dose <= 0))
        memory = memory.along(state, day, dose, course)
        record = at.record.at[here.place].set(jnp.stack([*state, jnp.where(dose > 0, course, 0).astype(float), dose]))
        spent = (at.on + here.length * (at.dose > 0), at.dosed + here.length * at.dose)
        return _Steer(state, level, potency, memory, dose, course, *spent, record), None

    doses, ruled, visit = (jnp.asarray(part) for part in plan)
    after = [jnp.append(part[1:], part[-1:]) for part in (doses, ruled)]
    first = given(lanes.memory, doses[0], ruled[0], jnp.zeros(()))
    course = jnp.asarray(lanes.before, int) + ((first > 0) & ~jnp.asarray(lanes.before, bool))
    cells = _whole(lanes.cells, streams)
    begin = _Steer(
        cells=cells,
        level=jnp.broadcast_to(jnp.asarray(lanes.level, float), shape),
        potency=None if lanes.potency is None else jnp.broadcast_to(jnp.asarray(lanes.potency, float), shape),
        memory=lanes.memory.along(cells, jnp.zeros(()), first, course),
        dose=first,
        course=course,
        on=jnp.zeros(shape),
        dosed=jnp.zeros(shape),
        record=jnp.zeros((records + 1, 5, *shape)),
    )
    pieces = (Steps(*map(jnp.asarray, steps)), visit, jnp.cumsum(jnp.asarray(steps.length)), *after)
    end, _ = jax.lax.scan(step, begin, pieces)
    seen = jnp.moveaxis(end.record[:records], (0, 1), (2, 0))
    return Steered(Cells(*seen[:3]), seen[3].astype(int), seen[4], end.on, end.dosed, end.memory.marks)


class _Steer(NamedTuple):
    """What a steered path carries from step to step."""

    cells: Cells
    level: Array
    potency: Array | None
    memory: Any
    dose: Array
    course: Array
    on: Array
    dosed: Array
    record: Array


def _moved(
    engine: Engine, pace: Pace, stream: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: Array
) -> Cells:
    """`advance`, left out for a step of no length."""
    go = partial(advance, engine, pace)
    moved: Cells = jax.lax.cond(dt > 0, go, lambda _, state, *__: state, stream, cells, rates, exposure, dt)
    return moved


def _whole(cells: Cells, streams: Array) -> Cells:
    """Cells in the shape of the streams, float64."""
    return Cells(*[jnp.broadcast_to(jnp.asarray(count, float), streams.shape) for count in cells])
