"""Futures: posterior draws carried on under a plan by the stochastic engine, and seen through the fitted measurement.

From the state at the landmark (the last visit up to it) each draw runs on as whole cells: S and P are rounded, R, which the
fit knows as a mean, is drawn as Poisson while it is small. Every plan of a patient uses the same random numbers day by day
(common random numbers), so that differences between plans are not noise; what comes out of a plan does not depend on the
plans beside it. Progress is judged on measured values at visits, and an adaptive plan decides on them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import numpy as np

from persist.dynamics import stepsize
from persist.dynamics.batches import bucket
from persist.forecast.agenda import agenda
from persist.forecast.landmark import Landmark, Look, Patient
from persist.forecast.under import Futures, under
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at
from persist.types import Grid, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from persist.forecast.endpoints import Rule
    from persist.treatment.schedule import Plan


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
    """Futures of one patient under each plan in turn, ``n_draws x replicates`` paths, in chunks of bounded memory."""
    who = Patient(seed, name, at, look, rule, replicates, bool(dose_at(history, at.day - 1e-6) > 0.0))
    extremes = [_step(at, _throughout(dose, look.start + look.horizon - at.day)) for dose in (0.0, 1.0)]
    for plan in plans:
        one = agenda(who, history, plan)
        yield under(who, one, stepsize.finest([*extremes, _step(at, one.steps)]))


def _throughout(dose: float, days: float) -> Grid:
    """Daily steps at one dose."""
    count = max(1, int(np.ceil(days - 1e-9)))
    return Grid(np.full(count, days / count), np.full(count, dose))


_relax = jax.jit(relax)


def _step(at: Landmark, steps: Grid) -> stepsize.Step:
    """The step of the leap that all draws need along a grid."""
    more = bucket(len(steps.length)) - len(steps.length)
    filled = Grid(np.pad(steps.length, (0, more)), np.pad(steps.dose, (0, more), mode="edge"))
    level = _relax(filled, at.rates.onset_days, at.rates.washout_days, at.exposure)
    return stepsize.choose(at.cells, at.rates, filled, level)
