"""What each value of a series is worth under given rates, once known from the values before it, once from all the others.

    ahead      log p(y_i | y_<i, theta)                              as the fit's own filter gives it
    left out   log p(y_i | y_-i, theta) = log p(y | theta) - log p(y_-i | theta)

The values of a series hang together by the wander, so the second is not the first: leaving a value out changes what follows
(Buerkner, Gabry & Vehtari 2021, 10.1007/s00180-020-01045-4). A value that is missing teaches the filter nothing, but its
time passes: its gap goes to the visit after it. The cells do not depend on the values, so their curve is run once.

Densities are of the log burden; of a censored value, the probability of what is known of it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.errors import PrecisionError
from persist.inference import posterior, store
from persist.inference.cohort import Reference, case, observable, pad
from persist.inference.curve import trace_curves
from persist.inference.likelihood import Visits, log_likelihood

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.cohort import Case
    from persist.types import Series

NOISE = ("noise_sd", "wander_sd", "wander_days")


class Terms(NamedTuple):
    """Log densities of the values of one patient under some draws, each ``(n_draws, n_values)``, how many independent draws
    these count for, and log-likelihoods of the fractions measured ``between`` the value before and each (0: none were).
    """

    ahead: np.ndarray
    left_out: np.ndarray
    effective: float
    between: Any = 0.0


def of_patient(fit: store.DataTree, patient: str, draws: int) -> Terms:
    """The terms of one patient under at most ``draws`` draws of a fit, taken evenly from all chains.

    Raises `PrecisionError` without float64.
    """
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    series = next(one for one in posterior.series(fit) if one.patient_id == patient)
    values, one, power = drawn(fit, series, draws)
    visits, level, ahead, counts = _along(values, one, power)
    noise = tuple(jnp.asarray(values[name]) for name in NOISE)
    without = np.asarray(_without(visits, level, noise))
    count, whole = len(series.day), np.asarray(ahead).sum(axis=1, keepdims=True)
    effective = min(posterior.effective_draws(fit, patient), float(len(without)))
    return Terms(np.asarray(ahead)[:, :count], (whole - without)[:, :count], effective, _between(series, counts))


def _between(series: Series, counts: Array) -> np.ndarray:
    """Log-likelihoods of fractions ``(n_draws, n_specimens)``, summed by the value that they come before or with (or, after
    all values, the last).
    """
    place = np.minimum(np.searchsorted(series.day, series.composition.day - 1e-6), len(series.day) - 1)
    found = np.zeros((len(counts), len(series.day)))
    for specimen, value in enumerate(place):
        found[:, value] += np.asarray(counts)[:, specimen]
    return found


def drawn(fit: store.DataTree, series: Series, draws: int) -> tuple[dict[str, np.ndarray], Case, float]:
    """Draws of a fit, each ``(n_draws,)``, with ``series`` as the model reads it (that of the fit, or a longer one of the same
    patient) and the power of its observable.
    """
    kind = observable(series.observable)
    cohort = pad([series], pack=store.attribute(fit, "settings")["pack"])
    return posterior.thinned(fit, series.patient_id, draws), case(cohort, 0, counted=kind.counted), kind.power


def ahead_of(fit: store.DataTree, series: Series, draws: int) -> Terms:
    """The terms of ``series`` under draws of a fit of its beginning, none of them left out."""
    _, _, ahead, counts = _along(*drawn(fit, series, draws))
    effective = min(posterior.effective_draws(fit, series.patient_id), float(len(ahead)))
    return Terms(
        np.asarray(ahead)[:, : len(series.day)], np.zeros((len(ahead), 0)), effective, _between(series, counts)
    )


def reference(fit: store.DataTree, series: Series) -> Reference:
    """The burdens that the priors of a fit of ``series`` count in: given to a fit of less of it, the prior stays the same."""
    given = store.attribute(fit, "settings").get("reference")
    if given is not None:
        return Reference(*given)
    _, one, _ = drawn(fit, series, 1)
    return Reference(float(np.exp(one.log_first)), float(np.exp(one.log_largest)))


def _along(values: dict[str, np.ndarray], one: Case, power: float) -> tuple[Visits, Array, Array, Array]:
    """The visits, the curve's level at them and the terms ahead, both ``(n_draws, n_visits)`` with the padding, and the terms
    of measured fractions ``(n_draws, n_specimens)``.
    """
    curve = trace_curves({name: jnp.asarray(value) for name, value in values.items()}, one, power)
    return (
        Visits(one.gap, one.value, one.censoring, one.counting, one.seen),
        curve.level,
        curve.pointwise,
        curve.composition,
    )


def without(visits: Visits, index: Any) -> Visits:
    """The series with one value missing: unseen, its gap added to that of the visit after it."""
    here = jnp.arange(len(visits.gap)) == index
    gap = jnp.asarray(visits.gap) + jnp.where(jnp.roll(here, 1).at[0].set(False), jnp.roll(visits.gap, 1), 0.0)
    return visits._replace(gap=gap, seen=jnp.asarray(visits.seen) & ~here)


@jax.jit
def _without(visits: Visits, level: Array, noise: tuple[Array, Array, Array]) -> Array:
    """log p(y_-i | theta) of each draw and each visit left out, ``(n_draws, n_visits)``; one visit after the other."""

    def missing(index: Array) -> Array:
        rest = without(visits, index)
        return jax.vmap(lambda curve, *sizes: log_likelihood(rest, curve, *sizes)[0].sum())(level, *noise)

    return jnp.asarray(jax.lax.map(missing, jnp.arange(level.shape[1]))).T
