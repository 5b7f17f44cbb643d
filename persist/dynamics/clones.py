"""The law of the size of the resistant clone: few founders, each of which dies out or grows.

Founders are a Poisson process: some are there at the start (of mean number m), others arrive later (mutation, escape,
seeding) at a rate nu(s). A line that begins at s lives to the end T with probability A(s) / C(s) and, if it does, is about
exponential in size (linear birth and death at rates that change in time; Kendall 1948, 10.1214/aoms/1177730285). With

    rho(s) = integral of (b - d) to s,     A(s) = e^{-rho(s)},     C(s) = integral of b A from s to T, + A(T)

the clone at the end is R(T) = W e^{rho(T)}, W a compound Poisson sum of exponentials of mean C(s) that come at the rate
nu(s) A(s) / C(s):

    K(t) = log E e^{t W} = sum_j rate_j  t size_j / (1 - t size_j),     P(W = 0) = exp(-sum_j rate_j)

exact in the atom and the mean; the variance lacks only that sizes are whole numbers.

The density comes in two ways. Tilted so that its mean is the point asked for, the law is inverted along Talbot's contour
(Abate & Whitt 2006, 10.1287/ijoc.1050.0137), which is exact to 1e-4 while the tilted law is broad. Where it is narrow, many
lines make up the clone, and the saddlepoint approximation about the law of one size, a Bessel function, is taken (Wood, Booth
& Butler 1993, 10.1080/01621459.1993.10476322). `tests/test_clones.py` has both against samples.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import i1e

from persist.dynamics.reactions import REACTIONS, silent
from persist.dynamics.splitting import grouped, mean_rates
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

NARROW = 0.25
"""Relative width of the clone's size under which the saddlepoint approximation is taken."""

TOGETHER = 4
"""Steps whose arrivals are taken together as one kind of founders."""

NODES = 16
"""Points of Talbot's contour."""

MOST = 300.0
"""Largest logarithm of the growth of R that is reckoned with."""

NEVER = 1e-12
"""Founders that are added to every kind, so that none is missing altogether."""

BISECTIONS = 50

DUST = 20.0
"""Lines smaller than the clone by this factor are taken together when the contour is placed."""


class Clone(NamedTuple):
    """Kinds of founders, each ``(n_kinds,)``, the first that of the start: expected number whose line lives to the end
    (``rate``), and mean of what such a line adds to W (``size``, in cells as of the start).
    """

    rate: Array
    size: Array

    @property
    def mean(self) -> Array:
        """Mean of W, ``()``: that of the mean field."""
        return jnp.sum(self.rate * self.size)

    @property
    def log_none(self) -> Array:
        """Log of the probability that no line lives to the end, ``()``."""
        return -jnp.sum(self.rate)


def clone(founders: ArrayLike, arrivals: Array, births: Array, growth: Array) -> Clone:
    """The law of the clone from its mean ``founders`` at the start ``()`` and, for each step ``(n_steps,)``, the ``arrivals``
    within it (cells), the ``births`` per cell, and the ``growth`` of log R, both over the step.
    """
    rho = jnp.clip(jnp.cumsum(growth), -MOST, MOST)
    small = jnp.abs(growth) < 1e-6
    fade = jnp.where(small, 1.0 + 0.5 * growth, jnp.expm1(growth) / jnp.where(small, 1.0, growth))
    middle = jnp.exp(-rho) * fade  # mean of A over each step
    born = births * middle
    last = jnp.exp(-rho[-1])
    later = jnp.cumsum(born[::-1])[::-1]  # from the beginning of each step to the end
    size = jnp.concatenate([later[:1], later - 0.5 * born]) + last
    late = _grouped(arrivals * middle / size[1:] + NEVER, size[1:])
    return Clone(jnp.append(founders / size[0] + NEVER, late.rate), jnp.append(size[0], late.size))


def _grouped(rate: Array, size: Array) -> Clone:
    """Kinds that follow each other taken together, `TOGETHER` at a time: their number and mean are kept."""
    more = (0, -len(rate) % TOGETHER)
    rows = [jnp.pad(part, more).reshape(-1, TOGETHER) for part in (rate, rate * size)]
    number, weight = (row.sum(axis=1) for row in rows)
    return Clone(number, weight / number)


def along(start: Cells, path: Cells, rates: Rates, length: Array, exposure: Exposure) -> Clone:
    """The law of the clone beside S and P, and N, that follow ``path``: cells at the end of each step ``(n_steps,)`` of so many
    days, from ``start``, whose R is the mean number of founders; ``rates`` ``()``, ``exposure`` ``(n_steps,)``.
    """
    before = Cells(*(jnp.append(first, later[:-1]) for first, later in zip(start, path, strict=True)))
    before = before._replace(resistant=jnp.append(0.0, path.resistant[:-1]))
    middle = Cells(
        *(jnp.sqrt(jnp.maximum(a, 0.0) * jnp.maximum(b, 0.0) + 1e-30) for a, b in zip(before, path, strict=True))
    )
    each = mean_rates(middle, rates, exposure, 0.0, length, REACTIONS)
    if not silent(rates):  # the signal may fall from all to nothing within a step
        ends = [mean_rates(at, rates, exposure, 0.0, length, REACTIONS) for at in (before, path)]
        each = [(a + 4.0 * b + c) / 6.0 for a, b, c in zip(ends[0], each, ends[1], strict=True)]
    groups = grouped(REACTIONS)
    births, deaths = (sum(each[row] for row in kind[2]) for kind in groups[:2])
    parents = [(a + 4.0 * b + c) / 6.0 for a, b, c in zip(before, middle, path, strict=True)]
    arrivals = sum(each[row] * (1.0 if parent is None else parents[parent]) for row, parent in groups.arrivals)
    return clone(start.resistant, arrivals * length, births * length, (births - deaths) * length)


def log_density(w: Array, law: Clone) -> Array:
    """Log density of W at ``w`` > 0, ``()``; its integral is 1 - P(W = 0)."""
    largest = jnp.max(law.size)
    one, x = Clone(law.rate, law.size / largest), w / largest
    q = _saddle(x, one)  # 1 - t
    bessel = _about_bessel(x, one, q)
    inverted, width = _inverted(x, one, jax.lax.stop_gradient(q))
    return jnp.where(width > NARROW, inverted, bessel) - jnp.log(largest)


def _inverted(x: Array, law: Clone, q: Array) -> tuple[Array, Array]:
    """Log density by inversion of the law tilted by t = 1 - q, ``f(x) = e^{K(t) - t x} f_t(x)`` (true at any t and contour),
    and the relative width of that law on the contour.
    """
    t = 1.0 - q
    room = 1.0 - t * law.size
    tilted = Clone(law.rate / room, law.size / room)
    fine = 1.0 / (1.0 + (DUST * tilted.size / x) ** 2)
    mean, square = (jnp.sum(fine * tilted.rate * tilted.size**k) for k in (1, 2))
    away = jax.lax.stop_gradient(jnp.clip(x - mean, jnp.minimum(6.0 * jnp.sqrt(2.0 * square), x), x))
    width = jnp.sqrt(2.0 * jnp.sum(tilted.rate * tilted.size**2)) / away
    place, weight = _talbot()
    at = jnp.asarray(place) / away
    lines = jnp.sum(tilted.rate[None] / (1.0 + at[:, None] * tilted.size[None]), axis=1)
    broad = width > NARROW  # elsewhere the other way is taken, and nothing here may overflow
    alone = jnp.where(broad, tilted.log_none + at * (x - away), 0.0)
    shown = alone + jnp.where(broad, lines, 1.0)
    density = 0.4 / away * jnp.sum(jnp.real(jnp.asarray(weight) * (jnp.exp(shown) - jnp.exp(alone))))
    seen = density > 1e-300
    log_f = jnp.where(seen, jnp.log(jnp.where(seen, density, 1.0)), -690.0)
    return jnp.sum(law.rate * t * law.size / room) - t * x + log_f, jax.lax.stop_gradient(width)


def _talbot() -> tuple[np.ndarray, np.ndarray]:
    """Points and weights of the contour, each ``(NODES,)``."""
    angle = np.arange(1, NODES) * np.pi / NODES
    turn = 1.0 / np.tan(angle)
    place = np.concatenate([[0.4 * NODES], 0.4 * NODES * angle * (turn + 1j)])
    weight = np.concatenate([[0.5], 1.0 + 1j * angle * (1.0 + turn**2) - 1j * turn])
    return place, weight * np.exp(place)


def _about_bessel(x: Array, law: Clone, q: Array) -> Array:
    """Log density by the saddlepoint about the law of one size, at the root q = 1 - t of K'(t) = x.

    That law is taken where it has the same gap, t K' - K, and the same skewness: with number L and size 1, K = L t / (1 - t),
    the gap is L t^2 / (1 - t)^2 and the skewness squared 4.5 (1 - t) / L.
    """
    t = 1.0 - q
    room = 1.0 - t * law.size
    second = jnp.sum(2.0 * law.rate * law.size**2 / room**3)
    third = jnp.sum(6.0 * law.rate * law.size**3 / room**4)
    gap = t**2 * jnp.sum(law.rate * law.size**2 / room**2)  # sum of a t (1/room^2 - 1/room), a = rate size
    skew = third**2 / second**3
    bend = gap * skew / 4.5  # (1 - q)^2 / q of that law
    root = jnp.sqrt(bend * (1.0 + 0.25 * bend) + 1e-300)
    own = 1.0 + 0.5 * bend + jnp.where(t > 0, -root, root)
    number = 4.5 * own / skew
    at = number / own**2
    bessel = 2.0 * jnp.sqrt(number * at)
    density = bessel - number - at + 0.5 * jnp.log(number / at) + _log_i1e(bessel)
    return density + 0.5 * jnp.log(2.0 * number / own**3) - 0.5 * jnp.log(second)


def _log_i1e(x: Array) -> Array:
    """Log of ``e^{-x} I_1(x)``, by its asymptotic series where x is large and differences of Bessel functions would cancel."""
    large = x > 100.0
    near, far = jnp.where(large, 1.0, x), jnp.where(large, x, 100.0)
    series = jnp.log1p(-0.375 / far * (1.0 + 0.3125 / far * (1.0 + 0.875 / far)))
    return jnp.where(large, series - 0.5 * jnp.log(2.0 * jnp.pi * far), jnp.log(i1e(near)))


def _saddle(x: Array, law: Clone) -> Array:
    """The root q > 0 of K'(t) = x, t = 1 - q, by bisection in log q; the derivative is exact."""
    grown = law.rate * law.size

    def slope(log_q: Array, grown: Array, size: Array, x: Array) -> Array:
        return jnp.log(jnp.sum(grown / (1.0 - size + size * jnp.exp(log_q)) ** 2)) - jnp.log(x)

    here = grown, law.size, x
    still = jax.lax.stop_gradient(here)

    def halve(_: int, ends: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (ends[0] + ends[1])
        high = slope(middle, *still) > 0
        return jnp.where(high, middle, ends[0]), jnp.where(high, ends[1], middle)

    low, high = jax.lax.fori_loop(0, BISECTIONS, halve, (jnp.full_like(x, -80.0), jnp.full_like(x, 80.0)))
    log_q = jax.lax.stop_gradient(0.5 * (low + high))
    room = 1.0 - law.size + law.size * jnp.exp(log_q)
    fall = -2.0 * jnp.sum(grown * law.size * jnp.exp(log_q) / room**3) / jnp.sum(grown / room**2)
    return jnp.exp(log_q - slope(log_q, *here) / jax.lax.stop_gradient(fall))
