"""A cohort with biomarkers, in stages: against exact draws of the same law, and over again after a stop."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import laws
from persist.inference import regression
from persist.inference.clone_free import Frame
from persist.inference.covariates import Covariates, at, share, shift
from persist.inference.gibbs import PARTS
from persist.inference.learned import ByBiomarkers
from persist.inference.pooling import Pace, pool
from persist.inference.population import KINDS, belong
from persist.inference.regression import Regressed
from persist.inference.stages import mixtures
from test_pooling import ERROR, QUICK, VALUES, members, thinned, toy  # noqa: F401

SEEN = np.array([[True, True], [True, True], [False, True], [True, True], [True, False], [True, True]])
KNOWN = Covariates(
    np.where(SEEN, [[1.2, 0.3], [-0.6, 1.1], [0, -1.4], [0.9, 0.2], [-1.5, 0], [0.0, -0.2]], 0.0),
    SEEN,
    ACTS := np.array([True, False, True]),
)


def exact(lanes: int = 32, rounds: int = 1500, error: np.ndarray = ERROR) -> np.ndarray:
    """What is compared (see `told`) by Gibbs with exact draws of the patients' scores, ``(lanes, rounds, ...)``."""
    rng, pooled = np.random.default_rng(2), np.array([True, True, False])
    values, rows = np.tile(VALUES[:, :2], (lanes, 1, 1)), []
    state, z, counted = regression.begin(lanes, KNOWN, pooled), values, np.ones(values.shape[:2], bool)
    certain = np.diag(error[:2] ** -2.0)
    for _ in range(rounds):
        state = regression.renew(rng, z, state, KNOWN, ACTS[pooled], counted)
        law, base = state.law, shift(state.effects, state.x)
        wide = law._replace(covariance=law.covariance + np.diag(error[:2] ** 2))  # of values, errors among them
        among = rng.uniform(size=z.shape[:2]) < belong(values - base, wide, share(state.effects, state.x))
        middle = law.mean[:, None] + base + among[..., None] * law.apart[:, None]
        precision = np.linalg.inv(law.covariance)
        total = np.linalg.inv(precision + certain)
        pull = np.einsum("lij,lpj->lpi", precision, middle) + VALUES[None, :, :2] @ certain
        root = np.linalg.cholesky(total)
        z = np.einsum("lij,lpj->lpi", total, pull) + np.einsum("lij,lpj->lpi", root, rng.standard_normal(z.shape))
        rows.append(told(state))
    return np.moveaxis(np.array(rows[100:]), 0, 1)


def told(state: Regressed) -> np.ndarray:
    """Means, log variances, and effects as shares of large ones, ``(..., 7)``."""
    law, effects, _ = state
    variance = np.log(np.diagonal(law.covariance, axis1=-2, axis2=-1))
    slope = effects.slope[..., 0, :]
    return np.concatenate(
        [law.mean, variance, np.tanh(4.0 * slope), (np.abs(slope[..., :1]) > 0.1).astype(float)], axis=-1
    )


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_the_law_is_that_of_exact_draws() -> None:
    found = pool(0, members(), Pace(lanes=16, warmup=100, rounds=1500, thin=5), covariates=KNOWN)
    assert found.frame.pooled.tolist() == [True, True, False]
    mine = thinned(np.moveaxis(told(Regressed(found.laws, found.effects, None)), 0, 1))
    right, wrong = thinned(exact()), thinned(exact(error=1.6 * ERROR))
    for j in range(7):
        laws.check_same(mine[:, j], right[:, j])
    laws.must_fail(lambda: [laws.check_same(mine[:, j], wrong[:, j]) for j in range(7)])


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path) -> None:
    def stop(what: str, share: float) -> None:
        if what == "together" and share > 0.85:
            raise KeyboardInterrupt

    whole = pool(0, members(), QUICK, covariates=KNOWN)
    with pytest.raises(KeyboardInterrupt):
        pool(0, members(), QUICK, covariates=KNOWN, folder=tmp_path, progress=stop)
    again = pool(0, members(), QUICK, covariates=KNOWN, folder=tmp_path)
    for one, other in zip(
        jax.tree.leaves(whole._replace(seconds=0)), jax.tree.leaves(again._replace(seconds=0)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    assert whole.effects.slope.shape == (8, 8, 2, 2)
    assert not whole.effects.slope[:, :, 1].any()
    other = pool(0, members(), QUICK, folder=tmp_path)
    assert other.effects is None
    assert not np.array_equal(other.laws.mean, whole.laws.mean)


def test_each_patient_has_the_law_of_its_biomarkers() -> None:
    """Also in the prior of the next stage, where means lie by B x from each other; of missing ones lane by lane."""
    rng = np.random.default_rng(9)
    frame = Frame(np.array([True, True, False]), np.array([-1.5, 0.0, -1.0]))
    own = ByBiomarkers(rng, np.ones((5, 6), bool), frame, KNOWN)
    own.effects = own.effects._replace(
        slope=rng.normal(size=own.effects.slope.shape), toward=rng.normal(size=own.effects.toward.shape)
    )
    own.x = np.where(SEEN, own.x, rng.normal(size=own.x.shape))
    own.law = own.law._replace(clone_free=rng.uniform(size=5))
    each = own.each()
    for patient in range(6):
        right = at(own.law, own.effects, own.x[:, patient])
        np.testing.assert_allclose(each.mean[:, patient], right.mean)
        np.testing.assert_allclose(each.share[:, patient], right.share)
        np.testing.assert_array_equal(each.clone_free[:, patient], own.law.clone_free)
    some = each._replace(
        **{name: np.tile(part, (4, *[1] * (part.ndim - 1)))[:PARTS] for name, part in each._asdict().items()}
    )
    found = mixtures(some, frame)
    gap = (found[3].mean - found[0].mean)[: KINDS * 5, :2].reshape(5, KINDS, 2)
    for kind in range(KINDS):
        np.testing.assert_allclose(gap[:, kind], each.mean[:, 3] - each.mean[:, 0])
