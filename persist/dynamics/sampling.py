"""Random counts, right in mean, variance and tail from 0 to 1e13, at a cost that does not depend on the count.

Poisson, binomial and negative binomial are one family (Katz, Panjer): ``p(k+1) / p(k) = (a k + b) / (k + 1)`` with
a = 0, a < 0, 0 < a < 1. A count is the quantile of one uniform number: up to about `SMALL` expected counts the
distribution function is walked through term by term (exact; a bounded walk, no rejection), above it the quantile is the
Cornish-Fisher expansion of a continuous law that, once rounded, has the same five cumulants (mean, variance, skewness,
two more). The distribution function so made is wrong by less than 1e-4 at the switch, and by less with larger counts.

Counts, means and the walks are float64; how far a large count lies from its mean, in standard deviations, is float32
(relative error 1e-6, against 1e-16 of the count), at a third of the cost. Quantiles are monotone in the uniform number:
equal numbers couple similar populations. Uniform numbers are of SplitMix64: one stream a trajectory, counted by step.

Sources: Cornish & Fisher 1938, 10.2307/1400905; the Poisson case: Giles 2016, 10.1145/2699466; SplitMix64: Steele, Lea
& Flood 2014, 10.1145/2660193.2660195.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array
    from jax.typing import ArrayLike

SMALL = 8.0
"""Expected counts up to which a Poisson law is walked through; binomials go by variance, overdispersed by skewness."""

GOLDEN = 0x9E3779B97F4A7C15
"""Step from one number of a stream to the next."""

SPACING = np.uint64(0xD1B54A32D192ED03)
"""Step from one stream under another to the next, before mixing."""

Cumulants = tuple["Array", "Array", "Array", "Array"]
"""One part of a count: its variance, and cumulants 3 to 5 over that power of its standard deviation, float32."""

LONGEST_WALK = 4096
"""Terms after which a walk gives up; only strongly overdispersed laws (p < 0.01) come there."""

STRIDE = 4
"""Terms of a walk that are unrolled into one turn of its loop."""


def poisson(key: Array, mean: ArrayLike) -> Array:
    """Poisson counts of the given ``mean`` (0..1e13), float64 ``(...)``."""
    return poisson_quantile(uniform(key, jnp.shape(mean)), mean)


def binomial(key: Array, n: ArrayLike, p: ArrayLike) -> Array:
    """Successes among ``n`` (0..1e13) trials of probability ``p`` (0..1), float64 ``(...)``; never above n."""
    return binomial_quantile(uniform(key, jnp.broadcast_shapes(jnp.shape(n), jnp.shape(p))), n, p)


def negative_binomial(key: Array, n: ArrayLike, p: ArrayLike) -> Array:
    """Failures before the ``n``-th success of probability ``p``: a sum of n geometric counts, float64 ``(...)``.

    Right for ``p >= 0.01`` at any n, and for any p where ``n >= 32``; with both smaller the tail is cut off.
    """
    return negative_binomial_quantile(uniform(key, jnp.broadcast_shapes(jnp.shape(n), jnp.shape(p))), n, p)


def uniform(key: Array, shape: tuple[int, ...]) -> Array:
    """Uniform numbers of the given ``shape``, strictly between 0 and 1."""
    return jnp.minimum(jax.random.uniform(key, shape, jnp.float64) + 2.0**-54, 1.0 - 2.0**-53)


def poisson_quantile(u: Array, mean: ArrayLike) -> Array:
    """Smallest k with ``P(X > k) < u``, X Poisson of the given ``mean``; ``(...)``, falls as ``u`` in (0, 1) rises."""
    return katz_quantile(u, jnp.zeros_like(u), jnp.asarray(mean))


def binomial_quantile(
    u: Array, n: ArrayLike, p: ArrayLike, quantile: Callable[[Array, Array, Array], Array] | None = None
) -> Array:
    """Smallest k with ``P(X > k) < u``, X binomial; where p > 1/2 the failures are counted instead.

    ``quantile`` is that of the Katz law: `katz_quantile`, or `walk` where successes or failures are known to be few.
    """
    flipped, odds = _rarer(p)
    counted = jnp.minimum((quantile or katz_quantile)(jnp.where(flipped, 1.0 - u, u), -odds, odds * n), n)
    return jnp.where(flipped, n - counted, counted)


def _rarer(p: ArrayLike) -> tuple[Array, Array]:
    """Whether failures are rarer than successes, and the odds of the rarer of the two, each ``(...)``."""
    share = jnp.clip(jnp.asarray(p), 0.0, 1.0)
    rarer = jnp.minimum(share, 1.0 - share)
    return share > 0.5, rarer / (1.0 - rarer)


def negative_binomial_quantile(u: Array, n: ArrayLike, p: ArrayLike) -> Array:
    """Smallest k with ``P(X > k) < u``, X the failures before the ``n``-th success of probability ``p``."""
    failure = 1.0 - jnp.clip(jnp.asarray(p), 1e-12, 1.0)
    return katz_quantile(u, failure, failure * n)


def katz_quantile(u: Array, a: ArrayLike, b: ArrayLike) -> Array:
    """Smallest k with ``P(X > k) < u``, ``(...)``, of the law ``p(k+1) / p(k) = (a k + b) / (k + 1)``, a < 1."""
    slope, weight = jnp.broadcast_to(jnp.asarray(a), u.shape), jnp.broadcast_to(jnp.asarray(b), u.shape)
    large = weight > SMALL * (1.0 + jnp.abs(slope)) ** 2
    small = walk(u, slope, jnp.where(large, 0.0, weight))
    return once(jnp.where(large, rounded_quantile(u, weight, weight / (1.0 - slope), katz_cumulants(slope)), small))


def walk(u: Array, a: Array, b: Array) -> Array:
    """The Katz quantile, term by term from the atom ``p(0) = (1 - a)^(b / a)``, ``exp(-b)`` for a = 0; ``(...)``.

    Where no ``b`` is above 0, as among large counts, nothing is done.
    """
    counts: Array = jax.lax.cond(jnp.any(b > 0), _walked, lambda u, a, b: jnp.zeros_like(u), u, a, b)
    return counts


def _walked(u: Array, a: Array, b: Array) -> Array:
    flat = jnp.abs(a) < 1e-12
    log_none = b * jnp.where(flat, -1.0, log1p(-jnp.where(flat, 0.5, a)) / jnp.where(flat, 1.0, a))
    beyond = -jnp.expm1(log_none)
    level = jnp.maximum(u, 1e-14 * beyond)

    def going(state: tuple[Array, Array, Array, Array]) -> Array:
        _, _, tail, turn = state
        return (turn < LONGEST_WALK) & jnp.any(level <= tail)

    def stride(state: tuple[Array, Array, Array, Array]) -> tuple[Array, Array, Array, Array]:
        count, term, tail, turn = state
        for step in range(STRIDE):
            k = turn + step
            count = count + (level <= tail)
            term = term * (a * k + b) * (1.0 / (k + 1.0))
            tail = tail - term
        return count, term, tail, turn + STRIDE

    return jax.lax.while_loop(going, stride, (jnp.zeros_like(u), jnp.exp(log_none), beyond, jnp.zeros(())))[0]


def katz_cumulants(a: Array) -> Cumulants:
    """Of the Katz law, per unit of b: ``1, 1 + a, 1 + 4a + a², 1 + 11a + 11a² + a³``, the k-th over ``(1 - a)^k``."""
    slope = a.astype(jnp.float32)
    three, four = 1.0 + slope, 1.0 + slope * (4.0 + slope)
    return (1.0 - a) ** -2, three, four, three * (1.0 + slope * (10.0 + slope))


def rounded_quantile(u: Array, number: Array, mean: Array, cumulants: Cumulants) -> Array:
    """Cornish-Fisher quantile of a count of the given ``mean``, never < 0, ``(...)``; for large variances.

    Its higher cumulants are those of a sum of ``number`` independent parts. Rounding adds 1/12 to the variance and takes
    1/120 from the fourth cumulant; the expansion leaves these out.
    """
    part, k3, k4, k5 = cumulants
    variance = jnp.maximum(number * part - 1.0 / 12.0, 1e-3)
    spread, inverse = jnp.sqrt(variance), 1.0 / variance
    share, step = (number * part * inverse).astype(jnp.float32), jnp.sqrt((part * inverse).astype(jnp.float32))
    s3, s5 = k3 * share * step, k5 * share * step**3
    s4 = k4 * share * step * step + (1.0 / 120.0 * inverse * inverse).astype(jnp.float32)
    z = -normal_quantile(u)
    zz = z * z
    first = s3 * (zz - 1.0) / 6.0
    second = s4 * z * (zz - 3.0) / 24.0 - s3 * s3 * z * (2.0 * zz - 5.0) / 36.0
    last = (
        s5 * (zz * (zz - 6.0) + 3.0) / 120.0
        - s3 * s4 * (zz * (zz - 5.0) + 2.0) / 24.0
        + s3**3 * (zz * (12.0 * zz - 53.0) + 17.0) / 324.0
    )
    away = (z + first + second + last).astype(jnp.float64)
    return jnp.maximum(jnp.floor(mean + spread * away + 0.5), 0.0)


def normal_quantile(u: Array) -> Array:
    """Standard normal quantile of ``u`` in (0, 1), float32 ``(...)``: rational approximations, relative error 1e-6.

    Odd about 1/2. Source: Wichura 1988, algorithm AS 241 (PPND7), 10.2307/2347330.
    """
    q, rare = (u - 0.5).astype(jnp.float32), jnp.minimum(u, 1.0 - u).astype(jnp.float32)
    c = 0.180625 - q * q
    centre = q * (((59.109374720 * c + 159.29113202) * c + 50.434271938) * c + 3.3871327179)
    centre = centre / (((67.187563600 * c + 78.757757664) * c + 17.895169469) * c + 1.0)
    r = jnp.sqrt(-jnp.log(jnp.clip(rare, 1e-37, 0.5)))
    near, far = r - 1.6, r - 5.0
    tail = (((0.17023821103 * near + 1.3067284816) * near + 2.7568153900) * near + 1.4234372777) / (
        (0.12021132975 * near + 0.73700164250) * near + 1.0
    )
    end = (((0.017337203997 * far + 0.42868294337) * far + 3.0812263860) * far + 6.6579051150) / (
        (0.012258202635 * far + 0.24197894225) * far + 1.0
    )
    return once(jnp.where(c >= 0, centre, jnp.sign(q) * jnp.where(far <= 0, tail, end)))


def log(x: Array) -> Array:
    """Natural logarithm of float64 ``x`` >= 1e-300, absolute error about 1e-14.

    The exponent from the bits, the rest by a float32 logarithm and one Newton step: these vectorise on a CPU.
    """
    bits = jax.lax.bitcast_convert_type(x, jnp.int64)
    power = ((bits >> 52) - 1023).astype(jnp.float64)
    rest = jax.lax.bitcast_convert_type((bits & (2**52 - 1)) | (1023 << 52), jnp.float64)
    rough: Array = jnp.log(rest.astype(jnp.float32)).astype(jnp.float64)
    return power * math.log(2.0) + rough + (rest * jnp.exp(-rough) - 1.0)


def log1p(x: Array) -> Array:
    """``log(1 + x)`` of float64 ``x`` > -1, as `log`; for small x the relative error is about 1e-16 / x."""
    rough: Array = jnp.log1p(x.astype(jnp.float32)).astype(jnp.float64)
    return rough + ((1.0 + x) * jnp.exp(-rough) - 1.0)


def once[Tree](value: Tree) -> Tree:
    """The value itself, marked so that XLA computes it once and not again for each of its readers."""
    kept: Tree = jax.lax.optimization_barrier(value)  # type: ignore[no-untyped-call]
    return kept


def stream(key: Array) -> Array:
    """Start of a stream of uniform numbers, uint64 in the shape of the JAX ``key``s ``(...)``."""
    flat = jax.vmap(lambda one: jax.random.bits(one, (), jnp.uint64))(key.reshape(-1))
    return flat.reshape(key.shape)


def substream(state: Array, number: ArrayLike) -> Array:
    """Start of the stream ``number`` (an integer) under a stream, uint64 ``(...)``."""
    return _mixed(state + (jnp.asarray(number).astype(jnp.uint64) + np.uint64(1)) * SPACING)


def draws(state: Array, count: int) -> tuple[Array, Array]:
    """The state of a stream ``(...)`` after ``count`` numbers, and these, strictly between 0 and 1, ``(count, ...)``."""
    steps = [state + np.uint64(step * GOLDEN % 2**64) for step in range(1, count + 1)]
    words = jnp.stack([_mixed(step) for step in steps])
    return steps[-1], (words >> np.uint64(12)).astype(jnp.float64) * 2.0**-52 + 2.0**-53


def _mixed(state: Array) -> Array:
    """The mixing function of SplitMix64."""
    mixed = (state ^ (state >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))
