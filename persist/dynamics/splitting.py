"""How one step of the leap is divided: the laws of growth, switching and arrival with the rates of the step frozen.

S and P with frozen rates are a linear network of two states, whose mean after a step is the matrix ``M = e^{A h}``,

    A = [[b_S - d_S - s, r], [s, b_P - d_P - r]],   s tolerance, r reversion.

A step that grows for half, switches, and grows for the other half has the mean ``D^(1/2) W D^(1/2)`` with D diagonal and
the columns of W adding up to 1. For any M there is exactly one such pair (D, W); with it, the means of S and P have no
splitting error, however fast the switching. Births keep their rate, deaths take what D asks. The pair is taken while it
is close to the rates themselves (`FAR`), as at any step that is short against the difference in growth of S and P.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.reactions import among, crowding, exposed_within, per_capita, signal
from persist.dynamics.sampling import Cumulants, log, once
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions, Surroundings

GAUSS = (0.5 - 0.5 / np.sqrt(3.0), 0.5 + 0.5 / np.sqrt(3.0))
"""Where in an interval the exposure is looked at (two-point Gauss-Legendre)."""

MOST = 300.0
"""Largest exponent of growth of one step: e^300 is finite, and so is its square."""

FAR = 0.05
"""Where growth would have to differ by more than this over a step for the mean to be exact, plain Strang splitting is
taken: its means are off, which the choice of the step sees, whereas the variances of the exact ones would be.
"""

TINY = 1e-24
"""Share of cells that switches back where none does: keeps 0 / 0 away; less than one of 1e13 cells in a lifetime."""


class Groups(NamedTuple):
    """Rows of the table by what they do: ``births[j]``, ``deaths[j]`` of state j, tolerance, reversion, arrivals in R."""

    births: tuple[tuple[int, ...], ...]
    deaths: tuple[tuple[int, ...], ...]
    there: tuple[int, ...]
    back: tuple[int, ...]
    arrivals: tuple[tuple[int, int | None], ...]


class Lineage(NamedTuple):
    """The birth-death law of one cell's line, each ``(...)``: ``lost`` = alpha, that it dies out, ``born`` = beta,
    ``mean`` size, and ``cumulants`` as of `sampling.rounded_quantile`.
    """

    lost: Array
    born: Array
    mean: Array
    cumulants: Cumulants


class Laws(NamedTuple):
    """One step: ``growth`` ``(3, ...)`` of S and P over half of it and of R over all; ``moving`` ``(2, ...)``, the
    probabilities of S -> P and P -> S; ``arriving`` ``(3, ...)``: expected R at the end for each S and P at the middle,
    and what comes without a parent.
    """

    growth: Lineage
    moving: Array
    arriving: Array

    def supply(self, middle: tuple[Array, Array]) -> Array:
        """Expected R at the end of the step from arrivals within it, ``(...)``, given S and P at its middle."""
        return self.arriving[0] * middle[0] + self.arriving[1] * middle[1] + self.arriving[2]


def grouped(table: Reactions) -> Groups:
    """What each reaction does, read from its change and parent; ValueError for one that the leap has no law for."""
    births: list[list[int]] = [[], [], []]
    deaths: list[list[int]] = [[], [], []]
    there, back, arrivals = [], [], []
    for row, reaction in enumerate(table):
        gains = tuple(np.flatnonzero(np.array(reaction.change) == 1).tolist())
        losses = tuple(np.flatnonzero(np.array(reaction.change) == -1).tolist())
        if len(gains) == 1 and not losses and reaction.parent == gains[0]:
            births[gains[0]].append(row)
        elif not gains and losses == (reaction.parent,):
            deaths[losses[0]].append(row)
        elif gains == (2,) and not losses:
            arrivals.append((row, reaction.parent))
        elif (gains, losses, reaction.parent) == ((1,), (0,), 0):
            there.append(row)
        elif (gains, losses, reaction.parent) == ((0,), (1,), 1):
            back.append(row)
        else:
            raise ValueError(f"the leap has no law for the reaction {reaction.name!r}, {reaction.change}")
    return Groups(tuple(map(tuple, births)), tuple(map(tuple, deaths)), tuple(there), tuple(back), tuple(arrivals))


def split(state: Array, rates: Rates, exposure: Exposure, begin: ArrayLike, h: ArrayLike, table: Reactions) -> Laws:
    """The laws of a step of ``h`` days from ``begin`` (days into the step that ``exposure`` is of) and ``state``
    ``(3, ...)``, at the crowding and secretome predicted for its middle.
    """
    groups = grouped(table)
    levels = once(at_gauss(rates, exposure, begin, h))
    first = once([rate * h for rate in _averaged(Cells(*state), rates, levels, table)])
    birth, death = (jnp.stack([_total(first, rows, state[0]) for rows in kind]) for kind in groups[:2])
    middle = state * jnp.exp(jnp.minimum(0.5 * (birth - death), 0.5 * MOST))
    each = once([rate * h for rate in _averaged(Cells(*middle), rates, levels, table)])
    birth, death = (jnp.stack([_total(each, rows, state[0]) for rows in kind]) for kind in groups[:2])
    there, back = (_total(each, rows, state[0]) for rows in (groups.there, groups.back))
    exponent, moving = mean_exact(birth[0] - death[0], birth[1] - death[1], there, back)
    growth = jnp.concatenate([exponent, jnp.minimum(birth[2:] - death[2:], MOST)])
    return _laws(birth, death, growth, moving, each, groups)


def _laws(birth: Array, death: Array, growth: Array, moving: Array, each: list[Array], groups: Groups) -> Laws:
    """Laws from what happens over the whole step (each rate times its days): births, deaths, exponents of growth."""
    halved = jnp.array([0.5, 0.5, 1.0]).reshape((3,) + (1,) * (growth.ndim - 1))
    dying = jnp.concatenate([jnp.maximum(birth[:2] - growth[:2], 0.0), death[2:]])
    being_born = jnp.concatenate([jnp.maximum(birth[:2], growth[:2]), birth[2:]])
    grown, phi = _grown(growth, halved)
    lines = once(birth_death(being_born, dying, phi))
    coming: list[Array] = [jnp.zeros_like(phi[2]) for _ in range(3)]
    for row, parent in groups.arrivals:
        of = 2 if parent is None else parent
        coming[of] = coming[of] + each[row]
    later = [_descending(growth[state], growth[2], grown[state], grown[2]) for state in (0, 1)]
    return Laws(lines, moving, jnp.stack([coming[0] * later[0], coming[1] * later[1], coming[2] * phi[2]]))


def _grown(growth: Array, part: ArrayLike) -> tuple[Array, Array]:
    """``e^{growth part} - 1``, and that over ``growth`` (``part`` where it is 0), each ``(...)``."""
    grown, flat = jnp.expm1(growth * part), jnp.abs(growth) < 1e-9
    return grown, jnp.where(flat, part, grown / jnp.where(flat, 1.0, growth))


def kendall(birth: ArrayLike, death: ArrayLike, days: ArrayLike) -> Lineage:
    """The law of a line after some days at constant rates (1/day), each ``(...)``."""
    birth, death = jnp.asarray(birth) * days, jnp.asarray(death) * days
    return birth_death(birth, death, _grown(jnp.minimum(birth - death, MOST), 1.0)[1])


def birth_death(birth: Array, death: Array, phi: Array) -> Lineage:
    """``alpha = d phi / (1 + b phi)``, ``beta = b phi / (1 + b phi)``, and what follows from them; each ``(...)``.

    The generating function is that of a Bernoulli count times a geometric one: ``(lost + (1 - lost) s) (1 - beta) /
    (1 - beta s)``, ``lost = alpha / (1 - beta)`` (not a probability where alpha + beta > 1; the cumulants hold).
    """
    more, lost = 1.0 + birth * phi, death * phi
    rest = 1.0 / more
    alpha, beta = lost * rest, birth * phi * rest
    flip, skew, scale, slope = (x.astype(jnp.float32) for x in (lost * (1.0 - lost), 2.0 * lost - 1.0, rest, beta))
    # k-th cumulants times (1 - beta)^k, so that none overflows
    two = flip * scale**2 + slope
    three = flip * skew * scale**3 + slope * (1.0 + slope)
    four = flip * (1.0 - 6.0 * flip) * scale**4 + slope * (1.0 + slope * (4.0 + slope))
    five = flip * skew * (1.0 - 12.0 * flip) * scale**5 + slope * (1.0 + slope) * (1.0 + slope * (10.0 + slope))
    unit = jax.lax.rsqrt(jnp.maximum(two, 1e-14))
    part = lost * (1.0 - lost) + beta * more * more
    return Lineage(alpha, beta, (1.0 - alpha) * more, (part, three * unit**3, four * unit**4, five * unit**5))


def _descending(parents: Array, own: Array, half: Array, whole: Array) -> Array:
    """Descendants at the end of a step of cells that came within it, one a unit of time for each parent at the middle:
    ``(e^p - e^o) / (e^{p/2} (p - o))``, p and o the exponents of growth, ``half`` = e^{p/2} - 1, ``whole`` = e^o - 1.
    """
    gap = parents - own
    near = jnp.abs(gap) < 1e-3
    times = jnp.maximum(1.0 + half, 1e-3)  # where fewer are left of the parents, the step is too long for any of this
    apart = (half * (2.0 + half) - whole) / (times * jnp.where(near, 1.0, gap))
    return jnp.where(near, jnp.sqrt(1.0 + whole), apart)


def mean_exact(own_s: Array, own_p: Array, there: Array, back: Array) -> tuple[Array, Array]:
    """Exponents of growth ``(2, ...)`` of S and P, and probabilities ``(2, ...)`` to switch, that make the mean exact.

    With ``M = e^{A h}``: ``s = (t + sqrt(t² + 4 det M)) / 2``, ``t = M_SP + M_PS``, gives the switched shares ``M_PS / s``
    and ``M_SP / s``, and growth ``M_SS`` and ``M_PP`` over what does not switch. Arguments ``(...)`` are rates times h.
    """
    own, still = jnp.minimum(jnp.stack([own_s, own_p]), MOST), there + back <= 0
    (own_s, own_p), there, back = own, there + TINY, back + TINY
    mean, gap, product = 0.5 * (own_s - there + own_p - back), 0.5 * (own_s - there - own_p + back), there * back
    root = jnp.sqrt(gap * gap + product)
    slow = (own_s * back + own_p * there - own_s * own_p) / (root - jnp.minimum(mean, 0.0))
    largest = jnp.where(mean < 0, slow, mean + root)  # eigenvalue of A h; the other is 2 root below it
    tilt, rest = gap / root, product / (root * root)  # rest = 1 - tilt²
    above = jnp.where(tilt >= 0, 1.0 + tilt, rest / (1.0 - jnp.minimum(tilt, 0.0)))
    below = jnp.where(tilt >= 0, rest / (1.0 + jnp.maximum(tilt, 0.0)), 1.0 - tilt)
    fade = jnp.maximum(jnp.exp(-2.0 * root), 1e-290)  # all entries of M are taken over e^largest
    small = root < 1e-4
    cross = jnp.where(small, 1.0 - root * (1.0 - 2.0 / 3.0 * root), (1.0 - fade) / jnp.where(small, 1.0, 2.0 * root))
    to_p, to_s = there * cross, back * cross
    both = to_p + to_s
    inverse = 1.0 / (0.5 * (both + jnp.sqrt(both * both + 4.0 * fade)))
    stay = jnp.stack([(fade * inverse + to_s) * inverse, (fade * inverse + to_p) * inverse])
    kept = jnp.stack([0.5 * (above + fade * below), 0.5 * (below + fade * above)])
    moving = jnp.stack([to_p * inverse, to_s * inverse])
    growth = log(jnp.maximum(kept / stay, 1e-290)) + largest[None]
    total = there + back
    plain = jnp.stack([there, back]) * jnp.where(total < 1e-4, 1.0 - 0.5 * total, -jnp.expm1(-total) / total)[None]
    apart = (jnp.abs(growth - own) > FAR).any(axis=0)[None]
    moving = jnp.where(still[None], 0.0, jnp.where(apart, plain, moving))
    return once((jnp.where(still[None] | apart, own, growth), moving))


def mean_rates(
    cells: Cells, rates: Rates, exposure: Exposure, begin: ArrayLike, days: ArrayLike, table: Reactions
) -> list[Array]:
    """Rates per parent cell, 11 of ``(...)``, at the crowding of ``cells``, averaged over an interval of the step."""
    return _averaged(cells, rates, at_gauss(rates, exposure, begin, days), table)


def at_gauss(rates: Rates, exposure: Exposure, begin: ArrayLike, days: ArrayLike) -> tuple[Surroundings, Surroundings]:
    """The surroundings at the two Gauss points of an interval, but for crowding and secretome."""
    first, last = (exposed_within(rates, exposure, begin + point * days) for point in GAUSS)
    return first, last


def _averaged(cells: Cells, rates: Rates, levels: tuple[Surroundings, Surroundings], table: Reactions) -> list[Array]:
    g = crowding(cells.total, rates.capacity)
    around = [among(level, g, signal(cells, rates, level.killing)) for level in levels]
    columns = [per_capita(rates, each, table) for each in around]
    return [0.5 * (first + last) for first, last in zip(*columns, strict=True)]


def _total(columns: list[Array], rows: tuple[int, ...], like: Array) -> Array:
    """The sum of some columns in the shape of ``like``."""
    return jnp.zeros_like(like) + sum(columns[row] for row in rows)
