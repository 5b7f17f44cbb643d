"""The sampler's coordinates: the density in them is that of the named priors and the series, with the right Jacobian."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from persist.inference import coordinates
from persist.inference.cohort import case, pad
from persist.inference.model import follow, sampled
from persist.inference.priors import load_pack
from persist.inference.target import Target, problem
from persist.types import Schedule, Series

SERIES = Series(
    "A",
    "psa",
    "",
    np.array([0.0, 30.0, 90.0, 150.0, 200.0]),
    np.array([20.0, 8.0, 1.0, 0.5, 3.0]),
    np.array([0, 0, 0, -1, 0]),
    {"drug": Schedule(np.array([0.0]), np.array([160.0]), np.array([1.0]))},
)


def normal_scale(prior, value):
    """The scale on which a prior is normal."""
    if prior.kind == "logit-normal":
        return jnp.log((value - prior.lower) / (prior.upper - value))
    return jnp.log(-value if prior.kind == "negative-log-normal" else value)


def gap(pack_name: str, variant: str, at: np.ndarray) -> float:
    """Energy in the coordinates against priors, likelihood and a Jacobian that JAX works out from the map itself."""
    target = Target(variant, pack_name, "psa", 1.0)
    pack, one = load_pack(pack_name, "psa"), case(pad([SERIES], pack=pack_name), 0, counted=False)
    potential, constrain = problem(target)
    names = sampled(pack, variant)
    sites = coordinates.sites(names)
    entries = {**pack.entries, "cells_per_unit": pack.cells_per_unit}
    shift = {"settled_burden": one.log_largest, "burden_0": one.log_first}

    def standard(flat):
        values = constrain(one, dict(zip(sites, flat, strict=True)))
        z = [(normal_scale(entries[n], values[n]) - entries[n].location - shift.get(n, 0.0)) for n in names]
        return jnp.stack([row / entries[n].scale for row, n in zip(z, names, strict=True)])

    flat = jnp.asarray(at[: len(sites)])
    values = constrain(one, dict(zip(sites, flat, strict=True)))
    prior = jnp.sum(jax.scipy.stats.norm.logpdf(standard(flat))) + jnp.linalg.slogdet(jax.jacfwd(standard)(flat))[1]
    asked = prior + jnp.sum(follow(values, one, 1.0).pointwise)
    return float(-potential(one)(dict(zip(sites, flat, strict=True))) - asked)


def points() -> list[np.ndarray]:
    """Points about the middle of the clinical priors, by their order in `sites`."""
    pack, one = load_pack("clinical", "psa"), case(pad([SERIES], pack="clinical"), 0, counted=False)
    from persist.inference.starts import coordinates as reach

    location, scale = reach(pack, sampled(pack, "spr"), one)
    order = coordinates.sites(sampled(pack, "spr"))
    middle, width = (np.array([float(part[site]) for site in order]) for part in (location, scale))
    rng = np.random.default_rng(3)
    return [middle + width * rng.normal(size=len(middle)) for _ in range(4)]


@pytest.mark.parametrize("number", range(4))
def test_the_density_is_that_of_the_named_priors(number: int) -> None:
    """In log-normal entries NumPyro's coordinate is log x: the standard scale differs by constants that JAX sees."""
    first = gap("clinical", "spr", points()[0])
    assert gap("clinical", "spr", points()[number]) == pytest.approx(first, abs=1e-8)
    assert first == pytest.approx(0.0, abs=1e-8)


def test_a_forgotten_jacobian_is_seen(monkeypatch) -> None:
    at, unstretch = points()[0], coordinates.unstretch
    problem.cache_clear()
    monkeypatch.setattr(coordinates, "unstretch", lambda u: (unstretch(u)[0], 0.0))
    try:
        assert abs(gap("clinical", "spr", at)) > 1e-3
    finally:
        problem.cache_clear()


def test_variants_without_a_state_have_no_coordinates_of_it() -> None:
    pack = load_pack("clinical", "psa")
    assert not set(coordinates.CLONE.values()) & set(coordinates.sites(sampled(pack, "sp")))
    assert not set(coordinates.PERSISTERS.values()) & set(coordinates.sites(sampled(pack, "sr")))
    for variant in ("spr", "sr", "sp"):
        names = sampled(pack, variant)
        assert len(set(coordinates.sites(names))) == len(names)


@pytest.mark.parametrize("u", [-50.0, -3.0, 0.0, 3.9, 4.0, 4.1, 7.0, 30.0, 400.0])
def test_the_stretch_is_undone(u: float) -> None:
    x, log_slope = coordinates.unstretch(jnp.asarray(u))
    assert float(x + coordinates.STRETCH * jax.nn.sigmoid(x)) == pytest.approx(u, abs=1e-12)
    share = float(jax.nn.sigmoid(x))
    slope = 1.0 / (1.0 + coordinates.STRETCH * share * (1.0 - share))
    assert float(jnp.exp(log_slope)) == pytest.approx(slope, rel=1e-10)
    assert float(jax.grad(lambda at: coordinates.unstretch(at)[0])(jnp.asarray(u))) == pytest.approx(slope, rel=1e-10)
