"""Several rules of progression side by side: the first decides, each is judged as it would be alone."""

from __future__ import annotations

import numpy as np
import pytest

import fakes
from persist.errors import UsageError
from persist.forecast.outcome import ask, forecast
from persist.forecast.summary import _disagreements
from persist.inference import store
from persist.records.table import read

PLANS = ("on", "holiday=off 60, on", "until progression: on, then off")
OF = {"draws": 40, "replicates": 2, "start": 1100.0, "visit_every": 14.0}
RULES = ("psa", "relative", "psa:any-time")


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


@pytest.fixture(scope="module")
def made(planted):
    return forecast(planted, ask(PLANS, 300.0, endpoint="psa", beside=RULES[1:], **OF))


@pytest.mark.parametrize("name", RULES)
def test_each_rule_says_what_it_says_alone(planted, made, name) -> None:
    """Of plans that do not wait for progression, which is seen by the first rule: times, benefit and verdict."""
    alone = store.attribute(forecast(planted, ask(PLANS[:2], 300.0, endpoint=name, **OF)), "summary")["P02"]
    beside = store.attribute(made, "summary")["P02"]["endpoints"][name]
    assert beside["benefit"]["holiday"] == alone["benefit"]["holiday"]
    for plan in ("on", "holiday"):
        for key in ("progressed_by_horizon", "time_to_progression", "judged"):
            assert beside["plans"][plan][key] == alone["plans"][plan][key]


def test_the_first_rule_decides(made) -> None:
    one = store.attribute(made, "summary")["P02"]
    assert one["benefit"] == one["endpoints"]["psa"]["benefit"]
    ends = made["endpoints"].to_dataset()
    assert list(ends["rule"].values) == list(RULES)
    np.testing.assert_array_equal(ends["time_by_rule"].sel(rule="psa").values, ends["time_to_progression"].values)
    assert not np.array_equal(ends["time_by_rule"].sel(rule="relative").values, ends["time_to_progression"].values)
    assert list(store.attribute(made, "settings")["endpoints"]) == list(RULES)
    seen = ends["seen"].sel(plan=PLANS[2]).values
    np.testing.assert_array_equal(seen, ends["stopped"].sel(plan=PLANS[2]).values)


def test_rules_that_disagree_are_said_to() -> None:
    def by(verdict: str) -> dict[str, object]:
        return {"benefit": {"a": {"verdict": verdict}, "b": {"verdict": "harm"}}}

    told = _disagreements({"psa": by("benefit"), "relative": by("cannot tell")}, ["on", "a", "b"])
    said = 'The verdict on "a" hangs on the endpoint: psa benefit, relative cannot tell. The first decides.'
    assert told == {"a": said}
    assert _disagreements({}, ["on"]) == {}


def test_one_rule_alone_has_nothing_beside_it(planted) -> None:
    one = store.attribute(forecast(planted, ask(("on", "off"), 60.0, draws=8, start=1100.0)), "summary")["P02"]
    assert one["endpoints"] == one["disagreements"] == {}


def test_a_rule_that_is_there_twice_is_refused(planted) -> None:
    with pytest.raises(UsageError, match="the rule psa is there twice") as caught:
        forecast(planted, ask(("on",), 60.0, beside=("PSA",)))
    assert caught.value.where == "--endpoint"
    with pytest.raises(UsageError, match='unknown rule "psb"'):
        forecast(planted, ask(("on",), 60.0, beside=("psb",)))
