"""The way back from parameters to the sampler's coordinates is the way there, backwards."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.inference.fate import SIZE
from persist.inference.fit import members
from persist.inference.inverse import located
from persist.inference.settings import Settings
from persist.inference.target import named, reference
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
