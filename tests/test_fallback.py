"""Few values: what one of them tells, that a fit then foresees what the population does, and that it is as right as it says.

With one value the likelihood depends on the burden then, the noise and the size of the wander alone. The posterior is then the
population, weighed by that; it can be drawn from without a sampler (`scripts/fallback.py`), and a fit must be no narrower.
"""

from __future__ import annotations

import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
import laws
from persist.inference.cohort import case, pad
from persist.inference.curve import follow
from persist.inference.population import Population, moments
from persist.inference.priors import load_pack
from persist.inference.priors import score as score_of
from persist.types import NO_COMPOSITION
from persist.validation.scoring import Forecast, score
from persist.validation.virtual import generator

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import fallback

TOLD_BY_ONE = {"burden_0", "noise_sd", "wander_sd"}
EFFORT = (2, 320, 320)


slope_at = jax.jit(jax.grad(lambda values, one: follow(values, one, 1.0).log_likelihood))


def slopes(count: int) -> dict[str, float]:
    """What the log-likelihood of the first ``count`` values of a patient has to do with each parameter: its slope, over the
    largest.
    """
    series = fakes.FIVE_VALUES
    first = series._replace(
        day=series.day[:count],
        burden=series.burden[:count],
        censoring=series.censoring[:count],
        composition=NO_COMPOSITION,
    )
    one = case(pad([first], pack="clinical"), 0, counted=False)
    values = {name: jnp.asarray(value) for name, value in fakes.truth("P01").items()} | {"burden_0": jnp.asarray(14.0)}
    found = slope_at(values, one)
    scaled = {name: abs(float(slope * values[name])) for name, slope in found.items()}
    return {name: value / max(scaled.values()) for name, value in scaled.items()}


def test_one_value_tells_of_the_burden_and_its_errors_alone() -> None:
    """So all else keeps the law of the population; of two values that is no longer so."""
    one, two = slopes(1), slopes(2)
    assert {name for name, slope in one.items() if slope > 1e-9} == TOLD_BY_ONE
    assert {"net_growth_s", "decline_s", "wander_days"} <= {name for name, slope in two.items() if slope > 1e-4}


# ---------------------------------------------------------------- slow


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_weighed_draws_are_the_population_where_the_value_tells_nothing() -> None:
    """The scores that one value says nothing of keep the mean and the spread of the law; the burden comes near the value."""
    series = fallback.person(0, 1).series
    cut, member, _ = fallback.known(series, 1, False, 0, EFFORT)
    assert len(cut.series.day) == 1
    assert not member.target.chance
    rng = np.random.default_rng(1)
    values = fallback.weighed(rng, member.case, member.case.population, 4000)
    entries = load_pack("clinical", "psa").entries
    decline = np.asarray(score_of(entries["decline_s"], values["decline_s"]))
    mean, covariance = moments(fallback.LAW)
    at = fallback.SCORES.index("decline_s")
    laws.check_mean(decline, float(mean[0, at]), slack=0.03)
    laws.check_variance(decline, float(covariance[0, at, at]), slack=0.03)
    laws.must_fail(lambda: laws.check_mean(decline, 0.0))
    asked = fallback.study(fallback.Settings(), cohort=1)
    off = dict(zip(fallback.names_in(asked), fallback.frame_of(asked).shift, strict=True))["resistant_0"]
    seed, free = np.asarray(score_of(entries["resistant_0"], values["resistant_0"])), float(fallback.LAW.clone_free[0])
    laws.check_mean(seed, free * off, slack=0.06)  # half of them have no clone
    laws.check_variance(seed, 1.0 + free * (1.0 - free) * off**2, slack=0.12)
    laws.must_fail(lambda: laws.check_mean(seed, 0.0, slack=0.06))
    off = np.log(values["burden_0"] / cut.series.burden[0])
    assert off.std() < 0.7 * np.log(9.0) / 3.29  # of what the prior alone leaves


def of_the_pack(size: int) -> Population:
    """The pack's prior as a population of so many scores."""
    return Population(np.zeros((1, size)), np.eye(size)[None], np.zeros(1))


def check_as_wide(found: np.ndarray, population: np.ndarray) -> None:
    """Draws ``(n, n_days)`` lie under the quantiles of the population's as often as these say: no narrower, and no wider.
    ``slack`` is the error of those quantiles and of draws that are not quite independent.
    """
    for share in (0.05, 0.5, 0.95):
        edge = np.quantile(population, share, axis=0)
        for day in range(found.shape[1]):
            laws.check_share(found[:, day] < edge[day], share, slack=0.03)


@pytest.mark.slow
@pytest.mark.law
def test_with_one_value_a_fit_foresees_what_the_population_does() -> None:
    """Under the population, not under the pack's prior."""
    series = fallback.person(0, 2).series
    cut, member, settings = fallback.known(series, 1, False, 0, EFFORT)
    days = [int(np.argmin(np.abs(cut.after - day))) for day in fallback.DAYS]

    def by_weight(law: Population) -> np.ndarray:
        values = fallback.weighed(np.random.default_rng(3), member.case, law, 8000)
        return fallback.foreseen(0, "weighed", cut, values, member.case).measured[:, days]

    fit, rhat = fallback.fitted(cut, member, settings)
    assert rhat < 1.05
    mine, right, wrong = (
        fit.measured[:, days],
        by_weight(member.case.population),
        by_weight(of_the_pack(len(member.case.population.mean[0]))),
    )
    check_as_wide(mine, right)
    laws.must_fail(lambda: check_as_wide(wrong, right))
    outside = (mine < np.quantile(right, 0.05, axis=0)) | (mine > np.quantile(right, 0.95, axis=0))
    laws.check_at_least(outside[:, 0].astype(float), 0.1 - 0.03, what="share outside the population's 90 %")


@pytest.mark.slow
@pytest.mark.law
@pytest.mark.parametrize("values", [1, 2])
def test_intervals_of_patients_with_few_values_hold_what_they_say(values: int) -> None:
    """One visit of each patient, about half a year ahead; intervals half as wide would be seen."""
    narrow, held = [], []
    for number in range(60):
        series = fallback.person(0, number).series
        cut, member, _ = fallback.known(series, values, False, 0, EFFORT)
        soon = cut.after < 190.0
        cut = cut._replace(**{name: getattr(cut, name)[soon] for name in ("days", "value", "floor", "period")})
        draws = fallback.weighed(generator(0, number, "weighed"), member.case, member.case.population, 4000)
        found = fallback.foreseen(0, series.patient_id, cut, draws, member.case)
        half = np.median(found.measured, axis=0) + 0.5 * (found.measured - np.median(found.measured, axis=0))
        for kept, measured in ((held, found.measured), (narrow, half)):
            told = score(Forecast(measured, found.level, found.sd), cut, generator(0, number, "score"))
            kept.append(bool(told.held[-1, 2]))
    laws.check_share(held, 0.9)
    laws.must_fail(lambda: laws.check_share(narrow, 0.9, alarm=1e-3))
