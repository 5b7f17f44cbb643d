"""The next measurement: its value against linear theory, what may be proposed, and foresight of the mean field."""

from __future__ import annotations

import numpy as np
import pytest

from fakes import FIVE_VALUES, posterior, truth
from persist.types import Table
from persist.validation.gate import MONTH_DAYS
from persist.validation.measurements import (
    LOOKS,
    MEASUREMENTS,
    Foresight,
    foresee,
    next_measurement,
    open_questions,
    propose,
    sentence,
    value,
)
from persist.validation.visible import Visible

SIZE = 4000
OFF = Visible(True, True, 2, 1, False, frozenset())
ON = OFF._replace(on_now=True, periods=1)
UNKNOWN = {name: {"informed": False} for one in MEASUREMENTS.values() for name in one.informs}


def ahead(share_r: float = 0.0, share_p: float = 0.0, washout: float = 0.0) -> Foresight:
    """Draws whose gain is a sum of the log shares of R and P and of the log time of washout, and noise."""
    rng = np.random.default_rng(0)
    z = rng.standard_normal((4, SIZE))
    shares = np.stack([np.full(SIZE, 0.5), 0.1 * np.exp(z[1]), 0.1 * np.exp(z[0])], axis=1)
    path = 0.01 * rng.standard_normal((SIZE, len(LOOKS)))
    path[:, -1] = share_r * z[0] + share_p * z[1] + washout * z[2] + 0.5 * z[3]
    values = {name: np.full(SIZE, 0.1) for name in ("noise_sd", "wander_sd")}
    values |= {"wander_days": np.full(SIZE, 60.0), "onset_days": np.exp(rng.standard_normal(SIZE))}
    values["washout_days"] = np.exp(z[2])
    return Foresight(values, shares, path, np.zeros_like(path), 30.0)


@pytest.mark.parametrize("error", [0.0, 0.5, 2.0])
def test_value_is_the_variance_that_linear_theory_removes(error: float) -> None:
    rng = np.random.default_rng(1)
    x, rest = rng.standard_normal((2, 20_000))
    gain = 0.8 * x + 0.6 * rest
    assert value(x[:, None], np.array([error**2]), gain) == pytest.approx(0.64 / (1.0 + error**2), abs=0.02)
    assert value(np.exp(gain)[:, None] * 0.0, np.array([1.0]), gain) == 0.0
    assert value(x[:, None], np.array([1.0]), np.zeros(20_000)) == 0.0


@pytest.mark.parametrize(
    ("weights", "best"),
    [
        ({"share_r": 1.0}, "resistant fraction"),
        ({"share_p": 1.0}, "persister fraction"),
        ({"washout": 1.0}, "exposure"),
    ],
)
def test_what_the_gain_hangs_on_is_proposed(weights: dict[str, float], best: str) -> None:
    told = propose(ahead(**weights), ON, UNKNOWN)
    assert told["measurement"] == best
    assert told["value"] > 0.5
    assert MEASUREMENTS[best].what in told["sentence"]
    assert told["ranking"][0]["measurement"] == best


def test_what_is_measured_or_informed_is_not_proposed() -> None:
    seen = ON._replace(markers=frozenset({"resistant"}))
    assert propose(ahead(share_r=1.0), seen, UNKNOWN)["measurement"] != "resistant fraction"
    known = UNKNOWN | {name: {"informed": True} for name in MEASUREMENTS["resistant fraction"].informs}
    assert propose(ahead(share_r=1.0), ON, known)["measurement"] != "resistant fraction"
    everything = {name: {"informed": True} for name in UNKNOWN}
    nothing = propose(ahead(), ON, everything)
    assert (nothing["measurement"], nothing["ranking"]) == (None, [])
    assert open_questions(everything, ON) == []


def test_a_change_of_treatment_comes_last_and_is_said() -> None:
    ranking = propose(ahead(), ON, UNKNOWN)["ranking"]
    changes = [row["changes_treatment"] for row in ranking]
    assert changes == sorted(changes)
    assert {row["measurement"] for row in ranking if row["changes_treatment"]} == {"weeks off drug", "rechallenge"}
    off = propose(ahead(), OFF, UNKNOWN)["ranking"]
    assert {row["measurement"] for row in off if row["changes_treatment"]} == {"weeks on drug"}


def test_little_value_is_said() -> None:
    assert "no measurement would tell much" in propose(ahead(), ON, UNKNOWN)["sentence"]


def test_a_change_of_treatment_that_would_show_more_is_said_beside() -> None:
    plain = {"measurement": "exposure", "value": 0.02, "parameters": ["washout_days"], "changes_treatment": False}
    other = plain | {"measurement": "weeks off drug", "value": 0.9, "changes_treatment": True}
    told = sentence(plain, [plain, other])
    assert told.startswith("no measurement without a change of treatment would tell much")
    assert told.endswith("which needs a change of treatment, would take away 90%")
    assert "change of treatment" not in sentence(plain, [plain])


def test_the_open_questions_follow_what_is_not_informed() -> None:
    spots = open_questions({"resistant_0": {"informed": False}}, OFF)
    assert [(one["parameters"], "ctDNA" in one["measurement"]) for one in spots] == [(["resistant_0"], True)]
    once, twice = (open_questions({"reversion": {"informed": False}}, seen) for seen in (ON, OFF))
    assert any("rechallenge" in one["measurement"] for one in once)
    assert not any("rechallenge" in one["measurement"] for one in twice)


def test_an_experiment_is_named_and_not_ranked() -> None:
    """With the secretome open, a co-culture is what would tell; it is none of the patient's own measurements."""
    open_secretome = {"secretome_boost": {"informed": False}}
    assert ["co-cultures" in one["measurement"] for one in open_questions(open_secretome, ON)] == [True]
    told = propose(ahead(), ON, open_secretome)
    assert (told["measurement"], told["ranking"]) == (None, [])
    assert "co-cultures" in told["sentence"]
    assert "is informed" not in told["sentence"]


def test_foresight_follows_the_mean_field() -> None:
    """P01's truth: on drug it is carried by persisters that grow; a pause lets sensitive cells grow, then the drug kills."""
    fit = posterior(Table((FIVE_VALUES,), (), "-"), {"A": truth("P01")})
    found = foresee(fit, "A")
    assert found.month == MONTH_DAYS["clinical"]
    np.testing.assert_allclose(found.shares.sum(axis=1), 1.0)
    early = LOOKS.index(2.0)
    assert np.all(found.pause[:, early] > found.on[:, early])
    told = next_measurement(fit, "A", UNKNOWN)
    assert told["measurement"] in MEASUREMENTS
    assert 0.0 <= told["value"] <= 1.0


def test_an_exposure_that_is_measured_is_not_proposed() -> None:
    """Of open questions and of the ranking alike."""
    known = OFF._replace(exposure=True)
    for seen, there in ((OFF, True), (known, False)):
        rows = propose(ahead(washout=1.0), seen, UNKNOWN)["ranking"]
        assert ("exposure" in {row["measurement"] for row in rows}) is there
        asked = {row["measurement"] for row in open_questions(UNKNOWN, seen)}
        assert (MEASUREMENTS["exposure"].what in asked) is there
