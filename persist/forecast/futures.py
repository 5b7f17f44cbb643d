"""Futures: posterior draws carried on under a plan by the stochastic engine, and seen through the fitted measurement.

From the state at the landmark (the last visit up to it) each draw runs on as whole cells: S and P are rounded, R, which the
fit knows as a mean, is drawn as Poisson while it is small. Every plan of a patient uses the same random numbers (common
random numbers), so that differences between plans are not noise. Progress is judged on measured values at visits, and an
adaptive plan decides on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import stepsize
from persist.forecast.under import LEVELS, Days, Futures, Landmark, Look, Marks, Patient, under
from persist.inference.model import patient, trace_curves
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at, grid, plan_schedule, splice
from persist.types import Cells, Grid, Rates, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from persist.dynamics.observe import Observable
    from persist.forecast.endpoints import Rule
    from persist.inference.cohort import Case
    from persist.treatment.schedule import Plan

__all__ = ["LEVELS", "Futures", "Landmark", "Look", "landmark", "run"]


def landmark(
    values: dict[str, np.ndarray], case: Case, seen: tuple[float, float], kind: Observable, nadir: float | None
) -> Landmark:
    """State of every draw at the last visit of ``case`` (cut at the landmark before); ``values`` each ``(n_draws,)``,
    ``seen`` the day of that visit and the burden then.
    """
    curve = trace_curves({name: jnp.asarray(value) for name, value in values.items()}, case, kind.power)
    start = patient(values, kind.power)
    last = int(np.flatnonzero(np.asarray(case.seen))[-1])
    count = len(next(iter(values.values())))
    return Landmark(
        day=seen[0],
        rates=Rates(*(jnp.broadcast_to(jnp.asarray(rate, float), (count,)) for rate in start.rates)),
        cells=Cells(*(state[:, last] for state in curve.cells)),
        exposure=curve.exposure[:, last],
        wander_mean=curve.wander.mean,
        wander_sd=jnp.sqrt(curve.wander.variance),
        log_unit=start.log_cells_per_unit,
        values=values,
        power=kind.power,
        counted=kind.counted,
        burden=seen[1],
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

    All plans share one grid of steps (broken at the dose changes and rules of any of them) and one step of the leap, so
    that they share one compiled program and the random numbers of every step.
    """
    schedules = [splice(history, plan_schedule(plan, look.start, look.horizon), look.start) for plan in plans]
    stop = look.start + look.horizon
    changes = np.concatenate([np.concatenate([one.start, one.stop]) for one in schedules])
    days = Days(
        visits=look.start + np.append(np.arange(look.visit_every, look.horizon - 1e-6, look.visit_every), look.horizon),
        dense=look.start + np.append(np.arange(0.0, look.horizon - 1e-6, look.record_every), look.horizon),
        rules=look.start + np.array([plan.ruled_from for plan in plans if plan.ruled_from < look.horizon], float),
    )
    who = Patient(seed, name, at, look, rule, replicates, bool(dose_at(history, at.day - 1e-6) > 0.0))
    marks = np.unique(np.concatenate([days.visits, days.dense, days.rules]))
    nodes = np.concatenate([marks, changes[(changes > at.day) & (changes < stop)]])
    grids = [grid(one, nodes, start=at.day, stop=stop, max_step=1.0) for one in schedules]
    step = _step(at, [steps for steps, _ in grids], plans)
    for plan, schedule, (steps, index) in zip(plans, schedules, grids, strict=True):
        yield under(who, plan, schedule, days, Marks(marks, index[: len(marks)], steps, step))


_relax = jax.jit(relax)


def _step(at: Landmark, grids: list[Grid], plans: Sequence[Plan]) -> stepsize.Step:
    """The step that all plans need at every draw; under a rule, drug throughout and none are looked at."""
    doses = [np.asarray(steps.dose) for steps in grids]
    doses += [np.zeros_like(doses[0])] if any(plan.rule is not None for plan in plans) else []
    found = []
    for dose in doses:
        steps = Grid(grids[0].length, dose)
        level = _relax(steps, at.rates.onset_days, at.rates.washout_days, at.exposure)
        found.append(stepsize.choose(at.cells, at.rates, steps, level))
    return max(found, key=lambda step: (step.substeps, step.error))
