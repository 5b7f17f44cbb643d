"""A table of plans: rows of (plan, start, stop, dose) to one `Schedule` a plan, in days from the start of the plan.

Columns ``plan, start_days, stop_days, dose`` and optionally ``drug``; an empty stop means that it goes on, and what no row
covers is without drug. A plan that never gives the drug is one row of dose 0.
"""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import NamedTuple

import numpy as np

from persist.records.fields import day, decimal_mark, number, points_noticed
from persist.records.text import Row, Sheet, counted, listed, read_sheet, refuse_control, shown
from persist.types import Schedule

REQUIRED = ("plan", "start_days", "stop_days", "dose")
OPTIONAL = ("drug",)
NUMBERS = ("start_days", "stop_days", "dose")
"""The columns that hold numbers."""


class Written(NamedTuple):
    """What a table of plans says: the ``schedules`` by plan, in order of appearance; the ``drug`` (empty: none is named) and
    where that stands; notes on what was read.
    """

    schedules: dict[str, Schedule]
    drug: str
    where: str
    notes: tuple[str, ...]


class _Segment(NamedTuple):
    start: float
    stop: float
    dose: float
    row: Row


def read_plans(path: str | Path) -> Written:
    """The plans of a table; `DataError` at the row and column at fault."""
    sheet = read_sheet(path, REQUIRED, OPTIONAL)
    mark = decimal_mark(sheet, sheet.rows, NUMBERS)
    segments: dict[str, list[_Segment]] = {}
    for row in sheet.rows:
        refuse_control(row, "plan")
        if not row.values["plan"]:
            raise row.fault("plan", "the plan has no name (empty)", "name the plan")
        segments.setdefault(row.values["plan"], []).append(_segment(row, mark))
    drug, where = _one_drug(sheet)
    found = {name: _schedule(name, theirs) for name, theirs in segments.items()}
    notes = [*sheet.notes, f"{sheet.file}: {counted(len(found), 'plan')} read: {listed(found)}"]
    notes += [f"{sheet.file}: numbers have decimal commas"] if mark == "," else []
    return Written(found, drug, where, (*notes, *points_noticed(sheet, sheet.rows, NUMBERS)))


def _segment(row: Row, mark: str) -> _Segment:
    start = day(row, "start_days", mark, dates=False)
    stop = day(row, "stop_days", mark, dates=False) if row.values["stop_days"] else math.inf
    if start < 0:
        what = f"{row.values['start_days']!r} is before the start of the plan"
        raise row.fault("start_days", what, "days count from the start of the plan, which is day 0")
    if stop <= start:
        what = f"{row.values['stop_days']!r} is not after the start {row.values['start_days']!r}"
        raise row.fault("stop_days", what, "give a later day, or leave it empty where the dose goes on")
    dose = number(row, "dose", mark)
    if not 0.0 <= dose <= 1.0:
        what = f"dose {row.values['dose']!r} is not within 0 and 1"
        raise row.fault("dose", what, "give a share of the full dose, 0 to 1 (half dose: 0.5)")
    return _Segment(start, stop, dose, row)


def _one_drug(sheet: Sheet) -> tuple[str, str]:
    """The drug that all rows name, and where; a second one is refused."""
    first: Row | None = None
    for row in sheet.rows:
        if "drug" not in row.values:
            return "", ""
        refuse_control(row, "drug")
        if first is not None and row.values["drug"] != first.values["drug"]:
            what = f"{row.values['drug']!r} beside {first.values['drug']!r} of row {first.line}"
            remedy = "a table is of one drug: keep its rows, and write plans of two by --plan 'A: PLAN; B: PLAN'"
            raise row.fault("drug", what, remedy)
        first = first or row
    if first is None or not first.values["drug"]:
        return "", ""
    return first.values["drug"], f"{sheet.file}: row {first.line}, column drug"


def _schedule(name: str, segments: list[_Segment]) -> Schedule:
    """One plan, sorted; rows may touch and not overlap."""
    segments = sorted(segments, key=lambda one: one.start)
    for before, after in itertools.pairwise(segments):
        if after.start < before.stop:
            until = before.row.values["stop_days"] or "never (empty stop_days)"
            what = (
                f"plan {shown(name)!r} has a dose from {after.row.values['start_days']!r} on, while that of row "
                f"{before.row.line} stops at {until}"
            )
            raise after.row.fault("start_days", what, "rows of one plan may touch but not overlap")
    start, stop, dose = (np.array([one[at] for one in segments], float) for at in range(3))
    return Schedule(start, stop, dose)
