"""Draws of one patient of a cohort under a prior that changes from stage to stage (`inference.stages`).

Under the first prior, walkers are led to the posterior by tempering. Under the next one they begin at draws of the stage
before, taken in proportion to their weight there: so modes are weighed anew too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.errors import FitError
from persist.inference.population import Population
from persist.inference.sampler import TIME, Effort, Kept, one_round, warm
from persist.inference.target import flat_potential, reference, scored
from persist.inference.tempering import Tempered, temper
from persist.inference.walkers import WALKERS, Stride, Walkers, root_of_metric
from persist.inference.weights import features, log_ratio, one

if TYPE_CHECKING:
    from persist.inference.target import Member

CROWD = 4 * WALKERS
"""Walkers of a patient."""

SETTLE = 0.4
"""Share of the rounds in which walkers settle and their strides adapt, before draws are kept."""

SPREAD = 8
"""Draws for each walker by which the metric is first judged under a new prior."""


class Sample(NamedTuple):
    """Draws of a patient: what was ``kept`` of each ``(K, ...)``, its ``scores`` ``(K, n)``, and the log density there of the
    prior that they were drawn under, over the pack's ``(K,)``.
    """

    kept: Kept
    scores: np.ndarray
    under: np.ndarray


class Stage(NamedTuple):
    """How a patient is drawn from: the ``seed`` and ``number`` of the stage, the ``prior`` of all patients, of which the scores
    ``at`` (k,) differ from the pack's, and ``rounds`` of every walker, those in which they settle among them.
    """

    seed: int
    number: int
    prior: Population
    at: np.ndarray
    rounds: int


def drawn(stage: Stage, member: Member, before: Sample | None = None) -> Sample:
    """Draws of a patient under the stage's prior; `FitError` where the first walkers find no finite density."""
    own = keys.seed_of(stage.seed, member.patient_id, "pool", str(stage.number))
    target, case = member.target, member.case
    each = Population(*(np.broadcast_to(part, (CROWD, *np.shape(part))) for part in stage.prior))
    walkers = Walkers(own, flat_potential(target), case, reference(target, case), CROWD, (each,))
    try:
        start = temper(walkers) if before is None else _from(walkers, before, stage)
    except FitError as error:
        raise FitError(error.what, where=f"patient {member.patient_id}: {error.where}", remedy=error.remedy) from None
    kept = _kept(walkers, start, stage.rounds)
    z = np.asarray(scored(target)(case, jnp.asarray(kept.point)))
    return Sample(kept, z, _under(z, stage))


def _from(walkers: Walkers, before: Sample, stage: Stage) -> Tempered:
    """Walkers where earlier draws have their weight under the stage's prior (systematic resampling)."""
    log_weight = _under(before.scores, stage) - before.under
    share = np.cumsum(np.exp(log_weight - log_weight.max()))
    comb = (np.arange(SPREAD * CROWD) + walkers.rng.uniform()) / (SPREAD * CROWD) * share[-1]
    points = before.kept.point[walkers.rng.permutation(np.minimum(np.searchsorted(share, comb), len(share) - 1))]
    stride = Stride(root_of_metric(points), float(np.mean(before.kept.step)), TIME)
    return Tempered(walkers.at(points[:CROWD]), stride, np.zeros(CROWD // WALKERS))


def _under(z: np.ndarray, stage: Stage) -> np.ndarray:
    """Log density ``(K,)`` of the stage's prior over the pack's at scores ``(K, n)``."""
    return log_ratio(features(z[:, stage.at]), one(stage.prior), stage.at)[:, 0]


def _kept(walkers: Walkers, start: Tempered, rounds: int) -> Kept:
    """Draws of all walkers after they have settled, ``(K, ...)``."""
    settle = max(1, round(SETTLE * rounds))
    effort = Effort(CROWD // WALKERS, settle * WALKERS, 0)
    crowd, stride, _ = warm(walkers, start.crowd, start.stride, effort, lambda _: None)
    parts = []
    for _ in range(max(1, rounds - settle)):
        crowd, part = one_round(walkers, crowd, stride, 1)
        parts.append(part)
    return Kept(*(np.concatenate(rows).reshape(-1, *rows[0].shape[2:]) for rows in zip(*parts, strict=True)))
