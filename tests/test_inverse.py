"""The way back from parameters to the sampler's coordinates is the way there, backwards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.inference.fate import SIZE
from persist.inference.fit import members
from persist.inference.inverse import located, relocated, weighed
from persist.inference.population import ALONE
from persist.inference.settings import Settings
from persist.inference.target import flat_potential, named, reference, scored
from persist.types import Table


@pytest.mark.parametrize(("variant", "chance"), [("spr", True), ("spr", False), ("spr-shed", False)])
def test_there_and_back(variant, chance) -> None:
    one = members(Table((fakes.FIVE_VALUES,), (), ""), Settings(model=variant))[0]
    target = one.target._replace(chance=chance)
    law = reference(target, one.case)
    z = np.random.default_rng(1).standard_normal((64, len(law.location)))
    point = jnp.asarray(law.location + 0.7 * law.scale * z)
    values = {name: value[0] for name, value in named(target)(one.case, point[None]).items()}
    back = jax.jit(jax.vmap(lambda row: located(target, one.case, row)))(values)
    again = {name: value[0] for name, value in named(target)(one.case, back[None]).items()}
    for name, value in values.items():
        np.testing.assert_allclose(again[name], value, rtol=1e-6, err_msg=name)
    assert (SIZE in values) == chance
    np.testing.assert_allclose(back, point, atol=1e-4 if chance else 1e-6)


def test_other_scores_are_where_they_are_said_to_be() -> None:
    """A point brought to other scores has those, and the likelihood that was weighed there; what is not shared stays."""
    one = members(Table((fakes.FIVE_VALUES,), (), ""), Settings())[0]
    target, case, rng = one.target, one.case, np.random.default_rng(2)
    assert not target.chance
    law = reference(target, case)
    point = jnp.asarray(law.location + 0.4 * law.scale * rng.standard_normal((32, len(law.location))))
    before = scored(target)(case, point)
    z = before + 0.3 * rng.standard_normal(before.shape)
    there = relocated(target)(case, point, z)
    np.testing.assert_allclose(scored(target)(case, there), z, atol=1e-6)
    np.testing.assert_allclose(
        weighed(target)(case, point, z), weighed(target)(case, there, scored(target)(case, there)), rtol=1e-6, atol=1e-5
    )
    assert not np.allclose(weighed(target)(case, point, z), weighed(target)(case, point, before))
    values, moved = (named(target)(case, at[None]) for at in (point, there))
    for name in ALONE:
        if name in values:
            np.testing.assert_allclose(moved[name], values[name], rtol=1e-9)


def test_scores_that_no_point_has_weigh_nothing() -> None:
    """Far out in the scores some have no coordinates: none of these is weighed as if a walker could go there."""
    one = members(Table((fakes.FIVE_VALUES,), (), ""), Settings())[0]
    target, case, rng = one.target, one.case, np.random.default_rng(4)
    point = jnp.asarray(np.tile(reference(target, case).location, (64, 1)))
    z = scored(target)(case, point) + 40.0 * rng.standard_normal((64, scored(target)(case, point).shape[1]))
    there = np.isfinite(relocated(target)(case, point, z)).all(axis=1)
    weight = np.asarray(weighed(target)(case, point, z))
    assert 0 < there.sum() < 64
    assert not np.isfinite(weight[~there]).any()


def test_the_likelihood_at_scores_is_that_of_the_energy() -> None:
    """Minus energy = likelihood + prior + Jacobian: between two points the latter two are those of other data, too."""
    one = members(Table((fakes.FIVE_VALUES,), (), ""), Settings())[0]
    target, rng, law = one.target, np.random.default_rng(3), reference(one.target, one.case)
    other = one.case._replace(value=one.case.value + 0.2)
    point = jnp.asarray(law.location + 0.3 * law.scale * rng.standard_normal((8, len(law.location))))
    energy = jax.jit(jax.vmap(flat_potential(target), in_axes=(None, 0)))
    z = scored(target)(one.case, point)
    gap = energy(other, point) - energy(one.case, point)
    likelihood = [weighed(target)(case, point, z) for case in (one.case, other)]
    np.testing.assert_allclose(gap, likelihood[0] - likelihood[1], rtol=1e-7, atol=1e-7)
