"""Whether a posterior can be trusted, by patient, in words: do chains agree, was anything lost, what do the data inform?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.dynamics.observe import OBSERVABLES, Observable
from persist.inference import store
from persist.inference.fate import FEW, living_founders
from persist.inference.posterior import own, patients, sized
from persist.inference.priors import load_pack
from persist.inference.subject import laws, subject
from persist.treatment.doubt import STOP
from persist.types import RATE_UNITS
from persist.validation import chains, populations, predictive
from persist.validation.chains import convergence
from persist.validation.correlations import correlations
from persist.validation.identify import against_prior, hangs_on, scores, verdict
from persist.validation.measurements import next_measurement, open_questions
from persist.validation.residuals import as_json as residuals_json
from persist.validation.residuals import pooled, residuals
from persist.validation.visible import Visible, hidden, visible

if TYPE_CHECKING:
    import xarray as xr

MODE_NATS = 3.0
MAX_LOST = 0.03
"""Share of trajectories that diverge at the common step and are left to the smaller ones."""
STUCK = 0.1
"""A walker that accepts less than this share of its steps hardly moved."""
MAX_FEW = 0.5
"""Share of the draws in which few founders of the clone live, where the fit took them for many (`fate.by_chance`)."""


class Health(NamedTuple):
    """One patient's diagnostics; ``problems`` are sentences, empty when all is well."""

    max_rhat: float
    min_ess_bulk: float
    min_ess_tail: float
    divergences: int
    chains: int
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """True if nothing was found."""
        return not self.problems


def examine(fit: xr.DataTree, patient: str) -> Health:
    """Diagnostics of one patient over all sampled and derived parameters and the composition."""
    posterior = fit["posterior"].to_dataset().sel(patient=patient)
    still = [str(name) for name, draws in posterior.data_vars.items() if not np.ptp(draws.values) > 0]  # also NaN
    stats = fit["sample_stats"].to_dataset().sel(patient=patient)
    watched = posterior.drop_vars(still)
    if np.ptp(stats["resistant_share"].values) > 0:
        watched = watched.assign(resistant_share=stats["resistant_share"])
    found = convergence(watched, 1 + int(stats["walker"].max()) if "walker" in stats else 1)
    divergences = int(np.asarray(stats["diverging"]).sum())
    problems = [
        f"{name} never moved or is no number: the sampler failed; fit again with another --seed"
        for name in still
        if name in (*fit["prior"], *own(posterior))
        or not np.isfinite(posterior[name]).all()  # derived rates may be 0 throughout
    ]
    problems += chains.problems(found) + _problems(divergences, np.asarray(stats["lp"])) + _stuck(stats)
    problems += _few_founders(posterior, observed(fit).power)
    return Health(
        found.max_rhat,
        found.least("ess_bulk"),
        found.least("ess_tail"),
        divergences,
        posterior.sizes["chain"],
        tuple(problems),
    )


def _few_founders(posterior: xr.Dataset, power: float) -> list[str]:
    """Whether the clone was taken for too large for chance, by the prior, and the posterior has it begin with few cells."""
    if sized(posterior) or "resistant_0" not in posterior:
        return []
    founders = living_founders({str(name): draws.values for name, draws in posterior.data_vars.items()}, power)
    share = float(np.mean(np.asarray(founders) < FEW))
    if share <= MAX_FEW:
        return []
    return [
        f"in {share:.0%} of the draws resistance began with under {FEW:.0f} living lines, whose chance this fit leaves out; "
        "give a prior that says so, such as --prior resistant_0=1e-9..1e-6"
    ]


def _stuck(stats: xr.Dataset) -> list[str]:
    """Walkers that hardly moved, and trajectories that were lost, in sentences."""
    if "walker" not in stats:
        return []
    count = 1 + int(stats["walker"].max())
    rate = stats["acceptance_rate"].values.reshape(stats.sizes["chain"] * count, -1).mean(axis=1)
    slow = int((rate < STUCK).sum())
    lost = float(stats["lost"].mean()) if "lost" in stats else 0.0
    found = []
    if slow:
        found.append(
            f"{slow} of {rate.size} walkers hardly moved: a narrow region of the posterior is misjudged; use a longer --warmup"
        )
    if lost > MAX_LOST:
        found.append(
            f"{lost:.1%} of the trajectories diverged (over {MAX_LOST:.0%}): the posterior has regions that are too narrow for "
            "the common step, where only smaller ones move; use a longer --warmup"
        )
    return found


def _problems(divergences: int, log_posterior: np.ndarray) -> list[str]:
    """What is wrong with trajectories and heights, each with its number and the remedy."""
    found = []
    if divergences:
        found.append(
            f"{divergences} divergent transitions: a region of the posterior may be missed; use a longer --warmup"
        )
    level = log_posterior.mean(axis=1)
    if np.ptp(level) > MODE_NATS:
        found.append(
            f"chains sit at different heights (mean log density from {level.min():.1f} to {level.max():.1f}): "
            "there is more than one mode, and the draws weigh them by chance"
        )
    return found


def rates(fit: xr.DataTree, patient: str, seen: Visible) -> dict[str, dict[str, Any]]:
    """Of every parameter its quantiles, its unit and what the data say of it: the verdict (`validation.identify`) with its
    reason, and whether they go against its prior; of a derived one (``informed`` None) what it depends on.
    """
    posterior = fit["posterior"].to_dataset().sel(patient=patient)
    prior, unit, rows = laws(fit, patient), units(fit), {}
    sources = hangs_on({name: float(posterior[name].median()) for name in prior}, observed(fit).power)
    for name in (str(one) for one in posterior.data_vars if one != STOP or one in prior):
        draws = np.asarray(posterior[name])
        low, middle, high = np.quantile(draws, (0.05, 0.5, 0.95))
        row = {"q05": low, "q50": middle, "q95": high, "unit": unit.get(name, "-")}
        if name in prior:
            z = scores(prior[name], draws)
            found = verdict(z, hidden(name, seen))
            told = found._asdict() | {"against_prior": against_prior(z), "depends_on": []}
        else:
            told = {"contraction": None, "at_least": None, "informed": None, "reason": "", "against_prior": False}
            told["depends_on"] = list(sources.get(name, ()))
        rows[name] = row | told
    return rows


def observed(fit: xr.DataTree) -> Observable:
    """What was measured in a fit."""
    return OBSERVABLES[str(fit.attrs["observable"])]


def units(fit: xr.DataTree) -> dict[str, str]:
    """Unit of every parameter, sampled or derived; burdens are in the unit of the file."""
    pack = load_pack(store.attribute(fit, "settings")["pack"], observed(fit).cells)
    found = RATE_UNITS | {name: prior.unit for name, prior in pack.every.items()}
    return found | dict.fromkeys(("burden_0", "settled_burden"), str(fit.attrs["unit"]) or "burden")


def as_json(fit: xr.DataTree) -> dict[str, Any]:
    """The `patients` object of `fit` and `diagnose`. What is wrong with the population that they lean on is wrong with each."""
    found: dict[str, Any] = whole(fit)["patients"]
    return found


def whole(fit: xr.DataTree) -> dict[str, Any]:
    """What `diagnose` says: of each of the ``patients``, of the ``residuals`` of all together, and of the ``population``."""
    population = populations.examine(fit)
    shared = [] if population is None else population["problems"]
    report = {patient: _as_json(fit, patient, shared) for patient in patients(fit)}
    together = pooled(one["residuals"] for one in report.values())
    return {"patients": report, "residuals": together, "population": population}


def _as_json(fit: xr.DataTree, patient: str, shared: list[str]) -> dict[str, Any]:
    health, series = examine(fit, patient), subject(fit, patient).series
    health = health._replace(problems=(*health.problems, *shared))
    seen = visible(series)
    found = rates(fit, patient, seen)
    drawn = fit["posterior"].to_dataset().sel(patient=patient)
    return health._asdict() | {
        "ok": health.ok,
        "rates": found,
        "correlations": correlations({str(name): np.asarray(drawn[name]) for name in drawn.data_vars}),
        "next_measurement": next_measurement(fit, patient, found),
        "open_questions": open_questions(found, seen),
        "residuals": residuals_json(residuals(fit, patient), series.day),
        "predictive": predictive.check(fit, patient),
    }
