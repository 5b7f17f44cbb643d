"""Patients who join a cohort one by one: laws have the shares that they weigh, in groups that know nothing of others."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference import joining
from persist.inference.clone_free import Frame
from persist.inference.covariates import Covariates
from persist.inference.joining import TOGETHER, drawn_anew, groups, joined
from persist.inference.learned import ByBiomarkers, Plain
from persist.inference.population import APART_0, APART_1, CENTRE, DISTANCE, FREEDOM, SCALE
from persist.inference.sample import HALVES, Sample
from persist.inference.weights import Draws

FRAME = Frame(np.array([True]), np.zeros(1))
SEEN = np.concatenate([np.linspace(-2.7, -2.3, 4), np.linspace(-0.2, 0.2, 20), np.linspace(2.3, 2.7, 6)])
"""Scores of patients, known exactly: either tail may be those apart, or none."""

LANES = 4000


def cohort() -> list[Sample]:
    return [Sample(None, np.full((HALVES, 1, 1), z), np.zeros((HALVES, 1))) for z in SEEN]  # type: ignore[arg-type]


def weighed(count: int = 500_000) -> tuple[np.ndarray, np.ndarray]:
    """Shares and distances of those apart, ``(2, count)``, of laws of the prior, and their weights by the patients: by brute
    force.
    """
    rng = np.random.default_rng(0)
    mean, apart = CENTRE * rng.standard_normal(count), DISTANCE * rng.standard_normal(count)
    sd = np.sqrt(stats.invgamma.rvs(FREEDOM / 2.0, scale=SCALE / 2.0, size=count, random_state=rng))
    share, level = rng.beta(APART_0, APART_1, count), np.zeros(count)
    for z in SEEN:
        near, far = (stats.norm.pdf(z, at, sd) for at in (mean, mean + apart))
        level += np.log((1.0 - share) * near + share * far)
    return np.stack([share, apart]), np.exp(level - level.max())


def run(rounds: int = 24) -> tuple[np.ndarray, np.ndarray]:
    """Shares and distances ``(lanes,)`` after all have joined."""
    rng, draws = np.random.default_rng(3), Draws.of(cohort(), FRAME)
    population = Plain(rng, np.ones((LANES, len(SEEN)), bool), FRAME)
    joined(rng, population, draws, rounds, lambda _: None)
    return population.law.share, population.law.apart[:, 0]


@pytest.mark.law
def test_lanes_have_the_modes_that_they_weigh(monkeypatch) -> None:
    """Those apart are the upper tail, the lower one, or hardly apart, as by brute force; groups of lanes are independent. Lanes
    that are never drawn anew stay wherever they began: too often with the upper tail.
    """
    (share, apart), weight = weighed()
    right = [np.average(part, weights=weight) for part in (apart > 0.0, np.abs(apart) > 1.5, share)]

    def check(found: tuple[np.ndarray, np.ndarray]) -> None:
        for part, mean in zip((found[1] > 0.0, np.abs(found[1]) > 1.5, found[0]), right, strict=True):
            laws.check_mean(part.reshape(-1, TOGETHER).mean(axis=1), mean)

    check(run())
    stay = np.arange(LANES)
    monkeypatch.setattr(joining, "drawn_anew", lambda _rng, level, *_, **__: (stay, level))
    laws.must_fail(lambda: check(run()))


def test_lanes_of_other_cohorts_and_halves_are_let_alone() -> None:
    """Two cohorts in turn, as folds are, and 24 lanes of one half of a third: groups of a cohort, a half and a chain."""
    who = np.ones((12, 4), bool)
    who[::2, 1] = False
    found = groups(who)
    members = [np.flatnonzero(found == number).tolist() for number in range(found.max() + 1)]
    assert sorted(members) == [[0, 2, 4], [1, 3, 5], [6, 8, 10], [7, 9, 11]]
    sizes = np.bincount(groups(np.ones((48, 4), bool)))
    assert sorted(sizes) == [8, 8, 16, 16]
    level = np.zeros(12)
    level[[4, 7]] = 50.0
    lanes, left = drawn_anew(np.random.default_rng(0), level, found, last=False)
    assert lanes.tolist() == [4, 1, 4, 3, 4, 5, 6, 7, 8, 7, 10, 7]
    np.testing.assert_array_equal(left, 0.0)


@pytest.mark.law
def test_a_lane_is_drawn_in_proportion_to_its_weight() -> None:
    """Where enough count, lanes stay and keep their weight until the last time."""
    level = np.log(np.tile([0.5, 1.0, 1.5, 1.0], (3000, 1)))
    among = np.repeat(np.arange(3000), 4)
    lanes, left = drawn_anew(np.random.default_rng(1), level.ravel(), among, last=False)
    assert lanes.tolist() == list(range(12000))
    np.testing.assert_array_equal(left, level.ravel())
    lanes, left = drawn_anew(np.random.default_rng(1), level.ravel(), among, last=True)
    np.testing.assert_array_equal(left, 0.0)

    def check(of: float) -> None:
        times = np.stack([np.sum(lanes.reshape(3000, 4) % 4 == at, axis=1) for at in range(4)])
        for at, mean in enumerate((of, 1.0, 2.0 - of, 1.0)):
            laws.check_mean(times[at], mean)

    check(0.5)
    laws.must_fail(lambda: check(0.6))


def test_who_is_left_out_of_a_lane_does_not_join_it() -> None:
    """And every round is told."""
    who = np.ones((16, 30), bool)
    who[::2, [3, 4]] = False
    heard: list[int] = []
    rng = np.random.default_rng(3)
    population = Plain(rng, who, FRAME)
    taken = joined(rng, population, Draws.of(cohort(), FRAME), 75, heard.append)
    np.testing.assert_array_equal(population.who, who)
    assert taken.shape == who.shape
    assert heard == [1] * 60


@pytest.mark.law
def test_with_biomarkers_too_lanes_begin_at_the_prior() -> None:
    """Of the horseshoe: its scale, and how often an effect is large, as after many more rounds with nobody in the cohort; one
    round leaves them near where they stood.
    """
    known = Covariates(np.linspace(-1.0, 1.0, 30)[:, None], np.ones((30, 1), bool), np.array([True]))

    def begun(rounds: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(seed)
        one = ByBiomarkers(rng, np.zeros((1500, 30), bool), FRAME, known)
        z = np.tile(SEEN[None, :, None], (1500, 1, 1))
        for _ in range(rounds):
            one.renew(z, np.zeros((1500, 30)))
        return one.effects.scale, np.abs(one.effects.toward[:, 0])

    def check(rounds: int) -> None:
        scale, toward = begun(rounds, 1)
        laws.check_share(scale < np.median(long[0]), 0.5, slack=0.03, what="scale under its median")
        laws.check_share(toward > np.quantile(long[1], 0.9), 0.1, slack=0.03, what="effects over their 90 % point")

    long = begun(600, 2)
    check(ByBiomarkers.TO_PRIOR)
    laws.must_fail(lambda: check(1))
