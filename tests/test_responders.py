"""What `scripts/responders.py` simulates and reckons: a few who fall faster, a marker that tells them, and a ranking."""

from __future__ import annotations

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

import laws
from persist.inference.settings import Settings
from persist.validation.study import study

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import responders

from persist.errors import UsageError


def test_responders_fall_faster_in_two_visits() -> None:
    series, responds = responders.people(study(Settings(), cohort=1), 0, 20)
    fall = np.array([np.log(one.burden[responders.KNOWN - 1] / one.burden[0]) for one in series])
    assert 2 <= responds.sum() <= 8
    assert np.median(fall[responds]) < np.median(fall[~responds]) - 0.5


@pytest.mark.law
def test_one_marker_alone_tells_them() -> None:
    responds = np.arange(4000) % 7 == 0
    series = tuple(SimpleNamespace(patient_id=str(number)) for number in range(len(responds)))
    found = responders.markers(study(Settings(), cohort=1), series, responds)  # type: ignore[arg-type]
    assert found.names[-1] == "marker"
    assert len(found.names) == responders.NOISE + 1
    laws.check_mean(np.isnan(found.value).ravel().astype(float), 0.1)
    for who, last in ((responds, responders.TELLS), (~responds, 0.0)):
        for place in range(responders.NOISE + 1):
            column = found.value[who, place]
            laws.check_mean(column[~np.isnan(column)], last if place == responders.NOISE else 0.0)
    last = found.value[responds, -1]
    laws.must_fail(lambda: laws.check_mean(last[~np.isnan(last)], 0.0))


@pytest.mark.law
def test_the_ranking_is_that_of_the_odds() -> None:
    """Two normal scores d apart have AUC = Phi(d / 2^(1/2)); a probability by Bayes' formula is right on average."""
    rng = np.random.default_rng(1)
    responds = rng.uniform(size=1500) < responders.SHARE
    score = rng.standard_normal(1500) + 2.0 * responds
    odds = responders.SHARE / (1.0 - responders.SHARE) * np.exp(2.0 * score - 2.0)
    likely = odds / (1.0 + odds)
    found = responders.ranked(likely, responds, rng)
    assert found["auc"] == pytest.approx(0.9214, abs=0.03)
    assert found["auc_q05"] < found["auc"] < found["auc_q95"]
    assert found["brier_skill"] > 0.2
    with pytest.raises(UsageError, match="nothing to rank"):
        responders.ranked(likely[responds], responds[responds], rng)
    laws.check_mean(responds - likely, 0.0)
    laws.must_fail(lambda: laws.check_mean(responds - 1.5 * likely, 0.0))
