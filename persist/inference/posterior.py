"""Putting a posterior file together: ArviZ's groups from per-patient arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, OBSERVABLES
from persist.inference import store
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile

if TYPE_CHECKING:
    from persist.inference.sampler import Draws
    from persist.types import Schedule, Series, Table

N_PRIOR = 500


def assemble(
    table: Table,
    settings: dict[str, Any],
    results: list[Draws],
    derived: list[dict[str, np.ndarray]],
    curves: list[dict[str, np.ndarray]],
    schedules: list[Schedule],
    seconds: float,
) -> xr.DataTree:
    """The DataTree of a fit; see `inference.store` for its groups."""
    first = table.series[0]
    names = [series.patient_id for series in table.series]
    chains, draws = next(iter(results[0].values.values())).shape
    axes = {"chain": np.arange(chains), "draw": np.arange(draws), "patient": names}
    dims = ("chain", "draw", "patient")
    values = [found.values | more for found, more in zip(results, derived, strict=True)]
    visits = max(len(series.day) for series in table.series)
    pointwise = [_pad(curve["log_likelihood"], series, visits, 0.0) for curve, series in zip(curves, table.series, strict=True)]
    rng = np.random.default_rng([settings["seed"], 7])
    predicted = [_predict(rng, curve["level"], value) for curve, value in zip(curves, values, strict=True)]
    predicted = [_pad(part, series, visits, np.nan) for part, series in zip(predicted, table.series, strict=True)]
    grid = axes | {"visit": np.arange(visits)}
    groups = {
        "posterior": store.stacked(_columns(values), dims, axes),
        "sample_stats": store.stacked(_columns([found.stats for found in results]), dims, axes),
        "prior": _prior(rng, table, settings),
        "log_likelihood": store.stacked({"burden": pointwise}, (*dims, "visit"), grid),
        "posterior_predictive": store.stacked({"burden": predicted}, (*dims, "visit"), grid),
        "observed_data": _observed(table, visits),
        "constant_data": _constant(names, schedules, results),
    }
    attrs = {
        "observable": first.observable,
        "unit": first.unit,
        "settings": settings,
        "seconds": seconds,
        "notes": list(table.notes),
        "provenance": store.provenance(settings["seed"], table.sha256),
    }
    return store.tree("fit", groups, attrs)


def _columns(rows: list[dict[str, np.ndarray]]) -> dict[str, list[np.ndarray]]:
    return {name: [row[name] for row in rows] for name in rows[0]}


def _pad(values: np.ndarray, series: Series, visits: int, fill: float) -> np.ndarray:
    """Cut the padding of the compiled size, then pad to the file's own; ``(chains, draws, visits)``, float32."""
    real = values[..., : len(series.day)]
    width = [(0, 0)] * (real.ndim - 1) + [(0, visits - real.shape[-1])]
    return np.pad(real, width, constant_values=fill).astype(np.float32)


def _predict(rng: np.random.Generator, level: np.ndarray, value: dict[str, np.ndarray]) -> np.ndarray:
    """A replicated burden at every visit: level, an independent stationary wander, robust noise; same shape as ``level``."""
    part = rng.choice(len(NOISE_SCALE), level.shape, p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    noise = value["noise_sd"][..., None] * np.asarray(NOISE_SCALE)[part] * rng.standard_normal(level.shape)
    return np.exp(level + value["wander_sd"][..., None] * rng.standard_normal(level.shape) + noise)


def _prior(rng: np.random.Generator, table: Table, settings: dict[str, Any]) -> xr.Dataset:
    """Draws from the prior of every sampled parameter, `N_PRIOR` of them, by quantiles of uniform numbers."""
    kind = OBSERVABLES[table.series[0].observable]
    pack = load_pack(settings["pack"], kind.cells)
    entries = dict(pack.entries) | ({} if pack.cells_per_unit is None else {"cells_per_unit": pack.cells_per_unit})
    names = [series.patient_id for series in table.series]
    first = np.array([max(series.burden[0], 1e-300) for series in table.series])
    largest = np.array([series.burden.max() for series in table.series])
    unit = {"burden_0": first, "settled_burden": largest}
    axes = {"chain": [0], "draw": np.arange(N_PRIOR), "patient": names}
    columns = {}
    for name in sampled(pack, settings["model"]):
        drawn = quantile(entries[name], rng.uniform(1e-9, 1.0 - 1e-9, (1, N_PRIOR, len(names))))
        columns[name] = (("chain", "draw", "patient"), drawn * unit.get(name, np.ones(len(names))))
    return xr.Dataset(columns, coords=axes)


def _observed(table: Table, visits: int) -> xr.Dataset:
    """Day, burden and censoring of every visit; padded with NaN (censoring 0)."""

    def column(name: str, fill: float) -> np.ndarray:
        rows = [np.asarray(getattr(series, name), float) for series in table.series]
        return np.stack([np.pad(row, (0, visits - len(row)), constant_values=fill) for row in rows])

    dims = ("patient", "visit")
    return xr.Dataset(
        {
            "day": (dims, column("day", np.nan)),
            "burden": (dims, column("burden", np.nan)),
            "censoring": (dims, column("censoring", 0.0).astype(np.int8)),
        },
        coords={"patient": [series.patient_id for series in table.series], "visit": np.arange(visits)},
    )


def _constant(names: list[str], schedules: list[Schedule], results: list[Draws]) -> xr.Dataset:
    """Treatment segments (padded with NaN) and the energies at which the search for starts ended."""
    segments = max(1, *(len(schedule.start) for schedule in schedules))

    def column(rows: list[np.ndarray], size: int) -> np.ndarray:
        return np.stack([np.pad(np.asarray(row, float), (0, size - len(row)), constant_values=np.nan) for row in rows])

    data = {
        part: (("patient", "segment"), column([getattr(schedule, part) for schedule in schedules], segments))
        for part in ("start", "stop", "dose")
    }
    ends = max(len(found.start_energy) for found in results)
    data["start_energy"] = (("patient", "end"), column([found.start_energy for found in results], ends))
    return xr.Dataset(data, coords={"patient": names})


