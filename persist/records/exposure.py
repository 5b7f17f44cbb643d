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
from persist.records.text import Row, Sheet, counted, read_sheet, shown
from persist.types import Levels

REQUIRED = ("patient_id", "time_days", "exposure")
NUMBERS = ("time_days", "exposure")
"""The columns that hold numbers."""


def read_exposure(path: str | Path) -> Sheet:
    """The table as text, columns checked."""
    return read_sheet(path, REQUIRED, ("drug",))


def exposures(
    sheet: Sheet, rows: Sequence[Row], dates: bool, origin: Mapping[str, float], last: Mapping[str, float]
) -> tuple[dict[str, Levels], list[str]]:
    """Measured exposures by patient, and notes; ``origin`` is the patient's day 0 in the file's own time, ``last`` that of the
    last burden: later ones are left out. `DataError` for a value that is no share from 0 to 1, for two values of one time, and
    for several drugs.
    """
    mark = decimal_mark(sheet, rows, NUMBERS)
    _refuse_drugs(rows)
    by_patient: dict[str, list[tuple[float, float, Row]]] = {}
    late = 0
    for row in rows:
        patient, when, level = row.values["patient_id"], day(row, "time_days", mark, dates), _level(row, mark)
        if when <= last[patient]:
            by_patient.setdefault(patient, []).append((when, level, row))
        else:
            late += 1
    found = {}
    for patient, theirs in sorted(by_patient.items()):
        theirs = sorted(theirs, key=lambda one: one[0])
        _refuse_twice(theirs)
        days, values = (np.array([one[place] for one in theirs], np.float64) for place in range(2))
        found[patient] = Levels(days - origin[patient], values)
    notes = _said(sheet, len(rows) - late, late, len(found), len(origin) - len(found))
    notes += [f"{sheet.file}: numbers have decimal commas"] if mark == "," else []
    return found, [*notes, *points_noticed(sheet, rows, NUMBERS)]


def _said(sheet: Sheet, taken: int, late: int, patients: int, without: int) -> list[str]:
    """What was read, in sentences."""
    many = (
        f"{counted(taken, 'measured exposure')} of {counted(patients, 'patient')}" if taken else "no exposure is read"
    )
    notes = [f"{sheet.file}: {many}"]
    notes += [f"{sheet.file}: {counted(late, 'exposure')} after the last burden left out"] if late else []
    return notes + ([f"{sheet.file}: {counted(without, 'patient')} without: the lag alone"] if without else [])


def _refuse_drugs(rows: Sequence[Row]) -> None:
    """`DataError` for exposures to several drugs."""
    first: dict[str, Row] = {}
    for row in rows:
        first.setdefault(row.values.get("drug", ""), row)
        if len(first) > 1:
            one, other = (shown(name) or "(empty)" for name in first)
            what = f"exposures to several drugs ({one} in row {next(iter(first.values())).line}, {other})"
            raise row.fault("drug", what, "keep the rows of the drug that is fitted")


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
