"""Draws of one patient of a cohort under a prior that changes from stage to stage (`inference.stages`).

Under the first prior, walkers are led to the posterior by tempering. Under the next one they begin at draws of the stage
before, taken in proportion to their weight there: so modes are weighed anew too. The walkers are two halves that never take a
draw from each other: what draws of the one say less than those of the other is the error that so many draws make, of modes and
how much these weigh too. (Metric and step size are common to both. They decide how fast walkers move, not where to.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.errors import FitError
from persist.inference.across import across
from persist.inference.population import Population, log_ratio
from persist.inference.sampler import TIME, Effort, Kept, one_round, warm
from persist.inference.target import flat_potential, ready, reference, scored
from persist.inference.tempering import Tempered, temper
from persist.inference.walkers import WALKERS, Stride, Walkers, root_of_metric

if TYPE_CHECKING:
    from persist.inference.target import Member

HALVES = 2
"""Parts of the walkers that are led to the posterior apart."""

CROWD = 2 * HALVES * WALKERS
"""Walkers of a patient."""

SPREAD = 8
"""Draws for each walker by which the metric is first judged under a new prior."""


class Stage(NamedTuple):
    """How patients are drawn from: the ``seed`` and ``number`` of the stage, and rounds of every walker, one trajectory each:
    those in which they ``settle`` and their strides adapt, and those that are kept (``rounds``).
    """

    seed: int
    number: int
    settle: int
    rounds: int


class Sample(NamedTuple):
    """Draws of a patient by half of its walkers: what was ``kept`` of each ``(HALVES, K, ...)``, its ``scores`` ``(HALVES, K,
    n)``, and the log density there of the prior that they were drawn under, over the pack's ``(HALVES, K)``.
    """

    kept: Kept
    scores: np.ndarray
    under: np.ndarray


def drawn(stage: Stage, member: Member, prior: Population, before: Sample | None = None) -> Sample:
    """Draws of a patient under a ``prior``, from the draws of the stage ``before`` on; `FitError` where the first walkers find
    no finite density.
    """
    own = keys.seed_of(stage.seed, member.patient_id, "pool", str(stage.number))
    target, case = member.target, ready(member.case._replace(population=prior))
    walkers = Walkers(own, flat_potential(target), case, reference(target, case), CROWD, across(target))
    try:
        start = temper(walkers) if before is None else _from(walkers, before, prior)
    except FitError as error:
        raise FitError(error.what, where=f"patient {member.patient_id}: {error.where}", remedy=error.remedy) from None
    kept = _kept(walkers, start, stage)
    z = scores_of(member, kept)
    return Sample(kept, z, _under(z, prior))


def scores_of(member: Member, kept: Kept) -> np.ndarray:
    """The scores ``(HALVES, K, n)`` of what was kept."""
    flat = jnp.asarray(kept.point.reshape(-1, kept.point.shape[-1]))
    return np.asarray(scored(member.target)(member.case, flat)).reshape(*kept.energy.shape, -1)


def _from(walkers: Walkers, before: Sample, prior: Population) -> Tempered:
    """Walkers of each half where its earlier draws have their weight under the new prior (systematic resampling)."""
    each, points = CROWD // HALVES, []
    for point, log_weight in zip(before.kept.point, _under(before.scores, prior) - before.under, strict=True):
        share = np.cumsum(np.exp(log_weight - log_weight.max()))
        comb = (np.arange(SPREAD * each) + walkers.rng.uniform()) / (SPREAD * each) * share[-1]
        places = np.minimum(np.searchsorted(share, comb), len(share) - 1)
        points.append(point[walkers.rng.permutation(places)])
    stride = Stride(root_of_metric(np.stack(points)), float(np.mean(before.kept.step)), TIME)
    first = np.concatenate([rows[:each] for rows in points])
    return Tempered(walkers.at(first), stride, np.zeros(CROWD // WALKERS))


def _under(z: np.ndarray, prior: Population) -> np.ndarray:
    """Log density ``(...)`` of a prior over the pack's at scores ``(..., n)``."""
    flat = _log_ratio(jnp.asarray(z.reshape(-1, z.shape[-1])), Population(*(jnp.asarray(part) for part in prior)))
    return np.asarray(flat).reshape(z.shape[:-1])


_log_ratio = jax.jit(jax.vmap(log_ratio, in_axes=(0, None)))


def _kept(walkers: Walkers, start: Tempered, stage: Stage) -> Kept:
    """Draws of all walkers after they have settled, ``(HALVES, K, ...)``."""
    effort = Effort(CROWD // WALKERS, stage.settle * WALKERS, 0)
    crowd, stride, _ = warm(walkers, start.crowd, start.stride, effort, lambda _: None)
    parts = []
    for _ in range(stage.rounds):
        crowd, part = one_round(walkers, crowd, stride, 1)
        parts.append(part)
    return Kept(*(_by_half(np.concatenate(rows)) for rows in zip(*parts, strict=True)))


def _by_half(rows: np.ndarray) -> np.ndarray:
    """``(rounds, CROWD, ...)`` as ``(HALVES, K, ...)``: the first walkers are the first half."""
    own = rows.reshape(len(rows), HALVES, -1, *rows.shape[2:])
    return np.moveaxis(own, 1, 0).reshape(HALVES, -1, *rows.shape[2:])
