"""Misfit: forecasts of patients that another model made, and how often their 90 % intervals hold what is measured later.

    python scripts/misfit.py [--family lotka-volterra|piecewise|attenuation ...] [--patients 10] [-o docs/misfit.json]

Families, each with rates drawn about published or plausible values, intermittent treatment, a wander that is rougher than that
of the model (Ornstein-Uhlenbeck) and normal errors of measurement:

    lotka-volterra  two competitors, sensitive and resistant (Zhang et al. 2017, 10.1038/s41467-017-01968-5):
                    dx_i/dt = r_i x_i (1 - sum_j a_ij x_j / K) - k_i E x_i
    piecewise       three states, linear on and off drug (Hirata, Bruchovsky & Aihara 2010, 10.1016/j.jtbi.2010.02.027): x1
                    responds, x2 is resistant while on drug and returns off it, x3 is resistant for good
    attenuation     no persisters: the kill fades with time on drug and recovers off it

A fit sees the series up to the start of the second course of treatment and forecasts a year with the treatment that follows.
Finished patients are kept in the file, and a run that was stopped goes on from them.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import jax
import kept
import numpy as np

from persist import Settings, ask, fit, forecast_plans
from persist.keys import key
from persist.types import Schedule, Series, Table
from persist.validation.health import examine

COURSE, PAUSE, EVERY, HORIZON = 252.0, 196.0, 28.0, 364.0
LAST = COURSE + PAUSE + HORIZON
PLAN = f"on {COURSE:g}, off"
"""The treatment that follows: a course, and a pause to the horizon."""
STEP = 0.25
NOISE, WANDER, MEMORY = 0.08, 0.2, 60.0
FLOOR = 0.05

DAYS = np.arange(0.0, LAST + 1e-6, EVERY)
"""Days of the visits."""

type Growth = Callable[[np.ndarray, float, float], np.ndarray]
type Given = Callable[[float, list[float]], float]
"""The dose from a day on, which may hang on the burdens measured up to it."""


def lotka_volterra(rng: np.random.Generator) -> tuple[np.ndarray, Growth]:
    """Start and law of two competitors; the first is killed."""
    rate = rng.lognormal(np.log([0.015, 0.011]), 0.2)
    kill = rng.lognormal(np.log(0.045), 0.2)
    room, share = 20.0 * rng.uniform(1.5, 4.0), np.exp(rng.uniform(np.log(1e-4), np.log(0.03)))
    rival = np.array([[1.0, rng.uniform(0.5, 0.9)], [rng.uniform(0.7, 1.2), 1.0]])

    def law(x: np.ndarray, exposure: float, _: float) -> np.ndarray:
        return rate * x * (1.0 - rival @ x / room) - np.array([kill * exposure, 0.0]) * x

    return 20.0 * np.array([1.0 - share, share]), law


def piecewise(rng: np.random.Generator) -> tuple[np.ndarray, Growth]:
    """Start and law of three states that change linearly, one way on drug and another off it."""
    fall, turn, back = (rng.lognormal(np.log(mid), 0.25) for mid in (0.035, 6e-4, 0.02))
    rise, slow, escape, clone = (rng.lognormal(np.log(mid), 0.25) for mid in (0.018, 0.004, 1e-5, 0.008))
    on = np.array([[-fall, 0.0, 0.0], [turn, slow, 0.0], [escape, escape, clone]])
    off = np.array([[rise, back, 0.0], [0.0, -back - 0.01, 0.0], [0.0, 0.0, 0.5 * clone]])

    def law(x: np.ndarray, _: float, dose: float) -> np.ndarray:
        return np.asarray((on if dose > 0.0 else off) @ x)

    return 20.0 * np.array([1.0, 0.002, 1e-4]), law


def attenuation(rng: np.random.Generator) -> tuple[np.ndarray, Growth]:
    """Start and law of sensitive cells, a small clone and, as the third, the share of the kill that is left."""
    growth, kill = rng.lognormal(np.log(0.013), 0.2), rng.lognormal(np.log(0.05), 0.2)
    fade, recover = rng.lognormal(np.log(0.004), 0.3), rng.lognormal(np.log(0.02), 0.3)
    room = 20.0 * rng.uniform(1.5, 4.0)

    def law(x: np.ndarray, exposure: float, _: float) -> np.ndarray:
        free = 1.0 - (x[0] + x[1]) / room
        left = -fade * exposure * x[2] + recover * (1.0 - exposure) * (1.0 - x[2])
        return np.array([growth * free * x[0] - kill * x[2] * exposure * x[0], 0.8 * growth * free * x[1], left])

    return np.array([20.0, 20.0 * 1e-4, 1.0]), law


FAMILIES = {"lotka-volterra": (lotka_volterra, 2), "piecewise": (piecewise, 3), "attenuation": (attenuation, 2)}
"""How a family begins and goes on, and how many of its variables are cells."""


def doses(day: float) -> float:
    """Full dose in every course."""
    return 1.0 if day % (COURSE + PAUSE) < COURSE else 0.0


class Tumour(NamedTuple):
    """A tumour of a family: its variables at the ``start``, its ``law``, how many of them are ``cells``; and what the log
    burden at the visits has besides, its ``wander`` and the ``error`` of measurement ``(n_visits,)``.
    """

    start: np.ndarray
    law: Growth
    cells: int
    wander: np.ndarray
    error: np.ndarray


def tumour(family: str, number: int, seed: int) -> Tumour:
    """The tumour of one patient."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(key(seed, "misfit", family, str(number)))))
    make, cells = FAMILIES[family]
    start, law = make(rng)
    drift, decay = WANDER * rng.standard_normal(len(DAYS)), np.exp(-EVERY / MEMORY)
    for visit in range(1, len(DAYS)):
        drift[visit] = decay * drift[visit - 1] + np.sqrt(1.0 - decay**2) * drift[visit]
    return Tumour(start, law, cells, drift, NOISE * rng.standard_normal(len(DAYS)))


def measured(one: Tumour, given: Given) -> np.ndarray:
    """The burden at each of the `DAYS`, as measured, above any floor, where doses are ``given`` from the first day on."""
    state, exposure, onset, washout = one.start, 0.0, 5.0, 20.0
    burden: list[float] = []
    for step in range(round(LAST / STEP) + 1):
        if (step * STEP) % EVERY < 1e-9:
            level, at = np.log(state[: one.cells].sum()), len(burden)
            burden.append(float(np.exp(level + one.wander[at] + one.error[at])))
        dose = given(step * STEP, burden)
        exposure += (dose - exposure) * (1.0 - np.exp(-STEP / (onset if dose > exposure else washout)))
        half = state + 0.5 * STEP * one.law(state, exposure, dose)
        state = np.maximum(state + STEP * one.law(half, exposure, dose), 1e-12)
    return np.array(burden)


def patient(family: str, number: int, seed: int) -> Series:
    """One patient, as measured throughout."""
    burden = measured(tumour(family, number, seed), lambda day, _: doses(day))
    mark = np.where(burden < FLOOR, -1, 0)
    starts = np.arange(0.0, LAST, COURSE + PAUSE)
    schedule = Schedule(starts, np.minimum(starts + COURSE, LAST), np.ones(len(starts)))
    return Series(f"{family} {number}", "psa", "ng/mL", DAYS, np.maximum(burden, FLOOR), mark, {"drug": schedule})


def seen_at_first(series: Series) -> Series:
    """The series up to the start of the second course, as a fit sees it."""
    landmark = COURSE + PAUSE
    early = series.day <= landmark
    given = _until(series.schedules["drug"], landmark)
    return Series(*series[:3], *(part[early] for part in series[3:6]), {"drug": given})


def on_days(recorded: np.ndarray, asked: np.ndarray) -> np.ndarray:
    """Places of days among the recorded ones; `ValueError` for one that was not recorded."""
    place = np.clip(np.searchsorted(recorded, asked - 1e-6), 0, len(recorded) - 1)
    if not np.allclose(recorded[place], asked):
        raise ValueError(f"not all of {asked} were recorded")
    return place


def score(series: Series, seed: int) -> dict[str, object]:
    """Which of the later values lie in their 90 % intervals."""
    landmark = COURSE + PAUSE
    early = series.day <= landmark
    result = fit(Table((seen_at_first(series),), (), ""), Settings(seed=seed, draws=320))
    futures = forecast_plans(result, ask([PLAN], HORIZON, visit_every=EVERY, draws=500, seed=seed))["futures"]
    quantile = futures["measured"].values[0, 0]
    place = on_days(futures["day"].values[0, 0], series.day[~early] - landmark)
    low, middle, high = (np.maximum(quantile[place, at], FLOOR) for at in (0, 2, 4))
    value = series.burden[~early]
    held = (value >= low) & (value <= high)
    return {
        "patient": series.patient_id,
        "ok": examine(result, series.patient_id).ok,
        "day": series.day[~early].tolist(),
        "observed": value.tolist(),
        "low": low.tolist(),
        "median": middle.tolist(),
        "high": high.tolist(),
        "held": held.tolist(),
    }


def _until(schedule: Schedule, day: float) -> Schedule:
    given = schedule.start < day
    return Schedule(schedule.start[given], np.minimum(schedule.stop[given], day), schedule.dose[given])


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--family", action="append", choices=list(FAMILIES))
    options.add_argument("--patients", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/misfit.json"))
    asked = options.parse_args()
    jax.config.update("jax_enable_x64", True)
    noise = {"noise": NOISE, "wander": WANDER, "memory": MEMORY, "floor": FLOOR}
    about = kept.about(asked.seed, "clinical", "psa", horizon=HORIZON, course=COURSE, pause=PAUSE, **noise)
    rows = kept.read(asked.output, about)
    done = {row["patient"] for row in rows}
    for family in asked.family or FAMILIES:
        for number in range(asked.patients):
            series = patient(family, number, asked.seed)
            if series.patient_id not in done:
                rows.append(score(series, asked.seed))
                kept.keep(asked.output, about, rows)
                print(
                    f"{series.patient_id}: {np.mean(rows[-1]['held']):.0%} of {len(rows[-1]['held'])} held", flush=True
                )
        mine = [row["held"] for row in rows if str(row["patient"]).startswith(family)]
        print(
            f"{family}: 90 % intervals hold {np.mean(np.concatenate(mine)):.0%} of what was measured later", flush=True
        )


if __name__ == "__main__":
    main()
