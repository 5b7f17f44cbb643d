"""A population that depends on biomarkers: conditional draws against their joint prior, and what cohorts tell of effects."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference import covariates, population, regression
from persist.inference.covariates import INTERCEPT, INTERCEPT_SD, SLAB, STEADY, Covariates, Effects
from persist.inference.population import CENTRE, DISTANCE, FREEDOM, SCALE, Law
from persist.inference.regression import Regressed

LANES, SIZE, MARKERS, PATIENTS = 2500, 2, 2, 6
ACTS = np.array([True, False])
SEEN = np.array([[True, True], [True, False], [False, False], [True, True], [False, True], [True, True]])
WIDE = 1.0
"""Global scale in these checks: with the program's own there is little to see."""
COUNTED = np.ones((LANES, PATIENTS), bool)
WITHOUT = np.linspace(0.0, 1.0, LANES)
"""Shares without a clone, of which these draws know nothing."""


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setattr(regression, "GLOBAL", WIDE)


def effects_of(rng: np.random.Generator) -> Effects:
    """Effects from their prior, by rejection: horseshoes, kept in proportion to the slab."""
    kept: list[np.ndarray] = []
    while sum(len(part) for part in kept) < LANES:
        scale = WIDE * np.abs(stats.cauchy.rvs(size=(20_000, 1), random_state=rng))
        local = np.abs(stats.cauchy.rvs(size=(20_000, 4), random_state=rng))
        effect = scale * local * rng.standard_normal((20_000, 4))
        taken = rng.uniform(size=20_000) < np.exp(-0.5 * (effect**2).sum(axis=1) / SLAB**2)
        kept.append(np.concatenate([effect, local, scale], axis=1)[taken])
    rows = np.concatenate(kept)[:LANES]
    slope, local = np.zeros((LANES, SIZE, MARKERS)), np.ones((LANES, SIZE + 1, MARKERS))
    slope[:, 0], local[:, 0], local[:, 2] = rows[:, :2], rows[:, 4:6] ** 2, rows[:, 6:8] ** 2
    spread = stats.invwishart.rvs(MARKERS + 1 + STEADY, STEADY * np.eye(MARKERS), size=LANES, random_state=rng)
    intercept = INTERCEPT + INTERCEPT_SD * rng.standard_normal(LANES)
    return Effects(slope, rows[:, 2:4], intercept, local, rows[:, 8], spread)


def patients_of(rng: np.random.Generator, law: Law, effects: Effects, x: np.ndarray) -> np.ndarray:
    """Scores ``(lanes, patients, k)`` of patients with these biomarkers."""
    u = effects.intercept[:, None] + np.einsum("lb,lpb->lp", effects.toward, x) + rng.standard_normal(x.shape[:2])
    middle = law.mean[:, None] + np.einsum("lkb,lpb->lpk", effects.slope, x) + (u > 0)[..., None] * law.apart[:, None]
    root = np.linalg.cholesky(law.covariance)
    return middle + np.einsum("lij,lpj->lpi", root, rng.standard_normal(middle.shape))


def joint(rng: np.random.Generator) -> tuple[Regressed, np.ndarray, np.ndarray]:
    """Laws, effects, biomarkers and scores, from their prior."""
    covariance = stats.invwishart.rvs(SIZE + FREEDOM - 1, SCALE * np.eye(SIZE), size=LANES, random_state=rng)
    mean, apart = CENTRE * rng.standard_normal((LANES, SIZE)), DISTANCE * rng.standard_normal((LANES, SIZE))
    effects = effects_of(rng)
    law = Law(mean, covariance, apart, np.zeros(LANES), WITHOUT)
    x = biomarkers(rng, effects)
    return Regressed(law, effects, x), patients_of(rng, law, effects, x), x


def biomarkers(rng: np.random.Generator, effects: Effects) -> np.ndarray:
    root = np.linalg.cholesky(effects.spread)
    return np.einsum("lbd,lpd->lpb", root, rng.standard_normal((LANES, PATIENTS, MARKERS)))


class Lanes(NamedTuple):
    """What is known of patients, lane by lane: as `Covariates`, but each lane has a cohort of its own."""

    value: np.ndarray
    seen: np.ndarray
    acts: np.ndarray


def check(state: Regressed, z: np.ndarray, missing: np.ndarray) -> None:
    """Law, effects and the biomarkers that are ``missing`` have their priors, and these go with the scores as they should."""
    law, effects, x = state
    for j in range(SIZE):
        for part, sd in ((law.mean, CENTRE), (law.apart, DISTANCE)):
            laws.check_mean(part[:, j], 0.0)
            laws.check_variance(part[:, j], sd**2)
        laws.check_share(law.covariance[:, j, j] < stats.invgamma.median(FREEDOM / 2, scale=SCALE / 2), 0.5)
    laws.check_mean(law.covariance[:, 0, 1], 0.0)
    laws.check_mean(effects.intercept, INTERCEPT)
    laws.check_variance(effects.intercept, INTERCEPT_SD**2)
    right = effects_of(np.random.default_rng(99))
    for mine, yours in ((effects.slope[:, 0], right.slope[:, 0]), (effects.toward, right.toward)):
        for b in range(MARKERS):
            laws.check_mean(mine[:, b], 0.0)
            for edge in (0.05, 0.3, 1.0):
                laws.check_same(np.abs(mine[:, b]) < edge, np.abs(yours[:, b]) < edge, what=f"effects under {edge}")
    for edge in (0.1, 0.5, 2.0):
        laws.check_same(effects.scale < edge, right.scale < edge, what=f"scales under {edge}")
        laws.check_same(effects.local[:, 0, 0] < edge, right.local[:, 0, 0] < edge, what=f"local scales under {edge}")
    laws.check_mean(effects.slope[:, 0, 0] * effects.toward[:, 0], 0.0)
    assert not effects.slope[:, 1].any()
    for b in range(MARKERS):
        laws.check_mean(effects.spread[:, b, b], 1.0)
    laws.check_mean(effects.spread[:, 0, 1], 0.0)
    white = np.einsum("lbd,lpd->lpb", np.linalg.inv(np.linalg.cholesky(effects.spread)), x)
    slope = effects.slope[:, 0]
    for p, b in zip(*np.nonzero(missing), strict=True):
        laws.check_mean(x[:, p, b], 0.0)
        laws.check_variance(x[:, p, b], 1.0)
        laws.check_mean(white[:, p, 1] ** 2, 1.0)
        with_score = slope[:, b] * (
            x[:, p, b] * (z[:, p, 0] - law.mean[:, 0]) - (effects.spread[:, b] * slope).sum(axis=1)
        )
        laws.check_mean(with_score, 0.0, what="a biomarker with the score that it acts on")


def renewed(rounds: int = 3) -> tuple[Regressed, np.ndarray]:
    """Laws after rounds in which they are renewed, and patients and their biomarkers drawn anew from them: the joint law
    stays, so the priors do. With them, the scores of the patients.
    """
    rng = np.random.default_rng(1)
    state, z, x = joint(rng)
    for _ in range(rounds):
        known = Lanes(np.where(SEEN, x, 0.0), SEEN, ACTS)
        state = regression.renew(rng, z, state, known, ACTS, COUNTED)  # type: ignore[arg-type]
        found = state, z
        x = np.where(rng.uniform(size=(LANES, 1, 1)) < 0.5, state.x, biomarkers(rng, state.effects))
        z = patients_of(rng, state.law, state.effects, x)
        state = state._replace(x=x)
    return found


@pytest.mark.law
def test_the_prior_is_that_of_its_words() -> None:
    state, z, _ = joint(np.random.default_rng(2))
    check(state, z, np.ones((PATIENTS, MARKERS), bool))


@pytest.mark.law
def test_rounds_leave_the_joint_law_as_it_is() -> None:
    """And the share without a clone, which has a round of its own."""
    state, z = renewed()
    check(state, z, ~SEEN)
    np.testing.assert_array_equal(state.law.clone_free, WITHOUT)


def _unslabbed(right):
    return lambda effects: np.maximum(effects.local * effects.scale[:, None, None] ** 2, 1e-280)


def _unseen(right):
    """Missing biomarkers drawn as if nothing else were known of their patients."""

    def drawn(rng, inverse, certain, off, u, effects, known):
        none = effects._replace(slope=0.0 * effects.slope, toward=0.0 * effects.toward)
        return right(rng, inverse, certain, off, u, none, known)

    return drawn


@pytest.mark.law
@pytest.mark.parametrize(
    ("what", "wrong"),
    [
        ("variance", _unslabbed),
        ("_missing", _unseen),
        ("_latent", lambda right: lambda rng, among, effects, x: 0.5 * right(rng, among, effects, x)),
        (
            "_turned",
            lambda right: (
                lambda rng, law, effects: right(rng, law, effects._replace(intercept=effects.intercept + 0.3))
            ),
        ),
        ("_slopes", lambda right: lambda *given: 0.8 * right(*given)),
        ("_threshold", lambda right: lambda *given: (lambda a, g: (a + 0.1, g))(*right(*given))),
        (
            "_scales",
            lambda right: lambda rng, effects, acts: right(rng, effects._replace(slope=0.0 * effects.slope), acts),
        ),
    ],
)
def test_a_wrong_conditional_would_be_seen(what: str, wrong, monkeypatch) -> None:
    right = getattr(regression, what)
    planted = wrong(right)
    if what == "_scales":
        inner = planted
        planted = lambda rng, effects, acts: inner(rng, effects, acts)._replace(slope=effects.slope)  # noqa: E731
    monkeypatch.setattr(regression, what, planted)
    laws.must_fail(lambda: check(*renewed(), ~SEEN))


def test_who_is_not_counted_tells_nothing() -> None:
    """Neither by its scores nor by its biomarkers."""
    rng = np.random.default_rng(4)
    z, value, seen = rng.standard_normal((2, 6, 2)), rng.standard_normal((6, 3)), np.ones((6, 3), bool)
    counted = np.tile([True, True, True, True, False, False], (2, 1))
    found = []
    for scores, markers in (
        (z, value),
        (np.where(counted[..., None], z, 99.0), np.where(counted[0][:, None], value, -99.0)),
    ):
        known = Covariates(markers, seen, np.ones(2, bool))
        state = regression.begin(2, known, np.ones(2, bool))
        found.append(regression.renew(np.random.default_rng(5), scores, state, known, known.acts, counted))
    for mine, yours in zip((*found[0].law, *found[0].effects), (*found[1].law, *found[1].effects), strict=True):
        np.testing.assert_array_equal(mine, yours)


def learn(z: np.ndarray, known: Covariates, rounds: int = 300, lanes: int = 8) -> tuple[Effects, np.ndarray]:
    """Effects ``(rounds, lanes, ...)`` that a cohort of scores ``(patients, k)`` tells, and how likely each is apart."""
    rng, pooled = np.random.default_rng(6), np.ones(z.shape[1], bool)
    state, scores = regression.begin(lanes, known, pooled), np.tile(z, (lanes, 1, 1))
    counted, kept, apart = np.ones(scores.shape[:2], bool), [], []
    for number in range(rounds):
        state = regression.renew(rng, scores, state, known, known.acts, counted)
        if number >= rounds // 3:
            kept.append(state.effects)
            apart.append(regression.likely(scores, state).mean(axis=0))
    return Effects(*(np.stack(part) for part in zip(*kept, strict=True))), np.mean(apart, axis=0)


def standard(x: np.ndarray) -> np.ndarray:
    return (x - x.mean(axis=0)) / x.std(axis=0)


def test_noise_shrinks_to_nothing() -> None:
    """Twelve markers that say nothing of sixty patients: every 90 % interval holds 0, and medians are small."""
    rng = np.random.default_rng(7)
    z, x = 0.7 * rng.standard_normal((60, 4)), standard(rng.standard_normal((60, 12)))
    found, _ = learn(z, Covariates(x, np.ones(x.shape, bool), np.array([True, True, True, False])))
    every = np.concatenate([found.slope[:, :, :3], found.toward[:, :, None]], axis=2).reshape(-1, 4, 12)
    low, middle, high = np.quantile(every, (0.05, 0.5, 0.95), axis=0)
    assert (low < 0.0).all()
    assert (high > 0.0).all()
    assert np.abs(middle).max() < 0.1
    assert not found.slope[:, :, 3].any()


def test_an_effect_comes_back_among_noise() -> None:
    rng = np.random.default_rng(8)
    x = standard(rng.standard_normal((60, 12)))
    z = 0.7 * rng.standard_normal((60, 3)) + np.outer(x[:, 4], [0.6, 0.0, 0.0])
    found, _ = learn(z, Covariates(x, np.ones(x.shape, bool), np.ones(3, bool)))
    low, middle, high = np.quantile(found.slope.reshape(-1, 3, 12), (0.05, 0.5, 0.95), axis=0)
    assert low[0, 4] < 0.6 < high[0, 4]
    assert low[0, 4] > 0.2
    others = np.delete(middle.ravel(), 4)
    assert np.abs(others).max() < 0.25
    assert np.abs(others).mean() < 0.03


def auc(score: np.ndarray, truth: np.ndarray) -> float:
    """Probability that one of the true has a higher score than one of the others."""
    return float(np.mean(score[truth][:, None] > score[~truth]) + 0.5 * np.mean(score[truth][:, None] == score[~truth]))


def test_responders_are_told_by_their_marker() -> None:
    """Of 120 patients 15 % respond far better, nearly all of those with the marker: scores tell some of it, both more."""
    rng = np.random.default_rng(9)
    apart = np.arange(120) % 20 < 3
    marker = np.where(rng.uniform(size=120) < 0.1, ~apart, apart).astype(float)
    x = standard(np.column_stack([marker, rng.standard_normal((120, 3))]))
    z = 0.6 * rng.standard_normal((120, 3)) + apart[:, None] * np.array([-1.8, 0.0, 0.0])
    found, likely = learn(z, Covariates(x, np.ones(x.shape, bool), np.zeros(3, bool)), rounds=600)
    assert auc(likely, apart) >= 0.9
    assert np.quantile(found.toward[-100:, :, 0], 0.05) > 0.0  # a lane may take some 300 rounds to find them
    plain, law = np.tile(z, (8, 1, 1)), population.start(8, 3)
    without = []
    for number in range(300):
        law = population.renew(rng, plain, law, np.ones((8, 120), bool))
        without += [population.belong(plain, law).mean(axis=0)] if number >= 100 else []
    assert auc(likely, apart) > auc(np.mean(without, axis=0), apart)


def test_a_marker_that_parts_patients_without_error_has_no_endless_effect() -> None:
    rng = np.random.default_rng(10)
    apart = np.arange(40) < 12
    x = standard(apart[:, None].astype(float))
    z = 0.3 * rng.standard_normal((40, 2)) + apart[:, None] * np.array([-5.0, 0.0])
    found, _ = learn(z, Covariates(x, np.ones(x.shape, bool), np.ones(2, bool)))
    for part in (found.slope, found.toward):
        assert np.isfinite(part).all()
        assert np.abs(part).max() < 6.0


def test_moments_are_those_of_all_patients_together() -> None:
    rng, many = np.random.default_rng(11), 400_000
    mean, apart, covariance = np.array([0.5, -1.0]), np.array([-2.0, 1.0]), np.array([[0.5, 0.2], [0.2, 0.3]])
    law = Law(mean, covariance, apart, np.array(0.0), np.array(0.6))
    spread = np.array([[1.0, 0.4], [0.4, 1.2]])
    effects = Effects(
        np.array([[0.5, 0.0], [0.3, -0.4]]),
        np.array([0.9, -0.3]),
        np.array(-0.7),
        np.ones((3, 2)),
        np.array(1.0),
        spread,
    )
    x = rng.multivariate_normal([0.0, 0.0], spread, many)
    among = rng.uniform(size=many) < stats.norm.cdf(effects.intercept + x @ effects.toward)
    noise = rng.multivariate_normal([0.0, 0.0], law.covariance, many)
    z = law.mean + x @ effects.slope.T + among[:, None] * law.apart + noise
    found = covariates.moments(law, effects)
    np.testing.assert_allclose(found.mean, z.mean(axis=0), atol=0.01)
    np.testing.assert_allclose(found.covariance, np.cov(z.T), atol=0.02)
    assert covariates.overall(law, effects).share == pytest.approx(among.mean(), abs=0.003)


@pytest.mark.law
def test_missing_biomarkers_have_the_law_of_those_given_the_known() -> None:
    """Two of three drawn, against the conditional normal law by blocks."""
    rng, many = np.random.default_rng(12), 40_000
    sigma = np.array([[1.0, 0.5, -0.3], [0.5, 1.2, 0.2], [-0.3, 0.2, 0.9]])
    value, seen = np.tile([0.0, 1.3, 0.0], (many, 1)), np.tile([False, True, False], (many, 1))
    drawn = covariates.completed(rng, np.linalg.inv(sigma), np.zeros((many, 3)), value, seen)
    gone = [0, 2]
    mean = sigma[gone, 1] / sigma[1, 1] * 1.3
    inner = sigma[np.ix_(gone, gone)] - np.outer(sigma[gone, 1], sigma[gone, 1]) / sigma[1, 1]
    assert (drawn[:, 1] == 1.3).all()
    for at, b in enumerate(gone):
        laws.check_mean(drawn[:, b], mean[at])
        laws.check_variance(drawn[:, b], inner[at, at])
    laws.check_mean((drawn[:, 0] - mean[0]) * (drawn[:, 2] - mean[1]), inner[0, 1])
    laws.must_fail(lambda: laws.check_mean(drawn[:, 0], 0.9 * mean[0]))
