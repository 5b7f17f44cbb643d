"""From a table to the posterior of a cohort and of its population (`inference.pooling`), and of patients who come after it."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

import jax
import numpy as np

from persist import keys
from persist.errors import PrecisionError, UsageError
from persist.inference import leaning, store
from persist.inference.covariates import ACTS_ON, Covariates, scale_of, standardised
from persist.inference.fit import described, fit, members
from persist.inference.pooling import Pace, names_of, pool
from persist.inference.priors import at_score
from persist.inference.sampler import told
from persist.inference.settings import Settings
from persist.inference.walkers import WALKERS

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.covariates import Scale
    from persist.inference.settings import Progress
    from persist.types import Biomarkers, Table

LEAST = 2
"""Patients of a cohort."""


def pace_of(settings: Settings) -> Pace:
    """How long to draw: a chain is as many lanes as tempering has walkers that start together, and so many rounds are kept that
    a chain has the points of a patient that were asked for. With these the draws of the last stage grow, with the warm-up all
    rounds before: at the settings' defaults they are those of `Pace`.
    """
    usual, kept = Pace(), -(-settings.draws // WALKERS)
    longer, more = (getattr(settings, name) / Settings._field_defaults[name] for name in ("warmup", "draws"))
    return Pace(
        lanes=WALKERS * settings.chains,
        settle=max(1, round(longer * usual.settle)),
        stage=max(1, round(longer * usual.stage)),
        last=max(1, round(more * usual.last)),
        warmup=max(1, round(longer * usual.warmup)),
        rounds=kept * usual.thin,
        thin=usual.thin,
    )


def fit_cohort(
    table: Table,
    settings: Settings,
    *,
    partial: str | Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> store.DataTree:
    """Posterior of every series in ``table`` and of their population, as a DataTree (see `inference.store`). Where the table
    has biomarkers, the population depends on them (`inference.covariates`).

    ``partial`` is a folder that keeps where a run stands. ``progress`` is told what is being done and the share of it done.

    Raises `UsageError` for a cohort of fewer than `LEAST` patients, `PrecisionError` without float64, and as `fit` does.
    """
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    if len(table.series) < LEAST:
        what = f"a cohort of {len(table.series)} has no population"
        raise UsageError(what, where="--pool", remedy=f"give {LEAST} patients or more, or leave --pool out")
    began = time.perf_counter()
    everyone = members(table, settings)
    folder = None if partial is None else Path(partial)
    names, pace = names_of(everyone[0]), pace_of(settings)
    scale = None if table.biomarkers is None else scale_of(table.biomarkers)
    known = None if scale is None else _covariates(scale, table, names)
    found = pool(settings.seed, everyone, pace, covariates=known, folder=folder, progress=progress)
    unknown = np.full(settings.chains, np.nan)
    results = [
        told(keys.key(settings.seed, one.patient_id, "named"), one.target, one.case, kept, unknown, 0.0)
        for one, kept in zip(everyone, found.patients, strict=True)
    ]
    result = described(table, settings, everyone, results)
    both = np.stack([found.apart.T, found.free.T], axis=1)
    likely = {one.patient_id: row for one, row in zip(everyone, both, strict=True)}
    effects = None if scale is None or found.effects is None else (scale, found.effects)
    group = leaning.group(
        names, found.frame, found.shown, found.laws, settings.chains, likely, effects, found.effective
    )
    lean(result, group, table.biomarkers)
    spent = time.perf_counter() - began
    fresh = max(0.0, spent - found.seconds)  # a run that went on counts its earlier seconds too
    result.attrs |= {
        "pooled": store.as_attribute(True),
        "seconds": found.seconds,
        "compile_seconds": fresh,
        "wall_seconds": spent,
    }
    return result


def fit_next(
    table: Table,
    settings: Settings,
    earlier: store.DataTree,
    *,
    partial: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    scheduler: str | None = None,
    chunk: tuple[int, int] = (1, 1),
) -> store.DataTree:
    """Posterior of patients who have the population of an ``earlier`` pooled fit as their prior, given their biomarkers where
    it knows any; one value is enough. Raises `UsageError` for biomarkers that it does not know.
    """
    known, markers = leaning.for_others(earlier, table, settings), table.biomarkers
    table = table._replace(notes=(*table.notes, *leaning.assumed(known, markers)))
    law = {one.patient_id: leaning.mixture(known, one.patient_id, markers) for one in table.series}
    result = fit(table, settings, partial=partial, progress=progress, population=law, scheduler=scheduler, chunk=chunk)
    lean(result, known, markers)
    return result


def _covariates(scale: Scale, table: Table, names: tuple[str, ...]) -> Covariates:
    """The biomarkers of all patients as inference reads them."""
    patients = [series.patient_id for series in table.series]
    return Covariates(*standardised(scale, table.biomarkers, patients), np.isin(names, ACTS_ON))


def lean(result: store.DataTree, known: store.Dataset, markers: Biomarkers | None = None) -> None:
    """Put a population into a fit of its patients: the group, draws of the prior that it is to each of them, and what is known
    of their biomarkers.
    """
    names, pack = leaning.names_of(result), leaning.pack_of(result)
    entries = pack.every
    result[leaning.GROUP] = store.DataTree(known)
    prior = result["prior"].to_dataset().copy(deep=True)
    if markers is not None:
        result[leaning.MARKERS] = store.DataTree(leaning.markers(markers, list(map(str, prior["patient"].values))))
    for patient in map(str, prior["patient"].values):
        law = leaning.mixture(known, patient, markers)
        root = keys.key(int(store.attribute(result, "settings")["seed"]), patient, "leaning")
        z = leaning.drawn(np.random.default_rng(np.asarray(jax.random.key_data(root))), law, prior.sizes["draw"])
        for name, column in zip(names, z.T, strict=True):
            prior[name].loc[{"patient": patient}] = at_score(entries[name], column)[None]
    result["prior"] = store.DataTree(prior)
