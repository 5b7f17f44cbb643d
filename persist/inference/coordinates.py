"""Coordinates in which a series shows what it shows, so that the sampler's paths are straight.

**Sums.** Some parameters are seen only by a sum: what slows R on drug is its cost and the kill together; R at the end comes
from the start and from mutation; P at the nadir from the start and from the drug. In such parameters the posterior is bent
like a hockey stick, so the sampler moves in the sum and in how it splits. With two positive parts a and b,

    total = log(a + b),    split = log(a / b)        (unit Jacobian from log a, log b)

    R's loss        a = -log(1 - cost_r),   b = -log(1 - kill_r_share); the total is softplus^-1(a + b): R's growth is
                    lambda exp(-(a + b)), so that a large loss is seen by itself, not by its log
    P's loss        a = death_p + k_P,      b = r_0 (1 - phi), what turns back on drug; a splits into d_P and k_P. What is seen
                    is the loss less b_P: a + b is l softplus(u + b_P / l), l a usual loss and b_P together, about b_P + l u
                    unless small; and since losses can be many times as large, u = v for v < 0 and k sinh(v / k) over it
    P's seed        a = persister_0,        b = (s_0 + s_1) / |decline_s|, which splits into s_0 and s_1
    R's seed        a = resistant_0,        b = mutation b_S / |decline_s|

**Sight.** P and R are seen not by their seeds but by their sizes where the tumour is smallest. In the seeds, the posterior is a
thin curved ridge with the rates that ends in a cliff, so in place of the log x0 of either seed stands

    u = x + k sigmoid(x)

    P:  x = x0 + log f(days on drug before the lowest value) + log(burden at the restart / lowest value) + log shed_p,
        f what is left of the seed while P leaves at L = d_P + k_P + r_0 (1 - phi) - b_P and S declines (`persisters_left`)
    R:  x = x0 + G(t*) + log(burden_0 / y(t*)),   G the growth of log R until t* (`clone_growth`)

where t* is the visit that would show a growing clone first. Out of sight u = x; where a state can be seen, k = `STRETCH` turns
the log into the share itself, in which the likelihood is about normal.

The priors stay those of the named parameters: what is placed here comes with the log density that it has in the coordinates.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.priors import base

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack, Prior

PERSISTERS = {
    "persister_0": "persister_seen",
    "tolerance_base": "persister_origin",
    "tolerance_drug": "tolerance_split",
    "death_p": "persister_loss",
    "kill_p_share": "persister_loss_split",
    "reversion": "persister_loss_back",
}
CLONE = {
    "cost_r": "resistant_loss",
    "kill_r_share": "resistant_loss_split",
    "resistant_0": "resistant_seen",
    "mutation": "resistant_origin",
}
"""The site that stands for each parameter of P and of R; a variant has all of a state's or none."""

LUCK = "clone_luck"
"""The site that stands for the size of the clone against its expectation (`inference.fate`)."""

STRETCH = 8.0
"""About one over the share of R that a few values with noise and wander can tell from none."""

REACH = 2.0
"""Net losses of P over so many usual ones are sampled about by their log."""
FAR = 300.0
"""So many `REACH` are the largest net loss of all: beyond it, numbers would have no end."""
_NEWTON = 8


class Placed(NamedTuple):
    """Parameters ``()`` by name, and their log prior density in the coordinates."""

    values: dict[str, Array]
    density: Array


def placed(names: tuple[str, ...]) -> dict[str, str]:
    """Those of the parameters that are placed here, with their sites."""
    found = PERSISTERS if "persister_0" in names else {}
    return found | (CLONE if "resistant_0" in names else {})


def sites(names: tuple[str, ...], chance: bool = True) -> tuple[str, ...]:
    """The coordinate that stands for each parameter, in order, and with ``chance`` that of the clone's size."""
    swap = placed(names)
    own = tuple(swap.get(name, name) for name in names)
    return (*own, LUCK) if chance and "resistant_0" in names else own


def starting_range(names: tuple[str, ...], pack: Pack) -> dict[str, tuple[float, float]]:
    """About where each site of this module lies, and how far it reaches: where a search may begin."""
    middle = {name: prior.location + np.log(prior.upper) for name, prior in pack.entries.items()}
    decline, growth = pack.entries["decline_s"].location, pack.entries["net_growth_s"].location
    found: dict[str, tuple[float, float]] = {}
    if "persister_0" in names:
        own, loss = _usual_losses(pack)
        lost, unit = float(np.exp(np.logaddexp(*loss))), loss_unit(pack)
        supply = float(np.logaddexp(middle["tolerance_base"], middle["tolerance_drug"])) - decline
        found |= {
            "persister_seen": (0.0, 4.0),
            "persister_origin": (middle["persister_0"] - supply, 2.5),
            "tolerance_split": (middle["tolerance_base"] - middle["tolerance_drug"], 3.0),
            "persister_loss": (float(np.log(np.expm1(lost / unit))) - (unit - lost) / unit, 1.5),
            "persister_loss_back": (loss[0] - loss[1], 2.0),
            "persister_loss_split": (own[0] - own[1], 1.5),
        }
    if "resistant_0" in names:
        loss = (middle["cost_r"], middle["kill_r_share"])
        turnover = float(np.log1p(np.exp(pack.entries["turnover_s"].location)))
        origin = middle["resistant_0"] - (middle["mutation"] + growth + turnover - decline)
        found |= {
            "resistant_seen": (0.0, 6.0),
            "resistant_origin": (origin, 3.0),
            "resistant_loss": (float(np.logaddexp(*loss)), 1.2),
            "resistant_loss_split": (loss[0] - loss[1], 2.0),
            LUCK: (0.0, 1.0),
        }
    return found


def _usual_losses(pack: Pack) -> tuple[tuple[float, float], tuple[float, float]]:
    """Logs of usual losses of P on drug, 1/day: by death and by kill; and by both of these and by return."""
    entries = pack.entries
    kill = float(np.logaddexp(entries["decline_s"].location, entries["net_growth_s"].location))
    middle = {name: entries[name].location + np.log(entries[name].upper) for name in ("death_p", "kill_p_share")}
    own = (float(middle["death_p"]), float(middle["kill_p_share"]) + kill)
    back = entries["reversion"].location - float(np.logaddexp(0.0, entries["reversion_block"].location))
    return own, (float(np.logaddexp(*own)), back)


def loss_unit(pack: Pack) -> float:
    """What P usually lose on drug and what their divisions usually add, together, 1/day."""
    share = pack.entries["birth_p_share"]
    divisions = share.upper / (1.0 + np.exp(-share.location)) * np.exp(pack.entries["net_growth_s"].location)
    return float(np.exp(np.logaddexp(*_usual_losses(pack)[1])) + divisions)


def place_persisters(
    at: Callable[[str], Array], values: dict[str, Any], case: Case, pack: Pack, power: float
) -> Placed:
    """Start, tolerance, loss and reversion of P from their sites, given growth and decline of S, P's division and the block."""
    unit = loss_unit(pack)
    net, drawn_in = reach_out(at("persister_loss"))
    loss, bend = _log_softplus(net + values["birth_p_share"] * values["net_growth_s"] / unit)
    own, back = _split(loss + np.log(unit), at("persister_loss_back"))
    death, kill = _split(own, at("persister_loss_split"))
    share = kill - jnp.log(values["net_growth_s"] - values["decline_s"])  # of kill_s
    free = jnp.log1p(-values["reversion_block"])
    lost = _parts(pack, {"death_p": death, "kill_p_share": share, "reversion": back - free})
    seen, stretch = unstretch(at("persister_seen"))
    origin = at("persister_origin")
    seed = seen - persisters_left(values | lost.values, origin, case) - case.low_fall / power - log_shed(values)
    start, supply = _split(seed, origin)
    base_rate, drug_rate = _split(supply + jnp.log(-values["decline_s"]), at("tolerance_split"))
    made = _parts(pack, {"persister_0": start, "tolerance_base": base_rate, "tolerance_drug": drug_rate})
    return Placed(lost.values | made.values, lost.density + made.density + drawn_in + bend + stretch)


def place_clone(at: Callable[[str], Array], values: dict[str, Any], case: Case, pack: Pack, power: float) -> Placed:
    """Cost, kill, start and mutation of R from their sites, given growth, turnover and decline of S and the burdens."""
    loss, bend = _log_softplus(at("resistant_loss"))
    cost, kill = _split(loss, at("resistant_loss_split"))
    slowed = _parts(pack, {"cost_r": cost, "kill_r_share": kill})
    seen, stretch = unstretch(at("resistant_seen"))
    ratio = (jnp.log(values["burden_0"]) - case.sight_log) / power
    seed = seen - ratio - clone_growth(values | slowed.values, case)
    start, mutants = _split(seed, at("resistant_origin"))
    divisions = values["net_growth_s"] / (1.0 - values["turnover_s"]) / -values["decline_s"]
    grown = _parts(pack, {"resistant_0": start, "mutation": mutants - jnp.log(divisions)})
    return Placed(slowed.values | grown.values, slowed.density + grown.density + bend + stretch)


def _split(total: Array, split: Array) -> tuple[Array, Array]:
    """Logs of both parts from the log of their sum and the log of their ratio; unit Jacobian."""
    return total + jax.nn.log_sigmoid(split), total + jax.nn.log_sigmoid(-split)


def reach_out(site: Array) -> tuple[Array, Array]:
    """``site`` where negative, k sinh(site / k) over 0, k = `REACH`; and the log of its derivative."""
    over = jnp.clip(site / REACH, 0.0, FAR)
    return jnp.where(site > 0, REACH * jnp.sinh(over), site), jnp.logaddexp(over, -over) - np.log(2.0)


def _log_softplus(site: Array) -> tuple[Array, Array]:
    """log softplus(site), and the log of its derivative."""
    log_value = jnp.log(jax.nn.softplus(site))
    return log_value, jax.nn.log_sigmoid(site) - log_value


def _parts(pack: Pack, logs: dict[str, Array]) -> Placed:
    """Parameters from the logs of their parts, and the log prior density of these logs.

    log-normal: the part is the value.   logit-normal up to ``upper``: part = -upper log(1 - value / upper), about the value.
    """
    found = {name: _part(pack.entries[name], log_part) for name, log_part in logs.items()}
    density = sum((density for _, density in found.values()), jnp.zeros(()))
    return Placed({name: value for name, (value, _) in found.items()}, density)


def _part(prior: Prior, log_part: Array) -> tuple[Array, Array]:
    if prior.kind == "log-normal":
        return jnp.exp(log_part), base(prior).log_prob(log_part)
    scaled = jnp.exp(log_part) / prior.upper
    share = -jnp.expm1(-scaled)
    density = base(prior).log_prob(jnp.log(share) + scaled)
    return prior.upper * share, density + jnp.log(scaled) - jnp.log(share)


def log_shed(values: dict[str, Any]) -> Array:
    """Log of what P shed of the marker over what others do: where they shed less, they are seen as fewer than they are."""
    return jnp.log(values["shed_p"]) if "shed_p" in values else jnp.zeros(())


def persisters_left(values: dict[str, Any], origin: Array, case: Case) -> Array:
    """About log f, P at the lowest value over its seed, of which the share w = sigmoid(``origin``) was there from the start.

    f = w exp(-L t) + (1 - w) d (exp(-d t) - exp(-L t)) / (L - d),   d = |decline_s|,   t the days on drug before
    """
    decline = -values["decline_s"]
    kill = values["kill_p_share"] * (values["net_growth_s"] + decline)
    back = values["reversion"] * (1.0 - values["reversion_block"])
    leaving = values["death_p"] + kill + back - values["birth_p_share"] * values["net_growth_s"]
    days = jnp.maximum(case.low_on, 0.1 / decline)
    gap = (leaving - decline) * days
    size = jnp.maximum(jnp.abs(gap), 1e-4)
    mean = jnp.log(-jnp.expm1(-size) / size) + jnp.maximum(-gap, 0.0)  # log of (1 - exp(-gap)) / gap
    kept = jax.nn.log_sigmoid(origin) - leaving * days
    return jnp.logaddexp(kept, jax.nn.log_sigmoid(-origin) + jnp.log(decline * days) - decline * days + mean)


def clone_growth(values: dict[str, Any], case: Case) -> Array:
    """About how much log R grows until t*: (1 - c) lambda (days - area under the burden / N* - kill share x days on).

    The crowding of R by a tumour of size N is 1 - N / N*; the burden that was measured stands in for N.
    """
    rate = (1.0 - values["cost_r"]) * values["net_growth_s"]
    crowded = jnp.minimum(case.sight_area / values["settled_burden"], 0.9 * case.sight_days)
    return jnp.asarray(rate * (case.sight_days - crowded - values["kill_r_share"] * case.sight_on))


def unstretch(u: Array) -> tuple[Array, Array]:
    """The root x of x + k sigmoid(x) = u, any shape, and the log of dx/du there.

    Newton's method from the side on which it falls monotonically: the left half is convex, the right half its mirror image.
    The last step alone is differentiated, which gives the exact derivative at a root.
    """
    mirrored = u > 0.5 * STRETCH
    left = jnp.where(mirrored, STRETCH - u, u)
    x = jnp.minimum(left, 0.0)
    for _ in range(_NEWTON):
        x = jax.lax.stop_gradient(x)
        value, slope = stretched(x)
        x = x - (jax.lax.stop_gradient(value) - left) / jax.lax.stop_gradient(slope)
    x = jnp.where(mirrored, -x, x)
    return x, -jnp.log(stretched(x)[1])


def stretched(x: Array) -> tuple[Array, Array]:
    """x + k sigmoid(x), and its derivative."""
    share = jax.nn.sigmoid(x)
    return x + STRETCH * share, 1.0 + STRETCH * share * (1.0 - share)
