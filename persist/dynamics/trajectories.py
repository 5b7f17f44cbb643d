"""Trajectories: cells followed along a grid by any of the engines.

An engine is a function ``(key, cells, rates, exposure, dt, table) -> cells``. `simulate` is the checked door, `follow`
the pure function of one trajectory behind it. The random numbers of a trajectory depend on its key and number alone, so
it comes out the same however many others run beside it and however the work is cut.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.branching import MAX_STEP, leap_step
from persist.dynamics.gillespie import ssa_step
from persist.dynamics.reactions import REACTIONS
from persist.dynamics.tau_leap import tau_step
from persist.errors import PrecisionError, RatesError, UsageError
from persist.keys import numbered
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

ENGINES = ("leap", "ssa", "tau")

SHARES = ("mutation", "reversion_block", "secretome_block", "secretome_protect")
"""Rates that are shares: above 1 they would make other rates negative."""

CHUNK = 2000
"""Most trajectories that run as one batch: what fits into the memory near a core."""

WORTH_A_THREAD = 200
"""Fewest trajectories for which a chunk of their own pays on a core that would be idle."""

MOST_CELLS = 1e7
"""Cells at the start beyond which the exact engine is refused: it would take every event of each of them."""


State = tuple[Cells, "Array"]
"""Cells now, and the record so far."""


def simulate(
    key: Array,
    cells: Cells,
    rates: Rates,
    grid: Grid,
    exposure: Exposure,
    *,
    engine: str = "leap",
    trajectories: int | None = None,
    first: int = 0,
    max_step: float = MAX_STEP,
    record: ArrayLike | None = None,
    table: Reactions = REACTIONS,
) -> Cells:
    """Cells at the end of the steps of a grid that ``record`` marks (all by default), ``(n_trajectories, n_records)``.

    Fields of ``cells`` and ``rates`` are scalars or ``(n_trajectories,)``; of ``exposure``, along the grid,
    ``(n_steps,)`` or ``(n_steps, n_trajectories)``. ``record`` is a mask ``(n_steps,)``. ``trajectories`` is needed
    where nothing has their number; they are numbered from ``first`` on, and each has its own random numbers by ``key``
    and number. The leap takes steps of at most ``max_step`` days; the other engines choose their own. Many trajectories
    are run in chunks, on as many threads as there are cores.

    Errors: PrecisionError in float32, RatesError for a rate or count that is negative or NaN (or a share above 1),
    UsageError for an engine that is not there, too many cells for ``ssa``, or numbers of trajectories that differ.
    """
    _check(cells, rates, engine, max_step)
    number = _number(cells, rates, exposure, trajectories)
    length = np.asarray(grid.length, float)
    marks = np.ones(len(length), bool) if record is None else np.asarray(record, bool)
    longest = float(length.max(initial=0.0))
    substeps = max(1, math.ceil(longest / max_step - 1e-9)) if engine == "leap" else 1
    run = partial(_all, length=length, engine=engine, substeps=substeps, slots=_slots(marks), table=table)

    def chunk(members: np.ndarray) -> Cells:
        keys = numbered(key, jnp.asarray(first + members))
        mine = [
            jax.tree.map(partial(_taken, members, axis), each) for axis, each in ((0, cells), (0, rates), (1, exposure))
        ]
        ended: Cells = run(keys, *mine)
        jax.block_until_ready(ended)  # type: ignore[no-untyped-call]
        return ended

    count = _chunks(number)
    if count <= 1:
        return chunk(np.arange(number))
    members = np.minimum(np.arange(-(-number // count) * count), number - 1).reshape(count, -1)
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        parts = list(threads.map(chunk, members))
    return Cells(*[jnp.concatenate(states)[:number] for states in zip(*parts, strict=True)])


def _chunks(number: int) -> int:
    """Chunks that so many trajectories are run in: few enough to fill the cores, small enough for their caches."""
    return max(-(-number // CHUNK), min(os.cpu_count() or 1, number // WORTH_A_THREAD))


def _taken(members: np.ndarray, axis: int, value: ArrayLike) -> ArrayLike:
    """The values of some trajectories, where each has its own (``axis`` of ``value`` counts trajectories)."""
    return jnp.asarray(value)[..., members] if jnp.ndim(value) > axis else value


def follow(
    key: Array,
    cells: Cells,
    rates: Rates,
    length: Array,
    exposure: Exposure,
    *,
    engine: str = "leap",
    substeps: int = 1,
    slots: tuple[int, ...] | None = None,
    table: Reactions = REACTIONS,
) -> Cells:
    """One trajectory, all fields scalars: cells at the end of the marked steps, ``(n_records,)``; nothing is checked.

    ``length`` ``(n_steps,)`` days, ``exposure`` ``(n_steps,)``. ``slots`` gives for each step its place in the record,
    or -1 (None: each step has one). Pure: may be compiled and mapped.
    """
    n_steps = length.shape[0]
    places = np.arange(n_steps) if slots is None else np.asarray(slots, int)
    size = int(places.max(initial=-1)) + 1

    def step(carry: State, piece: tuple[Array, Array, Exposure, Array]) -> tuple[State, None]:
        state, seen = carry
        number, dt, level, place = piece
        state = _advance(engine, substeps)(jax.random.fold_in(key, number), state, rates, level, dt, table)
        return (state, seen.at[place].set(jnp.stack(state))), None

    start = Cells(*[jnp.asarray(count, float) for count in cells])
    steps = (jnp.arange(n_steps), length, exposure, jnp.asarray(np.where(places < 0, size, places)))
    (_, seen), _ = jax.lax.scan(step, (start, jnp.zeros((size + 1, 3))), steps)
    return Cells(*seen[:size].T)


def _advance(engine: str, substeps: int) -> Callable[..., Cells]:
    """The step function of an engine."""
    engines: dict[str, Callable[..., Cells]] = {
        "leap": partial(leap_step, substeps=substeps),
        "ssa": ssa_step,
        "tau": tau_step,
    }
    return engines[engine]


@partial(jax.jit, static_argnames=("engine", "substeps", "slots", "table"))
def _all(
    keys: Array,
    cells: Cells,
    rates: Rates,
    exposure: Exposure,
    length: Array,
    engine: str,
    substeps: int,
    slots: tuple[int, ...],
    table: Reactions,
) -> Cells:
    """`follow` for every key; whatever has one value a trajectory is mapped, the rest is shared."""
    one = partial(follow, engine=engine, substeps=substeps, slots=slots, table=table)
    axes = (
        0,
        Cells(*[0 if jnp.ndim(count) else None for count in cells]),
        Rates(*[0 if jnp.ndim(rate) else None for rate in rates]),
        None,
        Exposure(*[1 if jnp.ndim(part) == 2 else None for part in exposure]),
    )
    return jax.vmap(one, in_axes=axes)(keys, cells, rates, length, exposure)


def _slots(marks: np.ndarray) -> tuple[int, ...]:
    """Place of each step in the record, -1 where it is not wanted."""
    return tuple(np.where(marks, np.cumsum(marks) - 1, -1).tolist())


def _number(cells: Cells, rates: Rates, exposure: Exposure, trajectories: int | None) -> int:
    """How many trajectories, from whatever has their number; UsageError where this is in doubt."""
    found = {int(jnp.shape(part)[0]) for part in (*cells, *rates) if jnp.ndim(part)}
    found |= {int(jnp.shape(part)[1]) for part in exposure if jnp.ndim(part) == 2}
    found |= set() if trajectories is None else {trajectories}
    if len(found) != 1:
        asked = " and ".join(map(str, sorted(found))) or "no number"
        raise UsageError(
            f"{asked} of trajectories asked for",
            remedy="give cells, rates and exposure the same number, or trajectories=",
        )
    return found.pop()


def _check(cells: Cells, rates: Rates, engine: str, max_step: float) -> None:
    """Refuses what no engine can be right about."""
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX is in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    if engine not in ENGINES:
        raise UsageError(f"no engine named {engine!r}", remedy=f"choose one of {', '.join(ENGINES)}")
    if not max_step > 0:
        raise UsageError(f"max_step is {max_step} days", remedy="give a step above 0")
    for name, value in (*zip(Rates._fields, rates, strict=True), *zip(Cells._fields, cells, strict=True)):
        values = np.asarray(value, float)
        if not np.all(values >= 0):
            bad = values[~(values >= 0)].flat[0]
            raise RatesError(f"{name} is {bad}", remedy="rates and cell numbers are 0 or more")
    for name in SHARES:
        highest = float(np.max(np.asarray(getattr(rates, name), float)))
        if highest > 1:
            raise RatesError(f"{name} is {highest}", remedy="it is a share, from 0 to 1")
    if not np.all(np.isfinite(np.asarray(cells.total))):
        raise RatesError("the number of cells is infinite", remedy="give a finite number of cells to start from")
    most = float(np.max(np.asarray(cells.total, float)))
    if engine == "ssa" and most > MOST_CELLS:
        raise UsageError(f"{most:.3g} cells are too many for the exact engine", remedy="use the engine leap")
