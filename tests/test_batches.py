"""How the work is cut: threads, devices and memory change no number."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from functools import partial
from pathlib import Path

import jax
import numpy as np
import pytest

import laws
from persist.dynamics import batches
from persist.dynamics.checks import Method
from persist.dynamics.trajectories import numbers, simulate, sweep
from persist.treatment.schedule import grid
from persist.types import Cells, Exposure, Grid, Rates, Schedule

ROOT = Path(__file__).resolve().parent.parent
SPR = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02,
    tolerance_base=1e-4, tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
    capacity=2000.0,
)  # fmt: skip
GRID = Grid(np.ones(8), np.ones(8))
LEVEL = Exposure(np.ones(8), np.ones(8), np.zeros(8))
KEY = jax.random.key(1)


def test_memory_and_cores_decide_how_large_a_chunk_is() -> None:
    cores = os.cpu_count() or 1
    assert batches.cut(50, "leap", 100) == (batches.LEAST, cores, 1)
    assert batches.cut(10**6, "leap", 100).lanes == batches.LANES["leap"]
    assert batches.cut(10**6, "leap", batches.MEMORY["cpu"] // (300 * cores)).lanes == 256
    assert batches.cut(10**6, "ssa", 100).lanes == batches.LANES["ssa"]


def test_few_slow_trajectories_make_chunks_smaller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A chunk takes the leaps of its first: where a few need many, that is not to hold up a large chunk."""
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    few = np.sort(np.repeat([1, 64], [9900, 100]))[::-1]
    assert batches.cut(10_000, "leap", 100, np.ones(10_000, int)) == batches.cut(10_000, "leap", 100)
    assert batches.cut(10_000, "leap", 100, few).lanes < batches.cut(10_000, "leap", 100).lanes


def test_results_are_reduced_chunk_by_chunk_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(batches.LANES, "leap", 128)
    whole = simulate(KEY, Cells(900.0, 20.0, 5.0), SPR, GRID, LEVEL, trajectories=1000, max_step=1.0)

    def mean(members: np.ndarray, cells: Cells) -> tuple[int, int, float]:
        return int(members[0]), len(members), float(np.sum(cells.sensitive))

    args = (KEY, Cells(900.0, 20.0, 5.0), SPR, GRID, LEVEL, Method(max_step=1.0))
    parts = list(sweep(mean, *args, trajectories=1000))
    assert [part[:2] for part in parts] == [(128 * k, min(128, 1000 - 128 * k)) for k in range(8)]
    assert sum(part[2] for part in parts) == float(np.sum(whole.sensitive))


def test_a_step_keeps_its_numbers_however_time_is_cut_elsewhere() -> None:
    """A break at day 2.5 changes what happens from then on, and leaves every other step its random numbers."""
    args = (KEY, Cells(900.0, 20.0, 5.0), SPR)
    lengths = np.array([1.0, 1.0, 0.5, 0.5, 1.0, 1.0, 1.0, 1.0, 1.0])
    level = Exposure(np.ones(9), np.ones(9), np.zeros(9))
    plain = simulate(*args, GRID, LEVEL, trajectories=500, max_step=1.0)
    broken = simulate(*args, Grid(lengths, np.ones(9)), level, trajectories=500, max_step=1.0)
    np.testing.assert_array_equal(plain.total[:, :2], broken.total[:, :2])
    assert np.any(plain.total[:, 2] != broken.total[:, 3])
    last, same = np.asarray(plain.total[:, 7]), np.asarray(broken.total[:, 8])
    assert np.corrcoef(last, same)[0, 1] > 0.5
    other = simulate(jax.random.key(2), *args[1:], GRID, LEVEL, trajectories=500, max_step=1.0).total[:, 7]
    assert abs(np.corrcoef(last, np.asarray(other))[0, 1]) < 0.3


@pytest.mark.law
def test_steps_shorter_than_a_moment_have_numbers_of_their_own() -> None:
    """What is unforeseen in two steps is uncorrelated; were the same numbers under both, it would be the same."""
    gone, n = 0.3, 2000
    rates = SPR._replace(birth_s=0.0, kill_s=0.0, death_s=gone * 1e9, capacity=np.inf)
    level = Exposure(np.zeros(2), np.zeros(2), np.zeros(2))
    tiny = Grid(np.array([1e-9, 1e-9]), np.zeros(2))
    one, two = np.asarray(
        simulate(KEY, Cells(1000.0, 0.0, 0.0), rates, tiny, level, trajectories=n, max_step=1.0).sensitive
    ).T
    first, second = one - 1000.0 * np.exp(-gone), two - one * np.exp(-gone)
    laws.check_mean(first * second / (first.std() * second.std()), 0.0, what="correlation of two steps")
    laws.must_fail(lambda: laws.check_mean(first * (second + 0.2 * first) / (first.std() * second.std()), 0.0))


def test_plans_that_differ_for_a_time_share_all_other_steps() -> None:
    """Breaks off whole days leave the steps of other days what they are."""
    at = 720.3
    nodes = np.append(np.arange(at + 1.0, at + 365.0), at + 365.0)
    changed = Schedule(np.array([at + 60.5]), np.array([at + 365.0]), np.ones(1))
    plain = Schedule(np.array([at]), np.array([at + 365.0]), np.ones(1))
    one, other = (
        set(numbers(grid(plan, nodes, start=at, stop=at + 365.0, max_step=1.0)[0].length)) for plan in (plain, changed)
    )
    assert len(one - other) == 0
    assert len(other - one) == 1


def test_the_first_chunk_of_a_kind_compiles_alone() -> None:
    running, most, lock = 0, 0, threading.Lock()

    def program(own: jax.Array, shared: float) -> jax.Array:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running) if not batches._compiled & {kind} else most
        time.sleep(0.02)
        with lock:
            running -= 1
        return own

    own = np.zeros(3)
    kind = batches._kind(own, 0.0, ("here",))
    go = partial(batches._once_at_first, program, own, 0.0, ("here",))
    workers = [threading.Thread(target=go) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert most == 1


DEVICES = """
import jax, numpy as np, sys
jax.config.update("jax_enable_x64", True)
sys.path.insert(0, "tests")
from test_batches import GRID, KEY, LEVEL, SPR
from test_rules import Course, DAYS, followed
from persist.dynamics.trajectories import simulate
from persist.types import Cells, Exposure
print(len(jax.devices()))
found = {}
many = Cells(900.0 + np.arange(301.0), 20.0, 5.0)
own = jax.tree.map(lambda part: np.tile(part[:, None], (1, 301)), LEVEL)
for engine, level in (("leap", LEVEL), ("ssa", own), ("tau", LEVEL)):
    path = simulate(KEY, many, SPR, GRID, level, engine=engine, max_step=1.0)
    found |= {f"{engine} {state}": np.asarray(value) for state, value in path._asdict().items()}
visit = np.where(np.arange(DAYS) % 14 == 13, 0, -1)
path = followed(Course(np.ones(DAYS), np.ones(DAYS, bool), visit))
found |= {"course": path.course, "steered": np.asarray(path.cells.total), "on": path.days_on_drug}
np.savez(sys.argv[1], **found)
"""


@pytest.mark.slow
@pytest.mark.ci
def test_several_devices_give_the_same_numbers(tmp_path: Path) -> None:
    made = []
    for count in (1, 3):
        out = tmp_path / f"{count}.npz"
        flags = {"XLA_FLAGS": f"--xla_force_host_platform_device_count={count}", "PYTHONPATH": str(ROOT)}
        ran = subprocess.run(
            [sys.executable, "-c", DEVICES, str(out)], cwd=ROOT, env=os.environ | flags, capture_output=True, text=True
        )
        assert ran.returncode == 0, ran.stderr
        assert ran.stdout.strip() == str(count)
        made.append(np.load(out))
    assert set(made[0]) == set(made[1])
    for name in made[0]:
        np.testing.assert_array_equal(made[0][name], made[1][name])
