"""The NumPyro model of one patient: what is sampled, what follows from it, and the likelihood of the series.

Sampled are net growth, turnover and decline rather than births, deaths and kills, because the former are what a series can
show. With lambda = net_growth_s, q = turnover_s, c = cost_r:

    b_S = lambda / (1 - q),  d_S = q b_S,  k_S = lambda - decline_s        b_R = (1 - c) b_S,  d_R = (1 - c) d_S
    b_P, k_P, k_R = shares of lambda, k_S, lambda_R = (1 - c) lambda       w_1 = escape_fold mutation b_S,  w_0 = 0
    K = N* / (1 - q)      (only births are crowded: a tumour left alone settles at N* = K (1 - q))
    R(0) = N(0) resistant_0,  P(0) = N(0) persister_0,  S(0) = N(0) (1 - resistant_0) (1 - persister_0)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpyro
import numpyro.distributions as dist

from persist.dynamics.moments import mean_field
from persist.dynamics.observe import log_burden
from persist.errors import UsageError
from persist.inference.coordinates import Placed, place_clone, place_persisters, placed
from persist.inference.likelihood import Visits, Wander, log_likelihood
from persist.inference.priors import Pack, distribution
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case

VARIANTS: dict[str, tuple[str, ...]] = {
    "spr": (),
    "sr": (
        "tolerance_base",
        "tolerance_drug",
        "reversion",
        "reversion_block",
        "birth_p_share",
        "death_p",
        "kill_p_share",
        "persister_0",
        "escape_fold",
    ),
    "sp": ("mutation", "escape_fold", "resistant_0", "cost_r", "kill_r_share"),
}
"""Model variants by name, and the parameters that each holds at 0."""

DERIVED = (
    "birth_s",
    "death_s",
    "kill_s",
    "birth_p",
    "kill_p",
    "birth_r",
    "death_r",
    "kill_r",
    "escape_drug",
    "capacity",
)


class Patient(NamedTuple):
    """The start of one patient as the rates give it: constants, cells at the first visit, log of cells per unit burden."""

    rates: Rates
    cells: Cells
    log_cells_per_unit: Array


class Curve(NamedTuple):
    """What a set of parameters says of a series: cells and exposure at the visits, the noiseless log burden ``(n_visits,)``,
    the pointwise log-likelihood ``(n_visits,)`` and the wander after the last value.
    """

    cells: Cells
    exposure: Array
    level: Array
    pointwise: Array
    wander: Wander


def sampled(pack: Pack, variant: str) -> tuple[str, ...]:
    """Names of the sampled parameters, in order; `UsageError` for an unknown variant."""
    if variant not in VARIANTS:
        raise UsageError(f'no model is called "{variant}"', where="--model", remedy=f"choose {', '.join(VARIANTS)}")
    names = [name for name in pack.entries if name not in VARIANTS[variant]]
    return (*names, *(("cells_per_unit",) if pack.cells_per_unit is not None else ()))


def patient(values: dict[str, Any], power: float) -> Patient:
    """Rates and starting cells from sampled values, each ``(...)``; absent names count 0 (cells_per_unit 1)."""
    get = {name: jnp.asarray(value) for name, value in values.items()}

    def of(name: str) -> Array:
        return get.get(name, jnp.zeros_like(get["net_growth_s"]))

    birth_s = of("net_growth_s") / (1.0 - of("turnover_s"))
    kill_s = of("net_growth_s") - of("decline_s")
    fitness_r = 1.0 - of("cost_r")
    log_unit = jnp.log(get.get("cells_per_unit", jnp.ones_like(birth_s)))
    settled = jnp.exp(jnp.log(of("settled_burden")) / power + log_unit)
    start = jnp.exp(jnp.log(of("burden_0")) / power + log_unit)
    rates = Rates(
        birth_s=birth_s,
        death_s=of("turnover_s") * birth_s,
        kill_s=kill_s,
        birth_p=of("birth_p_share") * of("net_growth_s"),
        death_p=of("death_p"),
        kill_p=of("kill_p_share") * kill_s,
        birth_r=fitness_r * birth_s,
        death_r=fitness_r * of("turnover_s") * birth_s,
        kill_r=of("kill_r_share") * fitness_r * of("net_growth_s"),
        tolerance_base=of("tolerance_base"),
        tolerance_drug=of("tolerance_drug"),
        reversion=of("reversion"),
        reversion_block=of("reversion_block"),
        mutation=of("mutation"),
        escape_drug=of("escape_fold") * of("mutation") * birth_s,
        capacity=settled / (1.0 - of("turnover_s")),
        onset_days=of("onset_days"),
        washout_days=of("washout_days"),
    )
    share_p, share_r = of("persister_0"), of("resistant_0")
    cells = Cells(start * (1.0 - share_p) * (1.0 - share_r), start * share_p, start * share_r)
    return Patient(rates, cells, log_unit)


def follow(values: dict[str, Any], case: Case, power: float) -> Curve:
    """Run the mean field along one patient's visits and weigh the series; all of ``values`` are ``()``."""
    from persist.treatment.exposure import relax

    start = patient(values, power)
    exposure = relax(Grid(case.length, case.dose), start.rates.onset_days, start.rates.washout_days)
    path = mean_field(start.cells, start.rates, jnp.where(case.moving, case.length, 0.0), exposure)
    ends = jnp.append(exposure.start[1:], _last(exposure, case.length))

    def at_visits(first: Any, along: Array) -> Array:
        return jnp.concatenate([jnp.reshape(jnp.asarray(first, float), (1,)), along])[case.step]

    cells = Cells(*(at_visits(first, along) for first, along in zip(start.cells, path, strict=True)))
    level = log_burden(cells.total, start.log_cells_per_unit, power)
    visits = Visits(case.gap, case.value, case.censoring, case.counting, case.seen)
    noise = (values["noise_sd"], values["wander_sd"], values["wander_days"])
    pointwise, wander = log_likelihood(visits, level, *noise)
    return Curve(cells, at_visits(0.0, ends), level, pointwise, wander)


def _last(exposure: Exposure, length: Any) -> Array:
    """Exposure at the end of the last step."""
    from persist.dynamics.reactions import within

    return within(Exposure(*(part[-1] for part in exposure)), jnp.asarray(length)[-1])


def model(case: Case, pack: Pack, variant: str, power: float) -> None:
    """The NumPyro model: priors of ``pack`` (burdens relative to the series' own), then the series' log-likelihood.

    Where a series shows parameters only together, the sampler moves in the coordinates of `inference.coordinates`.
    """
    names = sampled(pack, variant)
    aside = placed(names)
    values = {name: numpyro.sample(name, _law(name, case, pack)) for name in names if name not in aside}
    if "persister_0" in aside:
        values |= _named("persisters", place_persisters(_free, values, case, pack, power))
    if "resistant_0" in aside:
        values |= _named("clone", place_clone(_free, values, case, pack, power))
    numpyro.factor("series", jnp.sum(follow(values, case, power).pointwise))


def _law(name: str, case: Case, pack: Pack) -> Any:
    """The prior of one parameter; burdens count in units of the series' own."""
    prior = pack.cells_per_unit if name == "cells_per_unit" else pack.entries[name]
    assert prior is not None
    shifts = {"settled_burden": case.log_largest, "burden_0": case.log_first}
    return dist.LogNormal(prior.location + shifts[name], prior.scale) if name in shifts else distribution(prior)


def _named(what: str, found: Placed) -> dict[str, Array]:
    """Enter what was placed, and its density, into the model."""
    numpyro.factor(f"{what}_prior", found.density)
    return {name: numpyro.deterministic(name, value) for name, value in found.values.items()}


def _free(site: str) -> Array:
    """A coordinate on the whole line, whose density is given apart."""
    return jnp.asarray(numpyro.sample(site, dist.ImproperUniform(dist.constraints.real, (), ())))


@jax.jit
def derive(values: dict[str, Any], power: float) -> dict[str, Array]:
    """The rates that follow from the sampled ones (`DERIVED`), for the report's checks; each ``(...)``."""
    rates = patient(values, power).rates
    return {name: jnp.broadcast_to(getattr(rates, name), jnp.shape(values["net_growth_s"])) for name in DERIVED}


@jax.jit
def trace_curves(values: dict[str, Any], case: Case, power: float) -> Curve:
    """`follow` for many draws: ``values`` each ``(n_draws,)``; each result gains a leading ``(n_draws,)``."""
    return jax.vmap(lambda row: follow(row, case, power))(values)


def resistant_share(curve: Curve, case: Case) -> Array:
    """Mean share of R over the visits of a curve, ``(...)``; which state carries the series, in one number."""
    share = curve.cells.resistant / jnp.maximum(curve.cells.total, 1e-6)
    return jnp.sum(jnp.where(case.seen, share, 0.0), axis=-1) / jnp.sum(jnp.asarray(case.seen))
