"""The leap: exact birth-death and exact switching over a step, put together by operator splitting.

With the rates of a step frozen, each state by itself is a linear birth-death process, whose law after ``t`` days is
known (Kendall 1948, 10.1214/aoms/1177730285): of ``n`` cells each one's line dies out with probability ``alpha``, and
the survivors' lines have geometric sizes,

    phi = (e^{(b-d)t} - 1) / (b - d),   alpha = d phi / (1 + b phi),   beta = b phi / (1 + b phi),
    survivors m ~ Binomial(n, 1 - alpha),   Z = m + NegativeBinomial(m, 1 - beta).

S and P grow for half a step, switch (binomially), and grow for the other half (Strang). R grows for the whole step, and
cells that come to it one by one (mutation, escape, seeding) grow from when they come: their descendants are negative
binomial too (birth, death and immigration; exact for a steady supply, with the mean of one that grows or falls). Growth
and switching of a step are chosen by `splitting.split` such that the means of S and P are those of the undivided process;
what is left of second order in the step is crowding, secretome and parents frozen at a predicted midpoint, the exposure
averaged by two Gauss points, and the variances.

Everything is elementwise over any batch ``(...)``: lanes do not wait for each other, but for walks of small counts.
Counts stay whole and never fall below zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from persist.dynamics import sampling
from persist.dynamics.reactions import REACTIONS
from persist.dynamics.splitting import Laws, Lineage, split
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

DRAWS = 13
"""Uniform numbers of one leap."""


def leap_step(
    stream: Array,
    cells: Cells,
    rates: Rates,
    exposure: Exposure,
    dt: ArrayLike,
    table: Reactions = REACTIONS,
    *,
    substeps: ArrayLike = 1,
) -> Cells:
    """Cells ``dt`` days later, in ``substeps`` equal leaps; counts float64 ``(...)``, ``exposure`` that of the step.

    ``stream`` uint64 ``(...)``, as of `sampling.substream`; ``rates``, ``substeps`` and the fields of ``exposure`` are scalars
    or ``(...)``; ``dt`` is a scalar. Where the ``substeps`` differ, what needs few waits for what needs most.
    """
    h, apart = jnp.asarray(dt) / substeps, jnp.ndim(substeps) > 0

    def leap(number: ArrayLike, state: Array) -> Array:
        laws = split(state, rates, exposure, number * h, h, table)
        _, u = sampling.draws(sampling.substream(stream, number), DRAWS)
        after = _drawn(u, state, laws)
        return jnp.where(jnp.asarray(number) < jnp.asarray(substeps), after, state) if apart else after

    start = jnp.stack([jnp.broadcast_to(jnp.asarray(count, float), stream.shape) for count in cells])
    if isinstance(substeps, int) and substeps == 1:
        return Cells(*leap(0, start))
    return Cells(*jax.lax.fori_loop(0, jnp.max(jnp.asarray(substeps)), leap, start))


def _drawn(u: Array, state: Array, laws: Laws) -> Array:
    """The state ``(3, ...)`` after a step, from ``DRAWS`` uniform numbers ``(13, ...)``."""
    both = descendants(u[:2], u[2:4], state[:2], jax.tree.map(lambda law: law[:2], laws.growth))
    moved = sampling.binomial_quantile(u[4:6], both, laws.moving)
    net = moved[1] - moved[0]
    middle = (both[0] + 0.5 * net, both[1] - 0.5 * net)
    grown = descendants(u[6:9], u[9:12], jnp.stack([both[0] + net, both[1] - net, state[2]]), laws.growth)
    weight = laws.supply(middle) * (1.0 - laws.growth.born[2])
    return grown.at[2].add(sampling.katz_quantile(u[12], laws.growth.born[2], weight))


def expected_step(state: Array, rates: Rates, exposure: Exposure, dt: ArrayLike, substeps: ArrayLike) -> Array:
    """What `leap_step` would do to mean cells ``(3, ...)``: the same laws, without chance."""
    h = jnp.asarray(dt) / substeps

    def leap(number: ArrayLike, state: Array) -> Array:
        laws = split(state, rates, exposure, number * h, h, REACTIONS)
        times = laws.growth.mean
        both = state[:2] * times[:2]
        moved = both * laws.moving
        net = moved[1] - moved[0]
        after = jnp.stack([both[0] + net, both[1] - net, state[2]]) * times
        return after.at[2].add(laws.supply((both[0] + 0.5 * net, both[1] - 0.5 * net)))

    after: Array = jax.lax.fori_loop(0, substeps, leap, state)
    return after


def descendants(u: Array, v: Array, n: Array, growth: Lineage) -> Array:
    """Cells descended from ``n`` cells: the birth-death law as a function of two uniform numbers, ``(...)``.

    Small counts of deaths and births are drawn one after the other, exactly; where either is large, their sum is drawn
    at once from its five cumulants.
    """
    alpha, beta = growth.lost, growth.born
    dying, born = n * alpha, n * (1.0 - alpha) * beta
    large = (dying * (1.0 - alpha) > sampling.SMALL) | (born > sampling.SMALL * (1.0 + beta) ** 2)
    few = jnp.where(large, 0.0, n)
    survivors = few - sampling.binomial_quantile(1.0 - u, few, alpha, sampling.walk)  # so that all fall as u rises
    exact = survivors + sampling.walk(v, beta, beta * survivors)
    return sampling.once(jnp.where(large, sampling.rounded_quantile(u, n, n * growth.mean, growth.cumulants), exact))
