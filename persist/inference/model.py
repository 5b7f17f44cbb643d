"""The NumPyro model of one patient: what is sampled, its priors, and the likelihood of the series.

Sampled are net growth, turnover and decline rather than births, deaths and kills, because the former are what a series can
show (`inference.curve` has what follows from them), and, where it may be small, what became of the resistant clone
(`inference.fate`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from persist.errors import UsageError
from persist.inference.coordinates import LUCK, Placed, place_clone, place_persisters, placed
from persist.inference.curve import follow
from persist.inference.fate import SIZE, fate
from persist.inference.population import log_ratio, scores, shared
from persist.inference.priors import Pack, distribution, log_normal
from persist.treatment.doubt import STOP

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case

_PERSISTERS = (
    *("tolerance_base", "tolerance_drug", "reversion", "reversion_block", "birth_p_share"),
    *("death_p", "kill_p_share", "persister_0", "escape_fold"),
)
_CLONE = ("mutation", "escape_fold", "resistant_0", "cost_r", "kill_r_share")
_SECRETOME = ("secretome_boost", "secretome_share")
_ATTENUATION = ("attenuation_rate", "recovery_rate")
_SHED = ("shed_p", "effect_half")

VARIANTS: dict[str, tuple[str, ...]] = {
    "spr": (*_SECRETOME, *_ATTENUATION, *_SHED),
    "sr": (*_PERSISTERS, *_SECRETOME, *_ATTENUATION, *_SHED),
    "sp": (*_CLONE, *_SECRETOME, *_ATTENUATION, *_SHED),
    "spr-tis": (*_ATTENUATION, *_SHED),
    "spr-shed": (*_SECRETOME, *_ATTENUATION),
    "attenuation": (*_PERSISTERS, *_SECRETOME, *_SHED),
}
"""Model variants by name, and the parameters that each does without: at 0, but shed_p at 1 and
effect_half endless."""


def sampled(pack: Pack, variant: str, doubtful: bool = False) -> tuple[str, ...]:
    """Names of the sampled parameters, in order, with that of a ``doubtful`` stop or without; `UsageError` for an unknown
    variant.
    """
    if variant not in VARIANTS:
        raise UsageError(f'no model is called "{variant}"', where="--model", remedy=f"choose {', '.join(VARIANTS)}")
    if variant == "spr-shed" and "shed_p" not in pack.entries:
        what = "spr-shed is for a marker that cells shed (psa), in patients"
        raise UsageError(what, where="--model", remedy="fit spr, in which the burden follows the number of cells")
    aside = VARIANTS[variant] if doubtful else (*VARIANTS[variant], STOP)
    return tuple(name for name in pack.every if name not in aside)


def model(case: Case, pack: Pack, variant: str, power: float, chance: bool = True) -> None:
    """The NumPyro model: priors of ``pack`` (burdens relative to the series' own), or what the population has in place of
    them, then the series' log-likelihood.

    Where a series shows parameters only together, the sampler moves in the coordinates of `inference.coordinates`. With
    ``chance`` the size of the resistant clone has its law; without it is what the rates let expect.
    """
    names = sampled(pack, variant, case.doubt is not None)
    aside = placed(names)
    values = {name: numpyro.sample(name, _law(name, case, pack)) for name in names if name not in aside}
    if "persister_0" in aside:
        values |= _named("persisters", place_persisters(_free, values, case, pack, power))
    if "resistant_0" in aside:
        values |= _named("clone", place_clone(_free, values, case, pack, power))
    if len(case.population[0]):
        numpyro.factor("population", log_ratio(scores(values, pack, shared(names)), case.population))
    if "resistant_0" in aside and chance:
        found = fate(values, _free(LUCK), case, power)
        numpyro.deterministic(SIZE, found.size)
        numpyro.factor("size", found.density)
        curve = found.curve
    else:
        curve = follow(values, case, power)
    numpyro.factor("series", jnp.sum(curve.pointwise))
    numpyro.factor("composition", jnp.sum(curve.composition))
    numpyro.factor("lag", curve.lag)


def _law(name: str, case: Case, pack: Pack) -> Any:
    """The prior of one parameter; burdens count in units of the series' own."""
    prior = pack.every[name]
    shifts = {"settled_burden": case.log_largest, "burden_0": case.log_first}
    return log_normal(prior, jnp.exp(shifts[name])) if name in shifts else distribution(prior)


def _named(what: str, found: Placed) -> dict[str, Array]:
    """Enter what was placed, and its density, into the model."""
    numpyro.factor(f"{what}_prior", found.density)
    return {name: numpyro.deterministic(name, value) for name, value in found.values.items()}


def _free(site: str) -> Array:
    """A coordinate on the whole line, whose density is given apart."""
    return jnp.asarray(numpyro.sample(site, dist.ImproperUniform(dist.constraints.real, (), ())))
