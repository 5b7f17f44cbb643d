"""Futures: posterior draws carried on under a plan by the stochastic engine, and seen through the fitted measurement.

From the state at the landmark (the last visit up to it) each draw runs on as whole cells: S and P are rounded, R, which the
fit knows as a mean, is drawn as Poisson while it is small. Every plan of a patient uses the same random numbers (common
random numbers), so that differences between plans are not noise. Progress is judged on measured values at visits.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.observe import log_burden, noise, wander
from persist.dynamics.sampling import poisson
from persist.dynamics.trajectories import simulate
from persist.forecast.endpoints import Rule, time_to_progression
from persist.inference.model import patient, trace_curves
from persist.treatment.exposure import relax
from persist.treatment.schedule import course_at, dose_at, grid, plan_schedule, splice
from persist.types import Cells, Exposure, Grid, Rates, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from jax import Array

    from persist.dynamics.observe import Observable
    from persist.inference.cohort import Case
    from persist.treatment.schedule import Plan

POISSON_BELOW = 1e6
_PER_DRAW = ("rates", "cells", "exposure", "wander_mean", "wander_sd", "log_unit", "values")
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
CHUNK_BYTES = 512 * 2**20
"""Memory that one chunk of futures may take for its record."""


class Landmark(NamedTuple):
    """Where futures start, one entry a draw ``(n_draws,)``: constants, cells, exposure, wander, scale and noise; ``day``
    is the last visit up to the landmark, ``counted`` as of `Observable`, ``nadir`` the lowest burden since the last
    restart if on drug then (else None).
    """

    day: float
    rates: Rates
    cells: Cells
    exposure: Array
    wander_mean: Array
    wander_sd: Array
    log_unit: Array
    values: dict[str, np.ndarray]
    power: float
    counted: bool
    nadir: float | None


class Look(NamedTuple):
    """When futures are seen: plan start and horizon (days), spacing of visits and of the plotted record (days)."""

    start: float
    horizon: float
    visit_every: float
    record_every: float = 7.0


class Futures(NamedTuple):
    """What is kept of one plan: ``day`` ``(n_days,)`` after the start with quantiles of the burden ``(n_days, n_levels)``,
    mean shares of S, P, R ``(n_days, 3)`` and dose ``(n_days,)``; per path ``(n_draws, n_replicates)`` the time to
    progression (days after the start, inf: not within the horizon) and whether all cells are gone; days on drug; the most
    visits in a row at which progression is judged, being on drug.
    """

    day: np.ndarray
    burden: np.ndarray
    shares: np.ndarray
    dose: np.ndarray
    time_to_progression: np.ndarray
    extinct: np.ndarray
    days_on_drug: float
    visits_on_drug: int


def landmark(values: dict[str, np.ndarray], case: Case, day: float, kind: Observable, nadir: float | None) -> Landmark:
    """State of every draw at the last visit of ``case`` (cut at the landmark before); ``values`` each ``(n_draws,)``."""
    curve = trace_curves({name: jnp.asarray(value) for name, value in values.items()}, case, kind.power)
    start = patient(values, kind.power)
    last = int(np.flatnonzero(np.asarray(case.seen))[-1])
    count = len(next(iter(values.values())))
    return Landmark(
        day=day,
        rates=Rates(*(jnp.broadcast_to(jnp.asarray(rate, float), (count,)) for rate in start.rates)),
        cells=Cells(*(state[:, last] for state in curve.cells)),
        exposure=curve.exposure[:, last],
        wander_mean=curve.wander.mean,
        wander_sd=jnp.sqrt(curve.wander.variance),
        log_unit=start.log_cells_per_unit,
        values=values,
        power=kind.power,
        counted=kind.counted,
        nadir=nadir,
    )


def run(
    seed: int,
    name: str,
    at: Landmark,
    history: Schedule,
    plans: Sequence[Plan],
    look: Look,
    rule: Rule,
    replicates: int,
) -> Iterator[Futures]:
    """Futures of one patient under each plan in turn, ``n_draws x replicates`` paths, in chunks of bounded memory.

    All plans share one grid of steps (broken at the dose changes of any of them), so that they share one compiled
    program and the random numbers of every step.
    """
    schedules = [splice(history, plan_schedule(plan, look.start, look.horizon), look.start) for plan in plans]
    stop = look.start + look.horizon
    changes = np.concatenate([np.concatenate([one.start, one.stop]) for one in schedules])
    days = _Days(
        visits=look.start + np.append(np.arange(look.visit_every, look.horizon - 1e-6, look.visit_every), look.horizon),
        dense=look.start + np.append(np.arange(0.0, look.horizon - 1e-6, look.record_every), look.horizon),
        changes=changes[(changes > at.day) & (changes < stop)],
    )
    for schedule in schedules:
        yield _under(seed, name, at, schedule, days, look, rule, replicates)


class _Days(NamedTuple):
    visits: np.ndarray
    dense: np.ndarray
    changes: np.ndarray


def _under(
    seed: int, name: str, at: Landmark, schedule: Schedule, days: _Days, look: Look, rule: Rule, replicates: int
) -> Futures:
    """Futures of one patient under one schedule."""
    marks = np.unique(np.concatenate([days.visits, days.dense]))
    nodes = np.concatenate([marks, days.changes])
    steps, index = grid(schedule, nodes, start=at.day, stop=look.start + look.horizon, max_step=1.0)
    draws = len(np.asarray(at.cells.sensitive))
    size = max(1, int(CHUNK_BYTES / (64.0 * len(np.asarray(steps.length)) * replicates)))
    dense, visited = np.isin(marks, days.dense), np.isin(marks, days.visits)
    course = course_at(schedule, days.visits)
    last = int(course_at(schedule, look.start - 1e-6))
    burden, times, gone = [], [], []
    share_sum = np.zeros((int(dense.sum()), 3))
    for first in range(0, draws, size):
        members = np.arange(first, min(first + size, draws))
        paths = _chunk(seed, name, at, members, steps, index[: len(marks)], marks, replicates)
        burden.append(paths.burden[:, dense])
        share_sum += paths.shares[:, dense].sum(axis=0)
        times.append(_times(paths.measured[:, visited], days.visits - look.start, course, (at.nadir, last), rule))
        gone.append(paths.gone)
    return Futures(
        day=marks[dense] - look.start,
        burden=np.quantile(np.concatenate(burden), LEVELS, axis=0).T,
        shares=share_sum / (draws * replicates),
        dose=dose_at(schedule, marks[dense]),
        time_to_progression=np.concatenate(times).reshape(draws, replicates),
        extinct=np.concatenate(gone).reshape(draws, replicates),
        days_on_drug=_days_on_drug(schedule, look),
        visits_on_drug=_longest_run(course),
    )


class _Paths(NamedTuple):
    """Burden and burden as measured ``(n, n_days)``, shares ``(n, n_days, 3)``, and whether no cell is left ``(n,)``."""

    burden: np.ndarray
    measured: np.ndarray
    shares: np.ndarray
    gone: np.ndarray


def _chunk(
    seed: int,
    name: str,
    at: Landmark,
    members: np.ndarray,
    steps: Grid,
    index: np.ndarray,
    marks: np.ndarray,
    replicates: int,
) -> _Paths:
    """Paths of some draws at ``marks``."""
    numbers = jnp.asarray((members[:, None] * replicates + np.arange(replicates)).ravel())
    pick = np.repeat(members, replicates)
    state = {part: value for part, value in at._asdict().items() if part in _PER_DRAW}
    mine = jax.tree.map(lambda value: np.asarray(value)[pick], state)
    own = {what: keys.key(seed, name, what) for what in ("landmark", "futures", "wander", "noise", "counts")}
    whole, exposure = _begin(own["landmark"], numbers, mine, steps)
    path = simulate(own["futures"], whole, mine["rates"], steps, exposure, first=int(numbers[0]))
    cells = np.stack([np.c_[first, along][:, index] for first, along in zip(whole, path, strict=True)], axis=-1)
    total = cells.sum(axis=-1)
    when = np.concatenate([[at.day], marks])
    burden, measured = _seen(own, numbers, mine, total, when, at.power, counted=at.counted)
    shares = cells / np.maximum(total, 1.0)[..., None]
    return _Paths(np.asarray(burden), np.asarray(measured), shares, total[:, -1] <= 0.0)


@jax.jit
def _begin(key: Array, numbers: Array, mine: dict[str, Any], steps: Grid) -> tuple[Cells, Exposure]:
    """Whole cells at the landmark of the paths ``numbers``, and their exposure along the steps."""
    rates = mine["rates"]
    return _whole(key, numbers, mine["cells"]), relax(steps, rates.onset_days, rates.washout_days, mine["exposure"])


@partial(jax.jit, static_argnames="counted")
def _seen(
    own: dict[str, Array],
    numbers: Array,
    mine: dict[str, Any],
    total: Array,
    when: Array,
    power: float,
    *,
    counted: bool,
) -> tuple[Array, Array]:
    """Burden, and burden as measured, of paths with ``total`` cells ``(n, n_days)`` at the days ``when`` but the first."""
    values, size = mine["values"], total.shape[1]
    level = log_burden(total, mine["log_unit"][:, None], power)
    drift = _drift(own["wander"], numbers, when, mine["wander_mean"], mine["wander_sd"], values)
    burden = jnp.where(total > 0.0, jnp.exp(level + drift), 0.0)
    error = jax.vmap(lambda key: noise(key, (size,)))(keys.numbered(own["noise"], numbers))
    scatter = values["noise_sd"][:, None] * error
    if counted:  # the likelihood's variance of the log of a count
        shock = jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys.numbered(own["counts"], numbers))
        scatter = scatter + shock / jnp.sqrt(jnp.maximum(burden, 1.0))
    return burden, burden * jnp.exp(scatter)


def _whole(key: Array, numbers: Array, cells: Cells) -> Cells:
    """Whole cells: S and P rounded, R Poisson about its mean while that is small."""
    mean = cells.resistant
    draw = jax.vmap(poisson)(keys.numbered(key, numbers), jnp.minimum(mean, POISSON_BELOW))
    resistant = jnp.where(mean < POISSON_BELOW, draw, jnp.round(mean))
    return Cells(jnp.round(cells.sensitive), jnp.round(cells.persister), resistant)


def _drift(key: Array, numbers: Array, days: Array, mean: Array, sd: Array, values: dict[str, Any]) -> Array:
    """The wander carried on from what the last value left known of it, at all ``days`` but the first; ``(n, n_days - 1)``."""

    def one(own: Array, centre: Array, spread: Array, size: Array, memory: Array) -> Array:
        start, path = jax.random.split(own)
        return wander(path, centre + spread * jax.random.normal(start), days, size, memory)[1:]

    return jax.vmap(one)(keys.numbered(key, numbers), mean, sd, values["wander_sd"], values["wander_days"])


def _times(
    measured: np.ndarray, day: np.ndarray, course: np.ndarray, before: tuple[float | None, int], rule: Rule
) -> np.ndarray:
    """Time to progression of every path; ``before`` is the nadir up to the landmark (None: off drug), and its course.

    The nadir stands first, at day 0, and counts for as long as that course goes on.
    """
    nadir, number = before
    if nadir is not None:
        measured = np.concatenate([np.full((len(measured), 1), nadir), measured], axis=1)
        day, course = np.append(0.0, day), np.append(number, course)
    return np.asarray(_judged(day, measured, course, rule))


_judged = jax.jit(time_to_progression, static_argnames="rule")


def _longest_run(course: np.ndarray) -> int:
    """The most visits in a row within one course of treatment."""
    ends = np.flatnonzero(np.diff(course, append=-1))
    runs = np.diff(ends, prepend=-1)
    return int(np.max(runs[course[ends] > 0], initial=0))


def _days_on_drug(schedule: Schedule, look: Look) -> float:
    """Days with a dose over 0 within the horizon."""
    stop = look.start + look.horizon
    inside = np.minimum(schedule.stop, stop) - np.maximum(schedule.start, look.start)
    return float(np.maximum(inside, 0.0).sum())
