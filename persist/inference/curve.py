"""One patient's curve under given rates: cells along the visits, the burden they make, and how likely the series is.

    b_S = lambda / (1 - q),  d_S = q b_S,  k_S = lambda - decline_s        b_R = (1 - c) b_S,  d_R = (1 - c) d_S
    b_P, k_P, k_R = shares of lambda, k_S, lambda_R = (1 - c) lambda       w_1 = escape_fold mutation b_S,  w_0 = 0
    K = N* / (1 - q)      (only births are crowded: a tumour left alone settles at N* = K (1 - q))
    burden_0 is that of N(0) (1 - persister_0 (1 - shed_p)) cells (`observe.visible`; absent: shed_p is 1)
    R(0) = N(0) resistant_0,  P(0) = N(0) persister_0,  S(0) = N(0) (1 - resistant_0) (1 - persister_0)
    F_50 = secretome_share k_S S(0)     (an absolute flux of dying cells could not move between wells and patients)

``clone_size`` is what became of the resistant clone, over its expectation (absent: 1, the mean field; 0: it died out): all
that makes R, at the start and later, is multiplied by it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.scipy.stats import norm

from persist.dynamics.attenuation import FRESH, attenuated
from persist.dynamics.moments import mean_field
from persist.dynamics.observe import log_burden, visible
from persist.dynamics.reactions import silent, within
from persist.inference import composition
from persist.inference.likelihood import Visits, Wander, log_likelihood
from persist.treatment.doubt import STOP, dosed
from persist.treatment.exposure import relax
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case

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


LOUD_PIECES = 4
"""Pieces of a step where R hear the secretome: undivided, one prior draw in ten is off by over 0.3 in the log burden."""

LAG_SD = 0.2
"""How far measured exposures are taken to lie from the lag: an assumption, wide, since a depot is no first-order lag."""

OPTIONAL = ("secretome_boost", "attenuation_rate", "recovery_rate", "effect_half")
"""Rates that only some variants have. In the others they stay plain numbers, by which the mean field leaves them out."""


class Patient(NamedTuple):
    """The start of one patient as the rates give it: constants, cells at the first visit, log of cells per unit burden, and
    what P shed of the marker over what others do (None: as much).
    """

    rates: Rates
    cells: Cells
    log_cells_per_unit: Array
    shed_p: Array | None = None


class Curve(NamedTuple):
    """What a set of parameters says of a series: cells and exposure at the visits, the noiseless log burden ``(n_visits,)``,
    the pointwise log-likelihood ``(n_visits,)``, the wander after the last value, the log-likelihood of each measured fraction
    ``(n_specimens,)``; the potency of the kill at the visits, None where it does not fade; the log-likelihood of the lag, given
    measured exposures ``()``, 0 without any.
    """

    cells: Cells
    exposure: Array
    level: Array
    pointwise: Array
    wander: Wander
    composition: Array
    potency: Array | None = None
    lag: Any = 0.0

    @property
    def log_likelihood(self) -> Array:
        """Of the whole series, burden and composition, ``(...)``; measured exposures are given, not explained."""
        total: Array = self.pointwise.sum(axis=-1) + self.composition.sum(axis=-1)
        return total


class Run(NamedTuple):
    """The mean field along the steps of a case: start, exposure ``(n_steps,)``, cells and potency at the end of each step."""

    start: Patient
    exposure: Exposure
    path: Cells
    potency: Array | None = None


def patient(values: dict[str, Any], power: float) -> Patient:
    """Rates and starting cells from sampled values, each ``(...)``; absent names count 0 (cells_per_unit and clone_size 1)."""
    get = {name: jnp.asarray(value) for name, value in values.items()}

    def of(name: str) -> Array:
        return get.get(name, jnp.zeros_like(get["net_growth_s"]))

    birth_s = of("net_growth_s") / (1.0 - of("turnover_s"))
    kill_s = of("net_growth_s") - of("decline_s")
    fitness_r, size = 1.0 - of("cost_r"), get.get("clone_size", jnp.ones_like(birth_s))
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
        mutation=jnp.minimum(of("mutation") * size, 0.5),
        escape_drug=of("escape_fold") * of("mutation") * birth_s * size,
        capacity=settled / (1.0 - of("turnover_s")),
        onset_days=of("onset_days"),
        washout_days=of("washout_days"),
        **{name: get[name] for name in OPTIONAL if name in get},
    )
    share_p, share_r, shed = of("persister_0"), of("resistant_0"), get.get("shed_p")
    if shed is not None:
        start = start / (1.0 - share_p * (1.0 - shed))
    cells = Cells(start * (1.0 - share_p) * (1.0 - share_r), start * share_p, start * share_r * size)
    if "secretome_share" in get:
        rates = rates._replace(secretome_half=get["secretome_share"] * kill_s * cells.sensitive)
    return Patient(rates, cells, log_unit, shed)


def run(values: dict[str, Any], case: Case, power: float) -> Run:
    """The mean field of one patient; all of ``values`` are ``()``."""
    start = patient(values, power)
    steps, lags = steps_of(values, case), (start.rates.onset_days, start.rates.washout_days)
    exposure = relax(steps, *lags, course=case.known)
    exposure, potency = attenuated(exposure, start.rates, case.length)
    days, pieces = jnp.where(case.moving, case.length, 0.0), 1 if silent(start.rates) else LOUD_PIECES
    path = mean_field(start.cells, start.rates, days, exposure, pieces=pieces)
    return Run(start, exposure, path, potency)


def steps_of(values: dict[str, Any], case: Case) -> Grid:
    """The steps of a case with their doses; where a stop is doubtful and the ``values`` say when it was, as they say."""
    if case.doubt is None or STOP not in values:
        return Grid(case.length, case.dose)
    return Grid(case.length, dosed(case.dose, case.doubt, values[STOP]))


def weigh(values: dict[str, Any], one: Run, case: Case, power: float) -> Curve:
    """What a run looks like at the visits, and how likely the series is then."""
    ends = jnp.append(one.exposure.start[1:], _last(one.exposure, case.length))

    def from_start(first: Any, along: Array) -> Array:
        return jnp.concatenate([jnp.reshape(jnp.asarray(first, float), (1,)), along])

    path = [from_start(first, along) for first, along in zip(one.start.cells, one.path, strict=True)]
    cells, sampled = (Cells(*(state[step] for state in path)) for step in (case.step, case.specimens.step))
    level = log_burden(visible(cells, one.start.shed_p), one.start.log_cells_per_unit, power)
    visits = Visits(case.gap, case.value, case.censoring, case.counting, case.seen)
    noise = (values["noise_sd"], values["wander_sd"], values["wander_days"])
    pointwise, wander = log_likelihood(visits, level, *noise)
    counts = composition.log_likelihood(case.specimens, sampled)
    potency = None if one.potency is None else from_start(FRESH, one.potency)[case.step]
    lag = lagging(values, one.start.rates, case)
    return Curve(
        cells, from_start(one.exposure.start[0], ends)[case.step], level, pointwise, wander, counts, potency, lag
    )


def lagging(values: dict[str, Any], rates: Rates, case: Case) -> Any:
    """Log-likelihood ``()`` of the lag's time constants, given measured exposures: each a normal value about the lag by itself,
    with standard deviation `LAG_SD`, and its weight (`exposure.along`). The series is followed under what was measured, as if
    without error, which is small beside that of the lag; what is to come goes by the lag.
    """
    if case.known is None:
        return jnp.zeros(())
    alone = relax(steps_of(values, case), rates.onset_days, rates.washout_days)
    there = jnp.isfinite(case.known.measured)
    off = jnp.where(there, within(alone, case.length) - jnp.nan_to_num(case.known.measured), 0.0)
    return jnp.sum(case.known.weight * norm.logpdf(off, scale=LAG_SD))


def follow(values: dict[str, Any], case: Case, power: float) -> Curve:
    """Run the mean field along one patient's visits and weigh the series; all of ``values`` are ``()``."""
    return weigh(values, run(values, case, power), case, power)


def _last(exposure: Exposure, length: Any) -> Array:
    """Exposure at the end of the last step."""
    return within(jax.tree.map(lambda part: part[-1], exposure), jnp.asarray(length)[-1])


@jax.jit
def derive(values: dict[str, Any], power: float) -> dict[str, Array]:
    """The rates that follow from the sampled ones (`DERIVED`), for the report's checks; each ``(...)``."""
    rates = patient(without_size(values), power).rates
    names = (*DERIVED, "secretome_half") if "secretome_share" in values else DERIVED
    return {name: jnp.broadcast_to(getattr(rates, name), jnp.shape(values["net_growth_s"])) for name in names}


@jax.jit
def trace_curves(values: dict[str, Any], case: Case, power: float) -> Curve:
    """`follow` for many draws: ``values`` each ``(n_draws,)``; each result gains a leading ``(n_draws,)``."""
    return jax.vmap(lambda row: follow(row, case, power))(values)


def resistant_share(curve: Curve, case: Case) -> Array:
    """Mean share of R over the visits of a curve, ``(...)``; which state carries the series, in one number."""
    share = curve.cells.resistant / jnp.maximum(curve.cells.total, 1e-6)
    return jnp.sum(jnp.where(case.seen, share, 0.0), axis=-1) / jnp.sum(jnp.asarray(case.seen))


def without_size(values: dict[str, Any]) -> dict[str, Any]:
    """The rates alone: what is to come does not depend on what became of the clone so far."""
    return {name: value for name, value in values.items() if name != "clone_size"}
