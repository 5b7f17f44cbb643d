"""What chains share in warm-up: one metric, one step size; and that adapted states adapt no more."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.infer.hmc import HMCState
from numpyro.infer.hmc_util import HMCAdaptState

from persist.inference.rounds import ADAPTED, BLOCK, Effort, _metric, _settled, _shared_step, iterations


def state(steps: list[float]) -> HMCState:
    """The state of some chains whose dual averaging has come to these step sizes."""
    average = (jnp.zeros(len(steps)), jnp.log(jnp.asarray(steps)), None, None, None)
    adapt = HMCAdaptState(jnp.asarray(steps), None, None, None, average, None, None, None)
    rest = dict.fromkeys(HMCState._fields)
    return HMCState(**(rest | {"i": jnp.full(len(steps), BLOCK), "adapt_state": adapt}))


def test_iterations_are_whole_blocks() -> None:
    assert iterations(Effort(4, 400, 600)) == 1000
    assert iterations(Effort(4, 1, BLOCK + 1)) == 3 * BLOCK


def test_the_shared_step_is_the_geometric_mean() -> None:
    assert _shared_step([state([0.1, 0.2]), state([0.4, 0.8])]) == pytest.approx((0.1 * 0.2 * 0.4 * 0.8) ** 0.25)


def test_a_settled_state_has_the_step_and_adapts_no_more() -> None:
    after = _settled(state([0.1, 0.2]), 0.3)
    np.testing.assert_array_equal(after.adapt_state.step_size, [0.3, 0.3])
    np.testing.assert_array_equal(after.i, [ADAPTED, ADAPTED])


def test_the_metric_is_the_covariance_of_all_chains() -> None:
    rng = np.random.default_rng(0)
    cover = np.array([[1.0, 0.8], [0.8, 2.0]])
    draws = rng.multivariate_normal([3.0, -1.0], cover, (50_000, 4))
    np.testing.assert_allclose(_metric(draws), cover, atol=0.03)


def test_the_metric_of_few_draws_is_positive_definite_and_keeps_the_widths() -> None:
    draws = np.random.default_rng(1).normal(size=(5, 2, 24)) * np.arange(1, 25)
    metric = _metric(draws)
    assert np.linalg.eigvalsh(metric).min() > 0.0
    np.testing.assert_allclose(np.diag(metric), draws.reshape(10, 24).var(axis=0, ddof=1), rtol=1e-6)
