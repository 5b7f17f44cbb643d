"""What was not measured but bounded: marks of the file, values at an assay floor, and zeros.

Each becomes a limit, never a dropped row and never half a limit.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal, NamedTuple

from persist.errors import DataError, UsageError
from persist.records.burden import ZERO_IS_MEASURED, Visit
from persist.records.fields import day, has_dates, number
from persist.records.floors import NO_ASSAY, RULE, find_floors
from persist.records.text import Row, Sheet, counted

Floor = Literal["auto", "none"] | tuple[float, ...]


def check_floor(floor: Floor) -> None:
    """`UsageError` where it is neither a known word nor numbers over 0."""
    if isinstance(floor, str):
        if floor not in ("auto", "none"):
            raise UsageError(f"--floor {floor!r} is not known", remedy="give auto, none or numbers such as 0.1,0.2")
        return
    for value in floor:
        if not (math.isfinite(value) and value > 0):
            raise UsageError(f"--floor {value:g} is not over 0", remedy="give auto, none or numbers such as 0.1,0.2")


class Floors(NamedTuple):
    """``equal``: values that are floors wherever they stand; ``zero``: the limit that zeros become (None: refused)."""

    equal: tuple[float, ...]
    zero: float | None
    notes: tuple[str, ...]


def floors_in_force(sheet: Sheet, rows: Sequence[Row], observable: str, floor: Floor, mark: str) -> Floors:
    """Floors as listed, or found over all ``rows`` of the observable.

    Where the file marks any value as left-censored its marks are believed and no floors are looked for; the smallest
    marked limit then serves for zeros.
    """
    if floor == "none":
        return Floors((), None, ("--floor none: every value without a mark is taken as measured",))
    if not isinstance(floor, str):
        return _listed_floors(sheet, rows, floor, mark)
    limits = [value for values in _histories(rows, mark, "left") for value in values]
    if observable in NO_ASSAY:
        return Floors((), min(limits, default=None), (f"no assay floors are looked for among values of {observable}",))
    if limits:
        sentence = f"{sheet.file} marks left-censored values itself, so no assay floors are looked for"
        return Floors((), min(limits), (sentence,))
    found = find_floors(_histories(rows, mark))
    if not found:
        return Floors((), None, (f"no assay floor found in the whole of {sheet.file} (a floor is {RULE})",))
    many = ", ".join(f"{value:g} ({counted(count, 'value')})" for value, count in found.items())
    sentence = f"assay floors found over all patients of {sheet.file}: {many} (a floor is {RULE})"
    return Floors(tuple(found), min(found), (sentence,))


def _listed_floors(sheet: Sheet, rows: Sequence[Row], floor: tuple[float, ...], mark: str) -> Floors:
    values = tuple(sorted(set(floor)))
    there = {value for history in _histories(rows, mark) for value in history}
    sentence = f"values equal to a listed floor ({', '.join(f'{value:g}' for value in values)}) are left-censored"
    missing = [f"no value of {sheet.file} equals the listed floor {value:g}" for value in values if value not in there]
    return Floors(values, min(values, default=None), (sentence, *missing))


def _histories(rows: Sequence[Row], mark: str, censoring: str = "") -> list[list[float]]:
    """Values over 0 with this mark, by patient in order of time; rows that cannot be read are passed over here."""
    histories: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        try:
            value = number(row, "burden", "," if "," in row.values["burden"] else mark)
            time = day(
                row, "time_days", "," if "," in row.values["time_days"] else mark, has_dates([(row, "time_days")])
            )
        except DataError:
            continue
        if value > 0 and row.values.get("censoring", "").lower() == censoring:
            histories.setdefault(row.values["patient_id"], []).append((time, value))
    return [[value for _, value in sorted(theirs)] for theirs in histories.values()]


def censor(
    sheet: Sheet, visits: Mapping[str, list[Visit]], floors: Floors, observable: str
) -> tuple[dict[str, list[Visit]], list[str]]:
    """Visits with floors and zeros censored, and how many of each there were."""
    at_floor = dict.fromkeys(floors.equal, 0)
    marked, zeros = {-1: 0, 1: 0}, 0
    done: dict[str, list[Visit]] = {patient: [] for patient in visits}
    for patient, visit in ((patient, visit) for patient, theirs in visits.items() for visit in theirs):
        if visit.burden == 0:
            zeros += 1
            visit = _zero(visit, floors.zero, observable)
        elif visit.censoring:
            marked[visit.censoring] += 1
        elif visit.burden in at_floor:
            at_floor[visit.burden] += 1
            visit = visit._replace(censoring=-1)
        done[patient].append(visit)
    notes = [
        f"{counted(n, 'value')} equal to the floor {value:g} read as left-censored"
        for value, n in at_floor.items()
        if n
    ]
    for code, side in ((-1, "left"), (1, "right")):
        if marked[code]:
            notes.append(f"{sheet.file}: {counted(marked[code], 'value')} marked {side} in column censoring")
    if zeros:
        taken = "as measured" if observable in ZERO_IS_MEASURED else f"as left-censored at {floors.zero:g}"
        notes.append(f"{sheet.file}: {counted(zeros, 'value')} of 0 read {taken}")
    return done, notes


def _zero(visit: Visit, limit: float | None, observable: str) -> Visit:
    """Zero: measured for counts and shares, else below the smallest floor, else a `DataError`."""
    if observable in ZERO_IS_MEASURED:
        return visit._replace(censoring=0)
    if limit is None:
        what = f"burden {visit.row.values['burden']!r} is zero, and no assay floor is known"
        remedy = "give the smallest value that can be measured by --floor VALUE"
        raise visit.row.fault("burden", what, f"{remedy} (zero is a measurement for --observable cells or fraction)")
    return visit._replace(burden=limit, censoring=-1)
