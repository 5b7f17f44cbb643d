"""Where parameters lie in the sampler's coordinates: the way back from `coordinates` and `fate`.

A patient's coordinates depend on its series, so a posterior is carried over to a longer series by its parameters.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
from numpyro.infer.util import unconstrain_fn

from persist.inference.coordinates import (
    LUCK,
    REACH,
    STRETCH,
    clone_growth,
    log_shed,
    loss_unit,
    persisters_left,
    placed,
)
from persist.inference.fate import SIZE, living_founders, log_sized
from persist.inference.model import model
from persist.inference.target import TRACING, order

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack, Prior
    from persist.inference.target import Target

LUCK_RANGE, HALVINGS = 12.0, 60
"""How far from 0 the coordinate of the clone's size is searched, and in how many halvings."""


def located(target: Target, case: Case, values: dict[str, Any]) -> Array:
    """Flat coordinates ``(n,)`` of parameters ``()`` by name. A clone of size 0 (it died out) lies at the end of the range."""
    pack, names = target.entries, target.names
    aside = placed(names)
    own = {name: jnp.asarray(values[name]) for name in names if name not in aside}
    if "persister_0" in aside:
        own |= _persisters(values, case, pack, target.power)
    if "resistant_0" in aside:
        own |= _clone(values, case, pack, target.power)
    if "resistant_0" in aside and target.chance:
        founders = living_founders(values, target.power)
        own[LUCK] = _luck(jnp.log(jnp.maximum(values[SIZE], 1e-300)), founders)
    given = {"pack": pack, "variant": target.variant, "power": target.power, "chance": target.chance}
    with TRACING:
        free = unconstrain_fn(model, (case,), given, own)
    return jnp.stack([free[site] for site in order(target)])


def _persisters(values: dict[str, Any], case: Case, pack: Pack, power: float) -> dict[str, Array]:
    unit, decline = loss_unit(pack), -values["decline_s"]
    death, share, turn = (
        _log_part(pack.entries[name], values[name]) for name in ("death_p", "kill_p_share", "reversion")
    )
    kill = share + jnp.log(values["net_growth_s"] + decline)
    back = turn + jnp.log1p(-values["reversion_block"])
    own = jnp.logaddexp(death, kill)
    loss = jnp.exp(jnp.logaddexp(own, back)) / unit
    start, base, drug = (
        _log_part(pack.entries[name], values[name]) for name in ("persister_0", "tolerance_base", "tolerance_drug")
    )
    supply = jnp.logaddexp(base, drug) - jnp.log(decline)
    left = persisters_left(values, start - supply, case) + log_shed(values)
    seen = jnp.logaddexp(start, supply) + left + case.low_fall / power
    return {
        "persister_seen": _stretched(seen),
        "persister_origin": start - supply,
        "tolerance_split": base - drug,
        "persister_loss": _drawn_in(_inverse_softplus(loss) - values["birth_p_share"] * values["net_growth_s"] / unit),
        "persister_loss_back": own - back,
        "persister_loss_split": death - kill,
    }


def _clone(values: dict[str, Any], case: Case, pack: Pack, power: float) -> dict[str, Array]:
    cost, kill, start, mutation = (
        _log_part(pack.entries[name], values[name]) for name in ("cost_r", "kill_r_share", "resistant_0", "mutation")
    )
    divisions = values["net_growth_s"] / (1.0 - values["turnover_s"]) / -values["decline_s"]
    mutants = mutation + jnp.log(divisions)
    ratio = (jnp.log(values["burden_0"]) - case.sight_log) / power
    return {
        "resistant_seen": _stretched(jnp.logaddexp(start, mutants) + ratio + clone_growth(values, case)),
        "resistant_origin": start - mutants,
        "resistant_loss": _inverse_softplus(jnp.exp(jnp.logaddexp(cost, kill))),
        "resistant_loss_split": cost - kill,
    }


def _log_part(prior: Prior, value: Any) -> Array:
    """The log of the part that a parameter has in a sum; the inverse of `coordinates`' way from it."""
    if prior.kind == "log-normal":
        return jnp.log(value)
    return jnp.log(-jnp.log1p(-jnp.asarray(value) / prior.upper)) + jnp.log(prior.upper)


def _stretched(x: Array) -> Array:
    return x + STRETCH * jax.nn.sigmoid(x)


def _drawn_in(net: Array) -> Array:
    return jnp.where(net > 0, REACH * jnp.arcsinh(jnp.maximum(net, 0.0) / REACH), net)


def _inverse_softplus(value: Array) -> Array:
    return value + jnp.log(-jnp.expm1(-value))


def _luck(log_size: Array, founders: Array) -> Array:
    """The coordinate at which a clone of so many founders has a size, by halving: sizes rise with it."""

    def halve(_: int, edges: tuple[Array, Array]) -> tuple[Array, Array]:
        middle = 0.5 * (edges[0] + edges[1])
        above = log_sized(middle, founders) > log_size
        return jnp.where(above, edges[0], middle), jnp.where(above, middle, edges[1])

    far = jnp.full_like(log_size, LUCK_RANGE)
    low, high = jax.lax.fori_loop(0, HALVINGS, halve, (-far, far))
    middle: Array = 0.5 * (low + high)
    return middle
