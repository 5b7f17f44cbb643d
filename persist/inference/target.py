"""The posterior of one patient as functions of the sampler's coordinates, compiled once for all patients of a padded size."""

from __future__ import annotations

from functools import cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
from numpyro.infer.util import constrain_fn, potential_energy

from persist.inference.coordinates import sites
from persist.inference.model import model, sampled
from persist.inference.priors import load_pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case


class Target(NamedTuple):
    """What is sampled: model variant, prior pack, entry of the cell scale, power of the observable."""

    variant: str
    pack: str
    cells: str
    power: float


@cache
def problem(target: Target) -> tuple[Callable[..., Any], Callable[..., Any]]:
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
def named(target: Target) -> Callable[[Case, Any], dict[str, Array]]:
    """Compiled map from unconstrained coordinates to the sampled parameters by name, all ``(chains, draws)``."""
    _, constrain = problem(target)
    return jax.jit(jax.vmap(jax.vmap(constrain, in_axes=(None, 0)), in_axes=(None, 0)))


@cache
def slopes(target: Target) -> Callable[[Case, Array], tuple[Array, Array]]:
    """Compiled energy and gradient at `LANES` points ``(LANES, n)`` of flat unconstrained coordinates."""
    potential, _ = problem(target)
    names = sorted(sites(sampled(load_pack(target.pack, target.cells), target.variant)))

    def slope(case: Case, points: Array) -> tuple[Array, Array]:
        energy = potential(case)
        return jax.vmap(jax.value_and_grad(lambda at: energy(dict(zip(names, at, strict=True)))))(points)

    return jax.jit(slope)
