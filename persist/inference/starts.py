"""Where chains start: apart from each other, and each already near a mode.

Many draws from the prior are scored, the better ones are improved by a short optimisation side by side, and the chains
start from the ends of those that came near the best. Ends that fell behind are dropped: a chain that starts in a mode which
is worse by many nats would only sit there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from numpyro import optim

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack, Prior

N_SCORED, N_IMPROVED, N_STEPS, RATE = 256, 16, 250, 0.05
NEAR_NATS = 6.0
"""Chains start only where the log posterior density is within this of the best end found."""


def coordinates(pack: Pack, names: tuple[str, ...], case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Location and scale of the prior in the sampler's unconstrained coordinates (where every prior is normal)."""
    entries: dict[str, Prior] = dict(pack.entries)
    if pack.cells_per_unit is not None:
        entries["cells_per_unit"] = pack.cells_per_unit
    location = {name: jnp.asarray(entries[name].location) for name in names}
    location["settled_burden"] = location["settled_burden"] + case.log_largest
    location["burden_0"] = location["burden_0"] + case.log_first
    return location, {name: jnp.asarray(entries[name].scale) for name in names}


@partial(jax.jit, static_argnames=("potential", "chains"))
def find_starts(
    key: Array, potential: Callable[..., Any], case: Case, location: Any, scale: Any, chains: int
) -> tuple[Any, Array]:
    """Starting points ``(chains,)`` of a dict of unconstrained coordinates, and the potential of every end found.

    ``potential(case)(z)`` is minus the log posterior density.
    """
    energy = potential(case)
    draw, choose = jax.random.split(key)
    names = sorted(location)
    noise = jax.random.normal(draw, (N_SCORED, len(names)))
    points = {name: location[name] + scale[name] * noise[:, i] for i, name in enumerate(names)}
    scored = jax.lax.map(energy, points, batch_size=32)
    best = jnp.argsort(jnp.where(jnp.isfinite(scored), scored, jnp.inf))[:N_IMPROVED]
    ends, level = jax.vmap(lambda point: _improve(energy, point, scale))(jax.tree.map(lambda v: v[best], points))
    level = jnp.where(jnp.isfinite(level), level, jnp.inf)
    near = level < jnp.min(level) + NEAR_NATS
    order = jnp.argsort(jnp.where(near, jax.random.uniform(choose, level.shape), jnp.inf))
    chosen = jnp.take(order, jnp.arange(chains) % jnp.maximum(jnp.sum(near), 1))
    return jax.tree.map(lambda v: v[chosen], ends), level


def _improve(energy: Callable[[Any], Array], point: Any, scale: Any) -> tuple[Any, Array]:
    """A short Adam descent in coordinates scaled by the prior; a step to a value that is not finite is not taken."""
    descent = optim.Adam(RATE)
    scaled = jax.tree.map(lambda value, width: value / width, point, scale)

    def value_of(at: Any) -> Array:
        return energy(jax.tree.map(lambda value, width: value * width, at, scale))

    def step(state: Any, _: None) -> tuple[Any, None]:
        slope = jax.grad(value_of)(descent.get_params(state))
        slope = jax.tree.map(lambda part: jnp.where(jnp.isfinite(part), jnp.clip(part, -1e3, 1e3), 0.0), slope)
        return descent.update(slope, state), None

    end = descent.get_params(jax.lax.scan(step, descent.init(scaled), length=N_STEPS)[0])
    return jax.tree.map(lambda value, width: value * width, end, scale), value_of(end)
