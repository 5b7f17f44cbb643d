"""Recorded stops of a drug that may have come earlier, by what was measured about them.

A visit that finds the drug stopped tells the day of the visit. Where the burden there is higher than at the value before, and
that is long ago, nobody saw whether it rose on the drug (resistance) or because the drug had been stopped: two tumours that
want opposite things.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from persist.types import Schedule, Series

UNSEEN, SAME_DAY = 120.0, 0.5
"""Days without a value before a stop that make it doubtful, and how near to a value a stop is of its day."""


def doubtful(series: Series, schedule: Schedule) -> np.ndarray:
    """Gaps ``(n, 2)``, in days, that the true stop may lie in: from the value before (or the start of the drug, if
    that is later) to the recorded stop, on the day of a higher value.
    """
    found = []
    for stop in ends(schedule):
        at = np.flatnonzero(np.abs(series.day - stop) <= SAME_DAY)
        if len(at) and at[0] > 0 and series.burden[at[0]] > series.burden[at[0] - 1]:
            before = float(series.day[at[0] - 1])
            begin = float(schedule.start[schedule.start < stop].max())
            found += [(max(before, begin), stop)] if stop - before > UNSEEN else []
    return np.array(found, float).reshape(-1, 2)


def ends(schedule: Schedule) -> list[float]:
    """Days after which the drug is no longer given, not even at another dose."""
    every = schedule.stop[schedule.dose > 0.0]
    return sorted({float(at) for at in every if not np.any(np.abs(schedule.start - at) <= SAME_DAY)})
