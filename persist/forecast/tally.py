"""What many trajectories have in common, gathered chunk by chunk, so that memory stays bounded.

Mean and variance are put together as by Chan, Golub & LeVeque (1983, 10.2307/2683386).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles that are taken."""


class Result(NamedTuple):
    """Of each state and day, ``(3, n_days + 1)``: ``mean``, ``variance``, ``quantiles`` ``(3, n_levels, n_days + 1)`` (of
    the first ``quantile_trajectories``); ``extinct`` ``(3,)`` shares at the end and ``all_extinct``, that of all three at
    once; ``kept`` ``(3, n_kept, n_days + 1)``. NaN where there is no such thing.
    """

    mean: np.ndarray
    variance: np.ndarray
    quantiles: np.ndarray
    extinct: np.ndarray
    all_extinct: float
    kept: np.ndarray
    quantile_trajectories: int


class Part(NamedTuple):
    """What is kept of a chunk of trajectories: their ``number``, ``mean`` and sum of ``squares`` about it ``(3, n_days +
    1)``, those ``gone`` at the end ``(3,)`` and ``all_gone``, and the record of as many as were wanted.
    """

    number: int
    mean: np.ndarray
    squares: np.ndarray
    gone: np.ndarray
    all_gone: int
    held: np.ndarray


def part(record: np.ndarray, hold: int) -> Part:
    """The part of ``(3, n_trajectories, n_days + 1)``, with the record of the first ``hold``."""
    mean, left = record.mean(axis=1), record[:, :, -1]
    squares = ((record - mean[:, None]) ** 2).sum(axis=1)
    gone = (left <= 0.0).sum(axis=1)
    held = record[:, : max(hold, 0)].copy()
    return Part(record.shape[1], mean, squares, gone, int((left.sum(axis=0) <= 0.0).sum()), held)


class Tally:
    """What is known of the trajectories so far."""

    def __init__(self) -> None:
        self.number = 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.gone: Any = 0
        self.all_gone = 0
        self.held: list[np.ndarray] = []

    def add(self, one: Part) -> None:
        """Take in a part."""
        more, had = one.number, self.number
        off = one.mean - self.mean
        self.squares = self.squares + one.squares + off**2 * had * more / (had + more)
        self.mean = self.mean + off * more / (had + more)
        self.gone = self.gone + one.gone
        self.all_gone += one.all_gone
        self.held.append(one.held)
        self.number = had + more

    def result(self, keep: int) -> Result:
        """Everything at the end; one trajectory alone has no variance."""
        held = np.concatenate(self.held, axis=1)
        variance = self.squares / (self.number - 1) if self.number > 1 else np.full(self.mean.shape, np.nan)
        quantiles = np.moveaxis(np.quantile(held, LEVELS, axis=1), 0, 1)
        gone = self.gone / self.number
        return Result(self.mean, variance, quantiles, gone, self.all_gone / self.number, held[:, :keep], held.shape[1])
