"""Patients whom a population lets expect: their biomarkers, their rates, and how far their burden falls under the full dose.

Each law of the population has patients of its own. Their biomarkers are of the normal law that the population has of them;
where the one that is asked about has two values only, as positive and negative, they are those of patients of its cohort, drawn
anew. Scores follow the law given the biomarkers, what is not pooled the pack's prior, and a share of them has no resistant
clone. The burden is the mean field on the full dose from day 0 on, without wander and error: what chance does to few cells, and
what an assay does, is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from persist.errors import StoreError, UsageError
from persist.inference import leaning, posterior, store
from persist.inference.cohort import Reference, case, observable, pad
from persist.inference.covariates import Effects, Scale, at, completed, standardised
from persist.inference.curve import trace_curves
from persist.inference.model import sampled
from persist.inference.population import ALONE, Law
from persist.inference.priors import at_score, quantile
from persist.records.text import did_you_mean
from persist.types import Schedule, Series

if TYPE_CHECKING:
    from persist.inference.clone_free import Frame
    from persist.inference.cohort import Case

EVERY = 7.0
"""Days between looks at the burden."""

TOGETHER = 1000
"""Patients whose curves are run together."""


class Recruits(NamedTuple):
    """The ``biomarker`` of patients in its own unit, and the least ``burden`` over that of day 0, each ``(laws, patients)``."""

    biomarker: np.ndarray
    burden: np.ndarray


def recruits(fit: store.DataTree, name: str, days: float, laws: int, patients: int, seed: int) -> Recruits:
    """So many patients of so many draws of the population of a pooled fit, followed for ``days``.

    Raises `StoreError` for a file without a population, `UsageError` where that knows no biomarker of this ``name``.
    """
    scale, place = _asked(fit, name)
    rng = np.random.default_rng(seed)
    law, effects = _some(fit, laws)
    x = _biomarkers(rng, fit, scale, place, effects, patients)
    z = _scores(rng, at(_wide(law), _wide(effects), x), leaning.frame_of(fit[leaning.GROUP].to_dataset()))
    values = _values(rng, fit, z)
    least = _least(values, fit, days)
    return Recruits(scale.centre[place] + scale.sd[place] * x[..., place], least.reshape(x.shape[:2]))


def _asked(fit: store.DataTree, name: str) -> tuple[Scale, int]:
    """The biomarkers of the population, and the place of the one that is asked about."""
    if leaning.GROUP not in fit.children:
        raise StoreError("it holds no population", remedy="give a file of `persist fit --pool --biomarkers`")
    scale = leaning.scale_of(fit[leaning.GROUP].to_dataset())
    if scale is None:
        remedy = "give a file of `persist fit --pool --biomarkers`"
        raise UsageError("the population knows no biomarkers", where="--biomarker", remedy=remedy)
    if name not in scale.names:
        what = f"the population knows no biomarker {name!r}{did_you_mean(name, scale.names)}"
        raise UsageError(what, where="--biomarker", remedy=f"choose {', '.join(scale.names)}")
    return scale, scale.names.index(name)


def _some(fit: store.DataTree, laws: int) -> tuple[Law, Effects]:
    """Evenly taken draws of law and effects, each ``(laws, ...)``."""
    group = fit[leaning.GROUP].to_dataset()
    total = group.sizes["chain"] * group.sizes["draw"]
    take = np.unique(np.linspace(0, total - 1, min(laws, total)).round().astype(int))

    def taken(part: np.ndarray) -> np.ndarray:
        return np.asarray(part.reshape(total, *part.shape[2:])[take])

    return Law(*map(taken, leaning.law_of(group))), Effects(*map(taken, leaning.effects_of(group)))


def _wide[Parts: (Law, Effects)](parts: Parts) -> Parts:
    """The same with an axis of patients after that of laws."""
    return parts.__class__(*(part[:, None] for part in parts))


def _biomarkers(
    rng: np.random.Generator, fit: store.DataTree, scale: Scale, place: int, effects: Effects, patients: int
) -> np.ndarray:
    """Standardised biomarkers ``(laws, patients, p)``."""
    shape = (len(effects.scale), patients, len(scale.names))
    value, seen = np.zeros(shape), np.zeros(shape, bool)
    known = leaning.markers_of(fit)
    if known is not None:
        theirs, there = standardised(scale, known, known.patients)
        rows = np.flatnonzero(there[:, place])
        if len(np.unique(theirs[rows, place])) == 2:
            pick = rng.choice(rows, size=shape[:2])
            value, seen = theirs[pick], there[pick]
    precision = np.linalg.inv(effects.spread)[:, None]
    return completed(rng, precision, np.zeros(shape), value, seen)


def _scores(rng: np.random.Generator, law: Law, frame: Frame) -> np.ndarray:
    """All scores ``(laws, patients, n)`` of patients whose laws these are, each ``(laws, patients, ...)``."""
    apart, free = (rng.uniform(size=law.mean.shape[:2]) < share for share in (law.share, law.clone_free))
    z = rng.standard_normal((*law.mean.shape[:2], len(frame.shift)))
    root = np.broadcast_to(np.linalg.cholesky(law.covariance), (*law.mean.shape, law.mean.shape[-1]))
    about = law.mean + apart[..., None] * law.apart
    z[..., frame.pooled] = about + np.einsum("...ij,...j->...i", root, z[..., frame.pooled])
    return np.asarray(z + free[..., None] * frame.shift)


def _values(rng: np.random.Generator, fit: store.DataTree, z: np.ndarray) -> dict[str, np.ndarray]:
    """Every sampled parameter of all patients, ``(laws x patients,)``; burdens in the unit of the file."""
    pack, settings = leaning.pack_of(fit), store.attribute(fit, "settings")
    entries, names = pack.every, leaning.names_of(fit)
    first, largest = _reference(fit)
    unit = {"burden_0": first, "settled_burden": largest}
    many, found = z.shape[0] * z.shape[1], {}
    for name in sampled(pack, settings["model"]):
        if name in ALONE:
            level = rng.uniform(1e-9, 1.0 - 1e-9, many)
            found[name] = quantile(entries[name], level) * unit.get(name, 1.0)
        else:
            found[name] = at_score(entries[name], z[..., names.index(name)].ravel())
    return found


def _reference(fit: store.DataTree) -> Reference:
    """What burdens count in: medians of the cohort's first and largest ones."""
    every = posterior.series(fit)
    return Reference(*(float(np.median([pick(one.burden) for one in every])) for pick in (lambda y: y[0], np.max)))


def _case(fit: store.DataTree, days: float) -> tuple[Case, int, float]:
    """A patient on the full dose from day 0 on, looked at every `EVERY` days; the number of looks; the observable's power."""
    name, reference = str(fit.attrs["observable"]), _reference(fit)
    kind, day = observable(name), np.append(np.arange(0.0, days - 1e-9, EVERY), days)
    schedule = Schedule(np.zeros(1), np.full(1, np.inf), np.ones(1))
    burden = np.full(len(day), reference.first)
    series = Series("recruit", name, "", day, burden, np.zeros(len(day), int), {"drug": schedule})
    cohort = pad([series], pack=store.attribute(fit, "settings")["pack"])
    return case(cohort, 0, counted=kind.counted, reference=reference), len(day), kind.power


def _least(values: dict[str, np.ndarray], fit: store.DataTree, days: float) -> np.ndarray:
    """The least burden over that of day 0, ``(n,)``."""
    one, looks, power = _case(fit, days)
    total, parts = len(next(iter(values.values()))), []
    for begin in range(0, total, TOGETHER):
        rows = {name: np.resize(value[begin : begin + TOGETHER], TOGETHER) for name, value in values.items()}
        level = np.asarray(trace_curves({name: jnp.asarray(row) for name, row in rows.items()}, one, power).level)
        parts.append(np.exp((level[:, :looks] - level[:, :1]).min(axis=1))[: total - begin])
    return np.concatenate(parts)
