"""The law of a cohort: its conditional draws against their joint prior, its mixture against numbers, its parts that stay."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.clone_free import Frame
from persist.inference.population import (
    APART_0,
    APART_1,
    CENTRE,
    DISTANCE,
    FREEDOM,
    KINDS,
    SCALE,
    Law,
    Population,
    belong,
    blend,
    cloneless,
    log_ratio,
    moments,
    one_kind,
    polynomials,
    populated,
    renew,
    start,
    wishart,
)
from persist.inference.population import shares as of_each

LANES, SIZE, PATIENTS = 4000, 3, 5
WITHOUT = np.linspace(0.0, 1.0, LANES)
"""Shares without a clone, of which draws of the rest of a law know nothing."""

FRAME = Frame(np.array([True, False, True, False]), np.array([-1.5, 0.7, 0.0, 0.0]))
"""Of four scores: one that is pooled and one that is not are off in patients without a clone."""


def joint(rng: np.random.Generator) -> tuple[Law, np.ndarray]:
    """Laws from their prior by another way than `renew` (SciPy's), and patients of each."""
    covariance = stats.invwishart.rvs(SIZE + FREEDOM - 1, SCALE * np.eye(SIZE), size=LANES, random_state=rng)
    mean, apart = CENTRE * rng.standard_normal((LANES, SIZE)), DISTANCE * rng.standard_normal((LANES, SIZE))
    law = Law(mean, covariance, apart, rng.beta(APART_0, APART_1, LANES), WITHOUT)
    return law, patients_of(rng, law)


def patients_of(rng: np.random.Generator, law: Law) -> np.ndarray:
    """Scores ``(lanes, patients, k)``, as if each patient had a clone."""
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
    """And the share without a clone, which has a round of its own."""
    law = renewed()
    check(law)
    np.testing.assert_array_equal(law.clone_free, WITHOUT)


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
    """Had each of them a clone, whatever the share that has none."""
    rng = np.random.default_rng(8)
    mean, apart, covariance = np.array([[0.5, -1.0]]), np.array([[-2.0, 1.0]]), np.array([[[0.5, 0.2], [0.2, 0.3]]])
    law = Law(mean, covariance, apart, np.array([0.3]), np.array([0.6]))
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


def test_polynomials_are_the_mixture() -> None:
    """Where its laws are wide or narrow, near and far; a level that is off is seen."""
    rng = np.random.default_rng(8)
    root = np.tril(rng.standard_normal((5, 4, 4)), -1) + np.exp(rng.standard_normal((5, 4)))[..., None] * np.eye(4)
    one = Population(3.0 * rng.standard_normal((5, 4)), np.linalg.inv(root), np.log(rng.dirichlet(np.ones(5))))
    same = polynomials(one)
    for z in np.concatenate([rng.standard_normal((5, 4)), 20.0 * rng.standard_normal((5, 4))]):
        at = jnp.asarray(z)
        by_kind = [
            stats.multivariate_normal.logpdf(z, mean, cov) + share
            for mean, cov, share in zip(one.mean, root @ np.swapaxes(root, 1, 2), one.log_weight, strict=True)
        ]
        right = np.logaddexp.reduce(by_kind) - stats.norm.logpdf(z).sum()
        np.testing.assert_allclose(log_ratio(at, same), right, rtol=1e-9, atol=1e-9)
        off = same._replace(slope=1.001 * same.slope)
        assert abs(float(log_ratio(at, off)) - right) > 1e-6


def test_what_each_law_has_in_the_density_is_told_by_bayes_formula() -> None:
    rng = np.random.default_rng(12)
    one = Population(
        2.0 * rng.standard_normal((3, 2)), np.eye(2) * np.array([1.0, 0.5, 2.0])[:, None, None], np.log([0.2, 0.5, 0.3])
    )
    z = 2.0 * rng.standard_normal((7, 2))
    parts = np.stack(
        [
            np.exp(weight) * stats.multivariate_normal.pdf(z, mean, np.linalg.inv(whiten @ whiten))
            for mean, whiten, weight in zip(*one, strict=True)
        ],
        axis=1,
    )
    np.testing.assert_allclose(of_each(z, one), parts / parts.sum(axis=1, keepdims=True), rtol=1e-9)


def density(z: np.ndarray, law: Law, frame: Frame) -> float:
    """Of all scores ``(n,)`` of a patient of one law, by its words: less the shift, in those without a clone, what is pooled is
    of the law, most or apart, and all else of the pack's prior.
    """
    total = 0.0
    for without, apart in np.ndindex(2, 2):
        own = z - without * frame.shift
        share = (law.clone_free if without else 1.0 - law.clone_free) * (law.share if apart else 1.0 - law.share)
        pooled = stats.multivariate_normal.pdf(own[frame.pooled], law.mean + apart * law.apart, law.covariance)
        total += share * pooled * stats.norm.pdf(own[~frame.pooled]).prod()
    return float(total)


def one_law(law: Law, *lane: int) -> Law:
    """The law of one of some lanes."""
    return Law(*(part[lane] for part in law))


def over_the_pack(z: np.ndarray, one: Population) -> float:
    """Log density of scores ``(n,)`` under a mixture over that of the pack's prior, by the program."""
    return float(log_ratio(jnp.asarray(z), Population(*map(jnp.asarray, one))))


def test_what_is_not_pooled_keeps_the_prior_of_the_pack() -> None:
    """Where nobody is off, whatever the share without a clone."""
    law = Law(
        np.ones((1, 2)),
        np.array([[[1.0, 0.5], [0.5, 2.0]]]),
        np.array([[2.0, -1.0]]),
        np.array([0.25]),
        np.array([0.4]),
    )
    one = populated(law, FRAME._replace(shift=np.zeros(4)))
    assert one.mean.shape == (1, KINDS, 4)
    z = np.array([0.3, -1.2, 0.8, 2.0])
    found = over_the_pack(z, Population(*(part[0] for part in one)))
    parts = [
        stats.multivariate_normal.pdf(z[[0, 2]], law.mean[0] + k * law.apart[0], law.covariance[0]) for k in (0, 1)
    ]
    right = np.log(0.75 * parts[0] + 0.25 * parts[1])
    np.testing.assert_allclose(found, right - stats.norm.logpdf(z[[0, 2]]).sum(), rtol=1e-12)


def some_laws(rng: np.random.Generator, *shape: int) -> Law:
    """Laws of two scores, all of them different."""
    root = np.eye(2) + 0.4 * rng.standard_normal((*shape, 2, 2))
    covariance = root @ np.swapaxes(root, -1, -2) + 0.1 * np.eye(2)
    mean, apart = rng.standard_normal((2, *shape, 2))
    return Law(mean, covariance, apart, *rng.uniform(0.05, 0.95, (2, *shape)))


@pytest.mark.parametrize("clone_free", [0.0, 0.3, 1.0])
def test_patients_without_a_clone_are_off_by_the_shift(clone_free: float) -> None:
    """In scores that are pooled and in others: the density of all four scores, where patients with a clone are and where those
    without are.
    """
    rng = np.random.default_rng(10)
    law = some_laws(rng, 3)._replace(clone_free=np.full(3, clone_free))
    each = populated(law, FRAME)
    assert each.mean.shape == (3, KINDS, 4)
    for lane in range(3):
        one = Population(*(part[lane] for part in each))
        for z in np.concatenate([rng.standard_normal((5, 4)), FRAME.shift + rng.standard_normal((5, 4))]):
            right = np.log(density(z, one_law(law, lane), FRAME)) - stats.norm.logpdf(z).sum()
            np.testing.assert_allclose(over_the_pack(z, one), right, rtol=1e-10, atol=1e-12)


def test_a_blend_weighs_its_laws_alike() -> None:
    """The density of a blend is the mean of those of its laws."""
    rng = np.random.default_rng(9)
    law = some_laws(rng, 3, 4)
    for frame in (FRAME, FRAME._replace(shift=np.zeros(4))):
        for z in rng.standard_normal((4, 4)):
            one_by_one = [density(z, one_law(law, *at), frame) for at in np.ndindex(3, 4)]
            right = np.log(np.mean(one_by_one)) - stats.norm.logpdf(z).sum()
            np.testing.assert_allclose(over_the_pack(z, blend(law, frame)), right, rtol=1e-10, atol=1e-12)


def test_who_has_no_clone_is_told_by_bayes_formula() -> None:
    """From all four scores; mean and shares may be the patient's own. Where the share is 0 or 1, nothing is left to tell."""
    rng, shape = np.random.default_rng(11), (3, 4)
    lanes = some_laws(rng, 3)
    each = lanes._replace(mean=rng.standard_normal((*shape, 2)), share=rng.uniform(size=shape))
    each = each._replace(clone_free=rng.uniform(size=shape))
    each.clone_free[0, :2], each.share[1] = (0.0, 1.0), 0.0
    z = rng.standard_normal((*shape, 4)) + (rng.uniform(size=shape) < 0.5)[..., None] * FRAME.shift
    more = (stats.norm.logpdf(z, FRAME.shift) - stats.norm.logpdf(z))[..., ~FRAME.pooled].sum(axis=-1)
    found = cloneless(z[..., FRAME.pooled], more, each, FRAME)
    for lane, patient in np.ndindex(*shape):
        mean, share, clone_free = (part[lane, patient] for part in (each.mean, each.share, each.clone_free))
        one = Law(mean, each.covariance[lane], each.apart[lane], share, clone_free)
        without = clone_free * density(z[lane, patient], one._replace(clone_free=1.0), FRAME)
        assert found[lane, patient] == pytest.approx(without / density(z[lane, patient], one, FRAME), rel=1e-9)


@pytest.mark.parametrize("shift", [0.0, -2.0])
def test_where_none_is_apart_there_is_one_kind(shift: float) -> None:
    """And each has a clone, however far off those without one were."""
    law, frame = one_kind(np.zeros((1, 2)), np.eye(2)[None]), Frame(np.array([True, True, False]), np.full(3, shift))
    one, z = Population(*(jnp.asarray(part[0]) for part in populated(law, frame))), jnp.asarray([0.4, -0.7, 0.2])
    assert log_ratio(z, one) == pytest.approx(0.0)
    assert belong(np.zeros((1, 3, 2)), law).tolist() == [[0.0, 0.0, 0.0]]
    each = law._replace(mean=np.zeros((1, 3, 2)), share=np.zeros((1, 3)), clone_free=np.zeros((1, 3)))
    assert cloneless(np.zeros((1, 3, 2)), np.full((1, 3), 5.0), each, frame).tolist() == [[0.0, 0.0, 0.0]]
    slope = jax.grad(lambda z: log_ratio(z, one))(z)
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
