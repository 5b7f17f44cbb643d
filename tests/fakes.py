"""Posteriors made by hand: draws close about a known truth, put together by the program's own code, without sampling."""

from __future__ import annotations

import csv
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np

from persist.dynamics.observe import OBSERVABLES
from persist.forecast.endpoints import AT_NEXT_VISIT, Rule
from persist.forecast.landmark import Landmark, Look
from persist.forecast.search import Subject
from persist.inference import fit as fitting
from persist.inference.curve import derive
from persist.inference.fate import SIZE
from persist.inference.model import sampled
from persist.inference.posterior import assemble
from persist.inference.priors import Prior, load_pack, quantile
from persist.inference.sampler import Draws
from persist.inference.settings import Settings
from persist.types import Cells, Rates, Schedule, Series, Table

DATA = Path(__file__).resolve().parent.parent / "data"


FIVE_VALUES = Series(
    "A",
    "psa",
    "",
    np.array([0.0, 30.0, 90.0, 150.0, 200.0]),
    np.array([20.0, 8.0, 1.0, 0.5, 3.0]),
    np.array([0, 0, 0, -1, 0]),
    {"drug": Schedule(np.array([0.0]), np.array([160.0]), np.array([1.0]))},
)
"""A short series: on drug until day 160, one value under a limit."""


def normal_scale(prior: Prior, value: Any) -> Any:
    """Values on the scale on which a prior of the file is normal, about its ``location``; any shape."""
    if prior.kind == "logit-normal":
        return jnp.log((value - prior.lower) / (prior.upper - value))
    return jnp.log(-value if prior.kind == "negative-log-normal" else value - prior.lower)


def truth(patient: str) -> dict[str, float]:
    """The written truth of a bundled patient: sampled parameters only."""
    names = set(sampled(load_pack("clinical", "psa"), "spr"))
    with (DATA / "truth.csv").open(encoding="utf-8") as file:
        rows = [row for row in csv.DictReader(file) if row["patient_id"] == patient]
    return {row["parameter"]: float(row["value"]) for row in rows if row["parameter"] in names}


def of_variant(variant: str, patient: str = "P01") -> dict[str, float]:
    """The truth of a bundled patient as another variant has it: what that lacks left out, what is new at its median."""
    pack, spr = load_pack("clinical", "psa"), truth(patient)
    return {
        name: spr.get(name) or float(quantile(pack.entries[name], np.array(0.5))) for name in sampled(pack, variant)
    }


def posterior(
    table: Table, values: dict[str, dict[str, float]], *, chains: int = 2, draws: int = 50, model: str = "spr"
) -> Any:
    """A fit of the series in ``table`` whose draws lie within about 1 % of ``values[patient]``."""
    settings = Settings(model=model, chains=chains, warmup=50, draws=draws)
    power = OBSERVABLES[table.series[0].observable].power
    rng = np.random.default_rng(1)
    results = []
    for series in table.series:
        mine = values[series.patient_id]
        near = {name: value * np.exp(0.01 * rng.standard_normal((chains, draws))) for name, value in mine.items()}
        size = {SIZE: np.exp(0.01 * np.random.default_rng(2).standard_normal((chains, draws)))}
        near |= size if "resistant_0" in mine else {}
        stats = {name: rng.standard_normal((chains, draws)) for name in ("lp", "energy", "step_size")}
        still = {"diverging": False, "n_steps": 31, "acceptance_rate": 0.9, "lost": 0.0, "walker": 0}
        stats |= {name: np.full((chains, draws), value) for name, value in still.items()}
        results.append(Draws(near, stats, np.full(chains, -50.0), 1.0))
    everyone = fitting.members(table, settings)
    curves = [fitting._curves(found.values, one.case, power) for found, one in zip(results, everyone, strict=True)]
    derived = [{name: np.asarray(v) for name, v in derive(found.values, power).items()} for found in results]
    schedules = [fitting.one_schedule(series) for series in table.series]
    made = assemble(table, settings._asdict(), results, derived, curves, schedules)
    made.attrs |= {"seconds": 1.0, "compile_seconds": 1.0, "wall_seconds": 2.0}
    return made


def tumour(
    rates: dict[str, Any], cells: Cells, *, draws: int, horizon: float, limit: float, start: float = 0.0
) -> Subject:
    """A tumour of known rates and ``cells`` on day 0, on drug so far, a cell a unit of burden, hardly any wander and noise; its
    plans begin on the day ``start`` and are judged until ``limit`` cells. Numbers of draws are ``(draws,)`` or plain.
    """

    def each(value: Any) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), (draws,))

    at = Landmark(
        day=0.0,
        rates=Rates(**{name: each(value) for name, value in (Rates()._asdict() | rates).items()}),
        cells=Cells(*map(each, cells)),
        exposure=each(1.0),
        wander_mean=np.zeros((draws, 2)),
        wander_root=np.zeros((draws, 2, 2)),
        log_unit=each(0.0),
        values={"noise_sd": each(0.02), "wander_sd": each(1e-6), "wander_days": each(30.0)},
        power=1.0,
        counted=False,
        burden=float(np.mean(cells.total)),
        nadir=0.0,
    )
    history = Schedule(np.array([-100.0]), np.array([np.inf]), np.ones(1))
    rule = Rule("limit", 0.0, limit, AT_NEXT_VISIT, True, "cells")
    return Subject("tumour", at, history, Look(start, horizon, 7.0), rule)
