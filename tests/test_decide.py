"""Gains on paired futures, verdicts and the sentences that carry them."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from persist.forecast.decide import THRESHOLDS, Benefit, as_json, gain, judge, sentence


def test_gain_counts_the_horizon_where_progression_lies_beyond() -> None:
    plan, reference = [[100.0, 400.0, math.inf]], [[150.0, 200.0, math.inf]]
    np.testing.assert_array_equal(gain(plan, reference, 365.0), [[-50.0, 165.0, 0.0]])


@pytest.mark.parametrize(
    ("plan", "reference", "horizon"),
    [([1.0], [1.0, 2.0], 10.0), ([math.nan], [1.0], 10.0), ([1.0], [1.0], 0.0), ([1.0], [1.0], math.inf)],
)
def test_times_that_are_not_paired_are_refused(plan: list[float], reference: list[float], horizon: float) -> None:
    with pytest.raises(ValueError, match="times"):
        gain(plan, reference, horizon)


def test_judge_by_hand() -> None:
    found = judge([[1.0, 3.0], [4.0, 8.0], [-1.0, 9.0], [5.0, 5.0]])  # means of the draws 2, 6, 4, 5
    assert found.mean == 4.25
    assert found.mcse == pytest.approx(math.sqrt(35 / 12) / 2)
    assert (found.probability, found.loss) == (7 / 8, 1 / 8)
    assert found.q05 == pytest.approx(-1.0 + 0.35 * 2.0)
    assert found.q95 == pytest.approx(8.0 + 0.65 * 1.0)
    assert found.verdict == "cannot tell"


def ten_futures(*, gains: int, size: float = 50.0) -> np.ndarray:
    """Ten draws of one future, ``gains`` of them better by about ``size`` days, the others worse by one."""
    better = size + np.arange(gains)
    return np.concatenate([better, np.full(10 - gains, -1.0)])[:, None]


@pytest.mark.parametrize(
    ("gains", "up", "down"), [(10, "benefit", "harm"), (9, "benefit", "harm"), (8, *["cannot tell"] * 2)]
)
def test_a_verdict_needs_nine_futures_of_ten(gains: int, up: str, down: str) -> None:
    assert judge(ten_futures(gains=gains)).verdict == up
    assert judge(-ten_futures(gains=gains)).verdict == down


def test_a_verdict_needs_two_monte_carlo_errors() -> None:
    days = np.array([[1.0]] * 9 + [[300.0]])  # every future gains, one of them nearly all
    found = judge(days)
    assert found.probability == 1.0
    assert found.mean < 2 * found.mcse
    assert (found.verdict, judge(-days).verdict) == ("cannot tell", "cannot tell")


def test_gains_and_losses_without_futures_alike_are_not_mirrors() -> None:
    found = judge(np.array([[0.0]] * 6 + [[30.0]] * 4))
    assert (found.probability, found.loss, found.verdict) == (0.4, 0.0, "cannot tell")


def test_a_gain_that_is_the_same_in_all_futures_is_a_benefit() -> None:
    assert judge(np.full((5, 3), 7.0)).verdict == "benefit"
    assert judge(np.zeros((5, 3))).verdict == "cannot tell"


def test_replicates_of_one_draw_are_not_independent() -> None:
    draws = np.array([[10.0], [20.0], [40.0]])
    assert judge(np.repeat(draws, 100, axis=1)).mcse == pytest.approx(judge(draws).mcse)


def test_fewer_effective_draws_widen_the_error() -> None:
    days = ten_futures(gains=10)
    assert judge(days, effective=2.5).mcse == pytest.approx(2 * judge(days).mcse)
    assert judge(days, effective=1000.0).mcse == judge(days).mcse


def test_one_draw_gives_no_verdict() -> None:
    found = judge([[50.0, 60.0]])
    assert (found.mcse, found.verdict) == (math.inf, "cannot tell")
    assert as_json(found)["gain_days"]["mcse"] is None


@pytest.mark.parametrize("gains", [[1.0, 2.0], np.empty((0, 3)), [[math.nan]], [[math.inf]]])
def test_gains_that_are_none_are_refused(gains: object) -> None:
    with pytest.raises(ValueError, match="gains"):
        judge(gains)  # type: ignore[arg-type]


def test_effective_draws_must_be_some() -> None:
    with pytest.raises(ValueError, match="effective"):
        judge([[1.0], [2.0]], effective=0.0)


MIRROR = {"benefit": "harm", "harm": "benefit", "cannot tell": "cannot tell"}


@settings(deadline=None)
@given(arrays(float, (12, 3), elements=st.integers(-3, 30).map(float)))
def test_harm_mirrors_benefit(days: np.ndarray) -> None:
    there, back = judge(days), judge(-days)
    assert back.verdict == MIRROR[there.verdict]
    assert (back.probability, back.loss) == (there.loss, there.probability)
    assert back.mean == pytest.approx(-there.mean)
    assert back.q05 == pytest.approx(-there.q95)


def test_thresholds_stand_in_the_json() -> None:
    assert THRESHOLDS == {"probability": 0.9, "mcse_multiple": 2.0}
    found = as_json(judge([[5.0], [7.0]]))
    assert found["probability"] == 1.0
    assert found["gain_days"] == {"mean": 6.0, "mcse": 1.0, "q05": 5.1, "q95": 6.9}
    assert found["verdict"] == "benefit"


# ---------------------------------------------------------------- sentences


def said(**changes: object) -> str:
    usual = Benefit(probability=0.93, mean=43.2, mcse=4.0, q05=-5.3, q95=160.4, verdict="benefit", loss=0.07)
    return sentence("holiday", "on", usual._replace(**changes), 365.0)  # type: ignore[arg-type]


def test_a_benefit_is_said() -> None:
    assert said() == (
        'Against "on", within 365 days, "holiday" is expected to delay progression by 43 days '
        "(90 % of futures: -5 to 160; probability of a gain 0.93): benefit."
    )


def test_a_harm_is_said() -> None:
    assert said(verdict="harm", mean=-1.04, q05=-160.0, q95=-0.2, probability=0.01, loss=0.99) == (
        'Against "on", within 365 days, "holiday" is expected to hasten progression by 1 day '
        "(90 % of futures: -160 to 0; probability of a loss 0.99): harm."
    )


def test_what_cannot_be_told_is_said_with_its_reason() -> None:
    unsure = {"verdict": "cannot tell", "mean": -4.5, "q05": -40.0, "q95": 60.0}
    assert said(**unsure, probability=0.8999, loss=0.1) == (
        'Against "on", within 365 days, "holiday" has its progression 4.5 days earlier on average (90 % of futures: -40 to 60; '
        "probability of a gain 0.89, of a loss 0.10): cannot tell, since neither outcome reaches a probability of 0.9."
    )
    assert "since in 70 % of futures both do equally well" in said(**unsure, probability=0.2, loss=0.1)
    assert "Monte-Carlo error of 30 days; more draws" in said(**unsure | {"mean": 43.0}, mcse=30.0)
    assert "one posterior draw" in said(**unsure, mcse=math.inf)
