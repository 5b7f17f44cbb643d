"""Walkers on laws that are known: they leave each of them as it is, at every temperature, and their numbers are their own."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats
from scipy.special import digamma, polygamma

import laws
from persist.inference import walkers as module
from persist.inference.target import ReferenceLaw
from persist.inference.walkers import SMALL, WALL, Crowd, Stride, Walkers, root_of_metric

LANES = 4096
MOVES = 10
WIDE = ReferenceLaw(np.zeros(3), np.array([2.0, 2.0, 3.0]))
COVARIANCE = np.array([[1.0, 1.8], [1.8, 4.0]])
"""Two coordinates of correlation 0.9 and widths 1 and 2."""
SHAPE = 2.0
"""Of the gamma variable whose log is the third coordinate: skewed to the left."""


def bent(precision: jax.Array, x: jax.Array) -> jax.Array:
    """Minus the log density of two correlated normal coordinates and the log of a gamma variable, but for a constant."""
    return 0.5 * x[:2] @ precision @ x[:2] + jnp.exp(x[2]) - SHAPE * x[2]


def level(precision: jax.Array, x: jax.Array) -> jax.Array:
    """The normal pair alone."""
    return 0.5 * x @ precision @ x


def cut(_: jax.Array, x: jax.Array) -> jax.Array:
    """Two standard normal coordinates, the first of them above 0: below the density is no number."""
    return jnp.where(x[0] > 0.0, 0.5 * jnp.sum(x**2), jnp.nan)


def drawn(rng: np.random.Generator) -> np.ndarray:
    """Points of `bent`, exact and independent."""
    normal = rng.multivariate_normal(np.zeros(2), COVARIANCE, LANES)
    return np.column_stack([normal, np.log(rng.gamma(SHAPE, size=LANES))])


def standing(point: np.ndarray) -> Crowd:
    return Crowd(point, np.zeros(len(point)), np.zeros(len(point)))


def moved() -> np.ndarray:
    """Where exact points of `bent` are after some trajectories with a coarse step."""
    root = root_of_metric(drawn(np.random.default_rng(2)))
    many = Walkers(7, bent, jnp.asarray(np.linalg.inv(COVARIANCE)), WIDE, LANES)
    crowd = standing(drawn(np.random.default_rng(1)))
    for _ in range(MOVES):
        crowd, _ = many.move(crowd, Stride(root, 1.2, 2.4))
    return crowd.point


def check(point: np.ndarray) -> None:
    """Means, variances and correlation of the normal pair; mean, variance and tails of the log gamma: 9 checks."""
    z = np.linalg.solve(np.linalg.cholesky(COVARIANCE), point[:, :2].T)
    for one in z:
        laws.check_mean(one, 0.0)
        laws.check_variance(one, 1.0)
    laws.check_mean(z[0] * z[1], 0.0, what="correlation")
    laws.check_mean(point[:, 2], digamma(SHAPE), what="mean of the log gamma")
    laws.check_variance(point[:, 2], float(polygamma(1, SHAPE)), what="variance of the log gamma")
    for share in (0.05, 0.95):
        laws.check_share(np.exp(point[:, 2]) < stats.gamma.ppf(share, SHAPE), share, what=f"{share:.0%} quantile")


@pytest.mark.law
def test_a_law_stays_as_it_is() -> None:
    check(moved())


def spoiled(monkeypatch: pytest.MonkeyPatch, factor: float) -> None:
    """Trajectories whose error counts ``factor`` times."""
    right = Walkers._each

    def each(*given):
        before, after, error, level = right(*given)
        return before, after, factor * error, level

    monkeypatch.setattr(Walkers, "_each", each)


@pytest.mark.law
@pytest.mark.parametrize("factor", [0.0, 0.5, 2.0], ids=["never refused", "refused too seldom", "refused too often"])
def test_a_wrong_acceptance_is_seen(monkeypatch, factor: float) -> None:
    spoiled(monkeypatch, factor)
    laws.must_fail(lambda: check(moved()))


@pytest.mark.law
def test_between_the_temperatures_the_law_is_the_blend() -> None:
    """A normal target and a normal reference: precisions add up in proportion to beta."""
    beta, wide, precision = 0.3, ReferenceLaw(np.zeros(2), np.array([2.0, 3.0])), np.linalg.inv(COVARIANCE)
    blend = np.linalg.inv(beta * precision + (1.0 - beta) * np.diag(wide.scale**-2.0))
    crowd = standing(np.random.default_rng(3).multivariate_normal(np.zeros(2), blend, LANES))
    many = Walkers(6, level, jnp.asarray(precision), wide, LANES)
    for _ in range(MOVES):
        crowd, _ = many.move(crowd, Stride(np.linalg.cholesky(COVARIANCE), 1.2, 2.4), beta)

    def held(factor: float = 1.0) -> None:
        for one in np.linalg.solve(np.linalg.cholesky(factor * blend), crowd.point.T):
            laws.check_mean(one, 0.0)
            laws.check_variance(one, 1.0)

    held()
    laws.must_fail(lambda: held(1.2))


@pytest.mark.law
def test_where_the_density_is_no_number_nobody_goes() -> None:
    """The edge is met without a warning, and the law beside it is right."""
    start = np.abs(np.random.default_rng(5).standard_normal((LANES, 2)))
    many = Walkers(8, cut, jnp.zeros(()), ReferenceLaw(np.zeros(2), np.ones(2)), LANES)
    crowd, refused = standing(start), 0
    for _ in range(MOVES):
        crowd, told = many.move(crowd, Stride(np.eye(2), 0.5, 1.5))
        refused += int(told.diverging.sum())
    assert refused > 0
    assert np.all(crowd.point[:, 0] > 0.0)
    laws.check_mean(crowd.point[:, 0], float(np.sqrt(2.0 / np.pi)))
    laws.check_mean(crowd.point[:, 0] ** 2, 1.0)
    laws.must_fail(lambda: laws.check_mean(1.1 * crowd.point[:, 0], float(np.sqrt(2.0 / np.pi))))


@pytest.mark.law
def test_a_share_of_the_steps_is_careful() -> None:
    many = Walkers(9, bent, jnp.eye(2), WIDE, LANES)
    _, told = many.move(many.start(), Stride(np.eye(3), 0.1, 0.1))
    laws.check_share(~told.common, SMALL)
    laws.must_fail(lambda: laws.check_share(~told.common, 1.3 * SMALL))


def some(seed: int, lanes: int = 48) -> Crowd:
    many = Walkers(seed, bent, jnp.eye(2), WIDE, lanes)
    crowd = many.start()
    for _ in range(3):
        crowd, _ = many.move(crowd, Stride(np.eye(3), 0.3, 1.0), 0.5)
    return crowd


def same(one: Crowd, other: Crowd) -> None:
    for mine, yours in zip(one, other, strict=True):
        np.testing.assert_array_equal(mine, yours)


def test_a_seed_has_its_numbers_whatever_runs_beside_it(monkeypatch) -> None:
    """Twice, on one thread or on seven, and with another's trajectories in between."""
    first = some(1)
    for cores in (1, 7):
        monkeypatch.setattr(module.os, "cpu_count", lambda cores=cores: cores)
        same(some(1), first)
    one, other = (Walkers(seed, bent, jnp.eye(2), WIDE, 48) for seed in (1, 2))
    crowd, another = one.start(), other.start()
    for _ in range(3):
        crowd, _ = one.move(crowd, Stride(np.eye(3), 0.3, 1.0), 0.5)
        another, _ = other.move(another, Stride(np.eye(3), 0.3, 1.0), 0.5)
    same(crowd, first)
    assert not np.array_equal(another.point, first.point)


def test_where_walkers_stand_is_told_with_their_energy() -> None:
    """48 walkers are one and a half programs: the filling of the second is not seen."""
    crowd = some(3)
    assert crowd.point.shape == (48, 3)
    np.testing.assert_allclose(crowd.energy, [float(bent(jnp.eye(2), x)) for x in crowd.point], rtol=1e-12)
    plain = 0.5 * np.sum(((crowd.point - WIDE.location) / WIDE.scale) ** 2, axis=1)
    np.testing.assert_allclose(crowd.reference, plain, rtol=1e-12)


def test_a_point_without_density_has_the_energy_of_a_wall() -> None:
    many = Walkers(4, cut, jnp.zeros(()), ReferenceLaw(np.array([-9.0, 0.0]), np.full(2, 0.1)), 32)
    assert np.all(many.start().energy == WALL)


def test_a_program_is_compiled_once_for_all_patients_of_a_size() -> None:
    one, other = (Walkers(5, bent, jnp.eye(2) * scale, WIDE, 32) for scale in (1.0, 4.0))
    assert one.run is other.run
    assert not np.array_equal(one.start().energy, other.start().energy)
    assert Walkers(5, cut, jnp.zeros(()), ReferenceLaw(np.zeros(2), np.ones(2)), 32).run is not one.run


def test_few_points_have_a_cautious_metric() -> None:
    """Shrunk towards its diagonal while points are few; the covariance itself once they are many."""
    rng = np.random.default_rng(6)
    few, many = (rng.multivariate_normal(np.zeros(2), COVARIANCE, (4, count)) for count in (3, 20_000))
    root = root_of_metric(many)
    np.testing.assert_allclose(root @ root.T, COVARIANCE, rtol=0.05)
    root = root_of_metric(few)
    spread = np.cov(few.reshape(-1, 2).T)
    np.testing.assert_allclose(np.diag(root @ root.T), np.diag(spread), rtol=1e-6)
    assert abs((root @ root.T)[0, 1]) < 0.8 * abs(spread[0, 1])
