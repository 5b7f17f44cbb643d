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
from persist.dynamics.branching import mean_rates
from persist.dynamics.reactions import REACTIONS, parents
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


def tau_step(
    key: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: ArrayLike, table: Reactions = REACTIONS
) -> Cells:
    """Cells ``dt`` days later, by as many leaps as it takes; all scalars (``vmap`` over many), counts float64."""
    change = np.array([reaction.change for reaction in table], float)
    parent = np.array([[reaction.parent == state for state in range(3)] for reaction in table])
    shape = Shape(change, parent | (change != 0))

    def leap(walk: tuple[Array, Array, Array]) -> tuple[Array, Array, Array]:
        return _leap(walk, jnp.asarray(dt), rates, exposure, table, shape)

    start = jnp.stack([jnp.asarray(count, float) for count in cells])
    begin = (jnp.zeros(()), start, sampling.stream(key))
    return Cells(*jax.lax.while_loop(lambda walk: walk[0] < dt, leap, begin)[1])


def _leap(
    walk: tuple[Array, Array, Array], dt: Array, rates: Rates, exposure: Exposure, table: Reactions, shape: Shape
) -> tuple[Array, Array, Array]:
    """One leap, with at most one critical event at its end."""
    time, state, numbers = walk
    numbers, u = _draws(numbers, len(table) + 2)
    critical = jnp.any((state < FEW)[None, :] & shape.touched, axis=1)
    now = _propensities(state, state, rates, exposure, time, 0.0, table)
    safe = _longest_leap(state, jnp.where(critical, 0.0, now), rates, shape)
    longest = jnp.clip(jnp.minimum(safe, LONGEST), SHORTEST, jnp.maximum(dt - time, SHORTEST))
    middle = jnp.maximum(state + 0.5 * longest * (jnp.where(critical, 0.0, now) @ shape.change), 0.0)
    there = _propensities(state, middle, rates, exposure, time, longest, table)
    clock = jnp.where(critical, there, 0.0)
    hazard = clock.sum()
    wait = jnp.where(hazard > 0, -jnp.log(u[-1]) / jnp.where(hazard > 0, hazard, 1.0), jnp.inf)
    tau = jnp.minimum(longest, wait)
    counts = sampling.poisson_quantile(u[: len(table)], jnp.where(critical, 0.0, there) * tau)
    mark = u[-2] * hazard
    upto = jnp.cumsum(clock)
    single = (mark < upto) & (mark >= upto - clock) & critical & (wait < longest)
    last = (wait >= longest) & (longest >= dt - time)
    after = jnp.where(last, dt, time + tau)
    return after, _applied(state, counts + single, table), numbers


def _draws(numbers: Array, count: int) -> tuple[Array, Array]:
    """The next ``count`` uniform numbers of a stream, ``(count,)``."""
    drawn = []
    for _ in range(count):
        numbers, u = sampling.draw(numbers)
        drawn.append(u)
    return numbers, jnp.stack(drawn)


def _propensities(
    state: Array, middle: Array, rates: Rates, exposure: Exposure, begin: Array, days: ArrayLike, table: Reactions
) -> Array:
    """Events a day ``(11,)`` over an interval: crowding and large states at its ``middle``, small ones as they are."""
    counted = jnp.where(state < FEW, state, middle)
    each = mean_rates(Cells(*middle), rates, exposure, begin, days, table)
    return jnp.stack([rate * number for rate, number in zip(each, parents(Cells(*counted), table), strict=True)])


def _longest_leap(state: Array, propensity: Array, rates: Rates, shape: Shape) -> Array:
    """Cao's leap in days: the least of ``max(epsilon x / g, 1) / |mean|`` and of its square over the variance."""
    linear = jnp.isinf(jnp.asarray(rates.capacity)) & (jnp.asarray(rates.secretome_boost) == 0)
    allowed = jnp.maximum(EPSILON * state / jnp.where(linear, 1.0, 2.0), 1.0)
    drift, spread = jnp.abs(propensity @ shape.change), propensity @ shape.change**2
    by_mean = jnp.where(drift > 0, allowed / jnp.where(drift > 0, drift, 1.0), jnp.inf)
    by_spread = jnp.where(spread > 0, allowed**2 / jnp.where(spread > 0, spread, 1.0), jnp.inf)
    return jnp.minimum(jnp.min(by_mean), jnp.min(by_spread))


def _applied(state: Array, counts: Array, table: Reactions) -> Array:
    """The state after ``counts`` firings, each held to the cells that are left of what it takes from."""
    left = list(state)
    gained = [jnp.zeros(()) for _ in left]
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
