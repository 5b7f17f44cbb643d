"""Trajectories: cells followed along a grid by any of the engines.

An engine is a function ``(key, cells, rates, exposure, dt, table) -> cells``; `simulate` is the checked door, `follow` the
pure function behind it. A trajectory's random numbers depend on its key and number alone, not on how many others run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.branching import MAX_STEP, leap_step
from persist.dynamics.reactions import REACTIONS
from persist.errors import PrecisionError, RatesError, UsageError
from persist.keys import numbered
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

ENGINES = ("leap", "ssa", "tau")


def _walk_grid(key, cells, rates, grid, exposure, slot, engine, max_step, n_records, table):
    n_steps = grid.length.shape[0]
    record = Cells(*[jnp.zeros((n_records + 1,)) for _ in range(3)])

    def step(carry, xs):
        state, record = carry
        number, length, piece, slot = xs
        k = jax.random.fold_in(key, number)
        sub = int(np.ceil(1/max_step))
        state = leap_step(k, state, rates, piece, length, table, substeps=sub)
        record = Cells(*[r.at[slot].set(s) for r, s in zip(record, state)])
        return (state, record), None

    cells = Cells(*[jnp.asarray(c, float) for c in cells])
    (_, record), _ = jax.lax.scan(step, (cells, record), (jnp.arange(n_steps), grid.length, exposure, slot))
    return Cells(*[r[:-1] for r in record])
