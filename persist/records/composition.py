"""Measured fractions beside a burden: rows of the observable ``fraction`` of the patients whose burden is read.

A row's burden is the share of cells or alleles that showed the ``marker`` among those ``counted``. What a row leaves open is
filled in by the defaults below, and said.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np

from persist.records.fields import GROUPED, POINTED, day, number
from persist.records.text import Row, Sheet, counted, did_you_mean, shown
from persist.types import MARKERS, NO_COMPOSITION, Composition

FRACTION = "fraction"
COLUMNS = ("marker", "counted")
"""Columns of the burden table that only fractions have."""
DEFAULT_MARKER, DEFAULT_COUNTED = "persister", 1000
MOST_COUNTED = 1e9
PERCENT = frozenset({"%", "percent", "pct"})
SHARES = frozenset({"", "1", "-", "share", "shares", "fraction", "proportion", "vaf"})
"""First words of units, in small letters: hundredths, and plain shares."""


class Specimen(NamedTuple):
    """One measured fraction: ``day`` in the file's own time, ``marker`` its place in `MARKERS`."""

    day: float
    share: float
    counted: float
    marker: int
    row: Row


class Found(NamedTuple):
    """Measured fractions by patient, and what was noticed or assumed."""

    of: Mapping[str, Composition]
    notes: tuple[str, ...]


def composition_rows(sheet: Sheet, wanted: frozenset[str], observable: str) -> list[Row]:
    """Rows of fractions of the ``wanted`` patients; none where fractions themselves are the burden that is read."""
    if observable == FRACTION:
        return []
    ours = [row for row in sheet.rows if row.values["patient_id"] in wanted]
    return [row for row in ours if row.values.get("observable", "").lower() == FRACTION]


def compositions(
    sheet: Sheet, rows: Sequence[Row], name: str, mark: str, first: Mapping[str, float], dates: bool
) -> Found:
    """Fractions of ``rows``; those before the ``first`` burden (named ``name``) of their patient are left out, and said.

    ``first`` is in the file's own time, and day 0 where there are ``dates``. `DataError` for what cannot be.
    """
    if not rows:
        aside = [column for column in COLUMNS if column in sheet.columns]
        return Found({}, (f"{sheet.file}: columns set aside: {', '.join(aside)}",) if aside else ())
    found = [_specimen(row, mark, dates) for row in rows]
    by_patient: dict[str, list[Specimen]] = {}
    for one in sorted(found, key=lambda one: (one.day, one.marker)):
        by_patient.setdefault(one.row.values["patient_id"], []).append(one)
    notes = _said(sheet, found, name)
    kept = {}
    for patient, theirs in sorted(by_patient.items()):
        _refuse_twice(theirs)
        begin = first[patient]
        late = [one for one in theirs if one.day >= begin]
        if len(late) < len(theirs):
            many = counted(len(theirs) - len(late), "fraction")
            notes.append(f"{many} of patient {shown(patient)} before the first value of {name} left out")
        kept[patient] = _composition(late, begin if dates else 0.0)
    return Found(kept, tuple(notes))


def _composition(theirs: Sequence[Specimen], origin: float) -> Composition:
    if not theirs:
        return NO_COMPOSITION
    days, share, number_counted = (np.array([one[place] for one in theirs], np.float64) for place in range(3))
    return Composition(days - origin, share, number_counted, np.array([one.marker for one in theirs], np.int64))


def _specimen(row: Row, mark: str, dates: bool) -> Specimen:
    word = row.values.get("censoring", "")
    if word:
        remedy = "write the share that was seen (0 where none was), and in a column counted of how many"
        raise row.fault("censoring", f"a fraction cannot be censored ({word!r})", remedy)
    share = _share(row, mark)
    return Specimen(day(row, "time_days", mark, dates), share, _counted(row, mark), _marker(row), row)


def _share(row: Row, mark: str) -> float:
    """The fraction as a share from 0 to 1."""
    text, whole = row.values["burden"], 100.0 if _in_percent(row) else 1.0
    value = number(row, "burden", mark)
    if value < 0.0:
        raise row.fault("burden", f"fraction {text!r} is negative", "give a share from 0 to 1, or leave the row out")
    if value > whole:
        remedy = "give a share from 0 to 1, or write % in a column unit"
        if whole > 1.0:
            raise row.fault("burden", f"fraction {text!r} is over 100 %", "give 0 to 100, or leave the unit empty")
        raise row.fault("burden", f"fraction {text!r} is over 1", remedy)
    return value / whole


def _in_percent(row: Row) -> bool:
    unit = row.values.get("unit", "")
    word = unit.lower().replace("per cent", "percent").partition(" ")[0]
    if word not in PERCENT | SHARES:
        remedy = "leave it empty for shares from 0 to 1, or write %"
        raise row.fault("unit", f"{unit!r} is no known unit of a fraction", remedy)
    return word in PERCENT


def _counted(row: Row, mark: str) -> float:
    """How many cells or alleles were looked at."""
    text = row.values.get("counted", "")
    if not text:
        return float(DEFAULT_COUNTED)
    if GROUPED.fullmatch(text) or POINTED.fullmatch(text):
        raise row.fault("counted", f"{text!r} can be read in two ways", "write the number in digits alone")
    value = number(row, "counted", mark)
    if not 1.0 <= value <= MOST_COUNTED:
        what = f"{text!r} cells or alleles counted"
        raise row.fault("counted", what, f"give a number from 1 to {MOST_COUNTED:g}, or nothing for {DEFAULT_COUNTED}")
    return value


def _marker(row: Row) -> int:
    """The place in `MARKERS` of the state that is marked."""
    word = row.values.get("marker", "") or DEFAULT_MARKER
    if word.lower() not in MARKERS:
        what = f"{word!r} is no known marker{did_you_mean(word, MARKERS)}"
        raise row.fault("marker", what, f"write {' or '.join(MARKERS)}, or nothing for {DEFAULT_MARKER}")
    return MARKERS.index(word.lower())


def _refuse_twice(theirs: Sequence[Specimen]) -> None:
    """`DataError` for two fractions of one patient, marker and time."""
    for one, two in pairwise(theirs):
        if (one.day, one.marker) == (two.day, two.marker):
            first, second = sorted((one.row, two.row), key=lambda row: row.line)
            patient, time = second.values["patient_id"], second.values["time_days"]
            what = (
                f"the fraction of marker {MARKERS[two.marker]} of patient {patient!r} at time {time!r} is there twice"
            )
            remedy = "keep one for each patient, marker and time"
            raise second.fault("time_days", f"{what}, first in row {first.line}", remedy)


def _said(sheet: Sheet, found: Sequence[Specimen], name: str) -> list[str]:
    """What was read and assumed, in sentences."""
    many = [sum(one.marker == place for one in found) for place in range(len(MARKERS))]
    each = ", ".join(f"{count} of marker {marker}" for marker, count in zip(MARKERS, many, strict=True) if count)
    notes = [f"{sheet.file}: {counted(len(found), 'fraction')} read as composition beside {name}: {each}"]
    percent = sum(_in_percent(one.row) for one in found)
    bare = sum(not one.row.values.get("marker") for one in found)
    uncounted = sum(not one.row.values.get("counted") for one in found)
    if percent:
        notes.append(f"{counted(percent, 'fraction')} in per cent divided by 100")
    if bare:
        notes.append(f"{counted(bare, 'fraction')} without a marker taken as of marker {DEFAULT_MARKER}")
    if uncounted:
        many_cells = f"{DEFAULT_COUNTED} cells or alleles"
        notes.append(f"{counted(uncounted, 'fraction')} without a number in column counted: {many_cells} are assumed")
    if MARKERS.index("resistant") in {one.marker for one in found}:
        said = "a share of resistant alleles is taken as that of resistant cells"
        notes.append(f"{said}: where only one of two copies is mutated, write twice the share of half as many counted")
    return notes
