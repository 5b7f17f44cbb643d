"""The benchmark of a pooled fit: its cohorts, its table, and that it runs."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import benchmark_cohort

from persist.inference.model import sampled
from persist.inference.pooling import Pace
from persist.inference.population import shared
from persist.inference.priors import load_pack


def test_the_scores_are_some_that_patients_share() -> None:
    assert set(benchmark_cohort.POOLED) <= set(shared(sampled(load_pack("clinical", "psa"), "spr")))
    assert len(benchmark_cohort.DESIGN.day) == 66
    frame, names = benchmark_cohort._frame(), shared(sampled(load_pack("clinical", "psa"), "spr"))
    assert {name for name, taken in zip(names, frame.pooled, strict=True) if taken} == set(benchmark_cohort.POOLED)
    assert [name for name, off in zip(names, frame.shift, strict=True) if off] == ["mutation", "resistant_0"]


def test_the_page_tells_what_was_measured() -> None:
    row = {"patients": 54, "alone": {"wall": 6.0, "cpu": 11.0}, "last": {"wall": 8.0, "cpu": 15.5}, "peak_gb": 1.5}
    row |= {"round": {"wall": 0.05, "cpu": 0.1}, "fit_hours": {"wall": 0.3, "cpu": 0.6}, "kept_gb": 0.05}
    about = {"cores": 2, "machine": "x", "lanes": 64, "timed": 20, "beside": "Other work ran.", "sizes": [row]}
    page = benchmark_cohort.written(about)
    assert "| 54 | 6.0 (11.0) | 8.0 (15.5) | 50 (100) | 0.3 (0.6) | 1.5 | 0.05 |" in page
    assert "`fit --pool`. Other work ran.\n" in page


@pytest.mark.slow
def test_a_small_cohort_is_measured() -> None:
    pace = Pace(lanes=32, settle=2, stage=4, last=6, warmup=20, rounds=40, thin=10)
    found = benchmark_cohort.measured(0, 7, 3, pace)
    assert found["values"] == 66
    assert found["rounds"] == 3 * 20 + 50
    assert 0.0 < found["round"]["wall"] * found["rounds"] < found["fit_hours"]["wall"] * 3600.0
    assert found["peak_gb"] > 0.1
    assert found["kept_gb"] > 0.0
