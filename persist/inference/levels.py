"""Measured exposures in the file of a fit, there and back; a fit without any is as if they did not exist.

``observed_data`` has ``exposure`` and ``exposure_day``, each (patient, exposed), NaN where a patient has fewer than another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.inference import store
from persist.inference.cohort import APART_DAYS, BRIDGED_DAYS
from persist.inference.curve import LAG_SD
from persist.types import NO_LEVELS, Levels

if TYPE_CHECKING:
    from persist.types import Table


def added(groups: dict[str, store.Dataset], table: Table) -> dict[str, store.Dataset]:
    """``observed_data`` with the measured exposures of the series, if there are any."""
    found = [series.levels for series in table.series]
    size = max(len(one.day) for one in found)
    if size == 0:
        return {}
    level, day = (
        np.stack([np.pad(part, (0, size - len(part)), constant_values=np.nan) for part in rows])
        for rows in ([one.level for one in found], [one.day for one in found])
    )
    dims = ("patient", "exposed")
    return {"observed_data": groups["observed_data"].assign({"exposure": (dims, level), "exposure_day": (dims, day)})}


def assumed(table: Table) -> list[str]:
    """What is assumed where exposures were measured, in sentences."""
    if not any(len(series.levels.day) for series in table.series):
        return []
    days, apart = BRIDGED_DAYS["clinical"], APART_DAYS["clinical"]
    near = f"at most {days:g} days apart ({BRIDGED_DAYS['in-vitro']:g} of a cell line), without a change of dose between them"
    return [
        f"measured exposures {near}, are joined by a line; elsewhere goes the lag, which begins anew at every value",
        f"the lag is learned from them as if they lay about it with a standard deviation of {LAG_SD:g}, those nearer than "
        f"{apart:g} days ({APART_DAYS['in-vitro']:g}) in proportion; what is to come goes by the lag",
    ]


def of(observed: store.Dataset) -> Levels:
    """The measured exposures of one patient, from its part of the group."""
    if "exposure" not in observed:
        return NO_LEVELS
    real = np.isfinite(observed["exposure_day"].values)
    return Levels(observed["exposure_day"].values[real], observed["exposure"].values[real])
