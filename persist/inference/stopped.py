"""What a fit has learned of stops that may have come earlier than recorded, in sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.records.stops import doubtful
from persist.treatment.doubt import STOP

if TYPE_CHECKING:
    from persist.inference.sampler import Draws
    from persist.types import Schedule, Series


def told(series: Series, schedule: Schedule, found: Draws) -> list[str]:
    """One for each doubtful stop of a patient; none where all were taken as recorded."""
    if STOP not in found.values or np.all(found.values[STOP] == 1.0):
        return []
    share = np.quantile(found.values[STOP], (0.05, 0.5, 0.95))
    days = [(stop, first + share * (stop - first)) for first, stop in doubtful(series, schedule)]
    return [
        f"patient {series.patient_id}: the stop recorded on day {stop:g} was on day {day[1]:.0f}, as prior and burden have it "
        f"(90 %: {day[0]:.0f} to {day[2]:.0f})"
        for stop, day in days
    ]
