"""The treatments table: rows of (patient, start, stop, drug, dose) to one `Schedule` a drug and patient."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.records.fields import day, decimal_mark, number, points_noticed
from persist.records.text import Row, Sheet, counted, did_you_mean, listed, read_sheet, refuse_control, shown
from persist.types import Schedule

REQUIRED = ("patient_id", "start_days", "stop_days", "drug", "dose")
OPTIONAL = ("event",)
NUMBERS = ("start_days", "stop_days", "dose")
"""The columns that hold numbers."""


class Segment(NamedTuple):
    """One row: ``dose`` (0..1 of the full dose) from ``start`` to ``stop``, in the file's own time."""

    start: float
    stop: float
    dose: float
    row: Row


def read_treatments(path: str | Path) -> Sheet:
    """The table as text, columns checked."""
    return read_sheet(path, REQUIRED, OPTIONAL)


def judged(rows: list[Row]) -> list[Row]:
    """The same rows; `DataError` for one that this version cannot follow."""
    for row in rows:
        refuse_control(row, "drug")
        event = row.values.get("event", "")
        if event:
            raise row.fault("event", f"{event!r}: events are not supported by this version", "leave the row out")
    return rows


def check_full_doses(sheet: Sheet | None, full_dose: Mapping[str, float]) -> None:
    """`UsageError` where a full dose is no positive number or its drug is not in the file."""
    drugs = sorted({row.values["drug"] for row in sheet.rows}) if sheet else []
    for drug, amount in full_dose.items():
        if not (math.isfinite(amount) and amount > 0):
            raise UsageError(f"the full dose of {drug!r} is {amount:g}", remedy="give a number over 0")
        if sheet is None:
            raise UsageError(f"a full dose of {drug!r} without a treatments file", remedy="give --treatments FILE")
        if drug not in drugs:
            what = f"no row has the drug {drug!r} of --full-dose{did_you_mean(drug, drugs)}"
            raise UsageError(what, where=f"{sheet.file}: column drug", remedy=f"the drugs are {listed(drugs)}")


def schedules(
    sheet: Sheet,
    rows: list[Row],
    dates: bool,
    origin: Mapping[str, float],
    full_dose: Mapping[str, float],
) -> tuple[dict[str, dict[str, Schedule]], list[str]]:
    """patient -> drug -> `Schedule` in days since the patient's origin, and notes; `DataError` at the row at fault."""
    mark = decimal_mark(sheet, rows, NUMBERS)
    segments: dict[tuple[str, str], list[Segment]] = defaultdict(list)
    for row in rows:
        drug = row.values["drug"]
        if not drug:
            raise row.fault("drug", "the drug has no name (empty)", "name the drug")
        segments[row.values["patient_id"], drug].append(_segment(row, mark, dates, full_dose))
    found: dict[str, dict[str, Schedule]] = defaultdict(dict)
    for (patient, drug), theirs in sorted(segments.items()):
        theirs.sort(key=lambda segment: (segment.start, segment.stop))
        _check_overlap(theirs, patient, drug)
        given = [segment for segment in theirs if segment.dose > 0 and segment.stop > segment.start]
        if given:
            start, stop, dose = (np.array([segment[i] for segment in given], dtype=np.float64) for i in range(3))
            found[patient][drug] = Schedule(start - origin[patient], stop - origin[patient], dose)
    return dict(found), _notes(sheet, mark, rows, [one for theirs in segments.values() for one in theirs], full_dose)


def _segment(row: Row, mark: str, dates: bool, full_dose: Mapping[str, float]) -> Segment:
    start = day(row, "start_days", mark, dates)
    stop = day(row, "stop_days", mark, dates) if row.values["stop_days"] else math.inf
    if stop < start:
        what = f"{row.values['stop_days']!r} is before the start {row.values['start_days']!r}"
        raise row.fault("stop_days", what, "a treatment stops after it starts")
    return Segment(start, stop, _dose(row, mark, full_dose), row)


def _dose(row: Row, mark: str, full_dose: Mapping[str, float]) -> float:
    """Dose over full dose, in 0..1."""
    amount, text = number(row, "dose", mark), row.values["dose"]
    drug = row.values["drug"]
    if amount < 0:
        raise row.fault("dose", f"dose {text!r} is negative", "give a share of the full dose, 0 to 1")
    full = full_dose.get(drug, 1.0)
    if amount > full and drug in full_dose:
        what = f"dose {text!r} is more than the full dose {full:g} of {shown(drug)}"
        raise row.fault("dose", what, f"give a larger amount by --full-dose {shown(drug)}=AMOUNT")
    if amount > full:
        what = f"dose {text!r} is over 1, so not a share of the full dose"
        raise row.fault("dose", what, f"say what the full dose is, by --full-dose {shown(drug)}=AMOUNT")
    return amount / full


def _check_overlap(segments: list[Segment], patient: str, drug: str) -> None:
    """Segments of one drug, sorted by start, may touch and not overlap."""
    latest = segments[0]
    for segment in segments[1:]:
        if segment.start < latest.stop:
            stop = latest.row.values["stop_days"] or "never (empty stop_days)"
            what = (
                f"{shown(drug)} of patient {patient!r} starts at {segment.row.values['start_days']!r}, "
                f"while that of row {latest.row.line} stops at {stop}"
            )
            raise segment.row.fault("start_days", what, "rows of one drug may touch but not overlap")
        latest = segment


def _notes(
    sheet: Sheet, mark: str, rows: list[Row], segments: list[Segment], full_dose: Mapping[str, float]
) -> list[str]:
    notes = [f"{sheet.file}: {counted(len(rows), 'treatment row')} read"]
    if mark == ",":
        notes.append(f"{sheet.file}: numbers have decimal commas")
    notes += points_noticed(sheet, rows, NUMBERS)
    open_ended = sum(math.isinf(segment.stop) for segment in segments)
    if open_ended:
        notes.append(f"{sheet.file}: {counted(open_ended, 'row')} without a stop: the drug goes on")
    nothing = sum(segment.dose == 0 or segment.stop == segment.start for segment in segments)
    if nothing:
        notes.append(f"{sheet.file}: {counted(nothing, 'row')} of dose 0 or of no length: no drug then")
    notes.extend(
        f"{sheet.file}: doses of {shown(drug)} divided by {full:g}" for drug, full in sorted(full_dose.items())
    )
    return notes
