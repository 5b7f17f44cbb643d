"""The posterior in the sampler's flat coordinates: finite with its gradient wherever the prior leads, and rightly named."""

from __future__ import annotations

import sys
from concurrent.futures import ThreadPoolExecutor
from threading import Barrier

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.inference.cohort import case, pad
from persist.inference.coordinates import LUCK, sites
from persist.inference.fate import SIZE
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import load_pack
from persist.inference.target import Target, by_site, flat_potential, named, named_at, order, reference

ONE = case(pad([fakes.FIVE_VALUES], pack="clinical"), 0, counted=False)
DRAWS = 200


def target(variant: str) -> Target:
    return Target(variant, "clinical", "psa", 1.0)


def draws(variant: str, count: int = DRAWS) -> np.ndarray:
    """Points about the prior, ``(count, n)``."""
    about = reference(target(variant), ONE)
    return about.location + about.scale * np.random.default_rng(4).standard_normal((count, len(about.scale)))


def test_threads_may_compile_at_once() -> None:
    """Patients of a cohort are weighed on threads of their own, and each may be the first."""
    still = target("spr")._replace(chance=False)
    point, together = jnp.asarray(reference(still, ONE).location), Barrier(4)

    def trace(number: int) -> set[str]:
        together.wait()
        found: set[str] = set(jax.eval_shape(lambda x: named_at(still, ONE, x + number), point))
        return found

    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        with ThreadPoolExecutor(4) as threads:
            found = list(threads.map(trace, range(4)))
    finally:
        sys.setswitchinterval(before)
    assert all(names == set(sampled(load_pack("clinical", "psa"), "spr")) for names in found)


@pytest.mark.parametrize("variant", VARIANTS)
def test_coordinates_are_the_sites_in_their_order(variant: str) -> None:
    names, places = sampled(load_pack("clinical", "psa"), variant), order(target(variant))
    assert list(places) == sorted(sites(names))
    assert (LUCK in places) == ("resistant_0" in names)
    still = target(variant)._replace(chance=False)
    assert order(still) == tuple(site for site in places if site != LUCK)
    assert len(reference(still, ONE).location) == len(order(still))
    at = by_site(target(variant), jnp.arange(len(places), dtype=float))
    assert [float(at[site]) for site in places] == list(range(len(places)))
    assert len(reference(target(variant), ONE).location) == len(places)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("variant", VARIANTS)
def test_energy_and_gradient_are_finite_where_the_prior_leads(variant: str) -> None:
    """And the gradient is that of finite differences, along one direction through each point."""
    energy, points = flat_potential(target(variant)), draws(variant)
    direction = np.random.default_rng(5).standard_normal(points.shape[1])
    direction /= np.linalg.norm(direction)
    both = jax.jit(jax.vmap(jax.value_and_grad(lambda x: energy(ONE, x))))
    value, slope = both(points)
    assert np.isfinite(value).all()
    assert np.isfinite(slope).all()
    step = 1e-5
    want = (both(points + step * direction)[0] - both(points - step * direction)[0]) / (2.0 * step)
    off = np.abs(slope @ direction - want) / (1.0 + np.abs(want) + 1e-6 * np.abs(value))
    assert np.median(off) < 1e-5
    assert np.quantile(off, 0.95) < 1e-3


@pytest.mark.slow
@pytest.mark.ci
def test_points_are_named() -> None:
    """Of every draw the sampled parameters within their bounds, and the size of the clone."""
    pack = load_pack("clinical", "psa")
    found = named(target("spr"))(ONE, jnp.asarray(draws("spr", 6)).reshape(2, 3, -1))
    assert set(found) == {*sampled(pack, "spr"), SIZE}
    for name, value in found.items():
        assert value.shape == (2, 3)
        assert np.all((value < 0.0) if name == "decline_s" else (value > 0.0))
    assert np.all(found["settled_burden"] > pack.entries["settled_burden"].lower * np.exp(ONE.log_largest))
