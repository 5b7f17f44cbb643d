"""Terms of values that are left out: against closed forms, against series without them, and as densities."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import logsumexp

import fakes
import laws
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, correlation
from persist.inference import left_out, likelihood
from persist.inference.cohort import case, pad
from persist.inference.curve import follow
from persist.inference.likelihood import Visits, log_likelihood
from persist.types import Table

SD, WANDER, DAYS = 0.12, 0.3, 40.0


def visits(day, value, seen=None) -> Visits:
    n = len(day)
    seen = np.ones(n, bool) if seen is None else seen
    return Visits(np.diff(day, prepend=day[:1]), value, np.zeros(n, np.int8), np.zeros(n), seen)


def terms(rows: Visits, level, noise=(SD, WANDER, DAYS)) -> np.ndarray:
    """log p(y_i | y_-i) of one draw ``(n_visits,)``."""
    sizes = tuple(jnp.full(1, value) for value in noise)
    whole = filtered(rows, jnp.asarray(level), *noise)[0].sum()
    return np.asarray(whole - left_out._without(rows, jnp.asarray(level)[None], sizes)[0])


filtered = jax.jit(log_likelihood)


@pytest.fixture
def one_normal(monkeypatch):
    """Noise of one component of scale 1, in programs that are compiled for it alone."""
    monkeypatch.setattr(likelihood, "NOISE_WEIGHT", np.ones(1))
    monkeypatch.setattr(likelihood, "NOISE_SCALE", np.ones(1))
    jax.clear_caches()
    yield
    jax.clear_caches()


def conditional(day, value, level) -> np.ndarray:
    """log p(y_i | y_-i) of a multivariate normal: mean y_i - [K^-1 r]_i / [K^-1]_ii, variance 1 / [K^-1]_ii."""
    cover = WANDER**2 * correlation(day[:, None] - day, DAYS) + SD**2 * np.eye(len(day))
    inverse = np.linalg.inv(cover)
    variance = 1.0 / np.diag(inverse)
    return np.asarray(stats.norm.logpdf(inverse @ (value - level) * variance, 0.0, np.sqrt(variance)))


def test_one_normal_is_the_conditional_of_the_multivariate_normal(one_normal) -> None:
    rng = np.random.default_rng(0)
    day = np.sort(rng.uniform(0, 300, 12))
    day[5] = day[4]  # two values on one day share the wander
    level, value = rng.normal(size=12), rng.normal(size=12)
    np.testing.assert_allclose(terms(visits(day, value), level), conditional(day, value, level), atol=1e-9)


def test_padding_changes_nothing_and_counts_nothing(one_normal) -> None:
    day, value, level = np.array([0.0, 20.0, 50.0]), np.array([0.3, -0.2, 0.5]), np.zeros(3)
    padded = visits(np.append(day, [50.0, 50.0]), np.append(value, [9.0, 9.0]), np.arange(5) < 3)
    want = np.append(conditional(day, value, level), [0.0, 0.0])
    np.testing.assert_allclose(terms(padded, np.zeros(5)), want, atol=1e-9)


def test_time_passes_while_a_value_is_missing() -> None:
    """Without its gap, the value after the missing one would seem to follow sooner: the planted error is seen."""
    rows = visits(np.array([0.0, 30.0, 60.0, 90.0]), np.array([0.4, 0.1, -0.3, 0.2]))
    gone = left_out.without(rows, 1)
    np.testing.assert_allclose(gone.gap, [0.0, 30.0, 60.0, 30.0])
    assert np.asarray(gone.seen).tolist() == [True, False, True, True]
    lost = rows._replace(seen=np.asarray(gone.seen))
    level = jnp.zeros(4)
    right, wrong = (float(log_likelihood(some, level, SD, WANDER, DAYS)[0].sum()) for some in (gone, lost))
    assert abs(right - wrong) > 0.05


def test_robust_noise_is_as_exact_as_the_collapse_allows() -> None:
    """Against all 6^4 components, each a multivariate normal; values drawn from the model itself, three weeks apart."""
    day, rng = np.arange(4) * 21.0, np.random.default_rng(3)
    kernel = WANDER**2 * correlation(day[:, None] - day, DAYS)
    off = []
    for _ in range(20):
        scale = SD * NOISE_SCALE[rng.choice(6, 4, p=NOISE_WEIGHT / NOISE_WEIGHT.sum())]
        value = rng.multivariate_normal(np.zeros(4), kernel + np.diag(scale**2))
        exact = [
            mixture(value, kernel) - mixture(np.delete(value, i), np.delete(np.delete(kernel, i, 0), i, 1))
            for i in range(4)
        ]
        off.append(terms(visits(day, value), np.zeros(4)) - exact)
    assert np.abs(off).mean() < 0.03
    assert np.abs(off).max() < 0.3  # seen: 0.014 on average


def mixture(value: np.ndarray, kernel: np.ndarray) -> float:
    """log p(values) under a normal wander and robust noise, by every combination of its components."""
    picks = np.array(list(itertools.product(range(6), repeat=len(value))))
    cover = kernel + np.einsum("ni,ij->nij", (SD * NOISE_SCALE[picks]) ** 2, np.eye(len(value)))
    _, size = np.linalg.slogdet(2.0 * np.pi * cover)
    far = np.einsum("i,nij,j->n", value, np.linalg.inv(cover), value)
    return float(logsumexp(np.log(NOISE_WEIGHT[picks]).sum(axis=1) - 0.5 * (size + far)))


@pytest.fixture(scope="module")
def short():
    return fakes.posterior(Table((fakes.FIVE_VALUES,), (), "x"), {"A": fakes.truth("P01")})


def test_a_fit_is_read_as_its_own_filter_reads_it(short) -> None:
    found = left_out.of_patient(short, "A", 1000)
    assert found.ahead.shape == found.left_out.shape == (100, 5)
    kept = short["log_likelihood"]["burden"].values.reshape(100, 5)
    np.testing.assert_allclose(found.ahead, kept, rtol=1e-5, atol=1e-5)
    np.testing.assert_allclose(found.ahead[:, -1], found.left_out[:, -1])  # nothing follows the last value
    assert left_out.of_patient(short, "A", 30).ahead.shape == (30, 5)


@pytest.mark.parametrize("index", [1, 2, 3])
def test_leaving_out_is_the_series_without_the_value(short, index: int) -> None:
    """One value is censored; the steps of the curve differ a little where a visit is taken away."""
    whole, power = fakes.FIVE_VALUES, 1.0
    parts = {part: np.delete(getattr(whole, part), index) for part in ("day", "burden", "censoring")}
    one = case(pad([whole._replace(**parts)], pack="clinical"), 0, counted=False)
    values = {name: jnp.asarray(draws[:3]) for name, draws in left_out.drawn(short, whole, 1000)[0].items()}
    rest = [follow({name: draw[i] for name, draw in values.items()}, one, power).pointwise.sum() for i in range(3)]
    found = left_out.of_patient(short, "A", 1000)
    np.testing.assert_allclose(found.ahead[:3].sum(axis=1) - found.left_out[:3, index], rest, atol=0.05)


def drawn_series(count: int) -> tuple[np.ndarray, np.ndarray]:
    """Days ``(6,)`` and values ``(count, 6)`` from the model with one component of noise."""
    day = np.array([0.0, 10.0, 14.0, 40.0, 80.0, 85.0])
    cover = WANDER**2 * correlation(day[:, None] - day, DAYS) + SD**2 * np.eye(6)
    return day, np.random.default_rng(5).multivariate_normal(np.zeros(6), cover, count)


@pytest.mark.law
def test_terms_are_densities_of_the_value_that_is_left_out(one_normal) -> None:
    """Under the truth, a rival's density over the truth's has the mean 1, whatever the other values; with time that does not
    pass while a value is missing, what is left is no density of it.
    """
    day, values = drawn_series(20_000)
    noise, rival = (SD, WANDER, DAYS), (0.9 * SD, WANDER, DAYS)
    seen = np.arange(6) != 2

    def of(value, sizes, kept):
        rows = visits(day, value)
        whole = log_likelihood(rows, jnp.zeros(6), *sizes)[0].sum()
        rest = left_out.without(rows, 2) if kept else rows._replace(seen=seen)
        return whole - log_likelihood(rest, jnp.zeros(6), *sizes)[0].sum()

    def ratio(kept: bool) -> np.ndarray:
        both = jax.jit(jax.vmap(lambda value: of(value, rival, kept) - of(value, noise, True)))
        return np.exp(np.asarray(both(jnp.asarray(values))))

    laws.check_mean(ratio(True), 1.0)
    laws.must_fail(lambda: laws.check_mean(ratio(False), 1.0))
