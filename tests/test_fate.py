"""What became of the clone: its prior law in the sampler's coordinate, and clones that died out."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.dynamics.clones import clone
from persist.dynamics.observe import OBSERVABLES
from persist.inference import fate as module
from persist.inference.cohort import case, pad
from persist.inference.curve import follow
from persist.inference.fate import SIZE, by_chance, fate, log_fates, log_sized
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import load_pack

ONE = case(pad([fakes.FIVE_VALUES], pack="clinical"), 0, counted=False)
Z = np.linspace(-9.0, 9.0, 1801)
every = jax.jit(jax.vmap(lambda values, z: fate(values, z, ONE, 1.0), in_axes=(None, 0)))


def rates(cells: float, **changes: float) -> dict[str, jnp.ndarray]:
    """The truth of P01, of a tumour of so few cells that the chance of the clone is seen."""
    values = fakes.truth("P01") | {"cells_per_unit": cells, "mutation": 1e-9, "resistant_0": 1e-2} | changes
    return {name: jnp.asarray(value) for name, value in values.items()}


@pytest.mark.parametrize("cells", [1.0, 30.0, 300.0, 1e4, 1e8])
def test_the_prior_of_the_coordinate_is_a_law_about_standard_normal(cells: float) -> None:
    """It integrates to 1 from a clone that is almost never there to one that is certain, and lies where the sampler begins."""
    found = every(rates(cells), jnp.asarray(Z))
    weight = np.exp(np.asarray(found.density)) * (Z[1] - Z[0])
    assert weight.sum() == pytest.approx(1.0, abs=0.01)
    mean = (weight * Z).sum()
    assert abs(mean) < 0.6
    assert 0.5 < np.sqrt((weight * (Z - mean) ** 2).sum()) < 1.6


@pytest.mark.parametrize("cells", [1.0, 30.0, 300.0])
def test_so_many_clones_die_out_as_their_law_says(cells: float) -> None:
    """Founders at the start alone: each lives with the probability of a birth-death process on this path."""
    values = rates(cells, mutation=1e-30, escape_fold=1e-30)
    found = every(values, jnp.asarray(Z))
    weight = np.exp(np.asarray(found.density))
    gone = (weight * np.asarray(found.died_out)).sum() / weight.sum()
    birth = float(values["net_growth_s"] / (1.0 - values["turnover_s"]) * (1.0 - values["cost_r"]))
    founders = cells * float(values["burden_0"] * values["resistant_0"])
    likely = 1.0 / (1.0 + birth * 200.0)  # a line neither grows nor shrinks: crowding and kill take what it gains
    free = 1.0 - float(values["turnover_s"])  # and with all its growth, for ever
    low, high = sorted((likely, free))
    assert np.exp(-1.5 * high * founders) < gone < np.exp(-0.3 * low * founders)


def test_a_clone_that_died_out_is_not_seen() -> None:
    """The stand-in for none is so small that the series cannot tell it from none."""
    values = rates(30.0)
    found = every(values, jnp.asarray(Z))
    gone = np.asarray(found.died_out) > 0.99
    assert gone.any()
    none = follow(values | {SIZE: jnp.zeros(())}, ONE, 1.0)
    np.testing.assert_allclose(
        np.asarray(found.curve.pointwise)[gone].sum(axis=1), float(none.pointwise.sum()), atol=0.05
    )


def test_the_size_rises_with_its_coordinate_and_the_slope_is_right() -> None:
    for founders in (1e-6, 0.3, 5.0, 1e3, 1e9):
        size = np.asarray(jax.vmap(lambda z, n=founders: log_sized(z, jnp.asarray(n)))(jnp.asarray(Z)))
        assert np.all(np.diff(size) > 0)


@pytest.mark.parametrize("cells", [1.0, 30.0, 300.0, 1e4, 1e8])
def test_there_is_no_wall_where_the_sampler_goes(cells: float) -> None:
    """Within four standard deviations the density falls like a normal one's, and never over a cliff."""
    found = every(rates(cells), jnp.asarray(Z))
    near = np.abs(Z) < 4.0
    assert np.asarray(found.density)[near].min() > -35.0
    assert np.abs(np.gradient(np.asarray(found.density), Z))[near].max() < 40.0


@pytest.mark.parametrize(
    ("name", "first", "asked"), [("psa", 20.0, False), ("cells", 1e9, False), ("cells", 1e4, True)]
)
def test_the_size_is_a_matter_of_chance_where_founders_are_few(name: str, first: float, asked: bool) -> None:
    kind = OBSERVABLES[name]
    series = fakes.FIVE_VALUES._replace(observable=name, burden=fakes.FIVE_VALUES.burden * first / 20.0)
    pack, one = load_pack("clinical", kind.cells), case(pad([series], pack="clinical"), 0, counted=kind.counted)
    there = [variant for variant in VARIANTS if variant != "spr-shed" or "shed_p" in pack.entries]
    for variant, names in ((variant, sampled(pack, variant)) for variant in there):
        assert by_chance(pack, names, one, kind.power) == (asked and "resistant_0" in names), variant


def test_both_fates_together_are_a_law() -> None:
    law = clone(8.0, jnp.full(20, 1e-3), jnp.full(20, 0.9), jnp.full(20, 0.1))
    w = np.exp(np.linspace(-25.0, 8.0, 4001)) * float(law.size[0])
    lives, died = (np.exp(np.asarray(part)) * w for part in jax.vmap(log_fates, in_axes=(0, None))(jnp.asarray(w), law))
    step = np.log(w[1] / w[0])
    assert died.sum() * step == pytest.approx(float(np.exp(law.log_none)), rel=1e-3)
    assert (lives + died).sum() * step == pytest.approx(1.0, abs=2e-3)
    assert module.UNSEEN < 0.01
