"""Exposure: the dose reaches the cells, and leaves them, through a first-order lag.

``dE/dt = (D(t) - E) / tau``, ``tau = onset_days`` while the exposure rises and ``washout_days`` while it falls. The
dose ``D`` is constant on each step of a grid, so each step has the closed form ``E(t) = D + (E0 - D) exp(-t / tau)``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from persist.types import Exposure, Grid

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

IMMEDIATE_DAYS = 1e-9
"""Time constants up to this many days count as no lag at all."""


def relax(grid: Grid, onset_days: ArrayLike, washout_days: ArrayLike, initial: ArrayLike = 0.0) -> Exposure:
    """Exposure along a grid: on each step ``E(t) = D + (E0 - D) exp(-t / tau)``, ``E0`` the end of the step before.

    ``grid`` fields ``(n_steps,)``; ``onset_days``, ``washout_days`` (days, 0 = immediate) and ``initial`` (0..1) share
    one batch shape ``(...)``; the fields of the result are ``(n_steps, ...)``. Differentiable in the time constants and
    in ``initial``, also where a time constant is 0. A step of no length leaves the exposure as it is.
    """
    shape = jnp.broadcast_shapes(jnp.shape(onset_days), jnp.shape(washout_days), jnp.shape(initial))
    onset, washout, begin = (jnp.full(shape, value, float) for value in (onset_days, washout_days, initial))

    def step(start: Array, piece: Grid) -> tuple[Array, Exposure]:
        length, target = jnp.asarray(piece.length), jnp.full(shape, piece.dose, float)
        days = jnp.where(target > start, onset, washout)
        end = jnp.where(length > 0, target + (start - target) * _left(length, days), start)
        return end, Exposure(start, target, days)

    steps = Grid(jnp.asarray(grid.length, float), jnp.asarray(grid.dose, float))
    return jax.lax.scan(step, begin, steps)[1]


def _left(elapsed: Array, days: Array) -> Array:
    """Share of the gap to the dose that is left: ``exp(-elapsed / days)``, ``(...)``; 0 where there is no lag."""
    lagged = days > IMMEDIATE_DAYS
    return jnp.where(lagged, jnp.exp(-elapsed / jnp.where(lagged, days, 1.0)), 0.0)
