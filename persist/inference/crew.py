"""Who does the work: pieces one after another here, beside each other on several devices, or on Dask workers.

A piece of work (a patient, a landmark) is a function of its arguments alone, and random numbers hang on names, so whoever does
it comes to the same numbers. A piece that cannot be done is reported as a `Failure`, and the rest goes on; a Dask worker that
dies has its piece done by another.
"""

from __future__ import annotations

import logging
import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from queue import SimpleQueue
from typing import TYPE_CHECKING, Any, NamedTuple

import jax

from persist.errors import FitError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    Work = Callable[..., Any]

LOCAL = "local"
"""The address that asks for workers of our own on this machine."""

RETRIES = 2
"""How often a piece is given to another Dask worker where one died."""


class Failure(NamedTuple):
    """Why a piece could not be done, as of `FitError`."""

    what: str
    where: str
    remedy: str


def each(work: Work, jobs: list[tuple[Any, ...]], scheduler: str | None = None) -> Iterator[tuple[int, Any]]:
    """The place of each job and what ``work(*job)`` returned, or its `Failure`, in the order in which they are finished.

    ``scheduler``: the address of a Dask scheduler, or `LOCAL`; None: this process, on all its devices.
    """
    if scheduler is not None and jobs:
        yield from _on_dask(work, jobs, scheduler)
    elif len(jax.local_devices()) > 1:
        yield from _on_devices(work, jobs, jax.local_devices())
    else:
        for place, job in enumerate(jobs):
            yield place, tried(work, *job)


def tried(work: Work, *job: Any) -> Any:
    """What a piece comes to, or its `Failure`."""
    try:
        return work(*job)
    except FitError as error:
        return Failure(error.what, error.where, error.remedy)


def _on_devices(work: Work, jobs: list[tuple[Any, ...]], devices: list[Any]) -> Iterator[tuple[int, Any]]:
    """A thread a device; each takes the next piece when it is done with one."""
    free: SimpleQueue[Any] = SimpleQueue()
    for device in devices:
        free.put(device)

    def run(job: tuple[Any, ...]) -> Any:
        device = free.get()
        try:
            with jax.default_device(device):
                return tried(work, *job)
        finally:
            free.put(device)

    with ThreadPoolExecutor(len(devices)) as threads:
        places = {threads.submit(run, job): place for place, job in enumerate(jobs)}
        for future in as_completed(places):
            yield places[future], future.result()


def _on_dask(work: Work, jobs: list[tuple[Any, ...]], address: str) -> Iterator[tuple[int, Any]]:
    """Pieces on the workers of a Dask cluster."""
    distributed = _distributed()
    with _client(distributed, address, len(jobs)) as client:
        futures = [client.submit(_there, work, job, pure=False, retries=RETRIES) for job in jobs]
        places = {future.key: place for place, future in enumerate(futures)}
        for future, result in distributed.as_completed(futures, with_results=True):
            yield places[future.key], result


def _there(work: Work, job: tuple[Any, ...]) -> Any:
    """A piece in a worker's process, which has JAX as it comes: float64 in all its threads, those of the walkers too."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    return tried(work, *job)


def _distributed() -> Any:
    try:
        import distributed
    except ImportError:
        remedy = 'install it (`pip install "persist-oncology[dask]"`), or leave --scheduler out'
        raise UsageError("Dask is not installed", where="--scheduler", remedy=remedy) from None
    return distributed


def _client(distributed: Any, address: str, jobs: int) -> Any:
    """A client of the scheduler at an address; `UsageError` where none answers. Of our own workers, one a core."""
    if address == LOCAL:
        workers = min(os.cpu_count() or 1, jobs)
        quiet = {"dashboard_address": None, "silence_logs": logging.ERROR}  # not that workers took long to end
        return distributed.Client(n_workers=workers, threads_per_worker=1, **quiet)
    try:
        return distributed.Client(address, timeout="10s")
    except (OSError, ValueError) as error:
        remedy = f"start one with `dask scheduler`, give its address (tcp://HOST:8786), or write {LOCAL}"
        raise UsageError(
            f"no Dask scheduler answers at {address} ({error})", where="--scheduler", remedy=remedy
        ) from None
