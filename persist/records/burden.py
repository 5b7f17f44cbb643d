"""The burden table: which rows are the series asked for, and what each of them says.

Choices are made on the file as it is (observable, patients) and judged on the rows that were asked for alone.
"""

from __future__ import annotations

import unicodedata
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from persist.errors import DataError, UsageError
from persist.records.composition import COLUMNS, FRACTION
from persist.records.fields import day, number
from persist.records.text import Row, Sheet, counted, did_you_mean, listed, read_sheet, refuse_control, shown

REQUIRED = ("patient_id", "time_days", "burden")
OPTIONAL = ("unit", "censoring", "observable", *COLUMNS)
OBSERVABLES = (
    "psa",
    "volume",
    "sld",
    "diameter",
    "cells",
    "confluence",
    "m-protein",
    "bcr-abl",
    "lymphocytes",
    "blasts",
    "fraction",
)
ZERO_IS_MEASURED = frozenset({"cells", "fraction"})
UNNAMED = "burden"
CENSORING = {"": 0, "left": -1, "right": 1}
_LENGTH = ("mm", frozenset({"mm"}), {"cm": 10, "m": 1000})
_VOLUME = ("mm3", frozenset({"mm3", "mm^3", "ul", "\u03bcl"}), dict.fromkeys(("ml", "cm3", "cm^3", "cc"), 1000))
_PSA: tuple[str, frozenset[str], dict[str, int]] = ("ng/mL", frozenset({"ng/ml", "ug/l", "\u03bcg/l"}), {})
UNITS: dict[str, tuple[str, frozenset[str], dict[str, int]]] = {
    "sld": _LENGTH,
    "diameter": _LENGTH,
    "volume": _VOLUME,
    "psa": _PSA,
}
"""Of an observable: the unit of its rules and priors, the words that mean it, and the factor from other units to it."""


class Visit(NamedTuple):
    """One measurement: ``day`` in the file's own time, ``censoring`` as in `Series`."""

    day: float
    burden: float
    censoring: int
    row: Row


def read_burden(path: str | Path) -> Sheet:
    """The table as text, columns checked."""
    return read_sheet(path, REQUIRED, OPTIONAL)


def asked_patients(sheet: Sheet, patients: Sequence[str]) -> frozenset[str]:
    """The patients asked for, or all of the file; `DataError` for one who is not there."""
    there = list(dict.fromkeys(row.values["patient_id"] for row in sheet.rows))
    for patient in patients:
        if patient not in there:
            what = f"there is no patient {patient!r}{did_you_mean(patient, there)}"
            where = f"{sheet.file}: rows {sheet.rows[0].line}-{sheet.rows[-1].line}, column patient_id"
            raise DataError(what, where=where, remedy=f"the file has {listed(there)}")
    if not patients:
        for row in sheet.rows:
            if not row.values["patient_id"]:
                raise row.fault("patient_id", "the patient has no name (empty)", "name the patient")
    wanted = frozenset(patients or there)
    for row in sheet.rows:
        if row.values["patient_id"] in wanted:
            refuse_control(row, "patient_id")
    return wanted


def of_patients(sheet: Sheet, wanted: frozenset[str], known: frozenset[str], everyone: bool, what: str) -> list[Row]:
    """Rows of the ``wanted`` patients in a table that goes with the burdens; if ``everyone`` is wanted, a patient who is not
    ``known`` is a `DataError`, which says that it has ``what`` and no burden.
    """
    for row in sheet.rows if everyone else ():
        patient = row.values["patient_id"]
        if patient not in known:
            said = f"patient {patient!r} has {what} and no burden{did_you_mean(patient, sorted(known))}"
            raise row.fault("patient_id", said, "give the patient's burden or leave the row out")
    return [row for row in sheet.rows if row.values["patient_id"] in wanted]


def choose_observable(sheet: Sheet, wanted: frozenset[str], asked: str | None) -> tuple[str, list[Row], str]:
    """Name of the observable, its rows (of all patients), and a sentence on how it was chosen; capitals are forgiven."""
    rows = list(sheet.rows)
    meant = None if asked is None else _small(asked)
    if not any(row.values.get("observable") for row in rows):
        return _as_said(sheet, rows, asked)
    ours = [row for row in rows if row.values["patient_id"] in wanted]
    judged = [row for row in ours if meant in (None, _small(row.values["observable"]))]
    for row in judged:
        _refuse_unknown(row)
    names = [_small(row.values["observable"]) for row in ours]
    there = list(dict.fromkeys(names))
    shown = [name or "(empty)" for name in there]
    if meant is None:
        if len(there) > 1:
            what = f"the file has several observables: {listed(shown)}"
            raise ours[names.index(there[1])].fault("observable", what, "choose one by --observable NAME")
        meant = there[0]
        sentence = f"{sheet.file}: observable {shown[0]}, the only one in the file"
    elif meant in there:
        others = [name for name in shown if name not in (meant, FRACTION)]
        sentence = f"{sheet.file}: observable {meant}" + (f"; left out: {listed(others)}" if others else "")
    else:
        what = f"no row has the observable {asked!r}{did_you_mean(meant, there)}"
        where = f"{sheet.file}: rows {rows[0].line}-{rows[-1].line}, column observable"
        raise DataError(what, where=where, remedy=f"the observables are {listed(shown)}")
    chosen = [row for row in rows if _small(row.values["observable"]) == meant]
    written = (row.values["observable"] for row in chosen)
    return meant or UNNAMED, chosen, sentence + _written(meant, written if asked is None else (asked, *written))


def _small(name: str) -> str:
    """A known observable in small letters as it is known; any other name as it is."""
    return name.lower() if name.lower() in OBSERVABLES else name


def _refuse_unknown(row: Row) -> None:
    """`DataError` for a row whose observable is not known; rows of other observables than the one asked for are left out."""
    name = row.values["observable"]
    if name and _small(name) not in OBSERVABLES:
        what = f"{name!r} is no known observable{did_you_mean(name, OBSERVABLES)}"
        raise row.fault("observable", what, f"the known ones are {', '.join(OBSERVABLES)}")


def _written(name: str, forms: Iterable[str]) -> str:
    """A part of a sentence on ways of writing an observable that are not ``name`` itself."""
    others = [form for form in dict.fromkeys(forms) if form != name]
    return f" ({listed(others)} read as {name})" if others else ""


def _as_said(sheet: Sheet, rows: list[Row], asked: str | None) -> tuple[str, list[Row], str]:
    if asked is None:
        sentence = "no observable is named: values are taken as proportional to the number of cells, as psa is"
        return UNNAMED, rows, f"{sheet.file}: {sentence}"
    name = _small(asked)
    if name not in OBSERVABLES:
        what = f"{asked!r} is no known observable{did_you_mean(asked, OBSERVABLES)}"
        raise UsageError(what, where="--observable", remedy=f"choose one of {', '.join(OBSERVABLES)}")
    sentence = f"{sheet.file}: no row names an observable: all values are taken as {name}, as was said"
    return name, rows, sentence + _written(name, [asked])


def visits_of(rows: Sequence[Row], observable: str, mark: str, dates: bool) -> dict[str, list[Visit]]:
    """patient -> visits sorted by day; `DataError` for a value that cannot be, or a visit that is there twice."""
    found: dict[str, list[Visit]] = defaultdict(list)
    for row in rows:
        found[row.values["patient_id"]].append(_visit(row, observable, mark, dates))
    for visits in found.values():
        visits.sort(key=lambda visit: visit.day)
        for one, two in pairwise(visits):
            if one.day == two.day:
                first, second = sorted((one.row, two.row), key=lambda row: row.line)
                raise _twice(first, second, observable)
    return dict(sorted(found.items()))


def _visit(row: Row, observable: str, mark: str, dates: bool) -> Visit:
    word = row.values.get("censoring", "")
    if word.lower() not in CENSORING:
        meant = did_you_mean(word, ("left", "right"))
        raise row.fault("censoring", f"{word!r} is no kind of censoring{meant}", "write left, right or nothing")
    value, text = number(row, "burden", mark), row.values["burden"]
    if value < 0:
        raise row.fault(
            "burden", f"burden {text!r} is negative", "a burden is over 0; leave the row out if it is missing"
        )
    if observable == "fraction" and value > 1:
        raise row.fault("burden", f"fraction {text!r} is over 1", "give shares from 0 to 1 (percent divided by 100)")
    if observable == "confluence" and value > 100:
        raise row.fault("burden", f"confluence {text!r} is over 100", "give percent of the area, from 0 to 100")
    censoring = CENSORING[word.lower()]
    if value == 0 and censoring == 1:
        raise row.fault("burden", f"{text!r} as a lower limit says nothing", "leave the row out")
    return Visit(day(row, "time_days", mark, dates), value, censoring, row)


def _twice(first: Row, second: Row, observable: str) -> DataError:
    patient, time = second.values["patient_id"], second.values["time_days"]
    differ = [name for name in first.values if first.values[name] != second.values[name] and name != "burden"]
    hint = f" (they differ in {listed(differ, 4)})" if differ else ""
    what = f"time {time!r} of patient {patient!r} is there twice, first in row {first.line}{hint}"
    return second.fault("time_days", what, f"keep one value of {observable} for each patient and time")


def check_units(rows: Sequence[Row]) -> str:
    """The one unit of these rows ("" where none is given); `DataError` for two."""
    if not rows:
        return ""
    first = rows[0]
    unit = first.values.get("unit", "")
    for row in rows:
        other = row.values.get("unit", "")
        if other != unit:
            what = f"unit {other or '(empty)'!r} where row {first.line} has {unit or '(empty)'!r}"
            raise row.fault("unit", what, "convert all values to one unit, or choose patients by --patient")
    return unit


def judge_unit(rows: Sequence[Row], observable: str) -> list[str]:
    """What is assumed of the one unit of these rows, in a sentence; `DataError` for one that must be converted."""
    if observable not in UNITS or not rows:
        return []
    ours, known, factors = UNITS[observable]
    row, unit = rows[0], rows[0].values.get("unit", "")
    word = unicodedata.normalize("NFKC", unit).lower().partition(" ")[0]
    if word in factors:
        what = f"unit {unit!r}, while {observable} is in {ours}"
        raise row.fault("unit", what, f"multiply by {factors[word]} and write {ours}")
    if word in known:
        return []
    why = f"unit {shown(unit)} is not known for {observable}" if unit else f"no unit is given for {observable}"
    return [f"{row.file}: {why}: values are taken as {ours}"]


def check_enough(
    sheet: Sheet, wanted: frozenset[str], visits: Mapping[str, list[Visit]], least: int, name: str
) -> None:
    """`DataError` for a patient with fewer than ``least`` values."""
    for patient in sorted(wanted):
        theirs = visits.get(patient, [])
        if len(theirs) < least:
            line = min(
                [v.row.line for v in theirs] or [r.line for r in sheet.rows if r.values["patient_id"] == patient]
            )
            row = next(row for row in sheet.rows if row.line == line)
            what = f"patient {patient!r} has {counted(len(theirs), 'value')} of {name}"
            needed = f"a patient needs at least {counted(least, 'value')}"
            remedy = (
                f"{needed}: add values, choose others by --patient, or let it lean on others (fit --pool, --population)"
            )
            raise row.fault("burden", what, remedy)
