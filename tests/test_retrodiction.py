"""What `scripts/retrodiction.py` reckons from futures: who is in a trial, hazard ratios, rates and their intervals, and when
they are right. What the priors say of the real trials is not asked here: that is run once, and kept.
"""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import laws
from persist.forecast.endpoints import rule_for
from persist.treatment.schedule import parse_plan, plan_schedule

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import retrodiction
from trials import BEYOND, RATES, SCHEDULES, Trial

EVERY = (*SCHEDULES, *BEYOND, *RATES)
INF = np.inf


def arm(**parts: list[float]) -> SimpleNamespace:
    return SimpleNamespace(**{name: np.array(value, float)[:, None] for name, value in parts.items()})


@pytest.mark.parametrize("trial", EVERY, ids=lambda trial: trial.name)
def test_every_question_can_be_asked(trial: Trial) -> None:
    plans = [parse_plan(text) for text in trial.plans]
    assert all(len(plan_schedule(plan, 0.0, trial.horizon).start) for plan in plans)
    assert rule_for(trial.observable, trial.rule).name in ("psa", "recist")
    assert trial.eligible in retrodiction.ELIGIBLE
    assert len(trial.size) == len(trial.plans)
    assert "10." in trial.source
    kinds = {"hazard ratio", "hazard ratio after progression", "response", "flare"}
    assert trial.asked in kinds
    assert (len(trial.plans) == 1) == (trial.asked in ("response", "flare"))


def test_the_pauses_of_s1320_end_at_its_scans() -> None:
    given = plan_schedule(parse_plan(SCHEDULES[0].plans[1]), 0.0, 280.0)
    assert given.start.tolist() == [0.0, 77.0, 133.0, 189.0, 245.0]
    assert given.stop.tolist() == [56.0, 112.0, 168.0, 224.0, 280.0]


@pytest.mark.law
def test_the_hazard_ratio_is_that_of_the_hazards() -> None:
    rng, number = np.random.default_rng(4), 20_000
    trial = SCHEDULES[0]._replace(eligible="progressed", horizon=300.0)
    times = [rng.exponential(1.0 / rate, number) for rate in (0.004, 0.006)]
    arms = [arm(time_to_progression=time, seen=np.zeros(number)) for time in times]
    ratio = retrodiction.answer(retrodiction.ends(arms, trial))
    error = np.sqrt(1.0 / np.sum(times[0] < 300.0) + 1.0 / np.sum(times[1] < 300.0))

    def check(expected: float) -> None:
        if abs(np.log(ratio / expected)) > 4.5 * error:
            raise laws.LawBrokenError("log hazard ratio", np.log(expected), np.log(ratio), 4.5 * error, 7e-6)

    check(1.5)
    laws.must_fail(lambda: check(1.35))


def test_who_is_in_and_what_is_counted() -> None:
    stops = arm(time_to_progression=[290, 400, INF], stopped=[244, 272, 244], seen=[INF] * 3)
    psa = SCHEDULES[1]
    found = retrodiction.ends([arm(time_to_progression=[300, 500, INF]), stops], psa)
    begin = 244.0  # of those who stopped when the rule began: the second did not, and no time counts before
    np.testing.assert_array_equal(found[0][0], [300.0 - begin, psa.horizon - begin])
    np.testing.assert_array_equal(found[1][1], [True, False])
    again = arm(
        seen=[100, 200, INF, 300],
        restarted=[282, 382, INF, 1390],
        responded=[INF, 438, INF, INF],
        stopped=[100, 200, 0, 300],
    )
    value, _ = retrodiction.ends([again], RATES[0])[0]
    np.testing.assert_array_equal(
        value, [1.0]
    )  # of the others, one progressed early, one never, and one is not followed
    after = [arm(seen=[100, INF], reached=[150, INF]), arm(seen=[100, INF], reached=[INF, INF])]
    found = retrodiction.ends(after, BEYOND[0])
    np.testing.assert_array_equal([one[0][0] for one in found], [50.0, BEYOND[0].horizon - 100.0])


def test_right_is_sign_neutral_or_within_fifteen_points() -> None:
    worse, neutral, rate = SCHEDULES[0], SCHEDULES[1], RATES[0]
    assert retrodiction.right(1.01, worse)
    assert not retrodiction.right(0.99, worse)
    assert retrodiction.right(0.91, neutral)
    assert not retrodiction.right(1.2, neutral)
    assert retrodiction.right(0.35, rate)
    assert not retrodiction.right(0.37, rate)


def test_a_small_trial_shows_a_wide_interval() -> None:
    rng = np.random.default_rng(0)
    found = [(rng.random(5000) < 0.3).astype(float)], [np.ones(5000, bool)]
    one = [(found[0][0], found[1][0])]
    widths = []
    for size in (28, 2800):
        low, high = retrodiction.would_show(one, RATES[0]._replace(size=(size,)), np.random.default_rng(1))
        assert low < 0.3 < high
        widths.append(high - low)
    assert widths[0] == pytest.approx(10.0 * widths[1], rel=0.2)


def test_a_question_runs_from_the_priors_to_its_row() -> None:
    plans = ("on", "on 56, off")
    trial = Trial(
        "short", "psa", 10.0, 28.0, plans, 140.0, "psa:any-time", "ever stopped", "hazard ratio", (5, 5), 1.0, "none"
    )
    told = retrodiction.row(trial, 24, 0)
    assert told["eligible"] == 24
    assert told["interval"][0] <= told["interval"][1]
    assert told["by_clone"] is None
    rate = RATES[0]._replace(plans=("until progression: on, then off 28, on",), horizon=400.0, eligible="progressed")
    parts = retrodiction.row(rate, 24, 0)["by_clone"]
    assert set(parts) == {"with", "without"}
    (arm_of,) = retrodiction.arms_of(RATES[2]._replace(horizon=700.0), 12, 0)
    np.testing.assert_array_equal(arm_of.restarted, 502.0)  # not the first day, on which no drug is given again
