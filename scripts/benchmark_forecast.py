"""Seconds that a forecast of one patient takes: 200 draws, 20 plans, 50 futures of each draw, 365 days.

    python scripts/benchmark_forecast.py                                  prints the seconds
    python scripts/benchmark_forecast.py -o docs/benchmark_forecast.json  writes them too

The patient is P01 of `data/`, fitted before the clock starts; plans are `on` and the first of the grids of `persist optimise`,
a few of each family. The first plan runs once alone before, which compiles: what that took over its share of the ``seconds``
are the ``compile_seconds``. Less than 60 seconds on two cores are asked for. ``--note`` goes into the file.
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
PATIENT, TARGET = "P01", 60.0
"""Who is forecast, and the seconds that were asked for."""


def plans(count: int, days: float) -> list[str]:
    """``on``, and candidates of the families in turn until there are so many plans."""
    grids = [coarse((family,), days) for family in FAMILIES]
    mixed = [grid[place] for place in range(max(map(len, grids))) for grid in grids if place < len(grid)]
    found = ["on", *(one.plan.text for one in mixed)][:count]
    if len(found) < count:
        raise SystemExit(f"benchmark_forecast: there are {len(found)} plans, and {count} were asked for")
    return found


def fitted() -> Any:
    """The posterior of the patient."""
    table = persist.read(
        ROOT / "data" / "burden.csv", ROOT / "data" / "treatments.csv", observable="psa", patients=(PATIENT,)
    )
    return persist.fit(table, persist.Settings())


def timed(fit: Any, question: Ask) -> tuple[float, Any]:
    """Seconds of a forecast, and what came out."""
    began = time.perf_counter()
    found = forecast(fit, question)
    return time.perf_counter() - began, found


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """What the file holds."""
    question = ask(plans(asked.plans, asked.days), asked.days, draws=asked.draws, replicates=asked.replicates)
    fit = fitted() if asked.fit is None else persist.load(asked.fit)
    first, _ = timed(fit, question._replace(plans=question.plans[:1]))
    second, found = timed(fit, question)
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
    parser.add_argument("--fit", type=Path, help="a fit of one patient, in place of that of P01")
    parser.add_argument("--note", default="", help="what else is to be said, such as what ran beside it")
    parser.add_argument("-o", "--output", type=Path)
    asked = parser.parse_args(arguments)
    found = measure(asked)
    print(
        f"{found['seconds']:.1f} seconds for {found['paths']} paths of {found['days']:g} days in steps of "
        f"{found['step_days']:.2g} ({found['paths_a_second']} a second; compiling {found['compile_seconds']:.1f} seconds)"
    )
    if asked.output is not None:
        asked.output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
