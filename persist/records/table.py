"""The reader of tidy tables: burden, treatments, biomarkers and exposure to a `Table`, and all that was noticed or assumed."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from persist.records.biomarkers import baseline, named, read_biomarkers
from persist.records.burden import (
    Visit,
    asked_patients,
    check_enough,
    check_units,
    choose_observable,
    judge_unit,
    of_patients,
    read_burden,
    visits_of,
)
from persist.records.censoring import Floor, censor, check_floor, floors_in_force
from persist.records.composition import composition_rows, compositions
from persist.records.exposure import exposures, read_exposure
from persist.records.fields import day, decimal_mark, has_dates, points_noticed
from persist.records.stops import UNSEEN, doubtful
from persist.records.text import Row, Sheet, counted, listed, shown
from persist.records.treatments import check_full_doses, judged, read_treatments, schedules
from persist.types import NO_COMPOSITION, NO_LEVELS, Series, Table

NUMBERS = ("time_days", "burden")
"""The columns of the burden table that hold numbers."""


def read(
    burden_path: str | Path,
    treatments_path: str | Path | None = None,
    *,
    observable: str | None = None,
    patients: Sequence[str] = (),
    floor: Floor = "auto",
    full_dose: Mapping[str, float] | None = None,
    min_values: int = 2,
    biomarkers_path: str | Path | None = None,
    exposure_path: str | Path | None = None,
) -> Table:
    """Read burden (and what else is given) of the ``patients`` asked for, or of all, sorted by patient and by day.

    ``floor``: values that are assay floors, so left-censored: listed, found ("auto", see `floors.RULE`), or "none".
    ``full_dose``: drug -> the amount that is dose 1. Only the patients asked for are judged; floors are found over the
    whole file. ISO dates become days since the patient's first measurement. `DataError` names file, row, column, value
    and remedy; `UsageError` is for files and options that cannot be.
    """
    check_floor(floor)
    sheet = read_burden(burden_path)
    given = read_treatments(treatments_path) if treatments_path is not None else None
    measured = read_biomarkers(biomarkers_path) if biomarkers_path is not None else None
    exposed = read_exposure(exposure_path) if exposure_path is not None else None
    check_full_doses(given, full_dose or {})
    wanted = asked_patients(sheet, tuple(patients))
    name, of_observable, sentence = choose_observable(sheet, wanted, observable)
    rows = [row for row in of_observable if row.values["patient_id"] in wanted]
    known = frozenset(row.values["patient_id"] for row in sheet.rows)
    everyone = not patients
    doses = judged(of_patients(given, wanted, known, everyone, "treatments")) if given else []
    marked = named(of_patients(measured, wanted, known, everyone, "a biomarker")) if measured else []
    reached = of_patients(exposed, wanted, known, everyone, "an exposure") if exposed else []
    beside = composition_rows(sheet, wanted, name)
    mark = decimal_mark(sheet, [*rows, *beside], NUMBERS)
    timed = [*rows, *beside, *reached, *(row for row in marked if row.values["time_days"])]
    dates = has_dates(_times(timed, doses))
    visits = visits_of(rows, name, mark, dates)
    check_enough(sheet, wanted, visits, max(min_values, 1), name)
    unit = check_units(rows)
    unit_notes = judge_unit(rows, name)
    floors = floors_in_force(sheet, of_observable, name, floor, mark)
    read_visits, censored_notes = censor(sheet, visits, floors, name)
    first = {patient: theirs[0].day for patient, theirs in visits.items()}
    origin = {patient: begin if dates else 0.0 for patient, begin in first.items()}
    found = compositions(sheet, beside, name, mark, first, dates)
    markers, marker_notes = baseline(measured, marked, first, dates) if measured else (None, [])
    last = {patient: theirs[-1].day for patient, theirs in visits.items()}
    levels, level_notes = exposures(exposed, reached, dates, origin, last) if exposed else ({}, [])
    treated, dose_notes = schedules(given, doses, dates, origin, full_dose or {}) if given else ({}, [])
    series = tuple(
        _series(patient, theirs, name, unit, origin[patient])._replace(
            schedules=treated.get(patient, {}),
            composition=found.of.get(patient, NO_COMPOSITION),
            levels=levels.get(patient, NO_LEVELS),
        )
        for patient, theirs in read_visits.items()
    )
    more = [one for one in (given, measured, exposed) if one is not None]
    others = [note for one in more for note in one.notes]
    notes = [*sheet.notes, *others, sentence, *_rows_noticed(sheet, rows, mark, dates, unit)]
    notes += [
        *unit_notes,
        *points_noticed(sheet, [*rows, *beside], NUMBERS),
        *floors.notes,
        *censored_notes,
        *found.notes,
        *dose_notes,
        *_untreated(series, given),
        *_late_stops(series, given),
        *marker_notes,
        *level_notes,
    ]
    content = b"".join(one.content for one in (sheet, *more))
    return Table(series, tuple(notes), hashlib.sha256(content).hexdigest(), markers)


def _times(rows: Sequence[Row], doses: Sequence[Row]) -> list[tuple[Row, str]]:
    """Every field that holds a time, of both tables."""
    columns = ("start_days", "stop_days")
    return [(row, "time_days") for row in rows] + [(row, column) for row in doses for column in columns]


def _series(patient: str, visits: Sequence[Visit], name: str, unit: str, origin: float) -> Series:
    """The burden of one patient, as yet without treatments and composition."""
    day_, burden = (np.array([visit[i] for visit in visits], dtype=np.float64) for i in range(2))
    censoring = np.array([visit.censoring for visit in visits], dtype=np.int64)
    return Series(patient, name, unit, day_ - origin, burden, censoring, {})


def _rows_noticed(sheet: Sheet, rows: Sequence[Row], mark: str, dates: bool, unit: str) -> list[str]:
    """Sentences on decimal marks, dates, order, ids and unit."""
    notes = []
    if mark == ",":
        notes.append(f"{sheet.file}: numbers have decimal commas")
    if dates:
        notes.append(f"{sheet.file}: times are ISO dates; day 0 is each patient's first measurement")
    latest: dict[str, float] = {}
    unsorted_: dict[str, None] = {}
    for row in rows:
        patient, time = row.values["patient_id"], day(row, "time_days", mark, dates)
        if time < latest.get(patient, -math.inf):
            unsorted_[patient] = None
        latest[patient] = time
    if unsorted_:
        notes.append(f"{sheet.file}: rows of {counted(len(unsorted_), 'patient')} were not in order of time: sorted")
    zeros = next((patient for patient in latest if patient.isdigit() and patient.startswith("0")), None)
    if zeros is not None:
        notes.append(f"{sheet.file}: patient_id is text and kept as it is ({zeros!r} stays {zeros!r})")
    return [*notes, f"{sheet.file}: unit {shown(unit)}" if unit else f"{sheet.file}: no unit is given"]


def _untreated(series: Sequence[Series], given: Sheet | None) -> list[str]:
    if given is None:
        return ["no treatments were given: every patient is taken as untreated"]
    without = sum(not one.schedules for one in series)
    return [f"{given.file}: {counted(without, 'patient')} without treatment, taken as untreated"] if without else []


def _late_stops(series: Sequence[Series], given: Sheet | None) -> list[str]:
    """A sentence on stops that may have come earlier than recorded."""
    gaps = [(one.patient_id, gap) for one in series for drug in one.schedules.values() for gap in doubtful(one, drug)]
    found = [f"patient {name} day {stop:g}" for name, (_, stop) in gaps]
    if given is None or not found:
        return []
    return [
        f"{given.file}: {counted(len(found), 'stop')} on the day of a value, the one before over {UNSEEN:g} days ago "
        f"({listed(found)}): the drug may have been stopped earlier, so a fit of it learns the day (not with --exact-stops)"
    ]
