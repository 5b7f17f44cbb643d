"""Visits that are missed: how many, the same under every plan, and that nobody sees them."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
import laws
from persist import keys
from persist.errors import UsageError
from persist.forecast.endpoints import RULES, judge, room, time_to_progression
from persist.forecast.outcome import ask, forecast
from persist.forecast.visits import Chance, Scale, missed
from persist.forecast.watch import Visit, look, watch
from persist.inference import store
from persist.records.table import read
from persist.treatment.grammar import parse_plan
from persist.types import Cells

DAYS = 28.0 * np.arange(1.0, 13.0)


@pytest.mark.law
def test_each_visit_is_missed_with_the_probability_asked_for():
    """Of every day, of every path, and of two visits in a row: a share 5 % larger is caught."""
    roots = keys.numbered(keys.key(3, "A", "missed"), jnp.arange(20_000))
    gone = missed(roots, DAYS, 0.3)

    def check(share: float) -> None:
        laws.check_share(gone.ravel(), share, what="visits")
        laws.check_share((gone[1:] & gone[:-1]).ravel()[::2], share**2, what="two in a row")
        laws.check_variance(gone.sum(axis=0).astype(float), 12 * share * (1 - share), what="missed by a path")

    check(0.3)
    laws.must_fail(lambda: check(1.05 * 0.3))
    assert (gone <= missed(roots, DAYS, 0.5)).all()
    np.testing.assert_array_equal(gone[[2, 5]], missed(roots, DAYS[[2, 5]], 0.3))
    assert not missed(roots, DAYS, 0.0).any()


@pytest.mark.parametrize("name", sorted(RULES))
def test_progression_is_that_of_the_visits_that_took_place(name):
    """The watch of a path with missed visits tells what the definition tells of its other visits alone."""
    rng, rule, number = np.random.default_rng(4), RULES[name], 200
    burden = rng.choice([3.0, 4.0, 5.0, 6.5, 9.0, 12.0], (12, number))
    gone = rng.random((12, number)) < 0.3
    still = Chance(*(np.zeros(number) for _ in range(3)))
    memory = watch(Scale(np.zeros(number), 1.0, False), (judge(rule, (number,), room(DAYS, rule.confirm_days)),))
    memory = memory.along(
        Cells(burden[0], np.zeros(number), np.zeros(number)), 0.0, jnp.ones(number), jnp.ones(number, int)
    )
    step = jax.jit(look)
    for visit, day in enumerate(DAYS):
        row = Visit(still, gone[visit], day, 1.0, False, False, True)
        memory = step(memory, Cells(burden[visit], np.zeros(number), np.zeros(number)), row)
    there = [~gone[:, path] for path in range(number)]
    late = np.full((number, 12), np.inf)
    level, course = np.zeros((number, 12)), np.zeros((number, 12), int)
    for path, kept in enumerate(there):
        late[path, : kept.sum()], level[path, : kept.sum()], course[path, : kept.sum()] = (
            DAYS[kept],
            burden[kept, path],
            1,
        )
    np.testing.assert_array_equal(memory.marks.progressed[:, 0], time_to_progression(late, level, course, rule))
    np.testing.assert_array_equal(memory.marks.visits, (~gone).sum(axis=0))


def test_a_rule_does_not_decide_at_a_visit_that_is_missed():
    rule, gone = parse_plan("adaptive 60/90 absolute").rule, np.array([False, True])
    row = Visit(Chance(*(np.zeros(2) for _ in range(3))), gone, 28.0, 1.0, True, True, True)
    memory = watch(Scale(np.zeros(2), 1.0, False), (judge(RULES["psa"], (2,), 4),), rule)
    seen = look(memory, Cells(np.full(2, 40.0), np.zeros(2), np.zeros(2)), row)
    np.testing.assert_array_equal(np.asarray(seen.given(1.0, True, 28.0)), [0.0, 1.0])


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


def test_progression_is_seen_later_on_the_same_chance_under_every_plan(planted):
    plans = ("on", "same=on", "stop=until progression: on, then off")
    of = {"draws": 40, "replicates": 2, "start": 1100.0, "visit_every": 14.0}
    all_seen = forecast(planted, ask(plans, 300.0, **of))
    some = forecast(planted, ask(plans, 300.0, missed_visits=0.5, **of))
    seen, later = (one["endpoints"]["seen"].sel(patient="P02") for one in (all_seen, some))
    for plan in ("same", "stop"):
        np.testing.assert_array_equal(later.sel(plan="on").values, later.sel(plan=plan).values)
    mine = np.minimum(later.sel(plan="on").values, 300.0) - np.minimum(seen.sel(plan="on").values, 300.0)
    assert mine.mean() > 10.0
    both = [one["futures"]["burden"].sel(plan="on").values for one in (all_seen, some)]
    np.testing.assert_array_equal(*both)
    assert store.attribute(some, "settings")["missed_visits"] == 0.5


@pytest.mark.parametrize("share", [-0.1, 1.0, float("nan")])
def test_a_share_that_is_none_is_refused(share):
    with pytest.raises(UsageError, match="no share of visits") as caught:
        ask(("on",), 100.0, missed_visits=share)
    assert caught.value.where == "--missed-visits"
