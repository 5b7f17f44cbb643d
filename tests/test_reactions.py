"""The table of reactions: its formulas against the model, its edges, its gradients."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from persist.dynamics.reactions import (
    CHANGES,
    NO_FLUX,
    REACTIONS,
    Surroundings,
    constants,
    crowding,
    induction,
    per_capita,
    propensities,
    response,
    scaled,
    secretome,
    signal,
    surroundings,
    within,
)
from persist.types import Cells, Exposure, Rates

FULL = Rates(*[0.01 * (number + 1) for number in range(len(Rates._fields))])._replace(
    capacity=1000.0, kill_half=0.5, effect_half=0.2, secretome_half=3.0
)


def written_out(cells: Cells, r: Rates, C: float) -> np.ndarray:
    """The eleven propensities as the model writes them, at an exposure C."""
    S, P, R = (float(count) for count in cells)
    E = C * (1 + r.effect_half) / (C + r.effect_half)
    g = max(0.0, 1 - (S + P + R) / r.capacity)
    kill = E / (E + r.kill_half) * (1 + r.kill_half)
    F = r.kill_s * kill * S
    sigma = F / (F + r.secretome_half) if F > 0 else 0.0
    induced = E**r.tolerance_power * min(1, E / 0.01)
    return np.array(
        [
            r.birth_s * g * S * (1 - r.mutation),
            (r.death_s + r.kill_s * (1 - r.secretome_protect * sigma) * kill) * S,
            r.birth_p * g * P,
            (r.death_p + r.kill_p * kill) * P,
            (r.birth_r * g * (1 + r.secretome_boost * (1 - r.secretome_block * E) * sigma) + r.stimulation_r * E) * R,
            (r.death_r + r.kill_r * kill + r.withdrawal_r * (1 - E)) * R,
            (r.tolerance_base + r.tolerance_drug * induced) * S,
            r.reversion * (1 - r.reversion_block * E) * P,
            r.mutation * r.birth_s * g * S,
            (r.escape_base + r.escape_drug * E) * P,
            r.seeding * sigma,
        ]
    )


@pytest.mark.parametrize("E", [0.0, 0.004, 0.3, 1.0])
@pytest.mark.parametrize("cells", [Cells(500.0, 50.0, 5.0), Cells(900.0, 90.0, 90.0), Cells(0.0, 0.0, 0.0)])
def test_propensities_are_those_of_the_model(E: float, cells: Cells) -> None:
    np.testing.assert_allclose(propensities(cells, FULL, E), written_out(cells, FULL, E), rtol=1e-12)


def test_shapes_and_names() -> None:
    assert len(REACTIONS) == 11
    assert CHANGES.shape == (11, 3)
    assert len({reaction.name for reaction in REACTIONS}) == 11
    many = Cells(jnp.ones((2, 3)), jnp.ones((2, 3)), 1.0)
    assert propensities(many, FULL, 0.5).shape == (2, 3, 11)
    assert constants(Rates(), 0.5, 1.0, 0.0).shape == (11,)


def test_mutation_and_escape_leave_the_parent() -> None:
    by_name = {reaction.name: reaction.change for reaction in REACTIONS}
    assert by_name["mutation"] == by_name["escape"] == by_name["seeding"] == (0, 0, 1)


def test_dose_response() -> None:
    assert response(0.3, jnp.inf) == pytest.approx(0.3)
    assert response(1.0, 0.2) == pytest.approx(1.0)
    assert response(0.2, 0.2) == pytest.approx(0.6)
    assert np.isfinite(response(0.0, 0.0))


def test_induction_is_switch_like_or_proportional() -> None:
    assert induction(0.5, 1.0) == pytest.approx(0.5)
    assert induction(0.5, 0.0) == 1.0
    assert induction(0.001, 0.0) == pytest.approx(0.1)
    assert induction(0.0, 0.1) == 0.0


def test_crowding_and_secretome_at_their_edges() -> None:
    assert crowding(1e12, np.inf) == 1.0
    assert crowding(200.0, 100.0) == 0.0
    assert crowding(1.0, 0.0) == 0.0
    assert secretome(Cells(0.0, 1.0, 1.0), FULL, 1.0) == 0.0
    assert secretome(Cells(1.0, 1.0, 1.0), FULL._replace(secretome_half=0.0), 1.0) == 1.0
    assert secretome(Cells(1.0, 1.0, 1.0), Rates(), 0.0) == 0.0


@jax.jit
def slopes(rates: Rates, E: jax.Array, cells: Cells) -> tuple[Rates, jax.Array, Cells]:
    """Gradients of the summed propensities in all that they depend on."""
    return jax.grad(lambda r, level, c: propensities(c, r, level).sum(), argnums=(0, 1, 2))(rates, E, cells)


@pytest.mark.parametrize("E", [0.0, 1e-6, 0.5, 1.0])
@pytest.mark.parametrize("rates", [FULL, Rates(), FULL._replace(capacity=np.inf, kill_half=np.inf, secretome_half=0.0)])
@pytest.mark.parametrize("cells", [Cells(0.0, 0.0, 0.0), Cells(1e12, 1e6, 0.0)])
def test_gradients_are_finite(E: float, rates: Rates, cells: Cells) -> None:
    floats = jax.tree.map(jnp.float64, (rates, E, cells))
    for slope in jax.tree.leaves(slopes(*floats)):
        assert np.all(np.isfinite(slope))


@pytest.mark.parametrize("half", [0.0, 1e-200, 1e-3])
@pytest.mark.parametrize("flux", [0.0, 1e-300, 1e-200, 1e-161, 1e-101, 1e-99, 1e-9, 1e9])
def test_the_signal_has_a_gradient_at_every_flux(flux: float, half: float) -> None:
    """Squares of tiny fluxes vanish, and what divides by them would be no number."""

    def heard(kill, sensitive, middle):
        return signal(Cells(sensitive, 0.0, 0.0), Rates(kill_s=kill, secretome_half=middle), 1.0)

    level, slopes = jax.value_and_grad(heard, argnums=(0, 1, 2))(1.0, flux, half)
    assert 0.0 <= level <= 1.0
    assert np.isfinite(slopes).all()
    if flux > NO_FLUX:
        assert level == pytest.approx(flux / (flux + half))


def test_rates_never_fall_with_the_surroundings() -> None:
    """What the thinning of the exact engine rests on."""
    random = np.random.default_rng(3)
    for _ in range(200):
        rates = FULL._replace(**dict(zip(Rates._fields[:24], random.uniform(0, 1, 24), strict=True)))
        low, high = np.sort(random.uniform(0, 1, (2, 7)), axis=0)
        below, above = (np.stack(per_capita(rates, Surroundings(*level))) for level in (low, high))
        assert np.all(below <= above + 1e-15)


def test_scaled() -> None:
    cells = Cells(500.0, 50.0, 5.0)
    before = propensities(cells, FULL, 0.5)
    for number, reaction in enumerate(REACTIONS):
        ratio = propensities(cells, FULL, 0.5, scaled({reaction.name: 1.05})) / before
        np.testing.assert_allclose(ratio, np.where(np.arange(11) == number, 1.05, 1.0))
    with pytest.raises(ValueError, match="no reaction named magic"):
        scaled({"magic": 2.0})


def test_surroundings_are_shares() -> None:
    for level in surroundings(FULL, jnp.array([0.0, 0.5, 1.0]), 0.5, 0.3):
        assert np.all((np.asarray(level) >= 0) & (np.asarray(level) <= 1))


def test_exposure_within_a_step() -> None:
    assert within(Exposure(0.2, 1.0, 2.0), 2.0) == pytest.approx(1 - 0.8 * np.exp(-1))
    assert within(Exposure(0.2, 1.0, 0.0), 0.0) == 1.0
    slope = jax.grad(lambda days: within(Exposure(0.2, 1.0, days), 0.5))
    assert slope(0.0) == 0.0
    assert slope(1.0) == pytest.approx(-0.8 * np.exp(-0.5) * 0.5)
