"""NUTS for one patient: warm-up and draws in short blocks, so that progress can be shown and a run can be stopped.

The kernel is NumPyro's (`numpyro.infer.hmc.hmc`). Chains run side by side in one compiled step; the program depends only on
the padded sizes, so all patients of a cohort share it, and a patient's numbers do not depend on who else is fitted.
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
from jax.flatten_util import ravel_pytree
from numpyro.infer import hmc as numpyro_hmc
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy

from persist.inference.coordinates import sites
from persist.inference.model import model, resistant_share, sampled, trace_curves
from persist.inference.priors import load_pack
from persist.inference.starts import LANES, coordinates, find_starts

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case

BLOCK = 50
TOGETHER = 2
"""Chains that run in one compiled step; others run beside them on their own threads. Fixed, so that numbers are too."""
MAX_DEPTH = (6, 9)  # in warm-up, after
FIRST_STEP = 0.1
ADAPTED = 1000
"""The counter from which a state adapts no more; NumPyro's own windows, at 75 and later, are never reached in a block."""


_COMPILING = Lock()
"""Held where a program may have to be compiled, so that threads do not all compile the same one."""


class Target(NamedTuple):
    """What is sampled: model variant, prior pack, entry of the cell scale, power of the observable."""

    variant: str
    pack: str
    cells: str
    power: float


class Effort(NamedTuple):
    """How long to sample: chains, warm-up and kept draws per chain, and the acceptance that the step size aims at."""

    chains: int = 4
    warmup: int = 400
    draws: int = 600
    accept: float = 0.98


class Draws(NamedTuple):
    """Posterior draws ``(chains, draws)`` by name, what the sampler reported of them, where the search for starts ended
    (energy and mean share of R over the visits, each ``(ends,)``, best first), and the run time without compiling (the
    first block counts as the median one).
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    start_energy: np.ndarray
    start_resistant: np.ndarray
    seconds: float


class Report(NamedTuple):
    """Where a run is: ``done`` of ``total`` iterations of this patient."""

    done: int
    total: int


@cache
def _problem(target: Target) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Potential (minus the log posterior density, in unconstrained coordinates) and constraining function of a target."""
    pack = load_pack(target.pack, target.cells)
    bound = partial(model, pack=pack, variant=target.variant, power=target.power)

    @jax.jit  # traced once, however often the sampler asks for it
    def energy(case: Case, z: Any) -> Array:
        value: Array = potential_energy(bound, (case,), {}, z)
        return value

    def potential(case: Case) -> Callable[[Any], Array]:
        return partial(energy, case)

    def constrain(case: Case, z: Any) -> Any:
        values = constrain_fn(bound, (case,), {}, z, return_deterministic=True)
        return {name: values[name] for name in sampled(pack, target.variant)}

    return potential, constrain


@cache
def _kernel(target: Target, accept: float) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled start and block of NUTS over chains: ``begin(keys, starts, step_size, spread, case)``, ``block(state, case)``.

    A state adapts its step size until its counter is set to `ADAPTED`.
    """
    potential, _ = _problem(target)
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


def draw(
    key: Array, target: Target, effort: Effort, case: Case, progress: Callable[[Report], None] | None = None
) -> Draws:
    """Posterior draws of one patient; ``warmup`` and ``draws`` are rounded up to whole blocks of `BLOCK`.

    ``progress`` is called after every block.
    """
    _, constrain = _problem(target)
    pack = load_pack(target.pack, target.cells)
    location, scale = coordinates(pack, sampled(pack, target.variant), case)
    flat, unflatten = ravel_pytree(location)
    slope = partial(_slope(target), case)
    search, run = jax.random.split(key)
    found = find_starts(search, slope, np.asarray(flat), np.asarray(ravel_pytree(scale)[0]), effort.chains)
    energy, bend = (part[: effort.chains] for part in slope(_lanes(found.point)))
    start = ParamInfo(jax.vmap(unflatten)(jnp.asarray(found.point)), energy, jax.vmap(unflatten)(bend))
    rounds = _Rounds(run, target, effort, case, progress)
    kept = rounds.draw(rounds.warm(start, found.spread))
    z, *stats = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept)
    values = jax.vmap(jax.vmap(partial(constrain, case)))(z)
    ends = jax.vmap(lambda end: constrain(case, unflatten(end)))(jnp.asarray(found.end))
    shares = np.asarray(resistant_share(trace_curves(ends, case, target.power), case))
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return Draws(arrays, _named_stats(stats, rounds.step_size), found.energy, shares, rounds.seconds())


class _Rounds:
    """Blocks of all chains, `TOGETHER` in a program and the programs on threads; after each, what was learned is shared.

    Chains that adapt alone, on some hundred draws, end with step sizes that differ by ten times. So all chains share one
    step size (the geometric mean of what each would take) and one metric (the covariance of the later half of all draws
    so far); only the first block runs with the normal approximation at each chain's start.
    """

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
            states = self._each(lambda mine, k=keys, s=start, m=spread: self._begin(k, s, m, mine))
            states, rows = self._advance(states)
            past.append(_flat(rows[0]))
            self.step_size = _shared_step(states)
            start = _where(states)
        return states

    def draw(self, states: list[Any]) -> list[Any]:
        """Blocks of draws and statistics, each ``(chains, BLOCK, ...)``, at the shared step size."""
        states = [_settled(state, self.step_size) for state in states]
        kept = []
        for _ in range(self.counts[1]):
            states, rows = self._advance(states)
            kept.append(rows)
        return kept

    def seconds(self) -> float:
        """Run time; the first block, which may compile, counts as the median one."""
        return float(np.sum(self.pace[1:]) + min(self.pace[0], np.median(self.pace)))

    def _begin(self, keys: Array, start: ParamInfo, spread: np.ndarray, mine: slice) -> Any:
        with _COMPILING:
            part = jax.tree.map(lambda leaf: leaf[mine], start)
            return self.begin(keys[mine], part, jnp.asarray(self.step_size), jnp.asarray(spread[mine]), self.case)

    def _advance(self, states: list[Any]) -> tuple[list[Any], Any]:
        """One block of every chain: the new states by program, and the rows of all chains ``(chains, BLOCK, ...)``."""
        began = time.perf_counter()
        if not self.pace:  # compile once, not on every thread
            jax.block_until_ready(self.block(states[0], self.case))
        done = self._each(lambda mine: jax.block_until_ready(self.block(states[mine.start // TOGETHER], self.case)))
        self.pace.append(time.perf_counter() - began)
        if self.progress is not None:
            self.progress(Report(BLOCK * len(self.pace), BLOCK * sum(self.counts)))
        rows = jax.tree.map(lambda *parts: np.concatenate(parts), *(part for _, part in done))
        return [state for state, _ in done], rows

    def _each(self, work: Callable[[slice], Any]) -> list[Any]:
        """``work`` for the chains of every program, on as many threads as there are cores."""
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            return list(threads.map(work, (slice(at, at + TOGETHER) for at in range(0, self.chains, TOGETHER))))


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


@cache
def _slope(target: Target) -> Callable[[Case, Array], tuple[Array, Array]]:
    """Compiled energy and gradient at `LANES` points ``(LANES, n)`` of flat unconstrained coordinates."""
    potential, _ = _problem(target)
    names = sorted(sites(sampled(load_pack(target.pack, target.cells), target.variant)))

    def slope(case: Case, points: Array) -> tuple[Array, Array]:
        energy = potential(case)
        return jax.vmap(jax.value_and_grad(lambda at: energy(dict(zip(names, at, strict=True)))))(points)

    return jax.jit(slope)


def _lanes(points: np.ndarray) -> Array:
    """Points padded to `LANES` rows."""
    return jnp.asarray(np.pad(points, ((0, LANES - len(points)), (0, 0)), mode="edge"))


def _named_stats(stats: list[np.ndarray], step_size: float) -> dict[str, np.ndarray]:
    """Sampler statistics under ArviZ's names, each ``(chains, draws)``."""
    potential, energy, steps, accept, diverging = stats
    return {
        "lp": -potential,
        "energy": energy,
        "n_steps": steps,
        "acceptance_rate": accept,
        "diverging": diverging,
        "step_size": np.full(potential.shape, step_size),
    }
