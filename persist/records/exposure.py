"""The exposure table: rows of (patient, time, exposure) to what was measured of each patient's exposure to the drug, 0 to 1.

Such as a drug level over its usual one, or of androgen deprivation one less the testosterone over its normal value. Where there
are values, the cells are exposed to what was measured, and no longer by a lag that nobody saw.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np

from persist.records.fields import day, decimal_mark, number, points_noticed
from persist.records.text import Row, Sheet, counted, read_sheet
from persist.types import Levels

REQUIRED = ("patient_id", "time_days", "exposure")
NUMBERS = ("time_days", "exposure")
"""The columns that hold numbers."""


def read_exposure(path: str | Path) -> Sheet:
    """The table as text, columns checked."""
    return read_sheet(path, REQUIRED, ())


def exposures(
    sheet: Sheet, rows: Sequence[Row], dates: bool, origin: Mapping[str, float]
) -> tuple[dict[str, Levels], list[str]]:
    """Measured exposures by patient, and notes; ``origin`` is the patient's day 0 in the file's own time. `DataError` for a
    value that is no share from 0 to 1, and for two values of one time.
    """
    mark = decimal_mark(sheet, rows, NUMBERS)
    by_patient: dict[str, list[tuple[float, float, Row]]] = {}
    for row in rows:
        one = (day(row, "time_days", mark, dates), _level(row, mark), row)
        by_patient.setdefault(row.values["patient_id"], []).append(one)
    found = {}
    for patient, theirs in sorted(by_patient.items()):
        theirs = sorted(theirs, key=lambda one: one[0])
        _refuse_twice(theirs)
        days, level = (np.array([one[place] for one in theirs], np.float64) for place in range(2))
        found[patient] = Levels(days - origin[patient], level)
    without = len(origin) - len(found)
    said = f"{sheet.file}: {counted(len(rows), 'measured exposure')} of {counted(len(found), 'patient')}"
    notes = [f"{said}, straight from one value to the next; after the last one the lag goes on from there"]
    notes += [f"{sheet.file}: {counted(without, 'patient')} without: the lag alone"] if without else []
    notes += [f"{sheet.file}: numbers have decimal commas"] if mark == "," else []
    return found, [*notes, *points_noticed(sheet, rows, NUMBERS)]


def _level(row: Row, mark: str) -> float:
    value = number(row, "exposure", mark)
    if not 0.0 <= value <= 1.0:
        what = f"exposure {row.values['exposure']!r} is not between 0 and 1"
        raise row.fault("exposure", what, "divide by the exposure at full dose")
    return value


def _refuse_twice(theirs: Sequence[tuple[float, float, Row]]) -> None:
    """`DataError` for two values of one time."""
    for (one, _, before), (two, _, row) in pairwise(theirs):
        if one == two:
            first, second = sorted((before, row), key=lambda each: each.line)
            what = f"a second exposure of patient {second.values['patient_id']!r} at this time, the first in row {first.line}"
            raise second.fault("time_days", what, "keep one of them")
