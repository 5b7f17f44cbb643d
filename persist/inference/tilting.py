"""Moves of a population that depends on biomarkers together with its patients (`inference.interweave`, and of slopes).

Means and spreads move as without biomarkers, with the scores less B x in place of the scores: places of patients in the law
are counted from B x, so B stays as it is when a spread moves, and the factor of that move is the same. Then the slopes of each
score j, with patients taken along,

    z_ij' = z_ij + e' x_i,     B_j' = B_j + e,     e normal, in proportion to the prior's deviations given l and t

accepted in proportion to the likelihood times p(B_j') / p(B_j): z less B x, so its density, does not change.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.inference import interweave as interweaving
from persist.inference.covariates import Effects, shift
from persist.inference.interweave import FIRST, TAKEN, Moves
from persist.inference.regression import Regressed, variance

if TYPE_CHECKING:
    from persist.inference.interweave import Likelihood


class Paces(NamedTuple):
    """The moves of means and spreads, and the sizes of those of the slopes of each score, ``(k,)``."""

    law: Moves
    slope: np.ndarray


def first(size: int) -> Paces:
    """Moves to begin with."""
    return Paces(interweaving.first(size), np.full(size, FIRST))


def together(
    rng: np.random.Generator,
    z: np.ndarray,
    state: Regressed,
    acts: np.ndarray,
    counted: np.ndarray,
    weigh: Likelihood,
    paces: Paces,
    learn: float,
) -> tuple[np.ndarray, Regressed, Paces]:
    """One move along every axis of means and spreads and of every row of slopes, lane by lane: scores ``(lanes, patients, k)``,
    state, and the moves, whose sizes ``learn`` as in `interweave`. ``acts`` (k,) of the pooled scores; ``counted`` (lanes,
    patients): who is taken along.
    """
    base = shift(state.effects, state.x)
    within = interweaving.State(state.law, z - base, weigh(z))
    within, sizes = interweaving.interweave(rng, within, counted, lambda rest: weigh(rest + base), paces.law, learn)
    state, z, likelihood, slope_sizes = (
        state._replace(law=within.law),
        within.z + base,
        within.likelihood,
        paces.slope.copy(),
    )
    for row in map(int, np.flatnonzero(acts)):
        step, log_prior = _step(rng, state.effects, row, slope_sizes[row])
        new = z.copy()
        new[..., row] += np.where(counted, np.einsum("lb,lpb->lp", step, state.x), 0.0)
        weighed = weigh(new)
        gain = np.where(counted, weighed - likelihood, 0.0).sum(axis=1) + log_prior
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        taken = np.log(rng.uniform(size=len(gain))) < gain
        slope = state.effects.slope.copy()
        slope[:, row] += np.where(taken[:, None], step, 0.0)
        state = state._replace(effects=state.effects._replace(slope=slope))
        z, likelihood = np.where(taken[:, None, None], new, z), np.where(taken[:, None], weighed, likelihood)
        slope_sizes[row] *= np.exp(learn * (np.exp(np.minimum(gain, 0.0)).mean() - TAKEN))
    return z, state, Paces(sizes, slope_sizes)


def _step(rng: np.random.Generator, effects: Effects, row: int, size: float) -> tuple[np.ndarray, np.ndarray]:
    """A step ``(lanes, p)`` of the slopes of one score, and what it does to their log prior density ``(lanes,)``."""
    wide = variance(effects)[:, row]
    step = size * np.sqrt(wide) * rng.standard_normal(wide.shape)
    before, after = effects.slope[:, row], effects.slope[:, row] + step
    return step, 0.5 * ((before**2 - after**2) / wide).sum(axis=1)
