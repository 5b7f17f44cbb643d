"""A new visit: the posterior carried over is that of a fit anew, and what was not weighed is seen."""

from __future__ import annotations

import time

import jax
import numpy as np
import pytest

import fakes
import laws
from persist.inference import update as module
from persist.inference.fit import members
from persist.inference.priors import load_pack, score
from persist.inference.sampler import Draws, Effort, draw
from persist.inference.settings import Settings
from persist.inference.update import update
from persist.records.table import read
from persist.types import Table

pytestmark = pytest.mark.slow

EFFORT = Effort(4, 960, 640, 2)
WATCHED = ("net_growth_s", "decline_s", "tolerance_drug", "reversion", "wander_sd", "noise_sd")


@pytest.fixture(scope="module")
def pair():
    """P04 up to its last value but three, and up to its last but one."""
    series = next(
        one
        for one in read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa").series
        if one.patient_id == "P04"
    )
    cuts = [series.until(float(series.day[at])) for at in (-4, -2)]
    return [members(Table((one,), (), ""), Settings())[0] for one in cuts]


@pytest.fixture(scope="module")
def fits(pair) -> list[Draws]:
    return [draw(jax.random.key(k), one.target, EFFORT, one.case) for k, one in enumerate(pair)]


def flat(found: Draws) -> dict[str, np.ndarray]:
    return {name: value.ravel() for name, value in found.values.items()}


def same(found: Draws, other: Draws) -> None:
    """Means and spreads of scores, by walkers: those of one are averaged, those of different ones are independent."""
    entries = load_pack("clinical", "psa").entries
    for name in WATCHED:
        z, right = (
            np.asarray(score(entries[name], draws.values[name])).reshape(64, -1).mean(axis=1)
            for draws in (found, other)
        )
        laws.check_same(z, right, what=name, slack=0.05)


@pytest.mark.law
def test_the_posterior_is_that_of_a_fit_anew(pair, fits) -> None:
    began = time.perf_counter()
    found = update(jax.random.key(7), flat(fits[0]), *pair, EFFORT)
    assert found is not None
    assert found.seconds < time.perf_counter() - began
    assert np.isnan(found.log_evidence).all()
    same(found, fits[1])


def test_what_does_not_reach_is_not_carried(pair, fits, monkeypatch) -> None:
    """One draw that outweighs all others, and a patient whose clone is a matter of chance only now."""
    points, weight = module._weighed(jax.random.key(1), flat(fits[0]), *pair)
    alone = np.where(np.arange(len(weight)) == 3, 50.0, 0.0)
    monkeypatch.setattr(module, "_weighed", lambda *_: (points, alone))
    assert update(jax.random.key(7), flat(fits[0]), *pair, EFFORT) is None
    monkeypatch.undo()
    other = pair[1]._replace(target=pair[1].target._replace(chance=not pair[1].target.chance))
    assert update(jax.random.key(7), flat(fits[0]), pair[0], other, EFFORT) is None


def test_weights_are_those_of_the_new_values(pair, fits) -> None:
    """Of a patient who was not seen again, all draws weigh alike."""
    _, weight = module._weighed(jax.random.key(1), flat(fits[0]), pair[0], pair[0])
    np.testing.assert_allclose(weight, 0.0, atol=1e-6)
    _, weight = module._weighed(jax.random.key(1), flat(fits[0]), *pair)
    assert np.ptp(weight[np.isfinite(weight)]) > 0.5
