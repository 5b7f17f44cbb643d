"""The response to a drug given again: by hand, against the endpoint of whole paths, by the law of a death process, and as a
forecast and its page tell it.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import fakes
import laws
from persist.dynamics.checks import Method
from persist.dynamics.paths import Course, Lanes
from persist.dynamics.trajectories import steered
from persist.forecast import rechallenge
from persist.forecast.endpoints import RESPONSES, RULES, Response, judge, response, response_of, room
from persist.forecast.outcome import ask, forecast
from persist.forecast.reply import Reply, given, measured, waiting
from persist.forecast.visits import Chance, Scale
from persist.forecast.watch import Visit, look, watch
from persist.inference import store
from persist.records.table import read
from persist.report.patient import _beside
from persist.types import Cells, Grid, Rates

INF = np.inf
PSA = RESPONSES["psa"]


def played(
    days: list[float], burden: list[float], dose: list[float], rule: Response = PSA, within: float = 168.0
) -> tuple[float, float]:
    """Days of the restart and of the response of one path, seen on all these days; on drug before, 100 when last seen."""
    reply, before, none = waiting(1, rule, 100.0, 8, within), 1.0, jnp.zeros(1)
    for day, level, now in zip(days, burden, dose, strict=True):
        reply = measured(reply, day, jnp.array([level]))
        stops, starts = (jnp.array([one]) for one in (before > 0 >= now, before <= 0 < now))
        reply, before = given(reply, day, Cells(none + level, none, none), stops, starts), now
    return float(reply.restarted[0]), float(reply.responded[0])


def test_a_response_by_hand() -> None:
    weeks = [0.0, 28.0, 56.0, 84.0, 112.0]
    assert played(weeks, [100, 200, 90, 80, 70], [0, 1, 1, 1, 1]) == (28.0, 56.0)  # over what was seen on day 28
    assert played(weeks, [100, 200, 90, 180, 70], [0, 1, 1, 1, 1]) == (28.0, INF)  # not confirmed, then too late to be
    assert played(weeks, [100, 200, 150, 120, 101], [0, 1, 1, 1, 1]) == (28.0, INF)
    assert played(weeks, [100, 10, 10, 10, 10], [1, 1, 1, 1, 1]) == (INF, INF)  # never stopped
    assert played(weeks, [100, 40, 200, 90, 90], [0, 0, 1, 0, 0]) == (56.0, 84.0)  # falls off drug before are none
    assert played([0.0, 7.0, 14.0, 28.0], [100, 90, 40, 40], [0, 1, 1, 1]) == (7.0, INF)  # a fortnight confirms no PSA
    assert played([0.0, 7.0, 14.0, 28.0, 35.0], [100, 90, 40, 80, 40], [0, 1, 1, 1, 1]) == (
        7.0,
        14.0,
    )  # weeks later, it does
    assert played(weeks, [100, 200, 90, 80, 70], [0, 1, 1, 1, 1], within=27.0) == (28.0, INF)


def test_only_a_stop_tells_what_the_tumour_was() -> None:
    reply, none = waiting(2, PSA, 1.0, 4), jnp.zeros(2)
    never = jnp.zeros(2, bool)
    reply = given(reply, -3.0, Cells(none + 3.0, none + 1.0, none), never, never)
    reply = given(reply, 5.0, Cells(none, none + 1.0, none + 1.0), jnp.array([True, False]), never)
    np.testing.assert_array_equal(reply.resistant_at_stop, [0.5, np.nan])  # the second was stopped before the landmark
    reply = given(reply, 9.0, Cells(none + 1.0, none, none), never, ~never)
    reply = given(reply, 10.0, Cells(none, none, none + 1.0), ~never, never)
    np.testing.assert_array_equal(reply.resistant_at_stop, [0.5, np.nan])  # a stop after the restart is not its
    np.testing.assert_array_equal(reply.restarted, 9.0)


def test_a_first_course_is_no_restart_and_nothing_no_response() -> None:
    reply, none, no = waiting(1, PSA, 5.0, 4, treated=False), jnp.zeros(1), jnp.zeros(1, bool)
    cells = Cells(none + 1.0, none, none)
    reply = given(reply, 0.0, cells, no, ~no)
    assert reply.restarted[0] == INF
    reply = given(given(reply, 28.0, cells, ~no, no), 56.0, cells, no, ~no)
    assert reply.restarted[0] == 56.0
    gone = waiting(1, PSA, 0.0, 4)
    gone = given(gone, 0.0, cells, no, ~no)
    for day in (28.0, 56.0):
        gone = measured(gone, day, none)
    assert gone.responded[0] == INF


@pytest.mark.parametrize("rule", [PSA, RESPONSES["relative"], RESPONSES["recist"]])
def test_it_is_the_response_of_whole_paths(rule: Response) -> None:
    """Restarted on day 0: as `endpoints.response` of all values from then on."""
    day, number = 14.0 * np.arange(12), 400
    burden = np.random.default_rng(3).choice([3.0, 4.0, 5.0, *np.arange(8.0, 20.0)], (number, 12))
    burden[:, 0] = 10.0
    none = jnp.zeros(number)
    reply = waiting(number, rule, burden[:, 0], room(day, rule.confirm_days), 1000.0)
    reply = given(reply, 0.0, Cells(none + 1, none, none), none > 1, none < 1)
    for at in range(1, 12):
        reply = measured(reply, day[at], jnp.asarray(burden[:, at]))
    expected = np.asarray(response(day, burden, rule.fall, rule.confirm_days))
    np.testing.assert_array_equal(reply.responded, expected)
    assert 20 < np.isfinite(expected).sum() < 400


def test_each_rule_has_its_response() -> None:
    assert {response_of(rule) for rule in RULES.values()} == set(RESPONSES.values())
    assert response_of(RULES["psa"]._replace(name="limit")) == RESPONSES["relative"]


@pytest.mark.law
def test_the_response_is_that_of_a_death_process() -> None:
    """Twenty cells that die on drug alone, which is given again from day 5 on: a week later at most 14 are left, with a
    known probability. Seen on days 12 and 19; counted within 7 days.
    """
    number, kill = 20_000, 0.05
    dose = np.r_[np.zeros(5), np.ones(15)]
    visit = np.full(20, -1)
    visit[[11, 18]] = [0, 1]
    rule = RESPONSES["recist"]

    def lanes(members: np.ndarray) -> Lanes:
        count = len(members)
        memory = watch(
            Scale(np.zeros(count), 1.0, False), (judge(RULES["recist"], (count,), 4),), before=True,
            reply=waiting(count, rule, 20.0, 4, 7.0),
        )  # fmt: skip
        still, two = Chance(*(np.zeros((2, count)) for _ in range(3))), np.ones(2, bool)
        seen = Visit(
            still, np.zeros((2, count), bool), np.array([12.0, 19.0]), np.ones(2), ~two, ~two, two, np.zeros(2)
        )
        return Lanes(Cells(20.0, 0.0, 0.0), Rates(kill_s=kill), 0.0, True, seen, memory)

    parts = steered(
        lambda members, lanes, path: np.asarray(path.marks.trace["responded"]), look, jax.random.key(5), lanes,
        Grid(np.ones(20), dose), Course(dose, np.zeros(20, bool), visit), Method("ssa", 1.0), trajectories=number,
    )  # fmt: skip
    responded = np.concatenate(list(parts))
    assert set(np.unique(responded)) == {12.0, INF}

    def check(rate: float) -> None:
        laws.check_share(np.isfinite(responded), float(stats.binom.cdf(14, 20, np.exp(-7.0 * rate))), what="responses")

    check(kill)
    laws.must_fail(lambda: check(1.05 * kill))


@pytest.fixture(scope="module")
def told():
    """P01 regrows on drug as persisters, P02 as a resistant clone; progression is seen under both."""
    names = ("P01", "P02")
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=names)
    planted = fakes.posterior(table, {name: fakes.truth(name) for name in names})
    plans = ("on", "again=off 120, on", "late=off 300, on", "until progression: on, then off 60, on")
    made = forecast(planted, ask(plans, 420.0, draws=60, replicates=2, visit_every=28.0, response_days=112.0))
    return made, store.attribute(made, "summary")


def test_a_forecast_tells_response_and_where_it_comes_from(told) -> None:
    made, patients = told
    ends = made["endpoints"].to_dataset()
    for name, one in patients.items():
        plans = one["plans"]
        again = plans["again"]["rechallenge"]
        assert again["restarts"] == again["followed"] == 1.0
        answered = np.isfinite(ends["responded"].sel(patient=name, plan="again").values)
        assert again["probability"] == answered.mean()
        assert plans["late"]["rechallenge"]["probability"] is None  # not followed for 112 days and three weeks
        until = ends.sel(patient=name, plan="until progression: on, then off 60, on")
        seen, restarted = until["seen"].values, until["restarted"].values
        assert np.isfinite(seen).all() == (name == "P01")
        np.testing.assert_array_equal(restarted, np.where(seen + 60.0 < 420.0, seen + 60.0, INF))
    one, two = (patients[name]["plans"]["again"]["rechallenge"] for name in ("P01", "P02"))
    assert one["probability"] > 0.8 > 0.2 > two["probability"]
    assert two["at_stop"]["others"]["resistant"] > 0.5 > one["at_stop"]["responders"]["resistant"]
    asked = store.attribute(made, "settings")["response"]
    assert asked == {"fall": 0.5, "confirm_days": 21.0, "within_days": 112.0}
    words = rechallenge.rule_in_words(asked)
    assert "down by 50 %" in words
    assert "confirmed 21 days later, within 112 days" in words


def test_a_value_from_before_a_long_holiday_is_no_baseline() -> None:
    """Seen last and stopped on day 720: from 1040 on, no value tells what the burden was when the drug is given again."""
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01",))
    planted = fakes.posterior(table, {"P01": fakes.truth("P01")})
    day = float(table.series[0].day[-1])
    asked = ask(("on",), 300.0, draws=10, replicates=1, start=day + 200.0)
    found = store.attribute(forecast(planted, asked), "summary")["P01"]["plans"]["on"]["rechallenge"]
    assert found is None or found["probability"] is None


def test_screen_and_page_say_it(told) -> None:
    made, patients = told
    asked = store.attribute(made, "settings")
    said = rechallenge.sentences(patients["P01"]["plans"])
    assert sum("futures that respond had" in one for one in said) >= 1
    assert set(said) <= set(_beside(patients["P01"], asked))
    assert rechallenge.sentences({"on": {"rechallenge": None}, "old": {}}) == []


def test_a_reply_without_a_known_burden_is_no_response() -> None:
    memory = watch(Scale(np.zeros(1), 1.0, False), (judge(RULES["psa"], (1,), 4),))
    reply: Reply = memory.reply
    one = jnp.ones(1, bool)
    reply = given(reply, 0.0, Cells(jnp.ones(1), jnp.zeros(1), jnp.zeros(1)), ~one, one)
    for day in (28.0, 56.0):
        reply = measured(reply, day, jnp.array([1e-9]))
    assert reply.responded[0] == INF
