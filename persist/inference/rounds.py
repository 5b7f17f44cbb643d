"""NUTS in blocks of all chains: after every block of the warm-up, what each chain learned is shared with the others.

The kernel is NumPyro's (`numpyro.infer.hmc.hmc`). Chains that adapt alone, on some hundred draws, end with step sizes that
differ by ten times. Here all chains have one step size, the geometric mean of what each would take, and one metric, the
covariance of the later half of all draws so far; only the first
block runs with the normal approximation at each chain's start.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.infer import hmc as numpyro_hmc
from numpyro.infer.util import ParamInfo

from persist.inference.target import problem

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.target import Target

BLOCK = 50
TOGETHER = 2
"""Chains that run in one compiled step; others run beside them on their own threads. Fixed, so that numbers are too."""
MAX_DEPTH = (6, 9)  # in warm-up, after
FIRST_STEP = 0.1
CAUTION = 0.75
"""Share of the adapted step size with which draws are made: narrow places that the warm-up did not visit are entered then."""
ADAPTED = 1000
"""The counter from which a state adapts no more; NumPyro's own windows, at 75 and later, are never reached in a block."""

_COMPILING = Lock()
"""Held where a program may have to be compiled, so that threads do not all compile the same one."""


class Effort(NamedTuple):
    """How long to sample: chains, warm-up and kept draws per chain, and the acceptance that the step size aims at."""

    chains: int
    warmup: int
    draws: int
    accept: float = 0.98


class Report(NamedTuple):
    """Where a run is: ``done`` of ``total`` iterations of this patient."""

    done: int
    total: int


@cache
def _kernel(target: Target, accept: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled start and block of NUTS over chains: ``begin(keys, starts, step_size, spread, case)``, ``block(state, case)``.

    A state adapts its step size until its counter is set to `ADAPTED`.
    """
    potential, _ = problem(target)
    init, sample = numpyro_hmc.hmc(potential_fn_gen=potential, algo="NUTS")

    def begin(key: Array, start: ParamInfo, step_size: Array, spread: Array, case: Case) -> Any:
        return init(
            start,
            ADAPTED,
            step_size=step_size,
            inverse_mass_matrix=spread,
            dense_mass=True,
            adapt_mass_matrix=False,
            target_accept_prob=accept,
            max_tree_depth=MAX_DEPTH,
            model_args=(case,),
            rng_key=key,
        )

    def block(state: Any, case: Case) -> tuple[Any, Any]:
        def step(at: Any, _: None) -> tuple[Any, Any]:
            after = sample(at, model_args=(case,))
            kept = (after.z, after.potential_energy, after.energy, after.num_steps, after.accept_prob, after.diverging)
            return after, kept

        return jax.lax.scan(step, state, length=BLOCK)

    return jax.jit(jax.vmap(begin, in_axes=(0, 0, None, 0, None))), jax.jit(jax.vmap(block, in_axes=(0, None)))


def _rounds(effort: Effort) -> tuple[int, int]:
    """Blocks of warm-up and of draws, each rounded up."""
    return max(1, -(-effort.warmup // BLOCK)), max(1, -(-effort.draws // BLOCK))


def iterations(effort: Effort) -> int:
    """Iterations a chain: warm-up and draws, each rounded up to whole blocks."""
    return BLOCK * sum(_rounds(effort))


class Rounds:
    """Blocks of one patient's chains, `TOGETHER` in a program and the programs on as many threads as there are cores."""

    def __init__(
        self, key: Array, target: Target, effort: Effort, case: Case, progress: Callable[[Report], None] | None
    ) -> None:
        self.begin, self.block = _kernel(target, effort.accept)
        self.key, self.case, self.chains = key, case, effort.chains
        self.counts, self.progress = _rounds(effort), progress
        self.step_size = FIRST_STEP
        self.pace: list[float] = []

    def warm(self, start: ParamInfo, spread: np.ndarray) -> list[Any]:
        """Adapt; the states, by program, from which to draw."""
        past: list[np.ndarray] = []
        states: list[Any] = []
        for number in range(self.counts[0]):
            keys = jax.random.split(jax.random.fold_in(self.key, number), self.chains)
            if past:
                half = np.concatenate(past[len(past) // 2 :])
                half = half if len(past) > 1 else half[len(half) // 2 :]
                spread = np.broadcast_to(_metric(half), spread.shape)
            states = self._each(partial(self._begin, keys, start, spread))
            states, rows = self._advance(states)
            past.append(_flat(rows[0]))
            self.step_size = _shared_step(states)
            start = _where(states)
        return states

    def draw(self, states: list[Any]) -> list[Any]:
        """Blocks of draws and statistics, each ``(chains, BLOCK, ...)``, at a share of the shared step size."""
        self.step_size *= CAUTION
        states = [_settled(state, self.step_size) for state in states]
        kept = []
        for _ in range(self.counts[1]):
            states, rows = self._advance(states)
            kept.append(rows)
        return kept

    def seconds(self) -> float:
        """Run time of all blocks, without compiling."""
        return float(np.sum(self.pace))

    def _begin(self, keys: Array, start: ParamInfo, spread: np.ndarray, mine: slice) -> Any:
        with _COMPILING:
            part = jax.tree.map(lambda leaf: leaf[mine], start)
            return self.begin(keys[mine], part, jnp.asarray(self.step_size), jnp.asarray(spread[mine]), self.case)

    def _advance(self, states: list[Any]) -> tuple[list[Any], Any]:
        """One block of every chain: the new states by program, and the rows of all chains ``(chains, BLOCK, ...)``."""
        programs = [_program(self.block, state, self.case) for state in states]
        began = time.perf_counter()
        done = self._each(
            lambda mine: _ready(programs[mine.start // TOGETHER](states[mine.start // TOGETHER], self.case))
        )
        self.pace.append(time.perf_counter() - began)
        if self.progress is not None:
            self.progress(Report(BLOCK * len(self.pace), BLOCK * sum(self.counts)))
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(part for _, part in done))
        return [state for state, _ in done], rows

    def _each(self, work: Callable[[slice], Any]) -> list[Any]:
        """``work`` for the chains of every program, on as many threads as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(threads.map(work, (slice(at, at + TOGETHER) for at in range(0, self.chains, TOGETHER))))


_PROGRAMS: dict[Any, Any] = {}


def _program(block: Any, state: Any, case: Case) -> Any:
    """The block compiled for arguments of these shapes: once, and before the threads start."""
    shapes = tuple((np.shape(leaf), jnp.result_type(leaf)) for leaf in jax.tree.leaves((state, case)))
    if (block, shapes) not in _PROGRAMS:
        _PROGRAMS[block, shapes] = block.lower(state, case).compile()
    return _PROGRAMS[block, shapes]


def _ready(result: Any) -> Any:
    """The same, once it has been computed."""
    return jax.block_until_ready(result)  # type: ignore[no-untyped-call]


def _flat(draws: Any) -> np.ndarray:
    """Draws of all chains and coordinates ``(BLOCK, chains, n)`` from a tree of ``(chains, BLOCK)``."""
    return np.stack([np.asarray(leaf).T for leaf in jax.tree.leaves(draws)], axis=-1)


def _metric(draws: np.ndarray) -> np.ndarray:
    """Covariance ``(n, n)`` of draws ``(..., n)``, shrunk towards its diagonal while there are few of them."""
    rows = draws.reshape(-1, draws.shape[-1])
    share = len(rows) / (len(rows) + 2.0 * rows.shape[1])
    spread = np.cov(rows.T)
    return np.asarray(share * spread + (1.0 - share) * np.diag(np.diag(spread)) + 1e-9 * np.eye(len(spread)))


def _shared_step(states: list[Any]) -> float:
    """Geometric mean over the chains of the step size that dual averaging has come to."""
    averages = np.concatenate([np.asarray(state.adapt_state.ss_state[1]) for state in states])
    return float(np.exp(averages.mean()))


def _settled(state: Any, step_size: float) -> Any:
    """The same state with this step size, which adapts no more."""
    sizes = jnp.full_like(state.adapt_state.step_size, step_size)
    adapted = state.adapt_state._replace(step_size=sizes)
    return state._replace(adapt_state=adapted, i=jnp.full_like(state.i, ADAPTED))


def _where(states: list[Any]) -> ParamInfo:
    """Where all chains stand: coordinates, energy, gradient, ``(chains,)``."""
    parts = [ParamInfo(state.z, state.potential_energy, state.z_grad) for state in states]
    return ParamInfo(*jax.tree.map(lambda *rows: jnp.concatenate(rows), *(tuple(part) for part in parts)))
