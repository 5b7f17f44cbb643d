"""Make the bundled series: twelve patients from a written truth, by the stochastic engine.

    python scripts/make_demo_data.py [FOLDER]

Nine patients (P04-P12) have rates drawn from the clinical priors and are treated intermittently, as in trials of androgen
deprivation: on for at least 36 weeks and until PSA is under 4 ng/mL, off until it is over 10. Three (P01-P03) are planted,
with rates and treatment written below: a clear benefit of a holiday, a clear harm, and one that cannot be told. Cells are
simulated by the leap at steps of 1/8 day; PSA is measured with wander, robust noise and an assay floor of 0.01 ng/mL.
"""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, passage, root, times
from persist.dynamics.trajectories import simulate
from persist.inference.curve import patient
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.treatment.exposure import relax
from persist.types import Cells, Grid, Rates

SEED, STEP, FLOOR = 20, 0.125, 0.01
SHARED = {
    "cells_per_unit": 3e8,
    "turnover_s": 0.85,
    "tolerance_base": 1e-5,
    "reversion_block": 0.95,
    "kill_p_share": 0.05,
    "mutation": 5e-8,
    "escape_fold": 7.0,
    "onset_days": 8.0,
    "washout_days": 12.0,
    "noise_sd": 0.1,
    "wander_sd": 0.15,
    "wander_days": 50.0,
    "burden_0": 15.0,
    "settled_burden": 60.0,
}


class Planted(NamedTuple):
    """A patient whose truth and treatment are written down: rates, on-treatment days, visit days."""

    truth: dict[str, float]
    on: tuple[tuple[float, float], ...]
    visits: tuple[float, ...]


PLANTED = {
    # persisters divide slowly under drug and carry each relapse; off drug they revert within three weeks
    "P01": Planted(
        SHARED
        | {"net_growth_s": 0.02, "decline_s": -0.05, "tolerance_drug": 2e-3, "reversion": 0.06, "birth_p_share": 1.2}
        | {"death_p": 0.003, "persister_0": 1e-3, "resistant_0": 1e-6, "cost_r": 0.3, "kill_r_share": 0.3},
        ((0.0, 170.0), (290.0, 460.0), (580.0, 720.0)),
        tuple(np.arange(0.0, 721.0, 20.0)),
    ),
    # a clone that the drug slows by four fifths, and the rest gone: every pause sets it free, with nothing to win back
    "P02": Planted(
        SHARED
        | {"net_growth_s": 0.016, "decline_s": -0.06, "tolerance_drug": 2e-5, "reversion": 0.05, "birth_p_share": 0.2}
        | {"death_p": 0.004, "persister_0": 1e-4, "resistant_0": 1e-4, "cost_r": 0.05, "kill_r_share": 0.8}
        | {"settled_burden": 140.0, "noise_sd": 0.06, "wander_sd": 0.06},
        ((0.0, 150.0), (220.0, 360.0), (430.0, 570.0), (640.0, 780.0)),
        tuple(np.arange(0.0, 781.0, 10.0)),
    ),
    # one on-period and seven values: nothing says what a holiday would do
    "P03": Planted(
        SHARED
        | {"net_growth_s": 0.012, "decline_s": -0.03, "tolerance_drug": 1.5e-3, "reversion": 0.04, "birth_p_share": 0.7}
        | {"death_p": 0.004, "persister_0": 1e-3, "resistant_0": 1e-5, "cost_r": 0.1, "kill_r_share": 0.2},
        ((0.0, 168.0),),
        (0.0, 28.0, 56.0, 84.0, 112.0, 140.0, 168.0),
    ),
}


class Tumour(NamedTuple):
    """One patient in the making: rates, cells and exposure now, wander now, and what was measured so far."""

    truth: dict[str, float]
    rates: Rates
    cells: Cells
    exposure: float
    wander: np.ndarray
    day: float


def begin(truth: dict[str, float], rng: np.random.Generator) -> Tumour:
    """The tumour at day 0, in whole cells."""
    start = patient(truth, 1.0)
    rates = Rates(*(float(np.asarray(rate)) for rate in start.rates))
    cells = Cells(*(float(np.round(np.asarray(count))) for count in start.cells))
    return Tumour(truth, rates, cells, 0.0, truth["wander_sd"] * rng.standard_normal(2), 0.0)


def advance(at: Tumour, days: float, dose: float, name: str, rng: np.random.Generator) -> Tumour:
    """Follow the cells for some days at one dose (padded to whole multiples of four days, so that few sizes compile)."""
    steps = int(-(-days // 4) * 4)
    grid = Grid(np.full(steps, days / steps), np.full(steps, dose))
    exposure = relax(grid, at.rates.onset_days, at.rates.washout_days, at.exposure)
    key = keys.key(SEED, name, f"cells from day {at.day:g}")
    path = simulate(key, at.cells, at.rates, grid, exposure, trajectories=1, max_step=STEP)
    last = relax(
        Grid(np.append(grid.length, 0.0), np.append(grid.dose, dose)),
        at.rates.onset_days,
        at.rates.washout_days,
        at.exposure,
    )
    over = passage(days, at.truth["wander_days"])
    fresh = at.truth["wander_sd"] * times(root(over.fresh), jnp.asarray(rng.standard_normal(2)))
    wander = np.asarray(times(over.kept, jnp.asarray(at.wander)) + fresh)
    cells = Cells(*(float(state[0, -1]) for state in path))
    return at._replace(cells=cells, exposure=float(last.start[-1]), wander=wander, day=at.day + days)


def measure(at: Tumour, rng: np.random.Generator) -> tuple[float, str]:
    """PSA in ng/mL to three digits and its censoring mark."""
    part = rng.choice(len(NOISE_SCALE), p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    error = at.truth["noise_sd"] * NOISE_SCALE[part] * rng.standard_normal()
    value = float(at.cells.total / at.truth["cells_per_unit"] * np.exp(at.wander[0] + error))
    return (FLOOR, "left") if value < FLOOR else (float(f"{value:.3g}"), "")


def planted(name: str) -> tuple[list[tuple[float, float, str]], list[tuple[float, float]]]:
    """Visits and treatment of a planted patient."""
    rng, plan = np.random.default_rng([SEED, int(name[1:])]), PLANTED[name]
    at, rows = begin(plan.truth, rng), []
    edges = sorted({*plan.visits, *(edge for pair in plan.on for edge in pair)})
    for edge in edges:
        if edge > at.day:
            dose = float(any(start <= at.day < stop for start, stop in plan.on))
            at = advance(at, edge - at.day, dose, name, rng)
        if edge in plan.visits:
            rows.append((edge, *measure(at, rng)))
    return rows, list(plan.on)


def drawn(name: str) -> tuple[dict[str, float], list[tuple[float, float, str]], list[tuple[float, float]]]:
    """Truth, visits and treatment of a patient from the priors; drawn again until the first on-period responds, and the
    burden at which the tumour settles lies where the prior has it against what was seen.
    """
    rng = np.random.default_rng([SEED, int(name[1:])])
    pack = load_pack("clinical", "psa")
    entries = pack.every
    room = entries["settled_burden"].lower
    entries["settled_burden"] = entries["settled_burden"]._replace(
        lower=0.0
    )  # of what will be seen nothing is known yet
    for _ in range(50):
        truth = {key: float(quantile(entries[key], rng.uniform(0.05, 0.95, 1))[0]) for key in sampled(pack, "spr")}
        truth |= {"burden_0": 15.0 * truth["burden_0"] ** 0.5, "turnover_s": min(truth["turnover_s"], 0.95)}
        truth["settled_burden"] *= 20.0
        rows, on = intermittent(name, truth, rng)
        treated = [value for day, value, _ in rows if day <= on[0][1]]
        largest = max(value for _, value, _ in rows)
        if min(treated) < 4.0 and len(on) >= 2 and truth["settled_burden"] > room * largest:
            return truth, rows, on
    raise RuntimeError(f"no draw for {name} responds; choose another seed")


def intermittent(
    name: str, truth: dict[str, float], rng: np.random.Generator
) -> tuple[list[tuple[float, float, str]], list[tuple[float, float]]]:
    """On for 252 days or more and until PSA < 4, off until PSA > 10; seen every 28 days for four years."""
    at, rows, on, dose = begin(truth, rng), [], [], 1.0
    since = 0.0
    while at.day <= 1456.0:
        value, mark = measure(at, rng)
        rows.append((at.day, value, mark))
        if dose and at.day - since >= 252.0 and value < 4.0:
            on.append((since, at.day))
            dose = 0.0
        elif not dose and value > 10.0:
            since, dose = at.day, 1.0
        at = advance(at, 28.0, dose, name, rng)
    return rows, [*on, *([(since, rows[-1][0])] if dose and rows[-1][0] > since else [])]


def main(folder: Path) -> None:
    """Write burden.csv, treatments.csv and truth.csv."""
    jax.config.update("jax_enable_x64", True)
    tables: dict[str, list[list[object]]] = {"burden": [], "treatments": [], "truth": []}
    for name in [f"P{number:02d}" for number in range(1, 13)]:
        if name in PLANTED:
            truth, (rows, on) = PLANTED[name].truth, planted(name)
        else:
            truth, rows, on = drawn(name)
        print(f"{name}: {len(rows)} values, on drug {on}", file=sys.stderr)
        tables["burden"] += [[name, f"{day:g}", f"{value:g}", "ng/mL", mark] for day, value, mark in rows]
        tables["treatments"] += [[name, f"{start:g}", f"{stop:g}", "drug", 1] for start, stop in on]
        rates = patient(truth, 1.0).rates
        known = truth | {
            key: float(getattr(rates, key)) for key in ("birth_s", "death_s", "kill_s", "kill_r", "birth_p")
        }
        tables["truth"] += [[name, key, f"{value:.6g}"] for key, value in sorted(known.items())]
    heads = {
        "burden": ["patient_id", "time_days", "burden", "unit", "censoring"],
        "treatments": ["patient_id", "start_days", "stop_days", "drug", "dose"],
        "truth": ["patient_id", "parameter", "value"],
    }
    for name, rows in tables.items():
        with (folder / f"{name}.csv").open("w", newline="", encoding="utf-8") as file:
            csv.writer(file, lineterminator="\n").writerows([heads[name], *rows])


if __name__ == "__main__":
    main(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent.parent / "data")
