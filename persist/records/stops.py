"""Recorded stops of a drug that may have come earlier.

A visit that finds the drug stopped tells the day of the visit. Where the value before was long ago, a burden that rose in
between did so on the drug (resistance) or because the drug had been stopped: two tumours that want opposite things. Which
stops are doubtful is told by days alone, not by what was measured on them, so that the burden is left to speak for itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from persist.types import Schedule, Series

UNSEEN, SAME_DAY = 120.0, 0.5
"""Days before a stop without a value or a start that make it doubtful, and how near to a value a stop is of its day."""


def doubtful(series: Series, schedule: Schedule) -> np.ndarray:
    """Gaps ``(n, 2)``, in days, that the true stop may lie in: from the value before (or the start of the drug, if that is
    later) to a recorded stop on the day of a value, over `UNSEEN` days later. The last value is none: there the record ends, on
    drug or not.
    """
    found = []
    for stop in ends(schedule):
        at = np.flatnonzero(np.abs(series.day - stop) <= SAME_DAY)
        if len(at) and 0 < at[0] < len(series.day) - 1:
            given = schedule.start[(schedule.start < stop) & (schedule.dose > 0.0)]
            found.append((max(float(series.day[at[0] - 1]), float(given.max())), stop))
    found = [(begin, stop) for begin, stop in found if stop - begin > UNSEEN]
    return np.array(found, float).reshape(-1, 2)


def ends(schedule: Schedule) -> list[float]:
    """Days after which the drug is no longer given, not even at another dose."""
    given = schedule.dose > 0.0
    again = schedule.start[given]
    return sorted({float(at) for at in schedule.stop[given] if not np.any(np.abs(again - at) <= SAME_DAY)})
