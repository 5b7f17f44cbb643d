"""What may be measured of a patient on a day to come: values of every draw, and how likely each is in another draw.

The treatment goes on as recorded until then. A draw's value is measured as the model has it: its cells on the day, one path of
the engine, seen through wander and noise (a burden), or as a share of cells that are counted (a fraction).

    log y | draw ~ sum_k weight_k Normal(level + mean of w, var of w + (noise_sd scale_k)^2 (+ 1 / burden of a count))

with w the wander given the values so far, integrated out. Futures have the chance of those days anew, so a value tells of the
rates and the state of a draw and not of that chance. A value under an assay's floor would tell less than it does here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.observe import (
    NOISE_SCALE,
    NOISE_WEIGHT,
    assay,
    log_burden,
    passage,
    positive_share,
    times,
    visible,
)
from persist.forecast.visits import scale_of
from persist.inference.composition import log_density
from persist.types import MARKERS

if TYPE_CHECKING:
    from persist.forecast.landmark import Landmark
    from persist.types import Cells

COUNTED = 1000
"""Cells or alleles that a measured fraction is of."""

KINDS = ("burden", *MARKERS)
"""A burden, and the fraction of each marker: of persisters, of resistant alleles."""

_HALF_LOG_2PI = 0.9189385332046727


class Burden(NamedTuple):
    """The log burden of draws on a day: its ``mean`` without noise ``(n,)``, and ``variance`` for each part of the noise
    ``(n_parts, n)``.
    """

    mean: np.ndarray
    variance: np.ndarray

    def drawn(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """So many values of every draw, ``(n, count)``."""
        part = rng.choice(len(NOISE_WEIGHT), (len(self.mean), count), p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
        spread = np.sqrt(self.variance)[part, np.arange(len(self.mean))[:, None]]
        return np.asarray(self.mean[:, None] + spread * rng.standard_normal(part.shape))

    def density(self, value: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """log p(value | draw) ``(n_values, n_of_draws)``."""
        mean, variance = self.mean[draws], self.variance[:, draws]
        off = (value[:, None] - mean) ** 2
        each = [
            np.log(weight) - 0.5 * (off / spread + np.log(spread)) - _HALF_LOG_2PI
            for weight, spread in zip(NOISE_WEIGHT / NOISE_WEIGHT.sum(), variance, strict=True)
        ]
        return np.asarray(np.logaddexp.reduce(each, axis=0))


class Fraction(NamedTuple):
    """Positives among `COUNTED` in draws on a day: expected ``share`` ``(n,)`` and ``concentration`` ``()`` of the assay."""

    share: np.ndarray
    concentration: float

    def drawn(self, rng: np.random.Generator, count: int) -> np.ndarray:
        """So many values of every draw, ``(n, count)``."""
        one, other = self.share * self.concentration, (1.0 - self.share) * self.concentration
        specimen = rng.beta(one[:, None], other[:, None], (len(self.share), count))
        return rng.binomial(COUNTED, specimen).astype(float)

    def density(self, value: np.ndarray, draws: np.ndarray) -> np.ndarray:
        """log p(value | draw) ``(n_values, n_of_draws)``."""
        return np.asarray(_density(value[:, None], float(COUNTED), self.share[None, draws], self.concentration))


_density = jax.jit(log_density)


def burden(at: Landmark, cells: Cells, days: float) -> Burden:
    """The burden of the draws of a landmark, so many days later; ``cells`` ``(n,)`` are those then."""
    scale = scale_of(at)
    level = np.asarray(log_burden(visible(cells, scale.shed_p), scale.log_unit, scale.power))
    over = passage(np.full(len(level), days), at.values["wander_days"])
    mean = np.asarray(times(over.kept, jnp.asarray(at.wander_mean).T))[0]
    root = jnp.moveaxis(jnp.asarray(at.wander_root), 0, -1)
    carried = np.stack([np.asarray(times(over.kept, root[:, column]))[0] for column in range(2)])
    variance = (carried**2).sum(axis=0) + at.values["wander_sd"] ** 2 * np.asarray(over.fresh)[0, 0]
    parts = variance + (NOISE_SCALE[:, None] * at.values["noise_sd"]) ** 2
    if at.counted:
        parts = parts + 1.0 / np.maximum(np.exp(level + mean), 1.0)
    return Burden(level + mean, parts)


def fraction(cells: Cells, marker: str) -> Fraction:
    """The fraction of cells that show a marker, of draws with these ``cells`` ``(n,)``."""
    place = MARKERS.index(marker)
    return Fraction(np.asarray(positive_share(cells, place)), float(np.asarray(assay(place).concentration)))


def measured(kind: str, at: Landmark, cells: Cells, days: float) -> Any:
    """What is measured of a `KINDS`, a `Burden` or a `Fraction`."""
    return burden(at, cells, days) if kind == "burden" else fraction(cells, kind)
