"""The mean field: the reaction table read as differential equations, fast and differentiable.

Over one step the rates of the table are averaged over the exposure at two Gauss points and frozen at the crowding g and the
secretome signal of a predicted midpoint; what remains is a linear system, solved exactly:

    d(S, P)/dt = A (S, P),      exp(A t) = e^{m t} (cosh(q t) I + sinh(q t)/q (A - m I)),   m = tr A / 2,  q^2 = m^2 - det A
    dR/dt = a R + f,            R(t) = e^{a t} R(0) + t/6 (e^{a t} f(0) + 4 e^{a t/2} f(t/2) + f(t))

Second order in the step; never negative. Each state is the mean of the stochastic model where crowding and signal are
constant (the network is then linear). Every rate of the table is affine in g and in the signal, so all that depends on the
exposure is computed for all steps at once, and the sequential part is left with four exponentials a step.
"""

from __future__ import annotations

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
    of_flux,
    response,
    surroundings,
    within,
)
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

_GAUSS = (0.5 - 0.28867513459481287, 0.5 + 0.28867513459481287)
_TINY = 1e-24
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
    cells: Cells, rates: Rates, length: ArrayLike, exposure: Exposure, table: Reactions = REACTIONS
) -> Cells:
    """Expected cells at the end of every step, each ``(n_steps, ...)``.

    ``cells`` and ``rates`` ``(...)``; ``length`` ``(n_steps,)`` days (0 does nothing); ``exposure`` from
    `treatment.exposure.relax` on the same grid.
    """
    shape = jnp.broadcast_shapes(*(jnp.shape(part) for part in (*cells, *rates)))
    start = Cells(*(jnp.broadcast_to(jnp.asarray(count, float), shape) for count in cells))

    def step(state: Cells, row: _Step) -> tuple[Cells, Cells]:
        after = _advance(state, rates, row)
        return after, after

    return jax.lax.scan(step, start, _rows(rates, jnp.asarray(length, float), exposure, shape, table))[1]


def _silent(rates: Rates) -> bool:
    """True where the constants say, before anything is computed, that there is no secretome."""
    parts = (rates.secretome_boost, rates.secretome_protect, rates.seeding)
    return all(isinstance(part, (int, float)) and part == 0 for part in parts)


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
    kill = sum(rates.kill_s * response(level, rates.kill_half) * left for level in levels) / len(levels)
    plain = (jnp.broadcast_to(days, full), jnp.broadcast_to(kill, full), wide(off), wide(minus(room, off)))
    if _silent(rates):
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
    """One step, with the rates frozen at the crowding and signal of a predicted midpoint.

    The midpoint follows a logistic curve, N e^{rt} / (1 + b N/K (e^{rt} - 1)/r), with r the present growth per cell and b
    the part of it that crowding takes away: a long step cannot overshoot the capacity.
    """
    total, half = jnp.maximum(cells.total, 1e-30), 0.5 * row.days
    crowded = _growth(row.crowded, cells) / total
    rate = jnp.clip((_growth(row.base, cells) / total + crowded) * half, -30.0, 30.0)
    small = jnp.abs(rate) < 1e-4
    lift = half * jnp.where(small, 1.0 + 0.5 * rate, jnp.expm1(rate) / jnp.where(small, 1.0, rate))
    grow = jnp.exp(rate) / (1.0 + crowded * total / rates.capacity * lift)
    middle = Cells(*(count * grow for count in cells))
    if row.signal is not None:
        middle = _solve(_freeze(cells, rates, row), cells, half)
    return _solve(_freeze(middle, rates, row), cells, row.days)


def _growth(flow: Flows, cells: Cells) -> Array:
    """Cells that the flows add a day, all states together."""
    return jnp.asarray(
        (flow.s_s + flow.p_s + flow.r_s) * cells.sensitive
        + (flow.s_p + flow.p_p + flow.r_p) * cells.persister
        + flow.r_r * cells.resistant
    )


def _freeze(at: Cells, rates: Rates, row: _Step) -> Flows:
    """Flows with crowding and signal of the state ``at``."""
    g = crowding(at.total, rates.capacity)
    if row.signal is None or row.signal_crowded is None:
        return Flows(*(base + slope * g for base, slope in zip(row.base, row.crowded, strict=True)))
    sigma = of_flux(row.kill * at.sensitive, rates)
    parts = zip(row.base, row.crowded, row.signal, row.signal_crowded, strict=True)
    return Flows(*(base + slope * g + (heard + both * g) * sigma for base, slope, heard, both in parts))


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
