"""A new visit: the posterior of an earlier fit carried over to the longer series of the same patient, in seconds.

Draws of the earlier posterior are weighed by what the new values make of them,

    log w = -U(x) + U'(x') + log |dx / dx'|,      x' the earlier coordinates, x those of the longer series,

resampled (Chopin 2002, 10.1093/biomet/89.3.539), and moved by the same sampler as any fit, with a short warm-up: tempering is
spared. Where too few draws count after weighing, the earlier posterior does not reach the new one, and the patient is fitted
anew.
"""

from __future__ import annotations

import time
from functools import cache
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from persist.inference.across import across
from persist.inference.fate import SIZE, living_founders, log_sized
from persist.inference.inverse import located
from persist.inference.sampler import Draws, Effort, drawn_from
from persist.inference.target import flat_potential, named_at, ready, reference
from persist.inference.tempering import Tempered
from persist.inference.walkers import WALKERS, Stride, Walkers, root_of_metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.target import Member, Target

TAKEN = 1024
"""Draws of the earlier posterior that are weighed, at most."""

EFFECTIVE = 0.5
"""Draws that must count after weighing, over the walkers that begin from them."""

WARMUP = 160
"""Warm-up points of a chain."""

FIRST_STEP = 0.3


def update(key: Array, values: dict[str, np.ndarray], before: Member, now: Member, effort: Effort) -> Draws | None:
    """Posterior draws of a patient as seen ``now`` from those ``values`` (n_draws,) of the fit ``before``, or None where these
    do not reach it. `Draws.log_evidence` is NaN: what was weighed is not the prior.
    """
    if before.target != now.target:
        return None
    began = time.perf_counter()
    first, pick, last = jax.random.split(key, 3)
    points, log_weight = _weighed(first, values, before, now)
    lanes = effort.chains * WALKERS
    weight = np.exp(log_weight - log_weight.max())
    if not weight.sum() ** 2 / (weight**2).sum() >= EFFECTIVE * lanes:
        return None
    seed = int(np.asarray(jax.random.bits(pick, dtype=np.uint32)))
    target, case = now.target, ready(now.case)
    walkers = Walkers(seed, flat_potential(target), case, reference(target, case), lanes, across(target))
    comb = (np.arange(lanes) + walkers.rng.uniform()) / lanes
    places = np.searchsorted(np.cumsum(weight) / weight.sum(), comb)
    chosen = points[np.minimum(walkers.rng.permutation(places), len(points) - 1)]
    stride = Stride(root_of_metric(chosen[None]), FIRST_STEP, 1.0)
    start = Tempered(walkers.at(chosen), stride, np.full(effort.chains, np.nan))
    return drawn_from(last, now.target, walkers, start, effort._replace(warmup=WARMUP), began)


def _weighed(key: Array, values: dict[str, np.ndarray], before: Member, now: Member) -> tuple[np.ndarray, np.ndarray]:
    """Points of the longer series ``(n_draws, n)``, and their log weights; 0 weight where one has no density."""
    total = len(next(iter(values.values())))
    take = np.linspace(0, total - 1, min(TAKEN, total)).round().astype(int)
    rows = {name: jnp.asarray(value[take]) for name, value in values.items()}
    shock = jax.random.uniform(key, (len(take),))
    points, log_weight = _carried(before.target)(before.case, now.case, rows, shock)
    found = np.asarray(log_weight)
    return np.asarray(points), np.where(np.isfinite(found), found, -np.inf)


@cache
def _carried(target: Target) -> Callable[..., Any]:
    """Compiled: draws by name, with a uniform number each, as points of the longer series with their log weights."""
    energy = flat_potential(target)

    def one(old: Any, new: Any, row: dict[str, Array], u: Array) -> tuple[Array, Array]:
        if SIZE in row:
            row = row | {SIZE: _sized(row, u, target.power)}
        point = located(target, old, row)

        def over(x: Array) -> Array:
            return located(target, new, named_at(target, old, x))

        moved, slope = over(point), jax.jacfwd(over)(point)
        return moved, energy(old, point) - energy(new, moved) + jnp.linalg.slogdet(slope)[1]

    return jax.jit(lambda old, new, rows, u: jax.lax.map(lambda pair: one(old, new, *pair), (rows, u), batch_size=64))


def _sized(row: dict[str, Array], u: Array, power: float) -> Array:
    """The size of a clone; one that died out has a size that no series sees, as the sampler gives it."""
    founders = living_founders(row, power)
    none = jnp.clip(jnp.exp(-founders), 1e-300, 1.0 - 1e-9)
    dead = jnp.exp(log_sized(ndtri(u * none), founders))
    return jnp.where(row[SIZE] > 0.0, row[SIZE], dead)
