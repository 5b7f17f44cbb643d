"""The prior-predictive gate: a prior pack must make patients as they are before it may be used to fit any.

Of simulated patients on continuous full-dose drug, at least `LEAST` must satisfy each of

    nadir at 1-12 months;   relapse (burden at least 25 % over the nadir) at 2-60 months;   nadir over baseline 0.001-0.8

and as many of the untreated tumours must grow over 12 months (those that the pack starts above what they settle at do not).
Cell lines are 10-50 times faster: the in-vitro gate is the same with **days for months**. Patients follow the mean field,
without wander and noise; burdens count in units of the first one, which is also the largest seen.
"""

from __future__ import annotations

import zlib
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.attenuation import attenuated
from persist.dynamics.moments import mean_field
from persist.dynamics.observe import visible
from persist.errors import PrecisionError
from persist.inference.curve import patient
from persist.inference.model import sampled
from persist.inference.priors import Pack, quantile
from persist.treatment.exposure import relax
from persist.types import Grid

LEAST = 0.8
MONTH_DAYS = {"clinical": 365.25 / 12.0, "in-vitro": 1.0}
"""Days of a "month" of the gate, by pack."""

MONTHS, STEPS_A_MONTH = 60, 4
NADIR_MONTHS, RELAPSE_MONTHS, GROWTH_MONTHS = (1.0, 12.0), (2.0, 60.0), 12
NADIR_DEPTH, RELAPSE_RISE = (1e-3, 0.8), 1.25


class Predictive(NamedTuple):
    """Patients drawn from a pack: ``month`` ``(n_times,)``; total cells on drug and ``untreated`` ``(n_times, n)``, each
    over those at the start.
    """

    month: np.ndarray
    treated: np.ndarray
    untreated: np.ndarray


class Gate(NamedTuple):
    """Shares of simulated patients, 0..1, that satisfy each condition of the gate."""

    pack: str
    nadir_time: float
    relapse_time: float
    nadir_depth: float
    untreated_growth: float

    @property
    def problems(self) -> tuple[str, ...]:
        """What the pack fails, each with its share; empty if it passes."""
        asked = {
            "reach their nadir in time": self.nadir_time,
            "relapse in time": self.relapse_time,
            "have a nadir of a likely depth": self.nadir_depth,
            "grow untreated": self.untreated_growth,
        }
        return tuple(
            f"{share:.0%} of the patients drawn from the pack {self.pack} {what}, {LEAST:.0%} are needed"
            for what, share in asked.items()
            if not share >= LEAST
        )

    @property
    def ok(self) -> bool:
        """True if the pack passes."""
        return not self.problems


def gate(pack: Pack, n: int = 5000, seed: int = 0, variant: str = "spr") -> Gate:
    """Judge a pack by ``n`` patients drawn from it for a model variant; `PrecisionError` without float64."""
    drawn = prior_predictive(pack, n, seed, variant)
    nadir_month, depth, relapse_month = _course(drawn.month, drawn.treated)
    later = drawn.untreated[drawn.month <= GROWTH_MONTHS][-1]
    return Gate(
        pack.name,
        _share_within(nadir_month, NADIR_MONTHS),
        _share_within(relapse_month, RELAPSE_MONTHS),
        _share_within(depth, NADIR_DEPTH),
        float(np.mean(later > 1.0)),
    )


def prior_predictive(pack: Pack, n: int = 1000, seed: int = 0, variant: str = "spr") -> Predictive:
    """``n`` patients drawn from a pack, on continuous full-dose drug and untreated, over `MONTHS` months.

    Each entry has random numbers of its own, so a change of one leaves the draws of the others as they are.
    """
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    values = {name: _draw(pack, name, n, seed) for name in sampled(pack, variant) if name in pack.entries}
    start = patient(values, power=1.0)
    steps = MONTHS * STEPS_A_MONTH
    length = np.full(steps, MONTH_DAYS[pack.name] / STEPS_A_MONTH)
    treated, untreated = (np.asarray(_totals(values, Grid(length, np.full(steps, dose)))) for dose in (1.0, 0.0))
    first = np.asarray(visible(start.cells, start.shed_p))
    return Predictive(np.arange(steps + 1) / STEPS_A_MONTH, treated / first, untreated / first)


def _draw(pack: Pack, name: str, n: int, seed: int) -> np.ndarray:
    """Values ``(n,)`` of one entry, by quantiles of uniform numbers."""
    rng = np.random.default_rng([seed, zlib.crc32(name.encode())])
    return quantile(pack.entries[name], rng.uniform(1e-9, 1.0 - 1e-9, n))


@jax.jit
@partial(jax.vmap, in_axes=(0, None), out_axes=1)
def _totals(values: dict[str, Any], grid: Grid) -> jax.Array:
    """Visible cells at the start and after every step, ``(n_steps + 1, n)``; ``values`` each ``(n,)``."""
    start = patient(values, power=1.0)
    exposure = relax(grid, start.rates.onset_days, start.rates.washout_days)
    exposure, _ = attenuated(exposure, start.rates, grid.length)
    after = visible(mean_field(start.cells, start.rates, grid.length, exposure), start.shed_p)
    return jnp.append(visible(start.cells, start.shed_p), after)


def _course(month: np.ndarray, burden: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Month of the nadir, its depth, and month of the relapse (inf: none), each ``(n,)``."""
    lowest = burden.argmin(axis=0)
    depth = burden.min(axis=0)
    after = np.arange(len(month))[:, None] > lowest
    risen = after & (burden >= RELAPSE_RISE * depth)
    relapse = np.where(risen.any(axis=0), month[risen.argmax(axis=0)], np.inf)
    return month[lowest], depth, relapse


def _share_within(values: np.ndarray, bounds: tuple[float, float]) -> float:
    return float(np.mean((values >= bounds[0]) & (values <= bounds[1])))
