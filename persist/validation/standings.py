"""Models side by side by what they foretold: differences with their standard errors, and stacking weights.

    weights = argmax over the simplex of  sum_i log sum_m w_m exp(elpd_i,m)

(Yao, Vehtari, Simpson & Gelman 2018, 10.1214/17-BA1091), by ArviZ. They are the weights of the mixture that foretells best, and
no probabilities of the models: of two that foretell alike, either may get all the weight. So differences stand beside them:

    difference = sum_i d_i,   d_i = elpd_i,m - elpd_i,best      se = sqrt(n var d)

With several patients, values of one hang together: the larger of this error and that of the patients' sums is taken. A
difference within two of its errors is a tie. Under 4 nats, or with fewer than 100 values, the error itself is poorly known,
mostly too small (Sivula et al. 2025, 10.48550/arXiv.2008.10296).
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import arviz as az
import numpy as np
from xarray import DataArray

if TYPE_CHECKING:
    from collections.abc import Mapping

TIE_ERRORS = 2.0
"""A difference within so many of its standard errors is a tie."""
SMALL_NATS = 4.0
"""A difference under this has a standard error that is poorly known."""
LEAST_SCORES = 5
"""Of fewer scores no standard error is told, so that they never part two models."""
NO_WEIGHT = 1e-6
"""Weights below are the optimiser's zeros."""


class Standing(NamedTuple):
    """One model beside the best: summed ``elpd`` and its error ``se`` (nats), stacking ``weight``, ``difference`` to the best
    and its error ``difference_se`` (None where it cannot be known), and whether it is a ``tie``.
    """

    elpd: float
    se: float | None
    weight: float
    difference: float
    difference_se: float | None
    tie: bool


def standings(
    elpd: Mapping[str, np.ndarray], patient: np.ndarray | None = None, overlap: int = 1
) -> dict[str, Standing]:
    """Of pointwise scores ``(n,)``, n > 0, of each model; ``patient`` ``(n,)`` says whose each value is (None: of one).

    ``overlap``: scores of so many values that follow on each other share values (leave-future-out of several ahead), so
    that errors grow by its root.
    """
    rows = np.stack(list(elpd.values()))
    shifted = rows - rows.max(axis=0)  # the weights do not change, and no density is too small for a number
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        table = az.compare(
            {name: _as_elpd(row) for name, row in zip(elpd, shifted, strict=True)}, method="stacking", round_to="none"
        )
    weight = np.clip(np.array([float(table.loc[name, "weight"]) for name in elpd]), 0.0, None)
    weight = np.where(weight < NO_WEIGHT, 0.0, weight)
    best = rows[int(rows.sum(axis=1).argmax())]
    return {
        name: _standing(row, best, float(share), patient, overlap)
        for name, row, share in zip(elpd, rows, weight / weight.sum(), strict=True)
    }


def _standing(row: np.ndarray, best: np.ndarray, weight: float, patient: np.ndarray | None, overlap: int) -> Standing:
    difference, error = float((row - best).sum()), standard_error(row - best, patient, overlap)
    tie = difference == 0.0 or error is None or abs(difference) <= TIE_ERRORS * error
    return Standing(float(row.sum()), standard_error(row, patient, overlap), weight, difference, error, tie)


def standard_error(scores: np.ndarray, patient: np.ndarray | None = None, overlap: int = 1) -> float | None:
    """Of the sum of scores ``(n,)``; the larger of that by values and that by patients; None for fewer than `LEAST_SCORES`."""
    if len(scores) < LEAST_SCORES:
        return None
    groups = [scores]
    if patient is not None and len(np.unique(patient)) > 1:
        groups.append(np.array([scores[patient == one].sum() for one in np.unique(patient)]))
    root = [np.sqrt(overlap), 1.0]
    return float(max(r * np.sqrt(len(g)) * g.std(ddof=1) for r, g in zip(root, groups, strict=False)))


def words(found: Mapping[str, Standing], what: str) -> str:
    """The standings in a sentence; ``what`` was held out, such as "left-out values"."""
    best = next(name for name, one in found.items() if one.difference == 0.0)
    rest = sorted(((name, one) for name, one in found.items() if name != best), key=lambda pair: -pair[1].difference)
    if all(one.tie for _, one in rest):
        behind = ", ".join(f"{name} is {_beside(one)} behind" for name, one in rest)
        return f"none foretells {what} clearly better than another; {best} is first, {behind}: a tie."
    told = [f"{name} ties ({_beside(one)})" if one.tie else f"{name} is worse by {_beside(one)}" for name, one in rest]
    small = any(not one.tie and -one.difference < SMALL_NATS for _, one in rest)
    caution = f" Differences under {SMALL_NATS:g} nats are small: their errors are uncertain." if small else ""
    return f"{best} foretells {what} best; {', '.join(told)}.{caution}"


def _beside(one: Standing) -> str:
    error = "unknown" if one.difference_se is None else f"{one.difference_se:.1f}"
    return f"{-one.difference:.1f} ± {error} nats"


def _as_elpd(scores: np.ndarray) -> Any:
    """Pointwise scores as ArviZ compares them."""
    total, count = float(scores.sum()), len(scores)
    return az.ELPDDataLOO(
        elpd=total,
        se=float(np.sqrt(count) * scores.std()),
        p=np.nan,
        n_samples=1,
        n_data_points=count,
        scale="log",
        warning=False,
        good_k=np.inf,
        elpd_i=DataArray(scores, dims="value"),
        pareto_k=None,
    )
