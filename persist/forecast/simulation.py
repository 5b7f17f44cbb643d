"""Simulation from written rates: many trajectories under one plan, recorded daily, and what they have in common.

Trajectories run in chunks of bounded memory. Mean, variance and extinction are of all of them; quantiles of as many as
fit into `ROOM`; the file keeps the first ``keep``. A trajectory's random numbers depend on the seed and its number alone,
so none of this changes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics import stepsize
from persist.dynamics.attenuation import FRESH, attenuated
from persist.dynamics.checks import MOST_CELLS, Method
from persist.dynamics.moments import mean_field
from persist.dynamics.paths import Course, Lanes
from persist.dynamics.trajectories import steered, sweep, trial
from persist.errors import RatesError
from persist.forecast.order import MEAN, Order
from persist.forecast.tally import LEVELS, Part, Result, Tally, part
from persist.inference import store
from persist.treatment.exposure import relax
from persist.treatment.rules import Memory, decide, remember
from persist.treatment.schedule import dose_at, grid, plan_schedule
from persist.types import Cells, Exposure

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from persist.dynamics.paths import Steered
    from persist.types import Grid, Rates, Schedule

ROOM = 20_000_000
"""Cell numbers (trajectories x days x states) that are held at once, for quantiles."""

MEAN_STEP = 0.125
"""Longest step of the mean field in days, unless told otherwise."""

MOST_COUNTED = 1e100
"""Cells beyond which a simulation is refused: far above any tumour, and their squares still are numbers."""


def run(
    cells: Cells,
    rates: Rates,
    asked: Order,
    *,
    sha256: str = "",
    notes: Sequence[str] = (),
    progress: Callable[[int, int], None] | None = None,
) -> store.DataTree:
    """The DataTree of kind "simulation" for one set of rates, all scalars; the plan starts on day 0, without exposure.

    ``sha256`` is that of the file of the rates; ``notes`` on it go with those on the numbers; ``progress(done, total)``
    counts trajectories. Errors as of `dynamics.trajectories.simulate`; `RatesError` names table and key, not the file.
    """
    began = time.perf_counter()
    schedule = plan_schedule(asked.plan, 0.0, asked.days)
    longest = (asked.step or MEAN_STEP) if asked.engine == MEAN else 1.0
    marks = np.append(np.arange(asked.days + 1.0), _looks(asked))
    steps, index = grid(schedule, marks, start=0.0, stop=asked.days, max_step=longest)
    index = index[: asked.days + 1]
    _check(cells, rates, schedule, asked)
    shared = _Shared(cells, rates, steps, _exposure(rates, steps), index)
    step = _step(shared, asked)
    result, share, spent, compiling = (
        _expected(shared) if asked.engine == MEAN else _sampled(shared, asked, step, progress)
    )
    dose = _doses(schedule, steps) if share is None else share
    told = store.tree("simulation", _groups(result, dose), {})
    settings = asked._asdict() | {"plan": {"name": asked.plan.name, "text": asked.plan.text}, "step": step.days}
    told.attrs |= {
        "engine": asked.engine,
        "trajectories": 1 if asked.engine == MEAN else asked.trajectories,
        "step_days": step.days,
        "step_error": step.error,
        "notes": store.as_attribute([*_notes(result, asked, step), *notes]),
        "settings": store.as_attribute(settings),
        "rates": store.as_attribute({name: _written(value) for name, value in rates._asdict().items()}),
        "cells": store.as_attribute(cells._asdict()),
        "provenance": store.as_attribute(store.provenance(asked.seed, sha256)),
        "seconds": spent,
        "compile_seconds": compiling,
        "wall_seconds": time.perf_counter() - began,
    }
    return told


def _exposure(rates: Rates, steps: Grid) -> Exposure:
    """The exposure along a grid, and what is left of the kill where it fades."""
    return attenuated(relax(steps, rates.onset_days, rates.washout_days), rates, steps.length)[0]


def _doses(schedule: Schedule, steps: Grid) -> np.ndarray:
    """Dose from each day on, ``(n_days + 1,)``; on the last day, where the schedule is cut, the dose up to it."""
    days = round(float(np.sum(steps.length)))
    return np.append(dose_at(schedule, np.arange(float(days))), steps.dose[-1])


class _Shared(NamedTuple):
    """Everything that the trajectories share; ``days`` has for each day, from 0 on, the number of steps up to it."""

    cells: Cells
    rates: Rates
    steps: Grid
    exposure: Exposure
    days: np.ndarray


def _check(cells: Cells, rates: Rates, schedule: Any, asked: Order) -> None:
    """Refuses cells that no engine can count: parts of cells, and more than can be followed (by the exact engine).

    Where they will go is known beforehand from the mean field, at steps of a day.
    """
    for name, count in cells._asdict().items():
        if asked.engine != MEAN and count != round(count):
            remedy = "give a whole number, or use --engine mean"
            raise RatesError(f"{count:g} cells are not whole cells", where=f"[cells], {name}", remedy=remedy)
    steps, _ = grid(schedule, np.arange(asked.days + 1.0), start=0.0, stop=asked.days, max_step=1.0)
    path = mean_field(cells, rates, steps.length, _exposure(rates, steps))
    total = np.append(float(cells.total), np.asarray(path.total))
    limit, remedy = MOST_COUNTED, "give a capacity, or fewer days"
    if asked.engine == "ssa":
        limit, remedy = MOST_CELLS, "use --engine leap, which is right for many cells"
    over = np.flatnonzero(~(total <= limit))
    if len(over):
        when = float(np.sum(np.asarray(steps.length)[: over[0]]))
        what = f"about day {when:.0f} there will be more than {limit:.1g} cells, too many for the engine {asked.engine}"
        raise RatesError(what, where="[rates], capacity" if over[0] else "[cells]", remedy=remedy)


def _step(shared: _Shared, asked: Order) -> stepsize.Step:
    """The step and its error; nan for an engine that has none. Under a rule, the worst of drug throughout (also
    with a kill that does not fade) and none.
    """
    longest = float(np.max(shared.steps.length))
    if asked.engine != "leap":
        return stepsize.Step(1, longest if asked.engine == MEAN else float("nan"), float("nan"))
    levels = [shared.exposure]
    if asked.plan.rule is not None:
        none = np.zeros_like(np.asarray(shared.exposure.start))
        levels.append(Exposure(none, none, none))
        levels += [] if shared.exposure.potency is None else [shared.exposure._replace(potency=None)]
    if asked.step is None:
        found = [stepsize.choose(shared.cells, shared.rates, shared.steps, level) for level in levels]
        return max(found, key=lambda step: (step.substeps, step.error))
    substeps = max(1, int(np.ceil(longest / asked.step - 1e-9)))
    error = max(stepsize.error(shared.cells, shared.rates, shared.steps, level, substeps) for level in levels)
    return stepsize.Step(substeps, longest / substeps, error)


def _expected(shared: _Shared) -> tuple[Result, None, float, float]:
    """The mean field on every day, nothing, seconds of running and of compiling."""

    @jax.jit
    def field(cells: Cells) -> Cells:
        return mean_field(cells, shared.rates, shared.steps.length, shared.exposure)

    def follow(cells: Cells) -> np.ndarray:
        path = field(cells)
        return _daily(cells, Cells(*(state[None] for state in path)))[:, :, shared.days]

    (_, compiling), (days, spent) = (_timed(follow, at) for at in (_none(shared.cells), shared.cells))
    mean, nothing = days[:, 0], np.full(days[:, 0].shape, np.nan)
    quantiles = np.full((len(mean), len(LEVELS), mean.shape[-1]), np.nan)
    result = Result(mean, nothing, quantiles, nothing[:, -1], float("nan"), days, 0)
    return result, None, spent, max(0.0, compiling - spent)


def _sampled(
    shared: _Shared, asked: Order, step: stepsize.Step, progress: Callable[[int, int], None] | None
) -> tuple[Result, np.ndarray | None, float, float]:
    """Trajectories by a stochastic engine; under a rule, the mean dose by day; seconds of running and of compiling."""
    number, days = asked.trajectories, asked.days + 1
    method = Method(asked.engine, None if np.isnan(step.days) else step.days, asked.exact_below)
    hold = max(asked.keep, ROOM // (3 * days))
    few = trial(number, asked.engine, asked.days, ruled=asked.plan.rule is not None)
    _, compiling = _timed(lambda: list(_parts(shared, asked, method, hold, _none(shared.cells), few)))
    tally, dosed, began = Tally(), np.zeros(days), time.perf_counter()
    for found, on in _parts(shared, asked, method, hold, shared.cells, number):
        tally.add(found)
        if progress is not None:
            progress(tally.number, number)
        dosed += on
    spent = time.perf_counter() - began
    return tally.result(asked.keep), dosed / number if asked.plan.rule else None, spent, max(0.0, compiling)


def _parts(
    shared: _Shared, asked: Order, method: Method, hold: int, cells: Cells, number: int
) -> Iterator[tuple[Part, np.ndarray]]:
    """What is kept of each chunk of trajectories, and the sum of their doses by day ``(n_days + 1,)`` under a rule."""
    key, ends = keys.key(asked.seed, "simulate"), np.isin(np.arange(1, len(shared.steps.length) + 1), shared.days)

    def known(members: np.ndarray, path: Cells) -> tuple[Part, np.ndarray]:
        return part(_daily(cells, path), hold - int(members[0])), np.zeros(asked.days + 1)

    def ruled(members: np.ndarray, lanes: Lanes, path: Steered) -> tuple[Part, np.ndarray]:
        on, here = np.asarray(path.dose).sum(axis=0), len(members)
        first = here * asked.plan.pieces[0].dose if asked.plan.pieces else np.sum(lanes.memory.dose[:here])
        return part(_daily(cells, path.cells), hold - int(members[0])), np.append(first, on)

    if asked.plan.rule is None:
        return sweep(
            known, key, cells, shared.rates, shared.steps, shared.exposure, method, trajectories=number, record=ends
        )
    plan = _plan(shared, asked)

    def lanes(members: np.ndarray) -> Lanes:
        memory = remember(asked.plan.rule, len(members))  # type: ignore[arg-type]
        memory = decide(memory, jnp.full(len(members), float(cells.total)))
        potency = None if shared.exposure.potency is None else FRESH
        return Lanes(cells, shared.rates, 0.0, False, jnp.zeros((1, len(members))), memory, potency)

    return steered(ruled, by_cells, key, lanes, shared.steps, plan, method, trajectories=number, record=ends)


def by_cells(memory: Memory, cells: Cells, _: Any) -> Memory:
    """The rule of a simulation: it sees all cells, without error."""
    return decide(memory, cells.total)


def _plan(shared: _Shared, asked: Order) -> Course:
    """The plan along the grid; the rule looks at visits from its beginning on."""
    length, begin = np.asarray(shared.steps.length), asked.plan.ruled_from
    ends = np.cumsum(length)
    looks = np.abs(ends[:, None] - _looks(asked)).min(axis=1, initial=np.inf) < 1e-6
    return Course(np.asarray(shared.steps.dose), ends - length >= begin - 1e-6, np.where(looks, 0, -1))


def _looks(asked: Order) -> np.ndarray:
    """The days on which a rule looks: where it begins, and visits after that; none without a rule."""
    begin, visits = asked.plan.ruled_from, np.arange(asked.visit_every, asked.days, asked.visit_every)
    return np.append(visits[visits > begin], begin if 0.0 < begin < asked.days else [])


def _none(cells: Cells) -> Cells:
    """No cells at all: the same program, run for the sake of compiling."""
    return Cells(*(0.0 for _ in cells))


def _timed[T](action: Callable[..., T], *of: Any) -> tuple[T, float]:
    """What an action returns, and its seconds."""
    began = time.perf_counter()
    result = action(*of)
    return result, time.perf_counter() - began


def _daily(cells: Cells, path: Cells) -> np.ndarray:
    """Day 0 before a path: ``(3, n_trajectories, n_days + 1)``, NumPy."""
    record = np.stack([np.asarray(along) for along in path])
    start = np.asarray(cells, float)[:, None, None]
    return np.concatenate([np.broadcast_to(start, (*record.shape[:2], 1)), record], axis=2)


def _groups(result: Result, dose: np.ndarray) -> dict[str, store.Dataset]:
    """The groups of the file: ``trajectories``, and ``summary`` with a dimension ``state``."""
    day, states = np.arange(result.mean.shape[-1]), list(Cells._fields)
    kept = {name: (("trajectory", "day"), one) for name, one in zip(states, result.kept, strict=True)}
    summary = {
        "mean": (("state", "day"), result.mean),
        "variance": (("state", "day"), result.variance),
        "quantiles": (("state", "level", "day"), result.quantiles),
        "extinct": (("state",), result.extinct),
        "all_extinct": ((), np.asarray(result.all_extinct)),
        "dose": (("day",), dose),
    }
    return {
        "trajectories": store.dataset(kept, {"trajectory": np.arange(result.kept.shape[1]), "day": day}),
        "summary": store.dataset(summary, {"state": states, "level": list(LEVELS), "day": day}),
    }


def _notes(result: Result, asked: Order, step: stepsize.Step) -> list[str]:
    """What a reader must know about the numbers."""
    if asked.engine == MEAN:
        return ["the mean field has no chance in it: one course, and no variance, quantiles or extinction"]
    notes, number, held = [], asked.trajectories, result.quantile_trajectories
    if step.error > stepsize.BOUND:
        notes.append(
            f"steps of {step.days:.3g} days put means off by an estimated {100 * step.error:.2g} %, more than the "
            f"{100 * stepsize.BOUND:g} % that the leap keeps to where it can choose"
        )
    if held < number:
        notes.append(f"quantiles are of the first {held} trajectories, mean and variance of all {number}")
    if result.kept.shape[1] < number:
        notes.append(f"the file holds the first {result.kept.shape[1]} of {number} trajectories (--keep)")
    return notes


def _written(value: Any) -> float | str:
    """A rate for JSON, which knows no infinity."""
    return float(value) if np.isfinite(value) else "inf"
