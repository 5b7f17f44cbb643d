"""Moves of a population together with its patients, where each patient alone says little of a parameter.

Given its patients, the mean of a population can only creep: by C^(1/2) / sqrt(patients), while what the data leave open is
wider the less each of them tells. So between rounds of `population.renew` the law moves and takes the patients along, their
places in it fixed (Yu & Meng 2011, 10.1198/jcgs.2011.203main, interweaving of both ways). With a shift a and a stretch s, both
``(k,)``, and D = diag(e^s),

    m' = m + a      z_i' - m' = D (z_i - m)      C' = D C D      d' = D d

and the data decide: accepted in proportion to the likelihood of all patients, times

    p(m') p(C') p(d') / (p(m) p(C) p(d))  e^{(k + 2) sum_j s_j}      (k + 1 from C, 1 from d)

What a cohort leaves open are seldom single means or spreads: a wide spread of one score goes with a low mean of another. So
(a, s) = t u, with u one axis after the other: those of means and log spreads by themselves at first, then, from the warm-up,
the principal axes of all laws that were drawn until then; t is normal about 0, of a size that learns in the warm-up until two
moves in five are taken.
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

LEAST = 1e-3
"""The shortest principal axis, in the same units."""


class Moves(NamedTuple):
    """The axes u that moves follow, a row each ``(2 k, 2 k)``, of k means and k log spreads, and their sizes ``(2 k,)``."""

    axes: np.ndarray
    size: np.ndarray


class State(NamedTuple):
    """A law in each of some lanes, the scores ``(lanes, patients, k)`` under it, and their log-likelihood ``(lanes, patients)``
    as the patients' own data have it.
    """

    law: Law
    z: np.ndarray
    likelihood: np.ndarray


def first(size: int) -> Moves:
    """Moves to begin with: every mean and every spread of ``size`` scores by itself."""
    return Moves(np.eye(2 * size), np.full(2 * size, FIRST))


def places(law: Law) -> np.ndarray:
    """Where moves take a law: its means and log spreads ``(lanes, 2 k)``."""
    return np.concatenate([law.mean, 0.5 * np.log(np.diagonal(law.covariance, axis1=-2, axis2=-1))], axis=-1)


def turned(past: np.ndarray) -> Moves:
    """Moves along the principal axes of `places` that were seen ``(n, 2 k)``, each as long as these are spread along it."""
    variance, axes = np.linalg.eigh(np.cov(past, rowvar=False))
    return Moves((axes * np.maximum(np.sqrt(np.maximum(variance, 0.0)), LEAST)).T, np.ones(past.shape[1]))


def interweave(
    rng: np.random.Generator, state: State, counted: np.ndarray, weigh: Likelihood, moves: Moves, learn: float
) -> tuple[State, Moves]:
    """One move along every axis, lane by lane, and the moves, whose sizes ``learn`` (0: they stay).

    ``counted`` (lanes, patients) tells who is taken along; ``weigh`` gives the log-likelihood at other scores.
    """
    size = moves.size.copy()
    for at, axis in enumerate(moves.axes):
        t = size[at] * rng.standard_normal(len(state.z))
        shift, stretch = np.split(t[:, None] * axis, 2, axis=1)
        law, z, log_prior = _carried(state, shift, stretch, counted)
        likelihood = weigh(z)
        gain = np.where(counted, likelihood - state.likelihood, 0.0).sum(axis=1) + log_prior
        gain = np.where(np.isfinite(gain), gain, -np.inf)
        taken = np.log(rng.uniform(size=len(t))) < gain
        state = _chosen(taken, State(law, z, likelihood), state)
        size[at] *= np.exp(learn * (np.exp(np.minimum(gain, 0.0)).mean() - TAKEN))
    return state, moves._replace(size=size)


def _carried(
    state: State, shift: np.ndarray, stretch: np.ndarray, counted: np.ndarray
) -> tuple[Law, np.ndarray, np.ndarray]:
    """Law and scores after a shift and a stretch ``(lanes, k)``, and what besides the likelihood decides on them."""
    law, wider = state.law, np.exp(stretch)
    there = law._replace(
        mean=law.mean + shift,
        covariance=law.covariance * wider[:, :, None] * wider[:, None, :],
        apart=law.apart * wider,
    )
    z = there.mean[:, None] + wider[:, None] * (state.z - law.mean[:, None])
    jacobian = (stretch.shape[1] + 2.0) * stretch.sum(axis=1)
    return there, np.where(counted[..., None], z, state.z), _log_prior(there) - _log_prior(law) + jacobian


def _log_prior(law: Law) -> np.ndarray:
    """Log prior density ``(lanes,)`` of m, C and d, up to a constant."""
    size = law.mean.shape[1]
    _, log_determinant = np.linalg.slogdet(law.covariance)
    trace = np.trace(np.linalg.inv(law.covariance), axis1=-2, axis2=-1)
    spread = -0.5 * (SCALE * trace + (2.0 * size + FREEDOM) * log_determinant)
    return np.asarray(spread - 0.5 * ((law.mean**2).sum(axis=1) / CENTRE**2 + (law.apart**2).sum(axis=1) / DISTANCE**2))


def _chosen(taken: np.ndarray, new: State, old: State) -> State:
    """Lane by lane the new state or the old one."""

    def one(mine: np.ndarray, other: np.ndarray) -> np.ndarray:
        return np.where(taken.reshape(-1, *[1] * (mine.ndim - 1)), mine, other)

    law = Law(*(one(*pair) for pair in zip(new.law, old.law, strict=True)))
    return State(law, one(new.z, old.z), one(new.likelihood, old.likelihood))
