"""The law of the resistant clone against samples of the law itself, and against the engines."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laws
from persist.dynamics.clones import Clone, clone, log_density
from persist.dynamics.trajectories import simulate
from persist.treatment.exposure import relax
from persist.types import Cells, Grid, Rates

STEPS, DAYS, N = 100, 7.0, 50_000
density = jax.jit(jax.vmap(log_density, in_axes=(0, None)))


def law(founders: float, supply: float, growth: float = 0.01, birth: float = 0.14, swell: float = 0.0) -> Clone:
    """Births and growth at one pace; ``supply`` cells a day that swells at its own."""
    each = np.ones(STEPS) * DAYS
    arrivals = supply * each * np.exp(swell * DAYS * np.arange(STEPS))
    return clone(founders, jnp.asarray(arrivals), jnp.asarray(birth * each), jnp.asarray(growth * each))


def distribution(one: Clone, at: np.ndarray) -> np.ndarray:
    """P(0 < W <= at), by integrating the density in log W."""
    w = np.exp(np.linspace(np.log(at.min()) - 25.0, np.log(at.max()) + 5.0, 6001))
    value = np.exp(np.asarray(density(jnp.asarray(w), one))) * w
    share = np.concatenate([[0.0], np.cumsum(0.5 * (value[1:] + value[:-1]) * np.diff(np.log(w)))])
    return np.append(np.interp(at, w, share), share[-1])


def sample(one: Clone) -> np.ndarray:
    """W by its definition: Poisson numbers of lines, each of exponential size."""
    rng = np.random.default_rng(3)
    lines = rng.poisson(np.asarray(one.rate), (N, len(one.rate)))
    return np.where(lines > 0, rng.standard_gamma(np.maximum(lines, 1)), 0.0) @ np.asarray(one.size)


CASES = {
    "one founder or none": (law(3.0, 0.0), 1e-3),
    "some founders": (law(100.0, 0.0), 1e-3),
    "many founders": (law(1e4, 0.0), 1e-3),
    "rare arrivals": (law(0.1, 0.01), 1e-3),
    "arrivals": (law(1.0, 0.1), 1e-3),
    "founders and arrivals": (law(10.0, 1.0), 1e-3),
    "arrivals that swell": (law(0.0, 1e-7, 0.03, swell=0.03), 0.015),
}


@pytest.mark.law
@pytest.mark.parametrize("name", CASES)
def test_the_density_is_that_of_the_law(name: str) -> None:
    one, loose = CASES[name]
    drawn, none = sample(one), float(np.exp(one.log_none))
    at = np.quantile(drawn[drawn > 0], [0.05, 0.5, 0.95])
    *found, mass = distribution(one, at)
    assert mass == pytest.approx(1.0 - none, abs=loose)
    for x, share in zip(at, found, strict=True):
        laws.check_share(drawn <= x, share + none, what=f"size of {name}", slack=loose)
    laws.check_share(drawn == 0.0, none, what="none")
    laws.must_fail(lambda: laws.check_share(1.5 * drawn <= at[1], found[1] + none, slack=loose))


@pytest.mark.law
def test_the_law_is_that_of_the_engine() -> None:
    """R from Poisson founders and steady arrivals, under a drug that comes and goes, followed event by event."""
    grid = Grid(np.ones(60), np.repeat([1.0, 0.0, 1.0], 20))
    rates = Rates(birth_r=0.2, death_r=0.12, kill_r=0.06, escape_base=2e-4, onset_days=3.0, washout_days=10.0)
    level = relax(grid, rates.onset_days, rates.washout_days)
    start = np.random.default_rng(5).poisson(4.0, N // 5).astype(float)
    end = simulate(
        jax.random.key(4), Cells(0.0, 100.0, jnp.asarray(start)), rates, grid, level, engine="ssa"
    ).resistant[:, -1]
    exposure = np.asarray(level.target + (level.start - level.target) * np.exp(-0.5 / level.days))
    growth = 0.08 - 0.06 * exposure
    one = clone(4.0, jnp.full(60, 0.02), jnp.full(60, 0.2), jnp.asarray(growth))
    size, none = np.asarray(end) * np.exp(-growth.sum()), float(np.exp(one.log_none))
    laws.check_share(size == 0.0, none, what="no clone", slack=1e-3)
    at = np.quantile(size[size > 0], [0.3, 0.6, 0.9]) + 0.5 * np.exp(-growth.sum())
    for x, share in zip(at, distribution(one, at), strict=False):
        laws.check_share(size <= x, share + none, what="size of the clone", slack=3e-3)
    fewer = clone(3.0, jnp.full(60, 0.02), jnp.full(60, 0.2), jnp.asarray(growth))
    laws.must_fail(lambda: laws.check_share(size == 0.0, float(np.exp(fewer.log_none)), slack=1e-3))


def test_the_mean_is_that_of_the_mean_field() -> None:
    one = law(2.0, 0.5)
    ends = np.exp(0.01 * DAYS * STEPS)
    assert float(one.mean) * ends == pytest.approx(2.0 * ends + 0.5 / 0.01 * (ends - 1.0), rel=1e-3)


@pytest.mark.parametrize("name", [*CASES, "very many founders"])
def test_the_density_has_gradients_everywhere(name: str) -> None:
    one, _ = CASES.get(name, (law(1e9, 10.0), 0.0))
    near = float(one.mean) * np.exp(np.linspace(-0.01, 0.01, 21))
    w = np.append(float(jnp.max(one.size)) * np.exp(np.linspace(-12.0, 8.0, 41)), near)
    slope = jax.jit(
        jax.vmap(jax.grad(lambda w, rate, size: log_density(w, Clone(rate, size)), (0, 1, 2)), in_axes=(0, None, None))
    )
    assert all(np.all(np.isfinite(part)) for part in slope(jnp.asarray(w), *one))
