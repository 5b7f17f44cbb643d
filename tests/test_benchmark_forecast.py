"""The benchmark of the forecast, made small: what it plays, and what it writes."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import benchmark_forecast as benchmark

import fakes
from persist.inference import store
from persist.records.table import read


def test_the_plans_are_the_reference_and_some_of_each_family() -> None:
    found = benchmark.plans(20, 365.0)
    assert found[0] == "on"
    assert len(set(found)) == 20
    for word in ("repeat", "off 30, on", "adaptive", "dose"):
        assert any(word in plan for plan in found)
    with pytest.raises(SystemExit, match="and 99 were asked for"):
        benchmark.plans(99, 365.0)


def test_a_small_one_is_timed_and_written(tmp_path: Any, capsys: pytest.CaptureFixture[str]) -> None:
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01",))
    store.save(fakes.posterior(table, {"P01": fakes.truth("P01")}), tmp_path / "fit.nc")
    words = ["--draws", "4", "--plans", "3", "--replicates", "2", "--days", "60", "--fit", str(tmp_path / "fit.nc")]
    assert benchmark.main([*words, "--note", "a test", "-o", str(tmp_path / "b.json")]) == 0
    found = json.loads((tmp_path / "b.json").read_text())
    assert (found["paths"], found["plans"], found["note"]) == (24, 3, "a test")
    assert found["seconds"] > 0.0
    assert found["compile_seconds"] >= 0.0
    assert found["paths_a_second"] > 0
    assert "for 24 paths of 60 days" in capsys.readouterr().out
