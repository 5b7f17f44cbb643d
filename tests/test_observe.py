"""What is measured: the noise and the wander by their laws, and how burdens follow from cells."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist import keys
from persist.dynamics.observe import (
    NOISE_SCALE,
    NOISE_WEIGHT,
    OBSERVABLES,
    correlation,
    log_burden,
    noise,
    passage,
    root,
    wander,
)

N = 200_000
SD, DAYS = 0.3, 40.0
DAY = np.array([0.0, 7.0, 7.0, 40.0, 400.0])


def mixture(x: float) -> float:
    """Distribution function of the noise."""
    return float(np.sum(NOISE_WEIGHT * stats.norm.cdf(x / NOISE_SCALE)))


def paths(sd: float, days: float, start: float) -> np.ndarray:
    return drawn("wander", np.stack([np.full(N // 4, start), np.zeros(N // 4)]), sd, days)


def drawn(name: str, start: np.ndarray, sd: float, days: float) -> np.ndarray:
    """Paths ``(n, n_days)`` from values and slopes ``(2, n)``."""
    shocks = jax.random.normal(keys.key(5, name), (len(DAY), *start.shape))
    return np.asarray(wander(shocks, jnp.asarray(start), jnp.asarray(DAY), sd, days))[:, 0].T


def test_weights_are_those_of_a_distribution() -> None:
    assert NOISE_WEIGHT.sum() == pytest.approx(1.0, abs=1e-12)
    assert (NOISE_WEIGHT > 0).all()


def test_the_mixture_stands_for_students_t() -> None:
    for x in (0.5, 1.0, 1.5, 2.0, 3.0, 4.0):
        assert mixture(-x) == pytest.approx(stats.t.cdf(-x, 4), rel=0.08)
    for x in (5.0, 6.0, 7.0):
        assert mixture(-x) == pytest.approx(stats.t.cdf(-x, 4), rel=0.3)


@pytest.mark.law
@pytest.mark.parametrize("x", [-2.0, 1.0])
def test_noise_is_the_mixture(x: float) -> None:
    pick, shock = jax.random.uniform(keys.key(5, "pick"), (N,)), jax.random.normal(keys.key(5, "shock"), (N,))
    errors = np.asarray(noise(pick, shock))
    laws.check_share(errors <= x, mixture(x), what="noise")
    laws.must_fail(lambda: laws.check_share(1.05 * errors <= x, mixture(x)))


@pytest.mark.law
def test_wander_keeps_its_stationary_law() -> None:
    begin = SD * np.random.default_rng(2).standard_normal((2, N // 4))
    path = drawn("stationary", begin, SD, DAYS)
    for column in path.T:
        laws.check_mean(column, 0.0, what="wander")
        laws.check_variance(column, SD**2, what="variance of wander")
    laws.must_fail(lambda: laws.check_variance(1.05 * path[:, 3], SD**2))
    product = path[:, 1] * path[:, 3] / SD**2
    laws.check_mean(product, float(correlation(33.0, DAYS)), what="correlation")
    laws.must_fail(lambda: laws.check_mean(product, np.exp(-33.0 / DAYS)))


@pytest.mark.law
def test_wander_forgets_where_it_began() -> None:
    start = 3.0 * SD
    for at, column in zip(DAY, paths(SD, DAYS, start).T, strict=True):
        rho, a = correlation(at, DAYS), np.sqrt(3.0) * at / DAYS  # and what the slope, which is known too, leaves to it
        if at == 0.0:
            np.testing.assert_array_equal(column, start)
        else:
            laws.check_mean(column, rho * start, what=f"mean on day {at}")
            laws.check_variance(column, SD**2 * (1 - rho**2 - (a * np.exp(-a)) ** 2), what=f"variance on day {at}")
    slow = paths(SD, 1.05 * DAYS, start)[:, 3]
    laws.must_fail(lambda: laws.check_mean(slow, correlation(DAYS, DAYS) * start))


def test_two_visits_on_one_day_have_one_wander() -> None:
    path = paths(SD, DAYS, 0.1)
    np.testing.assert_array_equal(path[:, 1], path[:, 2])


def test_burden_follows_the_power_of_the_observable() -> None:
    unit = np.log(1e8)
    assert log_burden(5e8, unit, OBSERVABLES["psa"].power) == pytest.approx(np.log(5.0))
    eightfold = [log_burden(n, unit, OBSERVABLES["sld"].power) for n in (1e9, 8e9)]
    assert eightfold[1] - eightfold[0] == pytest.approx(np.log(2.0))


def test_no_cells_have_a_finite_log_burden_and_gradient() -> None:
    assert np.isfinite(log_burden(0.0, 1.0, 1.0))
    assert np.isfinite(jax.grad(lambda n: log_burden(n, 1.0, 1.0))(0.0))


@pytest.mark.parametrize("gap", [0.0, 1e-30, 1e-14, 1e-9, 1e-6, 1e-3, 0.05, 1.0, 400.0])
def test_the_passage_of_any_gap_has_a_covariance_with_a_root(gap: float) -> None:
    """Against (1 + x + x^2/2) exp(-x) to 200 digits, where its terms cancel; the root squared is the covariance."""
    from decimal import Decimal, getcontext

    getcontext().prec = 200
    days = 20.0
    x = 2 * Decimal(3).sqrt() * Decimal(gap) / Decimal(days)
    kept = (-x).exp()
    exact = [
        [1 - kept * (1 + x + x * x / 2), x * x / 2 * kept],
        [x * x / 2 * kept, 1 - kept * (1 - x + x * x / 2)],
    ]
    fresh = np.asarray(passage(gap, days).fresh)
    np.testing.assert_allclose(fresh, np.array(exact, float), rtol=2e-7, atol=0.0)
    lower = np.asarray(root(jnp.asarray(fresh)))
    np.testing.assert_allclose(lower @ lower.T, fresh, rtol=1e-6, atol=0.0)
    assert np.all(np.abs(lower) <= 1.0)
