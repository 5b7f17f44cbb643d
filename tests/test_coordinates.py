"""The sampler's coordinates: the density in them is that of the named priors and the series, with the right Jacobian."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.dynamics.observe import OBSERVABLES
from persist.inference import coordinates, inverse, model
from persist.inference.cohort import case, pad
from persist.inference.fate import Fate
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import load_pack, quantile
from persist.inference.target import Target, by_site, flat_potential, order, problem, reference
from persist.types import Schedule

CASES = {
    "clinical spr psa": ("clinical", "spr", "psa"),
    "clinical sr psa": ("clinical", "sr", "psa"),
    "clinical sp psa": ("clinical", "sp", "psa"),
    "clinical attenuation psa": ("clinical", "attenuation", "psa"),
    "clinical spr sld": ("clinical", "spr", "sld"),
    "in-vitro spr cells": ("in-vitro", "spr", "cells"),
}


def problem_of(pack_name: str, variant: str, seen: str):
    """Target, pack and case of the series as seen through an observable."""
    kind = OBSERVABLES[seen]
    series = fakes.FIVE_VALUES._replace(observable=seen, burden=fakes.FIVE_VALUES.burden * 100.0)
    if pack_name == "in-vitro":  # days in place of weeks
        drug = Schedule(np.array([0.0]), np.array([16.0]), np.array([1.0]))
        series = series._replace(day=series.day / 10.0, schedules={"drug": drug})
    one = case(pad([series], pack=pack_name), 0, counted=kind.counted)
    return Target(variant, pack_name, kind.cells, kind.power), load_pack(pack_name, kind.cells), one


@pytest.fixture
def priors_alone(monkeypatch):
    """The model without its series: what is checked is the density of the parameters, and that compiles in a second."""
    nothing = SimpleNamespace(pointwise=jnp.zeros(1), composition=jnp.zeros(1), lag=0.0)
    forget()
    monkeypatch.setattr(model, "follow", lambda *_: nothing)
    monkeypatch.setattr(model, "fate", lambda *_: Fate(jnp.ones(()), nothing, jnp.zeros(()), jnp.zeros(())))
    yield
    forget()


def forget() -> None:
    """What was traced under another model is not taken."""
    problem.cache_clear()
    flat_potential.cache_clear()


def gap(what: str, at: list[np.ndarray]) -> np.ndarray:
    """At each point, energy in the coordinates against priors, likelihood and a Jacobian that JAX finds from the map itself."""
    target, pack, one = problem_of(*CASES[what])
    energy, (_, constrain) = flat_potential(target), problem(target)
    names, sites = sampled(pack, target.variant), order(target)
    free = np.array([place for place, site in enumerate(sites) if site != coordinates.LUCK])
    entries = pack.every
    shift = {"settled_burden": one.log_largest, "burden_0": one.log_first}

    def values(flat):
        return constrain(one, by_site(target, flat))

    def standard(named, flat):
        at = values(flat.at[free].set(named))
        own = {n: at[n] / jnp.exp(shift.get(n, 0.0)) for n in names}
        z = [(fakes.normal_scale(entries[n], own[n]) - entries[n].location) / entries[n].scale for n in names]
        return jnp.stack(z)

    @jax.jit
    def difference(flat):
        named = flat[free]
        bend = jnp.linalg.slogdet(jax.jacfwd(standard)(named, flat))[1]
        asked = jnp.sum(jax.scipy.stats.norm.logpdf(standard(named, flat))) + bend
        if coordinates.LUCK in sites:
            found = model.fate(values(flat), flat[sites.index(coordinates.LUCK)], one, target.power)
            asked += found.density + jnp.sum(found.curve.pointwise)
        else:
            asked += jnp.sum(model.follow(values(flat), one, target.power).pointwise)
        return -energy(one, flat) - asked

    return np.array([difference(jnp.asarray(flat)) for flat in at])


def points(what: str) -> list[np.ndarray]:
    """Points about the middle of the priors."""
    target, _, one = problem_of(*CASES[what])
    about, rng = reference(target, one), np.random.default_rng(3)
    return [about.location + about.scale * rng.normal(size=len(about.scale)) for _ in range(4)]


@pytest.mark.usefixtures("priors_alone")
@pytest.mark.parametrize("what", CASES)
def test_the_density_is_that_of_the_named_priors(what: str) -> None:
    np.testing.assert_allclose(gap(what, points(what)), 0.0, atol=1e-8)


@pytest.mark.usefixtures("priors_alone")
@pytest.mark.parametrize("loss", [-15.0, -5.0, 0.0, 3.0, 5.0])
def test_the_density_where_losses_of_persisters_are_small_and_large(loss: float) -> None:
    what = "clinical spr psa"
    at = points(what)[0]
    at[order(problem_of(*CASES[what])[0]).index("persister_loss")] = loss
    np.testing.assert_allclose(gap(what, [at]), 0.0, atol=1e-7)


@pytest.mark.parametrize("pack", ["clinical", "in-vitro"])
def test_tempering_starts_about_where_the_prior_has_the_loss_of_persisters(pack: str) -> None:
    _, found, one = problem_of(pack, "spr", "psa")
    entries = {**found.entries, "cells_per_unit": found.cells_per_unit}
    names, rng = sampled(found, "spr"), np.random.default_rng(0)
    drawn = {name: jnp.asarray(quantile(entries[name], rng.uniform(1e-6, 1 - 1e-6, 2000))) for name in names}
    site = np.asarray(jax.vmap(lambda row: inverse._persisters(row, one, found, 1.0)["persister_loss"])(drawn))
    location, scale = coordinates.starting_range(names, found)["persister_loss"]
    assert abs(np.median(site) - location) < 0.3 * scale
    assert 0.6 * scale < site.std() < 1.5 * scale


def test_the_density_with_its_series() -> None:
    np.testing.assert_allclose(gap("clinical spr psa", points("clinical spr psa")), 0.0, atol=1e-8)


def unbent(prior, value):
    """A value, and its prior density on the scale on which the prior is normal."""
    return value, coordinates.base(prior).log_prob(fakes.normal_scale(prior, value))


PLANTED = {
    "stretch of sight": ("unstretch", lambda right: lambda u: (right(u)[0], 0.0)),
    "reach of a large loss": ("reach_out", lambda right: lambda site: (right(site)[0], 0.0)),
    "bend of the sums of losses": ("_log_softplus", lambda right: lambda site: (right(site)[0], 0.0)),
    "bend of a bounded share": ("_part", lambda right: lambda *part: unbent(part[0], right(*part)[0])),
}
"""Terms of the Jacobian, and the map without each."""


@pytest.mark.usefixtures("priors_alone")
@pytest.mark.parametrize("term", PLANTED)
def test_a_forgotten_term_is_seen(term: str, monkeypatch) -> None:
    name, wrong = PLANTED[term]
    monkeypatch.setattr(coordinates, name, wrong(getattr(coordinates, name)))
    assert abs(gap("clinical spr psa", points("clinical spr psa")[:1])[0]) > 1e-3


def test_variants_without_a_state_have_no_coordinates_of_it() -> None:
    pack = load_pack("clinical", "psa")
    assert not set(coordinates.CLONE.values()) & set(coordinates.sites(sampled(pack, "sp")))
    assert not set(coordinates.PERSISTERS.values()) & set(coordinates.sites(sampled(pack, "sr")))
    assert not set(coordinates.PERSISTERS.values()) & set(coordinates.sites(sampled(pack, "attenuation")))
    for variant in VARIANTS:
        names = sampled(pack, variant)
        assert len(set(coordinates.sites(names))) == len(names) + (variant != "sp")


@pytest.mark.parametrize("u", [-50.0, -3.0, 0.0, 3.9, 4.0, 4.1, 7.0, 30.0, 400.0])
def test_the_stretch_is_undone(u: float) -> None:
    x, log_slope = coordinates.unstretch(jnp.asarray(u))
    assert float(x + coordinates.STRETCH * jax.nn.sigmoid(x)) == pytest.approx(u, abs=1e-12)
    share = float(jax.nn.sigmoid(x))
    slope = 1.0 / (1.0 + coordinates.STRETCH * share * (1.0 - share))
    assert float(jnp.exp(log_slope)) == pytest.approx(slope, rel=1e-10)
    assert float(jax.grad(lambda at: coordinates.unstretch(at)[0])(jnp.asarray(u))) == pytest.approx(slope, rel=1e-10)
