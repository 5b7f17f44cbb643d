"""Visits of futures: what is measured of the cells then, and what a rule makes of it.

The wander and the errors of a path do not depend on its cells, so they are drawn beforehand, from keys of their own; a
rule inside the engine and the endpoints after it see the same values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp

from persist import keys
from persist.dynamics.observe import log_burden, noise, wander
from persist.treatment.rules import Memory, decide, remember

if TYPE_CHECKING:
    from jax import Array

    from persist.treatment.grammar import Adaptive
    from persist.types import Cells

NAMES = ("landmark", "futures", "wander", "noise", "counts")
"""What of a path is drawn, each from its own key."""


class Scale(NamedTuple):
    """How cells become a burden: ``log_unit`` ``(n,)``, ``power``, and whether cells are ``counted``; as of `observe`."""

    log_unit: Any
    power: Any
    counted: Any


class Chance(NamedTuple):
    """Of each visit and path ``(n_visits, n)``: ``drift`` of the log burden, ``scatter`` of its measurement, and the
    standard normal ``shock`` of a count.
    """

    drift: Any
    scatter: Any
    shock: Any


class Watch(NamedTuple):
    """The memory of a rule that looks at measured burdens."""

    rule: Memory
    scale: Scale

    @property
    def dose(self) -> Any:
        """The dose in force, ``(n,)``."""
        return self.rule.dose


def watch(rule: Adaptive | None, scale: Scale, first: float | None) -> Watch:
    """The memory of a plan's rule at its beginning; ``first``, where known, is the burden it refers to. Without a rule,
    one that never looks.
    """
    count = len(scale.log_unit)
    if rule is None:
        return Watch(Memory(jnp.zeros(count), jnp.zeros(count), jnp.zeros(()), jnp.zeros(())), scale)
    memory = remember(rule, count)
    return Watch(memory if first is None else decide(memory, jnp.full(count, first, float)), scale)


def look(memory: Watch, cells: Cells, seen: Chance) -> Watch:
    """The memory after a visit; for `trajectories.steered`."""
    return memory._replace(rule=decide(memory.rule, measure(cells.total, memory.scale, seen)[1]))


def measure(total: Array, scale: Scale, chance: Chance) -> tuple[Array, Array]:
    """Burden, and burden as measured, of ``total`` cells; both in the shape of the chance. No cells: exactly 0."""
    unit = jnp.expand_dims(scale.log_unit, tuple(range(total.ndim - 1)))
    level = log_burden(total, unit, scale.power)
    burden = jnp.where(total > 0.0, jnp.exp(level + chance.drift), 0.0)
    error = chance.scatter + jnp.where(scale.counted, chance.shock / jnp.sqrt(jnp.maximum(burden, 1.0)), 0.0)
    return burden, burden * jnp.exp(error)


@jax.jit
def chances(own: dict[str, Array], numbers: Array, when: Array, known: tuple[Array, Array], values: Any) -> Chance:
    """The chance of the paths ``numbers`` ``(n,)`` at the days ``when`` but the first (the landmark), ``(n_days - 1, n)``.

    ``known`` are mean and sd of the wander at the landmark; ``values`` has ``noise_sd``, ``wander_sd``, ``wander_days``.
    """
    size = len(when) - 1

    def drift(key: Array, centre: Array, spread: Array, sd: Array, memory: Array) -> Array:
        start, path = jax.random.split(key)
        return wander(path, centre + spread * jax.random.normal(start), when, sd, memory)[1:]

    drifts = jax.vmap(drift)(keys.numbered(own["wander"], numbers), *known, values["wander_sd"], values["wander_days"])
    error = jax.vmap(lambda key: noise(key, (size,)))(keys.numbered(own["noise"], numbers))
    shock = jax.vmap(lambda key: jax.random.normal(key, (size,)))(keys.numbered(own["counts"], numbers))
    return Chance(drifts.T, (values["noise_sd"][:, None] * error).T, shock.T)
