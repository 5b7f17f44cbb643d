"""The classical engine: Poisson tau-leaping, with the step chosen so that no propensity changes much.

A leap ``tau`` is the longest in which no state with 10 or more cells is expected to change, in mean or in standard
deviation, by more than ``max(epsilon x / g, 1)`` (g = 2 where crowding makes the rates quadratic, else 1). Reactions
that touch a state of fewer than 10 cells are critical: they fire one at a time, by their exponential clock, so small
populations are followed event by event. The others fire a Poisson number of times, at the propensities predicted for
the middle of the leap and the exposure averaged over it. Losses are held to the cells there are: never below 0.

Sources: Cao, Gillespie & Petzold 2006, 10.1063/1.2159468; midpoint: Gillespie 2001, 10.1063/1.1378322.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import sampling
from persist.dynamics.reactions import REACTIONS, parents
from persist.dynamics.splitting import mean_rates
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

EPSILON = 0.03
"""Relative change of a state that a leap allows."""

FEW = 10.0
"""Cells below which a state is followed event by event."""

LONGEST = 0.25
"""Longest leap in days, whatever the cells do: the exposure may change meanwhile."""

SHORTEST = 1e-9
"""Shortest leap in days, so that time always moves on."""


class Shape(NamedTuple):
    """What the table says without its rates: ``change`` and ``touched`` (parent or changed) states, ``(11, 3)``."""

    change: np.ndarray
    touched: np.ndarray


Walk = tuple["Array", "Array", "Array"]
"""Time within the step ``(...)``, cells ``(3, ...)``, stream of uniform numbers ``(...)``."""


def tau_step(
    stream: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: ArrayLike, table: Reactions = REACTIONS
) -> Cells:
    """Cells ``dt`` days later, by as many leaps as it takes; counts float64 ``(...)``, in the shape of ``stream``.

    ``rates`` and the fields of ``exposure`` are scalars or ``(...)``, ``dt`` likewise.
    """
    change = np.array([reaction.change for reaction in table], float)
    parent = np.array([[reaction.parent == state for state in range(3)] for reaction in table])
    shape = Shape(change, parent | (change != 0))
    end = jnp.broadcast_to(jnp.asarray(dt, float), stream.shape)
    start = jnp.stack([jnp.broadcast_to(jnp.asarray(count, float), stream.shape) for count in cells])

    def leap(walk: Walk) -> Walk:
        return _leap(walk, end, rates, exposure, table, shape)

    begin = (jnp.zeros(stream.shape), start, stream)
    return Cells(*jax.lax.while_loop(lambda walk: jnp.any(walk[0] < end), leap, begin)[1])


def _leap(walk: Walk, dt: Array, rates: Rates, exposure: Exposure, table: Reactions, shape: Shape) -> Walk:
    """One leap, with at most one critical event at its end; nothing where the step is over."""
    time, state, numbers = walk
    numbers, u = sampling.draws(numbers, len(table) + 2)
    critical = jnp.stack([jnp.any((state < FEW)[of], axis=0) for of in shape.touched])
    now = _propensities(state, state, rates, exposure, time, 0.0, table)
    often = jnp.where(critical, 0.0, now)
    longest = jnp.minimum(_longest_leap(state, often, rates, shape), LONGEST)
    longest = sampling.once(jnp.clip(longest, SHORTEST, jnp.maximum(dt - time, SHORTEST)))
    middle = jnp.maximum(state + 0.5 * longest[None] * _changed(often, shape.change), 0.0)
    there = sampling.once(_propensities(state, middle, rates, exposure, time, longest, table))
    clock = jnp.where(critical, there, 0.0)
    hazard = clock.sum(axis=0)
    wait = jnp.where(hazard > 0, -sampling.log(u[-1]) / jnp.where(hazard > 0, hazard, 1.0), jnp.inf)
    tau = jnp.minimum(longest, wait)
    counts = sampling.poisson_quantile(u[: len(table)], jnp.where(critical, 0.0, there) * tau[None])
    mark, upto = (u[-2] * hazard)[None], jnp.cumsum(clock, axis=0)
    single = (mark < upto) & (mark >= upto - clock) & critical & (wait < longest)[None]
    going, last = time < dt, (wait >= longest) & (longest >= dt - time)
    after = jnp.where(last | ~going, dt, time + tau)
    return after, jnp.where(going[None], _applied(state, counts + single, table), state), numbers


def _changed(events: Array, change: np.ndarray) -> Array:
    """What events ``(11, ...)`` do to each state, ``(3, ...)``."""
    return jnp.stack([sum(float(by) * count for by, count in zip(of, events, strict=True) if by) for of in change.T])


def _propensities(
    state: Array, middle: Array, rates: Rates, exposure: Exposure, begin: Array, days: ArrayLike, table: Reactions
) -> Array:
    """Events a day ``(11, ...)`` over an interval: crowding and large states at its ``middle``, small ones as they are."""
    counted = jnp.where(state < FEW, state, middle)
    each = mean_rates(Cells(*middle), rates, exposure, begin, days, table)
    pairs = zip(each, parents(Cells(*counted), table), strict=True)
    return jnp.stack([jnp.broadcast_to(rate * number, begin.shape) for rate, number in pairs])


def _longest_leap(state: Array, propensity: Array, rates: Rates, shape: Shape) -> Array:
    """Cao's leap in days: the least of ``max(epsilon x / g, 1) / |mean|`` and of its square over the variance."""
    linear = jnp.isinf(jnp.asarray(rates.capacity)) & (jnp.asarray(rates.secretome_boost) == 0)
    power = jnp.broadcast_to(jnp.where(linear, 1.0, 2.0), state.shape[1:])
    allowed = jnp.maximum(EPSILON * state / power[None], 1.0)
    drift, spread = jnp.abs(_changed(propensity, shape.change)), _changed(propensity, shape.change**2)
    by_mean = jnp.where(drift > 0, allowed / jnp.where(drift > 0, drift, 1.0), jnp.inf)
    by_spread = jnp.where(spread > 0, allowed**2 / jnp.where(spread > 0, spread, 1.0), jnp.inf)
    return jnp.minimum(by_mean.min(axis=0), by_spread.min(axis=0))


def _applied(state: Array, counts: Array, table: Reactions) -> Array:
    """The state after ``counts`` firings, each held to the cells that are left of what it takes from."""
    left = list(state)
    gained = [jnp.zeros_like(state[0]) for _ in left]
    for count, reaction in zip(counts, table, strict=True):
        fired = count
        for at, change in enumerate(reaction.change):
            if change < 0:
                fired = jnp.minimum(fired, left[at])
        for at, change in enumerate(reaction.change):
            if change < 0:
                left[at] = left[at] - fired
            elif change > 0:
                gained[at] = gained[at] + fired
    return jnp.stack([stay + come for stay, come in zip(left, gained, strict=True)])
