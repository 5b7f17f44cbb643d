"""The law of a cohort: its conditional draws against their joint prior, its mixture against numbers, its parts that stay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.population import (
    APART_0,
    APART_1,
    CENTRE,
    DISTANCE,
    FREEDOM,
    SCALE,
    Law,
    Population,
    belong,
    blend,
    log_ratio,
    moments,
    one_kind,
    populated,
    renew,
    start,
    wishart,
)

LANES, SIZE, PATIENTS = 4000, 3, 5


def joint(rng: np.random.Generator) -> tuple[Law, np.ndarray]:
    """Laws from their prior by another way than `renew` (SciPy's), and patients of each."""
    covariance = stats.invwishart.rvs(SIZE + FREEDOM - 1, SCALE * np.eye(SIZE), size=LANES, random_state=rng)
    mean, apart = CENTRE * rng.standard_normal((LANES, SIZE)), DISTANCE * rng.standard_normal((LANES, SIZE))
    law = Law(mean, covariance, apart, rng.beta(APART_0, APART_1, LANES))
    return law, patients_of(rng, law)


def patients_of(rng: np.random.Generator, law: Law) -> np.ndarray:
    """Scores ``(lanes, patients, k)``."""
    root = np.linalg.cholesky(law.covariance)
    among = rng.uniform(size=(LANES, PATIENTS)) < law.share[:, None]
    middle = law.mean[:, None] + among[..., None] * law.apart[:, None]
    return middle + np.einsum("lij,lpj->lpi", root, rng.standard_normal((LANES, PATIENTS, SIZE)))


def check(law: Law) -> None:
    """Means, distances, shares, spreads and correlations are those of the prior."""
    laws.check_mean(law.share, APART_0 / (APART_0 + APART_1))
    laws.check_share(law.share > 0.5, stats.beta.sf(0.5, APART_0, APART_1), what="half or more apart")
    for j in range(SIZE):
        for part, sd in ((law.mean, CENTRE), (law.apart, DISTANCE)):
            laws.check_mean(part[:, j], 0.0)
            laws.check_variance(part[:, j], sd**2)
        laws.check_mean(law.mean[:, j] * law.apart[:, j], 0.0)
        variance = law.covariance[:, j, j]
        for share in (0.05, 0.5, 0.95):
            edge = stats.invgamma.ppf(share, FREEDOM / 2.0, scale=SCALE / 2.0)
            laws.check_share(variance < edge, share, what=f"variance under its {share:.0%} point")
        for i in range(j):
            laws.check_mean(law.covariance[:, i, j] / np.sqrt(law.covariance[:, i, i] * variance), 0.0)


def renewed(factor: float = 1.0, wrong: str | None = None) -> Law:
    """Laws after three rounds of patients drawn from them and themselves renewed: the joint law stays, so the prior does.

    Planted: patients nearer to 0 by a ``factor``, or a ``wrong`` part of the law at which patients are judged.
    """
    rng = np.random.default_rng(1)
    law, z = joint(rng)
    counted = np.ones((LANES, PATIENTS), bool)
    for _ in range(3):
        at = law if wrong is None else law._replace(**{wrong: 0.5 * getattr(law, wrong)})
        law = renew(rng, factor * z, at, counted)
        z = patients_of(rng, law)
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
@pytest.mark.parametrize("part", ["share", "apart"])
def test_patients_that_are_sorted_wrongly_would_be_seen(part: str) -> None:
    laws.must_fail(lambda: check(renewed(wrong=part)))


@pytest.mark.law
def test_a_cohort_tells_its_law_and_who_is_apart() -> None:
    """Many patients, a sixth of them far off in the first score: what is drawn lies about what they were drawn from."""
    rng = np.random.default_rng(3)
    true = np.array([[0.5, 0.2], [0.2, 0.3]])
    among = np.arange(2000) % 6 == 0
    one = rng.multivariate_normal([1.0, -0.5], true, 2000) + among[:, None] * np.array([-4.0, 0.0])
    z = np.broadcast_to(one, (50, 2000, 2))
    law = start(50, 2)._replace(apart=np.tile([-0.5, 0.1], (50, 1)))
    for _ in range(40):
        law = renew(rng, z, law, np.ones((50, 2000), bool))
    np.testing.assert_allclose(law.mean.mean(axis=0), [1.0, -0.5], atol=0.06)
    np.testing.assert_allclose(law.covariance.mean(axis=0), true, atol=0.05)
    np.testing.assert_allclose(law.apart.mean(axis=0), [-4.0, 0.0], atol=0.15)
    assert law.share.mean() == pytest.approx(1 / 6, abs=0.02)
    likely = belong(z, law).mean(axis=0)
    assert likely[among].mean() > 0.95
    assert likely[~among].mean() < 0.02


def test_moments_are_those_of_all_patients_together() -> None:
    rng = np.random.default_rng(8)
    law = Law(np.array([[0.5, -1.0]]), np.array([[[0.5, 0.2], [0.2, 0.3]]]), np.array([[-2.0, 1.0]]), np.array([0.3]))
    many = 400_000
    among = rng.uniform(size=many) < 0.3
    z = rng.multivariate_normal(law.mean[0], law.covariance[0], many) + among[:, None] * law.apart[0]
    found = moments(law)
    np.testing.assert_allclose(found.mean[0], z.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(found.covariance[0], np.cov(z.T), atol=0.02)


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
    weight = np.array([0.2, 0.5, 0.3])
    density = weight @ [stats.multivariate_normal.pdf(z, m, c) for m, c in zip(mean, covariance, strict=True)]
    found = log_ratio(jnp.asarray(z), Population(jnp.asarray(mean), jnp.asarray(whiten), jnp.log(weight)))
    np.testing.assert_allclose(found, np.log(density) - stats.norm.logpdf(z).sum(), rtol=1e-12)


def test_what_is_not_pooled_keeps_the_prior_of_the_pack() -> None:
    law = Law(np.ones((1, 2)), np.array([[[1.0, 0.5], [0.5, 2.0]]]), np.array([[2.0, -1.0]]), np.array([0.25]))
    one = populated(law, np.array([True, False, True, False]))
    assert one.mean.shape == (1, 2, 4)
    z = np.array([0.3, -1.2, 0.8, 2.0])
    found = log_ratio(jnp.asarray(z), Population(*(jnp.asarray(part[0]) for part in one)))
    parts = [
        stats.multivariate_normal.pdf(z[[0, 2]], law.mean[0] + k * law.apart[0], law.covariance[0]) for k in (0, 1)
    ]
    density = np.log(0.75 * parts[0] + 0.25 * parts[1])
    np.testing.assert_allclose(found, density - stats.norm.logpdf(z[[0, 2]]).sum(), rtol=1e-12)


def test_a_blend_weighs_its_laws_alike() -> None:
    """The density of a blend is the mean of those of its laws."""
    rng = np.random.default_rng(9)
    law = Law(
        rng.standard_normal((3, 4, 2)), np.tile(np.eye(2), (3, 4, 1, 1)), np.ones((3, 4, 2)), np.full((3, 4), 0.1)
    )
    z, pooled = jnp.asarray([0.4, -0.7]), np.ones(2, bool)
    found = log_ratio(z, Population(*map(jnp.asarray, blend(law, pooled))))
    each = populated(Law(*(part.reshape(12, *part.shape[2:]) for part in law)), pooled)
    one_by_one = [log_ratio(z, Population(*(jnp.asarray(part[k]) for part in each))) for k in range(12)]
    np.testing.assert_allclose(found, np.log(np.mean(np.exp(one_by_one))), rtol=1e-12)


def test_where_none_is_apart_there_is_one_kind() -> None:
    law = one_kind(np.zeros((1, 2)), np.eye(2)[None])
    one = populated(law, np.ones(2, bool))
    assert log_ratio(jnp.asarray([0.4, -0.7]), Population(*(jnp.asarray(part[0]) for part in one))) == pytest.approx(
        0.0
    )
    assert belong(np.zeros((1, 3, 2)), law).tolist() == [[0.0, 0.0, 0.0]]
    slope = jax.grad(lambda z: log_ratio(z, Population(*(jnp.asarray(part[0]) for part in one))))(
        jnp.asarray([0.4, -0.7])
    )
    np.testing.assert_allclose(slope, 0.0, atol=1e-12)


def test_renewed_laws_are_the_numbers_that_they_always_were() -> None:
    """Of one seed: what biomarkers add (`inference.regression`) leaves cohorts without any as they are."""
    z = np.linspace(-1.5, 2.0, 24).reshape(2, 6, 2) ** 3
    law, rng = start(2, 2), np.random.default_rng(5)
    for _ in range(3):
        law = renew(rng, z, law, np.ones((2, 6), bool))
    np.testing.assert_allclose(law.mean.ravel(), MEANS, rtol=1e-9)
    np.testing.assert_allclose(law.share, [0.11099139901078796, 0.10393897964417287], rtol=1e-9)
    np.testing.assert_allclose(law.covariance[:, 0, 1], [1.051969722606848, 5.8936424532197185], rtol=1e-9)


MEANS = [-1.0227750608528523, -0.6785815375979276, 0.39170117349993183, 0.6863472421177564]
