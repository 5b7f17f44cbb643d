"""Visits of futures: what is measured of the cells then.

The wander and the errors of a path do not depend on its cells, so they are drawn beforehand, by day; a
rule inside the engine and the record after it see the same values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.observe import Passage, log_burden, noise, passage, times, visible, wander
from persist.dynamics.sampling import draws, normal_quantile, stream, substream

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.forecast.landmark import Landmark
    from persist.types import Cells


class Scale(NamedTuple):
    """How cells become a burden: ``log_unit`` ``(n,)``, ``power``, and whether cells are ``counted``; as of `observe`; and
    ``shed_p`` ``(n,)``, None where P shed as much as others.
    """

    log_unit: Any
    power: Any
    counted: Any
    shed_p: Any = None


def scale_of(at: Landmark) -> Scale:
    """The scale of a landmark's draws."""
    return Scale(at.log_unit, at.power, at.counted, at.values.get("shed_p"))


class Chance(NamedTuple):
    """Of each visit and path ``(n_visits, n)``: ``drift`` of the log burden, ``scatter`` of its measurement, and the
    standard normal ``shock`` of a count.
    """

    drift: Any
    scatter: Any
    shock: Any


def burden_of(cells: Cells, scale: Scale) -> Array:
    """The true burden ``(n,)``, without wander and error; no cells: exactly 0."""
    total = visible(cells, scale.shed_p)
    return jnp.where(total > 0.0, jnp.exp(log_burden(total, scale.log_unit, scale.power)), 0.0)


def measure(total: Array, scale: Scale, chance: Chance) -> tuple[Array, Array]:
    """Burden, and burden as measured, of ``total`` visible cells; both in the shape of the chance. No cells: exactly 0."""
    unit = jnp.expand_dims(scale.log_unit, tuple(range(total.ndim - 1)))
    level = log_burden(total, unit, scale.power)
    burden = jnp.where(total > 0.0, jnp.exp(level + chance.drift), 0.0)
    error = chance.scatter + jnp.where(scale.counted, chance.shock / jnp.sqrt(jnp.maximum(burden, 1.0)), 0.0)
    return burden, burden * jnp.exp(error)


def chances(
    streams: Array, day: np.ndarray, shared: np.ndarray, known: tuple[ArrayLike, ArrayLike], values: dict[str, Any]
) -> Chance:
    """The chance of paths on the days ``(n_days,)`` after the landmark (day 0), of ``(n_days, n)``.

    ``known`` are mean ``(n, 2)`` and root ``(n, 2, 2)`` of the wander and its slope at the landmark, ``values`` has
    ``noise_sd``, ``wander_sd``, ``wander_days``, all ``(n,)`` like the ``streams``. Of each day and path chance has its own
    numbers. Days that are ``shared`` ``(n_days,)`` (the last is) have the same chance whatever other days are looked at: the
    wander of the others lies between theirs.
    """
    before = np.append(0.0, day[:-1])
    drawn: Chance = _chances(streams, keys.moments(day), np.where(shared, day, before), day, shared, known, values)
    return drawn


def missed(root: Array, day: np.ndarray, share: float) -> np.ndarray:
    """Which visits on the days ``(n_days,)`` after the landmark the paths of the keys ``root`` ``(n,)`` miss, ``(n_days, n)``:
    each with the probability ``share``, by chance of the path and the day alone.

    A visit that is missed at one share is missed at every larger one.
    """
    return np.asarray(_uniforms(root, keys.moments(day)) < share)


@jax.jit
def _uniforms(root: Array, numbers: Array) -> Array:
    return draws(substream(stream(root)[None], numbers[:, None]), 1)[1][0]


@jax.jit
def _chances(
    streams: Array, numbers: Array, drawn: Array, day: Array, shared: Array, known: tuple[Array, Array], values: Any
) -> Chance:
    mean, spreads = known
    first = jnp.stack([normal_quantile(u) for u in draws(substream(streams, -1), 2)[1]])
    start = mean.T + times(jnp.moveaxis(spreads, 0, -1), first)
    pick, *rest = draws(substream(streams[None], numbers[:, None]), 5)[1]
    drift, bend, scatter, shock = (normal_quantile(u).astype(float) for u in rest)
    shocks, spread, memory = jnp.stack([drift, bend], axis=1), values["wander_sd"], values["wander_days"]
    still = jnp.zeros_like(shocks[:1])
    path = wander(jnp.concatenate([still, shocks]), start, jnp.append(0.0, drawn), spread, memory)[1:]
    after, later = jnp.concatenate([path[1:], path[-1:]]), jnp.append(drawn[1:], drawn[-1])
    here, there = (jnp.moveaxis(end, 1, 0) for end in (path, after))
    past, to_come = (passage(gap[:, None], memory[None]) for gap in (day - drawn, later - day))
    path = jnp.where(shared[:, None], path[:, 0], between(drift, here, there, past, to_come, spread[None]))
    return Chance(path, values["noise_sd"][None] * noise(pick, scatter), shock)


def between(shock: Array, before: Array, after: Array, past: Passage, to_come: Passage, sd: Array) -> Array:
    """The wander w ``(...)`` between two states of it ``(2, ...)``, a and b, given the passages from the one and to the other.

    x ~ Normal(P a, Q) and b ~ Normal(R x, S), so with G = Q R' (R Q R' + S)^-1:  mean P a + G (b - R P a), covariance Q - G R Q
    """
    expected, fresh = times(past.kept, before), past.fresh
    reach = _product(to_come.kept, fresh)  # R Q
    spread = _product(reach, to_come.kept.swapaxes(0, 1)) + to_come.fresh
    off = after - times(to_come.kept, expected)
    determinant = jnp.maximum(spread[0, 0] * spread[1, 1] - spread[0, 1] ** 2, 1e-300)
    gain = [
        (spread[1 - k, 1 - k] * reach[k, 0] - spread[0, 1] * reach[1 - k, 0]) / determinant for k in range(2)
    ]  # the first row of G
    variance = fresh[0, 0] - gain[0] * reach[0, 0] - gain[1] * reach[1, 0]
    mean: Array = expected[0] + gain[0] * off[0] + gain[1] * off[1]
    return mean + sd * jnp.sqrt(jnp.maximum(variance, 0.0)) * shock


def _product(left: Array, right: Array) -> Array:
    """Of ``(2, 2, ...)`` and ``(2, 2, ...)``."""
    return jnp.stack([times(left, right[:, column]) for column in range(2)], axis=1)
