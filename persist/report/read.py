"""What the page draws of one patient, read from the files: what was measured and fitted, and the futures of each plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.inference import store
from persist.inference.posterior import LEVELS
from persist.treatment.schedule import dose_at

if TYPE_CHECKING:
    from persist.types import Schedule, Series


class History(NamedTuple):
    """One patient up to the last visit. ``fitted`` burden at the levels 5, 25, 50, 75, 95 % ``(5, n_visits)``; mean
    ``shares`` of S, P, R ``(3, n_visits)`` (both None in a file without them); ``replicated`` measurements at the same levels
    ``(5, n_visits)``; ``landmark`` the day on which the plans start, None without a forecast.
    """

    series: Series
    schedule: Schedule
    fitted: np.ndarray | None
    shares: np.ndarray | None
    replicated: np.ndarray
    landmark: float | None


class Future(NamedTuple):
    """One patient under one plan. ``day`` ``(n_days,)`` is the patient's own; ``burden`` ``(n_days, 5)``; ``shares``
    ``(n_days, 3)``; ``dose`` ``(n_days,)``; ``median`` the median day of progression, None where it is not reached.
    """

    plan: str
    day: np.ndarray
    burden: np.ndarray
    shares: np.ndarray
    dose: np.ndarray
    median: float | None


def history(fit: store.DataTree, series: Series, landmark: float | None) -> History:
    """Data and fit of one patient."""
    name, visits = series.patient_id, len(series.day)
    drawn = fit["posterior_predictive"].to_dataset().sel(patient=name)["burden"].values[..., :visits]
    burden, shares = None, None
    if "fitted" in fit.children:
        fitted = fit["fitted"].to_dataset().sel(patient=name)
        burden = fitted["burden"].transpose("level", "visit").values[:, :visits]
        shares = fitted["shares"].transpose("state", "visit").values[:, :visits]
    replicated = np.quantile(drawn, LEVELS, axis=(0, 1))
    return History(series, next(iter(series.schedules.values())), burden, shares, replicated, landmark)


def futures(forecast: store.DataTree, patient: str) -> list[Future]:
    """The futures of one patient, one a plan, in the order of the file."""
    record = forecast["futures"].to_dataset().sel(patient=patient)
    start = store.attribute(forecast, "settings")["patients"][patient]["start"]
    ends = store.attribute(forecast, "summary")[patient]["plans"]
    return [_future(record.sel(plan=plan), str(plan), start, ends[str(plan)]) for plan in record["plan"].values]


def _future(record: Any, plan: str, start: float, ends: dict[str, Any]) -> Future:
    seen = np.isfinite(record["day"].values)
    median = ends["time_to_progression"]["q50"]
    return Future(
        plan,
        start + record["day"].values[seen],
        record["burden"].transpose("time", "level").values[seen],
        record["shares"].transpose("time", "state").values[seen],
        record["dose"].values[seen],
        None if median is None else start + median,
    )


def treated(schedule: Schedule, first: float, last: float) -> list[tuple[float, float]]:
    """Stretches on drug within ``first`` to ``last``."""
    pairs = zip(schedule.start.tolist(), schedule.stop.tolist(), strict=True)
    inside = ((max(start, first), min(stop, last)) for start, stop in pairs)
    return [(start, stop) for start, stop in inside if stop > start]


def doses(schedule: Schedule, first: float, last: float) -> tuple[np.ndarray, np.ndarray]:
    """Days at which the dose changes and the dose from each on, from ``first`` to ``last``: a staircase."""
    edges = np.concatenate([schedule.start, schedule.stop[np.isfinite(schedule.stop)]])
    day = np.unique(np.concatenate([[first], edges[(edges > first) & (edges < last)], [last]]))
    return day, dose_at(schedule, day)
