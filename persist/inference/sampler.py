"""NUTS for one patient: warm-up and draws in short blocks, so that progress can be shown and a run can be stopped.

The kernel is NumPyro's (`numpyro.infer.hmc.hmc`). Chains run side by side in one compiled step; the program depends only on
the padded sizes, so all patients of a cohort share it, and a patient's numbers do not depend on who else is fitted.
"""

from __future__ import annotations

import time
from functools import cache, partial
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
MAX_DEPTH = (6, 9)  # in warm-up, after


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
    accept: float = 0.95


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
def _kernel(target: Target, effort: Effort) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Compiled start and block of NUTS: ``begin(keys, starts, case, spread)`` and ``block(state, case)``, over chains."""
    potential, _ = _problem(target)
    init, sample = numpyro_hmc.hmc(potential_fn_gen=potential, algo="NUTS")

    def begin(key: Array, start: ParamInfo, case: Case, mass: Array) -> Any:
        return init(
            start,
            effort.warmup,
            step_size=0.1,
            inverse_mass_matrix=mass,
            dense_mass=True,
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

    every = (0, 0, None, 0)
    return jax.jit(jax.vmap(begin, in_axes=every)), jax.jit(jax.vmap(block, in_axes=(0, None)))


def iterations(effort: Effort) -> int:
    """Iterations a chain: warm-up and draws, each rounded up to whole blocks."""
    return BLOCK * (-(-effort.warmup // BLOCK) - (-effort.draws // BLOCK))


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
    begin, block = _kernel(target, effort)
    state = begin(jax.random.split(run, effort.chains), start, case, jnp.asarray(found.spread))
    warm, total = -(-effort.warmup // BLOCK), iterations(effort) // BLOCK
    kept, pace = [], []
    for count in range(total):
        began = time.perf_counter()
        state, rows = block(state, case)
        if count >= warm:
            kept.append(jax.tree.map(np.asarray, rows))
        jax.block_until_ready(state)  # type: ignore[no-untyped-call]
        pace.append(time.perf_counter() - began)
        if progress is not None:
            progress(Report((count + 1) * BLOCK, total * BLOCK))
    z, *stats = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept)
    values = jax.vmap(jax.vmap(partial(constrain, case)))(z)
    seconds = float(np.sum(pace[1:]) + min(pace[0], np.median(pace)))
    arrays = {name: np.asarray(value) for name, value in values.items()}
    return Draws(arrays, _named_stats(stats, state), found.energy, seconds)


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


def _named_stats(stats: list[np.ndarray], state: Any) -> dict[str, np.ndarray]:
    """Sampler statistics under ArviZ's names, each ``(chains, draws)``."""
    potential, energy, steps, accept, diverging = stats
    step_size = np.asarray(state.adapt_state.step_size)[:, None]
    return {
        "lp": -potential,
        "energy": energy,
        "n_steps": steps,
        "acceptance_rate": accept,
        "diverging": diverging,
        "step_size": np.broadcast_to(step_size, potential.shape).copy(),
    }
