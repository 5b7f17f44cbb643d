"""The law of a cohort: its conditional draws against their joint prior, its mixture against numbers, its parts that stay."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference import population
from persist.inference.population import CENTRE, FREEDOM, SCALE, Population, log_ratio, populated, renew, start, wishart

LANES, SIZE, PATIENTS = 4000, 3, 5


def joint(rng: np.random.Generator) -> tuple[population.Law, np.ndarray]:
    """Laws from their prior by another way than `renew` (SciPy's), and patients of each."""
    covariance = stats.invwishart.rvs(SIZE + FREEDOM - 1, SCALE * np.eye(SIZE), size=LANES, random_state=rng)
    mean = CENTRE * rng.standard_normal((LANES, SIZE))
    root = np.linalg.cholesky(covariance)
    z = mean[:, None] + np.einsum("lij,lpj->lpi", root, rng.standard_normal((LANES, PATIENTS, SIZE)))
    return population.Law(mean, covariance), z


def check(law: population.Law) -> None:
    """Means, spreads and correlations are those of the prior."""
    for j in range(SIZE):
        laws.check_mean(law.mean[:, j], 0.0)
        laws.check_variance(law.mean[:, j], CENTRE**2)
        variance = law.covariance[:, j, j]
        for share in (0.05, 0.5, 0.95):
            edge = stats.invgamma.ppf(share, FREEDOM / 2.0, scale=SCALE / 2.0)
            laws.check_share(variance < edge, share, what=f"variance under its {share:.0%} point")
        for i in range(j):
            laws.check_mean(law.covariance[:, i, j] / np.sqrt(law.covariance[:, i, i] * variance), 0.0)


def renewed(**planted: float) -> population.Law:
    """Laws after three rounds of patients drawn from them and themselves renewed: the joint law stays, so the prior does."""
    rng = np.random.default_rng(1)
    law, z = joint(rng)
    counted = np.ones((LANES, PATIENTS), bool)
    for _ in range(3):
        law = renew(rng, planted.get("factor", 1.0) * z, law, counted)
        root = np.linalg.cholesky(law.covariance)
        z = law.mean[:, None] + np.einsum("lij,lpj->lpi", root, rng.standard_normal(z.shape))
    return law


@pytest.mark.law
def test_the_prior_is_that_of_its_words() -> None:
    check(joint(np.random.default_rng(2))[0])


@pytest.mark.law
def test_rounds_leave_the_joint_law_as_it_is() -> None:
    check(renewed())


@pytest.mark.law
def test_patients_that_are_more_alike_than_they_are_would_be_seen() -> None:
    laws.must_fail(lambda: check(renewed(factor=0.9)))


@pytest.mark.law
def test_a_cohort_tells_its_law() -> None:
    """Many patients: what is drawn lies about what they were drawn from."""
    rng = np.random.default_rng(3)
    true = np.array([[0.5, 0.2], [0.2, 0.3]])
    z = np.broadcast_to(rng.multivariate_normal([1.0, -0.5], true, 2000), (50, 2000, 2))
    law = start(50, 2)
    for _ in range(5):
        law = renew(rng, z, law, np.ones((50, 2000), bool))
    np.testing.assert_allclose(law.mean.mean(axis=0), [1.0, -0.5], atol=0.06)
    np.testing.assert_allclose(law.covariance.mean(axis=0), true, atol=0.05)


def test_who_is_not_counted_tells_nothing() -> None:
    z = np.random.default_rng(4).standard_normal((2, 6, 2))
    counted = np.tile([True, True, True, True, False, False], (2, 1))
    other = np.where(counted[..., None], z, 99.0)
    one, same = (renew(np.random.default_rng(5), some, start(2, 2), counted) for some in (z, other))
    for mine, yours in zip(one, same, strict=True):
        np.testing.assert_array_equal(mine, yours)


@pytest.mark.law
def test_a_wishart_matrix_has_its_mean() -> None:
    scale = np.array([[1.0, 0.3], [0.3, 0.5]])
    drawn = wishart(np.random.default_rng(6), np.full(LANES, 4.5), np.broadcast_to(scale, (LANES, 2, 2)))
    for i in range(2):
        for j in range(2):
            laws.check_mean(drawn[:, i, j], 4.5 * scale[i, j])
    laws.must_fail(lambda: laws.check_mean(drawn[:, 0, 0], 5.0))


def test_the_mixture_is_a_ratio_of_densities() -> None:
    rng = np.random.default_rng(7)
    mean, covariance = rng.standard_normal((3, 2)), np.stack([np.eye(2), np.diag([0.5, 2.0]), [[1.0, 0.4], [0.4, 0.6]]])
    whiten = np.linalg.inv(np.linalg.cholesky(covariance))
    z = rng.standard_normal(2)
    density = np.mean([stats.multivariate_normal.pdf(z, m, c) for m, c in zip(mean, covariance, strict=True)])
    found = log_ratio(jnp.asarray(z), Population(jnp.asarray(mean), jnp.asarray(whiten)))
    np.testing.assert_allclose(found, np.log(density) - stats.norm.logpdf(z).sum(), rtol=1e-12)


def test_what_is_not_pooled_keeps_the_prior_of_the_pack() -> None:
    law = population.Law(np.ones((1, 2)), np.array([[[1.0, 0.5], [0.5, 2.0]]]))
    one = populated(law, np.array([True, False, True, False]))
    assert one.mean.shape == (1, 1, 4)
    z = np.array([0.3, -1.2, 0.8, 2.0])
    found = log_ratio(jnp.asarray(z), Population(jnp.asarray(one.mean[0]), jnp.asarray(one.whiten[0])))
    density = stats.multivariate_normal.logpdf(z[[0, 2]], law.mean[0], law.covariance[0])
    np.testing.assert_allclose(found, density - stats.norm.logpdf(z[[0, 2]]).sum(), rtol=1e-12)
