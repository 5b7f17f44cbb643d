"""The reader of tidy tables: what it refuses and where, what it reads and says, that order and format do not matter."""

from __future__ import annotations

import hashlib
import io
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from persist.errors import DataError, UsageError
from persist.records.fields import GROUPED
from persist.records.floors import find_floors
from persist.records.table import read
from persist.types import Table

GOOD = "patient_id,time_days,burden\nA,0,10\nA,28,5\nB,0,8\nB,30,4\n"
DOSES = "patient_id,start_days,stop_days,drug,dose\n"


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Reads a burden text (and a treatments text) written to burden.csv and treatments.csv."""

    def make(burden: str | bytes, treatments: str | bytes | None = None, **options: Any) -> Table:
        paths = []
        for name, content in (("burden.csv", burden), ("treatments.csv", treatments)):
            if content is not None:
                path = tmp_path / name
                path.write_bytes(content.encode() if isinstance(content, str) else content)
                paths.append(path)
        return read(*paths, **options)

    return make


def burden_rows(*rows: str, header: str = "patient_id,time_days,burden") -> str:
    return "\n".join([header, *rows]) + "\n"


# name: (burden, treatments, options, where, parts of the message)
REFUSED: dict[str, tuple[str | bytes, str | None, dict[str, Any], str, tuple[str, ...]]] = {
    "missing column": (
        "patient_id,day,Burden\nA,0,1\n",
        None,
        {},
        "burden.csv: row 1, column time_days",
        ("missing", "patient_id, day, Burden"),
    ),
    "close column": ("patient_id,time_days,Burden\nA,0,1\n", None, {}, "row 1, column burden", ("mean 'Burden'",)),
    "column twice": ("patient_id,time_days,burden,burden\nA,0,1,2\n", None, {}, "row 1, column burden", ("twice",)),
    "empty": ("", None, {}, "burden.csv: row 1", ("empty", "patient_id, time_days, burden")),
    "blank": ("\n \n", None, {}, "burden.csv: row 1", ("empty",)),
    "header only": ("patient_id,time_days,burden\n", None, {}, "burden.csv: row 1", ("no row",)),
    "text": (burden_rows("A,0,1", "A,1,high"), None, {}, "row 3, column burden", ("'high'", "plain number")),
    "text in time": (burden_rows("A,0,1", "A,soon,2"), None, {}, "row 3, column time_days", ("'soon'",)),
    "limit as text": (
        burden_rows("A,0,1", "A,1,<0.2"),
        None,
        {},
        "row 3, column burden",
        ("'<0.2'", "left", "censoring"),
    ),
    "underscore": (burden_rows("A,0,1", "A,1,1_000"), None, {}, "row 3, column burden", ("'1_000'",)),
    "nan": (burden_rows("A,0,1", "A,1,NaN"), None, {}, "row 3, column burden", ("'NaN'", "leave the row out")),
    "nothing": (burden_rows("A,0,1", "A,1,"), None, {}, "row 3, column burden", ("missing", "leave the row out")),
    "infinite": (burden_rows("A,0,1", "A,1,-inf"), None, {}, "row 3, column burden", ("'-inf'", "infinite")),
    "overflow": (burden_rows("A,0,1", "A,1,1e999"), None, {}, "row 3, column burden", ("'1e999'", "infinite")),
    "negative": (burden_rows("A,0,1", "A,1,-2.5"), None, {}, "row 3, column burden", ("'-2.5'", "negative")),
    "zero": (burden_rows("A,0,1", "A,1,0"), None, {}, "row 3, column burden", ("'0'", "--floor VALUE")),
    "zero, no floors": (
        burden_rows("A,0,1", "A,1,0"),
        None,
        {"observable": "psa", "floor": "none"},
        "row 3, column burden",
        ("'0'", "--floor"),
    ),
    "share over 1": (
        burden_rows("A,0,1", "A,1,35"),
        None,
        {"observable": "fraction"},
        "row 3, column burden",
        ("'35'", "percent"),
    ),
    "visit twice": (
        burden_rows("A,28,5,S", "A,0,5,S", "A,28,6,R", header="patient_id,time_days,burden,population"),
        None,
        {},
        "row 4, column time_days",
        ("'28'", "row 2", "population", "keep one"),
    ),
    "overlap": (
        GOOD,
        DOSES + "A,0,90,x,1\nA,60,120,x,0.5\n",
        {},
        "treatments.csv: row 3, column start_days",
        ("'60'", "row 2", "'A'", "overlap"),
    ),
    "overlap with open end": (
        GOOD,
        DOSES + "A,100,200,x,1\nA,0,,x,1\n",
        {},
        "treatments.csv: row 2, column start_days",
        ("row 3", "never"),
    ),
    "reversed": (GOOD, DOSES + "A,90,30,x,1\n", {}, "treatments.csv: row 2, column stop_days", ("'30'", "'90'")),
    "unknown patient": (
        GOOD,
        DOSES + "A,0,9,x,1\nAA,0,9,x,1\n",
        {},
        "treatments.csv: row 3, column patient_id",
        ("'AA'", "mean 'A'", "leave the row out"),
    ),
    "dose over 1": (GOOD, DOSES + "A,0,9,x,75\n", {}, "treatments.csv: row 2, column dose", ("'75'", "--full-dose x=")),
    "dose over the full one": (
        GOOD,
        DOSES + "A,0,9,x,75\n",
        {"full_dose": {"x": 50.0}},
        "treatments.csv: row 2, column dose",
        ("'75'", "50", "--full-dose x="),
    ),
    "negative dose": (GOOD, DOSES + "A,0,9,x,-1\n", {}, "treatments.csv: row 2, column dose", ("'-1'", "negative")),
    "no drug": (GOOD, DOSES + "A,0,9,,1\n", {}, "treatments.csv: row 2, column drug", ("empty", "name the drug")),
    "event": (
        GOOD,
        "patient_id,start_days,stop_days,drug,dose,event\nA,0,1,knife,0.5,surgery\n",
        {},
        "treatments.csv: row 2, column event",
        ("'surgery'", "not supported by this version"),
    ),
    "asked for nobody": (GOOD, None, {"patients": ("C",)}, "column patient_id", ("'C'", "A, B")),
    "asked without zero": (
        burden_rows("019,0,1", "019,1,1"),
        None,
        {"patients": ("19",)},
        "column patient_id",
        ("'19'", "mean '019'"),
    ),
    "patient without a name": (burden_rows("A,0,1", ",1,1"), None, {}, "row 3, column patient_id", ("empty",)),
    "one value": (
        burden_rows("A,0,1", "A,1,2", "B,0,1"),
        None,
        {},
        "row 4, column burden",
        ("'B'", "1 value", "2 values", "add values", "--patient"),
    ),
    "confluence over 100": (
        burden_rows("A,0,1", "A,1,100.5"),
        None,
        {"observable": "confluence"},
        "row 3, column burden",
        ("'100.5'", "over 100", "percent"),
    ),
    "line end in a patient": (
        burden_rows("A,0,1", '"B\n1",1,1'),
        None,
        {},
        "row 3, column patient_id",
        ("'B\\n1'", "control character"),
    ),
    "tab in a patient who was asked for": (
        burden_rows("A,0,1", "B\t1,1,1"),
        None,
        {"patients": ("B\t1",)},
        "row 3, column patient_id",
        ("'B\\t1'", "control character"),
    ),
    "control character in a drug": (
        GOOD,
        DOSES + "A,0,9,x\x1b[2J,1\n",
        {},
        "treatments.csv: row 2, column drug",
        ("'x\\x1b[2J'", "control character"),
    ),
    "a time zone": (
        burden_rows("A,2020-01-01T00:00:00Z,1", "A,2020-01-02T00:00:00Z,1"),
        None,
        {},
        "row 2, column time_days",
        ("'2020-01-01T00:00:00Z'", "write the date alone, as 2020-01-01"),
    ),
    "a time zone in treatments": (
        GOOD.replace(",0,", ",2020-01-01,").replace("28", "2020-01-29").replace("30", "2020-01-31"),
        DOSES + "A,2020-01-01T00:00+01:00,,x,1\n",
        {},
        "treatments.csv: row 2, column start_days",
        ("write the date alone, as 2020-01-01",),
    ),
    "units": (
        burden_rows("A,0,1,ng/mL", "A,1,2,ug/L", header="patient_id,time_days,burden,unit"),
        None,
        {},
        "row 3, column unit",
        ("'ug/L'", "'ng/mL'", "row 2", "convert"),
    ),
    "observables": (
        burden_rows("A,0,1,psa", "A,1,2,sld", header="patient_id,time_days,burden,observable"),
        None,
        {},
        "row 3, column observable",
        ("psa, sld", "--observable"),
    ),
    "unknown observable": (
        burden_rows("A,0,1,psa", "A,1,2,pas", header="patient_id,time_days,burden,observable"),
        None,
        {},
        "row 3, column observable",
        ("'pas'", "mean 'psa'", "the known ones are psa, volume, sld"),
    ),
    "no such observable": (
        burden_rows("A,0,1,psa", "A,1,2,psa", header="patient_id,time_days,burden,observable"),
        None,
        {"observable": "psaa"},
        "column observable",
        ("'psaa'", "mean 'psa'"),
    ),
    "dates with numbers": (
        burden_rows("A,2020-01-01,1", "A,28,2"),
        None,
        {},
        "row 3, column time_days",
        ("'28'", "row 2", "ISO"),
    ),
    "dates in two forms": (
        burden_rows("A,2020-01-01,1", "A,29/01/2020,2"),
        None,
        {},
        "row 3, column time_days",
        ("'29/01/2020'", "1999-12-31"),
    ),
    "dates in one table alone": (
        GOOD,
        DOSES + "A,2020-01-01,,x,1\n",
        {},
        "treatments.csv: row 2, column start_days",
        ("'2020-01-01'", "row 2 of burden.csv"),
    ),
    "no day of the calendar": (
        burden_rows("A,2020-01-01,1", "A,2021-02-29,2"),
        None,
        {},
        "row 3, column time_days",
        ("'2021-02-29'", "calendar"),
    ),
    "a date without hyphens": (
        burden_rows("A,20200101,1", "A,20200201,2"),
        None,
        {},
        "row 2, column time_days",
        ("'20200101'", "1999-12-31"),
    ),
    "binary": (b"PK\x03\x04\n\x00\x00", None, {}, "burden.csv: row 2", ("NUL", "CSV in UTF-8")),
    "not utf-8": (b"patient_id,time_days,burden\nM\xfcller,0,1\n", None, {}, "burden.csv: row 2", ("0xfc", "UTF-8")),
    "censoring word": (
        burden_rows("A,0,1,", "A,1,2,lefty", header="patient_id,time_days,burden,censoring"),
        None,
        {},
        "row 3, column censoring",
        ("'lefty'", "mean 'left'"),
    ),
    "a field too many": (burden_rows("A,0,1", "A,1,0,5"), None, {}, "row 3, column burden", ("4 fields", "semicolons")),
    "a field too few": (burden_rows("A,0,1", "A,1"), None, {}, "row 3, column burden", ("2 fields",)),
    "decimal marks mixed": (
        burden_rows("A;0;1,5", "A;1;2.5", header="patient_id;time_days;burden"),
        None,
        {},
        "row 3, column burden",
        ("'2.5'", "row 2"),
    ),
    "grouped thousands": (burden_rows('A,0,"1,200"'), None, {}, "row 2, column burden", ("'1,200'", "two ways")),
    "grouped thousands among tabs": (
        "patient_id\ttime_days\tburden\nA\t0\t1,200\nA\t28\t900\n",
        None,
        {},
        "row 2, column burden",
        ("'1,200'", "two ways", "without a comma"),
    ),
    "grouped thousands of doses": (
        GOOD,
        DOSES.replace(",", "\t") + "A\t0\t1,100\tx\t1\n",
        {},
        "treatments.csv: row 2, column stop_days",
        ("'1,100'", "two ways"),
    ),
    "stray quote": (burden_rows("A,0,1", 'A,0,"1', "A,1,2"), None, {}, "burden.csv: row 3", ("quote",)),
    "field over lines": (
        burden_rows(
            'A,0,1,"first', 'visit"', 'A,1,2,"second', 'visit"', "A,1,x,", header="patient_id,time_days,burden,note"
        ),
        None,
        {},
        "row 6, column burden",
        ("'x'",),
    ),
    "fault in a record over lines": (
        burden_rows('A,0,1,"first', 'visit"', 'A,1,x,"second', 'visit"', header="patient_id,time_days,burden,note"),
        None,
        {},
        "row 4, column burden",
        ("'x'",),
    ),
    "blank lines are counted": (burden_rows("A,0,1", "", "A,1,x"), None, {}, "row 4, column burden", ("'x'",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_place_value_and_remedy(table: Any, name: str) -> None:
    burden, treatments, options, where, parts = REFUSED[name]
    with pytest.raises(DataError) as caught:
        table(burden, treatments, **options)
    line = str(caught.value)
    assert where in line
    assert "\n" not in line
    assert caught.value.remedy
    for part in parts:
        assert part in line
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"observable": "pas"}, "psa"),
        ({"floor": "often"}, "'often'"),
        ({"floor": (0.1, -1.0)}, "-1"),
        ({"full_dose": {"x": 2.0}}, "--treatments"),
    ],
)
def test_options_that_cannot_be(table: Any, options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        table(GOOD, **options)


def test_full_dose_of_a_drug_that_is_not_there(table: Any) -> None:
    with pytest.raises(UsageError, match="did you mean 'olaparib'"):
        table(GOOD, DOSES + "A,0,9,olaparib,1\n", full_dose={"olaparip": 2.0})


def test_no_file_and_a_folder(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "absent.csv")
    with pytest.raises(UsageError, match="cannot be read"):
        read(tmp_path)


def test_plain_table(table: Any) -> None:
    got = table(GOOD, DOSES + "A,0,14,x,1\nA,14,28,x,0.5\nA,60,,x,1\nA,40,50,x,0\nB,5,6,y,0.25\n")
    a, b = got.series
    assert (a.patient_id, a.observable, a.unit) == ("A", "burden", "")
    np.testing.assert_array_equal(a.day, [0.0, 28.0])
    np.testing.assert_array_equal(a.burden, [10.0, 5.0])
    np.testing.assert_array_equal(a.censoring, [0, 0])
    np.testing.assert_array_equal(a.schedules["x"].start, [0.0, 14.0, 60.0])
    np.testing.assert_array_equal(a.schedules["x"].stop, [14.0, 28.0, math.inf])
    np.testing.assert_array_equal(a.schedules["x"].dose, [1.0, 0.5, 1.0])
    assert list(b.schedules) == ["y"]
    assert any("1 row without a stop" in note for note in got.notes)
    assert any("of dose 0" in note for note in got.notes)


def test_hash_is_of_the_bytes_read(table: Any) -> None:
    doses = DOSES + "A,0,14,x,1\n"
    assert table(GOOD).sha256 == hashlib.sha256(GOOD.encode()).hexdigest()
    assert table(GOOD, doses).sha256 == hashlib.sha256((GOOD + doses).encode()).hexdigest()


@pytest.mark.parametrize(
    ("burden", "options", "sentence"),
    [
        ("\ufeff" + GOOD, {}, "BOM"),
        (GOOD.replace("\n", "\r\n"), {}, "CRLF"),
        (GOOD.replace(",", ";"), {}, "semicolons"),
        (GOOD.replace(",", "\t"), {}, "tabs"),
        (GOOD.replace(",", ";").replace(";5\n", ";5,0\n"), {}, "decimal commas"),
        (GOOD.replace(",5\n", ',"5,0"\n'), {}, "decimal commas"),
        (burden_rows("A,28,5", "A,0,10", "B,0,8", "B,30,4"), {}, "1 patient were not in order of time: sorted"),
        (GOOD.replace("28", "2020-01-29").replace(",0,", ",2020-01-01,").replace("30", "2020-01-31"), {}, "ISO dates"),
        (GOOD.replace("burden\n", "burden,gleason\n").replace("0\n", "0,7\n").replace("5\n", "5,7\n")
         .replace("8\n", "8,7\n").replace("4\n", "4,7\n"), {}, "set aside: gleason"),
        (GOOD, {"observable": "volume"}, "taken as volume"),
        (GOOD, {}, "no observable is named"),
        (GOOD, {}, "taken as untreated"),
        (GOOD, {}, "no unit is given"),
        (GOOD, {}, "no assay floor found"),
        (GOOD, {"floor": "none"}, "taken as measured"),
        (GOOD, {"floor": (0.02,)}, "no value of burden.csv equals the listed floor 0.02"),
        (GOOD, {"observable": "cells"}, "no assay floors are looked for"),
    ],
)  # fmt: skip
def test_read_and_said(table: Any, burden: str, options: dict[str, Any], sentence: str) -> None:
    plain, got = table(GOOD), table(burden, **options)
    assert any(sentence in note for note in got.notes), got.notes
    assert_same_series(got, plain)


def test_commas_among_tabs_are_decimal_where_one_shows_it(table: Any) -> None:
    got = table("patient_id\ttime_days\tburden\nA\t0\t1,200\nA\t28\t5,5\n")
    np.testing.assert_array_equal(got.series[0].burden, [1.2, 5.5])


@pytest.mark.parametrize(
    ("values", "noticed"), [(("1.200", "900"), True), (("1.200", "0.5"), False), (("1,200", "9"), False)]
)
def test_points_that_may_part_thousands_are_said(table: Any, values: tuple[str, str], noticed: bool) -> None:
    burden = burden_rows(*(f"A;{day};{text}" for day, text in enumerate(values)), header="patient_id;time_days;burden")
    said = [note for note in table(burden).notes if "points are decimal marks" in note]
    assert bool(said) is noticed
    assert not noticed or "'1.200' (row 2) is read as 1.2" in said[0]
    doses = DOSES.replace(",", ";") + f"A;0;{values[0]};x;1\n"
    told = [note for note in table(GOOD, doses).notes if "points are decimal marks" in note]
    assert bool(told) is ("." in values[0])


def test_ids_stay_text(table: Any) -> None:
    got = table(burden_rows("019,0,1", "019,1,2", "19,0,1", "19,1,2"))
    assert [series.patient_id for series in got.series] == ["019", "19"]
    assert any("'019' stays '019'" in note for note in got.notes)


def test_dates_of_treatment_share_the_origin(table: Any) -> None:
    got = table(burden_rows("A,2020-03-01,1", "A,2020-02-01,2"), DOSES + "A,2020-01-31,2020-03-02,x,1\n")
    np.testing.assert_array_equal(got.series[0].day, [0.0, 29.0])
    np.testing.assert_array_equal(got.series[0].schedules["x"].start, [-1.0])
    np.testing.assert_array_equal(got.series[0].schedules["x"].stop, [30.0])


def test_full_dose_divides(table: Any) -> None:
    got = table(GOOD, DOSES + "A,0,9,x,75\nA,9,20,x,300\n", full_dose={"x": 300.0})
    np.testing.assert_array_equal(got.series[0].schedules["x"].dose, [0.25, 1.0])
    assert any("doses of x divided by 300" in note for note in got.notes)


STOPS = DOSES + "A,0,300,x,1\n"


@pytest.mark.parametrize(
    ("burden", "doses", "told"),
    [
        (burden_rows("A,0,10", "A,100,1", "A,300,4", "A,328,5"), STOPS, True),
        (burden_rows("A,0,10", "A,100,4", "A,300,1", "A,328,5"), STOPS, True),
        (burden_rows("A,0,10", "A,200,1", "A,300,4", "A,328,5"), STOPS, False),
        (burden_rows("A,0,10", "A,100,1", "A,310,4", "A,328,5"), STOPS, False),
        (burden_rows("A,0,10", "A,100,1", "A,300,4", "A,328,5"), STOPS + "A,300,400,x,0.5\n", False),
        (burden_rows("A,0,10", "A,100,1", "A,300,4"), STOPS, False),
    ],
    ids=[
        "rose unseen",
        "fell unseen",
        "seen shortly before",
        "stopped before the visit",
        "other dose",
        "end of the record",
    ],
)
def test_a_stop_that_may_have_been_earlier_is_told(table: Any, burden: str, doses: str, told: bool) -> None:
    notes = table(burden, doses).notes
    assert any("1 stop on the day of a value" in note and "patient A day 300" in note for note in notes) == told


def test_only_asked_patients_are_judged(table: Any) -> None:
    burden = GOOD + "C,0,junk\nC,2020-01-01,-1\nD,0,1\n"
    doses = DOSES + "A,0,9,x,1\nC,9,0,x,55\nnobody,0,1,x,1\n"
    got = table(burden, doses, patients=("A",))
    assert [series.patient_id for series in got.series] == ["A"]
    with pytest.raises(DataError, match="nobody"):
        table(burden, doses)


def test_an_observable_is_chosen(table: Any) -> None:
    header = "patient_id,time_days,burden,observable,unit"
    burden = burden_rows("A,0,1,psa,ng/mL", "A,0,30,sld,mm", "A,9,2,psa,ng/mL", "A,9,31,sld,mm", header=header)
    got = table(burden, observable="sld")
    np.testing.assert_array_equal(got.series[0].burden, [30.0, 31.0])
    assert (got.series[0].observable, got.series[0].unit) == ("sld", "mm")
    assert any("left out: psa" in note for note in got.notes)


HEADER_UNIT = "patient_id,time_days,burden,unit"


@pytest.mark.parametrize(
    ("observable", "unit", "remedy"),
    [
        *((name, unit, "multiply by 10 and write mm") for name in ("sld", "diameter") for unit in ("cm", "CM across")),
        *((name, "m", "multiply by 1000 and write mm") for name in ("sld", "diameter")),
        *(
            ("volume", unit, "multiply by 1000 and write mm3")
            for unit in ("mL", "ml", "cm3", "cm^3", "cm\u00b3", "cc", "mL by MRI")
        ),
    ],
)
def test_units_that_must_be_converted(table: Any, observable: str, unit: str, remedy: str) -> None:
    burden = burden_rows("B,0,1,", f"A,0,1,{unit}", f"A,1,2,{unit}", header=HEADER_UNIT)
    with pytest.raises(DataError) as caught:
        table(burden, observable=observable, patients=("A",))
    for part in ("burden.csv: row 3, column unit", repr(unit), remedy):
        assert part in str(caught.value)


@pytest.mark.parametrize(
    ("observable", "unit", "taken"),
    [
        *((name, unit, "mm") for name in ("sld", "diameter") for unit in ("", "inch")),
        *(("volume", unit, "mm3") for unit in ("", "pints")),
        *(("psa", unit, "ng/mL") for unit in ("", "nmol/L", "mm")),
        *((name, unit, "") for name in ("sld", "diameter") for unit in ("mm", "mm longest diameter of one lesion")),
        *(("volume", unit, "") for unit in ("mm3", "mm^3", "mm\u00b3", "uL", "\u00b5L", "\u03bcL")),
        *(("psa", unit, "") for unit in ("ng/mL", "ng/ml", "ug/L", "\u00b5g/L", "ng/mL PSA")),
        ("cells", "", ""),
    ],
)
def test_units_that_are_assumed_are_said(table: Any, observable: str, unit: str, taken: str) -> None:
    got = table(burden_rows(f"A,0,1,{unit}", f"A,1,2,{unit}", header=HEADER_UNIT), observable=observable)
    said = [note for note in got.notes if "values are taken as" in note and "all values" not in note]
    assert [note.rpartition(" ")[2] for note in said] == ([taken] if taken else [])
    assert not taken or (unit or "no unit is given") in said[0]


def test_capitals_of_an_observable_are_forgiven_and_said(table: Any) -> None:
    burden = burden_rows("A,0,1,PSA", "A,1,2,psa", "A,0,30,SLD", header="patient_id,time_days,burden,observable")
    for asked in ("psa", "Psa"):
        got = table(burden, observable=asked)
        assert got.series[0].observable == "psa"
        np.testing.assert_array_equal(got.series[0].burden, [1.0, 2.0])
        (note,) = [note for note in got.notes if "observable psa" in note]
        assert "left out: sld" in note
        assert "PSA read as psa" in note
        assert ("Psa" in note) == (asked == "Psa")
    only = table(burden_rows("A,0,1,PSA", "A,1,2,PSA", header="patient_id,time_days,burden,observable"))
    assert only.series[0].observable == "psa"
    assert any("observable psa, the only one" in note and "PSA read as psa" in note for note in only.notes)
    said = table(GOOD, observable="PSA")
    assert said.series[0].observable == "psa"
    assert any("(PSA read as psa)" in note for note in said.notes)


def test_observables_of_other_patients_are_not_judged(table: Any) -> None:
    burden = burden_rows("A,0,1,psa", "A,1,2,psa", "B,0,3,mood", header="patient_id,time_days,burden,observable")
    assert table(burden, patients=("A",)).series[0].observable == "psa"


def test_one_value_is_enough_with_a_prior(table: Any) -> None:
    assert len(table(burden_rows("A,0,1"), min_values=1).series[0].day) == 1


# ---------------------------------------------------------------- censoring


def test_marks_of_the_file_count(table: Any) -> None:
    header = "patient_id,time_days,burden,censoring"
    got = table(burden_rows("A,0,9,", "A,1,0.1,left", "A,2,99,right", "A,3,0,", header=header))
    np.testing.assert_array_equal(got.series[0].censoring, [0, -1, 1, -1])
    np.testing.assert_array_equal(got.series[0].burden, [9.0, 0.1, 99.0, 0.1])
    assert any("1 value marked left" in note for note in got.notes)
    assert any("1 value of 0 read as left-censored at 0.1" in note for note in got.notes)


def test_listed_floors_and_zero(table: Any) -> None:
    got = table(burden_rows("A,0,9", "A,1,0.1", "A,2,0.2", "A,3,0", "A,4,0.15"), floor=(0.2, 0.1))
    np.testing.assert_array_equal(got.series[0].censoring, [0, -1, -1, -1, 0])
    np.testing.assert_array_equal(got.series[0].burden, [9.0, 0.1, 0.2, 0.1, 0.15])
    assert any("1 value equal to the floor 0.2" in note for note in got.notes)


@pytest.mark.parametrize("observable", ["cells", "fraction"])
def test_zero_is_a_measurement_of_counts_and_shares(table: Any, observable: str) -> None:
    got = table(burden_rows("A,0,1", "A,1,0"), observable=observable)
    np.testing.assert_array_equal(got.series[0].censoring, [0, 0])
    np.testing.assert_array_equal(got.series[0].burden, [1.0, 0.0])


def test_floors_found_over_the_whole_file_and_said(table: Any) -> None:
    burden = burden_rows(
        *(f"{p},{d},{v}" for p in "AB" for d, v in enumerate((9, 3, 0.2, 0.2, 0.2, 0.7))), "C,0,5", "C,1,0.2"
    )
    got = table(burden, patients=("C",))
    np.testing.assert_array_equal(got.series[0].censoring, [0, -1])
    assert any("over all patients of burden.csv: 0.2 (7 values)" in note for note in got.notes)
    np.testing.assert_array_equal(table(burden, patients=("C",), floor="none").series[0].censoring, [0, 0])


@pytest.mark.parametrize("patients", [(), ("019",)])
def test_floors_of_the_iadt_archive(shared_data: Path, patients: tuple[str, ...]) -> None:
    folder = shared_data / "iadt_bruchovsky"
    got = read(folder / "observations.csv", folder / "treatments.csv", observable="psa", patients=patients)
    (found,) = [note for note in got.notes if note.startswith("assay floors found")]
    assert not [note for note in got.notes if "taken as ng/mL" in note]
    assert ": 0.02 (47 values), 0.1 (55 values), 0.2 (158 values) (a floor is" in found
    censored = {float(v) for series in got.series for v in series.burden[series.censoring < 0]}
    assert censored <= {0.02, 0.1, 0.2}
    assert len(got.series) == (len(patients) or 54)


@pytest.mark.parametrize("digits", [2, 3])
def test_no_floors_in_smooth_noisy_series(digits: int) -> None:
    """Log-normal noise of 10 % on cycles, rounded to 2 or 3 digits: at most 2 of 60 files show a floor."""
    alarms = 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        day = np.arange(0.0, 1500.0, 28.0)
        depth = rng.uniform(1.0, 2.5, size=(20, 1))
        burden = np.exp(2.0 + depth * (np.cos(day[None, :] / 150.0) - 1.0) + 0.1 * rng.normal(size=(20, day.size)))
        alarms += bool(find_floors([[float(f"{v:.{digits}g}") for v in row] for row in burden]))
    assert alarms <= 2


def test_a_plateau_at_the_top_or_on_the_way_is_no_floor() -> None:
    assert not find_floors([[1.0, 2.0, 5.0, 5.0, 5.0, 5.0]])
    assert not find_floors([[4.0, 4.0, 4.0, 4.0]])
    assert find_floors([[4.0, 2.0, 1.0, 1.0, 1.0, 3.0]]) == {1.0: 3}


# ---------------------------------------------------------------- any order, any format, any bytes


def assert_same_series(one: Table, two: Table) -> None:
    assert [series.patient_id for series in one.series] == [series.patient_id for series in two.series]
    for a, b in zip(one.series, two.series, strict=True):
        for name in ("day", "burden", "censoring"):
            np.testing.assert_array_equal(getattr(a, name), getattr(b, name), strict=True)
        assert a.schedules.keys() == b.schedules.keys()
        for drug, schedule in a.schedules.items():
            for field, other in zip(schedule, b.schedules[drug], strict=True):
                np.testing.assert_array_equal(field, other, strict=True)


def assert_read_or_refused(table: Any, burden: str | bytes, doses: str | bytes | None) -> None:
    """Nothing but a `DataError` with a place and a remedy may come of any content."""
    error = None
    try:
        table(burden, doses)
    except DataError as refusal:
        error = refusal
    if error is not None:
        assert error.where
        assert error.remedy
        assert len(str(error).splitlines()) == 1


value = st.integers(1, 10**7).map(lambda n: n / 1000)
patients = st.dictionaries(
    st.text("aB0-é", min_size=1, max_size=3),
    st.dictionaries(st.integers(-500, 5000).map(lambda n: n / 8), value, min_size=2, max_size=6),
    min_size=1,
    max_size=4,
)
edges = st.lists(st.integers(0, 4000), min_size=2, max_size=8, unique=True).map(sorted)


def written(header: str, rows: list[tuple[Any, ...]], delimiter: str, mark: str) -> bytes:
    out = io.StringIO()
    for row in [header.split(","), *rows]:
        out.write(delimiter.join(str(x).replace(".", mark) if isinstance(x, float) else str(x) for x in row) + "\n")
    return out.getvalue().encode()


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(cohort=patients, stops=edges, data=st.data())
def test_order_and_format_do_not_matter(table: Any, cohort: dict[str, Any], stops: list[int], data: Any) -> None:
    rows = [(patient, day, v) for patient, visits in cohort.items() for day, v in visits.items()]
    first = next(iter(cohort))
    doses = [(first, float(a), float(b), "x", 0.5) for a, b in zip(stops[::2], stops[1::2], strict=False)]
    burden_header, dose_header = "patient_id,time_days,burden", DOSES.strip()
    plain = table(written(burden_header, rows, ",", "."), written(dose_header, doses, ",", "."))
    shuffled, mixed = data.draw(st.permutations(rows)), data.draw(st.permutations(doses))
    delimiter, mark = data.draw(st.sampled_from([(",", "."), (";", "."), (";", ","), ("\t", ",")]))
    texts = (written(burden_header, shuffled, delimiter, mark), written(dose_header, mixed, delimiter, mark))
    assume(delimiter != "\t" or not any(GROUPED.fullmatch(x) for x in b" ".join(texts).decode().split()))
    other = table(*texts)
    assert_same_series(plain, other)
    for series in plain.series:
        assert dict(zip(series.day.tolist(), series.burden.tolist(), strict=True)) == cohort[series.patient_id]
        assert np.all(np.diff(series.day) > 0)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.one_of(st.binary(max_size=200), st.text(max_size=100).map(lambda s: s.encode("utf-8", "replace"))))
def test_any_bytes_are_read_or_refused(table: Any, content: bytes) -> None:
    for burden, doses in ((content, None), (b"patient_id,time_days,burden\n" + content, None), (GOOD, content),
                          (GOOD, DOSES.encode() + content)):  # fmt: skip
        assert_read_or_refused(table, burden, doses)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(st.text('AB019.,;-:/eE+"<>nai \n', max_size=6), min_size=3, max_size=5), max_size=6))
def test_any_fields_are_read_or_refused(table: Any, rows: list[list[str]]) -> None:
    content = "\n".join(",".join(row) for row in rows)
    for burden, doses in ((f"patient_id,time_days,burden\n{content}", None), (GOOD, DOSES + content)):
        assert_read_or_refused(table, burden, doses)


def test_unknown_observables_beside_the_one_asked_for_are_left_out(tmp_path: Path) -> None:
    path = tmp_path / "burden.csv"
    path.write_text(
        "patient_id,time_days,burden,observable\nA,0,9,psa\nA,0,12,testosterone\nA,28,5,psa\n", encoding="utf-8"
    )
    table = read(path, observable="psa")
    assert table.series[0].burden.tolist() == [9.0, 5.0]
    assert any("left out: testosterone" in note for note in table.notes)
