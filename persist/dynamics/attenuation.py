"""Attenuation: the kill of S fades with time on drug, and recovers off it.

    da/dt = -alpha E a + rho (1 - E) (1 - a),     k_S -> k_S a,     a = 1 before any drug

``alpha`` is `attenuation_rate` and ``rho`` `recovery_rate` (1/day). It is tolerance without a state of cells: all S share it,
and given the exposure nothing of it is chance. E is the exposure here, also where the effect saturates in it (`effect_half`).
So it is carried along the grid beside the exposure. Over a step of h days with the mean exposure E it has the closed form

    a(h) = a + pull phi(x),   mean of a = a + pull psi(x),      phi = (1 - e^-x) / x,  psi = (1 - phi) / x
    gain = rho (1 - E) h,  loss = alpha E h,      pull = gain (1 - a) - loss a,  x = gain + loss

exact while the exposure is steady, of second order in the step where it moves, as the mean field is. Engines take the mean
over a step as the `potency` within it. With `attenuation_rate` 0, a stays exactly 1.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from persist.dynamics.reactions import IMMEDIATE_DAYS

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.types import Exposure, Rates

FRESH = 1.0
"""Potency before any drug."""

_SERIES = 1e-2
"""Exponents under which phi and psi are taken from their series, where the closed forms would cancel."""


class _Pull(NamedTuple):
    """A step: its ``gain`` and ``loss``, ``end`` = phi and ``mean`` = psi; each ``(...)``."""

    gain: Array
    loss: Array
    end: Array
    mean: Array

    def after(self, potency: Array) -> tuple[Array, Array]:
        """Mean of the potency over the step, and the potency at its end, from that at its start."""
        pull = self.gain * (1.0 - potency) - self.loss * potency
        mean, end = (jnp.maximum(potency + pull * part, 0.0) for part in (self.mean, self.end))
        return mean, end


def attenuated(
    exposure: Exposure, rates: Rates, length: ArrayLike, begin: ArrayLike | None = FRESH
) -> tuple[Exposure, Array | None]:
    """The exposure along a grid with the potency in each step, and the potency at the end of each; both ``(n_steps, ...)``.

    ``exposure`` as of `treatment.exposure.relax`, ``rates`` and ``begin``, the potency at the start, ``(...)``, ``length``
    ``(n_steps,)`` days (0: nothing happens). Where the kill does not fade (``begin`` is None, or `attenuation_rate` the plain
    number 0 and ``begin`` 1) the exposure comes back as it is, and None.
    """
    if begin is None or (_is(rates.attenuation_rate, 0.0) and _is(begin, FRESH)):
        return exposure, None
    days, drug = jnp.asarray(length, float), exposure._replace(potency=None)
    own = (jnp.shape(part) for part in (rates.attenuation_rate, rates.recovery_rate, begin))
    shape = jnp.broadcast_shapes(*own, *(jnp.shape(part)[1:] for part in drug[:3]))
    full = (len(days), *shape)

    def wide(part: ArrayLike) -> Array:
        along = jnp.asarray(part, float)
        return jnp.broadcast_to(along.reshape(along.shape + (1,) * (len(full) - along.ndim)), full)

    def step(potency: Array, pull: _Pull) -> tuple[Array, tuple[Array, Array]]:  # what scan carries, and what it keeps
        mean, end = pull.after(potency)
        return end, (mean, end)

    paces = (rates.attenuation_rate, rates.recovery_rate)
    attenuation, recovery = (jnp.broadcast_to(jnp.asarray(pace, float), full) for pace in paces)
    pulls = _pull(jax.tree.map(wide, drug), attenuation, recovery, wide(days))
    mean, end = jax.lax.scan(step, jnp.broadcast_to(jnp.asarray(begin, float), shape), pulls)[1]
    return exposure._replace(potency=mean), end


def attenuated_step(
    exposure: Exposure, rates: Rates, length: ArrayLike, potency: Array | None
) -> tuple[Exposure, Array | None]:
    """`attenuated` for one step: all ``(...)``, ``potency`` that at its start (None: the kill does not fade)."""
    if potency is None:
        return exposure, None
    mean, end = _pull(exposure, rates.attenuation_rate, rates.recovery_rate, length).after(potency)
    return exposure._replace(potency=mean), end


def _is(part: Any, number: float) -> bool:
    """True where a constant is this number before anything is computed."""
    return isinstance(part, (int, float)) and part == number


def _pull(exposure: Exposure, attenuation: ArrayLike, recovery: ArrayLike, length: ArrayLike) -> _Pull:
    level, days = mean_exposure(exposure, length), jnp.asarray(length)
    gain, loss = jnp.asarray(recovery) * (1.0 - level) * days, jnp.asarray(attenuation) * level * days
    return _Pull(gain, loss, *_shares(gain + loss))


def mean_exposure(exposure: Exposure, length: ArrayLike) -> Array:
    """Mean of ``D + (E0 - D) e^{-t / tau}`` over a step, ``(...)``; D where there is no lag."""
    start, target, days = (jnp.asarray(part, float) for part in exposure[:3])
    lagged = days > IMMEDIATE_DAYS
    left = _shares(jnp.asarray(length) / jnp.where(lagged, days, 1.0))[0]
    return target + (start - target) * jnp.where(lagged, left, 0.0)


def _shares(x: Array) -> tuple[Array, Array]:
    """``phi = (1 - e^-x) / x`` and ``psi = (1 - phi) / x`` for x >= 0, with their limits 1 and 1/2 at 0."""
    small = x < _SERIES
    large = jnp.where(small, 1.0, x)
    phi = -jnp.expm1(-large) / large
    psi = 0.5 - x / 6.0 * (1.0 - x / 4.0 * (1.0 - x / 5.0 * (1.0 - x / 6.0)))
    return jnp.where(small, 1.0 - x * psi, phi), jnp.where(small, psi, (1.0 - phi) / large)
