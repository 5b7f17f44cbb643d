"""Exposure: the dose reaches the cells, and leaves them, through a first-order lag.

``dE/dt = (D(t) - E) / tau``, ``tau = onset_days`` while the exposure rises and ``washout_days`` while it falls. The
dose ``D`` is constant on each step of a grid, so each step has the closed form ``E(t) = D + (E0 - D) exp(-t / tau)``.

Where the exposure was measured it is what was measured: straight from one value to the next, where these lie near enough and
the dose does not change between; elsewhere the lag, which begins anew at every value.
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

type Steps = tuple[ArrayLike, ArrayLike, ArrayLike]
"""Of steps, what `Known` tells of their start, their end and right at it."""

IMMEDIATE_DAYS = 1e-9
"""Time constants up to this many days count as no lag at all."""

NEAR = 1e-6
"""Days that are one day."""

STRAIGHT = 100.0
"""A measured step has the time constant of so many of its lengths, and a target far off: a line but for 1/800 of its rise."""


def relax(
    grid: Grid, onset_days: ArrayLike, washout_days: ArrayLike, initial: ArrayLike = 0.0, course: Known | None = None
) -> Exposure:
    """Exposure along a grid: on each step ``E(t) = D + (E0 - D) exp(-t / tau)``, ``E0`` the end of the step before.

    ``grid`` fields ``(n_steps,)``; ``onset_days``, ``washout_days`` (days, 0 = immediate) and ``initial`` (0..1) share
    one batch shape ``(...)``; the fields of the result are ``(n_steps, ...)``. Differentiable in the time constants and
    in ``initial``, also where a time constant is 0. A step of no length leaves the exposure as it is. What ``course`` knows
    is taken from there.
    """
    shape = jnp.broadcast_shapes(jnp.shape(onset_days), jnp.shape(washout_days), jnp.shape(initial))
    onset, washout, begin = (jnp.full(shape, value, float) for value in (onset_days, washout_days, initial))
    if course is not None:
        begin = jnp.where(jnp.isfinite(course.first), jnp.nan_to_num(course.first), begin)

    def step(start: Array, piece: tuple[Grid, Steps | None]) -> tuple[Array, Exposure]:
        along, known = piece
        length, target = jnp.asarray(along.length), jnp.full(shape, along.dose, float)
        days = jnp.where(target > start, onset, washout)
        end = jnp.where(length > 0, target + (start - target) * _left(length, days), start)
        lag = Exposure(start, target, days)
        return (end, lag) if known is None else _measured(known, length, end, lag)

    steps = Grid(jnp.asarray(grid.length, float), jnp.asarray(grid.dose, float))
    known = None if course is None else (course.start, course.end, course.measured)
    return jax.lax.scan(step, begin, (steps, known))[1]


def _measured(known: Steps, length: Array, lagged: Array, lag: Exposure) -> tuple[Array, Exposure]:
    """The end and the exposure of a step by what was measured, where something was, else by the lag (``lagged`` at its end)."""
    start, end, measured = map(jnp.asarray, known)
    there, seen = jnp.isfinite(start) & (length > 0), jnp.isfinite(measured) & (length > 0)
    first, last = (jnp.where(there, jnp.nan_to_num(part), 0.0) for part in (start, end))
    line = Exposure(first, first - (last - first) / np.expm1(-1.0 / STRAIGHT), STRAIGHT * length)
    found = jax.tree.map(lambda own, other: jnp.where(there, own, other), line, lag)
    return jnp.where(seen, jnp.nan_to_num(measured), jnp.where(there, last, lagged)), found


def along(levels: Levels, node: np.ndarray, changes: np.ndarray, longest: float, apart: float) -> Known:
    """What measured exposures say of steps that end at each ``node`` but the first ``(n_steps + 1,)``.

    Between two values it is their line, unless they lie more than ``longest`` days apart or the dose ``changes`` (days) between
    them. A value weighs as much as the days since the one before are of those, ``apart``, that make it an error of its own.
    """
    nothing = np.full(len(node) - 1, np.nan)
    day, level = levels
    if len(day) == 0:
        return Known(nothing, nothing, nothing, np.zeros(len(nothing)), np.asarray(np.nan))
    found = np.interp(node, day, level)
    before = np.clip(np.searchsorted(day, node[:-1] + NEAR, side="right") - 1, 0, len(day) - 1)
    after = np.clip(before + 1, 0, len(day) - 1)
    known = (node[:-1] >= day[before] - NEAR) & (node[1:] <= day[after] + NEAR) & (after > before)
    known &= day[after] - day[before] <= longest
    known &= ~np.any((changes > day[before, None] + NEAR) & (changes < day[after, None] - NEAR), axis=1)
    start, end = (np.where(known, part, np.nan) for part in (found[:-1], found[1:]))
    near = np.argmin(np.abs(node[:, None] - day), axis=1)
    right = np.abs(node - day[near]) < NEAR
    there = right[1:] & (np.diff(node) > 0.0)
    since = np.minimum(np.diff(day, prepend=-np.inf) / apart, 1.0)[near[1:]]
    measured, first = np.where(there, level[near[1:]], np.nan), level[near[0]] if right[0] else np.nan
    return Known(start, end, measured, np.where(there, since, 0.0), np.asarray(first))


def _left(elapsed: Array, days: Array) -> Array:
    """Share of the gap to the dose that is left: ``exp(-elapsed / days)``, ``(...)``; 0 where there is no lag."""
    lagged = days > IMMEDIATE_DAYS
    return jnp.where(lagged, jnp.exp(-elapsed / jnp.where(lagged, days, 1.0)), 0.0)
