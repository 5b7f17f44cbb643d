"""Starts by tempering: walkers are led from the prior to the posterior, and the modes are weighed on the way.

A sequential Monte Carlo sampler (Del Moral, Doucet & Jasra 2006, 10.1111/j.1467-9868.2006.00553.x) along

    density ~ exp(-beta U - (1 - beta) U_0),      beta from 0 to 1,

each step as long as leaves half of the walkers of every chain effective, then resampling (systematic) and a few trajectories.
Chains share the ladder, the metric and the step size, but the walkers of each are resampled among themselves: where chains come
to different modes, or to the same ones with other weights, R-hat shows it. A mode that is worse by many nats loses its walkers,
one with a larger mass gains some: no chain is left behind in a mode that the data do not deserve. Each chain also estimates the
log of the evidence.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.errors import FitError
from persist.inference.walkers import WALKERS, WALL, Crowd, Stride, root_of_metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.walkers import Moved, Walkers

EFFECTIVE = 0.5
"""Share of each chain's walkers that stays effective in a step of the temperature, at least."""

MOVES = 4
"""Trajectories after a step."""

TIME, FIRST_STEP, ACCEPT, LEARN = 1.5, 0.3, 0.8, 0.5
"""Longest trajectory, first step size, acceptance aimed at, and how fast the log of the step size follows."""

MOST_STAGES = 200


class Tempered(NamedTuple):
    """Walkers at the posterior, the stride that they had last, and the log evidence log p(y) by chain ``(chains,)``."""

    crowd: Crowd
    stride: Stride
    log_evidence: np.ndarray


def temper(walkers: Walkers, progress: Callable[[float], None] | None = None) -> Tempered:
    """Lead walkers from the reference to the posterior; ``progress`` is told beta after every step.

    Raises `FitError` where no walker has a finite density.
    """
    crowd, beta = walkers.start(), 0.0
    chains = walkers.lanes // WALKERS
    scale = walkers.reference.scale
    log_evidence = np.full(chains, np.sum(np.log(scale)) + 0.5 * len(scale) * np.log(2.0 * np.pi))  # of the reference
    stride = Stride(root_of_metric(crowd.point), FIRST_STEP, TIME)
    for _ in range(MOST_STAGES):
        gap = crowd.energy - crowd.reference
        if not (crowd.energy < WALL).any():
            break
        more = _further(gap.reshape(chains, WALKERS), 1.0 - beta)
        log_weight = -more * gap
        log_evidence = log_evidence + _mean_by_chain(log_weight, chains)
        crowd, beta = _resampled(walkers.rng, crowd, log_weight, chains), beta + more
        stride = stride._replace(root=root_of_metric(crowd.point))
        for _ in range(MOVES):
            crowd, moved = walkers.move(crowd, stride, beta)
            stride = adapted(stride, moved, ACCEPT, LEARN)
        if progress is not None:
            progress(beta)
        if beta >= 1.0 - 1e-12:
            return Tempered(crowd, stride, log_evidence)
    raise FitError(
        "no starting point has a finite posterior density",
        where="starts",
        remedy="look for values that no rate of the pack can explain (`persist check`), or choose another --pack",
    )


def adapted(stride: Stride, moved: Moved, accept: float, learn: float, *, slowest: bool = False) -> Stride:
    """The stride with its step size moved towards the acceptance aimed at.

    Judged are walkers that took the common step, but for the worst tenth unless the ``slowest`` count: a few in a narrow place
    shall not slow all others.
    """
    judged = np.sort(moved.accept[moved.common])
    mean = float(judged[0 if slowest else len(judged) // 10 :].mean()) if len(judged) else accept
    return stride._replace(step=float(stride.step * np.exp(learn * (mean - accept))))


def _further(gap: np.ndarray, left: float) -> float:
    """The step of beta, at most what is ``left``, after which `EFFECTIVE` of the walkers of each chain still count; ``gap`` is
    U - U_0, ``(chains, WALKERS)``.
    """

    def effective(more: float) -> float:
        weight = np.exp(-more * (gap - gap.min(axis=1, keepdims=True)))
        return float(np.min(weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1)) / WALKERS)

    if effective(left) >= EFFECTIVE:
        return left
    low, high = 0.0, left
    for _ in range(100):
        middle = 0.5 * (low + high)
        low, high = (low, middle) if effective(middle) < EFFECTIVE else (middle, high)
    return high


def _mean_by_chain(log_weight: np.ndarray, chains: int) -> np.ndarray:
    """Log of the mean weight of each chain's walkers ``(chains,)``."""
    rows = log_weight.reshape(chains, WALKERS)
    top = rows.max(axis=1)
    return np.asarray(top + np.log(np.exp(rows - top[:, None]).mean(axis=1)))


def _resampled(rng: np.random.Generator, crowd: Crowd, log_weight: np.ndarray, chains: int) -> Crowd:
    """Walkers drawn among those of their own chain in proportion to their weights: systematic resampling."""
    rows = log_weight.reshape(chains, WALKERS)
    share = np.cumsum(np.exp(rows - rows.max(axis=1, keepdims=True)), axis=1)
    comb = (np.arange(WALKERS) + rng.uniform(size=(chains, 1))) / WALKERS * share[:, -1:]
    chosen = [
        at * WALKERS + np.searchsorted(one, teeth) for at, (one, teeth) in enumerate(zip(share, comb, strict=True))
    ]
    return Crowd(*(part[np.concatenate(chosen)] for part in crowd))
