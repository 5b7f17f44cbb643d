"""Rows that a script keeps are taken again by the same script alone."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import kept
import recovery

from persist.inference.priors import known
from persist.types import MARKERS


def test_rows_come_back(tmp_path) -> None:
    path, about = tmp_path / "rows.json", kept.about(0, "clinical", "psa", truth={"a": 1.0})
    assert kept.read(path, about) == []
    kept.keep(path, about, [{"patient": 0, "width": 0.123456}, {"patient": 1, "held": [True, False]}])
    assert kept.read(path, about) == [{"patient": 0, "width": 0.1235}, {"patient": 1, "held": [True, False]}]


@pytest.mark.parametrize(
    "other",
    [
        kept.about(1, "clinical", "psa", truth={"a": 1.0}),
        kept.about(0, "in-vitro", "psa", truth={"a": 1.0}),
        kept.about(0, known("clinical", ("reversion=0.01..0.1",)), "psa", truth={"a": 1.0}),
        kept.about(0, "clinical", "psa", truth={"a": 2.0}),
    ],
    ids=["seed", "pack", "prior", "truth"],
)
def test_rows_of_something_else_are_refused(tmp_path, other) -> None:
    path = tmp_path / "rows.json"
    kept.keep(path, kept.about(0, "clinical", "psa", truth={"a": 1.0}), [{"patient": 0}])
    with pytest.raises(SystemExit, match="of another seed, prior or truth"):
        kept.read(path, other)


def test_rows_without_a_head_are_refused(tmp_path) -> None:
    path = tmp_path / "rows.json"
    path.write_text('[{"patient": 0}]\n')
    with pytest.raises(SystemExit):
        kept.read(path, kept.about(0, "clinical", "psa"))


def test_an_arm_has_the_markers_that_it_names() -> None:
    series, counted, _ = recovery.measured(0, 0)
    for name, markers in recovery.ARMS.items():
        chosen = recovery.with_markers(series, counted, markers).composition
        assert {MARKERS[at] for at in chosen.marker} == set(markers), name
        assert len(chosen.day) == len(series.day) * len(markers)
