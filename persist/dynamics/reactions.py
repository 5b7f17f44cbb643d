"""The reactions: the one table from which every engine is read.

Three states, S sensitive, P drug-tolerant persister, R resistant, and eleven reactions among them. A reaction's
propensity (events a day) is its ``rate`` per cell times the number of its ``parent`` cells; seeding, which has no
parent, is an absolute rate. Each ``rate`` is a function of the rates and of the `Surroundings` of a cell, and never
decreases in any field of these, so its value at the largest surroundings of a period bounds it over the period.

The drug acts by its effect E, which saturates in the exposure that a lag leaves of the dose (`effect`; without `effect_half`
they are the same): where it does, the effect outlasts the drug, and then goes fast.

An engine takes the table as an argument (``table=REACTIONS``); `scaled` gives one with some reactions sped up.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jax import Array
    from jax.typing import ArrayLike

    from persist.types import Cells, Exposure, Rates

NO_FLUX = 1e-100
"""Deaths a day that count as none: squares of smaller ones vanish, and the gradient would be no number."""

INDUCTION_KNEE = 0.01
"""Exposure below which drug-induced tolerance goes off in proportion, whatever its power."""

IMMEDIATE_DAYS = 1e-9
"""Time constants up to this many days count as no lag at all."""


class Surroundings(NamedTuple):
    """What a cell meets, each ``(...)``, 0..1: the drug's effect (as it is, as a kill, as an inducer, its absence), space and
    signal; and the ``potency``, what share of its kill the drug still has for S.
    """

    exposure: Any
    response: Any
    induction: Any
    absence: Any
    crowding: Any
    secretome: Any
    calm: Any
    potency: Any = 1.0

    @property
    def killing(self) -> Any:
        """The drug as a kill of S, a E: `response` where the kill has not faded."""
        return self.response * self.potency


class Reaction(NamedTuple):
    """One row: ``change`` of (S, P, R), index of the ``parent`` state or None, ``rate`` per parent cell and day."""

    name: str
    change: tuple[int, int, int]
    parent: int | None
    formula: str
    unit: str
    rate: Callable[[Rates, Surroundings], Any]


Reactions = tuple[Reaction, ...]


def _heard(rates: Rates, around: Surroundings) -> Any:
    """What R hears of the secretome: (1 - eta E) sigma, E the exposure to the drug that blocks it."""
    return around.secretome * (1.0 - rates.secretome_block + rates.secretome_block * around.absence)


S, P, R = 0, 1, 2

REACTIONS: Reactions = (
    Reaction(
        "sensitive division", (1, 0, 0), S, "b_S g (1 - mu)", "1/day",
        lambda r, x: r.birth_s * x.crowding * (1.0 - r.mutation),
    ),
    Reaction(
        "sensitive death", (-1, 0, 0), S, "d_S + k_S (1 - rho sigma) a E", "1/day",
        lambda r, x: r.death_s + r.kill_s * x.killing * (1.0 - r.secretome_protect + r.secretome_protect * x.calm),
    ),
    Reaction(
        "persister division", (0, 1, 0), P, "b_P g", "1/day",
        lambda r, x: r.birth_p * x.crowding,
    ),
    Reaction(
        "persister death", (0, -1, 0), P, "d_P + k_P E", "1/day",
        lambda r, x: r.death_p + r.kill_p * x.response,
    ),
    Reaction(
        "resistant division", (0, 0, 1), R, "b_R g (1 + kappa (1 - eta E) sigma) + pi_R E", "1/day",
        lambda r, x: r.birth_r * x.crowding * (1.0 + r.secretome_boost * _heard(r, x)) + r.stimulation_r * x.exposure,
    ),
    Reaction(
        "resistant death", (0, 0, -1), R, "d_R + k_R E + a_R (1 - E)", "1/day",
        lambda r, x: r.death_r + r.kill_r * x.response + r.withdrawal_r * x.absence,
    ),
    Reaction(
        "tolerance", (-1, 1, 0), S, "s_0 + s_1 I(E)", "1/day",
        lambda r, x: r.tolerance_base + r.tolerance_drug * x.induction,
    ),
    Reaction(
        "reversion", (1, -1, 0), P, "r_0 (1 - phi E)", "1/day",
        lambda r, x: r.reversion * (1.0 - r.reversion_block + r.reversion_block * x.absence),
    ),
    Reaction(
        "mutation", (0, 0, 1), S, "mu b_S g", "1/day",
        lambda r, x: r.mutation * r.birth_s * x.crowding,
    ),
    Reaction(
        "escape", (0, 0, 1), P, "w_0 + w_1 E", "1/day",
        lambda r, x: r.escape_base + r.escape_drug * x.exposure,
    ),
    Reaction(
        "seeding", (0, 0, 1), None, "nu sigma", "cells/day",
        lambda r, x: r.seeding * x.secretome,
    ),
)  # fmt: skip

CHANGES: np.ndarray = np.array([reaction.change for reaction in REACTIONS])
"""Change of (S, P, R) in each reaction, ``(11, 3)``."""


def scaled(factors: Mapping[str, ArrayLike], table: Reactions = REACTIONS) -> Reactions:
    """The table with the named reactions made so many times as fast; ValueError for a name that is not there."""
    unknown = set(factors) - {reaction.name for reaction in table}
    if unknown:
        raise ValueError(f"no reaction named {', '.join(sorted(unknown))}")

    def faster(reaction: Reaction, factor: ArrayLike) -> Reaction:
        return reaction._replace(rate=lambda rates, around: factor * reaction.rate(rates, around))

    return tuple(faster(row, factors[row.name]) if row.name in factors else row for row in table)


def response(effect: ArrayLike, kill_half: ArrayLike) -> Array:
    """Dose response of the kills: ``E (1 + u) / (1 + u E)``, ``u = 1 / E_50``; 1 at full dose, E if E_50 is infinite.

    ``effect`` 0..1 and ``kill_half`` (dose) ``(...)``; the result is 0..1, ``(...)``.
    """
    steepness = 1.0 / jnp.maximum(jnp.asarray(kill_half, float), 1e-12)
    return jnp.asarray(effect) * (1.0 + steepness) / (1.0 + steepness * jnp.asarray(effect))


def effect(exposure: ArrayLike, effect_half: ArrayLike) -> Array:
    """What an exposure does, of all that the full one does: ``E = C (1 + u) / (1 + u C)``, ``u = 1 / C_50``, ``(...)``.

    The Emax model (Holford & Sheiner 1981, 10.2165/00003088-198106060-00002) with C over that of the full dose. ``effect_half``
    is C_50 in the same unit; the effect is C itself where it is infinite.
    """
    return response(exposure, effect_half)


def killing(exposure: ArrayLike, rates: Rates) -> Array:
    """The drug as a kill, ``(...)``, at an exposure 0..1, ``(...)``."""
    return response(effect(exposure, rates.effect_half), rates.kill_half)


def induction(exposure: ArrayLike, power: ArrayLike) -> Array:
    """Drug-induced tolerance: ``I(E) = E^h min(1, E / 0.01)``, ``(...)``; I and its gradient are 0 at E = 0."""
    present = jnp.asarray(exposure, float) > 0
    level = jnp.where(present, exposure, 1.0)
    return jnp.where(present, level ** jnp.asarray(power) * jnp.minimum(1.0, level / INDUCTION_KNEE), 0.0)


def crowding(total: ArrayLike, capacity: ArrayLike) -> Array:
    """Share of divisions that find room: ``g = max(0, 1 - N / K)``, ``(...)``; K (cells) may be infinite, or 0."""
    room = jnp.asarray(capacity, float)
    return jnp.where(room > 0, jnp.maximum(0.0, 1.0 - jnp.asarray(total) / jnp.where(room > 0, room, 1.0)), 0.0)


def secretome(cells: Cells, rates: Rates, exposure: ArrayLike) -> Array:
    """Therapy-induced secretome: ``sigma = F / (F + F_50)``, ``F = k_S E S`` (cells a day), ``(...)``; 0 if F = 0."""
    return signal(cells, rates, killing(exposure, rates))


def signal(cells: Cells, rates: Rates, killing: ArrayLike) -> Array:
    """`secretome` from the drug as a kill of S (`Surroundings.killing`)."""
    return of_flux(rates.kill_s * jnp.asarray(killing) * cells.sensitive, rates)


def of_flux(flux: ArrayLike, rates: Rates) -> Array:
    """`secretome` from the flux itself, F cells a day; value and gradient are finite for every flux from 0 on."""
    dying = jnp.asarray(flux) > NO_FLUX
    deaths = jnp.where(dying, flux, 1.0)
    return jnp.where(dying, deaths / (deaths + rates.secretome_half), 0.0)


def silent(rates: Rates) -> bool:
    """True where the constants say, before anything is computed, that nothing hears the secretome."""
    parts = (rates.secretome_boost, rates.secretome_protect, rates.seeding)
    return all(isinstance(part, (int, float)) and part == 0 for part in parts)


def exposed(rates: Rates, exposure: ArrayLike, potency: ArrayLike = 1.0) -> Surroundings:
    """The surroundings at a raw exposure and potency (0..1, ``(...)``), with room for all and no secretome."""
    drug = effect(jnp.asarray(exposure, float), rates.effect_half)
    return Surroundings(
        exposure=drug,
        response=response(drug, rates.kill_half),
        induction=induction(drug, rates.tolerance_power),
        absence=1.0 - drug,
        crowding=jnp.ones(()),
        secretome=jnp.zeros(()),
        calm=jnp.ones(()),
        potency=potency,
    )


def exposed_within(rates: Rates, exposure: Exposure, elapsed: ArrayLike) -> Surroundings:
    """`exposed`, ``elapsed`` days into a step."""
    return exposed(rates, within(exposure, elapsed), 1.0 if exposure.potency is None else exposure.potency)


def surroundings(
    rates: Rates, exposure: ArrayLike, g: ArrayLike, sigma: ArrayLike, potency: ArrayLike = 1.0
) -> Surroundings:
    """The surroundings at a raw exposure, crowding ``g``, secretome ``sigma`` and potency, each 0..1 and ``(...)``."""
    return among(exposed(rates, exposure, potency), g, sigma)


def among(around: Surroundings, g: ArrayLike, sigma: ArrayLike) -> Surroundings:
    """The same surroundings at another crowding ``g`` and secretome ``sigma``."""
    return around._replace(crowding=jnp.asarray(g), secretome=jnp.asarray(sigma), calm=1.0 - jnp.asarray(sigma))


def per_capita(rates: Rates, around: Surroundings, table: Reactions = REACTIONS) -> list[Array]:
    """Rate of each reaction per parent cell (1/day; seeding: cells/day) in given surroundings: 11 of ``(...)``."""
    return [jnp.asarray(reaction.rate(rates, around), float) for reaction in table]


def constants(rates: Rates, exposure: ArrayLike, g: ArrayLike, sigma: ArrayLike, table: Reactions = REACTIONS) -> Array:
    """Rate of each reaction per parent cell (1/day; seeding: cells/day), ``(..., 11)``.

    ``exposure`` is the raw exposure, ``g`` the crowding, ``sigma`` the secretome, all 0..1 and ``(...)``.
    """
    return _stacked(per_capita(rates, surroundings(rates, exposure, g, sigma), table))


def parents(cells: Cells, table: Reactions = REACTIONS) -> list[Array]:
    """Number of parent cells of each reaction: 11 of ``(...)``; 1 where a reaction has none."""
    return [jnp.asarray(1.0 if row.parent is None else cells[row.parent], float) for row in table]


def _stacked(columns: list[Array]) -> Array:
    """Columns, each ``(...)`` or a scalar, side by side: ``(..., 11)``."""
    return jnp.stack(jnp.broadcast_arrays(*columns), axis=-1)


def propensities(cells: Cells, rates: Rates, exposure: ArrayLike, table: Reactions = REACTIONS) -> Array:
    """Events a day of each reaction, ``(..., 11)``: the rate per parent cell times the parent cells.

    ``cells``, ``rates`` and ``exposure`` (raw, 0..1) share one batch shape ``(...)``, or are scalars.
    """
    g = crowding(cells.total, rates.capacity)
    sigma = secretome(cells, rates, exposure)
    columns = per_capita(rates, surroundings(rates, exposure, g, sigma), table)
    return _stacked([each * count for each, count in zip(columns, parents(cells, table), strict=True)])


def within(exposure: Exposure, elapsed: ArrayLike) -> Array:
    """Exposure ``elapsed`` days into its step: ``D + (E0 - D) exp(-t / tau)``, ``(...)``; D at once where tau is 0."""
    days, start, target = (jnp.asarray(part, float) for part in (exposure.days, exposure.start, exposure.target))
    lagged = days > IMMEDIATE_DAYS
    left = jnp.where(lagged, jnp.exp(-jnp.asarray(elapsed) / jnp.where(lagged, days, 1.0)), 0.0)
    return target + (start - target) * left
