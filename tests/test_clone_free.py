"""Patients without a resistant clone: how far off their scores are, and that a cohort learns how many there are."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.clone_free import FAINT, FREE_0, FREE_1, Frame, rest, shifts
from persist.inference.gibbs import Rounds, gibbs
from persist.inference.learned import Plain
from persist.inference.model import sampled
from persist.inference.population import Law, shared
from persist.inference.priors import at_score, known, load_pack
from persist.inference.sample import HALVES, Sample
from test_population import joint, patients_of

LANES, PATIENTS = 4000, 5
FRAME = Frame(np.array([True, True, True, False]), np.array([-1.5, 0.0, 0.0, -1.0]))
"""Three scores are pooled, as in `test_population`, and one is not; two are off in patients without a clone."""


@pytest.mark.parametrize("pack", ["clinical", "in-vitro"])
def test_what_seeds_a_clone_is_so_much_fainter(pack: str) -> None:
    """At small shares: of a logit-normal one the odds are, and others are not touched."""
    one = load_pack(pack, "psa" if pack == "clinical" else "one")
    names = shared(sampled(one, "spr"))
    found = dict(zip(names, shifts(names, one), strict=True))
    assert sorted(name for name, off in found.items() if off) == ["mutation", "resistant_0"]
    for name in ("mutation", "resistant_0"):
        usual, faint = (float(at_score(one.every[name], z)) for z in (0.0, found[name]))
        if one.every[name].kind == "logit-normal":
            usual = usual / (1.0 - usual)
        assert faint / usual == pytest.approx(FAINT, rel=1e-5)


def test_what_is_known_of_a_clone_is_not_shifted() -> None:
    one = load_pack(known("clinical", ("resistant_0=1e-3..1e-2",)), "psa")
    names = shared(sampled(one, "spr"))
    assert [name for name, off in zip(names, shifts(names, one), strict=True) if off] == ["mutation"]


def test_scores_that_are_not_pooled_say_their_part() -> None:
    """The log ratio of two normal laws of the one that is off and not pooled."""
    z = np.random.default_rng(0).normal(size=(2, 3, 4))
    right = stats.norm.logpdf(z[..., 3], FRAME.shift[3]) - stats.norm.logpdf(z[..., 3])
    np.testing.assert_allclose(rest(z, FRAME), right, rtol=1e-12)


def check_share(clone_free: np.ndarray) -> None:
    """The share without a clone is that of its prior."""
    laws.check_mean(clone_free, FREE_0 / (FREE_0 + FREE_1))
    for share in (0.05, 0.5, 0.95):
        edge = stats.beta.ppf(share, FREE_0, FREE_1)
        laws.check_share(clone_free < edge, share, what=f"under its {share:.0%} point")


def renewed(factor: float = 1.0, judged: float = 1.0) -> Law:
    """Laws after three rounds of patients drawn from them, a share of them without a clone, and themselves renewed: the joint
    law stays, so the prior does. Planted: scores off by a ``factor`` of the shift; patients ``judged`` by a part of the share.
    """
    rng = np.random.default_rng(1)
    law, _ = joint(rng)
    one = Plain(rng, np.ones((LANES, PATIENTS), bool), FRAME)
    one.law = law._replace(clone_free=rng.beta(FREE_0, FREE_1, LANES))
    for _ in range(3):
        free = rng.uniform(size=(LANES, PATIENTS)) < one.law.clone_free[:, None]
        z = np.concatenate([patients_of(rng, one.law), rng.standard_normal((LANES, PATIENTS, 1))], axis=-1)
        z = z + factor * free[..., None] * FRAME.shift
        one.law = one.law._replace(clone_free=judged * one.law.clone_free)
        one.renew(z[..., FRAME.pooled], rest(z, FRAME))
    return one.law


@pytest.mark.law
def test_rounds_leave_the_joint_law_as_it_is() -> None:
    law = renewed()
    check_share(law.clone_free)
    for at in range(3):
        laws.check_mean(law.mean[:, at], 0.0)
    laws.check_mean(law.share, 0.2)


@pytest.mark.law
def test_what_is_wrong_in_a_round_would_be_seen() -> None:
    laws.must_fail(lambda: check_share(renewed(factor=0.8).clone_free))
    laws.must_fail(lambda: check_share(renewed(judged=0.7).clone_free))


def cohort(rng: np.random.Generator, free: np.ndarray, error: float, draws: int) -> list[Sample]:
    """Exact draws of patients whose first and last score are measured with an ``error``, as `FRAME` has them, under the prior
    that has a clone or not, half and half.
    """
    z = rng.normal(0.0, 0.5, (len(free), 4)) + 3.0 * free[:, None] * FRAME.shift
    frame = FRAME._replace(shift=3.0 * FRAME.shift)
    seen = z + error * rng.standard_normal(z.shape)
    certain = 1.0 + error**-2.0
    found = []
    for row in seen:
        kinds = np.array([np.zeros(4), frame.shift])
        log_share = stats.norm.logpdf(row, kinds, np.sqrt(1.0 + error**2)).sum(axis=1)
        without = rng.uniform(size=(HALVES, draws)) < 1.0 / (1.0 + np.exp(log_share[0] - log_share[1]))
        about = np.where(without[..., None], kinds[1], kinds[0])
        middle = (about + row * error**-2.0) / certain
        own = middle + rng.standard_normal((HALVES, draws, 4)) / np.sqrt(certain)
        ratio = own @ frame.shift - 0.5 * frame.shift @ frame.shift
        under = np.logaddexp(np.log(0.5), np.log(0.5) + ratio)
        found.append(Sample(None, own, under))  # type: ignore[arg-type]
    return found


def test_a_cohort_learns_who_has_no_clone_and_how_many() -> None:
    """Two thirds have none. Where their scores tell it, it is told of each of them and of the share, which is that of a Beta
    law of so many; where they tell nothing, nobody is sorted out, and the share keeps its prior.
    """
    free = np.arange(60) % 3 > 0
    frame = FRAME._replace(shift=3.0 * FRAME.shift)
    for error, clear in ((0.5, True), (30.0, False)):
        rng = np.random.default_rng(4)
        population = Plain(rng, np.ones((32, 60), bool), frame)
        found = gibbs(rng, population, cohort(rng, free, error, 400), Rounds(100, 400, 10))
        share = population.drawn().clone_free
        if clear:
            np.testing.assert_allclose(found.free.mean(axis=0), free, atol=0.02)
            assert share.mean() == pytest.approx((FREE_0 + 40.0) / (FREE_0 + FREE_1 + 60.0), abs=0.01)
            assert share.std() == pytest.approx(stats.beta.std(FREE_0 + 40.0, FREE_1 + 20.0), rel=0.2)
        else:
            assert np.ptp(found.free.mean(axis=0)) == pytest.approx(0.0, abs=0.2)
            assert share.std() == pytest.approx(stats.beta.std(FREE_0, FREE_1), rel=0.35)


@pytest.mark.law
def test_those_apart_are_told_whether_they_have_a_clone_or_not() -> None:
    """Probabilities to be apart, summed over having a clone or not, by Bayes' formula."""
    rng = np.random.default_rng(5)
    one = Plain(rng, np.ones((2, 3), bool), FRAME)
    law = joint(rng)[0]
    one.law = Law(*(part[:2] for part in law))._replace(clone_free=np.array([0.3, 0.9]))
    z = rng.normal(size=(2, 3, 4))
    apart, free = one.likely(z[..., FRAME.pooled], rest(z, FRAME))
    for lane in range(2):
        own = Law(*(part[lane] for part in one.law))
        weight = np.zeros((2, 2, 3))
        for kind, has_none in np.ndindex(2, 2):
            about = own.mean + kind * own.apart + has_none * FRAME.learned
            density = stats.multivariate_normal.pdf(z[lane][:, :3], about, own.covariance)
            more = stats.norm.pdf(z[lane][:, 3], has_none * FRAME.shift[3])
            shares = (own.share if kind else 1.0 - own.share) * (own.clone_free if has_none else 1.0 - own.clone_free)
            weight[kind, has_none] = shares * density * more
        weight /= weight.sum(axis=(0, 1))
        np.testing.assert_allclose(apart[lane], weight[1].sum(axis=0), rtol=1e-9)
        np.testing.assert_allclose(free[lane], weight[:, 1].sum(axis=0), rtol=1e-9)
