"""What `scripts/benefit.py` reckons: calibration of a probability, what a choice loses, and futures of other models."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import fakes
import laws
from persist.forecast.candidates import Candidate
from persist.forecast.endpoints import AT_NEXT_VISIT, Rule
from persist.forecast.search import Played
from persist.treatment.schedule import parse_plan
from persist.types import Cells

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import benefit
import benefit_scores
import misfit

PLANS = ("off 56, on", "off 112, on")
FUTURES = 1000


def rows_of(rng: np.random.Generator, patients: int, sure: float = 1.0) -> list[dict[str, Any]]:
    """Patients whose plans gain with some probability, of which a forecast says ``sure`` times the log odds; 1 is right."""
    found: list[dict[str, Any]] = []
    for _ in range(patients):
        plans = {}
        for name, odds in zip(PLANS, rng.normal(-0.5, 1.2, len(PLANS)) + rng.normal(0.0, 1.2), strict=True):
            share, said = (1.0 / (1.0 + np.exp(-times * odds)) for times in (1.0, sure))
            gained = rng.uniform() < share
            days = 28.0 if gained else -28.0 * (rng.uniform() < 0.5)
            verdict = "benefit" if said >= 0.9 else "cannot tell"
            plans[name] = {"probability": said, "verdict": verdict, "realised": float(days), "share": share}
        found.append(
            {"plans": plans, "optimise": {"oracle": 10.0, "oracle_at_most": 12.0, "advised": 9.5, "best_gain": 8.0}}
        )
    return found


def fitted(rows: list[dict[str, Any]]) -> np.ndarray:
    """Intercept and slope of all patients, each once."""
    all_of = benefit_scores.told(rows)
    weight = np.ones((1, len(all_of.plan)))
    return benefit_scores.calibration(all_of.probability, all_of.gained.astype(float), weight, FUTURES)[0]


# ---------------------------------------------------------------- calibration


@pytest.mark.law
def test_a_right_forecast_has_slope_one_and_one_too_sure_less() -> None:
    def lines(sure: float) -> np.ndarray:
        return np.array([fitted(rows_of(np.random.default_rng(number), 300, sure)) for number in range(100)])

    right = lines(1.0)
    laws.check_mean(right[:, 1], 1.0, what="slope", slack=0.02)  # of a few hundred, the slope is a little high
    laws.check_mean(right[:, 0], 0.0, what="intercept", slack=0.02)
    laws.must_fail(lambda: laws.check_mean(lines(1.1)[:, 1], 1.0, what="slope", slack=0.02))


@pytest.mark.law
def test_intervals_hold_the_slope_of_a_right_forecast_and_not_that_of_one_too_sure() -> None:
    """90 % of them, but for the error of a bootstrap of 150 patients."""

    def held(sure: float) -> list[bool]:
        found = []
        for number in range(100):
            rng = np.random.default_rng(number)
            all_of = benefit_scores.told(rows_of(rng, 150, sure))
            weight = benefit_scores.again(150, rng, 100)[:, all_of.patient]
            lines = benefit_scores.calibration(all_of.probability, all_of.gained.astype(float), weight, FUTURES)
            ends = benefit_scores.with_ends(lines[:, 1])
            found.append(ends["q05"] <= 1.0 <= ends["q95"])
        return found

    laws.check_share(held(1.0), 0.9, slack=0.03)
    laws.must_fail(lambda: laws.check_share(held(1.5), 0.9, slack=0.03))


def test_probabilities_of_0_and_1_and_a_perfect_forecast_leave_the_slope_finite() -> None:
    probability = np.array([0.0, 0.0, 1.0, 1.0])
    for outcome in (probability, np.array([0.0, 1.0, 1.0, 1.0]), np.zeros(4)):
        found = benefit_scores.calibration(probability, outcome, np.ones((2, 4)), FUTURES)
        assert np.isfinite(found).all()
        np.testing.assert_array_equal(found[0], found[1])


def test_scores_of_a_right_forecast_and_of_one_that_knows_nothing() -> None:
    rows = rows_of(np.random.default_rng(0), 200)
    found = benefit_scores.scores(rows, FUTURES, np.random.default_rng(1))
    assert found["slope"]["q05"] < 1.0 < found["slope"]["q95"]
    assert found["brier_skill"]["q05"] > 0.1
    width = {name: found[name]["q95"] - found[name]["q05"] for name in ("slope", "slope_of_share")}
    assert width["slope_of_share"] < 0.2 * width["slope"]
    assert found["verdicts"]["benefit"]["right"] > 0.85
    assert sum(row["n"] for row in found["reliability"]) == found["forecasts"] == 400
    said = []
    benefit_scores.table(found, said.append)
    assert any("lost by advised" in line for line in said)
    told = {(name, oracle): one["mean"] for name, row in found["lost"].items() for oracle, one in row.items()}
    assert told["advised", "oracle"] == pytest.approx(0.05)
    assert told["best_gain", "oracle_at_most"] == pytest.approx(1.0 / 3.0)
    all_of = benefit_scores.told(rows)
    base = np.array([np.mean(all_of.gained[all_of.plan == plan]) for plan in all_of.plan])
    nothing = benefit_scores.skill(all_of._replace(probability=base), np.ones((1, 400)))
    assert nothing[0, 1] == pytest.approx(0.0, abs=1e-12)


def test_where_nothing_gained_there_is_no_skill_to_tell() -> None:
    rows = rows_of(np.random.default_rng(0), 3)
    for row in rows:
        for one in row["plans"].values():
            one["realised"], one["share"] = 0.0, None
    found = benefit_scores.scores([row | {"optimise": None} for row in rows], FUTURES, np.random.default_rng(1))
    assert found["auc"] is None
    assert np.isnan(found["brier_skill"]["mean"])
    assert "lost" not in found
    assert "slope_of_share" not in found
    benefit_scores.table(found, lambda line: None)


def test_a_harm_is_right_where_time_was_lost() -> None:
    days, verdict = np.array([28.0, 0.0, -28.0, -28.0]), np.array(["benefit", "benefit", "harm", "harm"])
    number, share = np.arange(4), np.full(4, 0.5)
    all_of = benefit_scores.Told(number, 0 * number, share, days > 0, days < 0, verdict, share)
    found = benefit_scores.verdicts(all_of)
    assert found["benefit"]["right"] == 0.5
    assert found["harm"]["right"] == 1.0
    assert found["cannot tell"] == {"n": 0, "patients": 0}


# ---------------------------------------------------------------- what a choice loses


def test_who_chooses_as_one_who_knows_loses_nothing() -> None:
    rng = np.random.default_rng(0)
    oracle, times = rng.uniform(0.0, 50.0, 30), benefit_scores.again(30, rng)
    assert benefit_scores.lost(oracle, oracle, times) == {"mean": 0.0, "q05": 0.0, "q95": 0.0}
    assert benefit_scores.lost(oracle, 0.9 * oracle, times)["mean"] == pytest.approx(0.1)
    assert benefit_scores.lost(oracle, 0.0 * oracle, times)["q05"] == pytest.approx(1.0)


@pytest.mark.law
def test_of_plans_worth_nothing_who_knows_gains_nothing() -> None:
    """Valued on the futures that it was picked on, the best of many would seem to gain."""
    every = [np.random.default_rng(number).normal(0.0, 30.0, (20, 40, 1)) for number in range(2000)]
    honest, naive, _ = zip(*(benefit_scores.who_knows(gains, np.ones((2, 20), bool)) for gains in every), strict=True)
    laws.check_mean(honest, 0.0)
    laws.must_fail(lambda: laws.check_mean(naive, 0.0))


def test_who_knows_keeps_to_the_reference_where_all_lose() -> None:
    gains = np.stack([np.full((8, 1), -5.0), np.full((8, 1), -1.0)])
    assert benefit_scores.who_knows(gains, np.ones((2, 2), bool)) == (0.0, 0.0, None)
    assert benefit_scores.who_knows(-gains, np.ones((2, 2), bool)) == (5.0, 5.0, 0)


# ---------------------------------------------------------------- futures of other models


def flat(growth: float, kill: float) -> misfit.Tumour:
    """Cells that grow or fall at one rate, measured without error."""
    none = np.zeros(len(misfit.DAYS))

    def law(x: np.ndarray, exposure: float, _: float) -> np.ndarray:
        return np.array([(growth - kill * exposure) * x[0]])

    return misfit.Tumour(np.array([1.0]), law, 1, none, none)


def test_a_tumour_fails_when_it_reaches_the_limit_and_stays() -> None:
    """Grown at a rate of its own, whatever is given, it passes the limit on a day that can be told."""
    series = misfit.seen_at_first(misfit.patient("piecewise", 0, 0))
    level = float(np.exp(0.01 * (benefit.LANDMARK + 100.0)))
    rule = Rule("limit", 0.0, level, AT_NEXT_VISIT, True, "burden")
    for text in ("on", *benefit.PLANS):
        assert benefit.fails(flat(0.01, 0.0), parse_plan(text), series, rule) == 112.0  # the first visit after day 100
    assert np.isinf(benefit.fails(flat(-0.01, 0.0), parse_plan("on"), series, rule))


def test_a_holiday_hastens_the_failure_of_a_tumour_that_only_the_drug_holds() -> None:
    series = misfit.seen_at_first(misfit.patient("piecewise", 0, 0))
    tumour = flat(0.01, 0.012)
    now = misfit.measured(tumour, lambda day, _: misfit.doses(day))[len(series.day) - 1]
    rule = Rule("limit", 0.0, 1.5 * float(now), AT_NEXT_VISIT, True, "burden")
    times = {text: benefit.fails(tumour, parse_plan(text), series, rule) for text in ("on", "off 112, on")}
    assert np.isinf(times["on"])
    assert 28.0 <= times["off 112, on"] <= 84.0


def test_what_is_measured_up_to_the_landmark_hangs_on_no_plan() -> None:
    series, tumour = misfit.patient("lotka-volterra", 1, 0), misfit.tumour("lotka-volterra", 1, 0)
    seen = misfit.seen_at_first(series)
    assert seen.day[-1] == benefit.LANDMARK
    np.testing.assert_array_equal(seen.burden, series.burden[: len(seen.day)])
    again = misfit.measured(tumour, lambda day, _: misfit.doses(day))
    np.testing.assert_array_equal(np.maximum(again, misfit.FLOOR), series.burden)


def test_the_rule_stops_under_half_of_the_first_burden_and_restarts_at_all_of_it() -> None:
    plan, burdens = parse_plan("adaptive 0.5/1.0"), (10.0, 6.0, 4.0, 8.0, 10.0, 6.0)
    assert [benefit.ruled(plan, burdens[:upto]) for upto in range(1, 7)] == [1.0, 1.0, 0.0, 0.0, 1.0, 1.0]


# ---------------------------------------------------------------- the truth as a patient


def test_the_truth_is_one_draw_many_times() -> None:
    one = fakes.tumour({"birth_s": 0.1}, Cells(1e3, 10.0, 1.0), draws=1, horizon=100.0, limit=1e4).at
    many = benefit.alike(one, 5)
    np.testing.assert_array_equal(many.cells.sensitive, np.full(5, 1e3))
    assert many.wander_mean.shape == (5, 2)
    assert many.wander_root.shape == (5, 2, 2)
    assert all(value.shape == (5,) for value in (*many.rates, *many.values.values()))
    assert (many.day, many.burden, many.nadir) == (one.day, one.burden, one.nadir)


def test_who_knows_finds_the_plan_that_was_chosen_among_his_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of two plans of the search and one that `optimise` found besides, each with a gain of its own."""

    def played(text: str, days: float, halves: tuple[bool, bool]) -> Played:
        return Played(Candidate("x", (), parse_plan(text)), np.full((8, 1), days), 10.0, "", (True, True), halves)

    searched = [played("off 56, on", 4.0, (True, True)), played("off 112, on", 9.0, (True, False))]
    monkeypatch.setattr(benefit, "search", lambda *_: SimpleNamespace(played=searched))
    monkeypatch.setattr(benefit, "play", lambda *_: (None, [played("off 70, on", 6.0, (False, False))]))
    told = {"keep_reference": False, "gain_days": {"mean": 7.0}}
    for text, gain in (("off 56, on", 4.0), ("off 112, on", 9.0), ("off 70, on", 6.0)):
        found = benefit.regret(None, None, told | {"best": text})  # type: ignore[arg-type]
        assert found["advised"] == found["best_gain"] == gain
        assert found["oracle"] == (9.0 if text == "off 112, on" else pytest.approx(0.5 * (9.0 + max(gain, 4.0))))
    kept = benefit.regret(None, None, told | {"best": "off 56, on", "keep_reference": True})  # type: ignore[arg-type]
    assert (kept["advised"], kept["best_gain"]) == (0.0, 4.0)
    none = benefit.regret(None, None, {"best": None, "keep_reference": True, "gain_days": None})  # type: ignore[arg-type]
    assert (none["advised"], none["best_gain"], none["said"]) == (0.0, 0.0, None)
