"""Random counts: right in mean, variance and tail, on both sides of every switch."""

from __future__ import annotations

from functools import partial
from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from laws import check_distribution, check_mean, check_variance, must_fail
from persist.dynamics import sampling
from persist.dynamics.branching import descendants
from persist.dynamics.splitting import kendall as lineage

N = 100_000
KEY = jax.random.key(20)

LAWS = {
    "poisson 0.3": (sampling.poisson_quantile, (0.3,), stats.poisson(0.3)),
    "poisson 7.9": (sampling.poisson_quantile, (7.9,), stats.poisson(7.9)),
    "poisson 8.1": (sampling.poisson_quantile, (8.1,), stats.poisson(8.1)),
    "poisson 60": (sampling.poisson_quantile, (60.0,), stats.poisson(60)),
    "binomial 3 0.3": (sampling.binomial_quantile, (3.0, 0.3), stats.binom(3, 0.3)),
    "binomial 15 0.5": (sampling.binomial_quantile, (15.0, 0.5), stats.binom(15, 0.5)),
    "binomial 31 0.5": (sampling.binomial_quantile, (31.0, 0.5), stats.binom(31, 0.5)),
    "binomial 33 0.5": (sampling.binomial_quantile, (33.0, 0.5), stats.binom(33, 0.5)),
    "binomial 17 0.95": (sampling.binomial_quantile, (17.0, 0.95), stats.binom(17, 0.95)),
    "binomial 900 0.01": (sampling.binomial_quantile, (900.0, 0.01), stats.binom(900, 0.01)),
    "negative 1 0.5": (sampling.negative_binomial_quantile, (1.0, 0.5), stats.nbinom(1, 0.5)),
    "negative 34 0.5": (sampling.negative_binomial_quantile, (34.0, 0.5), stats.nbinom(34, 0.5)),
    "negative 38 0.5": (sampling.negative_binomial_quantile, (38.0, 0.5), stats.nbinom(38, 0.5)),
    "negative 120 0.9": (sampling.negative_binomial_quantile, (120.0, 0.9), stats.nbinom(120, 0.9)),
    "negative 3 0.05": (sampling.negative_binomial_quantile, (3.0, 0.05), stats.nbinom(3, 0.05)),
}


def tail(quantile, law) -> tuple[np.ndarray, np.ndarray]:
    """P(X > k) of a quantile function, found by bisection over the uniform number, and k."""
    k = np.arange(max(0, int(law.mean() - 7 * law.std())), int(law.mean() + 8 * law.std()) + 3)
    low, high = np.zeros(len(k)), np.ones(len(k))
    compiled = jax.jit(quantile)
    for _ in range(52):
        middle = (low + high) / 2
        above = np.asarray(compiled(jnp.clip(middle, 1e-17, 1 - 1e-16))) > k
        low, high = np.where(above, middle, low), np.where(above, high, middle)
    return (low + high) / 2, k


@pytest.mark.parametrize("name", LAWS)
def test_the_whole_distribution_function(name: str) -> None:
    function, values, law = LAWS[name]
    seen, k = tail(lambda u: function(u, *[jnp.full(u.shape, value) for value in values]), law)
    assert np.abs(seen - law.sf(k)).max() < 1e-4
    far = (law.sf(k) > 1e-6) & (law.sf(k) < 1e-3)
    assert np.all(np.abs(np.log(seen[far] / law.sf(k)[far])) < 0.25)
    mass = -np.diff(np.concatenate([[1.0], seen]))
    mean = (mass * k).sum() + seen[-1] * k[-1]
    assert abs(mean - law.mean()) < 2e-4 * law.std()
    assert abs(((k - mean) ** 2 * mass).sum() / law.var() - 1) < (2e-2 if law.std() > law.mean() else 5e-3)


@pytest.mark.parametrize("mean", [1e-12, 1e-8])
def test_rare_counts_are_as_rare_as_they_should_be(mean: float) -> None:
    just_in = jnp.array([mean * (1 - 1e-3), mean * (1 + 1e-3)])
    np.testing.assert_array_equal(sampling.poisson_quantile(just_in, jnp.full(2, mean)), [1.0, 0.0])


@pytest.mark.law
@pytest.mark.parametrize("size", [1e4, 1e6, 1e9, 1e13])
def test_mean_and_variance_of_large_counts(size: float) -> None:
    def check(spread: float) -> None:
        full = jnp.full(N, size)
        for name, drawn, mean, variance in (
            ("poisson", sampling.poisson(KEY, full), size, size),
            ("binomial", sampling.binomial(KEY, full, 0.3), 0.3 * size, 0.21 * size),
            ("negative", sampling.negative_binomial(KEY, full, 0.8), 0.25 * size, 0.3125 * size),
        ):
            check_mean(drawn - mean, 0.0, what=f"{name} mean at {size:g}")
            check_variance((drawn - mean) * spread, variance, what=f"{name} variance at {size:g}")

    check(1.0)
    must_fail(partial(check, 1.025))


@pytest.mark.law
def test_samples_follow_their_laws() -> None:
    k = np.arange(40)
    check_distribution(sampling.poisson(KEY, jnp.full(N, 3.0)), stats.poisson(3).pmf(k))
    check_distribution(sampling.binomial(KEY, jnp.full(N, 12.0), 0.7), stats.binom(12, 0.7).pmf(k))
    check_distribution(sampling.negative_binomial(KEY, jnp.full(N, 4.0), 0.6), stats.nbinom(4, 0.6).pmf(k))
    must_fail(lambda: check_distribution(sampling.poisson(KEY, jnp.full(N, 3.15)), stats.poisson(3).pmf(k)))


def kendall(n: int, birth: float, death: float, days: float, size: int) -> np.ndarray:
    """Law of the linear birth-death process from n cells, probabilities of 0 .. size - 1, in closed form."""
    grown = np.expm1((birth - death) * days) / (birth - death) if birth != death else days
    alpha, beta = death * grown / (1 + birth * grown), birth * grown / (1 + birth * grown)
    survivors = stats.binom(n, 1 - alpha)
    k = np.arange(size)
    law = survivors.pmf(0) * (k == 0)
    for m in range(1, n + 1):
        law = law + survivors.pmf(m) * stats.nbinom(m, 1 - beta).pmf(k - m)
    return law


@pytest.mark.law
@pytest.mark.parametrize(
    ("n", "birth", "death", "days"),
    [(1, 0.3, 0.2, 3.0), (5, 0.3, 0.3, 1.0), (20, 0.2, 0.9, 0.5), (30, 0.5, 0.7, 0.5), (60, 0.3, 0.6, 0.5)],
)
def test_descendants_follow_kendall(n: int, birth: float, death: float, days: float) -> None:
    def check(error: float) -> None:
        law = lineage(jnp.full(N, birth), jnp.full(N, death * error), days)
        u, v = sampling.uniform(KEY, (2, N))
        check_distribution(descendants(u, v, jnp.full(N, float(n)), law), kendall(n, birth, death, days, 150))

    check(1.0)
    must_fail(partial(check, 1.05))


def test_birth_death_at_its_edges() -> None:
    for birth, death in ((0.0, 0.0), (0.3, 0.3), (0.0, 0.5), (0.5, 0.0), (1e4, 0.0), (0.0, 1e4), (1e-12, 2e-12)):
        law = lineage(jnp.array(birth), jnp.array(death), 1.0)
        assert 0 <= law.lost <= 1
        assert 0 <= law.born <= 1
        assert np.all(np.isfinite(law.cumulants))


def test_nothing_from_nothing() -> None:
    zero = jnp.zeros(100)
    assert not sampling.poisson(KEY, zero).any()
    assert not sampling.binomial(KEY, zero, 0.5).any()
    assert not sampling.negative_binomial(KEY, zero, 0.5).any()
    full = jnp.full(100, 7.0)
    np.testing.assert_array_equal(sampling.binomial(KEY, full, 1.0), full)
    np.testing.assert_array_equal(sampling.binomial(KEY, full, 0.0), zero)
    np.testing.assert_array_equal(sampling.negative_binomial(KEY, full, 1.0), zero)


@pytest.mark.parametrize("edge", [2.0**-54, 1.0 - 2.0**-53])
def test_extreme_uniform_numbers(edge: float) -> None:
    u = jnp.full(4, edge)
    size = jnp.array([3.0, 1e2, 1e6, 1e13])
    for drawn in (
        sampling.poisson_quantile(u, size),
        sampling.binomial_quantile(u, size, 0.4),
        sampling.negative_binomial_quantile(u, size, 0.6),
    ):
        assert np.all(np.isfinite(drawn))
        assert np.all(drawn >= 0)


def test_equal_numbers_couple_similar_populations_across_the_switch() -> None:
    u, v = sampling.uniform(KEY, (2, 4000))
    law = lineage(jnp.full(4000, 0.1), jnp.full(4000, 0.5), 1.0)
    drawn = [np.asarray(descendants(u, v, jnp.full(4000, float(n)), law)) for n in (32, 33, 34, 35, 36)]
    assert min(np.corrcoef(one, other)[0, 1] for one, other in pairwise(drawn)) > 0.8


@pytest.mark.law
def test_streams_are_uniform_and_apart() -> None:
    states = sampling.stream(jax.random.split(KEY, 100))
    states = jnp.concatenate([sampling.substream(states, number) for number in range(10)])
    numbers = np.asarray(sampling.draws(states, 200)[1]).T
    check_distribution((numbers * 64).astype(int).ravel(), np.full(64, 1 / 64))
    pairs = (numbers[:, :-1] * 8).astype(int) * 8 + (numbers[:, 1:] * 8).astype(int)
    check_distribution(pairs[:, ::2].ravel(), np.full(64, 1 / 64))
    check_mean(((numbers[::2] - 0.5) * (numbers[1::2] - 0.5)).ravel(), 0.0, what="covariance between streams")
