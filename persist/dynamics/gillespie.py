"""The exact engine: every event one by one (Gillespie's direct method), also while the exposure changes.

With total propensity ``a``, the next event comes after an exponential wait of mean 1 / a and is reaction i with
probability ``a_i / a``. Where the exposure moves within a step, candidates come at a rate that bounds the total over
the rest of the step (every rate grows with every field of the `Surroundings`, whose largest values are at the ends,
since the exposure is monotone), and each is accepted with probability actual over bound: thinning, no discretisation.

A batch takes one event in every trajectory at a time, until all have come to the end of the step; reactions of the same
change are told apart by nothing that is kept, so they are drawn as one.

Sources: Gillespie 1977, 10.1021/j100540a008; thinning: Lewis & Shedler 1979, 10.1002/nav.3800260304.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import sampling
from persist.dynamics.reactions import (
    IMMEDIATE_DAYS,
    REACTIONS,
    Surroundings,
    among,
    crowding,
    exposed_within,
    parents,
    per_capita,
    signal,
)
from persist.types import Cells, Exposure, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

Walk = tuple["Array", Cells, "Array"]
"""Time within the step, cells, stream of uniform numbers; each ``(...)``."""


def ssa_step(
    stream: Array, cells: Cells, rates: Rates, exposure: Exposure, dt: ArrayLike, table: Reactions = REACTIONS
) -> Cells:
    """Cells ``dt`` days later, exactly; counts float64 ``(...)``, in the shape of ``stream`` (uint64).

    ``rates`` and the fields of ``exposure`` are scalars or ``(...)``, ``dt`` likewise. The cost is that of the events: at
    1e5 cells, thousands a day.
    """
    moving = (jnp.asarray(exposure.days) > IMMEDIATE_DAYS) & (jnp.asarray(exposure.start) != exposure.target)
    start = Cells(*[jnp.broadcast_to(jnp.asarray(count, float), stream.shape) for count in cells])
    end = jnp.broadcast_to(jnp.asarray(dt, float), stream.shape)
    begin = (jnp.zeros(stream.shape), start, stream)
    reached = _events(begin, jnp.where(moving, 0.0, end), rates, exposure, table, moving=False)[1]
    begin = (begin[0], reached, stream)  # each trajectory takes part in one of the two only
    return _events(begin, jnp.where(moving, end, 0.0), rates, exposure, table, moving=True)[1]


def _events(begin: Walk, dt: Array, rates: Rates, exposure: Exposure, table: Reactions, *, moving: bool) -> Walk:
    """All events until ``dt`` ``(...)``; ``moving`` says that the exposure changes meanwhile."""
    last = exposed_within(rates, exposure, dt)
    changes, rows = _kinds(table)

    def propensity(cells: Cells, levels: tuple[Surroundings, ...]) -> Array:
        """Events a day of each kind of change, added up one after the other, ``(n_kinds, ...)``."""
        g = crowding(cells.total, rates.capacity)
        around = [among(level, g, signal(cells, rates, level.killing)) for level in levels]
        most = around[0] if len(around) == 1 else Surroundings(*map(jnp.maximum, *around))
        pairs = zip(per_capita(rates, most, table), parents(cells, table), strict=True)
        each = [rate * number for rate, number in pairs]
        kinds = [sum((each[row] for row in of), jnp.zeros_like(dt)) for of in rows]
        return jnp.cumsum(jnp.stack(kinds), axis=0) if len(kinds) > 1 else jnp.stack(kinds)

    def event(walk: Walk) -> Walk:
        time, cells, numbers = walk
        numbers, (u, v) = sampling.draws(numbers, 2)
        upto = sampling.once(propensity(cells, (exposed_within(rates, exposure, time), last) if moving else (last,)))
        after = time - sampling.log(u) / jnp.maximum(upto[-1], 1e-300)
        happens = after < dt
        after, mark = sampling.once((after, jnp.where(happens, v * upto[-1], jnp.inf)))
        actual = propensity(cells, (exposed_within(rates, exposure, after),)) if moving else upto
        return jnp.where(happens, after, dt), _fired(cells, mark, actual, changes), numbers

    return jax.lax.while_loop(lambda walk: jnp.any(walk[0] < dt), event, begin)


def _kinds(table: Reactions) -> tuple[np.ndarray, list[list[int]]]:
    """The different changes of the table ``(n_kinds, 3)``, and the rows that make each."""
    changes = list(dict.fromkeys(reaction.change for reaction in table))
    return np.array(changes), [
        [row for row, reaction in enumerate(table) if reaction.change == change] for change in changes
    ]


def _fired(cells: Cells, mark: Array, upto: Array, changes: np.ndarray) -> Cells:
    """The cells after the change in whose stretch of the summed propensities ``mark`` falls; else as before."""
    below = [(mark < limit).astype(float) for limit in upto]
    after = []
    for state, count in enumerate(cells):
        steps = changes[:, state] - np.append(changes[1:, state], 0)  # of the change at each limit, from the last back
        fired = sum(
            (float(step) * under for step, under in zip(steps, below, strict=True) if step), jnp.zeros_like(mark)
        )
        after.append(jnp.maximum(count + fired, 0.0))
    return Cells(*after)
