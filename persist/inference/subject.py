"""One patient of a fit as the model reads it: series, padded case, and the exact prior of every sampled parameter."""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

from persist.errors import PrecisionError
from persist.inference import leaning, posterior, store
from persist.inference.cohort import Case, Reference, case, observable, pad
from persist.inference.priors import Prior, moved
from persist.types import Series

_IN_OWN_UNITS = ("settled_burden", "burden_0")
"""Their priors count in the largest and the first burden of the series."""


class Subject(NamedTuple):
    """A patient of a fit: what was measured, as table and as the model reads it, and the ``power`` of the observable."""

    series: Series
    case: Case
    power: float


def subject(fit: store.DataTree, patient: str) -> Subject:
    """The patient of this name; `PrecisionError` without float64."""
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    series = next(one for one in posterior.series(fit) if one.patient_id == patient)
    kind = observable(series.observable)
    settings = store.attribute(fit, "settings")
    given = settings.get("reference")
    reference = None if given is None else Reference(*given)
    one = case(pad([series], pack=settings["pack"]), 0, counted=kind.counted, reference=reference)
    return Subject(series, one, kind.power)


def laws(fit: store.DataTree, patient: str) -> dict[str, Prior]:
    """The prior that each sampled parameter of a patient had; burdens in the unit of the file.

    Of a patient of a cohort it is the normal law of the score that has the mean and spread of the population, given what is
    known of the patient's biomarkers; of what seeds a clone, that of patients who have one. (Against a normal law as wide as
    both humps together, a patient of whom only the hump is known would seem to be informed.)
    """
    pack = leaning.pack_of(fit)
    entries = pack.every
    beside = [name for name in posterior.own(fit["posterior"].to_dataset().sel(patient=patient)) if name in entries]
    found = {name: entries[name] for name in (*map(str, fit["prior"].to_dataset().data_vars), *beside)}
    if leaning.GROUP in fit.children:
        group = fit[leaning.GROUP].to_dataset()
        known = leaning.marginals(group, patient, leaning.markers_of(fit), with_clone=True)
        found |= {name: moved(found[name], *at) for name, at in known.items()}
    own = [name for name in _IN_OWN_UNITS if name in found]
    if own:
        one = subject(fit, patient).case
        unit = {"settled_burden": float(np.exp(one.log_largest)), "burden_0": float(np.exp(one.log_first))}
        found |= {name: _times(found[name], unit[name]) for name in own}
    return found


def _times(prior: Prior, unit: float) -> Prior:
    """The law of a log-normal value in another unit."""
    centre = None if prior.centre is None else prior.centre * unit
    return prior._replace(low=prior.low * unit, high=prior.high * unit, lower=prior.lower * unit, centre=centre)
