"""Log-likelihood of a burden series around a smooth curve: wander integrated out, robust noise, censoring.

    y_i = mu_i + w(t_i) + e_i,   w the wander of `dynamics.observe`,   e_i ~ sum_k weight_k Normal(0, (sd scale_k)^2)

One pass in time. The filter holds w(t_i) and its slope given y_1..i as a normal; each value, for each component of the noise,
has a closed form (normal density if measured, normal tail if censored; posterior mean and variance of w by conjugacy or by the
moments of a truncated normal), and the mixture is collapsed to its mean and variance (assumed-density filter; Minka 2001,
arXiv:1301.2294). Exact for a measured series with one noise component.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.special import log_ndtr, ndtr

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, Passage, passage

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


class _Row(NamedTuple):
    """A visit, the level of the curve there, and what the days since the visit before do to the wander, the ``fresh``
    covariance in units of the log (`passage` has it in those of sd^2).
    """

    visit: Visits
    level: Any
    over: Passage


def log_likelihood(
    visits: Visits, curve: Array, noise_sd: ArrayLike, wander_sd: ArrayLike, wander_days: ArrayLike
) -> tuple[Array, Wander]:
    """Pointwise log-likelihood ``(n_visits,)``, each given the values before it, and the wander after the last value.

    ``curve`` ``(n_visits,)`` is the log burden without wander and noise. Padded visits count 0 and change nothing.
    """
    spread = jnp.asarray(NOISE_SCALE) * noise_sd

    @partial(jax.checkpoint, prevent_cse=False)  # what a visit did is done anew on the way back: half the time
    def step(state: Wander, row: _Row) -> tuple[Wander, Array]:
        return _absorbed(state, row, _drifted(state, row.over), spread)

    last, pointwise = jax.lax.scan(step, _start(wander_sd), _rows(visits, curve, wander_sd, wander_days))
    return pointwise, last


def forecast_share(
    visits: Visits, curve: Array, noise_sd: ArrayLike, wander_sd: ArrayLike, wander_days: ArrayLike
) -> Array:
    """The one-step forecast's distribution function at every value (or limit), given those before it; ``(n_visits,)``.

    F_i = sum_k weight_k Phi((y_i - mu_i - m_i) / s_k),  s_k^2 = v_i + (sd scale_k)^2 + counting_i,  w ~ Normal(m_i, v_i) before

    Under the model the shares of a measured series are independent and uniform (Rosenblatt 1952, 10.1214/aoms/1177729394).
    """
    spread = jnp.asarray(NOISE_SCALE) * noise_sd

    def step(state: Wander, row: _Row) -> tuple[Wander, Array]:
        before = _drifted(state, row.over)
        scale = jnp.sqrt(before.variance + spread**2 + row.visit.counting)
        share = jnp.sum(jnp.asarray(NOISE_WEIGHT) * ndtr((row.visit.value - row.level - before.mean) / scale))
        return _absorbed(state, row, before, spread)[0], share

    return jax.lax.scan(step, _start(wander_sd), _rows(visits, curve, wander_sd, wander_days))[1]


def _rows(visits: Visits, curve: Array, wander_sd: ArrayLike, wander_days: ArrayLike) -> _Row:
    """What the filter reads, visit after visit; the passages do not depend on what was seen, and are made at once."""
    over = passage(jnp.asarray(visits.gap), wander_days)
    fresh = jnp.asarray(wander_sd) ** 2 * over.fresh
    return _Row(
        Visits(*map(jnp.asarray, visits)),
        curve,
        jax.tree.map(lambda part: jnp.moveaxis(part, -1, 0), Passage(over.kept, fresh)),
    )


def _start(wander_sd: ArrayLike) -> Wander:
    """The stationary law of the wander."""
    nothing, variance = jnp.zeros(()), jnp.asarray(wander_sd, float) ** 2
    return Wander(nothing, variance, nothing, variance, nothing)


def _drifted(state: Wander, over: Passage) -> Wander:
    """What is known of the wander after days without a value. Written out: products of matrices this small take the time of
    hundreds of numbers.
    """
    (a, b), (c, d) = over.kept
    first, shared = a * state.variance + b * state.shared, a * state.shared + b * state.slope_variance
    cross, second = c * state.variance + d * state.shared, c * state.shared + d * state.slope_variance
    return Wander(
        a * state.mean + b * state.slope,
        first * a + shared * b + over.fresh[0, 0],
        c * state.mean + d * state.slope,
        cross * c + second * d + over.fresh[1, 1],
        first * c + shared * d + over.fresh[0, 1],
    )


def _absorbed(state: Wander, row: _Row, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The wander after a visit, and the log density of its value."""
    kind = jnp.where(row.visit.seen, 1 + jnp.abs(row.visit.censoring), 0)
    after: tuple[Wander, Array] = jax.lax.switch(
        kind, (_skip(state), _measured, _censored), row.visit, row.level, before, spread
    )
    return after


def _skip(state: Wander) -> Callable[..., tuple[Wander, Array]]:
    """A padded visit: nothing is learned, and no time passes."""
    return lambda *_: (state, jnp.zeros(()))


def _measured(visit: Visits, level: Array, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The wander after a measured value, and its log density; components of the noise stand on the last axis ``(k,)``."""
    narrow = jax.lax.rsqrt(before.variance + spread**2 + visit.counting)
    scaled = (visit.value - level - before.mean) * narrow
    return _mixed(before, narrow, -0.5 * scaled**2 - _LOG_ROOT_2PI, narrow, scaled, jnp.ones(()))


def _censored(visit: Visits, level: Array, before: Wander, spread: Array) -> tuple[Wander, Array]:
    """The same for a value under (-1) or over (1) a limit, whose moments are those of a truncated normal."""
    narrow = jax.lax.rsqrt(before.variance + spread**2 + visit.counting)
    sign = -jnp.asarray(visit.censoring, float)
    tail = sign * (visit.value - level - before.mean) * narrow
    log_tail = log_ndtr(tail)
    hazard = jnp.exp(-0.5 * tail**2 - _LOG_ROOT_2PI - log_tail)
    return _mixed(before, narrow, log_tail, jnp.ones(()), -sign * hazard, hazard * (hazard + tail))


def _mixed(
    before: Wander, narrow: Array, log_shape: Array, height: Array, shift: Array, shrink: Array
) -> tuple[Wander, Array]:
    """Wander and log density over the components, from the standardised shift of the mean and loss of variance of each, and
    its density ``height`` exp(``log_shape``); ``narrow`` is one over its standard deviation s.

    measured: phi(a) / s, a, 1;   left: Phi(a), -h, h (h + a);   right: Phi(-a), h, h (h - a);   h = phi / Phi
    """
    top = jax.lax.stop_gradient(jnp.max(log_shape))
    likely = jnp.asarray(NOISE_WEIGHT) * height * jnp.exp(log_shape - top)
    whole = jnp.sum(likely)
    weight, pulled = likely / whole, before.variance * narrow
    move = pulled * shift
    mean = jnp.sum(weight * move)
    variance = jnp.sum(weight * (before.variance - pulled**2 * shrink + (move - mean) ** 2))
    pull = before.shared / before.variance  # of u on w, which the value does not change
    held = before.slope_variance - pull * before.shared
    return Wander(
        before.mean + mean, variance, before.slope + pull * mean, held + pull**2 * variance, pull * variance
    ), top + jnp.log(whole)
