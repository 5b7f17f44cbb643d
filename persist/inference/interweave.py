"""Moves of a population together with its patients, where each patient alone says little of a parameter.

Given its patients, the mean of a population can only creep: by C^(1/2) / sqrt(patients), while what the data leave open is
wider the less each of them tells. So between rounds of `population.renew` the law moves and takes the patients along, their
places in it fixed (Yu & Meng 2011, 10.1198/jcgs.2011.203main, interweaving of both ways),

    mean of score j:     z_ij' = z_ij + t                          m_j' = m_j + t
    spread of score j:   z_ij' - m_j = e^t (z_ij - m_j)            C' = D C D,  d' = D d,  D_jj = e^t

and the data decide: accepted in proportion to the likelihood of all patients, times

    p(m_j') / p(m_j)         p(C') p(d') / (p(C) p(d))  e^{(k + 2) t}      (k + 1 from C, 1 from d_j)

with t normal about 0, of a size that learns in the warm-up until two moves in five are taken.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.inference.population import CENTRE, DISTANCE, FREEDOM, SCALE, Law

if TYPE_CHECKING:
    from collections.abc import Callable

    Likelihood = Callable[[np.ndarray], np.ndarray]

TAKEN = 0.42
"""Share of the moves that their size aims at."""

FIRST = 0.3
"""Size of the first moves, in standard deviations of the pack's prior (of spreads, in their log)."""


class Sizes(NamedTuple):
    """Sizes of the moves of means and spreads, each ``(k,)``."""

    mean: np.ndarray
    spread: np.ndarray


class State(NamedTuple):
    """A law in each of some lanes, the scores ``(lanes, patients, k)`` under it, and their log-likelihood ``(lanes, patients)``
    as the patients' own data have it.
    """

    law: Law
    z: np.ndarray
    likelihood: np.ndarray


def first(size: int) -> Sizes:
    """Sizes to begin with."""
    return Sizes(np.full(size, FIRST), np.full(size, FIRST))


def interweave(
    rng: np.random.Generator, state: State, counted: np.ndarray, weigh: Likelihood, sizes: Sizes, learn: float
) -> tuple[State, Sizes]:
    """One move of every mean and every spread, lane by lane, and the sizes, which ``learn`` (0: they stay).

    ``counted`` (lanes, patients) tells who is taken along; ``weigh`` gives the log-likelihood at other scores.
    """
    size = state.z.shape[-1]
    found = Sizes(sizes.mean.copy(), sizes.spread.copy())
    for kind, propose in (("mean", _mean), ("spread", _spread)):
        steps = getattr(found, kind)
        for at in range(size):
            t = steps[at] * rng.standard_normal(len(state.z))
            law, z, log_prior = propose(state, at, t, counted)
            likelihood = weigh(z)
            gain = np.where(counted, likelihood - state.likelihood, 0.0).sum(axis=1) + log_prior
            gain = np.where(np.isfinite(gain), gain, -np.inf)
            taken = np.log(rng.uniform(size=len(t))) < gain
            state = _chosen(taken, State(law, z, likelihood), state)
            steps[at] *= np.exp(learn * (np.exp(np.minimum(gain, 0.0)).mean() - TAKEN))
    return state, found


def _mean(state: State, at: int, t: np.ndarray, counted: np.ndarray) -> tuple[Law, np.ndarray, np.ndarray]:
    mean, z = state.law.mean.copy(), state.z.copy()
    mean[:, at] += t
    z[..., at] += np.where(counted, t[:, None], 0.0)
    before, after = state.law.mean[:, at], mean[:, at]
    return state.law._replace(mean=mean), z, 0.5 * (before**2 - after**2) / CENTRE**2


def _spread(state: State, at: int, t: np.ndarray, counted: np.ndarray) -> tuple[Law, np.ndarray, np.ndarray]:
    law, z, size = state.law, state.z.copy(), state.z.shape[-1]
    wider = np.ones((len(t), size))
    wider[:, at] = np.exp(t)
    scaled = law._replace(covariance=law.covariance * wider[:, :, None] * wider[:, None, :], apart=law.apart * wider)
    own = law.mean[:, None, at] + wider[:, None, at] * (z[..., at] - law.mean[:, None, at])
    z[..., at] = np.where(counted, own, z[..., at])
    before, after = (_log_prior(one, at) for one in (law, scaled))
    determinant = -(size + FREEDOM - 1.0 + size + 1.0) * t  # of |C|^(-(degrees + k + 1) / 2)
    return scaled, z, after - before + determinant + (size + 2.0) * t


def _log_prior(law: Law, at: int) -> np.ndarray:
    """What depends on the scale of a score, but for the determinant of C: -tr(SCALE C^-1) / 2 - d_j^2 / (2 DISTANCE^2)."""
    trace = np.trace(np.linalg.inv(law.covariance), axis1=-2, axis2=-1)
    return np.asarray(-0.5 * SCALE * trace - 0.5 * law.apart[:, at] ** 2 / DISTANCE**2)


def _chosen(taken: np.ndarray, new: State, old: State) -> State:
    """Lane by lane the new state or the old one."""

    def one(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.where(taken.reshape(-1, *[1] * (mine.ndim - 1)), mine, other)

    law = Law(*(one(*pair) for pair in zip(new.law, old.law, strict=True)))
    return State(law, one(new.z, old.z), one(new.likelihood, old.likelihood))
