"""Would the fitted model make a series like this one? Replicated measurements of every draw against the measured ones.

Statistics of a series T(y), of the observed one and of each replicate: the lowest value, the largest step between visits, the
last value, and how many values lie under the floor. The floor is the highest limit under which a value of the series was left:
below it nothing is told apart, so the first three count no lower and the observed T is known. Values over a limit are left
out of both. p is the share of replicates with a higher T (ties count half): near 0 or 1, the model does not make such series.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference.subject import Subject, subject

if TYPE_CHECKING:
    import xarray as xr

STATISTICS = ("lowest_value", "largest_step", "last_value", "under_floor")
RARE = 0.025
"""A p so near 0 or 1 is told."""
BANDS = {"50": (0.25, 0.75), "90": (0.05, 0.95)}


def check(fit: xr.DataTree, patient: str) -> dict[str, Any]:
    """One patient's `predictive` object: coverage of measured values and the statistics with their p."""
    one = subject(fit, patient)
    drawn = fit["posterior_predictive"].to_dataset().sel(patient=patient)["burden"].values
    return judge(drawn.reshape(-1, drawn.shape[-1])[:, : len(one.series.day)], one)


def judge(replicates: np.ndarray, one: Subject) -> dict[str, Any]:
    """`check` from replicated burdens ``(n_replicates, n_visits)``."""
    visits = replicates.shape[1]
    value, mark = one.case.value[:visits], one.case.censoring[:visits]
    copies = np.log(np.maximum(replicates.astype(float), 1e-300))
    found = coverage(copies, value, mark == 0)
    kept = mark <= 0
    floor = float(value[mark < 0].max()) if (mark < 0).any() else None
    rows: dict[str, Any] = {}
    if kept.any():
        seen, made = statistics(value[None, kept], floor), statistics(copies[:, kept], floor)
        rows = {name: _row(name, seen[name][0], made[name]) for name in seen}
    return {"coverage": found, "measured": int(np.sum(mark == 0)), "statistics": rows}


def coverage(copies: np.ndarray, value: np.ndarray, measured: np.ndarray) -> dict[str, float | None]:
    """Share of the measured values within the middle 50 % and 90 % of the replicates; None without any."""
    if not measured.any():
        return dict.fromkeys(BANDS)
    found: dict[str, float | None] = {}
    for name, ends in BANDS.items():
        low, high = np.quantile(copies[:, measured], ends, axis=0)
        found[name] = float(np.mean((value[measured] >= low) & (value[measured] <= high)))
    return found


def statistics(value: np.ndarray, floor: float | None) -> dict[str, np.ndarray]:
    """T of log burdens ``(n, n_visits)``, each ``(n,)``; values as logs, the step as a factor's log."""
    held = value if floor is None else np.maximum(value, floor)
    found = {"lowest_value": held.min(axis=1), "last_value": held[:, -1]}
    if value.shape[1] > 1:
        found["largest_step"] = np.abs(np.diff(held, axis=1)).max(axis=1)
    if floor is not None:
        found["under_floor"] = np.sum(value <= floor, axis=1).astype(float)
    return {name: found[name] for name in STATISTICS if name in found}


def _row(name: str, seen: float, made: np.ndarray) -> dict[str, Any]:
    """Observed T, its range in the replicates and p; burdens in the unit of the file, the step as a factor."""
    p = float(np.mean(made > seen + 1e-9) + 0.5 * np.mean(np.abs(made - seen) <= 1e-9))
    told = np.append(seen, np.quantile(made, (0.05, 0.5, 0.95)))
    told = told if name == "under_floor" else np.exp(told)
    row = dict(zip(("observed", "q05", "q50", "q95"), told.tolist(), strict=True))
    return row | {"p_value": p, "rare": min(p, 1.0 - p) < RARE}
