"""The benchmark of a fit: beside it stands the same patient in steps of a week, and the table tells what was measured."""

from __future__ import annotations

import sys
from pathlib import Path

import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.inference.cohort import case, pad
from persist.inference.curve import follow

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import benchmark_fit


def test_steps_of_a_week_lead_to_every_visit() -> None:
    series = fakes.FIVE_VALUES
    one = benchmark_fit.by_week(series)
    ends = np.concatenate([[0.0], np.cumsum(one.length)])
    assert one.length.max() <= benchmark_fit.WEEK
    np.testing.assert_allclose(ends[one.step][one.seen], series.day, atol=1e-9)
    np.testing.assert_array_equal(one.dose, ends[1:] <= 160.0)


def test_both_see_the_same_patient() -> None:
    """At the truth of P01 the log-likelihoods differ by their steps alone."""
    values = {name: jnp.asarray(value) for name, value in fakes.truth("P01").items()}
    usual = case(pad([fakes.FIVE_VALUES], pack="clinical"), 0, counted=False)
    weekly = benchmark_fit.by_week(fakes.FIVE_VALUES)
    one, other = (float(follow(values, it, 1.0).pointwise.sum()) for it in (weekly, usual))
    assert one == pytest.approx(other, abs=0.3)
    assert one != other


def test_sizes_are_counted_by_walker_and_agreement_by_chain() -> None:
    rng = np.random.default_rng(0)
    place = rng.standard_normal((benchmark_fit.CHAINS, 4, 1)) + 0.01 * rng.standard_normal(
        (benchmark_fit.CHAINS, 4, 50)
    )
    free = rng.standard_normal((benchmark_fit.CHAINS, 200))
    found = benchmark_fit._judged({"still": place.reshape(benchmark_fit.CHAINS, -1), "free": free}, 4, 2.0)
    assert found["parameter"] == "still"
    assert found["min_ess_bulk"] < 40.0
    assert found["ess_per_second"] == found["min_ess_bulk"] / 2.0
    assert benchmark_fit._judged({"free": free}, 4, 2.0)["max_rhat"] < 1.02


def test_the_page_tells_both() -> None:
    one = {"seconds": 10.0, "compile_seconds": 30.0, "min_ess_bulk": 500.0, "parameter": "reversion"}
    one |= {"ess_per_second": 50.0, "max_rhat": 1.004, "divergent": 0, "warmup": 960, "draws": 640}
    other = one | {"seconds": 100.0, "min_ess_bulk": 100.0, "ess_per_second": 1.0, "max_rhat": 1.2, "divergent": 7}
    rows = {
        name: {"values": 53, "fit": one, "plain": other, "ratio": ratio}
        for name, ratio in (("P04", 50.0), ("P05", 2.0))
    }
    about = {"seed": 0, "chains": 4, "cores": 2, "machine": "x", "jax": "1", "numpyro": "2", "ratio": 10.0}
    page = benchmark_fit.written(about | {"patients": rows})
    assert "| P04 | persist | 10.0 | 30 | 500 | `reversion` | 50.00 | 1.004 | 0 | 960, 640 | 50.0 |" in page
    assert "|  | plain NUTS | 100.0 | 30 | 100 | `reversion` | 1.00 | 1.200 | 7 | 960, 640 |  |" in page
    assert "of the 0 patients without, nothing can be said" in page
    assert "**10.0 times** as many effective draws a second (geometric mean; from 2.0 to 50.0)" in page
