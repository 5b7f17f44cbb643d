"""The biomarkers table: what is a baseline, what is refused and where, and what the commands say of it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from persist.cli.main import main
from persist.errors import DataError, UsageError
from persist.inference.covariates import Scale, scale_of, standardised
from persist.records.table import read
from persist.types import Biomarkers, Table

BURDEN = (
    "patient_id,time_days,burden,observable\nA,0,10,psa\nA,28,5,psa\nB,7,8,psa\nB,30,4,psa\nC,0,9,psa\nC,30,4,psa\n"
)
HEADER = "patient_id,time_days,name,value\n"


@pytest.fixture
def table(tmp_path: Path) -> Any:
    """Reads a biomarkers text beside the burden."""

    def make(text: str | bytes, burden: str = BURDEN, **options: Any) -> Table:
        (tmp_path / "b.csv").write_text(burden)
        (tmp_path / "m.csv").write_bytes(text.encode() if isinstance(text, str) else text)
        return read(tmp_path / "b.csv", biomarkers_path=tmp_path / "m.csv", **options)

    return make


def test_baselines_are_read(table) -> None:
    """Without a time, or the latest at or before the first burden (day 7 of B); the rest is left out and said."""
    text = HEADER + "A,,FLIP,2.5\nB,3,FLIP,1\nB,7,FLIP,1.5\nB,8,FLIP,9\nA,-5,TNF,3\nC,1,TNF,4\n"
    found = table(text)
    assert found.biomarkers.names == ("FLIP", "TNF")
    assert found.biomarkers.patients == ("A", "B", "C")
    np.testing.assert_array_equal(found.biomarkers.value, [[2.5, 3.0], [1.5, np.nan], [np.nan, np.nan]])
    notes = "\n".join(found.notes)
    assert "m.csv: 6 biomarker rows read: FLIP, TNF" in notes
    assert "m.csv: 2 values measured after the patient's first burden left out" in notes
    assert "m.csv: 1 value left out for a later one before the first burden" in notes
    assert "m.csv: FLIP is missing of 1 patient: averaged over" in notes
    assert "m.csv: TNF is missing of 2 patients: averaged over" in notes


def test_the_forms_of_other_tables_are_read(table) -> None:
    """Byte-order mark, semicolons, decimal commas, CRLF; the digest is of this table too."""
    plain = table(HEADER + "A,,FLIP,2.5\nB,,FLIP,1.25\n")
    other = table("\ufeffpatient_id;time_days;name;value\r\nA;;FLIP;2,5\r\nB;;FLIP;1,25\r\n")
    np.testing.assert_array_equal(plain.biomarkers.value, other.biomarkers.value)
    assert any("decimal commas" in note and note.startswith("m.csv") for note in other.notes)
    assert plain.sha256 != other.sha256
    dated = table(
        HEADER + "A,2020-01-01,FLIP,2\nA,2020-01-02,FLIP,3\nB,,FLIP,4\n",
        "patient_id,time_days,burden\nA,2020-01-01,10\nA,2020-02-01,5\nB,2020-01-01,10\nB,2020-02-01,5\n",
    )
    np.testing.assert_array_equal(dated.biomarkers.value, [[2.0], [4.0]])


def test_without_the_table_nothing_changes(table, tmp_path) -> None:
    table(HEADER + "A,,FLIP,2.5\n")
    assert read(tmp_path / "b.csv").biomarkers is None


def test_only_patients_asked_for_are_judged(table) -> None:
    text = HEADER + "A,,FLIP,2.5\nB,,FLIP,high\nZ,,FLIP,1\n"
    assert table(text, patients=("A",)).biomarkers.value.tolist() == [[2.5]]


REFUSED = {
    "no column": ("patient_id,name,value\nA,x,1\n", "row 1, column time_days", "missing"),
    "unknown patient": (HEADER + "a,,FLIP,1\n", "row 2, column patient_id", "did you mean 'A'"),
    "text": (HEADER + "A,,FLIP,high\n", "row 2, column value", "'high' is not a number"),
    "no value": (HEADER + "A,,FLIP,\n", "row 2, column value", "leave the row out"),
    "no name": (HEADER + "A,,,1\n", "row 2, column name", "name the biomarker"),
    "twice without a time": (HEADER + "A,,FLIP,1\nB,,FLIP,1\nA,,FLIP,2\n", "row 4, column time_days", "first in row 2"),
    "twice at one time": (HEADER + "A,-1,FLIP,1\nA,-1,FLIP,1\n", "row 3, column time_days", "two baseline values"),
    "with and without": (HEADER + "A,-1,FLIP,1\nA,,FLIP,1\n", "row 3, column time_days", "two baseline values"),
    "dates among days": (HEADER + "A,2020-01-01,FLIP,1\n", "row 2, column time_days", "a date where"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_a_fault_names_its_place(table, name: str) -> None:
    text, where, part = REFUSED[name]
    with pytest.raises(DataError) as caught:
        table(text)
    assert where in str(caught.value)
    assert "m.csv" in str(caught.value)
    assert part in str(caught.value)


def test_no_table_is_a_fault_of_use(tmp_path) -> None:
    (tmp_path / "b.csv").write_text(BURDEN)
    with pytest.raises(UsageError, match="no such file"):
        read(tmp_path / "b.csv", biomarkers_path=tmp_path / "none.csv")


def test_a_biomarker_that_does_not_differ_is_refused() -> None:
    value = np.array([[1.0, 2.0], [3.0, 2.0], [np.nan, np.nan]])
    with pytest.raises(DataError, match="'TNF' has one value in all 2 patients"):
        scale_of(Biomarkers(("FLIP", "TNF"), ("A", "B", "C"), value))
    with pytest.raises(DataError, match="at or before the first burden"):
        scale_of(Biomarkers((), ("A",), np.zeros((1, 0))))


def test_values_count_in_what_the_cohort_had() -> None:
    """Names in any order; who is unknown has none; an unknown biomarker is refused."""
    scale = scale_of(Biomarkers(("FLIP", "TNF"), ("A", "B"), np.array([[1.0, 5.0], [3.0, 9.0]])))
    np.testing.assert_array_equal(scale.centre, [2.0, 7.0])
    others = Biomarkers(("TNF", "FLIP"), ("C",), np.array([[9.0, np.nan]]))
    value, seen = standardised(scale, others, ["C", "D"])
    np.testing.assert_array_equal(value, [[0.0, 1.0], [0.0, 0.0]])
    np.testing.assert_array_equal(seen, [[False, True], [False, False]])
    with pytest.raises(UsageError, match=r"knows no biomarker 'DR5'.*it knows FLIP, TNF"):
        standardised(scale, Biomarkers(("DR5",), ("C",), np.ones((1, 1))), ["C"])
    with pytest.raises(UsageError, match="it knows none"):
        standardised(Scale((), np.zeros(0), np.zeros(0)), Biomarkers(("DR5",), ("C",), np.ones((1, 1))), ["C"])


@pytest.mark.parametrize(
    ("more", "part"),
    [
        ((), "--biomarkers: biomarkers say something of a patient only beside other patients"),
        (("--pool",), "the biomarker 'FLIP' has one value in all 2 patients"),
    ],
)
def test_the_command_refuses_in_one_line(tmp_path, more: tuple[str, ...], part: str) -> None:
    (tmp_path / "b.csv").write_text(BURDEN)
    (tmp_path / "m.csv").write_text(HEADER + "A,,FLIP,1\nB,,FLIP,1\n")
    words = [
        "fit",
        str(tmp_path / "b.csv"),
        "--biomarkers",
        str(tmp_path / "m.csv"),
        "-o",
        str(tmp_path / "o.nc"),
        *more,
    ]
    told = CliRunner().invoke(main, words)
    assert told.exit_code == 2, told.stderr
    assert part in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "o.nc").exists()
