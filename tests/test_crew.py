"""Whoever does the work, it comes to the same; what cannot be done is reported and the rest goes on."""

from __future__ import annotations

import os
import sys
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest

from persist.errors import FitError, UsageError
from persist.inference import crew
from persist.inference.crew import LOCAL, Failure, each, tried

JOBS = [(3,), (-1,), (5,), (8,)]


def root(number: int) -> float:
    """A piece of work in JAX; there is none for negative numbers."""
    if number < 0:
        raise FitError("no root", where="starts", remedy="give a number over 0")
    return float(jnp.sqrt(jnp.asarray(number, float)))


def once(folder: str) -> int:
    """Ends the process that works on it, the first time."""
    mark = Path(folder) / "begun"
    if not mark.exists():
        mark.write_text("")
        os._exit(1)
    return 7


def done(jobs: list, **how: object) -> dict:
    return dict(each(root, jobs, **how))  # type: ignore[arg-type]


def test_a_piece_that_fails_is_reported_in_its_place() -> None:
    found = done(JOBS)
    assert found[1] == Failure("no root", "starts", "give a number over 0")
    assert [found[place] for place in (0, 2, 3)] == [root(number) for number in (3, 5, 8)]


def test_other_errors_are_faults_of_ours() -> None:
    with pytest.raises(TypeError):
        tried(root, "three")


def test_devices_give_the_same_numbers_and_each_works_on_one_piece_at_a_time() -> None:
    """Two stand-ins for devices, which are this one; float64 reaches their threads too."""
    at_work, most, lock = [0], [0], threading.Lock()

    def watched(number: int) -> float:
        with lock:
            at_work[0] += 1
            most[0] = max(most[0], at_work[0])
        found = root(number)
        with lock:
            at_work[0] -= 1
        return found

    both = dict(crew._on_devices(watched, [(n,) for n in range(20)], jax.local_devices() * 2))
    assert both == {number: root(number) for number in range(20)}
    assert most[0] <= 2
    assert dict(crew._on_devices(root, JOBS, jax.local_devices() * 2)) == done(JOBS)


def test_without_dask_it_is_said(monkeypatch) -> None:
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(UsageError, match="Dask is not installed"):
        done(JOBS, scheduler=LOCAL)


class TestDask:
    """On workers of our own."""

    @pytest.fixture(autouse=True)
    def _dask(self, monkeypatch) -> None:
        pytest.importorskip("distributed", reason="the extra dask is not installed")
        here = str(Path(__file__).resolve().parent)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([here, os.environ.get("PYTHONPATH", "")]))

    def test_it_comes_to_the_same(self) -> None:
        assert done(JOBS, scheduler=LOCAL) == done(JOBS)

    def test_a_piece_whose_worker_dies_is_done_by_another(self, tmp_path) -> None:
        assert dict(each(once, [(str(tmp_path),)], LOCAL)) == {0: 7}
        assert (tmp_path / "begun").exists()

    def test_an_address_where_none_answers_is_said(self) -> None:
        with pytest.raises(UsageError, match="no Dask scheduler answers at tcp"):
            done(JOBS, scheduler="tcp://127.0.0.1:1")
