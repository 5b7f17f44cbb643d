"""The flare after a stop: by hand, by the law of a birth process, and as a forecast tells it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import fakes
import laws
from persist.cli.forecast import _probable as _flare
from persist.dynamics.checks import Method
from persist.dynamics.paths import Course, Lanes
from persist.dynamics.trajectories import steered
from persist.forecast.endpoints import RULES, judge
from persist.forecast.outcome import ask, forecast
from persist.forecast.trace import FLARE_DAYS, begin, followed
from persist.forecast.visits import Scale
from persist.forecast.watch import watch
from persist.inference import store
from persist.records.table import read
from persist.types import Cells, Grid, Rates

INF = np.inf


def traced(burden: list[float], dose: list[float], first: float = 0.0) -> tuple[float, float]:
    """Days of the first stop and of the flare of one path with a step a day; dose from each day on, on drug before."""
    trace, before = begin(1), 1.0
    for day, (level, given) in enumerate(zip(burden, dose, strict=True)):
        stops = jnp.array([before > 0 and given == 0])
        trace, before = followed(trace, first + day, jnp.array([level]), stops, jnp.array([INF])), given
    return float(trace.stopped[0]), float(trace.flared[0])


def test_a_flare_by_hand() -> None:
    assert traced([10, 11, 12, 13], [0, 0, 0, 0]) == (0.0, 2.0)
    assert traced([10, 20, 10, 11.9, 12], [1, 1, 0, 0, 0]) == (2.0, 4.0)  # what rose on drug is no flare
    assert traced([10, 10, 13, 13], [0, 1, 0, 0]) == (0.0, 2.0)  # the first stop, also when the drug is back by then
    assert traced([10, 20, 30], [1, 1, 1]) == (INF, INF)
    assert traced([0.0] * 3, [0, 0, 0]) == (0.0, INF)
    assert traced([5, 7, 10, 11], [0, 1, 0, 0], first=-2.0) == (0.0, INF)  # a stop before the plan is not its own


@pytest.mark.parametrize(("day", "expected"), [(21, 21.0), (22, INF)])
def test_a_flare_counts_within_three_weeks(day: int, expected: float) -> None:
    assert traced([10.0] * day + [12.0] * 5, [0.0] * (day + 5)) == (0.0, expected)


def unasked(memory, cells, seen):
    return memory


@pytest.mark.law
def test_the_risk_of_a_flare_is_that_of_a_birth_process() -> None:
    """20 cells that only divide: after 21 days 20 + NB(20, exp(-21 b)) of them, so at least 24 with a known probability."""
    number, rate = 20_000, 0.01

    def lanes(members: np.ndarray) -> Lanes:
        count = len(members)
        scale = Scale(np.zeros(count), 1.0, False)
        memory = watch(scale, (judge(RULES["psa"], (count,), 4),), before=True)
        return Lanes(Cells(20.0, 0.0, 0.0), Rates(birth_s=rate), 0.0, True, jnp.zeros((1, count)), memory)

    none = np.zeros(30)
    parts = steered(
        lambda members, lanes, path: np.asarray(path.marks.trace["flared"]), unasked, jax.random.key(7), lanes,
        Grid(np.ones(30), none), Course(none, none.astype(bool), np.full(30, -1)), Method("ssa", 1.0), trajectories=number,
    )  # fmt: skip
    flared = np.isfinite(np.concatenate(list(parts)))

    def check(birth: float) -> None:
        laws.check_share(flared, float(stats.nbinom.sf(3, 20, np.exp(-birth * FLARE_DAYS))), what="flares")

    check(rate)
    laws.must_fail(lambda: check(1.05 * rate))


@pytest.fixture(scope="module")
def told():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    planted = fakes.posterior(table, {"P02": fakes.truth("P02")})
    plans = (
        "on",
        "off",
        "short=on 10, off",
        "late=on 95, off",
        "until progression: on, then off",
        "band=adaptive 1/4 absolute",
    )
    made = forecast(planted, ask(plans, 110.0, draws=40, replicates=2, start=1100.0, visit_every=14.0))
    return made, store.attribute(made, "summary")["P02"]["plans"]


def test_a_forecast_tells_the_flare_of_plans_that_stop(told) -> None:
    made, plans = told
    ends = made["endpoints"].to_dataset().sel(patient="P02")
    assert plans["on"]["flare"] is None
    assert plans["off"]["flare"] is None  # the drug had stopped before
    short = plans["short"]["flare"]
    assert (short["stops"], short["followed"]) == (1.0, 1.0)
    flared = ends["flared"].sel(plan="short").values
    assert short["probability"] == np.isfinite(flared).mean() > 0.0
    assert 10.0 < flared.min() <= flared[np.isfinite(flared)].max() <= 10.0 + FLARE_DAYS
    late = plans["late"]["flare"]
    assert late == {"probability": None, "stops": 1.0, "followed": 0.0}
    assert (ends["stopped"].sel(plan="late") == 95.0).all()
    until = ends.sel(plan="until progression: on, then off")
    np.testing.assert_array_equal(until["stopped"].values, until["seen"].values)
    share = (until["seen"].values < 110.0).mean()
    assert 0.0 < plans["until progression: on, then off"]["flare"]["stops"] == share < 1.0
    assert store.attribute(made, "settings")["flare"] == {"rise": 0.2, "within_days": 21.0}


def test_the_table_says_it_in_per_cent() -> None:
    assert _flare(None) == _flare({"probability": None}) == "-"
    assert _flare({"probability": 0.234}) == "23 %"
