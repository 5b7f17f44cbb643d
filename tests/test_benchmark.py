"""The benchmark: that it sees a miss, and that the truth it judges by is one."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import laws
from persist.dynamics.checks import Method
from persist.types import Cells

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import benchmark
import spr


def found(**changes: float) -> dict:
    """Results of "C leap" that keep all that is asked, but for ``changes``."""
    row = {"day": 240, "state": "R", "bias": 0.0, "bias_error": 1e-3, "variance_ratio": 1.0} | {
        "variance_ratio_error": 0.01
    }
    none = {"day": 240, "state": "R = 0", "bias": 0.0, "bias_error": 1e-3}
    speed = {"per_second": changes.pop("per_second", 1e4)}
    none["bias"] = changes.pop("none", 0.0)
    return {"speed": speed, "accuracy": [row | changes, none]}


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({}, None),
        ({"bias": 0.008}, None),
        ({"bias": -0.01}, "R on day 240: mean off by -0.01"),
        ({"variance_ratio": 1.08}, None),
        ({"variance_ratio": 0.9}, "R on day 240: variance 0.900"),
        ({"none": 0.005}, "R = 0 on day 240"),
        ({"per_second": 4999.0}, "4,999 trajectories a second, asked 5,000"),
    ],
)
def test_what_is_missed_is_told(changes: dict, told: str | None) -> None:
    missed = benchmark.missed("C leap", found(**changes), "cpu")
    assert missed == [] if told is None else told in missed[0]


@pytest.mark.law
def test_linear_noise_is_the_law_of_many_cells() -> None:
    """The mean field and the noise about it, against the leap: without a capacity both are exact in both moments."""
    case = spr.Case(np.inf, Cells(0.0, 3e5, 0.0), 0)
    asked, seen = spr.linear_noise(case), spr.sampled(case, Method("leap", 1.0), 4000, 3)
    for state, look in ((0, 0), (1, 0), (0, 2), (1, 2)):
        laws.check_mean(seen[state, :, look], asked["mean"][state, look], what="mean")
        laws.check_variance(seen[state, :, look], asked["variance"][state, look], what="variance")
    laws.must_fail(lambda: laws.check_mean(1.05 * seen[1, :, 0], asked["mean"][1, 0]))
    laws.must_fail(lambda: laws.check_variance(1.3 * seen[1, :, 0], asked["variance"][1, 0]))


def test_moments_come_with_their_errors() -> None:
    sample = np.random.default_rng(0).normal(100.0, 5.0, (3, 4000, 3))
    one = spr.moments(sample)
    np.testing.assert_allclose(one["mean_error"], 5.0 / np.sqrt(4000), rtol=0.1)
    np.testing.assert_allclose(one["variance_error"], 25.0 * np.sqrt(2.0 / 4000), rtol=0.2)
    np.testing.assert_array_equal(one["none"], 0.0)
