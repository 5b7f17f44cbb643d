"""Exposure: the lag in closed form, its edges and its gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

from persist.treatment.exposure import relax
from persist.types import Grid

GRID = Grid(np.array([1.0, 2.5, 0.5, 4.0, 3.0]), np.array([1.0, 1.0, 0.3, 0.0, 0.7]))


def test_the_closed_form_solves_the_equation() -> None:
    onset, washout, level = 1.5, 4.0, 0.1
    seen = relax(GRID, onset, washout, level)
    for step, (length, dose) in enumerate(zip(*GRID, strict=True)):
        assert seen.start[step] == pytest.approx(level, abs=1e-8)
        assert seen.target[step] == dose
        tau = onset if dose > level else washout
        assert seen.days[step] == tau
        solved = integrate.solve_ivp(
            lambda _, E, D=dose, t=tau: (D - E) / t, (0, length), [level], rtol=1e-10, atol=1e-12
        )
        level = solved.y[0, -1]


def test_no_lag_is_the_dose_at_once() -> None:
    seen = relax(GRID, 0.0, 0.0)
    np.testing.assert_array_equal(seen.start[1:], GRID.dose[:-1])
    np.testing.assert_array_equal(seen.days, 0.0)


def test_batches_of_time_constants() -> None:
    onset = jnp.array([[0.0, 1.0], [2.0, 3.0]])
    seen = relax(GRID, onset, 4.0)
    assert seen.start.shape == seen.target.shape == seen.days.shape == (5, 2, 2)
    alone = relax(GRID, 2.0, 4.0)
    np.testing.assert_allclose(seen.start[:, 1, 0], alone.start, rtol=1e-12)


def test_padding_does_nothing() -> None:
    padded = Grid(np.array([1.0, 0.0, 2.0]), np.array([1.0, 0.0, 1.0]))
    for tau in (0.0, 3.0):
        seen = relax(padded, tau, tau)
        assert seen.start[2] == seen.start[1]


@jax.jit
def total(onset: jax.Array, washout: jax.Array, begin: jax.Array) -> jax.Array:
    """A number that depends on the whole lag."""
    return relax(GRID, onset, washout, begin).start.sum()


gradients = jax.jit(jax.grad(total, argnums=(0, 1, 2)))


@pytest.mark.parametrize("onset", [0.0, 1e-12, 1e-6, 0.5, 30.0])
@pytest.mark.parametrize("washout", [0.0, 1e-12, 1e-6, 0.5, 90.0])
def test_gradients(onset: float, washout: float) -> None:
    here = (onset, washout, 0.2)
    slopes = gradients(*here)
    assert np.all(np.isfinite(slopes))
    if onset >= 0.5 and washout >= 0.5:
        for at, slope in enumerate(slopes):
            step = np.eye(3)[at] * 1e-6
            change = (total(*(np.array(here) + step)) - total(*(np.array(here) - step))) / 2e-6
            assert slope == pytest.approx(float(change), rel=1e-5, abs=1e-8)
