"""Beyond progression: the area under the burden, the limit, and plans compared from the same progression on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
import laws
from persist.dynamics.checks import Method
from persist.dynamics.paths import Course, Lanes
from persist.dynamics.trajectories import steered
from persist.errors import UsageError
from persist.forecast import beyond
from persist.forecast.endpoints import RULES, judge
from persist.forecast.outcome import ask, forecast
from persist.forecast.trace import begin, followed
from persist.forecast.visits import Scale
from persist.forecast.watch import watch
from persist.inference import store
from persist.records.table import read
from persist.types import Cells, Grid, Rates

INF = np.inf


def traced(burden: list[float], seen: float, days: list[float], limit: float = 1.5) -> tuple[float, float, float]:
    """Areas and the day of the limit of one path, given its burden at the ends of steps."""
    trace, no = begin(1, limit), jnp.array([False])
    for day, level in zip(days, burden, strict=True):
        known = seen if day >= seen else INF
        trace = followed(trace, day, jnp.array([level]), no, jnp.array([known]))
    return float(trace.area[0]), float(trace.area_after[0]), float(trace.reached[0])


def test_areas_and_the_limit_by_hand() -> None:
    days = [-2.0, 0.0, 1.0, 3.0, 4.0, 6.0]
    burden = [9.0, 4.0, 6.0, 10.0, 12.0, 15.0]
    assert traced(burden, 3.0, days) == (5.0 + 16.0 + 11.0 + 27.0, 38.0, 6.0)
    assert traced(burden, 3.0, days, limit=1.2) == (59.0, 38.0, 4.0)
    assert traced(burden, INF, days) == (59.0, 0.0, INF)  # without progression there is no limit
    assert traced(burden, 6.0, days) == (59.0, 0.0, INF)


def unasked(memory, cells, seen):
    return memory


@pytest.mark.law
def test_the_area_is_that_of_a_birth_process() -> None:
    """N cells that only divide at b: the mean area over T days is N (exp(b T) - 1) / b, but for the trapezoid's 1e-4."""
    number, rate, days = 20_000, 0.05, 30

    def lanes(members: np.ndarray) -> Lanes:
        count = len(members)
        memory = watch(Scale(np.zeros(count), 1.0, False), (judge(RULES["psa"], (count,), 4),))
        return Lanes(Cells(20.0, 0.0, 0.0), Rates(birth_s=rate), 0.0, False, jnp.zeros((1, count)), memory)

    none = np.zeros(days)
    parts = steered(
        lambda members, lanes, path: np.asarray(path.marks.trace["area"]), unasked, jax.random.key(7), lanes,
        Grid(np.ones(days), none), Course(none, none.astype(bool), np.full(days, -1)), Method("leap", 1.0),
        trajectories=number,
    )  # fmt: skip
    area = np.concatenate(list(parts))

    def check(birth: float) -> None:
        mean = 20.0 * np.expm1(birth * days) / birth
        laws.check_mean(area, mean, what="area", slack=0.003 * mean)

    check(rate)
    laws.must_fail(lambda: check(1.05 * rate))


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


STOP = "stop=until progression: on, then off"
OF = {"draws": 40, "replicates": 2, "start": 1100.0, "visit_every": 14.0}


@pytest.fixture(scope="module")
def made(planted):
    plans = ("on", "go on=until progression: on, then on", STOP, "pause=off 60, on")
    return forecast(planted, ask(plans, 300.0, **OF))


def test_plans_are_compared_from_the_same_progression_on(made) -> None:
    one = store.attribute(made, "summary")["P02"]
    same, stop = one["after"]["go on"], one["after"]["stop"]
    assert same["to_limit"]["gain_days"]["mean"] == same["burden_time"]["mean"] == 0.0
    assert one["after"]["pause"] is None  # progression is seen on other days
    ends = made["endpoints"].to_dataset().sel(patient="P02")
    gained = np.minimum(ends["reached_limit"], 300.0)
    gained = (gained.sel(plan="stop") - gained.sel(plan="on")).values
    assert stop["to_limit"]["gain_days"]["mean"] == pytest.approx(gained.mean())
    assert stop["to_limit"]["loss"] == pytest.approx((gained < 0).mean())
    more = (ends["burden_time"].sel(plan="stop") - ends["burden_time"].sel(plan="on")).values
    assert stop["burden_time"]["mean"] == pytest.approx(more.mean())
    assert stop["burden_time"]["probability_less"] == pytest.approx((more < 0).mean())
    never = ~np.isfinite(ends["seen"].sel(plan="on").values)
    assert (more[never] == 0.0).all()
    told = beyond.sentence("stop", "on", stop, 1.5, 300.0)
    assert 'From progression on, "stop" reaches 1.5 times the burden at progression' in told


def test_the_limit_lies_after_progression_and_the_areas_are_told(made) -> None:
    one = store.attribute(made, "summary")["P02"]["plans"]["stop"]
    ends = made["endpoints"].to_dataset().sel(patient="P02", plan="stop")
    seen, reached = ends["seen"].values, ends["reached_limit"].values
    there = np.isfinite(reached)
    assert there.any()
    assert (reached[there] > seen[there]).all()
    after = one["after_progression"]
    assert after["seen"] == np.isfinite(seen).mean()
    assert after["reached_by_horizon"] == pytest.approx(there.sum() / np.isfinite(seen).sum())
    assert one["burden_time"]["mean"] == pytest.approx(ends["burden_time"].values.mean())
    assert after["burden_time"]["mean"] == pytest.approx(ends["burden_time_after"].values[np.isfinite(seen)].mean())


def test_a_plan_without_progression_has_nothing_after_it(planted) -> None:
    one = store.attribute(forecast(planted, ask(("off", "x=off"), 60.0, draws=8, start=1100.0)), "summary")["P02"]
    assert one["plans"]["off"]["after_progression"] is None
    assert one["after"]["x"] is None


@pytest.mark.parametrize("limit", [1.0, 0.5, float("inf"), float("nan")])
def test_a_limit_that_is_none_is_refused(limit) -> None:
    with pytest.raises(UsageError, match="is no limit") as caught:
        ask(("on",), 100.0, burden_limit=limit)
    assert caught.value.where == "--burden-limit"
