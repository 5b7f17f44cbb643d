"""Putting a posterior file together: ArviZ's groups from per-patient arrays."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size

from persist import keys
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, OBSERVABLES, wander
from persist.errors import DataError
from persist.inference import composition, fractions, levels, stopped, store
from persist.inference.cohort import case, pad
from persist.inference.fate import SIZE
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.treatment.doubt import STOP
from persist.types import Cells, Schedule, Series

if TYPE_CHECKING:
    from persist.inference.sampler import Draws
    from persist.types import Table

N_PRIOR = 500
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)


def assemble(
    table: Table,
    settings: dict[str, Any],
    results: list[Draws],
    derived: list[dict[str, np.ndarray]],
    curves: list[dict[str, np.ndarray]],
    schedules: list[Schedule],
) -> store.DataTree:
    """The DataTree of a fit; see `inference.store` for its groups."""
    first = table.series[0]
    names = [series.patient_id for series in table.series]
    chains, draws = next(iter(results[0].values.values())).shape
    axes = {"chain": np.arange(chains), "draw": np.arange(draws), "patient": names}
    dims = ("chain", "draw", "patient")
    values = [found.values | more for found, more in zip(results, derived, strict=True)]
    stats = [
        found.stats | {"resistant_share": curve["resistant_share"]}
        for found, curve in zip(results, curves, strict=True)
    ]
    visits = max(len(series.day) for series in table.series)
    pairs = list(zip(curves, table.series, strict=True))
    pointwise = [_pad(curve["log_likelihood"], one, visits, 0.0) for curve, one in pairs]
    predicted = [
        _predict(_random(settings["seed"], one.patient_id, "predict"), curve["level"], value, one)
        for one, curve, value in zip(table.series, curves, values, strict=True)
    ]
    predicted = [_pad(part, series, visits, np.nan) for part, series in zip(predicted, table.series, strict=True)]
    grid = axes | {"visit": np.arange(visits)}
    groups = {
        "posterior": store.dataset(_columns(values, dims), axes),
        "sample_stats": store.dataset(_columns(stats, dims), axes),
        "prior": _prior(table, settings),
        "log_likelihood": store.dataset({"burden": ((*dims, "visit"), np.stack(pointwise, 2))}, grid),
        "posterior_predictive": store.dataset({"burden": ((*dims, "visit"), np.stack(predicted, 2))}, grid),
        "fitted": _fitted(names, curves, visits, table),
        "observed_data": _observed(table, visits),
        "constant_data": _constant(names, schedules, results),
    }
    learned = [note for of in zip(table.series, schedules, results, strict=True) for note in stopped.told(*of)]
    more = fractions.added(groups, table, [curve["composition"] for curve in curves])
    more |= levels.added(groups | more, table)
    attrs = {
        "observable": first.observable,
        "unit": first.unit,
        "settings": settings,
        "notes": list(dict.fromkeys([*table.notes, *composition.assumed(table.series), *learned])),
        "provenance": store.provenance(settings["seed"], table.sha256),
        "everyone": names,
        "unfit": {},
        "problems": {},
        "pooled": False,
    }
    return store.tree("fit", groups | more, attrs)


def _columns(rows: list[dict[str, np.ndarray]], dims: tuple[str, ...]) -> dict[str, tuple[tuple[str, ...], np.ndarray]]:
    """Per-patient arrays ``(chains, draws)`` stacked along a third axis."""
    return {name: (dims, np.stack([row[name] for row in rows], axis=2)) for name in rows[0]}


def _fitted(names: list[str], curves: list[dict[str, np.ndarray]], visits: int, table: Table) -> store.Dataset:
    """At every visit: quantiles of the burden without wander and noise, and the mean shares of S, P and R."""
    burden = [np.quantile(np.exp(curve["level"]), LEVELS, axis=(0, 1)) for curve in curves]
    shares = [np.moveaxis(curve["shares"].mean(axis=(0, 1)), -1, 0) for curve in curves]
    data = {}
    for name, axis, rows in (("burden", "level", burden), ("shares", "state", shares)):
        padded = [_pad(row, series, visits, np.nan) for row, series in zip(rows, table.series, strict=True)]
        data[name] = (("patient", axis, "visit"), np.stack(padded))
    coords = {"patient": names, "level": list(LEVELS), "state": list(Cells._fields), "visit": np.arange(visits)}
    return store.dataset(data, coords)


def _pad(values: np.ndarray, series: Series, visits: int, fill: float) -> np.ndarray:
    """Cut the padding of the compiled size, then pad to the file's own; ``(chains, draws, visits)``, float32."""
    real = values[..., : len(series.day)]
    width = [(0, 0)] * (real.ndim - 1) + [(0, visits - real.shape[-1])]
    padded: np.ndarray = np.pad(real, width, constant_values=fill).astype(np.float32)
    return padded


def _predict(rng: np.random.Generator, level: np.ndarray, value: dict[str, np.ndarray], one: Series) -> np.ndarray:
    """A replicated burden at every visit ``(chains, draws, n_visits)``: level, a wander along the visits, robust noise."""
    level = level[..., : len(one.day)]
    part = rng.choice(len(NOISE_SCALE), level.shape, p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    noise = value["noise_sd"][..., None] * np.asarray(NOISE_SCALE)[part] * rng.standard_normal(level.shape)
    if OBSERVABLES[one.observable].counted:
        noise = noise + rng.standard_normal(level.shape) * np.exp(-0.5 * np.maximum(level, 0.0))
    shocks = rng.standard_normal((level.shape[-1] + 1, 2, *level.shape[:-1]))
    start = value["wander_sd"] * shocks[0]
    path = _wander(shocks[1:], start, jnp.asarray(one.day, float), value["wander_sd"], value["wander_days"])
    burden: np.ndarray = np.exp(level + noise + np.moveaxis(np.asarray(path[:, 0]), 0, -1))
    return burden


_wander = jax.jit(wander)


def _prior(table: Table, settings: dict[str, Any]) -> store.Dataset:
    """Draws from the prior of every sampled parameter, `N_PRIOR` of them, by quantiles of uniform numbers."""
    kind = OBSERVABLES[table.series[0].observable]
    pack = load_pack(settings["pack"], kind.cells)
    entries = pack.every
    names = sampled(pack, settings["model"])
    drawn = {name: np.empty((1, N_PRIOR, len(table.series))) for name in names}
    for index, series in enumerate(table.series):
        rng = _random(settings["seed"], series.patient_id, "prior")
        cohort = pad([series], pack=settings["pack"], drug=settings["drug"])
        one = case(cohort, 0, counted=kind.counted, reference=settings.get("reference"))
        unit = {"burden_0": np.exp(one.log_first), "settled_burden": np.exp(one.log_largest)}
        for name in names:
            level = rng.uniform(1e-9, 1.0 - 1e-9, N_PRIOR)
            drawn[name][0, :, index] = quantile(entries[name], level) * unit.get(name, 1.0)
    axes = {"chain": [0], "draw": np.arange(N_PRIOR), "patient": [series.patient_id for series in table.series]}
    return store.dataset({name: (("chain", "draw", "patient"), values) for name, values in drawn.items()}, axes)


def _random(seed: int, patient: str, what: str) -> np.random.Generator:
    """Random numbers of a named thing of one patient, independent of who else is in the table."""
    return np.random.default_rng(np.asarray(jax.random.key_data(keys.key(seed, patient, what))))


def _observed(table: Table, visits: int) -> store.Dataset:
    """Day, burden and censoring of every visit; padded with NaN (censoring 0)."""

    def column(name: str, fill: float) -> np.ndarray:
        rows = [np.asarray(getattr(series, name), float) for series in table.series]
        return np.stack([np.pad(row, (0, visits - len(row)), constant_values=fill) for row in rows])

    dims = ("patient", "visit")
    return store.dataset(
        {
            "day": (dims, column("day", np.nan)),
            "burden": (dims, column("burden", np.nan)),
            "censoring": (dims, column("censoring", 0.0).astype(np.int8)),
        },
        {"patient": [series.patient_id for series in table.series], "visit": np.arange(visits)},
    )


def _constant(names: list[str], schedules: list[Schedule], results: list[Draws]) -> store.Dataset:
    """Treatment segments, padded with NaN, and the log evidence as each chain estimates it."""
    segments = max(1, *(len(schedule.start) for schedule in schedules))

    def column(rows: list[np.ndarray], size: int) -> np.ndarray:
        return np.stack([np.pad(np.asarray(row, float), (0, size - len(row)), constant_values=np.nan) for row in rows])

    data = {
        part: (("patient", "segment"), column([getattr(schedule, part) for schedule in schedules], segments))
        for part in ("start", "stop", "dose")
    }
    data["log_evidence"] = (("patient", "chain"), np.stack([found.log_evidence for found in results]))
    return store.dataset(data, {"patient": names})


def series(fit: store.DataTree) -> list[Series]:
    """The series that a fit was made from, as its file holds them."""
    observed, constant = fit["observed_data"].to_dataset(), fit["constant_data"].to_dataset()
    names = observed["patient"].values
    return [_series(fit, str(name), observed.sel(patient=name), constant.sel(patient=name)) for name in names]


def _series(fit: store.DataTree, name: str, observed: store.Dataset, constant: store.Dataset) -> Series:
    real = np.isfinite(observed["day"].values)
    given = np.isfinite(constant["start"].values)
    schedule = Schedule(*(constant[part].values[given] for part in ("start", "stop", "dose")))
    return Series(
        name,
        str(fit.attrs["observable"]),
        str(fit.attrs["unit"]),
        observed["day"].values[real],
        observed["burden"].values[real],
        observed["censoring"].values[real].astype(int),
        {"drug": schedule},
        fractions.of(observed, constant),
        levels.of(observed),
    )


def one_patient(fit: store.DataTree, patient: str) -> store.DataTree:
    """One patient's posterior as ArviZ's functions expect it: no axis of patients, no padded visits, the burden alone observed.

    Days, censoring and measured fractions stand in ``constant_data``. The pointwise log-likelihood of a visit is that given the
    values before it, so ``az.loo`` of it is of the one-step forecasts: leaving a value out changes what follows it too. Raises
    `DataError` for a patient that the fit has not.
    """
    if patient not in patients(fit):
        raise DataError(f'no patient "{patient}" in this fit', where="fit", remedy=f"choose {', '.join(patients(fit))}")
    visits = int(np.isfinite(fit["observed_data"].to_dataset()["day"].sel(patient=patient)).sum())
    groups = {}
    for name, node in fit.children.items():
        own = node.to_dataset()
        own = own.sel(patient=patient, drop=True) if "patient" in own.dims else own
        groups[name] = own.isel(visit=slice(0, visits)) if "visit" in own.dims else own
    observed = groups["observed_data"]
    groups["constant_data"] = groups["constant_data"].merge(observed.drop_vars("burden"))
    groups["observed_data"] = observed[["burden"]]
    groups["log_likelihood"] = groups["log_likelihood"][["burden"]]
    alone = store.DataTree.from_dict(groups)
    alone.attrs = dict(fit.attrs)
    return alone


def thinned(fit: store.DataTree, patient: str, count: int) -> dict[str, np.ndarray]:
    """Parameters, and what else is sampled (`own`), of ``count`` draws (or all, if fewer), taken evenly from all chains; each
    ``(n,)``.
    """
    values = fit["posterior"].to_dataset().sel(patient=patient)
    names = [str(name) for name in fit["prior"].to_dataset().data_vars]
    names += own(values)
    return {name: values[name].values.ravel()[taken(fit, count)] for name in names}


def sized(drawn: store.Dataset) -> bool:
    """Whether the size of the clone is a matter of chance in some posterior draws: it is 1 throughout where it is none."""
    return SIZE in own(drawn)


def own(drawn: store.Dataset) -> list[str]:
    """What is sampled of some patients only, of these draws of one: of others it is 1 throughout."""
    return [name for name in (SIZE, STOP) if name in drawn and bool(np.any(drawn[name].values != 1.0))]


def taken(fit: store.DataTree, count: int) -> np.ndarray:
    """Places of the draws that `thinned` takes, among those of all chains one after another ``(n,)``."""
    sizes = fit["posterior"].to_dataset().sizes
    total = sizes["chain"] * sizes["draw"]
    places: np.ndarray = np.unique(np.linspace(0, total - 1, min(count, total)).round().astype(int))
    return places


def effective_draws(fit: store.DataTree, patient: str) -> float:
    """How many independent draws a patient's count for: the least effective sample size of the sampled parameters."""
    values = fit["posterior"].to_dataset().sel(patient=patient)
    moved = [values[str(name)].values for name in (*fit["prior"].to_dataset().data_vars, *own(values))]
    sizes = [float(effective_sample_size(draws)) for draws in moved if np.ptp(draws) > 0]
    return max(1.0, min(sizes, default=1.0))


def patients(fit: store.DataTree) -> list[str]:
    """Ids of the patients of a fit, in its order."""
    return [str(name) for name in fit["observed_data"].to_dataset()["patient"].values]
