"""Futures and verdicts, from posteriors that lie close about a known truth."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import fakes
import laws
from persist import keys
from persist.dynamics import batches, sampling
from persist.dynamics.observe import correlation
from persist.errors import DataError, ScheduleError, UsageError
from persist.forecast import futures
from persist.forecast import outcome as outcome_module
from persist.forecast.endpoints import RULES
from persist.forecast.outcome import ask, forecast
from persist.forecast.visits import chances
from persist.inference import store
from persist.inference.posterior import series as posterior_series
from persist.records.table import read
from persist.types import Schedule, Series, Table

PLANS = ("on", "holiday=off 180, on", "off")


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01", "P02"))
    return fakes.posterior(table, {name: fakes.truth(name) for name in ("P01", "P02")})


@pytest.fixture(scope="module")
def outcome(planted):
    return forecast(planted, ask(PLANS, 1080.0, draws=60, replicates=2))


def summary(result):
    return store.attribute(result, "summary")


@pytest.mark.parametrize(("patient", "verdict"), [("P01", "benefit"), ("P02", "harm")])
def test_who_knows_the_truth_sees_what_was_planted(outcome, patient, verdict):
    assert summary(outcome)[patient]["benefit"]["holiday"]["verdict"] == verdict


def test_a_plan_that_is_never_on_drug_gets_no_verdict(outcome):
    one = summary(outcome)["P01"]
    assert one["plans"]["off"]["days_on_drug"] == 0.0
    assert one["benefit"]["off"]["verdict"] == "cannot tell"
    assert not one["benefit"]["off"]["judged"]
    assert not one["plans"]["off"]["judged"]
    assert one["plans"]["on"]["judged"]
    assert one["benefit"]["holiday"]["judged"]
    assert "progression is not judged" in one["sentences"]["off"]


def test_cycles_are_judged_alike_however_the_visits_fall(planted):
    """Visits a month apart see `on 35, off 21` on drug at every visit: its pauses are restarts all the same."""
    plans = ("on", "a=on 35, off 21, repeat", "b=off 21, on 35, repeat")
    one = summary(forecast(planted, ask(plans, 1080.0, draws=20, replicates=1, visit_every=28.0)))["P02"]
    assert [one["plans"][name]["judged"] for name in ("on", "a", "b")] == [True, False, False]


@pytest.mark.slow
@pytest.mark.ci
def test_a_tumour_that_is_gone_does_not_progress(planted):
    """From a nadir of a few counts to none: 0 is no rise over anything, and no chance is left in it."""
    day = np.arange(0.0, 70.0, 7.0)
    drug = {"drug": Schedule(np.zeros(1), np.array([np.inf]), np.ones(1))}
    series = Series("A", "cells", "", day, np.round(300.0 * np.exp(-0.09 * day)), np.zeros(10, int), drug)
    values = fakes.truth("P01") | {
        "decline_s": -0.4,
        "persister_0": 1e-12,
        "tolerance_base": 1e-12,
        "resistant_0": 1e-12,
    }
    values |= {"tolerance_drug": 1e-12, "mutation": 1e-15, "burden_0": 300.0, "settled_burden": 3000.0}
    del values["cells_per_unit"]
    made = fakes.posterior(Table((series,), (), "x"), {"A": values})
    one = summary(forecast(made, ask(("on",), 60.0, draws=20, replicates=1)))["A"]["plans"]["on"]
    assert one["extinct"] == 1.0
    assert one["progressed_by_horizon"] == 0.0
    assert one["burden_at_horizon"]["q95"] == 0.0


def test_a_dose_that_was_never_given_is_said(planted):
    result = forecast(planted, ask(("on", "dose 0.5"), 60.0, draws=4, replicates=1))
    assert ["P01 was never given the dose 0.5" in note for note in store.attribute(result, "notes")] == [True, False]
    assert not store.attribute(forecast(planted, ask(("on",), 60.0, draws=4, replicates=1)), "notes")


def test_a_forecast_may_begin_at_the_first_visit(planted):
    first = float(min(one.day[0] for one in posterior_series(planted)))
    result = forecast(planted, ask(("on",), 60.0, start=first, draws=4, replicates=1))
    assert np.isfinite(result["futures"]["burden"]).all()


def test_a_plan_with_too_few_visits_on_drug_gets_no_verdict(planted):
    """Back on drug for the last nine days: two visits cannot show a nadir, a rise and its confirmation."""
    result = forecast(planted, ask(("on", "late=off 1071, on"), 1080.0, draws=20, replicates=1))
    late = summary(result)["P02"]["benefit"]["late"]
    assert late["probability"] > 0.9
    assert late["verdict"] == "cannot tell"


def test_a_burden_that_ends_much_higher_is_said_beside_the_verdict(planted):
    """A holiday is not judged while it lasts, so a very long one delays progression, and the tumour grows."""
    one = summary(forecast(planted, ask(("on", "long=off 800, on"), 1080.0, draws=20, replicates=1)))["P02"]
    ends = {name: plan["burden_at_horizon"]["q50"] for name, plan in one["plans"].items()}
    assert ends["long"] > 1.5 * ends["on"]
    assert "Mind that its median burden after 1080 days is" in one["sentences"]["long"]


def test_draws_that_hang_together_count_for_fewer(planted, monkeypatch):
    question = ask(("on", "holiday=off 60, on"), 120.0, draws=40, replicates=1)
    free = summary(forecast(planted, question))["P01"]["benefit"]["holiday"]["gain_days"]["mcse"]
    monkeypatch.setattr(outcome_module.posterior, "effective_draws", lambda *_: 10.0)
    tied = summary(forecast(planted, question))["P01"]["benefit"]["holiday"]["gain_days"]["mcse"]
    assert tied == pytest.approx(2.0 * free)


SCHEDULE = Schedule(np.array([0.0, 85.0, 120.0]), np.array([62.0, 120.0, 200.0]), np.ones(3))


@pytest.mark.parametrize(
    ("day", "start", "nadir"),
    [
        ((0, 30, 60), 60.0, 1.0),
        ((0, 30, 60, 90, 130), 130.0, 6.0),  # restarted on day 85, between two visits; the next segment follows at once
        ((0, 30, 60), 75.0, None),  # stopped on day 62, before the futures begin
        ((0, 30, 60), 87.0, None),  # restarted, but not seen since
        ((0, 30, 60, 90, 130), 260.0, None),
    ],
)
def test_the_nadir_counts_from_the_restart(day, start, nadir):
    burden = np.array([20.0, 1.0, 2.0, 6.0, 7.0])[: len(day)]
    one = Series("A", "psa", "", np.array(day, float), burden, np.zeros(len(day), int), {"drug": SCHEDULE})
    assert outcome_module.nadir(one, SCHEDULE, start) == nadir


def test_a_start_before_the_last_value_is_said(planted):
    early = forecast(planted, ask(("on",), 100.0, draws=10, replicates=1, start=600.0))
    assert any("P01" in note and "fitted to 6 values after day 600" in note for note in store.attribute(early, "notes"))
    late = forecast(planted, ask(("on",), 100.0, draws=10, replicates=1))
    assert store.attribute(late, "notes") == []


def test_with_any_time_such_a_plan_is_judged(planted):
    result = forecast(planted, ask(("on", "off"), 1080.0, draws=20, replicates=1, endpoint="psa:any-time"))
    off = summary(result)["P02"]["plans"]["off"]
    assert off["progressed_by_horizon"] > 0.9


def test_the_same_plan_under_another_name_gains_nothing(planted):
    result = forecast(planted, ask(("a=on", "b=on"), 120.0, draws=20, replicates=2))
    gain = summary(result)["P01"]["benefit"]["b"]["gain_days"]
    assert gain["mean"] == 0.0
    assert gain["q05"] == gain["q95"] == 0.0


@pytest.mark.slow
@pytest.mark.ci
def test_futures_do_not_depend_on_the_chunks(planted, monkeypatch):
    question = ask(("on", "holiday=off 60, on"), 120.0, draws=12, replicates=2)
    whole = forecast(planted, question)
    monkeypatch.setattr(batches, "LEAST", 8)
    monkeypatch.setitem(batches.LANES, "leap", 8)
    parts = forecast(planted, question)
    for name in ("time_to_progression", "extinct"):
        np.testing.assert_array_equal(whole["endpoints"][name].values, parts["endpoints"][name].values)
    np.testing.assert_allclose(whole["futures"]["burden"].values, parts["futures"]["burden"].values, rtol=1e-12)


def test_the_futures_of_a_draw_are_its_own(planted):
    """Others may be left out, or be so fast that they need far shorter steps."""
    question = ask(("on", "adaptive 0.5/1.0"), 200.0, draws=4)
    one = posterior_series(planted)[0]
    look = outcome_module.look_of(one, question)
    at, history = outcome_module.landmark_of(planted, one, look, question)

    def run(at):
        return list(futures.run(0, "P01", at, history, question.plans, look, RULES["psa"], 3))

    fast = at._replace(rates=at.rates._replace(kill_s=at.rates.kill_s * np.array([1.0, 1.0, 30.0, 1.0])))
    two = jax.tree.map(lambda value: value[:2] if np.ndim(value) else value, at)
    whole, hasty, short = run(at), run(fast), run(two)
    assert hasty[0].step.substeps > whole[0].step.substeps
    for plan in range(2):
        for part in ("time_to_progression", "seen", "area", "on", "stopped"):
            told = np.asarray(getattr(whole[plan], part))
            np.testing.assert_array_equal(told[:2], getattr(short[plan], part))
            np.testing.assert_array_equal(told[[0, 1, 3]], getattr(hasty[plan], part)[[0, 1, 3]])
    assert np.any(whole[0].area[2] != hasty[0].area[2])


@pytest.mark.law
def test_the_wander_goes_on_from_the_landmark():
    """Its law on a later day, whatever days are looked at; and a day of one plan alone lies between those of all."""
    n = 100_000
    streams = sampling.stream(jax.random.split(keys.key(1, "wander"), n))
    sd, memory = 0.3, 40.0
    known = (np.tile([1.0, 0.0], (n, 1)), np.tile(np.diag([0.05, sd]), (n, 1, 1)))
    values = {"noise_sd": np.full(n, 0.1), "wander_sd": np.full(n, sd), "wander_days": np.full(n, memory)}

    def drift(day: list[float], shared: list[bool]) -> np.ndarray:
        return np.asarray(chances(streams, np.array(day), np.array(shared), known, values).drift)

    both, one = drift([30.0, 45.0, 60.0], [True, False, True]), drift([30.0, 60.0], [True, True])
    np.testing.assert_array_equal(both[[0, 2]], one)
    for day, column in zip((30.0, 45.0, 60.0), both, strict=True):
        left = correlation(day, memory)
        laws.check_mean(column, left, what=f"mean on day {day}")
        laws.check_variance(column, (0.05 * left) ** 2 + sd**2 * (1.0 - left**2), what=f"variance on day {day}")
    for first, second, gap in ((0, 1, 15.0), (1, 2, 15.0), (0, 2, 30.0)):
        spread, at = both.std(axis=1), np.array([30.0, 45.0, 60.0])[[first, second]]
        known_before = (0.05**2 - sd**2) * np.prod(correlation(at, memory))  # less doubt than at rest on day 0
        held = (sd**2 * correlation(gap, memory) + known_before) / spread[first] / spread[second]
        product = (
            (both[first] - both[first].mean()) * (both[second] - both[second].mean()) / spread[first] / spread[second]
        )
        laws.check_mean(product, held, what="correlation")
        laws.must_fail(lambda product=product, held=held: laws.check_mean(product, 1.05 * held))


def test_a_rule_that_never_stops_is_the_plan_on(planted):
    """The same treatment by other words: on the same chance, up to the last visit, every future is the same."""
    plans = ("on", "adaptive 1e-9/1e9 absolute", "off 33, on", "late=off 33, adaptive 1e-9/1e9 absolute")
    result = forecast(planted, ask(plans, 112.0, draws=20, replicates=1, visit_every=28.0))
    times, burden = result["endpoints"]["time_to_progression"].values, result["futures"]["burden"].values
    for one, other in ((0, 1), (2, 3)):
        np.testing.assert_array_equal(times[:, one], times[:, other])
        np.testing.assert_allclose(burden[:, one], burden[:, other], rtol=1e-9)


def test_a_plan_comes_out_the_same_whatever_stands_beside_it(planted):
    """Breaks of other plans, and days on which their rules begin, change no number of it."""
    alone = forecast(planted, ask(("on",), 120.0, draws=12, replicates=2))
    others = ("on", "holiday=off 60.5, on", "rule=off 33, adaptive 0.5/1.0")
    beside = forecast(planted, ask(others, 120.0, draws=12, replicates=2))
    for group, name in (("endpoints", "time_to_progression"), ("futures", "burden"), ("futures", "shares")):
        both = [one[group][name].sel(plan="on").values for one in (alone, beside)]
        np.testing.assert_array_equal(*both)


def test_days_on_drug_are_those_of_the_plan(outcome):
    plans = summary(outcome)["P01"]["plans"]
    assert plans["on"]["days_on_drug"] == pytest.approx(1080.0)
    assert plans["holiday"]["days_on_drug"] == pytest.approx(900.0)


def test_the_burden_starts_where_the_patient_was_seen_last(planted, outcome):
    last = planted["observed_data"]["burden"].sel(patient="P01").values
    last = last[np.isfinite(last)][-1]
    start = outcome["futures"]["burden"].sel(patient="P01", plan="on").values[0]
    assert start[0] < last < start[-1] or abs(np.log(start[2] / last)) < 0.3


def test_a_later_start_keeps_the_treatment_until_then(planted):
    result = forecast(planted, ask(("on", "off"), 100.0, draws=10, replicates=1, start=1050.0))
    assert float(result["futures"]["day"].values[0, 0, 0]) == 0.0
    assert summary(result)["P01"]["plans"]["on"]["days_on_drug"] == pytest.approx(100.0)


def test_a_start_before_the_first_visit_is_refused(planted):
    with pytest.raises(DataError, match="first seen on day 0"):
        forecast(planted, ask(("on",), 100.0, start=-5.0))


def test_mistakes_in_what_is_asked():
    with pytest.raises(UsageError, match='two plans are called "on"'):
        ask(("on", "on"), 100.0)
    with pytest.raises(UsageError, match="horizon"):
        ask(("on",), float("nan"))
    with pytest.raises(ScheduleError, match="column 5"):
        ask(("off onn",), 100.0)
    for wrong in ({"replicates": 0}, {"draws": 0}, {"visit_every": -3.0}):
        with pytest.raises(UsageError, match=next(iter(wrong)).replace("_", "-")):
            ask(("on",), 100.0, **wrong)
    assert ask("off 90, on", 100.0) == ask(("off 90, on",), 100.0)


def test_quantiles_that_are_not_reached_are_null(planted):
    on = summary(forecast(planted, ask(("on",), 200.0, draws=20, replicates=1)))["P02"]["plans"]["on"]
    assert on["progressed_by_horizon"] < 0.95
    assert on["time_to_progression"]["q95"] is None


@pytest.mark.parametrize("every", [1.4, 9.8])
def test_days_that_are_one_day_are_recorded_once(planted, every):
    """Visits and the weekly record meet, but for the last digit of a float: no wander lies between."""
    found = forecast(planted, ask(("on",), 120.0, draws=12, replicates=2, visit_every=every))["futures"]
    measured = found["measured"].values
    assert np.isfinite(measured).all()
    assert measured.max() < 1e4
    assert np.diff(found["day"].values[0, 0]).min() > 1e-3
    from persist.forecast.agenda import _told_apart

    start = 640.0
    both = np.unique(_told_apart(np.append(start + every * np.arange(100), start + 7.0 * np.arange(20))))
    assert np.diff(both).min() > 1e-3
