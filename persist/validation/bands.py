"""Ranks, and their bands: how far the ranks of a right posterior may stray from uniform, all of them at once.

N ranks, uniform on 0..L, have counts C_i = #(rank <= i) that are binomial(N, (i + 1) / (L + 1)) one by one. The band is

    lower_i <= C_i <= upper_i     with   P(C_i < lower_i) <= alpha / 2   and   P(C_i > upper_i) <= alpha / 2   for each i

and alpha is the largest for which all C_i together stay inside with the probability asked for (Säilynoja, Bürkner & Vehtari
2022, 10.1007/s11222-021-10090-6). That probability is computed, not simulated: many quantities leave each a chance of a few
in a thousand, for which simulation would need 1e5 samples. Counts of N uniform ranks are those of a Poisson process given its
total (Moscovich & Nadler 2017, 10.1016/j.spl.2016.11.027), whose steps from rank to rank are all alike:

    P(inside) = P(Poisson path inside, total N) / P(Poisson(N) = N)
"""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

FAMILY = 0.95
"""Probability that the ranks of all quantities together stay inside, if all are right."""

_HALVINGS = 40


class Band(NamedTuple):
    """Counts ``lower`` and ``upper`` ``(rank_max,)`` between which those of ranks up to 0, 1 ... rank_max - 1 must lie;
    ``inside`` is the probability that all do, ``pointwise`` (1 - alpha) the least with which each does.
    """

    lower: np.ndarray
    upper: np.ndarray
    inside: float
    pointwise: float


def rank(truth: float, draws: np.ndarray, rng: np.random.Generator) -> int:
    """How many of the ``draws`` ``(n,)`` lie below the ``truth``; among draws equal to it, any place is as likely."""
    ties = int(np.sum(draws == truth))
    return int(np.sum(draws < truth)) + int(rng.integers(0, ties + 1))


def level(quantities: int, family: float = FAMILY) -> float:
    """The probability that each of some quantities must have, so that all have ``family`` together, however they depend on
    each other: 1 - (1 - family) / quantities (Bonferroni; at 95 % it is 2 % stricter than if they were independent).
    """
    return 1.0 - (1.0 - family) / max(quantities, 1)


@cache
def band(number: int, rank_max: int, asked: float) -> Band:
    """The narrowest band that ``number`` uniform ranks of 0..``rank_max`` stay in with probability ``asked`` or more."""
    tail = _tails(number, rank_max)
    low, high = -40.0, 0.0  # of log alpha; at alpha = exp(-40) everything is inside
    for _ in range(_HALVINGS):
        middle = 0.5 * (low + high)
        kept = inside(*_between(tail, math.exp(middle)), number) >= asked
        low, high = (middle, high) if kept else (low, middle)
    lower, upper = _between(tail, math.exp(low))
    return Band(lower, upper, inside(lower, upper, number), 1.0 - math.exp(low))


def counts(ranks: np.ndarray, rank_max: int) -> np.ndarray:
    """C_i, how many of the ranks are at most i, for i = 0..rank_max - 1."""
    return np.cumsum(np.bincount(np.asarray(ranks, int), minlength=rank_max + 1))[:rank_max]


def fits(ranks: np.ndarray, rank_max: int, asked: float) -> bool:
    """True if the ranks stay in their band everywhere."""
    limits, seen = band(len(ranks), rank_max, asked), counts(ranks, rank_max)
    return bool(np.all((limits.lower <= seen) & (seen <= limits.upper)))


def inside(lower: np.ndarray, upper: np.ndarray, number: int) -> float:
    """Probability that the counts of ``number`` uniform ranks lie between the limits everywhere."""
    step = np.exp(_log_poisson(np.arange(number + 1), number / (len(lower) + 1)))
    step = step[: np.flatnonzero(step > 1e-30)[-1] + 1]  # so narrow a law needs no longer one
    path = np.zeros(number + 1)
    path[0] = 1.0
    place = np.arange(number + 1)
    for least, most in zip(lower, upper, strict=True):
        path = np.convolve(path, step)[: number + 1]
        path = np.where((place >= least) & (place <= most), path, 0.0)
    last = float(np.convolve(path, step)[number])
    return min(1.0, last / math.exp(float(_log_poisson(np.array(number), float(number)))))


def _between(tail: tuple[np.ndarray, np.ndarray], alpha: float) -> tuple[np.ndarray, np.ndarray]:
    """Limits of the counts that leave at most ``alpha`` / 2 on either side of each."""
    under, over = tail
    return (under < alpha / 2.0).sum(axis=1), over.shape[1] - 1 - (over < alpha / 2.0).sum(axis=1)


def _tails(number: int, rank_max: int) -> tuple[np.ndarray, np.ndarray]:
    """P(C_i <= k) and P(C_i >= k) for every i and k, each ``(rank_max, number + 1)``."""
    share = np.arange(1, rank_max + 1)[:, None] / (rank_max + 1.0)
    hits = np.arange(number + 1)
    ways = _log_factorial(number)[number] - _log_factorial(number) - _log_factorial(number)[::-1]
    mass = np.exp(ways + hits * np.log(share) + (number - hits) * np.log1p(-share))
    return np.cumsum(mass, axis=1), np.cumsum(mass[:, ::-1], axis=1)[:, ::-1]


def _log_poisson(hits: np.ndarray, mean: float) -> np.ndarray:
    """Log probability of so many ``hits``."""
    if mean == 0.0:
        return np.where(hits == 0, 0.0, -np.inf)
    found: np.ndarray = hits * math.log(mean) - mean - _log_factorial(int(np.max(hits)))[hits]
    return found


@cache
def _log_factorial(number: int) -> np.ndarray:
    """log k! for k = 0..number."""
    return np.append(0.0, np.cumsum(np.log(np.arange(1.0, number + 1.0))))
