"""Where a back-test cuts the series of a patient: what is known at a landmark, and what was measured after it.

By default a landmark is the start of every on-treatment period from the second on, with at least `EARLIER` values up to it;
``after:N`` is the N-th value, for series without a pause. Treatments after the landmark are given: the question is the tumour,
not the clinician.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.inference.cohort import observable, one_schedule

if TYPE_CHECKING:
    from persist.types import Schedule, Series

EARLIER = 8
"""Values that a landmark at the start of a period needs up to it."""

HORIZONS = ((0.0, 182.0), (182.0, 365.0))
"""Days after the landmark (from, up to and with) that are scored apart."""

PSA_FLOOR = 0.1
"""ng/mL up to which no difference counts; of counts it is one cell, of other burdens the limit of a censored value alone."""

SETTLED, LATE = 14.0, 7.0
"""A period is judged later than so many days after its start and up to so many after its end."""

LEAST_VALUES = 3
"""Values that a period needs to be judged."""


class Cut(NamedTuple):
    """A landmark: the series up to it, the schedule ``given`` throughout, and of what was measured later the ``days`` ``(n,)``,
    log burdens ``value``, and logs of the ``floor`` up to which no difference counts.

    ``period`` tells which of the days belong to the on-treatment period that begins here and is judged; none if it is not.
    """

    series: Series
    day: float
    given: Schedule
    days: np.ndarray
    value: np.ndarray
    floor: np.ndarray
    period: np.ndarray

    @property
    def after(self) -> np.ndarray:
        """Days after the landmark, ``(n,)``."""
        return self.days - self.day

    @property
    def scored(self) -> np.ndarray:
        """Which of the values are scored, ``(n,)``."""
        return np.asarray(self.after <= HORIZONS[-1][1])


def cuts(series: Series, landmark: str = "cycles", drug: str | None = None) -> list[Cut]:
    """The landmarks of a patient after which something was measured; `UsageError` for an unknown kind of landmark."""
    given = one_schedule(series, drug)
    found = [_cut(series, given, day) for day in _days(series, given, landmark)]
    return [one for one in found if one.scored.any()]


def _days(series: Series, given: Schedule, landmark: str) -> list[float]:
    if landmark == "cycles":
        begins = [start for start, _ in periods(given)][1:]
        return [start for start in begins if np.sum(series.day <= start) >= EARLIER]
    kind, _, number = landmark.partition(":")
    if kind != "after" or not number.isdigit() or int(number) < 1:
        raise UsageError(
            f'"{landmark}" is no landmark', where="--landmark", remedy="choose cycles, or after:N such as after:3"
        )
    return [float(series.day[int(number) - 1])] if len(series.day) >= int(number) else []


def periods(given: Schedule) -> list[tuple[float, float]]:
    """Starts and ends of unbroken times on drug."""
    found: list[tuple[float, float]] = []
    for start, stop, dose in zip(given.start, given.stop, given.dose, strict=True):
        if dose > 0.0:
            joined = found and start <= found[-1][1] + 1e-6
            found = [*found[:-1], (found[-1][0], float(stop))] if joined else [*found, (float(start), float(stop))]
    return found


def _cut(series: Series, given: Schedule, day: float) -> Cut:
    later = (series.day > day) & (series.censoring <= 0)  # of a value over a limit no distance can be told
    days, burden, left = series.day[later], series.burden[later], series.censoring[later] < 0
    least = PSA_FLOOR if series.observable == "psa" else 1.0 if observable(series.observable).counted else 1e-300
    floor = np.maximum(np.where(left, burden, least), least)
    period = np.zeros(len(days), bool)
    for start, stop in periods(given):
        if abs(start - day) < 1e-6 and series.observable == "psa":
            period = (days > start + SETTLED) & (days <= stop + LATE)
    known = series.until(day)
    return Cut(
        known,
        day,
        given,
        days,
        np.log(np.maximum(burden, floor)),
        np.log(floor),
        period if period.sum() >= LEAST_VALUES else np.zeros(len(days), bool),
    )


def fails(value: np.ndarray) -> np.ndarray:
    """Whether a period of log burdens ``(..., n)`` fails, ``(...)``: its nadir is 4 ng/mL or more, or the burden rises by 25 %
    and 2 ng/mL over the lowest before.
    """
    burden = np.exp(value)
    lowest = np.minimum.accumulate(burden, axis=-1)
    rises = (burden >= 1.25 * lowest) & (burden - lowest >= 2.0)
    return np.asarray((burden.min(axis=-1) >= 4.0) | rises.any(axis=-1))
