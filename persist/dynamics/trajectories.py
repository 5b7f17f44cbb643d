"""Trajectories: cells followed along a grid by any of the engines; the checked doors to `paths`.

`simulate` returns the record of all trajectories, `sweep` what is made of it chunk by chunk, so that memory does not
grow with their number; `steered` lets a rule set the dose of each path. The random numbers of a trajectory depend on its
key and number alone, so at a given step it comes out the same however many others run beside it and however the work is
cut. (Where the step of the leap is left to `stepsize.choose`, the fastest rates of a call decide it for all.)
"""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics import batches, sampling
from persist.dynamics.batches import bucket
from persist.dynamics.checks import Method, check, check_potency, count
from persist.dynamics.paths import Course, Engine, Lanes, Pace, Steered, Steps, follow, steer
from persist.dynamics.reactions import REACTIONS
from persist.dynamics.stepsize import choose, least
from persist.errors import UsageError
from persist.keys import moments, numbered
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from jax import Array
    from jax.typing import ArrayLike

    from persist.dynamics.reactions import Reactions


FOLLOWED, RULED = 8 * 3, 8 * 5
"""Bytes of one record of a trajectory, without a rule and under one."""


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
    return Cells(*[jnp.concatenate(states) for states in zip(*parts, strict=True)])


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
    check(cells, rates, grid, method)
    check_potency(rates, exposure.potency)
    number = count(cells, rates, exposure, trajectories)
    steps, records = _padded(grid, record)
    level = jax.tree.map(lambda part: _extended(part, len(steps.length), None), exposure)
    unknown = method.engine == "leap" and method.max_step is None
    substeps = choose(cells, rates, grid, exposure).substeps if unknown else _leaps(rates, grid, method)
    pace = Pace(substeps, method.exact_below)
    axes = (0, *_axes(0, (cells, rates)), *_axes(1, level))
    static = (("records", records), ("engine", Engine(method.engine, method.exact_below > 0, method.table)))
    recorded = int(np.sum(_marks(grid, record)))

    def finish(members: np.ndarray, _: Any, path: Cells) -> T:
        return reduce(members, Cells(*[_first(state, recorded) for state in path]))

    how = batches.cut(number, method.engine, FOLLOWED * records)
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
    leaps: np.ndarray | None = None,
) -> Iterator[T]:
    """`sweep` for paths whose dose follows a ``rule`` on visit days (`paths.steer`).

    ``lanes(members)`` is asked for what some trajectories have of their own, chunk by chunk, and always has the same
    structure; ``plan`` is along the grid. ``reduce(members, lanes, path)`` gets it back (with lanes beyond the members
    where the last chunk was filled up). ``rule`` is a function of a module (each is compiled once); what it compares with
    stands in the memory of the lanes (`paths.Remembers`). The step of the leap must be named, since the exposures to come are
    not known: by the method, or as the ``leaps`` ``(n_trajectories,)`` of each trajectory in each step of the grid. Then those
    with most leaps come first, together, lest they hold up others; each has the numbers that it has anyway.
    """
    if method.engine == "leap" and method.max_step is None and leaps is None:
        raise UsageError("no longest step for paths under a rule", remedy="name max_step, such as 1.0 (days)")
    steps, records = _padded(grid, record)
    size = len(steps.length)
    along = Course(
        dose=_extended(plan.dose, size, None),
        ruled=_extended(plan.ruled, size, None),
        visit=_extended(plan.visit, size, -1),
        partner=None if plan.partner is None else _extended(plan.partner, size, None),
    )
    engine = Engine(method.engine, method.exact_below > 0, method.table)
    static = (("rule", rule), ("records", records), ("engine", engine))
    same = _leaps(lanes(np.arange(1)).rates, grid, method) if leaps is None else None
    order = np.arange(trajectories) if leaps is None else np.argsort(-leaps, kind="stable")
    recorded = int(np.sum(_marks(grid, record)))

    def own(places: np.ndarray) -> tuple[Array, Lanes, Any]:
        given = lanes(members := order[places])
        check(given.cells, given.rates, grid, method)
        check_potency(given.rates, given.potency)
        return _streams(key, members), given, same if leaps is None else leaps[members]

    def axes(own: tuple[Array, Lanes, Any]) -> tuple[int, ...]:
        return (0, *_axes(0, own[1][:4]), *_axes(1, own[1].seen), *_axes(0, own[1][5:]), *_axes(0, own[2]))

    def finish(places: np.ndarray, own: tuple[Array, Lanes, Any], path: Steered) -> T:
        seen = Cells(*[_first(state, recorded) for state in path.cells])
        course, dose = _first(path.course, recorded), _first(path.dose, recorded)
        return reduce(order[places], own[1], path._replace(cells=seen, course=course, dose=dose))

    how = batches.cut(trajectories, method.engine, RULED * records, None if leaps is None else leaps[order])
    return batches.run(_steer, static, trajectories, how, own, axes, (steps, along, method.exact_below), finish)


@partial(jax.jit, static_argnames=("records", "engine"))
def _follow(own: Any, shared: Any, *, records: int, engine: Engine) -> Cells:
    (streams, cells, rates, exposure), (steps, pace) = own, shared
    return follow(streams, cells, rates, steps, exposure, pace, records=records, engine=engine)


@partial(jax.jit, static_argnames=("rule", "records", "engine"))
def _steer(own: Any, shared: Any, *, rule: Callable[..., Any], records: int, engine: Engine) -> Steered:
    (streams, lanes, substeps), (steps, plan, exact_below) = own, shared
    return steer(streams, lanes, steps, plan, Pace(substeps, exact_below), rule=rule, records=records, engine=engine)


def _own(key: Array, first: int, of: Any, axes: tuple[int, ...], members: np.ndarray) -> Any:
    """Streams, and what else some trajectories have of their own or share, for `batches.run`."""
    leaves, structure = jax.tree.flatten(of)
    split = [place for place, axis in enumerate(axes[1:]) if axis >= 0]
    mine = _taken(tuple(leaves[place] for place in split), members, axes=tuple(axes[1:][place] for place in split))
    for place, leaf in zip(split, mine, strict=True):
        leaves[place] = leaf
    return (_streams(key, first + members), *jax.tree.unflatten(structure, leaves))


@partial(jax.jit, static_argnames="axes")
def _taken(leaves: tuple[Any, ...], members: Any, *, axes: tuple[int, ...]) -> tuple[Array, ...]:
    """Of each leaf the ``members`` along its axis; compiled, since chunks are many and small."""
    return tuple(jnp.take(jnp.asarray(leaf), members, axis=axis) for leaf, axis in zip(leaves, axes, strict=True))


@jax.jit
def _streams(key: Array, numbers: Any) -> Array:
    """The stream of each of some trajectories of a key."""
    return sampling.stream(numbered(key, jnp.asarray(numbers)))


def trial(number: int, engine: str, records: int, *, ruled: bool) -> int:
    """The fewest trajectories that are cut into chunks as large as those of ``number``, so that both run one program."""
    how = batches.cut(number, engine, (RULED if ruled else FOLLOWED) * bucket(records))
    return min(number, how.lanes * how.threads)


def _first(record: Any, count: int) -> Any:
    """The first ``count`` records ``(n, count)`` of a chunk, without holding on to the rest."""
    if count == record.shape[1]:
        return record
    return np.ascontiguousarray(record[:, :count]) if isinstance(record, np.ndarray) else record[:, :count]


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
    parts = ((length, 0.0), (place, records), (numbers(length), 0))
    return Steps(*(_extended(part, size, fill) for part, fill in parts)), records


def numbers(length: np.ndarray) -> np.ndarray:
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
