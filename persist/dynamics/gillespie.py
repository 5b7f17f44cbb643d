"""The exact engine: every event one by one (Gillespie's direct method), also while the exposure changes.

With total propensity ``a``, the next event comes after an exponential wait of mean 1 / a and is reaction i with
probability ``a_i / a``. Where the exposure moves within a step, candidates come at a rate that bounds the total over
the rest of the step (every rate grows with every field of the `Surroundings`, whose largest values are at the ends,
since the exposure is monotone), and each is accepted with probability actual over bound: thinning, no discretisation.

Sources: Gillespie 1977, 10.1021/j100540a008; thinning: Lewis & Shedler 1979, 10.1002/nav.3800260304.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp

from persist.dynamics import sampling
from persist.dynamics.reactions import (
    IMMEDIATE_DAYS,
    REACTIONS,
    Surroundings,
    crowding,
    parents,
    per_capita,
    secretome,
    surroundings,
    within,
)
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

Walk = tuple["Array", Cells, "Array"]
"""Time within the step, cells, stream of uniform numbers."""


def ssa_step(
    key: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: ArrayLike, table: Reactions = REACTIONS
) -> Cells:
    """Cells ``dt`` days later, exactly; all scalars (one trajectory: ``vmap`` over many), counts float64.

    The cost is that of the events: at 1e5 cells, thousands a day.
    """
    steady = (jnp.asarray(exposure.days) <= IMMEDIATE_DAYS) | (jnp.asarray(exposure.start) == exposure.target)
    start = Cells(*[jnp.asarray(count, float) for count in cells])
    begin = (jnp.zeros(()), start, sampling.stream(key))
    _, start, numbers = _events(begin, jnp.where(steady, dt, 0.0), rates, exposure, table, moving=False)
    end = _events((jnp.zeros(()), start, numbers), jnp.where(steady, 0.0, dt), rates, exposure, table, moving=True)
    return end[1]


def _events(begin: Walk, dt: Array, rates: Rates, exposure: Exposure, table: Reactions, *, moving: bool) -> Walk:
    """All events until ``dt``; ``moving`` says that the exposure changes meanwhile."""
    last = within(exposure, dt)

    def actual(cells: Cells, level: Array) -> list[Array]:
        g = crowding(cells.total, rates.capacity)
        around = surroundings(rates, level, g, secretome(cells, rates, level))
        return _events_a_day(cells, rates, around, table)

    def bound(cells: Cells, level: Array) -> list[Array]:
        g = crowding(cells.total, rates.capacity)
        ends = [surroundings(rates, end, g, secretome(cells, rates, end)) for end in (level, last)]
        return _events_a_day(cells, rates, Surroundings(*map(jnp.maximum, *ends)), table)

    def event(walk: Walk) -> Walk:
        time, cells, numbers = walk
        numbers, u = sampling.draw(numbers)
        numbers, v = sampling.draw(numbers)
        most = sum((bound if moving else actual)(cells, within(exposure, time)), jnp.zeros(()))
        after = time - jnp.log(u) / jnp.where(most > 0, most, 1e-300)
        rest = actual(cells, within(exposure, after) if moving else last)
        happens = after < dt
        fired = _fire(cells, rest, v * most, table)
        return (
            jnp.where(happens, after, dt),
            Cells(*[jnp.where(happens, new, old) for new, old in zip(fired, cells, strict=True)]),
            numbers,
        )

    goes_on: Callable[[Walk], Array] = lambda walk: walk[0] < dt  # noqa: E731
    return jax.lax.while_loop(goes_on, event, begin)


def _events_a_day(cells: Cells, rates: Rates, around: Surroundings, table: Reactions) -> list[Array]:
    """Propensity of each reaction in given surroundings: 11 scalars."""
    columns = per_capita(rates, around, table)
    return [rate * number for rate, number in zip(columns, parents(cells, table), strict=True)]


def _fire(cells: Cells, propensity: list[Array], mark: Array, table: Reactions) -> Cells:
    """The cells after the reaction in whose stretch of the summed propensities ``mark`` falls; else as before."""
    reached, upto = jnp.zeros(()), []
    for each in propensity:
        reached = reached + each
        upto.append(reached)
    changes = []
    for state in range(3):
        change = jnp.zeros(())
        for limit, reaction in zip(reversed(upto), reversed(table), strict=True):
            change = jnp.where(mark < limit, float(reaction.change[state]), change)
        changes.append(change)
    return Cells(*[jnp.maximum(count + change, 0.0) for count, change in zip(cells, changes, strict=True)])
