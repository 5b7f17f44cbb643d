"""The population of a pooled fit: whether its draws can be trusted, and what it says of how patients are spread.

Judged are mean and standard deviation of every score that patients share a law of, over all patients, those apart among them,
and the effects of biomarkers. Of the correlations of each two scores, of which there are many, the worst R-hat and the least
effective size are told.

Laws are drawn given draws of each patient, half of the chains those of half of the walkers (`inference.gibbs`): R-hat sees what
so few draws err by, effective sizes do not. How many of a patient's draws count for a law is told and judged besides.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import leaning, store
from persist.inference.posterior import patients
from persist.validation import effects
from persist.validation.chains import MORE, convergence, problems

if TYPE_CHECKING:
    import xarray as xr


type Columns = dict[str, tuple[tuple[str, str], np.ndarray]]

FEW = 10.0
"""Draws of a patient that count for a law, at least: by one of whom there are ten, the log likelihood of a law errs by a third
of a nat."""

LONGER = "fit the cohort that it was learned from longer (persist fit --pool --warmup --draws)"
"""The remedy where a fit leans on the population of another."""


def examine(fit: xr.DataTree) -> dict[str, Any] | None:
    """R-hat, effective sizes, ``problems`` in sentences and, by parameter, quantiles of mean and spread in standard deviations
    of the pack's prior; the share of patients apart, how far they are, and how likely each patient of the cohort is one of
    them; the share without a resistant clone, and how likely each has none (None and empty where that is not asked, `_seeded`);
    the effects of biomarkers, if any are known (`validation.effects`), which are judged too. None for a fit that leans on no
    population.
    """
    if leaning.GROUP not in fit.children:
        return None
    group = fit[leaning.GROUP].to_dataset()
    walkers, own = 1 + int(group["lane"].max()), columns(group)
    found = convergence(store.dataset(own, {}), walkers)
    remedies = () if store.attribute(fit, "pooled") else (LONGER, LONGER)
    apart, free = _kinds(fit, group)
    said = [f"the population: {problem}" for problem in (*problems(found, *remedies), *_thin(group, *remedies[1:]))]
    pairs = _correlations(group)
    between = convergence(store.dataset(pairs, {}), walkers) if pairs else None
    return {
        "max_rhat": found.max_rhat,
        "min_ess_bulk": found.least("ess_bulk"),
        "min_ess_tail": found.least("ess_tail"),
        "correlations": {
            "max_rhat": None if between is None else between.max_rhat,
            "min_ess_bulk": None if between is None else between.least("ess_bulk"),
        },
        "effective": _effective(group),
        "problems": said,
        "ok": not said,
        "scores": {
            str(name): {kind: _quantiles(own[f"{kind} of {name}"][1]) for kind in ("mean", "spread")}
            for name in group["score"].values
        },
        "share_apart": _quantiles(group["share"].values),
        "apart": {str(name): _quantiles(group["apart"].sel(score=name).values) for name in group["score"].values},
        "is_apart": apart,
        "share_clone_free": _quantiles(group["clone_free"].values) if _seeded(group) else None,
        "is_clone_free": free if _seeded(group) else {},
        "effects": effects.told(group),
    }


def _kinds(fit: xr.DataTree, group: xr.Dataset) -> tuple[dict[str, float], dict[str, float]]:
    """How likely each patient is one of those apart, and one without a clone: of the cohort that the population was learned
    from, over all laws that were drawn; of those of the fit who came after it, by their draws (`leaning.belonging`).
    """
    own = [str(name) for name in group["member"].values]
    told = {name: leaning.belonging(fit, name) for name in patients(fit) if name not in own}
    cohort = {
        name: tuple(float(group[what].sel(member=name).mean()) for what in ("is_apart", "is_clone_free"))
        for name in own
    }
    both = cohort | told
    return {name: pair[0] for name, pair in both.items()}, {name: pair[1] for name, pair in both.items()}


def _seeded(group: xr.Dataset) -> bool:
    """Whether some patients may have no clone: not in a model without R, nor where all that seeds one is known."""
    return bool((group["shift"] != 0.0).any())


def _effective(group: xr.Dataset) -> dict[str, float] | None:
    """Least and median over patients of the number of draws that count for a law; None where the file does not tell."""
    if "effective" not in group:
        return None
    many = group["effective"].values
    return {"least": float(many.min()), "median": float(np.median(many))}


def _thin(group: xr.Dataset, more: str = MORE) -> list[str]:
    """That too few draws of a patient count for a law, where that is so, with the remedy: to keep ``more`` draws."""
    if "effective" not in group or group["effective"].min() >= FEW:
        return []
    many = group["effective"].values
    name, least = str(group["member"].values[many.argmin()]), float(many.min())
    others = int(np.sum(many < FEW)) - 1
    also = f", nor of {others} others" if others > 1 else ", nor of another" if others else ""
    return [f"not {FEW:.0f} draws of patient {name} count for a law ({least:.1f}){also}; {more}"]


def columns(group: xr.Dataset) -> Columns:
    """Mean and spread of the scores, the share without a clone, and effects of biomarkers on scores, each ``(chain, draw)``."""
    names, every = group["score"].values, leaning.everyone(group)
    found: Columns = {}
    if _seeded(group):
        found["share without a clone"] = (("chain", "draw"), group["clone_free"].values)
    spread = np.sqrt(np.diagonal(every.covariance, axis1=-2, axis2=-1))
    for kind, rows in (("mean", every.mean), ("spread", spread)):
        found |= {f"{kind} of {name}": (("chain", "draw"), rows[..., at]) for at, name in enumerate(names)}
    return found | {f"effect of {name} on {on}": (("chain", "draw"), rows) for name, on, rows in effects.draws(group)}


def _correlations(group: xr.Dataset) -> Columns:
    """The correlation of each two scores, ``(chain, draw)``."""
    names, covariance = group["score"].values, leaning.everyone(group).covariance
    found: Columns = {}
    spread = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    for one, other in combinations(range(len(names)), 2):
        value = covariance[..., one, other] / (spread[..., one] * spread[..., other])
        found[f"{names[one]} and {names[other]}"] = (("chain", "draw"), value)
    return found


def _quantiles(draws: np.ndarray) -> dict[str, float]:
    return dict(zip(("q05", "q50", "q95"), map(float, np.quantile(draws, (0.05, 0.5, 0.95))), strict=True))
