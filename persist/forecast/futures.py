"""Futures: posterior draws carried on under a plan by the stochastic engine, and seen through the fitted measurement.

From the state at the landmark (the last visit up to it) each draw runs on as whole cells: S and P are rounded, R, which the
fit knows as a mean, is drawn as Poisson while it is small. Every plan of a patient uses the same step and the same random
numbers day by day (common random numbers), so that differences between plans are not noise. Progress is judged on measured
values at visits, and an adaptive plan decides on them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import numpy as np

from persist.dynamics import stepsize
from persist.dynamics.attenuation import attenuated
from persist.dynamics.batches import bucket
from persist.forecast.agenda import agendas
from persist.forecast.landmark import Landmark, Look, Patient
from persist.forecast.reply import RESPONSE_DAYS
from persist.forecast.trace import LIMIT
from persist.forecast.under import Futures, under
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at
from persist.types import Cells, Exposure, Grid, Rates, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from persist.forecast.endpoints import Rule
    from persist.treatment.schedule import Plan

TURN = 90
"""Days on and off drug of the turns that the step is tried on."""


def run(
    seed: int,
    name: str,
    at: Landmark,
    history: Schedule,
    plans: Sequence[Plan],
    look: Look,
    rule: Rule,
    replicates: int,
    missed: float = 0.0,
    limit: float = LIMIT,
    others: tuple[Rule, ...] = (),
    within: float = RESPONSE_DAYS,
) -> Iterator[Futures]:
    """Futures of one patient under each plan in turn, ``n_draws x replicates`` paths, in chunks of bounded memory; visits are
    ``missed`` with this probability, the same of each path under every plan; ``limit``, ``others`` and ``within`` as of
    `Patient`.
    """
    before = bool(dose_at(history, at.day - 1e-6) > 0.0)
    who = Patient(seed, name, at, look, rule, replicates, before, missed, limit, others, within)
    all_of = agendas(who, history, plans)
    step = _step(at, [*_likely(look.start + look.horizon - at.day), *(one.steps for one in all_of)])
    for one in all_of:
        yield under(who, one, step)


def _likely(days: float) -> list[Grid]:
    """Daily steps without drug, on it throughout, and on and off by turns, as a rule might have it."""
    count = max(1, math.ceil(days - 1e-9))
    length = np.append(np.ones(count - 1), days - (count - 1))
    turns = np.arange(count) // TURN % 2.0
    return [Grid(length, dose) for dose in (np.zeros(count), np.ones(count), turns, 1.0 - turns)]


_relax, _attenuated = jax.jit(relax), jax.jit(attenuated)


def _step(at: Landmark, grids: Sequence[Grid]) -> stepsize.Step:
    """The step of the leap that all draws need along each of the grids: one for all, lest their steps differ."""

    def along(steps: Grid) -> tuple[Cells, Rates, Grid, Exposure]:
        more = bucket(len(steps.length)) - len(steps.length)
        filled = Grid(np.pad(steps.length, (0, more)), np.pad(steps.dose, (0, more), mode="edge"))
        level = _relax(filled, at.rates.onset_days, at.rates.washout_days, at.exposure)
        return at.cells, at.rates, filled, _attenuated(level, at.rates, filled.length, at.potency)[0]

    every = [along(steps) for steps in grids]
    found = [stepsize.choose(*one) for one in every]
    most = max(step.substeps for step in found)
    worst = max(
        step.error if step.substeps == most else stepsize.error(*one, most)
        for step, one in zip(found, every, strict=True)
    )
    return stepsize.Step(most, max(step.days * step.substeps for step in found) / most, worst)
