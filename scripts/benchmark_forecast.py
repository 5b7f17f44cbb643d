"""Seconds that a forecast of one patient takes: 200 draws, 20 plans, 50 futures of each draw, 365 days.

    python scripts/benchmark_forecast.py                                  prints the seconds
    python scripts/benchmark_forecast.py -o docs/benchmark_forecast.json  writes them too

The patient (P04 of `data/`) is fitted before the clock starts; plans are `on` and the first of the grids of `persist optimise`,
a few of each family. The first plan runs once alone before, which compiles: what that took over its share of the ``seconds``
are the ``compile_seconds``; ``cpu_seconds`` are those of all cores together, which say more where something else runs. Asked
for are less than 60 seconds on two cores. Each draw takes the step that it needs, so patients differ; ``step_days`` is that of
the fastest. ``--note`` goes into the file.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from pathlib import Path
from typing import Any

import jax

jax.config.update("jax_enable_x64", True)

import persist  # noqa: E402
from persist.forecast.candidates import FAMILIES, coarse  # noqa: E402
from persist.forecast.outcome import Ask, ask, forecast  # noqa: E402
from persist.inference import store  # noqa: E402

ROOT = Path(__file__).resolve().parent.parent
TARGET = 60.0
"""Seconds that were asked for."""


def plans(count: int, days: float) -> list[str]:
    """``on``, and candidates of the families in turn until there are so many plans."""
    grids = [coarse((family,), days) for family in FAMILIES]
    mixed = [grid[place] for place in range(max(map(len, grids))) for grid in grids if place < len(grid)]
    found = ["on", *(one.plan.text for one in mixed)][:count]
    if len(found) < count:
        raise SystemExit(f"benchmark_forecast: there are {len(found)} plans, and {count} were asked for")
    return found


def fitted(patient: str) -> Any:
    """The posterior of a patient."""
    table = persist.read(
        ROOT / "data" / "burden.csv", ROOT / "data" / "treatments.csv", observable="psa", patients=(patient,)
    )
    return persist.fit(table, persist.Settings())


def timed(fit: Any, question: Ask) -> tuple[float, float, Any]:
    """Seconds of a forecast, those of all cores together, and what came out."""
    began, spent = time.perf_counter(), time.process_time()
    found = forecast(fit, question)
    return time.perf_counter() - began, time.process_time() - spent, found


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """What the file holds."""
    question = ask(plans(asked.plans, asked.days), asked.days, draws=asked.draws, replicates=asked.replicates)
    fit = fitted(asked.patient) if asked.fit is None else persist.load(asked.fit)
    first, _, _ = timed(fit, question._replace(plans=question.plans[:1]))
    second, spent, found = timed(fit, question)
    name = next(iter(store.attribute(found, "summary")))
    paths = found["endpoints"]["time_to_progression"].size
    return {
        "patient": name,
        "draws": asked.draws,
        "plans": asked.plans,
        "replicates": asked.replicates,
        "days": asked.days,
        "paths": paths,
        "step_days": store.attribute(found, "summary")[name]["step"]["days"],
        "seconds": round(second, 1),
        "cpu_seconds": round(spent, 1),
        "compile_seconds": round(max(0.0, first - second / asked.plans), 1),
        "paths_a_second": round(paths / second),
        "asked_seconds": TARGET,
        "cores": os.cpu_count(),
        "jax": jax.__version__,
        "machine": platform.machine(),
        "note": asked.note,
    }


def main(arguments: list[str]) -> int:
    """Measure, print, and write where a file is named."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    for name, value in (("draws", 200), ("plans", 20), ("replicates", 50)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("--days", type=float, default=365.0)
    parser.add_argument("--fit", type=Path, help="a fit of one patient, in place of one that is made")
    parser.add_argument("--patient", default="P04", help="the patient of data/ that is fitted")
    parser.add_argument("--note", default="", help="what else is to be said, such as what ran beside it")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args(arguments)
    found = measure(asked)
    spent = f"{found['seconds']:.1f} seconds ({found['cpu_seconds']:.1f} of the processor)"
    speed = f"{found['paths_a_second']} a second; compiling {found['compile_seconds']:.1f} seconds"
    what = f"{found['paths']} paths of {found['days']:g} days in steps of {found['step_days']:.2g}"
    print(f"{found['patient']}: {spent} for {what} ({speed})")
    if asked.output is not None:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
