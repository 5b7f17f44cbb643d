"""How time and memory of a pooled fit grow with its patients.

    python scripts/benchmark_cohort.py [--patients 54 200 1000] [--rounds 3] [-o docs/benchmark_cohort.json]

Cohorts are simulated: PSA every four weeks for five years, nine months on drug and eight off in turn, from the clinical prior.
A few patients of a cohort are led to their posterior and warmed up alone, as `pool` begins with all; the others start where
these stand, since the time of a round hangs on the step sizes and not on where the walkers are. Then rounds of the cohort are
timed, the first one, which compiles, apart. Each size runs in a process of its own, whose peak memory is told.

    seconds of a fit = patients (seconds alone) + rounds (seconds a round)

with the default rounds of `fit --pool`. Seconds of all cores together (`cpu`) stand beside: they tell more where the machine
has other work. What a long fit keeps besides is counted, not measured: points of every patient.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from persist.inference import pooling
from persist.inference.cohort import Reference
from persist.inference.fit import members
from persist.inference.learned import Plain
from persist.inference.model import sampled
from persist.inference.pooled import pace_of
from persist.inference.pooling import Pace
from persist.inference.population import shared
from persist.inference.priors import load_pack
from persist.inference.settings import Settings
from persist.types import Series
from persist.validation.designs import Design
from persist.validation.virtual import generator, made, names_of, prior_draw, table_of

DESIGN = Design(
    "psa", "ng/mL", "on 252, off 224, repeat", 28.0, 1820.0, Reference(20.0, 40.0), 0.1, "on", "off 90, on", 720.0
)
LED = 4
"""Patients who are led to their posterior."""

POOLED = ("net_growth_s", "decline_s", "tolerance_drug", "reversion", "resistant_0", "cost_r", "kill_r_share", "birth_p_share",
          "onset_days", "noise_sd", "wander_sd", "wander_days")  # fmt: skip
"""A dozen scores, as many as the 54 patients of the published series show."""


def cohort(seed: int, count: int) -> tuple[Series, ...]:
    """Patients of the clinical prior."""
    found = []
    for number in range(count):
        values = prior_draw(generator(seed, number, "cohort"), "clinical", "spr", DESIGN)
        named = lambda what, number=number: names_of(seed, number, "cohort", what)  # noqa: E731
        found.append(made(f"patient {number}", values, named, DESIGN).series)
    return tuple(found)


class Clock(NamedTuple):
    """Seconds on the wall, and of all cores together."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Clock:
        return cls(time.perf_counter(), time.process_time())

    def since(self, began: Clock) -> Clock:
        return Clock(self.wall - began.wall, self.cpu - began.cpu)


def started(seed: int, series: tuple[Series, ...], pace: Pace) -> tuple[Any, Clock]:
    """A run whose patients stand at their posteriors, or where one of those does; how long one patient alone takes, with others
    beside it.
    """
    everyone = members(table_of(series), Settings(reference=DESIGN.reference))
    names = shared(sampled(load_pack("clinical", "psa"), "spr"))
    who = np.ones((pace.lanes, len(everyone)), bool)
    run = pooling._Run(seed, everyone, pace, who, np.isin(names, POOLED), None)
    led = run.movers[: LED + 1]
    led[0].begin(pace.alone)  # compiles
    began = Clock.now()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        list(threads.map(lambda mover: mover.begin(pace.alone), led[1:]))
    spent = Clock.now().since(began)
    alone = Clock(*(part / max(1, len(led) - 1) for part in spent))
    states = [mover.state() for mover in led]
    for place, mover in enumerate(run.movers[len(led) :]):
        mover.restore(states[place % len(states)])
    run.population = Plain(run.rng, who, run.pooled)
    return run, alone


def measured(seed: int, count: int, rounds: int, pace: Pace) -> dict[str, Any]:
    """One size, in this process."""
    series = cohort(seed, count)
    run, alone = started(seed, series, pace)
    spent = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for _ in range(rounds + 1):
            began = Clock.now()
            run._round(threads)
            spent.append(Clock.now().since(began))
    wall, cpu = (statistics.median(column) for column in zip(*spent[1:], strict=True))
    points, total = run.movers[0].crowd.point.nbytes, pace.warmup + pace.rounds
    return {
        "patients": count,
        "values": int(sum(len(one.day) for one in series)),
        "alone": alone._asdict(),
        "first_round": spent[0]._asdict(),
        "round": {"wall": wall, "cpu": cpu},
        "rounds": total,
        "fit_hours": {
            "wall": (count * alone.wall + total * wall) / 3600.0,
            "cpu": (count * alone.cpu + total * cpu) / 3600.0,
        },
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
        "kept_gb": count * points * (pace.rounds // pace.thin + pace.warmup // 2) / 1e9,
    }


def apart(seed: int, count: int, rounds: int, pace: Pace) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--one", str(count), "--rounds", str(rounds), "--seed", str(seed)]
    words += ["--lanes", str(pace.lanes), "--alone", str(pace.alone)]
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def written(about: dict[str, Any]) -> str:
    """The page."""
    names = [
        "patients",
        "s alone, a patient",
        "s a round",
        "ms a round and patient",
        "hours of a fit",
        "peak GB",
        "kept GB",
    ]
    where = f"{about['cores']} cores ({about['machine']}), {about['lanes']} lanes, a dozen pooled scores"
    lines = [
        "# A pooled fit: time and memory by patients",
        "",
        f"`python scripts/benchmark_cohort.py`: {where}, 66 values a patient; rounds",
        f"timed after compiling, the median of {about['timed']}. Seconds on the wall, and of all cores together in brackets.",
        f"Hours are extrapolated to the default rounds of `fit --pool`. {about['beside']}".rstrip(),
        "",
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
    ]
    for row in about["sizes"]:
        each = {kind: 1000.0 * seconds / row["patients"] for kind, seconds in row["round"].items()}
        cells = [str(row["patients"])]
        cells += [f"{one['wall']:.1f} ({one['cpu']:.1f})" for one in (row["alone"], row["round"])]
        cells += [f"{each['wall']:.0f} ({each['cpu']:.0f})"]
        cells += [f"{row['fit_hours']['wall']:.1f} ({row['fit_hours']['cpu']:.1f})"]
        lines.append(f"| {' | '.join([*cells, format(row['peak_gb'], '.1f'), format(row['kept_gb'], '.2f')])} |")
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> None:
    """Measure every size and write the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--patients", type=int, nargs="+", default=[54, 200, 1000])
    options.add_argument("--rounds", type=int, default=3, help="rounds that are timed")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--lanes", type=int, default=None, help="of the fit [as of the default chains]")
    options.add_argument("--alone", type=int, default=None, help="rounds of each patient alone [as of pool]")
    options.add_argument("--beside", default="", help="a sentence on what else ran on the machine")
    options.add_argument("--one", type=int, default=None, help=argparse.SUPPRESS)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/benchmark_cohort.json"))
    asked = options.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    pace = pace_of(Settings())
    pace = pace._replace(lanes=asked.lanes or pace.lanes, alone=asked.alone or pace.alone)
    if asked.one is not None:
        print(json.dumps(measured(asked.seed, asked.one, asked.rounds, pace)))
        return
    about: dict[str, Any] = {"cores": os.cpu_count(), "machine": platform.machine(), "jax": jax.__version__}
    about |= {"lanes": pace.lanes, "timed": asked.rounds, "seed": asked.seed, "beside": asked.beside, "sizes": []}
    for count in asked.patients:
        about["sizes"].append(apart(asked.seed, count, asked.rounds, pace))
        asked.output.write_text(json.dumps(about, indent=1) + "\n", encoding="utf-8")
        asked.output.with_suffix(".md").write_text(written(about), encoding="utf-8")
        print(json.dumps(about["sizes"][-1]), flush=True)


if __name__ == "__main__":
    main(sys.argv[1:])
