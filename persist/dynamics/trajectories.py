"""Trajectories: cells followed along a grid by any of the engines; the checked doors to `paths`.

`simulate` returns the record of all trajectories, `sweep` what is made of it chunk by chunk, so that memory does not
grow with their number; `steered` lets a rule set the dose of each path. The random numbers of a trajectory depend on its
key and number alone, so at a given step it comes out the same however many others run beside it and however the work is
cut. (Where the step of the leap is left to `stepsize.choose`, the fastest rates of a call decide it for all.)
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import batches, sampling
from persist.dynamics.batches import bucket
from persist.dynamics.paths import ENGINES, Course, Engine, Lanes, Pace, Steered, Steps, follow, steer
from persist.dynamics.reactions import REACTIONS, propensities
from persist.dynamics.stepsize import choose, least
from persist.dynamics.tau_leap import FEW
from persist.errors import PrecisionError, RatesError, UsageError
from persist.keys import moments, numbered
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions

SHARES = ("mutation", "reversion_block", "secretome_block", "secretome_protect")
"""Rates that are shares: above 1 they would make other rates negative."""

ENDLESS = ("capacity", "kill_half")
"""Rates that may be infinite."""

MOST_EVENTS = 1e9
"""Events of one trajectory, at the pace of its start, beyond which following each of them is refused."""

MOST_CELLS = 1e7
"""Cells at the start beyond which the exact engine is refused: it would take every event of each of them."""


class Method(NamedTuple):
    """How cells are carried on: ``engine``, of `ENGINES`; the leap takes steps of at most ``max_step`` days (None: as
    `stepsize.choose` finds for the trajectories of one call; name it where several calls are to agree) and follows
    populations of up to ``exact_below`` cells event by event; the other engines choose their own steps.
    """

    engine: str = "leap"
    max_step: float | None = None
    exact_below: float = 0.0
    table: Reactions = REACTIONS


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
    max_step: float | None = None,
    exact_below: float = 0.0,
    record: ArrayLike | None = None,
    table: Reactions = REACTIONS,
) -> Cells:
    """Cells at the end of the steps of a grid that ``record`` marks (all by default), ``(n_trajectories, n_records)``.

    Fields of ``cells`` and ``rates`` are scalars or ``(n_trajectories,)``; of ``exposure``, along the grid,
    ``(n_steps,)`` or ``(n_steps, n_trajectories)``. ``record`` is a mask ``(n_steps,)``. ``trajectories`` is needed
    where nothing has their number; they are numbered from ``first`` on, and each has its own random numbers by ``key``
    and number. ``engine``, ``max_step``, ``exact_below`` and ``table`` are those of a `Method`.

    Errors: PrecisionError in float32, RatesError for a rate or count that is negative or NaN (or a share above 1),
    UsageError for an engine that is not there, too many cells for ``ssa``, or numbers of trajectories that differ.
    """
    method = Method(engine, max_step, exact_below, table)
    kept = sweep(
        _kept, key, cells, rates, grid, exposure, method, trajectories=trajectories, first=first, record=record
    )
    parts = list(kept)
    return Cells(*[jnp.concatenate(states) for states in zip(*parts, strict=True)]) if len(parts) > 1 else parts[0]


def _kept(_: np.ndarray, cells: Cells) -> Cells:
    return cells


def sweep[T](
    reduce: Callable[[np.ndarray, Cells], T],
    key: Array,
    cells: Cells,
    rates: Rates,
    grid: Grid,
    exposure: Exposure,
    method: Method = Method(),  # noqa: B008 - immutable
    *,
    trajectories: int | None = None,
    first: int = 0,
    record: ArrayLike | None = None,
) -> Iterator[T]:
    """What ``reduce(members, cells)`` makes of each chunk of trajectories, in order; nothing else is kept.

    ``members`` ``(n,)`` are places among the trajectories asked for, ``cells`` their record ``(n, n_records)``; the rest
    is as of `simulate`. Chunks run on several threads at once, and so does ``reduce``.
    """
    _check(cells, rates, grid, method)
    number = _number(cells, rates, exposure, trajectories)
    steps, records = _padded(grid, record)
    level = Exposure(*[_extended(part, len(steps.length), None) for part in exposure])
    unknown = method.engine == "leap" and method.max_step is None
    substeps = choose(cells, rates, grid, exposure).substeps if unknown else _leaps(rates, grid, method)
    pace = Pace(substeps, method.exact_below)
    axes = (0, *_axes(0, (cells, rates)), *_axes(1, level))
    static = (("records", records), ("engine", Engine(method.engine, method.exact_below > 0, method.table)))
    count = int(np.sum(_marks(grid, record)))

    def finish(members: np.ndarray, _: Any, path: Cells) -> T:
        return reduce(members, Cells(*[state[:, :count] for state in path]))

    how = batches.cut(number, method.engine, 8 * 3 * records)
    own = partial(_own, key, first, (cells, rates, level), axes)
    return batches.run(_follow, static, number, how, own, lambda _: axes, (steps, pace), finish)


def steered[T](
    reduce: Callable[[np.ndarray, Lanes, Steered], T],
    rule: Callable[[Any, Cells, Any], Any],
    key: Array,
    lanes: Callable[[np.ndarray], Lanes],
    grid: Grid,
    plan: Course,
    method: Method,
    *,
    trajectories: int,
    record: ArrayLike | None = None,
) -> Iterator[T]:
    """`sweep` for paths whose dose follows a ``rule`` on visit days (`paths.steer`).

    ``lanes(members)`` is asked for what some trajectories have of their own, chunk by chunk, and always has the same
    structure; ``plan`` is along the grid. ``reduce(members, lanes, path)`` gets it back (with lanes beyond the members
    where the last chunk was filled up). ``rule`` is a function of a module (each is compiled once); what it compares with
    stands in the memory of the lanes. The step of the leap must be named: the exposures to come are not known.
    """
    if method.engine == "leap" and method.max_step is None:
        raise UsageError("no longest step for paths under a rule", remedy="name max_step, such as 1.0 (days)")
    steps, records = _padded(grid, record)
    along = Course(
        *(_extended(part, len(steps.length), fill) for part, fill in zip(plan, (None, None, -1), strict=True))
    )
    engine = Engine(method.engine, method.exact_below > 0, method.table)
    static = (("rule", rule), ("records", records), ("engine", engine))
    pace = Pace(_leaps(lanes(np.arange(1)).rates, grid, method), method.exact_below)
    count = int(np.sum(_marks(grid, record)))

    def own(members: np.ndarray) -> tuple[Array, Lanes]:
        given = lanes(members)
        _check(given.cells, given.rates, grid, method)
        return sampling.stream(numbered(key, jnp.asarray(members))), given

    def axes(own: tuple[Array, Lanes]) -> tuple[int, ...]:
        return (0, *_axes(0, own[1][:4]), *_axes(1, own[1].seen), *_axes(0, own[1].memory))

    def finish(members: np.ndarray, own: tuple[Array, Lanes], path: Steered) -> T:
        seen = Cells(*[state[:, :count] for state in path.cells])
        return reduce(
            members, own[1], path._replace(cells=seen, course=path.course[:, :count], dose=path.dose[:, :count])
        )

    how = batches.cut(trajectories, method.engine, 8 * 5 * records)
    return batches.run(_steer, static, trajectories, how, own, axes, (steps, along, pace), finish)


@partial(jax.jit, static_argnames=("records", "engine"))
def _follow(own: Any, shared: Any, *, records: int, engine: Engine) -> Cells:
    (streams, cells, rates, exposure), (steps, pace) = own, shared
    return follow(streams, cells, rates, steps, exposure, pace, records=records, engine=engine)


@partial(jax.jit, static_argnames=("rule", "records", "engine"))
def _steer(own: Any, shared: Any, *, rule: Callable[..., Any], records: int, engine: Engine) -> Steered:
    (streams, lanes), (steps, plan, pace) = own, shared
    return steer(streams, lanes, steps, plan, pace, rule=rule, records=records, engine=engine)


def _own(key: Array, first: int, of: Any, axes: tuple[int, ...], members: np.ndarray) -> Any:
    """Streams, and what else some trajectories have of their own or share, for `batches.run`."""
    leaves, structure = jax.tree.flatten(of)
    mine = [
        leaf if axis < 0 else jnp.take(jnp.asarray(leaf), members, axis=axis)
        for leaf, axis in zip(leaves, axes[1:], strict=True)
    ]
    streams = sampling.stream(numbered(key, jnp.asarray(first + members)))
    return (streams, *jax.tree.unflatten(structure, mine))


def trial(number: int, engine: str, records: int) -> int:
    """The fewest trajectories that are cut into chunks as large as those of ``number``, so that both run one program."""
    how = batches.cut(number, engine, 8 * 3 * bucket(records))
    return min(number, how.lanes * how.threads)


def _axes(axis: int, tree: Any) -> tuple[int, ...]:
    """For each leaf, the axis along which it has one value a trajectory (``axis`` if it has so many), or -1."""
    return tuple(axis if np.ndim(leaf) > axis else -1 for leaf in jax.tree.leaves(tree))


def _marks(grid: Grid, record: ArrayLike | None) -> np.ndarray:
    """Mask of the steps that are recorded."""
    return np.ones(len(grid.length), bool) if record is None else np.asarray(record, bool)


def _padded(grid: Grid, record: ArrayLike | None) -> tuple[Steps, int]:
    """Steps of a grid filled up to a bucket, and the size of the record, likewise."""
    marks = _marks(grid, record)
    records, size = bucket(int(marks.sum())), bucket(len(marks))
    place = np.where(marks, np.cumsum(marks) - 1, records)
    length = np.asarray(grid.length, float)
    parts = ((length, 0.0), (place, records), (_numbers(length), 0))
    return Steps(*(_extended(part, size, fill) for part, fill in parts)), records


def _numbers(length: np.ndarray) -> np.ndarray:
    """Numbers of steps: of the moments at which they begin, so that a step has the same, however time is cut elsewhere;
    in order where some are too short for that.
    """
    number = moments(np.cumsum(length) - length)
    same = (np.diff(number) == 0) & (length[:-1] > 0)
    return np.arange(len(length)) if same.any() else number


def _extended(part: ArrayLike, size: int, fill: float | None) -> np.ndarray:
    """An array ``(n_steps, ...)`` filled up to ``size`` steps, by its last value or by ``fill``."""
    values = np.asarray(part)
    more = ((0, size - len(values)), *[(0, 0)] * (values.ndim - 1))
    if fill is None:
        return np.pad(values, more, mode="edge" if len(values) else "constant")
    return np.pad(values, more, constant_values=fill)


def _leaps(rates: Rates, grid: Grid, method: Method) -> int:
    """Leaps in each step of a grid, from the longest step that the method names, and as many as fast division needs."""
    if method.engine != "leap":
        return 1
    longest = float(np.max(np.asarray(grid.length, float), initial=0.0))
    return max(least(rates, longest), math.ceil(longest / float(method.max_step or longest or 1.0) - 1e-9))


def _number(cells: Cells, rates: Rates, exposure: Exposure | None, trajectories: int | None) -> int:
    """How many trajectories, from whatever has their number; UsageError where this is in doubt."""
    found = {int(jnp.shape(part)[0]) for part in (*cells, *rates) if jnp.ndim(part)}
    found |= {int(jnp.shape(part)[1]) for part in exposure or () if jnp.ndim(part) == 2}
    found |= set() if trajectories is None else {trajectories}
    if found == {0}:
        raise UsageError("no trajectories asked for", remedy="ask for 1 or more")
    if len(found) != 1:
        asked = " and ".join(map(str, sorted(found))) or "no number"
        raise UsageError(
            f"{asked} of trajectories asked for",
            remedy="give cells, rates and exposure the same number, or trajectories=",
        )
    return found.pop()


def _check_events(cells: Cells, rates: Rates, grid: Grid, engine: str) -> None:
    """Refuses what would be followed event by event without end: all cells by ``ssa``, a few cells of a state by ``tau``."""
    if engine == "leap":
        return
    followed = cells if engine == "ssa" else Cells(FEW, FEW, FEW)
    pace = max(float(np.max(np.asarray(propensities(followed, rates, dose)).sum(axis=-1))) for dose in (0.0, 1.0))
    events = pace * float(np.sum(np.asarray(grid.length, float)))
    if events > MOST_EVENTS:
        what = f"about {events:.1g} events are too many for the engine {engine}, which follows each"
        raise UsageError(what, remedy="use the engine leap")


def _check(cells: Cells, rates: Rates, grid: Grid, method: Method) -> None:
    """Refuses what no engine can be right about."""
    engine, max_step = method.engine, method.max_step
    if not np.all(np.isfinite(np.asarray(grid.length, float)) & (np.asarray(grid.length, float) >= 0)):
        raise UsageError("a step of the grid has no finite length", remedy="give steps of 0 days or more")
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX is in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    if engine not in ENGINES:
        raise UsageError(f"no engine named {engine!r}", remedy=f"choose one of {', '.join(ENGINES)}")
    if max_step is not None and not max_step > 0:
        raise UsageError(f"max_step is {max_step} days", remedy="give a step above 0")
    for name, value in (*zip(Rates._fields, rates, strict=True), *zip(Cells._fields, cells, strict=True)):
        values = np.asarray(value, float)
        good = (values >= 0) & (np.isfinite(values) | (name in ENDLESS))
        if not np.all(good):
            raise RatesError(
                f"{name} is {values[~good].flat[0]}", remedy="rates and cell numbers are finite, and 0 or more"
            )
    for name in SHARES:
        highest = float(np.max(np.asarray(getattr(rates, name), float)))
        if highest > 1:
            raise RatesError(f"{name} is {highest}", remedy="it is a share, from 0 to 1")
    if not np.all(np.isfinite(np.asarray(cells.total))):
        raise RatesError("the number of cells is infinite", remedy="give a finite number of cells to start from")
    _check_events(cells, rates, grid, engine)
    most = float(np.max(np.asarray(cells.total, float)))
    if engine == "ssa" and most > MOST_CELLS:
        raise UsageError(f"{most:.3g} cells are too many for the exact engine", remedy="use the engine leap")
