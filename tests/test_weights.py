"""Which draws patients take under laws: by their weight, of their half, in float32 as in float64."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.population import Law
from persist.inference.sample import HALVES, Sample
from persist.inference.weights import BLOCK, Draws, coefficients, features, half_of

POOLED = np.array([True, False, True, True])


def some_laws(rng: np.random.Generator, lanes: int, patients: int, spread: float = 1.0, middle: float = 0.0) -> Law:
    """A law for each lane and patient, of three scores."""
    root = spread * (np.eye(3) + 0.4 * rng.standard_normal((lanes, 3, 3)))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.05 * spread**2 * np.eye(3)
    mean = middle + spread * rng.normal(size=(lanes, patients, 3))
    return Law(mean, covariance, rng.normal(size=(lanes, 3)), rng.uniform(0.0, 0.9, (lanes, patients)))


def log_density(z: np.ndarray, law: Law, lane: int, patient: int) -> np.ndarray:
    """Of a law at draws ``(K, 3)`` over the standard normal, by the definition."""
    share, middle = law.share[lane, patient], law.mean[lane, patient]
    parts = [(1.0 - share, middle), (share, middle + law.apart[lane])]
    with np.errstate(divide="ignore"):
        each = [np.log(w) + stats.multivariate_normal.logpdf(z, at, law.covariance[lane]) for w, at in parts]
    return np.logaddexp(*each) - stats.norm.logpdf(z).sum(axis=-1)


@pytest.mark.parametrize(("spread", "middle"), [(1.0, 0.0), (0.3, 4.0), (0.25, -8.0)])
def test_log_weights_are_those_of_the_definition(spread: float, middle: float) -> None:
    """Also of a cohort that is far from the pack's prior and alike, where terms of the product are largest. As near as they
    must be: where a draw has a weight of 1e-9 of the largest, or more.
    """
    rng, patients, lanes = np.random.default_rng(3), 2, 6
    law = some_laws(rng, lanes, patients, spread, middle)
    law.share[0] = 0.0  # nobody is apart there
    z = middle + 2.0 * spread * rng.standard_normal((patients, HALVES, 50, 4))
    under = rng.normal(size=(patients, HALVES, 50))
    draws = Draws.of([Sample(None, *own) for own in zip(z, under, strict=True)], POOLED)  # type: ignore[arg-type]
    rows = jnp.asarray(coefficients(law, draws.centre), jnp.float32)
    for lane, half in enumerate(half_of(lanes)):
        for patient in range(patients):
            item = patient * HALVES + half
            found = np.asarray(rows[patient, lane] @ features(draws.near[item]) + draws.rest[item][None])
            assert found.dtype == np.float32
            found = np.logaddexp(*found.astype(float))[:50]
            right = log_density(z[patient, half][:, POOLED], law, lane, patient) - under[patient, half]
            near = right > right.max() - 20.0
            off = (found - found.max()) - (right - right.max())
            np.testing.assert_allclose(off[near], 0.0, atol=1e-3)


@pytest.mark.law
def test_patients_take_their_draws_by_their_weight() -> None:
    """Lanes of the first half among the draws of that half, the others among the others; how many count."""
    rng, lanes, number = np.random.default_rng(6), 12000, 5
    one = some_laws(rng, 1, 2)
    law = Law(*(np.repeat(part, lanes, axis=0) for part in one))
    z, under = rng.normal(size=(2, HALVES, number, 4)), rng.normal(size=(2, HALVES, number))
    draws = Draws.of([Sample(None, *own) for own in zip(z, under, strict=True)], POOLED)  # type: ignore[arg-type]
    taken, many = draws.taken(law, rng.uniform(size=(lanes, 2)))
    np.testing.assert_array_equal(draws.at(taken)[0, 1], z[1, 0, taken[0, 1]][POOLED])
    np.testing.assert_array_equal(draws.at(taken)[-1, 0], z[0, 1, taken[-1, 0]][POOLED])

    def check(under: np.ndarray) -> None:
        for patient in range(2):
            for half, mine in enumerate(np.split(taken[:, patient], HALVES)):
                weight = np.exp(log_density(z[patient, half][:, POOLED], one, 0, patient) - under[patient, half])
                for draw in range(number):
                    laws.check_share(mine == draw, weight[draw] / weight.sum())

    check(under)
    laws.must_fail(lambda: check(np.zeros_like(under)))  # as if all had been drawn under the pack's prior
    laws.must_fail(lambda: check(under[:, ::-1]))  # as if halves had each other's draws
    weights = np.exp([log_density(z[1, half][:, POOLED], one, 0, 1) - under[1, half] for half in range(HALVES)])
    right = np.mean(weights.sum(axis=1) ** 2 / (weights**2).sum(axis=1))
    assert many[1] == pytest.approx(right, rel=1e-4)


@pytest.mark.parametrize("number", [1, BLOCK - 1, BLOCK, 5 * BLOCK + 7])
def test_no_draw_is_taken_that_is_not_there_or_weighs_nothing(number: int) -> None:
    """At the ends of what uniform numbers can be; the last draw and the first are 60 off, and laws narrower than the prior. Nor
    does what fills up a block count among the draws: those that count are as many as their weights say.
    """
    rng, lanes = np.random.default_rng(7), 64
    law = some_laws(rng, lanes, 1, spread=0.2)
    z = 0.3 * rng.standard_normal((1, HALVES, number, 4))
    if number > 2:
        z[:, :, [0, -1]] = 60.0
    draws = Draws.of([Sample(None, z[0], np.zeros((HALVES, number)))], POOLED)  # type: ignore[arg-type]
    each = [
        np.exp(log_density(z[0, half][:, POOLED].reshape(number, 3), law, lane, 0))
        for lane, half in enumerate(half_of(lanes))
    ]
    right = np.mean([np.sum(weight) ** 2 / np.sum(weight**2) for weight in each])
    for u in (np.zeros((lanes, 1)), np.full((lanes, 1), np.nextafter(1.0, 0.0)), rng.uniform(size=(lanes, 1))):
        taken, many = draws.taken(law, u)
        low, high = (1, number - 2) if number > 2 else (0, number - 1)
        assert taken.min() >= low
        assert taken.max() <= high
        assert many[0] == pytest.approx(right, rel=1e-3)
