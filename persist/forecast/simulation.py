"""Simulation from written rates: many trajectories under one plan, recorded daily, and what they have in common.

Trajectories run in blocks of bounded memory. Mean, variance and extinction are of all of them; quantiles of as many as
fit into `ROOM`; the file keeps the first ``keep``. A trajectory's random
numbers depend on the seed and its number alone, so none of this changes it.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.moments import mean_field
from persist.dynamics.trajectories import CHUNK, ENGINES, MOST_CELLS, simulate
from persist.errors import RatesError, UsageError
from persist.forecast.tally import LEVELS, Result, Tally
from persist.inference import store
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at, grid, parse_plan, plan_schedule
from persist.types import Cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persist.treatment.schedule import Plan
    from persist.types import Exposure, Grid, Rates, Schedule

MEAN = "mean"
"""The engine without chance: the mean field."""

ROOM = 20_000_000
"""Cell numbers (trajectories x days x states) that are held at once."""

MAX_STEP = 0.125
"""Longest step of the leap and the mean field in days."""

MOST_COUNTED = 1e100
"""Cells beyond which a simulation is refused: far above any tumour, and their squares still are numbers."""


class Order(NamedTuple):
    """What is to be simulated: ``days`` days under ``plan`` by ``engine``; ``step`` days at most for leap and mean;
    ``keep`` trajectories at most go into the file.
    """

    plan: Plan
    days: int
    trajectories: int = 1000
    engine: str = "leap"
    step: float = MAX_STEP
    keep: int = 1000
    seed: int = 0


def order(plan: str, days: int, **options: Any) -> Order:
    """An `Order` from the text of a plan; `ScheduleError` / `UsageError` for what cannot be simulated."""
    one = Order(parse_plan(plan), days, **options)
    if one.engine not in (*ENGINES, MEAN):
        raise UsageError(f"no engine named {one.engine!r}", remedy=f"choose {', '.join((*ENGINES, MEAN))}")
    for name, value in (("days", one.days), ("trajectories", one.trajectories), ("keep", one.keep)):
        if value < 1:
            raise UsageError(f"{name} is {value}", remedy="give 1 or more")
    if not 0.0 < one.step <= 1.0:
        raise UsageError(f"the step is {one.step:g} days", remedy="give more than 0 and at most 1 (records are daily)")
    return one


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
    longest = asked.step if asked.engine == MEAN else 1.0
    steps, index = grid(schedule, np.arange(asked.days + 1.0), start=0.0, stop=asked.days, max_step=longest)
    _check(cells, rates, schedule, asked)
    course = _Course(cells, rates, steps, relax(steps, rates.onset_days, rates.washout_days), index)
    result, spent, compiling = (_expected if asked.engine == MEAN else _sampled)(course, asked, progress)
    told = store.tree("simulation", _groups(result, _doses(schedule, steps)), {})
    settings = asked._asdict() | {"plan": {"name": asked.plan.name, "text": asked.plan.text}}
    told.attrs |= {
        "engine": asked.engine,
        "trajectories": 1 if asked.engine == MEAN else asked.trajectories,
        "notes": store.as_attribute([*_notes(result, asked), *notes]),
        "settings": store.as_attribute(settings),
        "rates": store.as_attribute({name: _written(value) for name, value in rates._asdict().items()}),
        "cells": store.as_attribute(cells._asdict()),
        "provenance": store.as_attribute(store.provenance(asked.seed, sha256)),
        "seconds": spent,
        "compile_seconds": compiling,
        "wall_seconds": time.perf_counter() - began,
    }
    return told


def _doses(schedule: Schedule, steps: Grid) -> np.ndarray:
    """Dose from each day on, ``(n_days + 1,)``; on the last day, where the schedule is cut, the dose up to it."""
    days = round(float(np.sum(steps.length)))
    return np.append(dose_at(schedule, np.arange(float(days))), steps.dose[-1])


class _Course(NamedTuple):
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
    path = mean_field(cells, rates, steps.length, relax(steps, rates.onset_days, rates.washout_days))
    total = np.append(float(cells.total), np.asarray(path.total))
    limit, remedy = MOST_COUNTED, "give a capacity, or fewer days"
    if asked.engine == "ssa":
        limit, remedy = MOST_CELLS, "use --engine leap, which is right for many cells"
    over = np.flatnonzero(~(total <= limit))
    if len(over):
        when = float(np.sum(np.asarray(steps.length)[: over[0]]))
        what = f"about day {when:.0f} there will be more than {limit:.1g} cells, too many for the engine {asked.engine}"
        raise RatesError(what, where="[rates], capacity" if over[0] else "[cells]", remedy=remedy)


def _expected(
    course: _Course, asked: Order, progress: Callable[[int, int], None] | None
) -> tuple[Result, float, float]:
    """The mean field on every day, seconds of running and of compiling."""

    @jax.jit
    def field(cells: Cells) -> Cells:
        return mean_field(cells, course.rates, course.steps.length, course.exposure)

    def follow(cells: Cells) -> np.ndarray:
        path = field(cells)
        return _daily(cells, Cells(*(state[None] for state in path)), course.days)

    (_, compiling), (days, spent) = (_timed(follow, at) for at in (_none(course.cells), course.cells))
    mean, nothing = days[:, 0], np.full(days[:, 0].shape, np.nan)
    quantiles = np.full((len(mean), len(LEVELS), mean.shape[-1]), np.nan)
    return Result(mean, nothing, quantiles, nothing[:, -1], float("nan"), days, 0), spent, max(0.0, compiling - spent)


def _sampled(course: _Course, asked: Order, progress: Callable[[int, int], None] | None) -> tuple[Result, float, float]:
    """Trajectories by a stochastic engine, block by block; seconds of running and of compiling.

    Blocks are whole chunks of `simulate`, so that all run the program that a chunk without cells has had compiled; what
    a last block has beyond the number asked for is left out.
    """
    number, days = asked.trajectories, asked.days + 1
    size = -(-number // -(-number // CHUNK))
    block = size * max(1, min(-(-number // size), ROOM // (3 * days * size)))

    def follow(cells: Cells, first: int, count: int) -> np.ndarray:
        path = simulate(
            keys.key(asked.seed, "simulate"), cells, course.rates, course.steps, course.exposure,
            engine=asked.engine, trajectories=count, first=first, max_step=asked.step, record=_marks(course),
        )  # fmt: skip
        return _daily(cells, path, np.arange(days))

    _, compiling = _timed(follow, _none(course.cells), 0, size)
    tally, spent = Tally(max(asked.keep, ROOM // (3 * days))), 0.0
    for first in range(0, number, block):
        if progress is not None:
            progress(first, number)
        here = min(block, -(-(number - first) // size) * size)
        record, seconds = _timed(follow, course.cells, first, here)
        tally.add(record[:, : number - first])
        spent += seconds
    return tally.result(asked.keep), spent, compiling


def _none(cells: Cells) -> Cells:
    """No cells at all: the same program, run for the sake of compiling."""
    return Cells(*(0.0 for _ in cells))


def _marks(course: _Course) -> np.ndarray:
    """Mask of the steps that end a day, ``(n_steps,)``."""
    return np.isin(np.arange(1, len(course.steps.length) + 1), course.days)


def _timed(action: Callable[..., np.ndarray], *of: Any) -> tuple[np.ndarray, float]:
    """What an action returns, and its seconds."""
    began = time.perf_counter()
    result = action(*of)
    return result, time.perf_counter() - began


def _daily(cells: Cells, path: Cells, index: np.ndarray) -> np.ndarray:
    """Day 0 before a path, taken at ``index``: ``(3, n_trajectories, n_days + 1)``, NumPy."""
    pairs = zip(cells, path, strict=True)
    whole = [np.asarray(jnp.pad(along, ((0, 0), (1, 0)), constant_values=start)) for start, along in pairs]
    return np.stack(whole)[:, :, index]


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


def _notes(result: Result, asked: Order) -> list[str]:
    """What a reader must know about the numbers."""
    if asked.engine == MEAN:
        return ["the mean field has no chance in it: one course, and no variance, quantiles or extinction"]
    notes, number, held = [], asked.trajectories, result.quantile_trajectories
    if held < number:
        notes.append(f"quantiles are of the first {held} trajectories, mean and variance of all {number}")
    if result.kept.shape[1] < number:
        notes.append(f"the file holds the first {result.kept.shape[1]} of {number} trajectories (--keep)")
    return notes


def _written(value: Any) -> float | str:
    """A rate for JSON, which knows no infinity."""
    return float(value) if np.isfinite(value) else "inf"
