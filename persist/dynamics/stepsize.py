"""The step of the leap, from a stated bound on its error.

The leap's error in the mean is of second order in its step (crowding, secretome, parents and exposure are frozen at a
predicted middle), so it shows in the leap without chance (`branching.expected_step`) taken at one step and at half of it:
the difference is 3/4 of the error, to leading order. The longest step is chosen, halving from the grid's own, whose error

    max over states, steps and rates of (4/3) |x_h - x_{h/2}| / max(x_{h/2}, 1 cell)

is within the bound. Variances, whose error is of second order too, are not looked at; `docs/benchmark.md` has them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.branching import expected_step
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array

    from persist.types import Grid

BOUND = 0.002
"""Largest relative error of a mean that a step may cause."""

MOST_SUBSTEPS = 64
"""A step of the grid is divided at most so often."""


ROUND = 128
"""Numbers of rates and of steps are filled up to multiples of this."""


class Step(NamedTuple):
    """The step chosen: ``substeps`` of each step of the grid, the longest of them in days, and the error of means there
    (relative; above `BOUND` only where even `MOST_SUBSTEPS` are too few).
    """

    substeps: int
    days: float
    error: float


def choose(cells: Cells, rates: Rates, grid: Grid, exposure: Exposure, bound: float = BOUND) -> Step:
    """The step for trajectories of these rates along a grid; arguments as of `trajectories.simulate`."""
    longest, substeps = float(np.max(np.asarray(grid.length), initial=0.0)), 1
    while True:
        found = error(cells, rates, grid, exposure, substeps)
        if found <= bound or substeps >= MOST_SUBSTEPS:
            return Step(substeps, longest / substeps, found)
        substeps *= 2


def error(cells: Cells, rates: Rates, grid: Grid, exposure: Exposure, substeps: int) -> float:
    """Largest relative error of a mean along the grid, at so many leaps in each of its steps."""
    number = {int(np.shape(part)[0]) for part in (*cells, *rates) if np.ndim(part)}
    number |= {int(np.shape(part)[1]) for part in exposure if np.ndim(part) == 2}
    lanes, length = max(number, default=1), np.asarray(grid.length, float)
    more, later = -lanes % ROUND, -len(length) % ROUND
    cells, rates = jax.tree.map(lambda part: _filled(part, 0, more) if np.ndim(part) else part, (cells, rates))
    along = Exposure(*[_filled(_filled(part, 1, more if np.ndim(part) == 2 else 0), 0, later) for part in exposure])
    return float(_doubled(jnp.zeros(lanes + more), cells, rates, np.pad(length, (0, later)), along, substeps))


def _filled(part: Any, axis: int, more: int) -> np.ndarray:
    """An array made longer by its last value, so that few sizes are compiled."""
    values = np.asarray(part, float)
    if more == 0:
        return values
    return np.pad(values, [(0, more if at == axis else 0) for at in range(values.ndim)], mode="edge")


@jax.jit
def _doubled(lanes: Array, cells: Cells, rates: Rates, length: Array, exposure: Exposure, substeps: Array) -> Array:
    """`error`, from the same path in ``substeps`` and twice as many."""

    def step(
        carry: tuple[Array, Array, Array], piece: tuple[Array, Exposure]
    ) -> tuple[tuple[Array, Array, Array], None]:
        coarse, fine, worst = carry
        dt, level = piece
        coarse = expected_step(coarse, rates, level, dt, substeps)
        fine = expected_step(fine, rates, level, dt, 2 * substeps)
        off = jnp.max(4.0 / 3.0 * jnp.abs(coarse - fine) / jnp.maximum(fine, 1.0))
        return (coarse, fine, jnp.maximum(worst, off)), None

    start = jnp.stack([jnp.broadcast_to(jnp.asarray(count, float), lanes.shape) for count in cells])
    (_, _, worst), _ = jax.lax.scan(step, (start, start, jnp.zeros(())), (length, exposure))
    return worst
