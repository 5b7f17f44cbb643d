"""The leap: exact birth-death and exact switching over a step, put together by operator splitting.

With the rates of a step frozen, each state by itself is a linear birth-death process, whose law after ``t`` days is
known (Kendall 1948, 10.1214/aoms/1177730285): of ``n`` cells each one's line dies out with probability ``alpha``, and
the survivors' lines have geometric sizes,

    phi = (e^{(b-d)t} - 1) / (b - d),   alpha = d phi / (1 + b phi),   beta = b phi / (1 + b phi),
    survivors m ~ Binomial(n, 1 - alpha),   Z = m + NegativeBinomial(m, 1 - beta).

Switching S <-> P is binomial with its two-state closed form; mutants, escapees and seeded cells arrive as a Poisson
count. Birth and death stand outside (half a step, switching and arrivals, half a step: Strang), so arrivals grow within
the step; neighbouring halves are taken in one. Crowding and secretome are frozen at a predicted midpoint, the exposure
is averaged by two Gauss points. Counts stay whole and never fall below zero; the splitting error is of second order.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import sampling
from persist.dynamics.reactions import REACTIONS, crowding, parents, per_capita, secretome, surroundings, within
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

MAX_STEP = 0.25
"""Longest step in days that `simulate` takes unless told otherwise."""

GAUSS = (0.5 - 0.5 / np.sqrt(3.0), 0.5 + 0.5 / np.sqrt(3.0))
"""Where in an interval the exposure is looked at (two-point Gauss-Legendre)."""


class Groups(NamedTuple):
    """Rows of the table by what they do: ``births[j]``, ``deaths[j]`` of state j, ``moves[j, k]``, ``arrivals[k]``."""

    births: tuple[tuple[int, ...], ...]
    deaths: tuple[tuple[int, ...], ...]
    moves: dict[tuple[int, int], tuple[int, ...]]
    arrivals: tuple[tuple[int, ...], ...]


def grouped(table: Reactions = REACTIONS) -> Groups:
    """What each reaction does, read from its change and parent; ValueError for one that the leap has no law for."""
    births: list[list[int]] = [[], [], []]
    deaths: list[list[int]] = [[], [], []]
    arrivals: list[list[int]] = [[], [], []]
    moves: dict[tuple[int, int], tuple[int, ...]] = {(0, 1): (), (1, 0): ()}
    for row, reaction in enumerate(table):
        gains = tuple(np.flatnonzero(np.array(reaction.change) == 1).tolist())
        losses = tuple(np.flatnonzero(np.array(reaction.change) == -1).tolist())
        if len(gains) == 1 and not losses:
            (births if reaction.parent == gains[0] else arrivals)[gains[0]].append(row)
        elif not gains and losses == (reaction.parent,):
            deaths[losses[0]].append(row)
        elif len(gains) == 1 and losses == (reaction.parent,) and (losses[0], gains[0]) in moves:
            moves[losses[0], gains[0]] += (row,)
        else:
            raise ValueError(f"the leap has no law for the reaction {reaction.name!r}, {reaction.change}")
    frozen = [tuple(tuple(rows) for rows in kind) for kind in (births, deaths, arrivals)]
    return Groups(frozen[0], frozen[1], moves, frozen[2])


def birth_death(birth: Array, death: Array, days: ArrayLike) -> tuple[Array, Array]:
    """``(alpha, beta)`` of the linear birth-death law above after ``days``, each ``(...)``; rates 1/day."""
    grown = jnp.minimum((birth - death) * days, 500.0)
    still = jnp.abs(grown) < 1e-9
    phi = jnp.where(still, 1.0 + 0.5 * grown, jnp.expm1(grown) / jnp.where(still, 1.0, grown)) * days
    return death * phi / (1.0 + birth * phi), birth * phi / (1.0 + birth * phi)


def descendants(u: Array, v: Array, n: Array, alpha: Array, beta: Array) -> Array:
    """Cells descended from ``n`` cells: the birth-death law as a function of two uniform numbers, ``(...)``.

    Small counts of deaths and births are drawn one after the other, exactly; where either is large, their sum is drawn
    at once from its five cumulants.
    """
    dying, born = n * alpha, n * (1.0 - alpha) * beta
    limit = sampling.SMALL * (1.0 + beta) ** 2
    large = (dying * (1.0 - alpha) > sampling.SMALL) | (born > limit)
    few = jnp.where(large, 0.0, n)
    survivors = few - sampling.binomial_walk(u, few, alpha)
    exact = survivors + sampling.walk(v, beta, beta * survivors)
    together = sampling.rounded_quantile(u, _cumulants(n, alpha, beta))
    return sampling.once(jnp.where(large, together, exact))


def _cumulants(n: Array, alpha: Array, beta: Array) -> tuple[Array, Array, Array, Array, Array]:
    """Five cumulants of the descendants: generating function ``((alpha + (1 - alpha - beta) s) / (1 - beta s))^n``."""
    share = (1.0 - alpha - beta) / (1.0 - beta)
    rest = share * (1.0 - share)
    bernoulli = (share, rest, rest * (1.0 - 2.0 * share), rest * (1.0 - 6.0 * rest))
    fifth = rest * (1.0 - 2.0 * share) * (1.0 - 12.0 * rest)
    geometric = sampling.katz_cumulants(beta, beta)
    one, two, three, four, five = (n * (x + y) for x, y in zip((*bernoulli, fifth), geometric, strict=True))
    return one, two, three, four, five


def leap_step(
    key: Array,
    cells: Cells,
    rates: Rates,
    exposure: Exposure,
    dt: ArrayLike,
    table: Reactions = REACTIONS,
    *,
    substeps: int = 1,
) -> Cells:
    """Cells ``dt`` days later, in ``substeps`` equal leaps; counts float64 ``(...)``, ``exposure`` that of the step.

    ``rates``, the fields of ``exposure`` and ``dt`` are scalars or share the batch shape of ``cells``.
    """
    groups = grouped(table)
    h = jnp.asarray(dt) / substeps
    start = jnp.stack(jnp.broadcast_arrays(*[jnp.asarray(count, float) for count in cells]))
    u = sampling.uniform(key, (6 + 11 * substeps, *start.shape[1:]))

    def grow(u: Array, state: Array, begin: ArrayLike, days: ArrayLike) -> Array:
        birth, death = _growth(state, rates, exposure, begin, days, groups, table)
        return descendants(u[:3], u[3:], state, *birth_death(birth, death, days))

    def leap(number: Array, state: Array) -> Array:
        draws = jax.lax.dynamic_slice_in_dim(u, 6 + 11 * number, 11)
        moved = _switch(draws[6:], state, rates, exposure, number * h, h, groups, table)
        return grow(draws[:6], moved, (number + 0.5) * h, jnp.where(number + 1 < substeps, h, 0.5 * h))

    state = grow(u[:6], start, 0.0, 0.5 * h)
    return Cells(*jax.lax.fori_loop(0, substeps, leap, state))


def mean_rates(
    cells: Cells, rates: Rates, exposure: Exposure, begin: ArrayLike, days: ArrayLike, table: Reactions
) -> list[Array]:
    """Rates per parent cell, 11 of ``(...)``, at the crowding of ``cells``, averaged over an interval of the step."""
    g = crowding(cells.total, rates.capacity)
    moments = [within(exposure, begin + point * days) for point in GAUSS]
    around = [surroundings(rates, level, g, secretome(cells, rates, level)) for level in moments]
    columns = [per_capita(rates, each, table) for each in around]
    return [0.5 * (first + last) for first, last in zip(*columns, strict=True)]


def _growth(
    state: Array,
    rates: Rates,
    exposure: Exposure,
    begin: ArrayLike,
    days: ArrayLike,
    groups: Groups,
    table: Reactions,
) -> tuple[Array, Array]:
    """Birth and death rates ``(3, ...)`` over an interval, at the state predicted for its middle."""

    def at(reached: Array) -> tuple[Array, Array]:
        mean = mean_rates(Cells(*reached), rates, exposure, begin, days, table)
        return (
            jnp.stack([_total(mean, rows, reached[0]) for rows in groups.births]),
            jnp.stack([_total(mean, rows, reached[0]) for rows in groups.deaths]),
        )

    birth, death = at(state)
    return at(state * jnp.exp(jnp.clip(0.5 * (birth - death) * days, -50.0, 50.0)))


def _total(columns: list[Array], rows: tuple[int, ...], like: Array) -> Array:
    """The sum of some columns in the shape of ``like``."""
    return jnp.zeros_like(like) + sum(columns[row] for row in rows)


def _switch(
    u: Array,
    state: Array,
    rates: Rates,
    exposure: Exposure,
    begin: ArrayLike,
    h: ArrayLike,
    groups: Groups,
    table: Reactions,
) -> Array:
    """Switching S <-> P and arrivals over one leap: the state ``(3, ...)`` after it, from five uniform numbers."""
    mean = mean_rates(Cells(*state), rates, exposure, begin, h, table)
    there, back = (_total(mean, groups.moves[pair], state[0]) for pair in ((0, 1), (1, 0)))
    done, lasting = _relaxation(there + back, h)
    drift = back * state[1] - there * state[0]
    average = Cells(state[0] + drift * lasting, state[1] - drift * lasting, state[2])
    supply = [rate * number * h for rate, number in zip(mean, parents(average, table), strict=True)]
    fed = [target for target, rows in enumerate(groups.arrivals) if rows]
    # One call for all of them: a binomial is the Katz law of slope -odds, a Poisson that of slope 0.
    flipped, odds = sampling.rarer(jnp.stack([there * done, back * done]))
    slope = jnp.concatenate([-odds, jnp.zeros_like(state[: len(fed)])])
    weight = jnp.concatenate([odds * state[:2], *[_total(supply, groups.arrivals[to], drift)[None] for to in fed]])
    level = jnp.concatenate([jnp.where(flipped, 1.0 - u[:2], u[:2]), u[2 : 2 + len(fed)]])
    counts = sampling.katz_quantile(level, slope, weight)
    few = jnp.minimum(counts[:2], state[:2])
    left = jnp.where(flipped, state[:2] - few, few)
    net = left[1] - left[0]
    come = {to: counts[2 + place] for place, to in enumerate(fed)}
    change = [net, -net, jnp.zeros_like(net)]
    return state + jnp.stack([each + come.get(to, 0.0) for to, each in enumerate(change)])


def _relaxation(rate: Array, h: ArrayLike) -> tuple[Array, Array]:
    """``(1 - e^{-kh}) / k`` and its mean over the leap ``(1 - (1 - e^{-kh}) / (k h)) / k``, for k = ``rate`` >= 0."""
    slow = rate * h < 1e-4
    k = jnp.where(slow, 1.0, rate)
    done = jnp.where(slow, h * (1.0 - 0.5 * rate * h), -jnp.expm1(-k * h) / k)
    return done, jnp.where(slow, 0.5 * h, (1.0 - done / jnp.maximum(h, 1e-300)) / k)
