"""From a table to a posterior: every patient through one compiled sampler, and all that follows from the draws."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np

from persist.errors import FitError, PrecisionError, UsageError
from persist.inference.cohort import Case, case, observable, one_schedule, pad
from persist.inference.crew import Failure
from persist.inference.curve import derive, resistant_share, trace_curves
from persist.inference.fate import SIZE, by_chance
from persist.inference.model import sampled
from persist.inference.one_by_one import finished
from persist.inference.population import UNKNOWN, Population
from persist.inference.posterior import assemble
from persist.inference.priors import load_pack
from persist.inference.sampler import Draws
from persist.inference.settings import Settings
from persist.inference.store import as_attribute
from persist.inference.target import Member, Target
from persist.treatment.doubt import NO_GAPS, STOP

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from jax import Array

    from persist.inference.settings import Progress
    from persist.inference.store import DataTree
    from persist.types import Table


def fit(
    table: Table,
    settings: Settings | None = None,
    *,
    partial: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    population: Population | Mapping[str, Population] = UNKNOWN,
    scheduler: str | None = None,
    chunk: tuple[int, int] = (1, 1),
) -> DataTree:
    """Posterior of every series in ``table``, as a DataTree with ArviZ's groups (see `inference.store`).

    ``partial`` is a folder that keeps finished patients; those of the same data, settings and seed are taken from it.
    ``population``: the law of other patients' scores that these have as their prior (`inference.pooled`), one for all or by
    patient. ``scheduler``: the address of a Dask scheduler, or "local" (`inference.crew`). ``chunk`` (i, n): every n-th series
    from the i-th on, a share that `inference.gather` puts together with the others.

    Patients without a finite density anywhere are named in the attribute ``unfit``; `FitError` if they are all. Raises
    `DataError` and `UsageError` for series that cannot be read as a patient, `PrecisionError` without float64.
    """
    settings = settings or Settings()
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    names = [series.patient_id for series in table.series]
    table = table._replace(series=table.series[chunk[0] - 1 :: chunk[1]])
    if not table.series:
        what = f"{len(names)} patients have no {chunk[1]} shares"
        raise UsageError(what, where="--chunk", remedy="give fewer shares")
    everyone = members(table, settings, population)
    began = time.perf_counter()
    drawn: dict[str, Draws] = {}
    lost: dict[str, Failure] = {}
    fresh = 0.0
    for name, found, spent in finished(settings, everyone, partial, progress, scheduler):
        if isinstance(found, Failure):
            lost[name] = found
        else:
            drawn[name] = found
        fresh += spent
    if not drawn:
        name, why = next(iter(lost.items()))
        raise FitError(why.what, where=f"patient {name}: {why.where}", remedy=why.remedy)
    table = table._replace(series=tuple(one for one in table.series if one.patient_id in drawn))
    there = [one for one in everyone if one.patient_id in drawn]
    result = described(table, settings, there, [drawn[one.patient_id] for one in there])
    result.attrs |= {
        "unfit": as_attribute({name: why.what for name, why in lost.items()}),
        "everyone": as_attribute(names),
    }
    run = sum(found.seconds for found in drawn.values())
    result.attrs |= {"seconds": run, "compile_seconds": fresh, "wall_seconds": time.perf_counter() - began}
    return result


def members(
    table: Table, settings: Settings, population: Population | Mapping[str, Population] = UNKNOWN
) -> list[Member]:
    """Every patient as the sampler reads it, padded to a size of its own: its numbers then cannot depend on who else is
    fitted. ``population``: of all, or by patient.
    """
    kind = observable(table.series[0].observable)
    pack = load_pack(settings.pack, kind.cells)
    names, found = sampled(pack, settings.model), []
    for series in table.series:
        padded = pad([series], pack=settings.pack, drug=settings.drug, gaps=[NO_GAPS] if settings.exact_stops else None)
        law = population if isinstance(population, Population) else population[series.patient_id]
        one = case(padded, 0, counted=kind.counted, reference=settings.reference)._replace(population=law)
        chance = by_chance(pack, names, one, kind.power)
        target = Target(settings.model, settings.pack, kind.cells, kind.power, chance, one.doubt is not None)
        found.append(Member(series.patient_id, target, one))
    return found


def described(table: Table, settings: Settings, everyone: list[Member], results: list[Draws]) -> DataTree:
    """The posterior file of the draws of every patient: what follows from them, curves, predictions."""
    results, power = _alike(results), everyone[0].target.power
    schedules = [one_schedule(series, settings.drug) for series in table.series]
    curves = [_curves(found.values, one.case, power) for found, one in zip(results, everyone, strict=True)]
    derived = [{name: np.asarray(v) for name, v in derive(found.values, power).items()} for found in results]
    return assemble(table, settings._asdict(), results, derived, curves, schedules)


def _alike(results: list[Draws]) -> list[Draws]:
    """The same, with what is sampled of any patient of every one: 1 where the clone's size is no matter of chance, and where
    every stop was when it was recorded.
    """
    some = [name for name in (SIZE, STOP) if any(name in found.values for found in results)]
    own = [dict.fromkeys(some, np.ones_like(next(iter(found.values.values())))) | found.values for found in results]
    return [found._replace(values=values) for found, values in zip(results, own, strict=True)]


def _curves(values: dict[str, np.ndarray], one: Case, power: float) -> dict[str, np.ndarray]:
    """Of every draw: level and pointwise log-likelihood ``(chains, draws, n_visits)``, that of measured fractions ``(chains,
    draws, n_specimens)``, shares of S, P, R at the visits ``(..., 3)``, and the mean share of R ``(chains, draws)``.
    """
    return {name: np.asarray(value) for name, value in _traced(values, one, power).items()}


@jax.jit
def _traced(values: dict[str, Any], one: Any, power: float) -> dict[str, Array]:
    """`_curves`, compiled; chain after chain, to need less memory."""

    def run(row: dict[str, Any]) -> dict[str, Any]:
        curve = trace_curves(row, one, power)
        return {
            "level": curve.level,
            "log_likelihood": curve.pointwise,
            "composition": curve.composition,
            "shares": jnp.stack(curve.cells, axis=-1) / jnp.maximum(curve.cells.total, 1e-6)[..., None],
            "resistant_share": resistant_share(curve, one),
        }

    found: dict[str, Array] = jax.lax.map(run, values)
    return found
