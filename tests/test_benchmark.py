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
def test_linear_noise_is_the_law_of_many_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    """The mean field and the noise about it, crowding included, against the leap; 5 % in a rate moves the moments."""
    case = spr.Case(1e8, Cells(5e7, 5e4, 1e6), 0)
    asked, seen = spr.linear_noise(case), spr.sampled(case, Method("leap", 0.5), 60_000, 3)
    looks = [(state, look) for state in range(3) for look in range(3)]

    def check_all() -> None:
        for at in looks:
            laws.check_mean(seen[at[0], :, at[1]], asked["mean"][at], slack=0.002 * asked["mean"][at])
            laws.check_variance(seen[at[0], :, at[1]], asked["variance"][at], slack=0.015 * asked["variance"][at])

    check_all()
    changes = spr.CHANGES * np.where(np.arange(11) == 2, np.sqrt(1.05), 1.0)[:, None]  # 5 % more noise of P's division
    monkeypatch.setattr(spr, "CHANGES", changes)
    monkeypatch.setattr(spr, "RATES", spr.RATES._replace(birth_p=1.05 * spr.RATES.birth_p))
    asked = spr.linear_noise(case)
    laws.must_fail(check_all)


def test_moments_come_with_their_errors() -> None:
    sample = np.random.default_rng(0).normal(100.0, 5.0, (3, 4000, 3))
    one = spr.moments(sample)
    np.testing.assert_allclose(one["mean_error"], 5.0 / np.sqrt(4000), rtol=0.1)
    np.testing.assert_allclose(one["variance_error"], 25.0 * np.sqrt(2.0 / 4000), rtol=0.2)
    np.testing.assert_array_equal(one["none"], 0.0)
