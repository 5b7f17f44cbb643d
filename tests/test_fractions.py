"""Rows of fractions beside a burden: what is read, what is assumed and said, what is refused and where."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persist.cli.main import main
from persist.errors import DataError
from persist.records.composition import DEFAULT_COUNTED
from persist.records.table import read
from persist.types import MARKERS, Table

HEADER = "patient_id,time_days,burden,observable,unit,marker,counted,censoring"
BURDEN = ("A,0,10,psa,ng/mL,,,", "A,28,5,psa,ng/mL,,,", "B,0,8,psa,ng/mL,,,", "B,30,4,psa,ng/mL,,,")


def text(*rows: str, header: str = HEADER) -> str:
    return "\n".join([header, *BURDEN, *rows]) + "\n"


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Reads rows of fractions, beside a burden of two patients."""

    def make(*rows: str, observable: str = "psa", **options: Any) -> Table:
        (tmp_path / "burden.csv").write_text(text(*rows), encoding="utf-8")
        return read(tmp_path / "burden.csv", observable=observable, **options)

    return make


def test_fractions_are_composition_beside_the_burden(table: Any) -> None:
    got = table(
        "A,35,0.25,fraction,share,resistant,3400.0,",
        "A,28,0.5,Fraction,,Persister,1000,",
        "A,28,0,fraction,,resistant,3400,",
    )
    a, b = (series.composition for series in got.series)
    np.testing.assert_array_equal(a.day, [28.0, 28.0, 35.0])
    np.testing.assert_array_equal(a.share, [0.5, 0.0, 0.25])
    np.testing.assert_array_equal(a.counted, [1000.0, 3400.0, 3400.0])
    assert [MARKERS[marker] for marker in a.marker] == ["persister", "resistant", "resistant"]
    assert len(b.day) == 0
    np.testing.assert_array_equal(got.series[0].burden, [10.0, 5.0])
    notes = " ".join(got.notes)
    assert "3 fractions read as composition beside psa: 1 of marker persister, 2 of marker resistant" in notes
    assert "write twice the share" in notes
    assert "left out" not in notes
    assert "assumed" not in notes


def test_what_a_row_leaves_open_is_filled_in_and_said(table: Any) -> None:
    got = table("A,0,0.5,fraction,,,,", "A,28,0.5,fraction,,,200,", "B,0,0.1,fraction,,resistant,,")
    a, b = (series.composition for series in got.series)
    np.testing.assert_array_equal(a.counted, [DEFAULT_COUNTED, 200.0])
    assert [MARKERS[marker] for marker in a.marker] == ["persister", "persister"]
    assert MARKERS[b.marker[0]] == "resistant"
    notes = " ".join(got.notes)
    assert "2 fractions without a marker taken as of marker persister" in notes
    assert f"2 fractions without a number in column counted: {DEFAULT_COUNTED} cells or alleles are assumed" in notes


def test_the_columns_may_be_absent(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    rows = "A,0,10,psa\nA,28,5,psa\nA,28,0,fraction\n"
    path.write_text(f"patient_id,time_days,burden,observable\n{rows}", encoding="utf-8")
    found = read(path, observable="psa").series[0].composition
    assert (found.share.tolist(), found.counted.tolist(), found.marker.tolist()) == ([0.0], [1000.0], [0])


@pytest.mark.parametrize("unit", ["%", "percent", "Per cent", "% of cells"])
def test_per_cent_are_divided_and_said(table: Any, unit: str) -> None:
    got = table(f"A,28,1.5,fraction,{unit},,10,", "A,30,0.02,fraction,,,10,")
    np.testing.assert_allclose(got.series[0].composition.share, [0.015, 0.02])
    assert "1 fraction in per cent divided by 100" in got.notes


def test_fractions_before_the_first_burden_are_left_out_and_said(table: Any) -> None:
    got = table("A,-7,0.5,fraction,,,9,", "A,40,0.5,fraction,,,9,", "B,-1,0.5,fraction,,,9,")
    assert [series.composition.day.tolist() for series in got.series] == [[40.0], []]
    assert "1 fraction of patient A before the first value of psa left out" in got.notes
    assert "1 fraction of patient B before the first value of psa left out" in got.notes


def test_days_of_fractions_share_the_origin_of_the_burden(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    rows = "A,2020-03-01,1,psa\nA,2020-02-01,2,psa\nA,2020-02-11,0.5,fraction\n"
    path.write_text(f"patient_id,time_days,burden,observable\n{rows}", encoding="utf-8")
    series = read(path, observable="psa").series[0]
    assert (series.day.tolist(), series.composition.day.tolist()) == ([0.0, 29.0], [10.0])


def test_only_fractions_of_asked_patients_are_judged(table: Any) -> None:
    got = table("B,0,junk,fraction,,,,", "A,28,0.5,fraction,,,,", patients=("A",))
    assert len(got.series[0].composition.day) == 1


def test_decimal_commas_count_for_fractions_too(tmp_path: Path) -> None:
    path = tmp_path / "b.csv"
    rows = "A;0;10;psa;\nA;28;5;psa;\nA;28;0,25;fraction;400,0\n"
    path.write_text(f"patient_id;time_days;burden;observable;counted\n{rows}", encoding="utf-8")
    found = read(path, observable="psa").series[0].composition
    assert (found.share.tolist(), found.counted.tolist()) == ([0.25], [400.0])


REFUSED = {
    "over 1": ("A,28,1.5,fraction,,,,", "burden", ("'1.5'", "over 1", "% in a column unit")),
    "over 100 %": ("A,28,101,fraction,%,,,", "burden", ("'101'", "over 100 %", "0 to 100")),
    "negative": ("A,28,-0.1,fraction,,,,", "burden", ("'-0.1'", "negative")),
    "text": ("A,28,few,fraction,,,,", "burden", ("'few'", "plain number")),
    "unit": ("A,28,0.1,fraction,ppm,,,", "unit", ("'ppm'", "write %")),
    "per mille": ("A,28,0.1,fraction,per mille,,,", "unit", ("'per mille'", "write %")),
    "marker": (
        "A,28,0.1,fraction,,persistor,,",
        "marker",
        ("'persistor'", "mean 'persister'", "persister or resistant"),
    ),
    "none counted": ("A,28,0.1,fraction,,,0,", "counted", ("'0'", "from 1 to")),
    "too many counted": ("A,28,0.1,fraction,,,1e12,", "counted", ("'1e12'", "1e+09")),
    "grouped": ("A,28,0.1,fraction,,,1.000,", "counted", ("'1.000'", "two ways", "digits alone")),
    "censored": ("A,28,0.1,fraction,,,,left", "censoring", ("'left'", "0 where none was", "counted")),
    "time": ("A,soon,0.1,fraction,,,,", "time_days", ("'soon'",)),
}


@pytest.mark.parametrize("name", REFUSED)
def test_refused_with_place_value_and_remedy(table: Any, name: str) -> None:
    row, column, parts = REFUSED[name]
    with pytest.raises(DataError) as caught:
        table(row)
    assert f"burden.csv: row 6, column {column}" in str(caught.value)
    assert caught.value.remedy
    for part in parts:
        assert part in str(caught.value)


def test_two_of_one_marker_and_time_are_refused(table: Any) -> None:
    rows = ("A,28,0.1,fraction,,,,", "A,28,0.1,fraction,,resistant,,", "A,28,0.2,fraction,,persister,,")
    assert len(table(*rows[:2]).series[0].composition.day) == 2
    with pytest.raises(
        DataError, match=r"row 8, column time_days.*persister.*'28' is there twice, first in row 6; keep"
    ):
        table(*rows)


def test_fractions_of_a_patient_without_a_burden_are_refused(table: Any) -> None:
    with pytest.raises(DataError, match=r"row 6, column burden: patient 'C' has 0 values of psa.*--patient"):
        table("C,28,0.1,fraction,,,,")


def test_fractions_asked_for_themselves_are_a_burden_as_before(table: Any) -> None:
    got = table("A,0,0.1,fraction,,,,", "A,28,0,fraction,,,,", observable="fraction", patients=("A",))
    assert got.series[0].burden.tolist() == [0.1, 0.0]
    assert len(got.series[0].composition.day) == 0


def test_columns_that_no_fraction_uses_are_set_aside(table: Any) -> None:
    assert "burden.csv: columns set aside: marker, counted" in table().notes


def test_check_prints_the_composition(tmp_path: Path) -> None:
    path = tmp_path / "burden.csv"
    path.write_text(text("A,28,1.5,fraction,%,,400,", "A,56,0,fraction,,resistant,3400,"), encoding="utf-8")
    shown = CliRunner().invoke(main, ["check", str(path), "--observable", "psa"]).stdout
    lines = [line.split() for line in shown.splitlines()]
    assert ["A", "28", "persister", "0.015", "400"] in lines
    assert ["A", "56", "resistant", "0", "3400"] in lines
    assert shown.count("(assumptions)") == 2
    got = json.loads(CliRunner().invoke(main, ["check", str(path), "--observable", "psa", "--json"]).stdout)
    want = {"time_days": 28.0, "fraction": 0.015, "counted": 400.0, "marker": "persister"}
    assert got["patients"]["A"]["composition"][0] == want
    assert got["patients"]["B"]["composition"] == []


def test_check_without_fractions_has_no_word_of_them(tmp_path: Path) -> None:
    path = tmp_path / "burden.csv"
    path.write_text(text(), encoding="utf-8")
    shown = CliRunner().invoke(main, ["check", str(path), "--observable", "psa"]).stdout
    assert "Composition" not in shown
    assert "sensitivity" not in shown
