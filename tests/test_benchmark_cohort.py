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


def test_the_page_tells_what_was_measured() -> None:
    row = {"patients": 54, "alone": {"wall": 6.0, "cpu": 11.0}, "round": {"wall": 2.7, "cpu": 5.4}, "peak_gb": 1.5}
    row |= {"fit_hours": {"wall": 0.3, "cpu": 0.6}, "kept_gb": 0.05}
    about = {"cores": 2, "machine": "x", "lanes": 64, "timed": 3, "beside": "Other work ran.", "sizes": [row]}
    page = benchmark_cohort.written(about)
    assert "| 54 | 6.0 (11.0) | 2.7 (5.4) | 50 (100) | 0.3 (0.6) | 1.5 | 0.05 |" in page
    assert "`fit --pool`. Other work ran.\n" in page


@pytest.mark.slow
def test_a_small_cohort_is_measured() -> None:
    found = benchmark_cohort.measured(0, 3, 1, Pace(lanes=32, alone=2, warmup=60, rounds=200, thin=5))
    assert found["values"] == 3 * 66
    assert found["rounds"] == 260
    assert 0.0 < found["round"]["wall"] <= found["fit_hours"]["wall"] * 3600.0
    assert found["peak_gb"] > 0.1
