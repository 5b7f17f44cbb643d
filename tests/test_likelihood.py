"""The filter against densities in closed form: normal series exactly, censored ones to a stated error."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, correlation
from persist.inference import likelihood
from persist.inference.likelihood import Visits, log_likelihood

SD, WANDER, DAYS = 0.12, 0.3, 40.0


def visits(day, value, censoring=None, counting=0.0, seen=None) -> Visits:
    day, value = np.asarray(day, float), np.asarray(value, float)
    n = len(day)
    return Visits(
        np.diff(day, prepend=day[:1]),
        value,
        np.zeros(n, np.int8) if censoring is None else np.asarray(censoring, np.int8),
        np.broadcast_to(np.asarray(counting, float), (n,)),
        np.ones(n, bool) if seen is None else np.asarray(seen),
    )


def total(rows: Visits, curve) -> float:
    return float(jnp.sum(log_likelihood(rows, jnp.asarray(curve, float), SD, WANDER, DAYS)[0]))


@pytest.fixture
def one_normal(monkeypatch):
    """Noise of one component of scale 1."""
    monkeypatch.setattr(likelihood, "NOISE_WEIGHT", np.ones(1))
    monkeypatch.setattr(likelihood, "NOISE_SCALE", np.ones(1))


@pytest.mark.parametrize("counting", [0.0, 0.05])
def test_one_normal_is_the_multivariate_normal(one_normal, counting: float) -> None:
    rng = np.random.default_rng(0)
    day = np.sort(rng.uniform(0, 300, 12))
    day[5] = day[4]  # two values on one day share the wander
    curve, value = rng.normal(size=12), rng.normal(size=12)
    cover = WANDER**2 * correlation(day[:, None] - day, DAYS) + (SD**2 + counting) * np.eye(12)
    want = stats.multivariate_normal.logpdf(value, curve, cover)
    assert total(visits(day, value, counting=counting), curve) == pytest.approx(want, abs=1e-8)


def test_wander_after_the_last_value_is_the_conditional_normal(one_normal) -> None:
    day, value = np.array([0.0, 10.0, 50.0]), np.array([0.3, 0.1, -0.4])
    kernel = WANDER**2 * correlation(day[:, None] - day, DAYS)
    gain = kernel[-1] @ np.linalg.inv(kernel + SD**2 * np.eye(3))
    _, last = log_likelihood(visits(day, value), jnp.zeros(3), SD, WANDER, DAYS)
    assert last.mean == pytest.approx(gain @ value, abs=1e-10)
    assert last.variance == pytest.approx(WANDER**2 - gain @ kernel[-1], abs=1e-10)


@pytest.mark.parametrize("residual", [-1.5, -0.2, 0.0, 0.4, 2.5])
def test_a_single_value_is_exact(residual: float) -> None:
    """Measured: the mixture's density. Censored: its tails, which add up to one."""
    spread = np.sqrt(WANDER**2 + (SD * NOISE_SCALE) ** 2)
    measured, left, right = (np.exp(total(visits([0], [residual], [mark]), [0.0])) for mark in (0, -1, 1))
    assert measured == pytest.approx(NOISE_WEIGHT @ stats.norm.pdf(residual, 0, spread), rel=1e-10)
    assert left == pytest.approx(NOISE_WEIGHT @ stats.norm.cdf(residual, 0, spread), rel=1e-10)
    assert right == pytest.approx(NOISE_WEIGHT @ stats.norm.sf(residual, 0, spread), rel=1e-10)
    assert left + right == pytest.approx(1.0, abs=1e-12)


def exact_pair(gap: float, pairs: np.ndarray, marks: tuple[int, int]) -> np.ndarray:
    """Log density of pairs ``(n, 2)``: each pair of components is a bivariate normal, one value integrated over a tail."""
    rho = WANDER**2 * correlation(gap, DAYS)
    measured = 0 if marks[0] == 0 else 1  # this one by its density, then the other given it
    mark, (first, second) = marks[1 - measured], (pairs.T if measured == 0 else pairs.T[::-1])
    w1, w2 = (w.ravel() for w in np.meshgrid(NOISE_WEIGHT, NOISE_WEIGHT))
    v1, v2 = (WANDER**2 + s.ravel() ** 2 for s in np.meshgrid(SD * NOISE_SCALE, SD * NOISE_SCALE))
    a = (second[:, None] - rho / v1 * first[:, None]) / np.sqrt(v2 - rho**2 / v1)
    if mark == 0:
        part = stats.norm.logpdf(a) - 0.5 * np.log(v2 - rho**2 / v1)
    else:
        part = stats.norm.logcdf(-mark * a)
    joint = np.log(w1 * w2) + stats.norm.logpdf(first[:, None], 0, np.sqrt(v1)) + part
    return np.asarray(logsumexp(joint, axis=1))


@pytest.mark.parametrize("marks", [(0, 0), (0, -1), (0, 1), (-1, 0), (1, 0)])
@pytest.mark.parametrize(("gap", "mean", "p99"), [(28.0, 0.02, 0.15), (5.0, 0.1, 0.6)])
def test_two_values_are_as_exact_as_the_collapse_allows(
    marks: tuple[int, int], gap: float, mean: float, p99: float
) -> None:
    """Pairs drawn from the model itself: the error (nats) is of the collapse to one normal after the first value.

    Seen: mean size 0.005-0.011 four weeks apart, 0.03-0.07 five days apart (most if the first is censored).
    """
    rng = np.random.default_rng(1)
    rho, size = correlation(gap, DAYS), 1000
    path = WANDER * rng.standard_normal((2, size))
    path[1] = rho * path[0] + np.sqrt(1 - rho**2) * path[1]
    part = rng.choice(len(NOISE_SCALE), (2, size), p=NOISE_WEIGHT)
    pairs = (path + SD * NOISE_SCALE[part] * rng.standard_normal((2, size))).T
    rows = visits([0, gap], [0, 0], marks)

    def pair(value):
        return jnp.sum(log_likelihood(rows._replace(value=value), jnp.zeros(2), SD, WANDER, DAYS)[0])

    off = np.abs(np.asarray(jax.jit(jax.vmap(pair))(pairs)) - exact_pair(gap, pairs, marks))
    assert off.mean() < mean
    assert np.quantile(off, 0.99) < p99


def test_padding_changes_nothing() -> None:
    day, value, marks = [0.0, 9.0, 30.0], [0.4, -0.1, 0.2], [0, -1, 0]
    plain, last = log_likelihood(visits(day, value, marks), jnp.zeros(3), SD, WANDER, DAYS)
    rows = visits([*day, 30.0, 30.0], [*value, 0.0, 7.0], [*marks, 1, 0], seen=[True, True, True, False, False])
    padded, after = log_likelihood(rows, jnp.zeros(5), SD, WANDER, DAYS)
    np.testing.assert_array_equal(padded, [*plain, 0.0, 0.0])
    assert after == last


@pytest.mark.parametrize("mark", [-1, 0, 1])
@pytest.mark.parametrize("residual", [-1e3, 1e3])
def test_extreme_residuals_have_finite_gradients(mark: int, residual: float) -> None:
    scale = np.hypot(SD, WANDER)
    rows = visits([0, 10, 20], [0.0, residual * scale, 0.1], [0, mark, 0])

    def density(curve, sd, wander_sd, wander_days):
        return jnp.sum(log_likelihood(rows, curve, sd, wander_sd, wander_days)[0])

    value, slopes = jax.value_and_grad(density, (0, 1, 2, 3))(jnp.zeros(3), SD, WANDER, DAYS)
    assert np.isfinite(value)
    assert all(np.isfinite(slope).all() for slope in slopes)


@pytest.mark.parametrize("mark", [-1, 0, 1])
def test_gradients_are_those_of_finite_differences(mark: int) -> None:
    rows = visits([0, 10, 40], [0.2, -0.3, 0.5], [0, mark, 0])

    @jax.jit
    def density(z):
        return jnp.sum(log_likelihood(rows, z[0] + jnp.zeros(3), *jnp.exp(z[1:]))[0])

    at = jnp.log(jnp.array([1.1, SD, WANDER, DAYS]))
    step = 1e-5
    want = [(density(at + step * e) - density(at - step * e)) / (2 * step) for e in jnp.eye(4)]
    np.testing.assert_allclose(jax.grad(density)(at), want, rtol=1e-6, atol=1e-7)


def test_a_gross_error_costs_little_more_than_its_rarity() -> None:
    """One value off by a factor of a thousand does not outvote the rest: it costs about 10-20 nats, not hundreds."""
    day, good = np.arange(0, 100, 10.0), np.zeros(10)
    bad = good.copy()
    bad[5] = np.log(1000.0)
    assert 5.0 < total(visits(day, good), good) - total(visits(day, bad), good) < 25.0
