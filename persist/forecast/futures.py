"""Futures: posterior draws carried on under a plan by the stochastic engine, and seen through the fitted measurement.

From the state at the landmark (the last visit up to it) each draw runs on as whole cells: S and P are rounded, R, which the
fit knows as a mean, is drawn as Poisson while it is small. A draw takes the step that it needs, whatever others need, the same
under every plan of a patient, and the same random numbers day by day (common random numbers), so that differences between
plans are not noise. Progress is judged on measured values at visits, and an adaptive plan decides on them.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from persist.dynamics.attenuation import attenuated
from persist.dynamics.batches import bucket
from persist.dynamics.paths import killed
from persist.dynamics.stepsize import Paces, Ways, each, finer
from persist.forecast.agenda import agendas
from persist.forecast.landmark import Landmark, Look, Patient
from persist.forecast.reply import RESPONSE_DAYS
from persist.forecast.trace import LIMIT
from persist.forecast.under import Futures, under
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at
from persist.types import Exposure, Grid, Schedule

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from persist.dynamics.paths import Partner
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
    partner: Partner | None = None,
) -> Iterator[Futures]:
    """Futures of one patient under each plan in turn, ``n_draws x replicates`` paths, in chunks of bounded memory; visits are
    ``missed`` with this probability, the same of each path under every plan; ``limit``, ``others``, ``within`` and
    ``partner`` as of `Patient`.
    """
    before = bool(dose_at(history, at.day - 1e-6) > 0.0)
    treated = bool(np.any((history.start < at.day) & (history.dose > 0.0)))
    who = Patient(seed, name, at, look, rule, replicates, before, missed, limit, others, within, partner, treated)
    all_of = agendas(who, history, plans)
    grids = [*_likely(look.start + look.horizon - at.day), *(one.steps for one in all_of)]
    steps = _steps(at, grids)
    if partner is not None:  # also with both drugs throughout
        steps = finer(steps, _steps(at._replace(rates=killed(at.rates, partner, 1.0)), grids))
    for one in all_of:
        yield under(who, one, steps)


def _likely(days: float) -> list[Grid]:
    """Daily steps without drug, on it throughout, and on and off by turns, as a rule might have it."""
    count = max(1, math.ceil(days - 1e-9))
    length = np.append(np.ones(count - 1), days - (count - 1))
    turns = np.arange(count) // TURN % 2.0
    return [Grid(length, dose) for dose in (np.zeros(count), np.ones(count), turns, 1.0 - turns)]


def _steps(at: Landmark, grids: Sequence[Grid]) -> Paces:
    """The steps of the leap that the draws need along all of the grids."""
    some = list({(one.length.tobytes(), one.dose.tobytes()): one for one in grids}.values())
    size = bucket(max(len(one.length) for one in some))
    parts = zip(*some, strict=True)
    length, dose = (np.stack([np.pad(part, (0, size - len(part))) for part in of_all]) for of_all in parts)
    moving = (at.cells, at.rates, at.exposure, at.potency)

    def ways(grid: np.ndarray, draw: np.ndarray) -> Ways:
        found: Ways = _ways(jax.tree.map(lambda part: part[draw], moving), Grid(length[grid], dose[grid]))
        return found

    return each(ways, at.rates, [one.length for one in some])


@jax.jit
def _ways(own: tuple[Any, ...], steps: Grid) -> Ways:
    """Of draws ``(n,)`` along grids ``(n, n_steps)``."""

    def level(own: tuple[Any, ...], steps: Grid) -> Exposure:
        _, rates, start, potency = own
        exposure = relax(steps, rates.onset_days, rates.washout_days, start)
        return attenuated(exposure, rates, steps.length, potency)[0]

    return Ways(own[0], own[1], steps.length.T, jax.vmap(level, out_axes=1)(own, steps))
