"""The step of the leap, from a stated bound on its error.

The leap's error in the mean is of second order in its step (crowding, secretome, parents and exposure are frozen at a
predicted middle), so it shows in the leap without chance (`branching.expected_step`) taken at one step and at half of it:
the difference is 3/4 of the error, to leading order. The longest step is chosen, halving from the grid's own, whose error

    max over states, steps and rates of (4/3) |x_h - x_{h/2}| / max(x_{h/2}, 1 cell)

is within the bound. It is an estimate, and says nothing of numbers under one cell, of the bias that chance itself causes
where capacity is small, or of variances (of second order too; `docs/benchmark.md` has them).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import batches
from persist.dynamics.batches import bucket
from persist.dynamics.branching import expected_step
from persist.errors import RatesError
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from jax import Array

    from persist.types import Grid

BOUND = 0.002
"""Largest relative error of a mean that a step may cause."""

MOST_SUBSTEPS = 64
"""A step of the grid is divided at most so often."""


NO_NUMBER, SMALLER = "the mean of these rates is no number", "give smaller rates, or a capacity"
"""What is wrong where a mean overflows, and its remedy."""

OFFSPRING = 3.0
"""Divisions of a cell that one leap may expect."""

LANES = 512
"""Rates that are looked at at once."""


AHEAD = 8 * 64
"""Bytes of one trajectory and step of the grid, while a step is tried."""


class Step(NamedTuple):
    """The step chosen: ``substeps`` of each step of the grid, the longest of them in days, and the error of means there
    (relative; above `BOUND` only where even `MOST_SUBSTEPS` are too few).
    """

    substeps: int
    days: float
    error: float


class Paces(NamedTuple):
    """The step that each trajectory needs: ``substeps`` ``(n,)`` of each step of the grid, the longest of which has ``days``,
    and the ``error`` ``(n,)`` of means there.
    """

    substeps: np.ndarray
    days: float
    error: np.ndarray

    @property
    def finest(self) -> Step:
        """The shortest step, and the largest error of any."""
        most = int(np.max(self.substeps))
        return Step(most, self.days / most, float(np.max(self.error)))


def finer(one: Paces, other: Paces) -> Paces:
    """The shorter step of two, of each trajectory, with the larger error."""
    return Paces(np.maximum(one.substeps, other.substeps), one.days, np.maximum(one.error, other.error))


class Ways(NamedTuple):
    """Trajectories, each along a grid of its own: their ``cells`` and ``rates``, fields ``(n,)``, the ``length`` of steps
    ``(n_steps, n)`` (days; 0 is padding), and the ``exposure``, likewise.
    """

    cells: Cells
    rates: Rates
    length: Any
    exposure: Exposure


def choose(cells: Cells, rates: Rates, grid: Grid, exposure: Exposure, bound: float = BOUND) -> Step:
    """The step for trajectories of these rates along a grid; arguments as of `trajectories.simulate`."""
    longest, substeps = float(np.max(np.asarray(grid.length), initial=0.0)), 1
    while substeps < least(rates, longest):
        substeps *= 2
    while True:
        found = error(cells, rates, grid, exposure, substeps)
        if not np.isfinite(found):
            raise RatesError(NO_NUMBER, remedy=SMALLER)
        if found <= bound or substeps >= MOST_SUBSTEPS:
            return Step(substeps, longest / substeps, found)
        substeps *= 2


def error(cells: Cells, rates: Rates, grid: Grid, exposure: Exposure, substeps: int) -> float:
    """Largest relative error of a mean along the grid, at so many leaps in each of its steps."""
    number = {int(np.shape(part)[0]) for part in (*cells, *rates) if np.ndim(part)}
    number |= {int(np.shape(part)[1]) for part in jax.tree.leaves(exposure) if np.ndim(part) == 2}
    lanes, length = max(number, default=1), np.asarray(grid.length, float)
    later, worst = bucket(len(length)) - len(length), 0.0
    steps, along = np.pad(length, (0, later)), jax.tree.map(lambda part: _filled(part, 0, later), exposure)
    for first in range(0, lanes, LANES):
        some = slice(first, first + LANES)
        here = min(LANES, lanes - first)
        more = bucket(here) - here
        own = jax.tree.map(lambda part: _filled(part[some], 0, more) if np.ndim(part) else part, (cells, rates))  # noqa: B023
        level = jax.tree.map(lambda part: _filled(part[:, some], 1, more) if np.ndim(part) == 2 else part, along)  # noqa: B023
        worst = max(worst, float(np.max(_doubled(jnp.zeros(here + more), *own, steps, level, substeps))))
    return worst


def each(
    ways: Callable[[np.ndarray, np.ndarray], Ways],
    rates: Rates,
    lengths: Sequence[np.ndarray],
    bound: float = BOUND,
) -> Paces:
    """The step that each trajectory of these rates (fields ``(n,)``) needs along all of several grids; it hangs on no other.

    ``lengths`` are the steps of the grids (days); ``ways(grids, trajectories)``, both ``(n_pairs,)``, has pairs of them, filled
    up to equally many steps. They are halved as by `choose`, all grids of a trajectory at once, of those alone that need it.
    """
    longest = max((float(np.max(length, initial=0.0)) for length in lengths), default=0.0)
    fewest = leasts(rates, longest)
    substeps, worst, leaps = np.zeros(len(fewest), int), np.zeros(len(fewest)), 1
    how = batches.cut(LANES, "leap", AHEAD * max(map(len, lengths), default=1))  # the same for all: it is compiled once
    while not substeps.all():
        open_ = np.flatnonzero((substeps == 0) & (fewest <= leaps))
        found = _worst(ways, open_, len(lengths), leaps, how)
        if not np.all(np.isfinite(found)):
            raise RatesError(NO_NUMBER, remedy=SMALLER)
        enough = (found <= bound) | (leaps >= MOST_SUBSTEPS)
        substeps[open_[enough]], worst[open_[enough]] = leaps, found[enough]
        leaps *= 2
    return Paces(substeps, longest, worst)


def _worst(ways: Callable[..., Ways], members: np.ndarray, grids: int, leaps: int, how: batches.Cut) -> np.ndarray:
    """Largest relative error of a mean of some trajectories ``(n_members,)`` along all grids, at so many leaps a step."""

    def own(places: np.ndarray) -> tuple[np.ndarray, Ways]:
        return np.zeros(len(places)), ways(places // len(members), members[places % len(members)])

    def axes(own: tuple[np.ndarray, Ways]) -> tuple[int, ...]:
        lanes, later = jax.tree.leaves(own[1][:2]), jax.tree.leaves(own[1][2:])
        return (0, *(0 for _ in lanes), *(1 for _ in later))

    number = grids * len(members)
    parts = batches.run(_tried, (), number, how, own, axes, leaps, lambda *found: np.asarray(found[2]))
    return np.max(np.concatenate([np.zeros(0), *parts]).reshape(grids, len(members)), axis=0, initial=0.0)


def least(rates: Rates, days: float) -> int:
    """Fewest leaps of a step of so many days in which no cell is expected to have more than `OFFSPRING` divisions, for which
    the draws of `sampling` are made; `RatesError` where that are more than `MOST_SUBSTEPS`.
    """
    return int(np.max(leasts(rates, days)))


def leasts(rates: Rates, days: float) -> np.ndarray:
    """`least` of each of these rates, in their shape."""
    fastest = np.maximum(
        np.maximum(np.asarray(rates.birth_s, float), np.asarray(rates.birth_p, float)),
        np.asarray(rates.birth_r * (1.0 + rates.secretome_boost) + rates.stimulation_r, float),
    )
    leaps = np.ceil(fastest * days / OFFSPRING)
    if np.max(leaps) > MOST_SUBSTEPS:
        what = f"{np.max(fastest):.3g} divisions a day are too many for steps of {days:g} days"
        raise RatesError(what, remedy="give shorter steps, or slower divisions")
    return np.maximum(leaps, 1).astype(int)


def _filled(part: Any, axis: int, more: int) -> np.ndarray:
    """An array made longer by its last value, so that few sizes are compiled."""
    values = np.asarray(part, float)
    if more == 0:
        return values
    return np.pad(values, [(0, more if at == axis else 0) for at in range(values.ndim)], mode="edge")


@jax.jit
def _doubled(lanes: Array, cells: Cells, rates: Rates, length: Array, exposure: Exposure, substeps: Array) -> Array:
    """`error` of each lane, from the same path in ``substeps`` and twice as many; ``length`` ``(n_steps,)`` or with lanes."""
    start = jnp.stack([jnp.broadcast_to(jnp.asarray(count, float), lanes.shape) for count in cells])

    def path(leaps: Array) -> Array:
        def step(state: Array, piece: tuple[Array, Exposure]) -> tuple[Array, Array]:
            dt, level = piece
            moved = jax.lax.cond(
                jnp.any(dt > 0), expected_step, lambda state, *_: state, state, rates, level, dt, leaps
            )
            state = jnp.where(dt > 0, moved, state)
            return state, state

        along: Array = jax.lax.scan(step, start, (length, exposure))[1]
        return along

    coarse, fine = jax.lax.map(path, substeps * jnp.array([1, 2]))
    return jnp.max(4.0 / 3.0 * jnp.abs(coarse - fine) / jnp.maximum(fine, 1.0), axis=(0, 1))


@jax.jit
def _tried(own: tuple[Array, Ways], leaps: Array) -> Array:
    """`_doubled` for `batches.run`."""
    lanes, ways = own
    worst: Array = _doubled(lanes, *ways, leaps)
    return worst
