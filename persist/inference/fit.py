"""From a table to a posterior: every patient through one compiled sampler, finished patients kept on disk.

A patient's draws depend on the seed, the patient's id, the data and the settings only, so a run that was killed goes on from
the finished patients and gives the same numbers as an unbroken one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.errors import FitError, PrecisionError
from persist.inference import resume
from persist.inference.cohort import Case, Reference, case, observable, one_schedule, pad
from persist.inference.curve import derive, resistant_share, trace_curves
from persist.inference.fate import SIZE, by_chance
from persist.inference.model import sampled
from persist.inference.population import UNKNOWN, Population
from persist.inference.posterior import assemble
from persist.inference.priors import load_pack
from persist.inference.sampler import Draws, Effort, Report, draw, total_rounds
from persist.inference.target import Member, Target

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.store import DataTree
    from persist.types import Table


class Settings(NamedTuple):
    """How to fit: model variant, prior pack, drug (None: the only one), chains, warm-up and draws per chain, seed.

    ``reference``: the burdens that the priors of `burden_0` and `settled_burden` count in (None: the series' own).
    ``doublings``: how often sampling may be doubled where chains disagree or give few effective draws.
    """

    model: str = "spr"
    pack: str = "clinical"
    drug: str | None = None
    chains: int = 4
    warmup: int = 960
    draws: int = 640
    seed: int = 0
    reference: Reference | None = None
    doublings: int = 4


class Progress(NamedTuple):
    """Where a fit is: patient ``number`` (from 0) of ``patients``, iterations ``done`` of ``total``, seconds left or None."""

    patient_id: str
    number: int
    patients: int
    done: int
    total: int
    seconds_left: float | None


def fit(
    table: Table,
    settings: Settings | None = None,
    *,
    partial: str | Path | None = None,
    progress: Callable[[Progress], None] | None = None,
    population: Population = UNKNOWN,
) -> DataTree:
    """Posterior of every series in ``table``, as a DataTree with ArviZ's groups (see `inference.store`).

    ``partial`` is a folder that keeps finished patients; those of the same data, settings and seed are taken from it.
    ``population``: the law of other patients' scores that these have as their prior (`inference.pooled`).
    Raises `DataError` and `UsageError` for series that cannot be fitted, `PrecisionError` without float64.
    """
    settings = settings or Settings()
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    everyone = members(table, settings, population)
    began = time.perf_counter()
    results, fresh = [], 0.0
    for number, one in enumerate(everyone):
        started = time.perf_counter()
        found, new = _draws(settings, one, partial, _watch(progress, one.patient_id, number, len(everyone)))
        fresh += time.perf_counter() - started - found.seconds if new else 0.0
        results.append(found)
    result = described(table, settings, everyone, results)
    run = sum(found.seconds for found in results)
    result.attrs |= {"seconds": run, "compile_seconds": fresh, "wall_seconds": time.perf_counter() - began}
    return result


def members(table: Table, settings: Settings, population: Population = UNKNOWN) -> list[Member]:
    """Every patient as the sampler reads it, padded to a size of its own: its numbers then cannot depend on who else is
    fitted.
    """
    kind = observable(table.series[0].observable)
    pack = load_pack(settings.pack, kind.cells)
    names, found = sampled(pack, settings.model), []
    for series in table.series:
        padded = pad([series], pack=settings.pack, drug=settings.drug)
        one = case(padded, 0, counted=kind.counted, reference=settings.reference)._replace(population=population)
        chance = by_chance(pack, names, one, kind.power)
        target = Target(settings.model, settings.pack, kind.cells, kind.power, chance)
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
    """The same, with the clone's size of every patient where it is sampled of any: 1 where it is no matter of chance."""
    if not any(SIZE in found.values for found in results):
        return results
    sized = [{SIZE: np.ones_like(next(iter(found.values.values())))} | found.values for found in results]
    return [found._replace(values=values) for found, values in zip(results, sized, strict=True)]


def _draws(
    settings: Settings, one: Member, partial: str | Path | None, watch: Callable[[Report], None] | None
) -> tuple[Draws, bool]:
    """One patient's draws, and whether they are new (rather than taken from ``partial``)."""
    keep = None if partial is None else _Kept(Path(partial), settings, one)
    found = keep.read() if keep else None
    if found is not None:
        return found, False
    effort = Effort(settings.chains, settings.warmup, settings.draws, settings.doublings)
    if watch is not None:
        watch(Report(0, total_rounds(effort)))
    try:
        found = draw(keys.key(settings.seed, one.patient_id, "fit"), one.target, effort, one.case, watch)
    except FitError as error:
        raise FitError(error.what, where=f"patient {one.patient_id}: {error.where}", remedy=error.remedy) from None
    if keep:
        keep.write(found)
    return found, True


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


def _watch(
    progress: Callable[[Progress], None] | None, patient_id: str, index: int, patients: int
) -> Callable[[Report], None] | None:
    """A callback for the sampler that adds the patient and the time left, from the speed since the first block ended."""
    if progress is None:
        return None
    marks: list[tuple[float, int]] = []

    def report(at: Report) -> None:
        marks.append((time.perf_counter(), at.done))
        left = None
        if len(marks) > 3:  # the first block is mostly compiling
            pace = (marks[-1][0] - marks[1][0]) / (marks[-1][1] - marks[1][1])
            left = pace * (at.total - at.done + at.total * (patients - index - 1))
        progress(Progress(patient_id, index, patients, at.done, at.total, left))

    return report


class _Kept:
    """One patient's finished draws on disk."""

    def __init__(self, folder: Path, settings: Settings, one: Member) -> None:
        self.path, self.fingerprint = (
            resume.named(folder, one.patient_id),
            resume.fingerprint([one], settings),
        )

    def read(self) -> Draws | None:
        """The draws, or None where there are none that these settings and data would give."""
        parts = resume.read(self.path, self.fingerprint)
        if parts is None or "log_evidence" not in parts:
            return None
        values, stats = (resume.under(parts, head) for head in ("value.", "stat."))
        return Draws(values, stats, parts["log_evidence"], float(parts["seconds"]))

    def write(self, draws: Draws) -> None:
        """Keep the draws."""
        columns: dict[str, Any] = {f"value.{name}": value for name, value in draws.values.items()}
        columns |= {f"stat.{name}": value for name, value in draws.stats.items()}
        more = {"log_evidence": draws.log_evidence, "seconds": draws.seconds}
        resume.write(self.path, self.fingerprint, columns | more)
