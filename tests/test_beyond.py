"""Beyond progression: the area under the burden, the limit, and plans compared from the same progression on."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

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
from persist.treatment.grammar import parse_plan
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
    assert same["reference"] == stop["reference"] == "on"
    other = {"reference": None, "reason": "no other plan gives the same treatment up to progression"}
    assert one["after"]["pause"] == other  # progression is seen on other days
    assert "on" not in one["after"]
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
    text = beyond.sentence("stop", "on", stop, 1.5, 300.0)
    assert 'From progression on, "stop" reaches 1.5 times the burden at progression' in text


def test_the_limit_lies_after_progression_and_the_areas_are_told(made) -> None:
    one = store.attribute(made, "summary")["P02"]["plans"]["stop"]
    ends = made["endpoints"].to_dataset().sel(patient="P02", plan="stop")
    seen, reached = ends["seen"].values, ends["reached_limit"].values
    there = np.isfinite(reached)
    assert there.any()
    assert (reached[there] > seen[there]).all()
    after = one["after_progression"]
    assert after["seen"] == np.isfinite(seen).mean()
    followed = seen <= 210.0
    assert 0 < followed.sum() < np.isfinite(seen).sum()
    assert (after["followed"], after["within_days"]) == (followed.mean(), 90.0)
    days = reached[followed] - seen[followed]
    assert after["reached"] == pytest.approx((days <= 90.0).mean())
    assert after["days_to_horizon"]["mean"] == pytest.approx((300.0 - seen[np.isfinite(seen)]).mean())
    quantile = np.quantile(np.where(days <= 90.0, days, INF), 0.05, method="inverted_cdf")
    assert after["days_to_limit"]["q05"] == (quantile if np.isfinite(quantile) else None)
    assert one["burden_time"]["mean"] == pytest.approx(ends["burden_time"].values.mean())
    assert after["burden_time"]["mean"] == pytest.approx(ends["burden_time_after"].values[np.isfinite(seen)].mean())


def test_a_plan_without_progression_has_nothing_after_it(planted) -> None:
    one = store.attribute(forecast(planted, ask(("off", "x=off"), 60.0, draws=8, start=1100.0)), "summary")["P02"]
    assert one["plans"]["off"]["after_progression"] is None
    assert one["after"]["x"] == {"reference": None, "reason": "progression is seen in no future"}


def told(seen: list[float], reached: list[float], area: list[float] | None = None) -> Any:
    """What `beyond` reads of futures, one draw each."""
    areas = np.zeros((len(seen), 1)) if area is None else np.array(area)[:, None]
    parts = {"seen": np.array(seen)[:, None], "reached": np.array(reached)[:, None], "area": areas, "area_after": areas}
    return SimpleNamespace(**parts)


def test_progression_seen_shortly_before_the_horizon_is_not_counted_as_a_limit_kept() -> None:
    one = beyond.after_progression(told([14.0, 28.0, 110.0, 290.0, INF], [50.0, 128.0, 200.0, INF, INF]), 300.0)
    assert one is not None
    assert (one["seen"], one["followed"], one["reached"]) == (0.8, 0.6, pytest.approx(2 / 3))
    assert one["days_to_limit"] == {"q05": 36.0, "q50": 90.0, "q95": None}
    late = beyond.after_progression(told([290.0, INF], [INF, INF]), 300.0)
    assert late is not None
    assert (late["followed"], late["reached"]) == (0.0, None)
    assert set(late["days_to_limit"].values()) == {None}


def test_plans_with_the_same_first_part_are_compared_among_themselves() -> None:
    texts = (
        *("on", "a=until progression: off 30, on, then off", "b=until progression: off 30, on 30, on, then on"),
        *("c=until progression: adaptive 0.5/1.0, then off", "d=until progression: dose 1, then off"),
    )
    early, late = told([14.0, INF], [60.0, INF], [3.0, 1.0]), told([28.0, 28.0], [90.0, INF], [2.0, 2.0])
    futures, plans = [early, late, late, early, early], [parse_plan(text) for text in texts]
    found = beyond.compared(futures, plans, 300.0, 2.0)
    assert {name: one["reference"] for name, one in found.items()} == {"b": "a", "c": None, "d": "on"}
    asked = {"burden_limit": 1.5, "horizon": 300.0, "plans": {plan.name: plan.text for plan in plans}}
    said = beyond.sentences(found | {"old": None}, asked)
    assert [one.split('"')[1::2] for one in said] == [["b", "a"], ["c"], ["d", "on"]]
    assert said[1].endswith("nothing can be compared: no other plan gives the same treatment up to progression.")
    apart = beyond.compared([early, late], [plans[0], plans[4]], 300.0, 2.0)["d"]
    assert apart["reason"] == "progression is not seen on the same day in every future"
    alone = beyond.compared([early], plans[3:4], 300.0, 2.0)
    assert alone == {"c": {"reference": None, "reason": "no other plan gives the same treatment up to progression"}}


@pytest.mark.parametrize("limit", [1.0, 0.5, float("inf"), float("nan")])
def test_a_limit_that_is_none_is_refused(limit) -> None:
    with pytest.raises(UsageError, match="is no limit") as caught:
        ask(("on",), 100.0, burden_limit=limit)
    assert caught.value.where == "--burden-limit"
