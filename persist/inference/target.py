"""The posterior of one patient as functions of the sampler's coordinates, compiled once for all patients of a padded size.

Coordinates are flat, ``(n,)``: the sites of the model in alphabetical order.
"""

from __future__ import annotations

from functools import cache, partial
from threading import RLock
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from numpyro.infer.util import constrain_fn, potential_energy

from persist.inference.coordinates import sites, starting_range
from persist.inference.fate import SIZE
from persist.inference.model import model, sampled
from persist.inference.population import Polynomials, Population, polynomials, scores, shared
from persist.inference.priors import load_pack

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack


TRACING = RLock()
"""Held while NumPyro runs the model, to compile it: its handlers stand in one list for all threads."""


class Target(NamedTuple):
    """What is sampled: model variant, prior pack, entry of the cell scale, power of the observable, and whether the ``chance``
    of the resistant clone's size is (`fate.by_chance`), and when a ``doubtful`` stop was (`treatment.doubt`).
    """

    variant: str
    pack: str
    cells: str
    power: float
    chance: bool = True
    doubtful: bool = False

    @property
    def entries(self) -> Pack:
        """The pack of this name."""
        return load_pack(self.pack, self.cells)

    @property
    def names(self) -> tuple[str, ...]:
        """The sampled parameters, in order."""
        return sampled(self.entries, self.variant, self.doubtful)


class Member(NamedTuple):
    """A patient as the sampler reads it: what is sampled, and the case."""

    patient_id: str
    target: Target
    case: Case


class ReferenceLaw(NamedTuple):
    """The normal law of independent coordinates from which tempering starts: location and scale, each ``(n,)``."""

    location: np.ndarray
    scale: np.ndarray


@cache
def problem(target: Target) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """Potential (minus the log posterior density, by site, in unconstrained coordinates) and constraining function."""
    bound = partial(model, pack=target.entries, variant=target.variant, power=target.power, chance=target.chance)

    @jax.jit  # traced once, however often the sampler asks for it
    def energy(case: Case, z: Any) -> Array:
        with TRACING:
            value: Array = potential_energy(bound, (case,), {}, z)
        return value

    def potential(case: Case) -> Callable[[Any], Array]:
        return partial(energy, case)

    def constrain(case: Case, z: Any) -> Any:
        with TRACING:
            values = constrain_fn(bound, (case,), {}, z, return_deterministic=True)
        return {name: values[name] for name in (*target.names, *((SIZE,) if SIZE in values else ()))}

    return potential, constrain


def order(target: Target) -> tuple[str, ...]:
    """Sites in the order of flat coordinates."""
    return tuple(sorted(sites(target.names, target.chance)))


def by_site(target: Target, point: Array) -> dict[str, Array]:
    """Flat coordinates ``(n,)`` by site."""
    return dict(zip(order(target), point, strict=True))


@cache
def flat_potential(target: Target) -> Callable[..., Array]:
    """Minus the log posterior density ``()`` at flat coordinates ``(n,)``."""
    potential, _ = problem(target)

    def at(case: Case, point: Array) -> Array:
        found: Array = potential(case)(by_site(target, point))
        return found

    return at


def ready(case: Case) -> Case:
    """The case for those who ask often: its population, if there is any, as polynomials."""
    law = case.population
    if not isinstance(law, Population) or not len(law.mean):
        return case
    return case._replace(population=Polynomials(*map(np.asarray, polynomials(law))))


@cache
def scored(target: Target) -> Callable[[Case, Array], Array]:
    """Compiled map from flat coordinates ``(lanes, n)`` to scores ``(lanes, k)`` (`inference.population`)."""
    pack, names = target.entries, shared(target.names)

    def at(case: Case, point: Array) -> Array:
        return scores(named_at(target, case, point), pack, names)

    return jax.jit(jax.vmap(at, in_axes=(None, 0)))


def named_at(target: Target, case: Case, point: Array) -> dict[str, Array]:
    """The sampled parameters ``()`` by name at flat coordinates ``(n,)``."""
    _, constrain = problem(target)
    found: dict[str, Array] = constrain(case, by_site(target, point))
    return found


@cache
def named(target: Target) -> Callable[[Case, Any], dict[str, Array]]:
    """Compiled map from flat coordinates ``(chains, draws, n)`` to the sampled parameters by name, ``(chains, draws)``."""
    at = partial(named_at, target)
    return jax.jit(jax.vmap(jax.vmap(at, in_axes=(None, 0)), in_axes=(None, 0)))


def reference(target: Target, case: Case) -> ReferenceLaw:
    """About the prior in flat coordinates, as a normal law: where tempering starts."""
    entries = target.entries.every
    own = starting_range(target.names, target.entries)
    shift = {"settled_burden": float(case.log_largest), "burden_0": float(case.log_first)}
    reach = [own[site] if site in own else (entries[site].location, entries[site].scale) for site in order(target)]
    location = [at + shift.get(site, 0.0) for site, (at, _) in zip(order(target), reach, strict=True)]
    return ReferenceLaw(np.array(location), np.array([width for _, width in reach]))
