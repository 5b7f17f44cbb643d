"""The biomarkers table: rows of (patient, time, name, value) to what was known of each patient before the first burden.

Only a baseline counts: the value without a time, or the latest one at or before the patient's first burden. What was measured
later, or was followed by another value before the first burden, is left out, and said.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

import numpy as np

from persist.records.fields import day, decimal_mark, number, points_noticed
from persist.records.text import Row, Sheet, counted, listed, read_sheet, refuse_control, shown
from persist.types import Biomarkers

REQUIRED = ("patient_id", "time_days", "name", "value")
NUMBERS = ("time_days", "value")
"""The columns that hold numbers."""


class Measured(NamedTuple):
    """One row: ``day`` in the file's own time, -inf for a row without a time."""

    day: float
    value: float
    row: Row


def read_biomarkers(path: str | Path) -> Sheet:
    """The table as text, columns checked."""
    return read_sheet(path, REQUIRED, ())


def named(rows: list[Row]) -> list[Row]:
    """The same rows; `DataError` for one whose biomarker has no name that can be printed."""
    for row in rows:
        refuse_control(row, "name")
        if not row.values["name"]:
            raise row.fault("name", "the biomarker has no name (empty)", "name the biomarker")
    return rows


def baseline(
    sheet: Sheet, rows: Sequence[Row], first: Mapping[str, float], dates: bool
) -> tuple[Biomarkers, list[str]]:
    """Values at the baseline of every patient, and notes; ``first`` is the time of each patient's first burden in the file's
    own time. `DataError` for what is no value, and for two values that may both be the baseline.
    """
    mark = decimal_mark(sheet, rows, NUMBERS)
    every: dict[tuple[str, str], list[Measured]] = defaultdict(list)
    for row in rows:
        every[row.values["patient_id"], row.values["name"]].append(_measured(row, mark, dates))
    names, patients = sorted({name for _, name in every}), sorted(first)
    value, late, old = np.full((len(patients), len(names)), np.nan), 0, 0
    for (patient, name), theirs in every.items():
        early = sorted((one for one in theirs if one.day <= first[patient]), key=lambda one: one.day)
        late, old = late + len(theirs) - len(early), old + max(0, len(early) - 1)
        _refuse_two(early, patient, name)
        if early:
            value[patients.index(patient), names.index(name)] = early[-1].value
    kept = np.isfinite(value).any(axis=0)
    found = Biomarkers(
        tuple(name for name, there in zip(names, kept, strict=True) if there), tuple(patients), value[:, kept]
    )
    return found, [*_said(sheet, rows, mark, found), *_left_out(sheet, late, old)]


def _measured(row: Row, mark: str, dates: bool) -> Measured:
    when = day(row, "time_days", mark, dates) if row.values["time_days"] else -np.inf
    return Measured(when, number(row, "value", mark), row)


def _refuse_two(early: Sequence[Measured], patient: str, name: str) -> None:
    """`DataError` for two values without a time or of one time, and for one without a time beside one that has a time."""
    for one, two in pairwise(early):
        if one.day == two.day or not np.isfinite(one.day):
            first, second = sorted((one.row, two.row), key=lambda row: row.line)
            what = f"{shown(name)} of patient {patient!r} has two baseline values, the first in row {first.line}"
            raise second.fault(
                "time_days", what, "keep one value without a time, or give every value a time of its own"
            )


def _said(sheet: Sheet, rows: Sequence[Row], mark: str, found: Biomarkers) -> Iterable[str]:
    """What was read, in sentences."""
    there = np.isfinite(found.value)
    yield f"{sheet.file}: {counted(len(rows), 'biomarker row')} read: {listed(found.names) or 'none before the first burden'}"
    if mark == ",":
        yield f"{sheet.file}: numbers have decimal commas"
    yield from points_noticed(sheet, rows, NUMBERS)
    for name, column in zip(found.names, there.T, strict=True):
        if not column.all():
            yield f"{sheet.file}: {shown(name)} is missing of {counted(int((~column).sum()), 'patient')}: averaged over"


def _left_out(sheet: Sheet, late: int, old: int) -> Iterable[str]:
    """What was not taken, in sentences."""
    if late:
        yield f"{sheet.file}: {counted(late, 'value')} measured after the patient's first burden left out"
    if old:
        yield f"{sheet.file}: {counted(old, 'value')} left out for a later one before the first burden"
