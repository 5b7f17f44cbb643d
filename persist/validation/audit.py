"""The audit: is the fast likelihood that of the stochastic model, and does a correction by it hold?

    gap    = fast - particle filter, log p(y | rates), mean over posterior draws; what the fit samples beside the rates and
             the wander integrated out in both
    weight = exp(particle filter - fast) of each draw: with these, the draws are of the posterior of the stochastic model

The likelihood of each draw is the mean of `FILTERS` independent estimates. It is unbiased, its log is not: with v the variance
of an estimate's log, log of the mean lies lower by about v / (2 FILTERS), which the gap is put right by (delta method).

A small error of the estimates leaves the weights unbiased (Vihola, Helske & Franks 2020, 10.1111/sjos.12492). They are
Pareto-smoothed, and their k-hat says whether the correction can be trusted: up to min(1 - 1 / log10 S, 0.7) with S draws
(Vehtari et al. 2024, jmlr.org/papers/v25/19-556.html). Over 0.7 the patient is marked; between, where few draws cannot tell a
tail from chance, corrected rates are not told. Weighted quantiles interpolate between draws, each of which stands in
the middle of its weight; of equal weights, they are Hazen's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import logsumexp

from persist.errors import UsageError
from persist.inference import posterior, store
from persist.inference.cohort import case, observable, pad
from persist.inference.curve import follow
from persist.inference.fate import SIZE, fate
from persist.inference.particles import log_likelihood
from persist.validation.health import units
from persist.validation.held_out import khat_limit, smoothed

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case

MOST_GAP, MOST_ERROR, MOST_KHAT = 0.5, 0.2, 0.7
LEAST_DRAWS = 50
"""Fewer draws say nothing of the correction: of 30, whose tail is six values and whose limit 0.32, a third of the k-hats of
harmless weights (log-normal, standard deviation 0.1) are over it by chance; of 50 a tenth, of 100 a hundredth.
"""
LEVELS = {"q05": 0.05, "q50": 0.5, "q95": 0.95}

FILTERS, MOST_NOISE = 4, 0.5
"""Filters of each draw, among which its particles are divided, and the most that the log of their mean may err by: there the
bias of the log is 0.165, and what is taken off 0.125."""

NODES = np.linspace(-7.0, 7.0, 141)
"""Where the fate of the clone is looked at, in its coordinate that is about standard normal."""


class Audit(NamedTuple):
    """One patient's audit: of each draw ``(n_draws,)`` the log-likelihood that the fit used (``fast``), by the particle filter
    (``exact``), of the ``mean_field`` and with the ``clone``'s law; log ``weight``, smoothed and normalised, and its ``khat``.
    ``noise`` is the standard error of ``exact`` by its filters, of all draws together. ``rates`` are the sampled values, each
    in its ``unit``, of the draws whose places in the fit are ``chain`` and ``draw``.
    """

    fast: np.ndarray
    exact: np.ndarray
    mean_field: np.ndarray
    clone: np.ndarray
    weight: np.ndarray
    khat: float
    noise: float
    rates: dict[str, np.ndarray]
    unit: dict[str, str]
    chain: np.ndarray
    draw: np.ndarray

    @property
    def gap(self) -> float:
        """Mean of fast minus exact, nats."""
        return self.gap_of(self.fast)

    def gap_of(self, other: np.ndarray) -> float:
        """Mean of some log-likelihood ``(n_draws,)`` minus exact, nats, less what the log of a mean is biased by."""
        return float(np.mean(other - self.exact) - 0.5 * self.noise**2)

    @property
    def gap_mcse(self) -> float:
        """Its Monte-Carlo error: of the draws, and of the filter in each."""
        return float(np.std(self.fast - self.exact, ddof=1) / np.sqrt(len(self.fast)))

    @property
    def ess(self) -> float:
        """How many draws of equal weight these weigh as much as (Kish)."""
        return float(1.0 / np.sum(np.exp(2.0 * self.weight)))

    @property
    def failure(self) -> str:
        """Why the correction cannot be trusted, in a sentence; empty if it can."""
        draws = len(self.fast)
        if self.khat <= khat_limit(draws):
            return ""
        what = "is not known to hold" if self.khat <= MOST_KHAT else "failed"
        limit = f"(of {draws} draws, at most {khat_limit(draws):.2f} is good)"
        return f"the correction {what}: Pareto k-hat is {self.khat:.2f} {limit}; use more --draws or --particles"

    @property
    def failed(self) -> list[str]:
        """The failure of the correction, where it is no matter of few draws."""
        return [] if self.khat <= MOST_KHAT else [self.failure]

    @property
    def off(self) -> list[str]:
        """What is wrong with the fast likelihood, in sentences."""
        if abs(self.gap) < MOST_GAP:
            return []
        return [f"the fast likelihood is off by {self.gap:+.2f} nats on average (allowed: {MOST_GAP})"]

    @property
    def unknown(self) -> list[str]:
        """What is not known well enough to tell, in sentences."""
        found = []
        if not self.gap_mcse < MOST_ERROR:
            found.append(f"the gap is known to {self.gap_mcse:.2f} nats only; use more --particles or --draws")
        if not self.noise < MOST_NOISE:
            found.append(f"the filter errs by {self.noise:.2f} nats (allowed: {MOST_NOISE:g}); use more --particles")
        return found

    @property
    def problems(self) -> list[str]:
        """What is wrong, in sentences."""
        return [*self.off, *self.unknown, *self.failed]

    @property
    def verdict(self) -> str:
        """The gravest of the problems in a few words."""
        if self.off:
            return "DO NOT RELY ON THE FAST LIKELIHOOD"
        if self.unknown:
            return "THE GAP IS NOT KNOWN WELL ENOUGH"
        return "THE CORRECTION FAILED" if self.failed else "the fast likelihood holds"

    def quantiles(self, name: str) -> dict[str, dict[str, float | None]]:
        """Of one rate, of the audited draws: as ``fitted``, and as ``corrected`` by the weights, None if that failed."""
        values, alike = self.rates[name], np.full(len(self.weight), -np.log(len(self.weight)))
        corrected: dict[str, float | None] = dict.fromkeys(LEVELS)
        if not self.failure:
            corrected = weighted(values, self.weight)
        return {"fitted": weighted(values, alike), "corrected": corrected}


def weighted(values: np.ndarray, weight: np.ndarray) -> dict[str, float | None]:
    """Quantiles of draws ``(n,)`` at `LEVELS`, by their normalised log weights ``(n,)``."""
    order = np.argsort(values)
    share = np.exp(weight[order])
    found = np.interp(list(LEVELS.values()), np.cumsum(share) - 0.5 * share, values[order])
    return dict(zip(LEVELS, found.tolist(), strict=True))


def audit(
    fit: store.DataTree,
    name: str,
    *,
    draws: int = 50,
    particles: int = 1000,
    seed: int = 0,
    progress: Callable[[int, int], None] | None = None,
) -> Audit:
    """The audit of one patient of a fit; `UsageError` for too few draws or particles."""
    if draws < LEAST_DRAWS or particles < 2 * FILTERS:
        raise UsageError(
            f"{draws} draws of {particles} particles are too few",
            remedy=f"give {LEAST_DRAWS} and {2 * FILTERS} or more",
        )
    series = next(one for one in posterior.series(fit) if one.patient_id == name)
    kind = observable(series.observable)
    one = case(pad([series], pack=store.attribute(fit, "settings")["pack"]), 0, counted=kind.counted)
    values = posterior.thinned(fit, name, draws)
    exact, noise = _filtered(seed, name, values, one, kind.power, particles, progress)
    sums = _sums(values, one, kind.power)
    fast = sums[0] if SIZE in values else sums[1]
    weight, khat = smoothed(exact - fast, 1.0)
    chain, draw = np.divmod(posterior.taken(fit, draws), fit["posterior"].sizes["draw"])
    rates, unit = {rate: value for rate, value in values.items() if rate != SIZE}, units(fit)
    return Audit(fast, exact, sums[1], sums[0], weight, khat, noise, rates, unit, chain, draw)


def _filtered(
    seed: int,
    name: str,
    values: dict[str, np.ndarray],
    one: Case,
    power: float,
    particles: int,
    progress: Callable[[int, int], None] | None,
) -> tuple[np.ndarray, float]:
    """Log of the mean of the filters' estimates ``(n_draws,)``, and its standard error."""
    found = []
    for number in range(FILTERS):

        def tell(done: int, total: int, before: int = number) -> None:
            if progress is not None:
                progress(before * total + done, FILTERS * total)

        label = f"{name}, filter {number}"
        found.append(log_likelihood(seed, label, values, one, power, particles // FILTERS, tell))
    spread = float(np.mean(np.var(found, axis=0, ddof=1)))
    return np.asarray(logsumexp(jnp.asarray(found), axis=0)) - np.log(FILTERS), float(np.sqrt(spread / FILTERS))


def _sums(values: dict[str, np.ndarray], one: Case, power: float) -> tuple[np.ndarray, np.ndarray]:
    """Fast log-likelihood of each draw with the fate of the clone integrated out, and that of the mean field ``(n_draws,)``."""
    own = {name: jnp.asarray(value, float) for name, value in values.items() if name != SIZE}
    fates = _integrated if "resistant_0" in own else _alone
    return np.asarray(fates(own, one, power)), np.asarray(_alone(own, one, power))


@jax.jit
def _integrated(values: dict[str, Array], one: Case, power: float) -> Array:
    def under(row: dict[str, Array]) -> Array:
        found = jax.vmap(lambda z: fate(row, z, one, power))(jnp.asarray(NODES))
        return logsumexp(found.density + found.curve.log_likelihood) + jnp.log(NODES[1] - NODES[0])

    sums: Array = jax.lax.map(under, values)
    return sums


@jax.jit
def _alone(values: dict[str, Array], one: Case, power: float) -> Array:
    return jax.vmap(lambda row: follow(row, one, power).log_likelihood)(values)


def as_json(found: Audit) -> dict[str, Any]:
    """One patient of the `audit` object."""
    rates = {name: {"unit": found.unit.get(name, "-")} | found.quantiles(name) for name in found.rates}
    return {
        "loglik_gap": found.gap,
        "gap_mcse": found.gap_mcse,
        "khat": found.khat,
        "khat_limit": khat_limit(len(found.fast)),
        "ok": not found.problems,
        "verdict": found.verdict,
        "problems": found.problems,
        "mean_field_gap": found.gap_of(found.mean_field),
        "clone_law_gap": found.gap_of(found.clone),
        "filter_noise": found.noise,
        "draws": len(found.fast),
        "ess": found.ess,
        "correction": {"ok": not found.failure, "reason": found.failure},
        "rates": rates,
        "weights": {"chain": found.chain, "draw": found.draw, "weight": np.exp(found.weight)},
    }
