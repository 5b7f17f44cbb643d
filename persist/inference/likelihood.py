"""Log-likelihood of a burden series around a smooth curve: wander integrated out, robust noise, censoring.

    y_i = mu_i + w(t_i) + e_i,   w the wander of `dynamics.observe`,   e_i ~ sum_k weight_k Normal(0, (sd scale_k)^2)

One pass in time. The filter holds w(t_i) and its slope given y_1..i as a normal; each value, for each component of the noise,
has a closed form (normal density if measured, normal tail if censored; posterior mean and variance of w by conjugacy or by the
moments of a truncated normal), and the mixture is collapsed to its mean and variance (assumed-density filter; Minka 2001,
arXiv:1301.2294). Exact for a measured series with one noise component.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, logsumexp, ndtr

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, passage, times

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array
    from jax.typing import ArrayLike

_LOG_ROOT_2PI = 0.9189385332046727


class Wander(NamedTuple):
    """What is known of w after the last value: mean and variance, each ``()``; and of its scaled slope u: ``slope`` its mean,
    ``slope_variance``, and the ``shared`` covariance.
    """

    mean: Array
    variance: Array
    slope: Array
    slope_variance: Array
    shared: Array


class Visits(NamedTuple):
    """A series as the filter reads it, each ``(n_visits,)``: gap in days to the visit before (0 at the first), log burden
    (or log limit), censoring (-1, 0, 1), extra variance of the log (counting), and the mask of real visits.
    """

    gap: Any
    value: Any
    censoring: Any
    counting: Any
    seen: Any


def log_likelihood(
    visits: Visits, curve: Array, noise_sd: ArrayLike, wander_sd: ArrayLike, wander_days: ArrayLike
) -> tuple[Array, Wander]:
    """Pointwise log-likelihood ``(n_visits,)``, each given the values before it, and the wander after the last value.

    ``curve`` ``(n_visits,)`` is the log burden without wander and noise. Padded visits count 0 and change nothing.
    """
    spread = jnp.asarray(NOISE_SCALE) * noise_sd

    def step(state: Wander, row: tuple[Visits, Array]) -> tuple[Wander, Array]:
        visit, level = row
        before = _drifted(state, visit.gap, wander_sd, wander_days)
        return _absorbed(state, visit, level, before, spread)

    last, pointwise = jax.lax.scan(step, _start(wander_sd), (Visits(*map(jnp.asarray, visits)), curve))
    return pointwise, last


def forecast_share(
    visits: Visits, curve: Array, noise_sd: ArrayLike, wander_sd: ArrayLike, wander_days: ArrayLike
) -> Array:
    """The one-step forecast's distribution function at every value (or limit), given those before it; ``(n_visits,)``.

    F_i = sum_k weight_k Phi((y_i - mu_i - m_i) / s_k),  s_k^2 = v_i + (sd scale_k)^2 + counting_i,  w ~ Normal(m_i, v_i) before

    Under the model the shares of a measured series are independent and uniform (Rosenblatt 1952, 10.1214/aoms/1177729394).
    """
    spread = jnp.asarray(NOISE_SCALE) * noise_sd

    def step(state: Wander, row: tuple[Visits, Array]) -> tuple[Wander, Array]:
        visit, level = row
        before = _drifted(state, visit.gap, wander_sd, wander_days)
        scale = jnp.sqrt(before.variance + spread**2 + visit.counting)
        share = jnp.sum(jnp.asarray(NOISE_WEIGHT) * ndtr((visit.value - level - before.mean) / scale))
        return _absorbed(state, visit, level, before, spread)[0], share

    return jax.lax.scan(step, _start(wander_sd), (Visits(*map(jnp.asarray, visits)), curve))[1]


def _start(wander_sd: ArrayLike) -> Wander:
    """The stationary law of the wander."""
    nothing, variance = jnp.zeros(()), jnp.asarray(wander_sd, float) ** 2
    return Wander(nothing, variance, nothing, variance, nothing)


def _drifted(state: Wander, gap: Array, sd: Any, days: Any) -> Wander:
    """What is known of the wander after ``gap`` days without a value."""
    over = passage(gap, days)
    known = jnp.array([[state.variance, state.shared], [state.shared, state.slope_variance]])
    (mean, slope), spread = times(over.kept, jnp.stack([state.mean, state.slope])), over.kept @ known @ over.kept.T
    spread = spread + sd**2 * over.fresh
    return Wander(mean, spread[0, 0], slope, spread[1, 1], spread[0, 1])


def _absorbed(state: Wander, visit: Visits, level: Array, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The wander after a visit, and the log density of its value."""
    kind = jnp.where(visit.seen, 1 + jnp.abs(visit.censoring), 0)
    after: tuple[Wander, Array] = jax.lax.switch(
        kind, (_skip(state), _measured, _censored), visit, level, before, spread
    )
    return after


def _skip(state: Wander) -> Callable[..., tuple[Wander, Array]]:
    """A padded visit: nothing is learned, and no time passes."""
    return lambda *_: (state, jnp.zeros(()))


def _measured(visit: Visits, level: Array, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The wander after a measured value, and its log density; components of the noise stand on the last axis ``(k,)``."""
    total = before.variance + spread**2 + visit.counting
    scaled = (visit.value - level - before.mean) / jnp.sqrt(total)
    log_density = -0.5 * scaled**2 - _LOG_ROOT_2PI - 0.5 * jnp.log(total)
    return _mixed(before, total, log_density, scaled, jnp.ones(()))


def _censored(visit: Visits, level: Array, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The same for a value under (-1) or over (1) a limit, whose moments are those of a truncated normal."""
    total = before.variance + spread**2 + visit.counting
    sign = -jnp.asarray(visit.censoring, float)
    tail = sign * (visit.value - level - before.mean) / jnp.sqrt(total)
    log_tail = log_ndtr(tail)
    hazard = jnp.exp(-0.5 * tail**2 - _LOG_ROOT_2PI - log_tail)
    return _mixed(before, total, log_tail, -sign * hazard, hazard * (hazard + tail))


def _mixed(before: Wander, total: Array, log_density: Array, shift: Array, shrink: Array) -> tuple[Wander, Array]:
    """Wander and log density over the components, from the standardised shift of the mean and loss of variance of each.

    measured: phi(a) / sqrt(total), a, 1;   left: Phi(a), -h, h (h + a);   right: Phi(-a), h, h (h - a);   h = phi / Phi
    """
    joint = jnp.log(jnp.asarray(NOISE_WEIGHT)) + log_density
    norm = logsumexp(joint)
    weight = jnp.exp(joint - norm)
    move = before.variance / jnp.sqrt(total) * shift
    mean = jnp.sum(weight * move)
    variance = jnp.sum(weight * (before.variance - before.variance**2 / total * shrink + (move - mean) ** 2))
    pull = before.shared / before.variance  # of u on w, which the value does not change
    held = before.slope_variance - pull * before.shared
    return Wander(
        before.mean + mean, variance, before.slope + pull * mean, held + pull**2 * variance, pull * variance
    ), norm
