"""Which draws patients take under laws: by their weight, of their half, in float32 as in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.clone_free import Frame
from persist.inference.population import KINDS, Law
from persist.inference.sample import HALVES, Sample
from persist.inference.weights import BLOCK, Draws, coefficients, features, half_of

FRAME = Frame(np.array([True, False, True, True]), np.array([0.0, -2.6, -4.4, 0.0]))
"""Of four scores: one that is pooled and one that is not are off in patients without a clone."""


def some_laws(rng: np.random.Generator, lanes: int, patients: int, spread: float = 1.0, middle: float = 0.0) -> Law:
    """A law for each lane and patient, of three scores."""
    root = spread * (np.eye(3) + 0.4 * rng.standard_normal((lanes, 3, 3)))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.05 * spread**2 * np.eye(3)
    mean = middle + spread * rng.normal(size=(lanes, patients, 3))
    shares = rng.uniform(0.0, 0.9, (lanes, patients)), rng.uniform(0.1, 0.9, (lanes, patients))
    return Law(mean, covariance, rng.normal(size=(lanes, 3)), *shares)


def some_scores(rng: np.random.Generator, *shape: int, spread: float = 1.0, middle: float = 0.0) -> np.ndarray:
    """All scores ``(*shape, 4)``, half of them of patients without a clone; those pooled are about the ``middle``."""
    off = (rng.uniform(size=shape) < 0.5)[..., None] * FRAME.shift
    return np.where(FRAME.pooled, middle, 0.0) + spread * rng.standard_normal((*shape, 4)) + off


def some_priors(rng: np.random.Generator, z: np.ndarray) -> np.ndarray:
    """Log densities over the standard normal at all scores ``(..., 4)`` that priors with a clone and without may have."""
    ratio = (stats.norm.logpdf(z, FRAME.shift) - stats.norm.logpdf(z)).sum(axis=-1)
    return np.logaddexp(np.log(0.5), np.log(0.5) + ratio) + rng.normal(size=z.shape[:-1])


def log_density(z: np.ndarray, law: Law, lane: int, patient: int, frame: Frame = FRAME) -> np.ndarray:
    """Of a law at draws of all scores ``(K, 4)`` over the standard normal, by the definition: the mixture of most and those
    apart, with a clone and without.
    """
    share, free, middle = law.share[lane, patient], law.clone_free[lane, patient], law.mean[lane, patient]
    kinds = []
    for without, apart in np.ndindex(2, 2):
        weight = (free if without else 1.0 - free) * (share if apart else 1.0 - share)
        own, at = z - without * frame.shift, middle + apart * law.apart[lane]
        pooled = stats.multivariate_normal.logpdf(own[:, frame.pooled], at, law.covariance[lane])
        with np.errstate(divide="ignore"):
            kinds.append(np.log(weight) + pooled + stats.norm.logpdf(own[:, ~frame.pooled]).sum(axis=1))
    return np.logaddexp.reduce(kinds) - stats.norm.logpdf(z).sum(axis=1)


@pytest.mark.parametrize(("spread", "middle"), [(1.0, 0.0), (0.3, 4.0), (0.25, -8.0)])
def test_log_weights_are_those_of_the_definition(spread: float, middle: float) -> None:
    """Also of a cohort that is far from the pack's prior and alike, where terms of the product are largest. As near as they
    must be: where a draw has a weight of 1e-9 of the largest, or more.
    """
    rng, patients, lanes = np.random.default_rng(3), 2, 6
    law = some_laws(rng, lanes, patients, spread, middle)
    law.share[0] = 0.0  # nobody is apart there
    law.clone_free[1] = law.clone_free[0, 0] = 0.0  # and there all have a clone
    z = some_scores(rng, patients, HALVES, 50, spread=2.0 * spread, middle=middle)
    under = some_priors(rng, z)
    draws = Draws.of([Sample(None, *own) for own in zip(z, under, strict=True)], FRAME)  # type: ignore[arg-type]
    rows = jnp.asarray(coefficients(law, draws.centre, FRAME), jnp.float32)
    for lane, half in enumerate(half_of(lanes)):
        for patient in range(patients):
            item = patient * HALVES + half
            found = np.asarray(rows[patient, lane] @ features(draws.near[item]) + draws.rest[item][None])
            assert (found.dtype, len(found)) == (np.float32, KINDS)
            found = np.logaddexp.reduce(found.astype(float))[:50]
            right = log_density(z[patient, half], law, lane, patient) - under[patient, half]
            near = right > right.max() - 20.0
            off = (found - found.max()) - (right - right.max())
            np.testing.assert_allclose(off[near], 0.0, atol=1e-3)


@pytest.mark.law
def test_patients_take_their_draws_by_their_weight() -> None:
    """Lanes of the first half among the draws of that half, the others among the others; how many count."""
    rng, lanes, number = np.random.default_rng(6), 12000, 5
    one = some_laws(rng, 1, 2)._replace(clone_free=np.array([[0.25, 0.8]]))
    law = Law(*(np.repeat(part, lanes, axis=0) for part in one))
    z = some_scores(rng, 2, HALVES, number)
    under = some_priors(rng, z)
    draws = Draws.of([Sample(None, *own) for own in zip(z, under, strict=True)], FRAME)  # type: ignore[arg-type]
    found = draws.taken(law, rng.uniform(size=(lanes, 2)), FRAME)
    taken = found.place
    scores, more = draws.at(taken)
    for at in ((0, 1), (-1, 0)):  # of the first half and of the other
        mine = z[at[1], at[0], taken[at]]
        np.testing.assert_array_equal(scores[at], mine[FRAME.pooled])
        says = (stats.norm.logpdf(mine, FRAME.shift) - stats.norm.logpdf(mine))[~FRAME.pooled]
        np.testing.assert_allclose(more[at], says.sum(), rtol=1e-12)

    def check(under: np.ndarray, one: Law = one, frame: Frame = FRAME) -> None:
        for patient in range(2):
            for half, mine in enumerate(np.split(taken[:, patient], HALVES)):
                weight = np.exp(log_density(z[patient, half], one, 0, patient, frame) - under[patient, half])
                for draw in range(number):
                    laws.check_share(mine == draw, weight[draw] / weight.sum())

    check(under)
    laws.must_fail(lambda: check(np.zeros_like(under)))  # as if all had been drawn under the pack's prior
    laws.must_fail(lambda: check(under[:, ::-1]))  # as if halves had each other's draws
    for wrong in (np.zeros((1, 2)), 1.0 - one.clone_free):  # as if all had a clone, and if so many had as have none
        laws.must_fail(lambda wrong=wrong: check(under, one._replace(clone_free=wrong)))
    for silent in (FRAME.pooled, ~FRAME.pooled):  # as if these scores did not tell who has none
        frame = FRAME._replace(shift=np.where(silent, 0.0, FRAME.shift))
        laws.must_fail(lambda frame=frame: check(under, frame=frame))
    weights = np.exp([log_density(z[1, half], one, 0, 1) - under[1, half] for half in range(HALVES)])
    right = weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1)
    np.testing.assert_allclose(found.effective[:, 1], np.repeat(right, lanes // HALVES), rtol=1e-4)


@pytest.mark.parametrize("number", [1, BLOCK - 1, BLOCK, 5 * BLOCK + 7])
def test_no_draw_is_taken_that_is_not_there_or_weighs_nothing(number: int) -> None:
    """At the ends of what uniform numbers can be; the last draw and the first are 60 off, and laws narrower than the prior,
    with a clone and without. Nor does what fills up a block count among the draws: those that count are as many as their
    weights say.
    """
    rng, lanes = np.random.default_rng(7), 64
    law = some_laws(rng, lanes, 1, spread=0.2)
    z = some_scores(rng, 1, HALVES, number, spread=0.3)
    if number > 2:
        z[:, :, [0, -1]] = 60.0
    draws = Draws.of([Sample(None, z[0], np.zeros((HALVES, number)))], FRAME)  # type: ignore[arg-type]
    each = [
        np.exp(np.reshape(log_density(z[0, half], law, lane, 0), number)) for lane, half in enumerate(half_of(lanes))
    ]
    right = [np.sum(weight) ** 2 / np.sum(weight**2) for weight in each]
    total, half = np.log([weight.sum() for weight in each]), half_of(lanes)
    for u in (np.zeros((lanes, 1)), np.full((lanes, 1), np.nextafter(1.0, 0.0)), rng.uniform(size=(lanes, 1))):
        taken, many, evidence = draws.taken(law, u, FRAME)
        low, high = (1, number - 2) if number > 2 else (0, number - 1)
        assert taken.min() >= low
        assert taken.max() <= high
        np.testing.assert_allclose(many[:, 0], right, rtol=3e-3)
        assert many.mean() == pytest.approx(np.mean(right), rel=1e-3)
        for own in (half == 0, half == 1):  # up to a constant of the half
            np.testing.assert_allclose(np.ptp(evidence[own, 0] - total[own]), 0.0, atol=3e-3)
