"""Hamiltonian Monte Carlo with many walkers in lockstep: one compiled trajectory serves all of them, at every temperature.

    H = beta U(x) + (1 - beta) U_0(x) + |p|^2 / 2,      x' = M p,  p' = -M^T grad,      M M^T = the metric (a covariance)

U is minus the log posterior density, U_0 that of a normal reference, ``beta`` from 0 to 1 the inverse temperature. All walkers
take the same number of leapfrog steps, drawn anew for every trajectory, so that none waits for another (Hoffman, Radul &
Sountsov 2021, proceedings.mlr.press/v130/hoffman21a.html); each has a step size of its own about the common one, and now and
then a much smaller one, with which it leaves places that are too narrow for the common one. A scalar program spends most of its
time on overhead: 32 walkers cost little more than four.
"""

from __future__ import annotations

import ctypes
import os
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.target import ReferenceLaw

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    Energy = Callable[..., Array]
    Across = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray]]

WALKERS = 16
"""Walkers of a chain. They start together (`inference.tempering`), apart from those of other chains."""

TOGETHER = 32
"""Walkers that run in one compiled program; others run beside them on their own threads. Fixed, so that numbers are too."""

JITTER = 0.2
"""Spread of the log of a walker's step size about the common one."""

SMALL, SMALLER = 0.2, 0.2
"""Share of the trajectories with small steps, and how small over the common one."""

TRIES = 2
"""Steps across that a walker tries after a trajectory, where there are any (`inference.across`); each costs about a leap."""

DIVERGENT = 1000.0
"""Error of H beyond which a trajectory counts as divergent."""

WALL = 1e10
"""Energy of a point whose density is no number or 0."""

MOST_LEAPS = 128


class Crowd(NamedTuple):
    """Where walkers are: points ``(lanes, n)`` and, of each, energy U and that of the reference ``(lanes,)``."""

    point: Any
    energy: Any
    reference: Any


class Moved(NamedTuple):
    """What a trajectory did, each ``(lanes,)``: probability of acceptance, whether it diverged, whether steps were the common
    ones, the Hamiltonian at its start.
    """

    accept: np.ndarray
    diverging: np.ndarray
    common: np.ndarray
    hamiltonian: np.ndarray


class Stride(NamedTuple):
    """How walkers move: root M of the metric ``(n, n)``, common step size, longest trajectory in time of whitened space."""

    root: np.ndarray
    step: float
    time: float


class Walkers:
    """The walkers of one patient: `TOGETHER` in a program, the programs on as many threads as there are cores.

    ``energy(case, point)`` is minus the log density ``()`` at a point ``(n,)``; ``case`` is a tree of arrays. Programs are
    compiled once for each function and shapes of the case, so the same function must be given for all patients. ``across``: a
    step that walkers try besides, after every trajectory (`inference.across`).
    """

    def __init__(
        self,
        seed: int,
        energy: Energy,
        case: Any,
        reference: ReferenceLaw,
        lanes: int,
        across: Across | None = None,
    ) -> None:
        self.rng = np.random.default_rng(seed)
        self.case, self.reference, self.lanes, self.across = case, reference, lanes, across
        self.device = jax.config.jax_default_device  # of this thread; the walkers' own threads have to be told
        self.run = _program(energy, case, len(reference.location), self.device)
        self.leaps = 0

    def start(self) -> Crowd:
        """Walkers drawn from the reference."""
        shape = (self.lanes, len(self.reference.location))
        return self.at(self.reference.location + self.reference.scale * self.rng.standard_normal(shape))

    def at(self, point: np.ndarray) -> Crowd:
        """Walkers at given points ``(lanes, n)``."""
        nowhere = np.zeros(self.lanes)
        return self.move(Crowd(point, nowhere, nowhere), Stride(np.eye(point.shape[1]), 0.0, 0.0))[0]

    def move(self, crowd: Crowd, stride: Stride, beta: float = 1.0) -> tuple[Crowd, Moved]:
        """One trajectory of every walker at inverse temperature ``beta``, accepted or not."""
        shape = crowd.point.shape
        momentum = self.rng.standard_normal(shape)
        common = self.rng.uniform(size=shape[0]) >= SMALL
        size = stride.step * np.exp(JITTER * self.rng.standard_normal(shape[0])) * np.where(common, 1.0, SMALLER)
        leaps = self._leaps(stride)
        self.leaps += leaps
        before, after, error, level = self._each(crowd.point, momentum, size, stride.root, leaps, beta)
        accept = np.exp(-np.clip(np.where(np.isfinite(error), error, np.inf), 0.0, None))
        taken = self.rng.uniform(size=shape[0]) < accept
        chosen = _chosen(taken, after, before)
        if self.across is not None and leaps:
            for _ in range(TRIES):
                chosen = self._stepped(chosen, self.across, beta)
        return chosen, Moved(accept, np.asarray(~(error < DIVERGENT)), common, level)

    def _stepped(self, crowd: Crowd, across: Across, beta: float) -> Crowd:
        """Walkers after a step ``across``, accepted or not."""
        there, grown = across(self.rng, crowd.point)
        still, none = np.zeros_like(there), np.zeros(len(there))
        _, after, _, _ = self._each(there, still, none, np.eye(there.shape[1]), 0, beta)
        level = [beta * at.energy + (1.0 - beta) * at.reference for at in (crowd, after)]
        taken = np.log(self.rng.uniform(size=len(there))) < level[0] - level[1] + grown
        return _chosen(taken, after, crowd)

    def _leaps(self, stride: Stride) -> int:
        """Leapfrog steps of a trajectory, from a third of the longest time up to all of it."""
        if stride.time == 0.0:
            return 0
        return int(np.clip(round(stride.time / stride.step * self.rng.uniform(1.0 / 3.0, 1.0)), 1, MOST_LEAPS))

    def _each(
        self, point: np.ndarray, momentum: np.ndarray, size: np.ndarray, root: np.ndarray, leaps: int, beta: float
    ) -> tuple[Crowd, Crowd, np.ndarray, np.ndarray]:
        """The program for `TOGETHER` walkers at a time, the last ones filled up; what comes out is of all of them."""
        more = -len(point) % TOGETHER
        rows = jax.tree.map(
            lambda part: np.pad(part, [(0, more)] + [(0, 0)] * (np.ndim(part) - 1), mode="edge"),
            (point, momentum, size),
        )
        shared = (self.case, self.reference, root, np.asarray(leaps), np.asarray(beta, float))

        def work(at: int) -> Any:
            with jax.default_device(self.device):
                mine = jax.tree.map(lambda part: jnp.asarray(part[at : at + TOGETHER]), rows)
                return jax.tree.map(np.asarray, self.run(*mine, *shared))

        with ThreadPoolExecutor(os.cpu_count()) as threads:
            parts = list(threads.map(work, range(0, len(point) + more, TOGETHER)))
        found: tuple[Crowd, Crowd, np.ndarray, np.ndarray] = jax.tree.map(
            lambda *leaves: np.concatenate(leaves)[: len(point)], *parts
        )
        return found


def _chosen(taken: np.ndarray, there: Crowd, here: Crowd) -> Crowd:
    """Walkers ``there`` where that was taken ``(lanes,)``, else ``here``."""
    pairs = zip(there, here, strict=True)
    return Crowd(*(np.where(taken.reshape(-1, *[1] * (new.ndim - 1)), new, old) for new, old in pairs))


def _trajectory(
    energy: Energy,
    point: Array,
    momentum: Array,
    size: Array,
    case: Any,
    reference: ReferenceLaw,
    root: Array,
    leaps: Array,
    beta: Array,
) -> tuple[Crowd, Crowd, Array, Array]:
    """Where walkers were and where the leapfrog takes them, the error of H, and H at the start; rows are walkers."""

    def level(x: Array) -> tuple[Array, tuple[Array, Array]]:
        found = energy(case, x)
        found = jnp.where(jnp.isfinite(found), found, WALL)
        plain = 0.5 * jnp.sum(((x - reference.location) / reference.scale) ** 2)
        return beta * found + (1.0 - beta) * plain, (found, plain)

    look = jax.vmap(jax.value_and_grad(level, has_aux=True))
    width = size[:, None]

    def leap(number: Array, state: Any) -> Any:
        """Number 0 only looks where it stands, so that the density is compiled once."""
        x, p, slope, _, first = state
        moves = number > 0
        p = p - 0.5 * width * slope
        x = x + jnp.where(moves, width * (p @ root.T), 0.0)
        (total, parts), bend = look(x)
        slope = jnp.where(jnp.isfinite(bend), bend, 0.0) @ root
        p = p - jnp.where(moves, 0.5 * width * slope, 0.0)
        now = (total + 0.5 * jnp.sum(p**2, axis=1), *parts)
        return x, p, slope, now, tuple(jnp.where(moves, old, new) for old, new in zip(first, now, strict=True))

    still = (jnp.zeros(len(size)),) * 3
    nothing = (point, momentum, jnp.zeros_like(point), still, still)
    x, _, _, last, first = jax.lax.fori_loop(0, leaps + 1, leap, nothing)
    return Crowd(point, first[1], first[2]), Crowd(x, last[1], last[2]), last[0] - first[0], first[0]


_PROGRAMS: dict[Any, Any] = {}
_COMPILING = Lock()
"""Held while a program is compiled, so that threads do not all compile the same one."""


def _program(energy: Energy, case: Any, size: int, device: Any) -> Any:
    """The trajectory compiled for points ``(size,)``, cases of these padded sizes and the device, once."""
    shapes = (size, device, *((np.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves(case)))
    with _COMPILING:
        if (energy, shapes) not in _PROGRAMS:
            rows = (jnp.zeros((TOGETHER, size)), jnp.zeros((TOGETHER, size)), jnp.ones(TOGETHER))
            reference = ReferenceLaw(np.zeros(size), np.ones(size))
            shared = (case, reference, np.eye(size), np.asarray(1), np.asarray(1.0))
            _PROGRAMS[energy, shapes] = _compiled(energy).lower(*rows, *shared).compile()
            _give_back()
    return _PROGRAMS[energy, shapes]


@cache
def _compiled(energy: Energy) -> Any:
    return jax.jit(lambda *given: _trajectory(energy, *given))


def _give_back() -> None:
    """Give memory that the compiler has used and freed back to the machine, where the C library keeps it (glibc): after three
    sizes of patients a third of all.
    """
    if sys.platform == "linux":
        trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
        if trim is not None:
            trim(0)


def root_of_metric(points: np.ndarray) -> np.ndarray:
    """Root ``(n, n)`` of the covariance of points ``(..., n)``, which is shrunk towards its diagonal while they are few."""
    rows = points.reshape(-1, points.shape[-1])
    share = len(rows) / (len(rows) + 2.0 * rows.shape[1])
    spread = np.cov(rows.T)
    shrunk = share * spread + (1.0 - share) * np.diag(np.diag(spread)) + 1e-9 * np.eye(len(spread))
    return np.asarray(np.linalg.cholesky(shrunk))
