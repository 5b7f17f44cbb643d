"""The population of a pooled fit: whether its draws can be trusted, and what it says of how patients are spread.

Judged are mean and standard deviation of every score that patients share a law of, and the correlation of each two of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import leaning, store
from persist.validation.chains import convergence, problems

if TYPE_CHECKING:
    import xarray as xr


def examine(fit: xr.DataTree) -> dict[str, Any] | None:
    """R-hat, effective sizes, ``problems`` in sentences and, by parameter, quantiles of mean and spread in standard deviations
    of the pack's prior; None for a fit that leans on no population.
    """
    if leaning.GROUP not in fit.children:
        return None
    group = fit[leaning.GROUP].to_dataset()
    columns = _columns(group)
    found = convergence(columns, 1 + int(group["lane"].max()))
    said = problems(found)
    return {
        "max_rhat": found.max_rhat,
        "min_ess_bulk": found.least("ess_bulk"),
        "min_ess_tail": found.least("ess_tail"),
        "problems": said,
        "ok": not said,
        "scores": {
            str(name): {kind: _quantiles(columns[f"{kind} of {name}"]) for kind in ("mean", "spread")}
            for name in group["score"].values
        },
    }


def _columns(group: xr.Dataset) -> xr.Dataset:
    """Mean, spread and correlations of the scores, each ``(chain, draw)``."""
    mean, covariance, names = group["mean"].values, group["covariance"].values, group["score"].values
    spread = np.sqrt(np.diagonal(covariance, axis1=-2, axis2=-1))
    found = {f"mean of {name}": mean[..., at] for at, name in enumerate(names)}
    found |= {f"spread of {name}": spread[..., at] for at, name in enumerate(names)}
    for at, name in enumerate(names):
        for on in range(at):
            scale = spread[..., at] * spread[..., on]
            found[f"correlation of {name} and {names[on]}"] = covariance[..., at, on] / scale
    return store.dataset({name: (("chain", "draw"), rows) for name, rows in found.items()}, {})


def _quantiles(draws: xr.DataArray) -> dict[str, float]:
    return dict(zip(("q05", "q50", "q95"), map(float, np.quantile(draws.values, (0.05, 0.5, 0.95))), strict=True))
