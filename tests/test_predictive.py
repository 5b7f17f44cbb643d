"""Posterior predictive checks: statistics by hand, coverage of a right and of a wrong spread."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import FIVE_VALUES
from laws import check_mean, must_fail
from persist.inference.cohort import case, pad
from persist.inference.subject import Subject
from persist.validation.predictive import STATISTICS, coverage, judge, statistics

A = Subject(FIVE_VALUES, case(pad([FIVE_VALUES], pack="clinical"), 0, counted=False), 1.0)
"""20, 8, 1, under 0.5, 3."""


def copies(spread: float, size: int = 4000) -> np.ndarray:
    rng = np.random.default_rng(0)
    return FIVE_VALUES.burden * np.exp(spread * rng.standard_normal((size, 5)))


def test_statistics_count_no_lower_than_the_floor() -> None:
    logs = np.log([[20.0, 8.0, 1.0, 0.01, 3.0], [20.0, 8.0, 0.4, 0.3, 3.0]])
    found = statistics(logs, np.log(0.5))
    np.testing.assert_allclose(np.exp(found["lowest_value"]), [0.5, 0.5])
    np.testing.assert_allclose(np.exp(found["largest_step"]), [8.0, 16.0])
    np.testing.assert_array_equal(found["under_floor"], [1.0, 2.0])
    assert set(statistics(logs, None)) == set(STATISTICS) - {"under_floor"}
    assert set(statistics(logs[:, :1], None)) == {"lowest_value", "last_value"}


def test_a_series_like_its_replicates_is_not_rare() -> None:
    found = judge(copies(0.3), A)
    assert set(found["statistics"]) == set(STATISTICS)
    assert found["measured"] == 4
    last = found["statistics"]["last_value"]
    assert last["observed"] == pytest.approx(3.0)
    assert last["p_value"] == pytest.approx(0.5, abs=0.03)
    assert not any(row["rare"] for row in found["statistics"].values())


def test_a_series_that_the_model_does_not_make_is_told() -> None:
    wrong = copies(0.1)
    wrong[:, -1] /= 3.0
    row = judge(wrong, A)["statistics"]["last_value"]
    assert row["rare"]
    assert row["p_value"] < 0.01


def test_values_over_a_limit_are_left_out() -> None:
    over = A._replace(
        case=A.case._replace(censoring=np.where(np.arange(len(A.case.censoring)) == 4, 1, A.case.censoring))
    )
    found = judge(copies(0.3), over)
    assert found["measured"] == 3
    assert found["statistics"]["last_value"]["observed"] == pytest.approx(0.5)


@pytest.mark.law
def test_bands_cover_what_they_say() -> None:
    """Twin: a spread believed 20 % too wide covers more."""
    rng = np.random.default_rng(1)
    value = rng.standard_normal((400, 25))
    seen = np.ones(25, bool)

    def covered(width: float) -> list[float]:
        made = width * np.random.default_rng(2).standard_normal((4000, 25))
        return [coverage(made, row, seen)["90"] for row in value]

    check_mean(covered(1.0), 0.9, slack=0.003)
    must_fail(lambda: check_mean(covered(1.2), 0.9, slack=0.003))
    assert coverage(value, value[0], np.zeros(25, bool)) == {"50": None, "90": None}
