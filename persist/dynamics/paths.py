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
from persist.dynamics.attenuation import attenuated_step, mean_exposure
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
    the number of the ``visit`` at the end of a step, or -1; and the planned dose of a ``partner``, None where no path has one.
    """

    dose: Any
    ruled: Any
    visit: Any
    partner: Any = None


class Partner(NamedTuple):
    """Another drug, each ``()`` or ``(n,)``: its kills of S, P and R at full exposure (1/day), its time constants (days), and
    its exposure at the start, 0..1. Kills add to deaths, d + k E, E its mean over a step: it does nothing else.
    """

    kill_s: Any
    kill_p: Any
    kill_r: Any
    onset_days: Any
    washout_days: Any
    level: Any = 0.0


class Lanes(NamedTuple):
    """What paths under a rule have of their own: ``cells`` and ``rates``, fields ``()`` or ``(n,)``; ``level``, the
    exposure at the start, likewise; whether they are on drug ``before`` the first step, ``()``; ``seen``, what the rule
    gets to see beside the cells, a pytree of ``(n_visits, n)`` or ``(n_visits,)``; its ``memory``, a pytree of ``()`` or ``(n,
    ...)`` with the methods of a `Remembers`; and the ``potency`` of the kill at the start, ``()`` or ``(n,)``, None where it
    does not fade; and a ``partner``, None where no plan has one.
    """

    cells: Cells
    rates: Rates
    level: Any
    before: Any
    seen: Any
    memory: Any
    potency: Any = None
    partner: Partner | None = None


class Remembers(Protocol):
    """What a memory must be able to do, days counted from the first step: say the dose ``given`` ``(n,)`` from a day on where
    the plan says ``planned``, or that a rule decides (``ruled``), and that of a partner (``beside``); take in a step that ends
    (``along``) with its cells, and the dose and the number of the course of treatment from there on; and tell at the end what
    it found, a pytree of ``(n, ...)``.
    """

    @property
    def marks(self) -> Any: ...  # noqa: D102

    def given(self, planned: Any, ruled: Any, day: Any) -> Any: ...  # noqa: D102

    def beside(self, planned: Any, day: Any) -> Any: ...  # noqa: D102

    def along(self, cells: Cells, day: Any, dose: Any, course: Any, partner: Any = 0.0) -> Any: ...  # noqa: D102


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
    memory says is ``given``. The record of a day has the course and the dose after that day's decision. A course of treatment
    is one by either drug; the dose and the days on drug are those of the first.
    """
    shape, partner = streams.shape, lanes.partner

    def given(memory: Remembers, planned: tuple[Array, Array, Array], day: Array) -> tuple[Array, Array]:
        dose, ruled, other = planned
        both = memory.given(dose, ruled, day), jnp.zeros(()) if partner is None else memory.beside(other, day)
        return jnp.broadcast_to(both[0], shape), jnp.broadcast_to(both[1], shape)

    def step(carry: _Steer, piece: Any) -> tuple[_Steer, None]:
        at, (here, visit, day, following) = carry, piece
        rates, reached = _beside(lanes.rates, partner, at.partner, here.length)
        lag = jnp.where(at.dose > at.level, rates.onset_days, rates.washout_days)
        exposure, potency = attenuated_step(Exposure(at.level, at.dose, lag), rates, here.length, at.potency)
        state = _moved(engine, pace, sampling.substream(streams, here.number), at.cells, rates, exposure, here.length)
        level = jnp.where(here.length > 0, within(exposure, here.length), at.level)
        row = jax.tree.map(lambda all_visits: all_visits[jnp.maximum(visit, 0)], lanes.seen)
        memory = jax.lax.cond(visit >= 0, lambda: rule(at.memory, state, row), lambda: at.memory)
        dose, other = given(memory, following, day)
        treated = jnp.maximum(dose, other) > 0
        course = at.course + (treated & (jnp.maximum(at.dose, at.partner.target) <= 0))
        memory = memory.along(state, day, dose, course, other)
        record = at.record.at[here.place].set(jnp.stack([*state, jnp.where(treated, course, 0).astype(float), dose]))
        spent = (at.on + here.length * (at.dose > 0), at.dosed + here.length * at.dose)
        return _Steer(state, level, potency, Beside(reached, other), memory, dose, course, *spent, record), None

    visit = jnp.asarray(plan.visit)
    none = jnp.zeros(visit.shape) if plan.partner is None else plan.partner
    doses = tuple(jnp.asarray(part) for part in (plan.dose, plan.ruled, none))
    after = tuple(jnp.append(part[1:], part[-1:]) for part in doses)
    first, other = given(lanes.memory, (doses[0][0], doses[1][0], doses[2][0]), jnp.zeros(()))
    course = jnp.asarray(lanes.before, int) + ((jnp.maximum(first, other) > 0) & ~jnp.asarray(lanes.before, bool))
    cells = _whole(lanes.cells, streams)
    begin = _Steer(
        cells=cells,
        level=jnp.broadcast_to(jnp.asarray(lanes.level, float), shape),
        potency=None if lanes.potency is None else jnp.broadcast_to(jnp.asarray(lanes.potency, float), shape),
        partner=Beside(jnp.broadcast_to(0.0 if partner is None else partner.level, shape), other),
        memory=lanes.memory.along(cells, jnp.zeros(()), first, course, other),
        dose=first,
        course=course,
        on=jnp.zeros(shape),
        dosed=jnp.zeros(shape),
        record=jnp.zeros((records + 1, 5, *shape)),
    )
    pieces = (Steps(*map(jnp.asarray, steps)), visit, jnp.cumsum(jnp.asarray(steps.length)), after)
    end, _ = jax.lax.scan(step, begin, pieces)
    seen = jnp.moveaxis(end.record[:records], (0, 1), (2, 0))
    return Steered(Cells(*seen[:3]), seen[3].astype(int), seen[4], end.on, end.dosed, end.memory.marks)


class Beside(NamedTuple):
    """The exposure ``level`` of a partner now, and its dose from now on, ``target``, each ``(n,)``."""

    level: Array
    target: Array


def _beside(rates: Rates, partner: Partner | None, at: Beside, length: Array) -> tuple[Rates, Array]:
    """The rates over a step with a partner's kills in them, and its exposure at the end."""
    if partner is None:
        return rates, at.level
    lag = jnp.where(at.target > at.level, partner.onset_days, partner.washout_days)
    exposure = Exposure(at.level, at.target, lag)
    level = jnp.where(length > 0, within(exposure, length), at.level)
    return killed(rates, partner, mean_exposure(exposure, length)), level


def killed(rates: Rates, partner: Partner, exposure: Any) -> Rates:
    """The rates with a partner's kills at this exposure ``(...)`` among the deaths."""
    return rates._replace(
        death_s=rates.death_s + partner.kill_s * exposure,
        death_p=rates.death_p + partner.kill_p * exposure,
        death_r=rates.death_r + partner.kill_r * exposure,
    )


class _Steer(NamedTuple):
    """What a steered path carries from step to step."""

    cells: Cells
    level: Array
    potency: Array | None
    partner: Beside
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
