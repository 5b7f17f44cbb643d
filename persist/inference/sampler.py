"""NUTS for one patient: warm-up and draws in short blocks, so that progress can be shown and a run can be stopped.

The kernel is NumPyro's (`numpyro.infer.hmc.hmc`). Chains run side by side in one compiled step; the program depends only on
the padded sizes, so all patients of a cohort share it, and a patient's numbers do not depend on who else is fitted.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from functools import cache, partial
from threading import Lock
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer import hmc as numpyro_hmc
from numpyro.infer.util import ParamInfo, constrain_fn, potential_energy

from persist.inference.model import RESISTANT_END, model, sites
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
    warmup: int = 500
    draws: int = 500
    accept: float = 0.97


class Draws(NamedTuple):
    """Posterior draws ``(chains, draws)`` by name, what the sampler reported of them, the energies at which the search for
    starts ended, and the run time without compiling (the first block counts as the median one).
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    start_energy: np.ndarray
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
        return {name: value for name, value in values.items() if name != RESISTANT_END}

    return potential, constrain


@cache
def _kernel(target: Target, effort: Effort, stage: int) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled start and block of NUTS over chains: ``begin(keys, starts, case, spread)`` and ``block(state, case)``.

    Stage 0 adapts step size and metric; stage 1 adapts the step size to a given metric, then draws.
    """
    potential, _ = _problem(target)
    init, sample = numpyro_hmc.hmc(potential_fn_gen=potential, algo="NUTS")

    def begin(key: Array, start: ParamInfo, case: Case, spread: Array) -> Any:
        return init(
            start,
            (_first(effort), _second(effort))[stage],
            step_size=0.1,
            inverse_mass_matrix=spread,
            dense_mass=True,
            adapt_mass_matrix=stage == 0,
            target_accept_prob=effort.accept,
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

    shared_spread = (0, 0, None, None if stage else 0)
    return jax.jit(jax.vmap(begin, in_axes=shared_spread)), jax.jit(jax.vmap(block, in_axes=(0, None)))


def _second(effort: Effort) -> int:
    """Warm-up iterations of stage 1: a quarter, in whole blocks."""
    return BLOCK * max(1, round(effort.warmup / (4 * BLOCK)))


def _first(effort: Effort) -> int:
    """Warm-up iterations of stage 0, in whole blocks."""
    return max(BLOCK, BLOCK * -(-effort.warmup // BLOCK) - _second(effort))


def iterations(effort: Effort) -> int:
    """Iterations a chain: warm-up (both stages) and draws, each rounded up to whole blocks."""
    return _first(effort) + _second(effort) + BLOCK * -(-effort.draws // BLOCK)


def draw(
    key: Array, target: Target, effort: Effort, case: Case, progress: Callable[[Report], None] | None = None
) -> Draws:
    """Posterior draws of one patient; ``warmup`` and ``draws`` are rounded up to whole blocks of `BLOCK`.

    ``progress`` is called after every block.
    """
    _, constrain = _problem(target)
    pack = load_pack(target.pack, target.cells)
    location, scale = coordinates(pack, sites(pack, target.variant), case)
    flat, unflatten = ravel_pytree(location)
    slope = partial(_slope(target), case)
    search, run = jax.random.split(key)
    found = find_starts(search, slope, np.asarray(flat), np.asarray(ravel_pytree(scale)[0]), effort.chains)
    energy, bend = (part[: effort.chains] for part in slope(_lanes(found.point)))
    start = ParamInfo(jax.vmap(unflatten)(jnp.asarray(found.point)), energy, jax.vmap(unflatten)(bend))
    tell = _Tally(progress, iterations(effort))
    first, second = jax.random.split(run)
    warm = _stage(0, first, target, effort, case, start, jnp.asarray(found.spread), _first(effort), tell)
    half = [part[:, part.shape[1] // 2 :] for part in jax.tree.leaves(_joined(warm)[0])]
    last = ParamInfo(*(jax.tree.map(jnp.asarray, part) for part in _joined_states(warm)))
    count = _second(effort) + BLOCK * -(-effort.draws // BLOCK)
    runs = _stage(1, second, target, effort, case, last, jnp.asarray(_metric(half)), count, tell)
    z, *stats = jax.tree.map(lambda part: part[:, _second(effort) :], _joined(runs))
    values = jax.vmap(jax.vmap(partial(constrain, case)))(z)
    arrays = {name: np.asarray(value) for name, value in values.items()}
    step_size = np.concatenate([np.asarray(one.state.adapt_state.step_size) for one in runs])
    seconds = max(one.seconds for one in warm) + max(one.seconds for one in runs)
    return Draws(arrays, _named_stats(stats, step_size), found.energy, seconds)


def _metric(half: list[np.ndarray]) -> np.ndarray:
    """Covariance of the later warm-up draws of all chains together ``(n, n)``, a little shrunk; leaves ``(chains, draws)``."""
    draws = np.stack([part.ravel() for part in half])
    share = draws.shape[1] / (draws.shape[1] + 5.0)
    return np.asarray(share * np.cov(draws) + 1e-3 * (1.0 - share) * np.eye(len(draws)))


def _stage(
    stage: int,
    key: Array,
    target: Target,
    effort: Effort,
    case: Case,
    start: ParamInfo,
    spread: Array,
    count: int,
    tell: _Tally,
) -> list[_Run]:
    """``count`` iterations of all chains, `TOGETHER` in a program, on as many threads as there are cores."""
    begin, block = _kernel(target, effort, stage)
    keys = jax.random.split(key, effort.chains)

    def some(first: int) -> _Run:
        mine = slice(first, first + TOGETHER)
        with _COMPILING:
            state = begin(
                keys[mine], jax.tree.map(lambda part: part[mine], start), case, spread if stage else spread[mine]
            )
        return _run(block, state, case, count, partial(tell, stage, first))

    with ThreadPoolExecutor(os.cpu_count()) as threads:
        return list(threads.map(some, range(0, effort.chains, TOGETHER)))


def _joined(runs: list[_Run]) -> Any:
    """Draws and statistics of all chains, ``(chains, draws)``."""
    return jax.tree.map(lambda *parts: np.concatenate(parts), *(one.kept for one in runs))


def _joined_states(runs: list[_Run]) -> tuple[Any, Any, Any]:
    """Where all chains stand: coordinates, energy, gradient, ``(chains,)``."""
    parts = [(one.state.z, one.state.potential_energy, one.state.z_grad) for one in runs]
    joined = jax.tree.map(lambda *rows: np.concatenate(rows), *parts)
    return joined[0], joined[1], joined[2]


class _Run(NamedTuple):
    """What some chains gave: draws and statistics ``(chains, draws)``, the state they ended in, run time in seconds."""

    kept: Any
    state: Any
    seconds: float


def _run(block: Any, state: Any, case: Case, count: int, tell: Callable[[int], None]) -> _Run:
    """Iterations of some chains, block by block; the first block counts as the median one (it may compile)."""
    kept, pace = [], []
    for number in range(count // BLOCK):
        with _COMPILING if number == 0 else nullcontext():
            began = time.perf_counter()
            state, rows = jax.block_until_ready(block(state, case))  # type: ignore[no-untyped-call]
        kept.append(jax.tree.map(np.asarray, rows))
        pace.append(time.perf_counter() - began)
        tell(BLOCK)
    seconds = float(np.sum(pace[1:]) + min(pace[0], np.median(pace)))
    return _Run(jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept), state, seconds)


class _Tally:
    """Progress of chains that run on several threads: a patient is as far as the last of them."""

    def __init__(self, progress: Callable[[Report], None] | None, total: int) -> None:
        self.progress, self.total, self.shown = progress, total, 0
        self.done: dict[int, int] = {}
        self.before = 0
        self.stage = 0
        self.lock = Lock()

    def __call__(self, stage: int, who: int, more: int) -> None:
        """Note that the chains ``who`` did ``more`` iterations, and report where the slowest has moved."""
        with self.lock:
            if stage > self.stage:
                self.before, self.stage, self.done = self.shown, stage, {}
            self.done[who] = self.done.get(who, 0) + more
            slowest = self.before + min(self.done.values())
            if self.progress is not None and slowest > self.shown:
                self.shown = slowest
                self.progress(Report(slowest, self.total))


@cache
def _slope(target: Target) -> Callable[[Case, Array], tuple[Array, Array]]:
    """Compiled energy and gradient at `LANES` points ``(LANES, n)`` of flat unconstrained coordinates."""
    potential, _ = _problem(target)
    names = sorted(sites(load_pack(target.pack, target.cells), target.variant))

    def slope(case: Case, points: Array) -> tuple[Array, Array]:
        energy = potential(case)
        return jax.vmap(jax.value_and_grad(lambda at: energy(dict(zip(names, at, strict=True)))))(points)

    return jax.jit(slope)


def _lanes(points: np.ndarray) -> Array:
    """Points padded to `LANES` rows."""
    return jnp.asarray(np.pad(points, ((0, LANES - len(points)), (0, 0)), mode="edge"))


def _named_stats(stats: list[np.ndarray], step_size: np.ndarray) -> dict[str, np.ndarray]:
    """Sampler statistics under ArviZ's names, each ``(chains, draws)``."""
    potential, energy, steps, accept, diverging = stats
    return {
        "lp": -potential,
        "energy": energy,
        "n_steps": steps,
        "acceptance_rate": accept,
        "diverging": diverging,
        "step_size": np.broadcast_to(step_size[:, None], potential.shape).copy(),
    }
