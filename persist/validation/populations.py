"""The population of a pooled fit: whether its draws can be trusted, and what it says of how patients are spread.

Judged are mean and standard deviation of every score that patients share a law of. Of the correlations of each two of them, of
which there are many, the worst R-hat and the least effective size are told.
"""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import leaning, store
from persist.validation.chains import convergence, problems

if TYPE_CHECKING:
    import xarray as xr


type Columns = dict[str, tuple[tuple[str, str], np.ndarray]]

LONGER = "fit the cohort that it was learned from longer (persist fit --pool --warmup --draws)"
"""The remedy where a fit leans on the population of another."""


def examine(fit: xr.DataTree) -> dict[str, Any] | None:
    """R-hat, effective sizes, ``problems`` in sentences and, by parameter, quantiles of mean and spread in standard deviations
    of the pack's prior; None for a fit that leans on no population.
    """
    if leaning.GROUP not in fit.children:
        return None
    group = fit[leaning.GROUP].to_dataset()
    walkers, columns = 1 + int(group["lane"].max()), _columns(group)
    found = convergence(store.dataset(columns, {}), walkers)
    remedies = () if store.attribute(fit, "pooled") else (LONGER, LONGER)
    said = [f"the population: {problem}" for problem in problems(found, *remedies)]
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
        "problems": said,
        "ok": not said,
        "scores": {
            str(name): {kind: _quantiles(columns[f"{kind} of {name}"][1]) for kind in ("mean", "spread")}
            for name in group["score"].values
        },
    }


def _columns(group: xr.Dataset) -> Columns:
    """Mean and spread of the scores, each ``(chain, draw)``."""
    names = group["score"].values
    found: Columns = {}
    spread = np.sqrt(np.diagonal(group["covariance"].values, axis1=-2, axis2=-1))
    for kind, rows in (("mean", group["mean"].values), ("spread", spread)):
        found |= {f"{kind} of {name}": (("chain", "draw"), rows[..., at]) for at, name in enumerate(names)}
    return found


def _correlations(group: xr.Dataset) -> Columns:
    """The correlation of each two scores, ``(chain, draw)``."""
    names, covariance = group["score"].values, group["covariance"].values
    found: Columns = {}
    spread = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    for one, other in combinations(range(len(names)), 2):
        value = covariance[..., one, other] / (spread[..., one] * spread[..., other])
        found[f"{names[one]} and {names[other]}"] = (("chain", "draw"), value)
    return found


def _quantiles(draws: np.ndarray) -> dict[str, float]:
    return dict(zip(("q05", "q50", "q95"), map(float, np.quantile(draws, (0.05, 0.5, 0.95))), strict=True))
