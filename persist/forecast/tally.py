"""What many trajectories have in common, gathered block by block, so that memory stays bounded.

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


class Tally:
    """What is known of the trajectories so far: number, mean, sum of squares about it, the first ``held``, extinctions."""

    def __init__(self, most: int) -> None:
        self.most, self.number = most, 0
        self.mean: Any = 0.0
        self.squares: Any = 0.0
        self.gone: Any = 0
        self.all_gone = 0
        self.held: list[np.ndarray] = []

    def add(self, record: np.ndarray) -> None:
        """Take in ``(3, n_trajectories, n_days + 1)``."""
        more, had = record.shape[1], self.number
        mean = record.mean(axis=1)
        off = mean - self.mean
        self.squares = self.squares + ((record - mean[:, None]) ** 2).sum(axis=1) + off**2 * had * more / (had + more)
        self.mean = self.mean + off * more / (had + more)
        left = record[:, :, -1]
        self.gone = self.gone + (left <= 0.0).sum(axis=1)
        self.all_gone += int((left.sum(axis=0) <= 0.0).sum())
        if had < self.most:
            self.held.append(record[:, : self.most - had])
        self.number = had + more

    def result(self, keep: int) -> Result:
        """Everything at the end; one trajectory alone has no variance."""
        held = np.concatenate(self.held, axis=1)
        variance = self.squares / (self.number - 1) if self.number > 1 else np.full(self.mean.shape, np.nan)
        quantiles = np.moveaxis(np.quantile(held, LEVELS, axis=1), 0, 1)
        gone = self.gone / self.number
        return Result(self.mean, variance, quantiles, gone, self.all_gone / self.number, held[:, :keep], held.shape[1])
