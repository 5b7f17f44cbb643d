"""Batches: many trajectories cut into chunks that fit the cores, the devices and the memory.

A chunk is a number of lanes of one compiled program. On a CPU chunks are small enough for the caches near a core and run
on as many threads as there are cores; on a GPU one chunk is as large as its share of memory allows; where there are
several devices, each takes an equal part of every chunk (`jax.shard_map`). None of this changes a number: lane by lane,
the program looks at nothing but the lane.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.sharding import AxisType, PartitionSpec

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

LANES = {"leap": 1024, "ssa": 512, "tau": 512}
"""Most lanes of a chunk on a CPU."""

LEAST = 128
"""Lanes, steps and records are filled up to this times a power of 2, so that one compiled program serves many sizes."""

GPU_LANES = 2**19
"""Lanes of a chunk on a GPU."""

OVERHEAD = 100
"""Lanes that the parts of a chunk that do not depend on their number cost, about."""

MEMORY = {"cpu": 2**29, "gpu": 2**33}
"""Bytes that the records of all chunks that run at once may take."""


class Cut(NamedTuple):
    """How the work is cut: ``lanes`` of each chunk, how many chunks run at once, and how many devices share one."""

    lanes: int
    threads: int
    devices: int


def cut(number: int, engine: str, bytes_a_lane: int, leaps: np.ndarray | None = None) -> Cut:
    """The cut of so many trajectories of an engine, whose records take so many bytes each; ``leaps`` ``(number,)``, falling,
    what each of them takes in a step, where that differs: a chunk takes those of its first.
    """
    devices, on_cpu, cores = len(jax.devices()), jax.default_backend() == "cpu", os.cpu_count() or 1
    threads = cores if on_cpu and devices == 1 else 1
    room = MEMORY["cpu" if on_cpu else "gpu"] // (threads * max(bytes_a_lane, 1))
    most = max(LEAST, min(LANES[engine] if on_cpu else GPU_LANES, room))
    sizes = [LEAST << power for power in range(32) if LEAST << power <= most]

    def rounds(lanes: int) -> int:
        if leaps is None:
            return -(-number // (lanes * threads * devices)) * (lanes + OVERHEAD)
        chunks = leaps[:: lanes * devices]
        return max(int(np.max(chunks, initial=0)), -(-int(np.sum(chunks)) // threads)) * (lanes + OVERHEAD)

    return Cut(min(sizes, key=rounds) * devices, threads, devices)


def bucket(size: int) -> int:
    """The length of an array with room for so many steps, records or visits."""
    room = LEAST
    while room < size:
        room *= 2
    return room


def run[T](
    program: Callable[..., Any],
    static: tuple[tuple[str, Any], ...],
    number: int,
    how: Cut,
    lanes: Callable[[np.ndarray], Any],
    axes: Callable[[Any], tuple[int, ...]],
    shared: Any,
    finish: Callable[[np.ndarray, Any, Any], T],
) -> Iterator[T]:
    """Chunk by chunk in order, what ``finish(members, own, result)`` makes of them.

    ``program(own, shared, **static)`` is a compiled function that has the lanes first in all its results;
    ``lanes(members)`` is the pytree ``own`` of some trajectories, whose leaves have their lanes along ``axes(own)`` (one
    for each leaf; -1: all share it). The last chunk is filled up by repeating the last trajectory; ``result`` has only
    the ``members``, ``own`` all lanes.
    """

    def chunk(first: int) -> T:
        members = np.arange(first, min(first + how.lanes, number))
        own = lanes(np.minimum(np.arange(first, first + how.lanes), number - 1))
        go: Callable[..., Any] = partial(program, **dict(static))
        if how.devices > 1:
            go = _spread(program, static, axes(own), jax.tree.structure(own), how.devices)
        result = _once_at_first(go, own, shared, static)
        if jax.default_backend() == "cpu":  # views of the same memory: to cut these compiles nothing
            result = jax.tree.map(np.asarray, result)
        return finish(members, own, jax.tree.map(lambda lanes: lanes[: len(members)], result))

    starts = range(0, number, how.lanes)
    if how.threads == 1 or len(starts) == 1:
        yield from map(chunk, starts)
        return
    with ThreadPoolExecutor(how.threads) as threads:
        waiting: deque[Future[T]] = deque()
        for first in starts:
            waiting.append(threads.submit(chunk, first))
            if len(waiting) > how.threads:  # no more than one result waits for its reader
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


_compiled: set[Any] = set()
_compiling = threading.Lock()


def forget() -> None:
    """Count no program as compiled any more: what goes with `jax.clear_caches`."""
    _compiled.clear()


def _kind(own: Any, shared: Any, static: Any) -> Any:
    """What decides whether a program must be compiled."""
    leaves = jax.tree.leaves((own, shared))
    sorts = [(np.shape(leaf), str(getattr(leaf, "dtype", type(leaf)))) for leaf in leaves]
    return (static, jax.tree.structure((own, shared)), *sorts)


def _once_at_first(go: Callable[..., Any], own: Any, shared: Any, static: Any) -> Any:
    """The result of a chunk; the first of a kind runs while the others wait, lest each thread compile it for itself."""
    kind = _kind(own, shared, static)
    if kind not in _compiled:
        with _compiling:
            if kind not in _compiled:
                result = jax.block_until_ready(go(own, shared))  # type: ignore[no-untyped-call]
                _compiled.add(kind)
                return result
    return jax.block_until_ready(go(own, shared))  # type: ignore[no-untyped-call]


@lru_cache
def _spread(
    program: Callable[..., Any],
    static: tuple[tuple[str, Any], ...],
    axes: tuple[int, ...],
    structure: Any,
    devices: int,
) -> Callable[..., Any]:
    """The program with its lanes spread over several devices, compiled once for all of them."""
    mesh = jax.make_mesh((devices,), ("lane",), axis_types=(AxisType.Auto,))
    spec: Callable[..., PartitionSpec] = PartitionSpec
    along = [spec() if axis < 0 else spec(*[None] * axis, "lane") for axis in axes]
    specs = (jax.tree.unflatten(structure, along), spec())
    one = partial(program, **dict(static))
    return jax.jit(jax.shard_map(one, mesh=mesh, in_specs=specs, out_specs=spec("lane"), check_vma=False))
