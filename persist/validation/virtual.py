"""Virtual patients: parameters from the prior, cells by the stochastic engine, values as measured.

Everything that the fit assumes is done here by chance: cells move by the leap in steps of an eighth of a day, R starts as a
Poisson number about its mean and S and P as whole cells, the log burden wanders as `dynamics.observe` says, and the
errors are those of `dynamics.observe`. Nothing is left out or drawn again.
"""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics import observe
from persist.dynamics.attenuation import attenuated
from persist.dynamics.sampling import poisson
from persist.dynamics.trajectories import simulate
from persist.inference.cohort import observable
from persist.inference.curve import patient
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.treatment.exposure import relax
from persist.treatment.schedule import grid
from persist.types import Cells, Series, Table

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.cohort import Reference
    from persist.validation.designs import Design

STEP = 0.125
"""Days of a step of the cells."""

PLANTS = ("none", "uncensored", "noisier")
"""Errors that may be planted: none; values under the floor given to the fit as measured there; errors twice as large as the
prior's ``noise_sd`` says.
"""

NOISIER = 2.0


class Virtual(NamedTuple):
    """A patient whose truth is known: ``values`` of every parameter, as drawn from the prior; the ``series`` as the fit gets
    it; ``cells`` and ``wander`` at the last visit; ``noise_sd`` with which it was, and will be, measured.
    """

    values: dict[str, float]
    series: Series
    cells: Cells
    wander: np.ndarray
    noise_sd: float

    @property
    def table(self) -> Table:
        """The series as a table of its own."""
        return table_of((self.series,))


def table_of(series: tuple[Series, ...]) -> Table:
    """A table of some series, with a digest of them."""
    digest = hashlib.sha256()
    for one in series:
        digest.update(one.patient_id.encode())
        for part in (one.day, one.burden, one.censoring):
            digest.update(np.ascontiguousarray(part).tobytes())
    return Table(series, (), digest.hexdigest())


def names_of(seed: int, number: int, *what: str) -> jax.Array:
    """The key of a part of a replicate, whatever others are run beside it."""
    return keys.key(seed, "calibrate", str(number), *what)


def generator(seed: int, number: int, *what: str) -> np.random.Generator:
    """Random numbers of a part of a replicate."""
    return np.random.default_rng(np.asarray(jax.random.key_data(names_of(seed, number, *what))))


def prior_draw(rng: np.random.Generator, pack: str, variant: str, design: Design) -> dict[str, float]:
    """One draw of every parameter that the fit samples, from the same priors."""
    priors = load_pack(pack, observable(design.observable).cells)
    entries = priors.every
    unit = _units(design.reference)
    names = sampled(priors, variant)
    levels = rng.uniform(1e-12, 1.0 - 1e-12, (len(names), 1))
    return {
        name: float(quantile(entries[name], level)[0] * unit.get(name, 1.0))
        for name, level in zip(names, levels, strict=True)
    }


def _units(reference: Reference) -> dict[str, float]:
    """What the burdens among the parameters count in."""
    return {"burden_0": reference.first, "settled_burden": reference.largest}


def virtual(seed: int, number: int, pack: str, variant: str, design: Design, plant: str = "none") -> Virtual:
    """The patient of replicate ``number``."""
    values = prior_draw(generator(seed, number, "prior"), pack, variant, design)
    return made(f"replicate {number}", values, partial(names_of, seed, number), design, plant)


def made(
    name: str, values: dict[str, float], names: Callable[[str], jax.Array], design: Design, plant: str = "none"
) -> Virtual:
    """A patient of this ``name`` and these true ``values``; ``names`` gives the keys of its cells, wander and errors."""
    kind = observable(design.observable)
    start = patient({key: jnp.asarray(value) for key, value in values.items()}, kind.power)
    cells = moved(names("cells"), start, design)
    noise_sd = values["noise_sd"] * (NOISIER if plant == "noisier" else 1.0)
    wander = wandered(names("wander"), values, design.day)
    total = np.asarray(observe.visible(cells, start.shed_p))
    level = np.asarray(observe.log_burden(total, start.log_cells_per_unit, kind.power)) + wander[:, 0]
    log_value = level + errors(names("errors"), noise_sd, np.exp(level), counted=kind.counted)
    series = seen(name, np.exp(log_value), design, kind.ceiling, plant)
    last = Cells(*(np.asarray(state)[-1:] for state in cells))
    return Virtual(values, series, last, wander[-1], noise_sd)


def moved(key: jax.Array, start: Any, design: Design) -> Cells:
    """Whole cells at every visit, ``(n_visits,)``."""
    begin, run = jax.random.split(key)
    whole = Cells(
        jnp.round(start.cells.sensitive), jnp.round(start.cells.persister), poisson(begin, start.cells.resistant)
    )
    steps, upto = grid(design.schedule, design.day, start=0.0, stop=design.last, max_step=STEP)
    exposure = _relax(steps, start.rates.onset_days, start.rates.washout_days)
    exposure, _ = attenuated(exposure, start.rates, steps.length)
    record = np.isin(1 + np.arange(len(steps.length)), upto)
    path = simulate(run, whole, start.rates, steps, exposure, trajectories=1, max_step=STEP, record=record)
    return Cells(*(np.append(float(first), np.asarray(along)[0]) for first, along in zip(whole, path, strict=True)))


_relax, _wander, _noise = jax.jit(relax), jax.jit(observe.wander), jax.jit(observe.noise)


def wandered(key: jax.Array, values: dict[str, float], day: np.ndarray) -> np.ndarray:
    """The wander and its slope at every visit, stationary from the first on, ``(n_visits, 2)``."""
    shocks = jax.random.normal(key, (len(day) + 1, 2))
    start = values["wander_sd"] * shocks[0]
    return np.asarray(_wander(shocks[1:], start, jnp.asarray(day), values["wander_sd"], values["wander_days"]))


def errors(key: jax.Array, noise_sd: float, burden: np.ndarray, *, counted: bool) -> np.ndarray:
    """Errors of the log burdens ``(n_visits,)``; a count of cells has its own chance besides."""
    pick, shock, counting = jax.random.split(key, 3)
    error = noise_sd * _noise(jax.random.uniform(pick, burden.shape), jax.random.normal(shock, burden.shape))
    if counted:
        error = error + jax.random.normal(counting, burden.shape) / jnp.sqrt(jnp.maximum(burden, 1.0))
    return np.asarray(error)


def seen(name: str, burden: np.ndarray, design: Design, ceiling: float, plant: str) -> Series:
    """Values as the laboratory reports them: those under the floor as less than it."""
    under, over = burden < design.floor, burden >= ceiling
    mark = np.where(over, 1, np.where(under, -1, 0))
    if plant == "uncensored":
        mark = np.zeros_like(mark)
    value = np.clip(burden, design.floor, ceiling)
    return Series(name, design.observable, design.unit, design.day, value, mark, {"drug": design.schedule})
