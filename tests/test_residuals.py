"""Residuals: shares of one-step forecasts against closed forms, their uniformity, and the flag's rate of false alarm."""

from __future__ import annotations

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from laws import check_mean, check_share, check_variance, must_fail
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, correlation
from persist.inference.likelihood import Visits, forecast_share, log_likelihood
from persist.validation import residuals
from persist.validation.residuals import ALARM, LAGS, judge, normal_scores, pooled

SD, WANDER, DAYS = 0.12, 0.3, 40.0
VISITS, SERIES, LASTS = 24, 1500, 0.95


@cache
def simulated(extra: float = 0.0, limit: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Scores and censoring ``(SERIES, VISITS)`` of series from the law of the likelihood at its true parameters, seen every
    14 days; ``extra``: sd of an error that lasts by `LASTS` from visit to visit, unknown to the likelihood.
    """
    rng = np.random.default_rng(3)
    gap, day = np.append(0.0, np.full(VISITS - 1, 14.0)), 14.0 * np.arange(VISITS)
    shock = rng.standard_normal((2, SERIES, VISITS))
    drift = WANDER * shock[0] @ np.linalg.cholesky(correlation(day[:, None] - day, DAYS)).T
    more = np.zeros((SERIES, VISITS))
    more[:, 0] = extra * shock[1, :, 0]
    for at in range(1, VISITS):
        more[:, at] = LASTS * more[:, at - 1] + extra * np.sqrt(1.0 - LASTS**2) * shock[1, :, at]
    part = rng.choice(len(NOISE_SCALE), (SERIES, VISITS), p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    value = drift + more + SD * NOISE_SCALE[part] * rng.standard_normal((SERIES, VISITS))
    mark = np.zeros(value.shape, int) if limit is None else np.where(value < limit, -1, 0)
    value = value if limit is None else np.maximum(value, limit)

    @jax.jit
    @jax.vmap
    def shares(value, mark):
        rows = Visits(gap, value, mark, np.zeros(VISITS), np.ones(VISITS, bool))
        return forecast_share(rows, jnp.zeros(VISITS), SD, WANDER, DAYS)

    return normal_scores(np.asarray(shares(value, mark)), mark, rng), mark


@pytest.fixture(scope="module")
def right() -> np.ndarray:
    return simulated()[0]


def flags(score: np.ndarray, mark: np.ndarray | None = None) -> list[bool]:
    rng = np.random.default_rng(5)
    marks = np.zeros(score.shape, int) if mark is None else mark
    return [judge(row, one == 0, rng).flagged for row, one in zip(score, marks, strict=True)]


@pytest.fixture(autouse=True)
def quick(monkeypatch) -> None:
    monkeypatch.setattr(residuals, "FLIPS", 999)


def test_the_share_is_the_integral_of_the_density() -> None:
    day, seen = np.array([0.0, 9.0, 30.0, 30.0]), np.array([0.4, -0.1, 0.2, -0.3])
    rows = Visits(np.diff(day, prepend=0.0), seen, np.array([0, -1, 0, 0]), np.full(4, 0.01), np.ones(4, bool))
    curve = jnp.array([0.1, 0.0, -0.1, 0.0])
    share = np.asarray(forecast_share(rows, curve, SD, WANDER, DAYS))

    @jax.jit
    @partial(jax.vmap, in_axes=(0, None))
    def density(value, at):
        changed = rows._replace(value=jnp.asarray(seen).at[at].set(value))
        return jnp.exp(log_likelihood(changed, curve, SD, WANDER, DAYS)[0][at])

    for at in (0, 2, 3):
        grid = np.linspace(-12.0, seen[at], 4001)
        assert share[at] == pytest.approx(np.trapezoid(density(grid, at), grid), abs=1e-4)
    below = np.exp(log_likelihood(rows, curve, SD, WANDER, DAYS)[0][1])
    assert share[1] == pytest.approx(below, rel=1e-9)


def test_padding_changes_nothing() -> None:
    rows = Visits(*(np.zeros(4) for _ in range(2)), np.zeros(4, int), np.zeros(4), np.array([1, 1, 0, 0], bool))
    one = rows._replace(value=np.array([0.3, 0.1, 9.0, 9.0]))
    two = rows._replace(value=np.array([0.3, 0.1, -9.0, 9.0]))
    first, second = (np.asarray(forecast_share(r, jnp.zeros(4), SD, WANDER, DAYS))[:2] for r in (one, two))
    np.testing.assert_array_equal(first, second)


@pytest.mark.law
@pytest.mark.parametrize("limit", [None, -0.2])
def test_scores_of_the_model_itself_are_standard_normal(limit: float | None) -> None:
    """Slack: the collapse of the filter. Twin: scores of a noise believed to be 5 % smaller."""
    score, _ = simulated(limit=limit)
    flat = score.ravel()
    check_mean(flat, 0.0, slack=0.01)
    check_variance(flat, 1.0, slack=0.015)
    must_fail(lambda: check_variance(1.05 * flat, 1.0, slack=0.015))


@pytest.mark.law
def test_censored_values_are_spread_evenly_over_their_mass() -> None:
    rng = np.random.default_rng(0)
    share = np.full(40_000, 0.3)
    for mark, mean in ((-1, 0.15), (1, 0.65), (0, 0.3)):
        level = stats.norm.cdf(normal_scores(share, np.full(40_000, mark), rng))
        check_mean(level, mean, slack=1e-12)
        must_fail(partial(check_mean, level + 0.05 * mean, mean, slack=1e-12))


@pytest.mark.law
def test_the_flag_is_raised_for_the_model_itself_as_often_as_stated(right) -> None:
    """Twin: an error that lasts, half as large again as the wander, is flagged in a fifth of series of 24 values."""
    check_share(flags(right), ALARM, slack=0.002, what="false alarms")
    lasting = flags(simulated(extra=0.5)[0][:600])
    must_fail(lambda: check_share(lasting, ALARM, slack=0.002, what="false alarms"))


@pytest.mark.law
def test_so_it_is_where_values_are_censored() -> None:
    score, mark = simulated(limit=-0.2)
    assert 0.1 < np.mean(mark != 0) < 0.5
    seen = flags(score, mark)
    check_share(seen, 0.0, slack=ALARM + 0.002, what="false alarms")


@pytest.mark.law
def test_the_standard_error_is_that_of_chance(right) -> None:
    found = [judge(row, np.ones(VISITS, bool), np.random.default_rng(0)) for row in right[:1000]]
    ratio = np.array([one.autocorrelation / one.standard_error for one in found])
    check_mean(ratio, 0.0, slack=0.02)
    check_variance(ratio, 1.0, slack=0.05)
    must_fail(lambda: check_variance(1.2 * ratio, 1.0, slack=0.05))


def test_a_planted_autocorrelation_is_measured() -> None:
    rng = np.random.default_rng(1)
    score = np.zeros(2000)
    for at in range(1, 2000):
        score[at] = 0.6 * score[at - 1] + 0.8 * rng.standard_normal()
    found = judge(score, np.ones(2000, bool), rng)
    np.testing.assert_allclose(found.by_lag, 0.6 ** np.arange(1, LAGS + 1), atol=0.08)
    assert found.flagged
    assert "misses something that lasts" in residuals.sentence(found)


def test_ljung_box_is_that_of_its_formula() -> None:
    rng = np.random.default_rng(2)
    score = rng.standard_normal(200)
    found = judge(score, np.ones(200, bool), rng)
    r = np.array([np.sum(score[lag:] * score[:-lag]) for lag in range(1, LAGS + 1)]) / np.sum(score**2)
    want = 200 * 202 * np.sum(r**2 / (200 - np.arange(1, LAGS + 1)))
    assert found.ljung_box == pytest.approx(want, rel=1e-9)
    assert found.ljung_box_p_value == pytest.approx(stats.chi2.sf(want, LAGS), abs=0.05)


@pytest.mark.parametrize("measured", [[True], [True, False] * 6, [True, True, True] + [False] * 4])
def test_too_few_pairs_say_nothing(measured: list[bool]) -> None:
    found = judge(np.ones(len(measured)), np.array(measured), np.random.default_rng(0))
    assert np.isnan(found.p_value)
    assert not found.flagged
    assert "too few measured values" in residuals.sentence(found)


def test_patients_are_pooled(right) -> None:
    rng = np.random.default_rng(0)
    rows = [residuals.as_json(judge(row, np.ones(VISITS, bool), rng), np.arange(VISITS)) for row in right[:30]]
    told = pooled(rows)
    want = np.sum(right[:30, 1:] * right[:30, :-1]) / (30 * (VISITS - 1)) / np.mean(right[:30] ** 2)
    assert told["autocorrelation"] == pytest.approx(want, rel=1e-9)
    assert told["patients"] == 30
    assert 0.0 < told["p_value"] < 1.0
    assert pooled([])["p_value"] is None
