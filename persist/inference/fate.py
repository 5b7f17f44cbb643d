"""What became of the resistant clone: how large it is against its expectation, or that it died out.

R often begins with few cells. Given the rates, the clone at the end of the series is W times what one cell of the start would
have become on average, with W of the law of `dynamics.clones`, and ``clone_size`` is W over its mean. W has an atom at 0 (no
line lives):

    L = p0 L(0) + (1 - p0) integral of L(w) f(w | W > 0) dw

A clone that died out is given, in place of none, a size that no series sees, exponential with `UNSEEN` of the mean of one
living line. So one run of the model serves both, the sampler goes from one to the other, and each draw says with which
probability its clone died out. What is sampled is z, about standard normal a priori in every case: a smooth stand-in for the
quantile of that law (a gamma variable as the cube of a normal, Wilson & Hilferty 1931, 10.1073/pnas.17.12.684), whose density
is put right exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import ndtri

from persist.dynamics.clones import Clone, along, log_density
from persist.inference.curve import Curve, Run, patient, run, weigh, without_size
from persist.inference.priors import quantile

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack

SIZE = "clone_size"
"""The size of the clone over its expectation, as the posterior names it; 0: it died out."""

UNSEEN = 1e-3
"""Size given to a clone that died out, over that of one living line."""

BEND = 15.0
"""How sharply the cube of a normal is kept above 0."""

TURN = 0.3
"""Width in z of the turn from clones that died out to those that live."""


FEW, RARE, DRAWN = 100.0, 0.05, 4000
"""Founders with living lines that are few, how often the prior may have so few, and draws by which that is judged."""


class Fate(NamedTuple):
    """A clone of some ``size`` ``()``: the curve with it, the log ``density`` of its z, and the probability that it is one that
    died out, given its size.
    """

    size: Array
    curve: Curve
    density: Array
    died_out: Array


def fate(values: dict[str, Any], z: Array, case: Case, power: float) -> Fate:
    """The clone that the coordinate ``z`` stands for under some rates; all ``()``."""
    rates = without_size(values)
    founders = living_founders(rates, power)
    log_size, slope = jax.jvp(lambda at: log_sized(at, founders), (z,), (jnp.ones_like(z),))
    size = jnp.exp(log_size)
    with_it, law = _sized(rates, size, case, power)
    lives, died = log_fates(size * law.mean, law)
    density = jnp.logaddexp(lives, died) + jnp.log(law.mean) + log_size + jnp.log(slope)
    return Fate(size, weigh(rates, with_it, case, power), density, jax.nn.sigmoid(died - lives))


def died_out(values: dict[str, Any], case: Case, power: float) -> Array:
    """Probability ``()`` that the clone, of the size that is among the ``values``, is one that died out."""
    _, law = _sized(without_size(values), values[SIZE], case, power)
    lives, died = log_fates(values[SIZE] * law.mean, law)
    return jax.nn.sigmoid(died - lives)


def _sized(rates: dict[str, Any], size: Array, case: Case, power: float) -> tuple[Run, Clone]:
    """The mean field with a clone of this size, and the law of a clone beside it."""
    with_it = run(rates | {SIZE: size}, case, power)
    start = patient(rates, power)
    days = jnp.where(case.moving, case.length, 0.0)
    return with_it, along(start.cells, with_it.path, start.rates, days, with_it.exposure)


def log_fates(w: Array, law: Clone) -> tuple[Array, Array]:
    """Log densities of W, where a line lives and where none does, at ``w`` ``()``; together they integrate to 1."""
    unseen = UNSEEN * law.size[0]
    return log_density(w, law), law.log_none - w / unseen - jnp.log(unseen)


def living_founders(values: dict[str, Any], power: float) -> Array:
    """About how many founders have lines that live: R at the start and the mutants of a decline of S, times 1 - q."""
    start = jnp.exp(jnp.log(values["burden_0"]) / power) * values.get("cells_per_unit", 1.0)
    mutants = values["mutation"] * values["net_growth_s"] / (1.0 - values["turnover_s"]) / -values["decline_s"]
    living: Array = start * (values["resistant_0"] + mutants) * (1.0 - values["turnover_s"])
    return living


def by_chance(pack: Pack, variant_names: tuple[str, ...], case: Case, power: float) -> bool:
    """Whether the clone may be so small that its size is a matter of chance: in `RARE` of the prior's draws, fewer than `FEW`
    founders have lines that live.

    With more, the size over its expectation varies by at most (2 / `FEW`)^(1/2), 14 %, about what a value errs by and little
    beside what is not known of the start, and the mean field is taken; where the rarer draws are the true ones, chance is
    missed.
    """
    if "resistant_0" not in variant_names:
        return False
    rng = np.random.default_rng(0)
    entries = pack.every
    names = ("resistant_0", "turnover_s", "net_growth_s", "decline_s", "mutation", "burden_0", "cells_per_unit")
    drawn = {name: quantile(entries[name], rng.uniform(size=DRAWN)) for name in names if name in entries}
    drawn["burden_0"] = drawn["burden_0"] * np.exp(float(case.log_first))
    return bool(np.quantile(np.asarray(living_founders(drawn, power)), RARE) < FEW)


def log_sized(z: Array, founders: Array) -> Array:
    """Log of the size over its expectation that ``z`` stands for, given about how many ``founders`` have lines that live; rises
    with z, ``(...)``.
    """
    number = jnp.clip(founders, 1e-9, 1e15)
    none = ndtri(jnp.clip(jnp.exp(-number), 1e-300, 1.0 - 1e-9))  # where clones that died out end
    dead = _log_gamma_like(z, jnp.ones_like(number)) + jnp.log(UNSEEN) - jnp.log(number)
    live = _log_gamma_like(z, 1.0 + 0.5 * number) - jnp.log(-jnp.expm1(-number))
    return dead + (live - dead) * jax.nn.sigmoid((z - none) / TURN)


def _log_gamma_like(z: Array, shape: Array) -> Array:
    """About the log of a gamma variable of mean 1, as a function of a standard normal one."""
    width = 1.0 / (3.0 * jnp.sqrt(shape))
    return 3.0 * jnp.log(jax.nn.softplus(BEND * (1.0 - width**2 + width * z)) / BEND)
