"""The mean field: the reaction table read as differential equations, fast and differentiable.

Over one step the rates of the table are averaged over the exposure at two Gauss points and frozen at the crowding g of a
predicted midpoint; what remains is a linear system, solved exactly:

    d(S, P)/dt = A (S, P),      exp(A t) = e^{m t} (cosh(q t) I + sinh(q t)/q (A - m I)),   m = tr A / 2,  q^2 = m^2 - det A
    dR/dt = a R + f,            R(t) = e^{a t} R(0) + t/6 (e^{a t} f(0) + 4 e^{a t/2} f(t/2) + f(t))

The secretome signal is averaged over the step along S that go from S_0 to a predicted S_1 exponentially, F = kill S:

    mean of F / (F + F_50) = log((F_1 + F_50) / (F_0 + F_50)) / log(F_1 / F_0)

Second order in the step; never negative. Each state is the mean of the stochastic model where crowding and signal are
constant (the network is then linear). Every rate of the table is affine in g and in the signal, so all that depends on the
exposure is computed for all steps at once, and the sequential part is left with four exponentials a step.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from persist.dynamics.reactions import (
    REACTIONS,
    P,
    R,
    Reactions,
    S,
    crowding,
    killing,
    silent,
    surroundings,
    within,
)
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

_GAUSS = (0.5 - 0.28867513459481287, 0.5 + 0.28867513459481287)
_TINY = 1e-24
_QUIET = 1e-30  # cells a day that count as none dying
_FLOWS = ((S, S), (S, P), (P, S), (P, P), (R, R), (R, S), (R, P), (R, None))


class Flows(NamedTuple):
    """Growth of each state per cell and flows between them (to_from), 1/day; ``supply_r`` cells/day; each ``(...)``."""

    s_s: Any
    s_p: Any
    p_s: Any
    p_p: Any
    r_r: Any
    r_s: Any
    r_p: Any
    supply_r: Any


class _Step(NamedTuple):
    """What a step needs besides the state: flows = base + crowded g + (signal + signal_crowded g) sigma.

    The last two are None where the constants say beforehand that there is no secretome.
    """

    days: Any
    kill: Any
    base: Flows
    crowded: Flows
    signal: Flows | None
    signal_crowded: Flows | None


def mean_field(
    cells: Cells,
    rates: Rates,
    length: ArrayLike,
    exposure: Exposure,
    table: Reactions = REACTIONS,
    *,
    pieces: int = 1,
) -> Cells:
    """Expected cells at the end of every step, each ``(n_steps, ...)``.

    ``cells`` and ``rates`` ``(...)``; ``length`` ``(n_steps,)`` days (0 does nothing); ``exposure`` from
    `treatment.exposure.relax` on the same grid. Each step is taken in so many ``pieces``.
    """
    if pieces > 1:
        path = mean_field(cells, rates, *_divided(jnp.asarray(length, float), exposure, pieces), table)
        return Cells(*(state[pieces - 1 :: pieces] for state in path))
    shape = jnp.broadcast_shapes(*(jnp.shape(part) for part in (*cells, *rates)))
    start = Cells(*(jnp.broadcast_to(jnp.asarray(count, float), shape) for count in cells))

    @partial(jax.checkpoint, prevent_cse=False)  # what a step did is done anew on the way back, and not stored
    def step(state: Cells, row: _Step) -> tuple[Cells, Cells]:
        after = _advance(state, rates, row)
        return after, after

    ends: Cells = jax.lax.scan(step, start, _rows(rates, jnp.asarray(length, float), exposure, shape, table))[1]
    return ends


def _divided(length: Array, exposure: Exposure, pieces: int) -> tuple[Array, Exposure]:
    """A grid and the exposure along it with each step cut into so many equal ones."""
    short = length / pieces

    def at(piece: int) -> Array:
        return within(exposure, piece * short.reshape(-1, *[1] * (jnp.ndim(exposure.start) - 1)))

    cut = jax.tree.map(lambda part: jnp.repeat(jnp.asarray(part), pieces, axis=0), exposure)
    first = jnp.stack([jnp.asarray(exposure.start, float), *(at(piece) for piece in range(1, pieces))], axis=1)
    return jnp.repeat(short, pieces), cut._replace(start=first.reshape(cut.start.shape))


def _rows(rates: Rates, length: Array, exposure: Exposure, shape: tuple[int, ...], table: Reactions) -> _Step:
    """Read the table for all steps at once; every field ``(n_steps, ...)``.

    A rate that is affine in g and in sigma is known from its values at 0 and 1.
    """
    full = (len(length), *shape)
    days = length.reshape(-1, *[1] * len(shape))
    drug = jax.tree.map(lambda part: jnp.broadcast_to(part, full), exposure)
    levels = [within(drug, share * days) for share in _GAUSS]
    left = 1.0 if drug.potency is None else drug.potency

    def wide(flows: Flows) -> Flows:
        return Flows(*(jnp.broadcast_to(part, full) for part in flows))

    def minus(one: Flows, other: Flows) -> Flows:
        return Flows(*(a - b for a, b in zip(one, other, strict=True)))

    off, room = (_flows(rates, levels, left, g, 0.0, table) for g in (0.0, 1.0))
    kill = sum(rates.kill_s * killing(level, rates) * left for level in levels) / len(levels)
    plain = (jnp.broadcast_to(days, full), jnp.broadcast_to(kill, full), wide(off), wide(minus(room, off)))
    if silent(rates):
        return _Step(*plain, None, None)
    signal, both = (minus(_flows(rates, levels, left, g, 1.0, table), still) for g, still in ((0.0, off), (1.0, room)))
    return _Step(*plain, wide(signal), wide(minus(both, signal)))


def _flows(rates: Rates, levels: list[Array], potency: ArrayLike, g: float, sigma: float, table: Reactions) -> Flows:
    """The table summed into flows at fixed crowding and signal, averaged over exposure levels."""
    around = [surroundings(rates, level, jnp.asarray(g), jnp.asarray(sigma), potency) for level in levels]
    flow: dict[tuple[int, int | None], Any] = dict.fromkeys(_FLOWS, 0.0)
    for reaction in table:
        rate = sum(reaction.rate(rates, place) for place in around) / len(around)
        for state, change in enumerate(reaction.change):
            if change:
                flow[state, reaction.parent] = flow[state, reaction.parent] + change * rate
    return Flows(*flow.values())


def _advance(cells: Cells, rates: Rates, row: _Step) -> Cells:
    """One step, with the rates frozen at the crowding of a predicted midpoint and the mean of the signal.

    The midpoint follows a logistic curve, N e^{rt} / (1 + b N/K (e^{rt} - 1)/r), with r the present growth per cell and b
    the part of it that crowding takes away: a long step cannot overshoot the capacity.
    """
    row = _with_signal(cells, rates, row)
    total, half = jnp.maximum(cells.total, 1e-30), 0.5 * row.days
    crowded = _growth(row.crowded, cells) / total
    rate = jnp.clip((_growth(row.base, cells) / total + crowded) * half, -30.0, 30.0)
    small = jnp.abs(rate) < 1e-4
    lift = half * jnp.where(small, 1.0 + 0.5 * rate, jnp.expm1(rate) / jnp.where(small, 1.0, rate))
    grow = jnp.exp(rate) / (1.0 + crowded * total / rates.capacity * lift)
    middle = Cells(*(count * grow for count in cells))
    return _solve(_freeze(middle, rates, row), cells, row.days)


def _with_signal(cells: Cells, rates: Rates, row: _Step) -> _Step:
    """The step with the mean of its signal taken into its flows."""
    if row.signal is None or row.signal_crowded is None:
        return row
    signal, both = row.signal, row.signal_crowded

    def heard(sigma: Array) -> _Step:
        base = Flows(*(still + more * sigma for still, more in zip(row.base, signal, strict=True)))
        crowded = Flows(*(still + more * sigma for still, more in zip(row.crowded, both, strict=True)))
        return row._replace(base=base, crowded=crowded)

    first = row.kill * cells.sensitive
    begin = heard(_mean_signal(first, first, rates.secretome_half))
    last = row.kill * _solve(_freeze(cells, rates, begin), cells, row.days).sensitive
    return heard(_mean_signal(first, last, rates.secretome_half))


def _mean_signal(first: Array, last: Array, half: ArrayLike) -> Array:
    """Mean over a step of ``F / (F + F_50)``, F going from ``first`` to ``last`` exponentially; 0 where nothing dies."""
    dying = (first > _QUIET) & (last > _QUIET)
    one, other = jnp.where(dying, first, 1.0), jnp.where(dying, last, 1.0)
    fall = jnp.log(other) - jnp.log(one)
    steady = jnp.abs(fall) < 1e-4
    middle = jnp.sqrt(one) * jnp.sqrt(other)
    moved = jnp.log((other + half) / (one + half)) / jnp.where(steady, 1.0, fall)
    return jnp.where(dying, jnp.where(steady, middle / (middle + half), moved), 0.0)


def _growth(flow: Flows, cells: Cells) -> Array:
    """Cells that the flows add a day, all states together."""
    return jnp.asarray(
        (flow.s_s + flow.p_s + flow.r_s) * cells.sensitive
        + (flow.s_p + flow.p_p + flow.r_p) * cells.persister
        + flow.r_r * cells.resistant
    )


def _freeze(at: Cells, rates: Rates, row: _Step) -> Flows:
    """Flows with the crowding of the state ``at``."""
    g = crowding(at.total, rates.capacity)
    return Flows(*(base + slope * g for base, slope in zip(row.base, row.crowded, strict=True)))


def _solve(flow: Flows, cells: Cells, days: Array) -> Cells:
    """The frozen system after ``days``: matrix exponential for S and P, Simpson's rule for what flows into R."""
    mean, gap, time = 0.5 * (flow.s_s + flow.p_p), 0.5 * (flow.s_s - flow.p_p), 0.5 * days
    q = jnp.sqrt(gap**2 + flow.s_p * flow.p_s + _TINY)  # off 0: value and gradient stay finite
    lift, fade = jnp.exp((mean + q) * time), jnp.expm1(-2.0 * q * time)
    even, odd = lift * (1.0 + 0.5 * fade), -0.5 * lift * fade / q

    def half(s: Array, p: Array) -> tuple[Array, Array]:
        after_s = even * s + odd * (gap * s + flow.s_p * p)
        after_p = even * p + odd * (flow.p_s * s - gap * p)
        return jnp.maximum(after_s, 0.0), jnp.maximum(after_p, 0.0)

    middle = half(cells.sensitive, cells.persister)
    end = half(*middle)
    supply = [flow.r_s * s + flow.r_p * p + flow.supply_r for s, p in (cells[:2], middle, end)]
    grow = jnp.exp(flow.r_r * time)
    resistant = grow**2 * cells.resistant + days / 6.0 * (grow**2 * supply[0] + 4.0 * grow * supply[1] + supply[2])
    return Cells(*end, resistant)
