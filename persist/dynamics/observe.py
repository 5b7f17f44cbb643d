"""What is measured of a tumour, and with what error.

    log y = power * (log V - log cells_per_unit) + w(t) + e,   power 1 for volumes and markers, 1/3 for diameters

V = N, or S + shed_p P + R where the burden is a marker of which persisters shed less (`visible`).

``w`` is a stationary Gaussian process (sd ``wander_sd``) with the Matern covariance of order 3/2 (length ``wander_days``): real
series wander from any curve, and smoothly, so that what strays goes on straying for a while. ``e`` is robust: Student's t with
four degrees of freedom and scale ``noise_sd``, written as a mixture of five normals (Andrews & Mallows 1974,
10.1111/j.2517-6161.1974.tb00989.x), with one gross error in ten thousand. The mixture *is* the noise of this program: the
likelihood integrates it and the simulators draw from it. Its standard deviation is 1.4 ``noise_sd``.

A measured fraction (marker-positive persisters, resistant alleles) is beta-binomial about its share of the cells, seen through
the sensitivity and specificity of its marker. It does not wander: it is a ratio of what one specimen holds.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.sampling import binomial
from persist.types import MARKERS

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

    from persist.types import Cells

FAR = 500.0
"""Relaxation times after which nothing is left of the wander."""

SHORT = 1e-3
"""Relaxation times under which the first variance of a passage is taken from its series."""

_STUDENT_DF = 4.0
_BLUNDER_SHARE, _BLUNDER_SCALE = 1e-4, 30.0


def _student_mixture(df: float, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Weights of normals of these scales (evenly spaced in their log) that together stand for Student's t, and the scales.

    t = z / sqrt(lambda) with lambda ~ Gamma(df/2, rate df/2): the integral over log lambda by the trapezoidal rule. With the
    scales below, tails are within 7 % of the t's out to 4 scales and within 30 % out to 7.
    """
    precision = scale**-2.0
    weight = precision ** (df / 2.0) * np.exp(-df / 2.0 * precision)
    return weight / weight.sum(), scale


def _with_blunders(weight: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A further component for gross errors: rare, and so wide that no single value can overrule all others."""
    return np.append((1.0 - _BLUNDER_SHARE) * weight / weight.sum(), _BLUNDER_SHARE), np.append(scale, _BLUNDER_SCALE)


NOISE_WEIGHT, NOISE_SCALE = _with_blunders(*_student_mixture(_STUDENT_DF, np.geomspace(0.55, 4.2, 5)))
"""Weights and scales ``(6,)`` of the components of the noise, in units of ``noise_sd``."""


class Observable(NamedTuple):
    """How a kind of burden follows from the number of cells; ``cells`` names its entry in the priors file."""

    power: float
    cells: str
    counted: bool = False
    ceiling: float = np.inf


OBSERVABLES: dict[str, Observable] = {
    "psa": Observable(1.0, "psa"),
    "volume": Observable(1.0, "volume"),
    "m-protein": Observable(1.0, "other"),
    "bcr-abl": Observable(1.0, "other"),
    "lymphocytes": Observable(1.0, "other"),
    "blasts": Observable(1.0, "other"),
    "sld": Observable(1.0 / 3.0, "diameter"),
    "diameter": Observable(1.0 / 3.0, "diameter"),
    "cells": Observable(1.0, "one", counted=True),
    "confluence": Observable(1.0, "other", ceiling=99.0),
}


def visible(cells: Cells, shed_p: ArrayLike | None = None) -> Array:
    """Cells as the burden counts them, ``(...)``: S + shed_p P + R, ``shed_p`` what a persister sheds of the marker over what
    another cell does (None: as much, so N).
    """
    if shed_p is None:
        return jnp.asarray(cells.total)
    return jnp.asarray(cells.sensitive + shed_p * cells.persister + cells.resistant)


def log_burden(total: ArrayLike, log_cells_per_unit: ArrayLike, power: ArrayLike) -> Array:
    """log y without noise: power * (log N - log cells_per_unit), N the visible cells, held at 1e-6 from below."""
    return jnp.asarray(power) * (jnp.log(jnp.maximum(total, 1e-6)) - log_cells_per_unit)


def noise(pick: Array, shock: Array) -> Array:
    """Measurement errors in units of ``noise_sd``, ``(...)``: a component by the uniform number ``pick``, of whose scale the
    standard normal ``shock`` is made.
    """
    part = jnp.searchsorted(jnp.asarray(np.cumsum(NOISE_WEIGHT)[:-1]), pick)
    return jnp.asarray(NOISE_SCALE)[part] * shock


class Passage(NamedTuple):
    """What some days do to the wander x = (w, u), u = (days / sqrt 3) dw/dt: x(t + h) = ``kept`` x(t) + noise of the covariance
    ``fresh`` sd^2. Each ``(2, 2, ...)``.
    """

    kept: Any
    fresh: Any


def passage(gap: ArrayLike, days: ArrayLike) -> Passage:
    """The passage of ``gap`` days, ``(...)`` (Hartikainen & Sarkka 2010, 10.1109/MLSP.2010.5589113).

    a = sqrt(3) h / days,   kept = exp(-a) [[1 + a, a], [-a, 1 - a]],   fresh = 1 - kept kept'

    At rest w and u are independent, with variance sd^2 both.
    """
    a = jnp.minimum(math.sqrt(3.0) * jnp.asarray(gap) / days, FAR)
    left, twice = jnp.exp(-a), jnp.exp(-2.0 * a)
    kept = jnp.stack([jnp.stack([(1.0 + a) * left, a * left]), jnp.stack([-a * left, (1.0 - a) * left])])
    shared = 2.0 * a**2 * twice
    x = 2.0 * jnp.minimum(a, SHORT)  # 1 - (1 + x + x^2 / 2) exp(-x) of a short gap: its terms cancel
    little = x**3 / 6.0 * (1.0 - x * (0.75 - x * (0.3 - x / 12.0)))
    first = jnp.where(a < SHORT, little, jnp.maximum(-jnp.expm1(-2.0 * a) - 2.0 * a * (1.0 + a) * twice, 0.0))
    second = jnp.maximum(-jnp.expm1(-2.0 * a) + 2.0 * a * (1.0 - a) * twice, 0.0)
    return Passage(kept, jnp.stack([jnp.stack([first, shared]), jnp.stack([shared, second])]))


def root(covariance: Array) -> Array:
    """Lower root ``(2, 2, ...)`` of a covariance ``(2, 2, ...)``, which may be singular."""
    first = jnp.sqrt(jnp.maximum(covariance[0, 0], 0.0))
    cross = covariance[1, 0] / jnp.maximum(first, 1e-150)
    second = jnp.sqrt(jnp.maximum(covariance[1, 1] - cross**2, 0.0))
    return jnp.stack([jnp.stack([first, jnp.zeros_like(first)]), jnp.stack([cross, second])])


def times(matrix: Array, vector: Array) -> Array:
    """``(2, 2, ...)`` times ``(2, ...)``."""
    return jnp.stack([matrix[row, 0] * vector[0] + matrix[row, 1] * vector[1] for row in range(2)])


def correlation(gap: ArrayLike, days: ArrayLike) -> Any:
    """Correlation of w over ``gap`` days: (1 + a) exp(-a)."""
    a = math.sqrt(3.0) * np.abs(gap) / days
    return (1.0 + a) * np.exp(-a)


def wander(shocks: Array, start: Array, day: Array, sd: ArrayLike, days: ArrayLike) -> Array:
    """Paths of the wander (w, u) at ``day`` ``(n,)`` from ``start`` ``(2, ...)`` at ``day[0]``; the standard normal ``shocks``
    of the later days, and the paths, are ``(n, 2, ...)``.
    """

    def step(state: Array, inputs: tuple[Array, Array]) -> tuple[Array, Array]:
        gap, shock = inputs
        over = passage(gap, days)
        state = times(over.kept, state) + size * times(root(over.fresh), shock)
        return state, state

    size = jnp.broadcast_to(sd, jnp.shape(start))
    return jax.lax.scan(step, start, (jnp.diff(day, prepend=day[:1]), shocks))[1]


class Assay(NamedTuple):
    """How a marker shows a state: ``sensitivity`` the share of its cells that are positive, ``specificity`` that of all other
    cells that are not, ``concentration`` how alike specimens are (the sum of the two numbers of a beta law).
    """

    sensitivity: Any
    specificity: Any
    concentration: Any


ASSAYS: dict[str, Assay] = {
    "persister": Assay(0.95, 0.999, 100.0),  # [A] a stain of a biopsy, or flow: specimens of 5 % differ by +- 2 %
    "resistant": Assay(1.0, 0.9999, 500.0),  # [A] as of circulating tumour DNA read deeply: those of 1 % by +- 0.4 %
}
"""One of each of `MARKERS`. All six numbers are assumptions of ours, [A]; they are printed wherever they are used."""

BLUNDER = 1e-6
"""Share of cells whose mark is plainly wrong: so no count is impossible, even where all cells are of one state."""


def assay(marker: ArrayLike) -> Assay:
    """The assay of each ``marker`` (its place in `MARKERS`), its numbers in the same shape ``(...)``."""
    columns = zip(*(ASSAYS[name] for name in MARKERS), strict=True)
    return Assay(*(jnp.asarray(column)[jnp.asarray(marker)] for column in columns))


def positive_share(cells: Cells, marker: ArrayLike) -> Array:
    """Expected share of positives among ``cells``, ``(...)``; never 0 or 1 (`BLUNDER`). N is held at 1e-6 cells from below.

    q = sensitivity p + (1 - specificity) (1 - p),   p = P / N for the marker of persisters, R / N for that of resistance
    """
    resistant = jnp.asarray(marker) == MARKERS.index("resistant")
    share = jnp.where(resistant, cells.resistant, cells.persister) / jnp.maximum(cells.total, 1e-6)
    of = assay(marker)
    seen: Array = of.sensitivity * share + (1.0 - of.specificity) * (1.0 - share)
    return BLUNDER + (1.0 - 2.0 * BLUNDER) * seen


def counted_share(key: Array, cells: Cells, marker: ArrayLike, counted: ArrayLike) -> Array:
    """A measured fraction of ``cells`` by ``marker``, ``(...)``: positives over so many ``counted``.

    positives ~ Binomial(counted, x),   x ~ Beta(q phi, (1 - q) phi),   q of `positive_share`, phi the concentration
    """
    share = positive_share(cells, marker)
    spread = assay(marker).concentration
    one, other = jax.random.split(key)
    specimen = jax.random.beta(one, share * spread, (1.0 - share) * spread)
    return binomial(other, counted, specimen) / jnp.asarray(counted)
