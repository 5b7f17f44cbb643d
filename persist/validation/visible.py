"""What the treatment and the measurements of a patient can show at all, whatever their values.

A parameter whose effect never arises in a series may still contract there: through another one with which it enters as a
product or a sum, or by the shape of the prior. (On drug, persisters return at r_0 (1 - phi): a bound on the product bounds
``reversion`` too, by as much as the prior of ``reversion_block`` is believed.) So what the design cannot show is never called
informed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.treatment.schedule import CLOSE, dose_at
from persist.types import MARKERS

if TYPE_CHECKING:
    from persist.types import Schedule, Series


class Visible(NamedTuple):
    """Within the visits of a patient: was the drug given, was it ever lowered or stopped, in how many periods and at how many
    levels of dose, is it given up to the last visit, of which ``markers`` were fractions measured, and was the ``exposure``
    measured both on the drug and off it.
    """

    treated: bool
    paused: bool
    periods: int
    levels: int
    on_now: bool
    markers: frozenset[str]
    exposure: bool = False


_ON_DRUG = (
    *("decline_s", "tolerance_drug", "reversion_block", "escape_fold", "kill_p_share", "kill_r_share"),
    *("onset_days", "attenuation_rate", "shed_p"),
)
_AFTER_DRUG = ("reversion", "washout_days", "effect_half", "recovery_rate")
_AT_LEVELS = ("tolerance_power", "kill_half")
_SECRETOME = "secretome_"


def visible(series: Series) -> Visible:
    """What the schedule and the measurements of a patient allow to see."""
    schedule = next(iter(series.schedules.values()), None)
    first, last = float(series.day[0]), float(series.day[-1])
    markers, exposed = _markers(series), _exposed(series)
    if schedule is None or len(schedule.start) == 0:
        return Visible(False, False, 0, 0, False, markers, exposed)
    seen = (schedule.dose > 0.0) & (schedule.start < last) & (schedule.stop > first)
    levels = np.unique(np.round(schedule.dose[seen], 6))
    fresh = np.append(True, schedule.start[1:] > schedule.stop[:-1] + CLOSE)
    on_now = bool(dose_at(schedule, last - CLOSE) > 0.0)
    lowered, periods = _lowered(schedule, first, last), int(np.sum(seen & fresh))
    return Visible(bool(seen.any()), lowered, periods, len(levels), on_now, markers, exposed)


def _lowered(schedule: Schedule, first: float, last: float) -> bool:
    """Whether the dose fell while the patient was watched."""
    ends = schedule.stop[(schedule.stop >= first) & (schedule.stop < last)]
    return bool(np.any(dose_at(schedule, ends) < dose_at(schedule, ends - 2.0 * CLOSE)))


def _exposed(series: Series) -> bool:
    """Whether the exposure was measured on the drug and, at least twice within the visits, after it was stopped or lowered."""
    schedule = next(iter(series.schedules.values()), None)
    if schedule is None or len(schedule.start) == 0:
        return False
    day = series.levels.day[(series.levels.day >= series.day[0]) & (series.levels.day <= series.day[-1])]
    on = dose_at(schedule, day - CLOSE) > 0.0
    return bool(on.any() and np.sum(~on & (day > schedule.stop.min())) >= 2)


def _markers(series: Series) -> frozenset[str]:
    """Markers whose fractions were measured beside the burden."""
    return frozenset(MARKERS[int(one)] for one in series.composition.marker)


def hidden(name: str, seen: Visible) -> str:
    """Why this design cannot show a parameter, in words; "" where it can."""
    if name in (*_ON_DRUG, *_AFTER_DRUG) and not seen.treated:
        return "the drug was not given while this series was measured"
    if name in _AFTER_DRUG and not seen.paused:
        return "the drug was never stopped or lowered before the last visit"
    if name in _AT_LEVELS and seen.levels < 2:
        return "there is but one level of dose"
    if name.startswith(_SECRETOME) and "resistant" not in seen.markers:
        return "it cannot be told from totals: no fraction of resistant cells was measured"
    return ""
