"""Coordinates in which a series shows what it shows, so that the sampler's paths are straight.

Some pairs of parameters are seen only by their sum: on drug, what slows R is its cost and the kill together. In the pair the
posterior is bent like a hockey stick; with parts a, b > 0 (`_log_part`) the sampler moves in

    total = log(a + b),    split = log(a / b)        (unit Jacobian from log a, log b)

R is seen not by its share at the start but by its size where the tumour is smallest. In the share at the start, the posterior
is a thin curved ridge with the rates of R that ends in a cliff, so the sampler moves in

    u = x + k sigmoid(x),    x = logit resistant_0 + log burden_0 + G(t*) - log y(t*)

with G(t*) the growth of log R until the visit t* that would show R first (`clone_growth`), and y(t*) the burden there. Below
sight u = x; where R can be seen, k = `STRETCH` turns the log into the share itself, in which the likelihood is about normal.

The priors stay those of the named parameters: each function also returns the log density that they have in the coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.priors import base

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack, Prior


class Pair(NamedTuple):
    """Two parameters that are seen by their sum, and the sites that stand for them."""

    first: str
    second: str
    total: str
    split: str


PAIRS = (
    Pair("tolerance_base", "tolerance_drug", "tolerance_total", "tolerance_split"),
    Pair("death_p", "kill_p_share", "persister_loss", "persister_split"),
    Pair("cost_r", "kill_r_share", "resistant_loss", "resistant_split"),
)
CLONE, CLONE_SITE = "resistant_0", "resistant_seen"
STRETCH = 8.0
"""About one over the share of R that a few values with noise and wander can tell from none."""

_CLONE_RANGE = (0.0, 6.0)
_NEWTON = 8


def pairs(names: tuple[str, ...]) -> tuple[Pair, ...]:
    """The pairs of which both parameters are sampled."""
    return tuple(pair for pair in PAIRS if pair.first in names and pair.second in names)


def sites(names: tuple[str, ...]) -> tuple[str, ...]:
    """The coordinate that stands for each parameter, in order."""
    swap = {CLONE: CLONE_SITE}
    for pair in pairs(names):
        swap |= {pair.first: pair.total, pair.second: pair.split}
    return tuple(swap.get(name, name) for name in names)


def starting_range(names: tuple[str, ...], pack: Pack) -> dict[str, tuple[float, float]]:
    """About where each coordinate of this module lies, and how far it reaches: where a search may begin."""
    found = {CLONE_SITE: _CLONE_RANGE} if CLONE in names else {}
    for pair in pairs(names):
        one, other = pack.entries[pair.first], pack.entries[pair.second]
        first, second = one.location + np.log(one.upper), other.location + np.log(other.upper)
        found[pair.total] = (float(np.logaddexp(first, second)), max(one.scale, other.scale))
        found[pair.split] = (first - second, float(np.hypot(one.scale, other.scale)))
    return found


def place_pair(pair: Pair, total: Array, split: Array, values: dict[str, Any], pack: Pack) -> tuple[Array, Array, Array]:
    """Both parameters at the coordinates, each ``()``, and their log prior density in the coordinates."""
    first, one = _part(pack.entries[pair.first], total + jax.nn.log_sigmoid(split))
    log_other = total + jax.nn.log_sigmoid(-split)
    if pair.second == "kill_p_share":  # of kill_s: the sum is one of rates
        log_other = log_other - jnp.log(values["net_growth_s"] - values["decline_s"])
    second, other = _part(pack.entries[pair.second], log_other)
    return first, second, one + other


def _part(prior: Prior, log_part: Array) -> tuple[Array, Array]:
    """A parameter from the log of its part, and its log prior density there.

    log-normal: the part is the value.   logit-normal up to ``upper``: part = -upper log(1 - value / upper), about the value.
    """
    if prior.kind == "log-normal":
        return jnp.exp(log_part), base(prior).log_prob(log_part)
    scaled = jnp.exp(log_part) / prior.upper
    share = -jnp.expm1(-scaled)
    density = base(prior).log_prob(jnp.log(share) + scaled)
    return prior.upper * share, density + jnp.log(scaled) - jnp.log(share)


def place_clone(u: Array, values: dict[str, Any], case: Case, pack: Pack, power: float) -> tuple[Array, Array]:
    """resistant_0 at the coordinate ``u``, both ``()``, and its log prior density in the coordinate."""
    x = unstretch(u)
    share = jax.nn.sigmoid(x)
    ratio = (jnp.log(values["burden_0"]) - case.sight_log) / power
    logit = x - ratio - clone_growth(values, case)
    density = base(pack.entries[CLONE]).log_prob(logit) - jnp.log1p(STRETCH * share * (1.0 - share))
    return jax.nn.sigmoid(logit), density


def clone_growth(values: dict[str, Any], case: Case) -> Array:
    """About how much log R grows until t*: (1 - c) lambda (days - area under the burden / N* - kill share x days on).

    The crowding of R by a tumour of size N is 1 - N / N*; the burden that was measured stands in for N.
    """
    rate = (1.0 - values["cost_r"]) * values["net_growth_s"]
    crowded = jnp.minimum(case.sight_area / values["settled_burden"], 0.9 * case.sight_days)
    return jnp.asarray(rate * (case.sight_days - crowded - values["kill_r_share"] * case.sight_on))


def unstretch(u: Array) -> Array:
    """The root x of x + k sigmoid(x) = u; any shape.

    Newton's method from the side on which it falls monotonically: the left half is convex, the right half its mirror image.
    The last step alone is differentiated, which gives the exact derivative at a root.
    """
    mirrored = u > 0.5 * STRETCH
    left = jnp.where(mirrored, STRETCH - u, u)
    x = jnp.minimum(left, 0.0)
    for _ in range(_NEWTON):
        x = jax.lax.stop_gradient(x)
        value, slope = _stretched(x)
        x = x - (jax.lax.stop_gradient(value) - left) / jax.lax.stop_gradient(slope)
    return jnp.where(mirrored, -x, x)


def _stretched(x: Array) -> tuple[Array, Array]:
    """x + k sigmoid(x), and its derivative."""
    share = jax.nn.sigmoid(x)
    return x + STRETCH * share, 1.0 + STRETCH * share * (1.0 - share)
