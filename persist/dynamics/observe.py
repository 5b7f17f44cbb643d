"""What is measured of a tumour, and with what error.

    log y = power * (log N - log cells_per_unit) + w(t) + e,   power 1 for volumes and markers, 1/3 for diameters

``w`` is a stationary Ornstein-Uhlenbeck process (sd ``wander_sd``, relaxation ``wander_days``): real series wander from any
smooth curve. ``e`` is robust: Student's t with four degrees of freedom and scale ``noise_sd``, written as a mixture of five
normals (Andrews & Mallows 1974, 10.1111/j.2517-6161.1974.tb00989.x), with one gross error in ten thousand. The mixture *is* the
noise of this program: the likelihood integrates it and the simulators draw from it. Its standard deviation is 1.4 ``noise_sd``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

_STUDENT_DF = 4.0
_BLUNDER_SHARE, _BLUNDER_SCALE = 1e-4, 30.0


def _student_mixture(df: float, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of normals of these scales (evenly spaced in their log) that together stand for Student's t, and the scales.

    t = z / sqrt(lambda) with lambda ~ Gamma(df/2, rate df/2): the integral over log lambda by the trapezoidal rule. With the
    scales below, tails are within 7 % of the t's out to 4 scales and within 30 % out to 7.
    """
    precision = scale**-2.0
    weight = precision ** (df / 2.0) * np.exp(-df / 2.0 * precision)
    return weight / weight.sum(), scale


def _with_blunders(weight: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A further component for gross errors: rare, and so wide that no single value can overrule all others."""
    return np.append((1.0 - _BLUNDER_SHARE) * weight / weight.sum(), _BLUNDER_SHARE), np.append(scale, _BLUNDER_SCALE)


NOISE_WEIGHT, NOISE_SCALE = _with_blunders(*_student_mixture(_STUDENT_DF, np.geomspace(0.55, 4.2, 5)))
"""Weights and scales ``(6,)`` of the components of the noise, in units of ``noise_sd``."""


class Observable(NamedTuple):
    """How a kind of burden follows from the number of cells; ``cells`` names its entry in the priors file."""

    power: float
    cells: str
    counted: bool = False
    ceiling: float = np.inf


OBSERVABLES: dict[str, Observable] = {
    "psa": Observable(1.0, "psa"),
    "volume": Observable(1.0, "volume"),
    "m-protein": Observable(1.0, "other"),
    "bcr-abl": Observable(1.0, "other"),
    "lymphocytes": Observable(1.0, "other"),
    "blasts": Observable(1.0, "other"),
    "sld": Observable(1.0 / 3.0, "diameter"),
    "diameter": Observable(1.0 / 3.0, "diameter"),
    "cells": Observable(1.0, "one", counted=True),
    "confluence": Observable(1.0, "other", ceiling=99.0),
}


def log_burden(total: ArrayLike, log_cells_per_unit: ArrayLike, power: ArrayLike) -> Array:
    """log y without noise: power * (log N - log cells_per_unit); N is held at 1e-6 cells from below."""
    return jnp.asarray(power) * (jnp.log(jnp.maximum(total, 1e-6)) - log_cells_per_unit)


def noise(pick: Array, shock: Array) -> Array:
    """Measurement errors in units of ``noise_sd``, ``(...)``: a component by the uniform number ``pick``, of whose scale the
    standard normal ``shock`` is made.
    """
    part = jnp.searchsorted(jnp.asarray(np.cumsum(NOISE_WEIGHT)[:-1]), pick)
    return jnp.asarray(NOISE_SCALE)[part] * shock


def wander(shocks: Array, start: Array, day: Array, sd: ArrayLike, days: ArrayLike) -> Array:
    """Ornstein-Uhlenbeck paths at ``day`` ``(n,)`` from ``start`` ``(...)`` at ``day[0]``; ``shocks`` and paths ``(n, ...)``.

    w(t + h) = rho w(t) + sd sqrt(1 - rho^2) z,   rho = exp(-h / days),   z the standard normal shock of the later day
    """

    def step(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        gap, shock = inputs
        decay = jnp.exp(-gap / days)
        state = decay * state + sd * jnp.sqrt(-jnp.expm1(-2.0 * gap / days)) * shock
        return state, state

    return jax.lax.scan(step, start, (jnp.diff(day, prepend=day[:1]), shocks))[1]
