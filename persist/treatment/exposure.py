"""Exposure: the dose reaches the cells, and leaves them, through a first-order lag.

``dE/dt = (D(t) - E) / tau``, ``tau = onset_days`` while the exposure rises and ``washout_days`` while it falls. The
dose ``D`` is constant on each step of a grid, so each step has the closed form ``E(t) = D + (E0 - D) exp(-t / tau)``.

Where the exposure was measured it is what was measured, straight from one value to the next, and the lag goes on from the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.types import Exposure, Grid, Known, Levels

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

IMMEDIATE_DAYS = 1e-9
"""Time constants up to this many days count as no lag at all."""

STRAIGHT = 100.0
"""A measured step has the time constant of so many of its lengths, and a target far off: a line but for 1/800 of its rise."""


def relax(
    grid: Grid, onset_days: ArrayLike, washout_days: ArrayLike, initial: ArrayLike = 0.0, course: Known | None = None
) -> Exposure:
    """Exposure along a grid: on each step ``E(t) = D + (E0 - D) exp(-t / tau)``, ``E0`` the end of the step before.

    ``grid`` fields ``(n_steps,)``; ``onset_days``, ``washout_days`` (days, 0 = immediate) and ``initial`` (0..1) share
    one batch shape ``(...)``; the fields of the result are ``(n_steps, ...)``. Differentiable in the time constants and
    in ``initial``, also where a time constant is 0. A step of no length leaves the exposure as it is. Steps that ``course``
    knows go straight from its start to its end.
    """
    shape = jnp.broadcast_shapes(jnp.shape(onset_days), jnp.shape(washout_days), jnp.shape(initial))
    onset, washout, begin = (jnp.full(shape, value, float) for value in (onset_days, washout_days, initial))

    def step(start: Array, piece: tuple[Grid, Known | None]) -> tuple[Array, Exposure]:
        along, known = piece
        length, target = jnp.asarray(along.length), jnp.full(shape, along.dose, float)
        days = jnp.where(target > start, onset, washout)
        end = jnp.where(length > 0, target + (start - target) * _left(length, days), start)
        lag = Exposure(start, target, days)
        return (end, lag) if known is None else _measured(known, length, end, lag)

    steps = Grid(jnp.asarray(grid.length, float), jnp.asarray(grid.dose, float))
    return jax.lax.scan(step, begin, (steps, course))[1]


def _measured(known: Known, length: Array, end: Array, lag: Exposure) -> tuple[Array, Exposure]:
    """The end and the exposure of a step by what was measured, where something was, else by the lag."""
    there = jnp.isfinite(known.start) & (length > 0)
    first, last = (jnp.where(there, jnp.nan_to_num(part), 0.0) for part in (known.start, known.end))
    far = first - (last - first) / np.expm1(-1.0 / STRAIGHT)
    line = Exposure(first, far, STRAIGHT * length)
    return jnp.where(there, last, end), jax.tree.map(lambda own, other: jnp.where(there, own, other), line, lag)


def along(levels: Levels, node: np.ndarray, longest: float) -> Known:
    """What measured exposures say of steps that end at each ``node`` but the first ``(n_steps + 1,)``; nothing where values lie
    more than ``longest`` days apart, nor before the first and after the last.
    """
    day, level = levels
    nothing = np.full(len(node) - 1, np.nan)
    if len(day) == 0:
        return Known(nothing, nothing, nothing)
    found = np.interp(node, day, level)
    before = np.clip(np.searchsorted(day, node[:-1] + 1e-6, side="right") - 1, 0, len(day) - 1)
    after = np.clip(before + 1, 0, len(day) - 1)
    inside = (node[:-1] >= day[before] - 1e-6) & (node[1:] <= day[after] + 1e-6) & (after > before)
    known = inside & (day[after] - day[before] <= longest)
    near = np.argmin(np.abs(node[1:, None] - day), axis=1)
    at_end = (np.abs(node[1:] - day[near]) < 1e-6) & (np.diff(node) > 0.0)
    start, end = (np.where(known, part, np.nan) for part in (found[:-1], found[1:]))
    return Known(start, end, np.where(at_end, level[near], np.nan))


def _left(elapsed: Array, days: Array) -> Array:
    """Share of the gap to the dose that is left: ``exp(-elapsed / days)``, ``(...)``; 0 where there is no lag."""
    lagged = days > IMMEDIATE_DAYS
    return jnp.where(lagged, jnp.exp(-elapsed / jnp.where(lagged, days, 1.0)), 0.0)
