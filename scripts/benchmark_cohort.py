"""How time and memory of a pooled fit grow with its patients.

    python scripts/benchmark_cohort.py [--patients 54 200 1000] [--rounds 20] [-o docs/benchmark_cohort.json]

Patients are simulated: PSA every four weeks for five years, nine months on drug and eight off in turn, from the clinical prior.
A few are drawn from in the first stage and in the last one, side by side, after one by which the programs are compiled. Then
rounds of the law are timed with as many patients as are asked, who have the draws of those few over and over: the time of a
round does not hang on what they are. Each size runs in a process of its own, whose peak memory is told.

    seconds of a fit = patients (seconds of every stage) + rounds (seconds a round)

with the default pace of `fit --pool`. Stages between the first and the last are reckoned by the trajectories of the last.
Seconds of all cores together (`cpu`) stand beside: they tell more where the machine has other work. What a run keeps on disk
until it is done is counted, not measured: the draws of every patient.
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
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from persist.inference.clone_free import Frame, shifts
from persist.inference.cohort import Reference
from persist.inference.fit import members
from persist.inference.gibbs import Rounds, gibbs
from persist.inference.learned import Plain
from persist.inference.model import sampled
from persist.inference.pooling import BETWEEN, STAGES, Pace
from persist.inference.population import shared
from persist.inference.priors import load_pack
from persist.inference.sample import Sample, Stage, drawn
from persist.inference.settings import Settings
from persist.inference.stages import Standing, mixtures, plain
from persist.types import Series
from persist.validation.designs import Design
from persist.validation.virtual import generator, made, names_of, prior_draw, table_of

DESIGN = Design(
    "psa", "ng/mL", "on 252, off 224, repeat", 28.0, 1820.0, Reference(20.0, 40.0), 0.1, "on", "off 90, on", 720.0
)
LED = 4
"""Patients who are timed."""

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

    def times(self, share: float) -> Clock:
        return Clock(share * self.wall, share * self.cpu)

    def plus(self, other: Clock) -> Clock:
        return Clock(self.wall + other.wall, self.cpu + other.cpu)


def timed(stage: Stage, everyone: list[Any], at: Standing) -> tuple[list[Sample], Clock]:
    """Draws of patients in a stage, and how long one takes with others beside it; the first one compiles."""

    def work(place: int) -> Sample:
        return drawn(stage, everyone[place], at.priors[place], at.samples[place] if at.samples else None)

    first = work(0)
    began = Clock.now()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        others = list(threads.map(work, range(1, len(everyone))))
    return [first, *others], Clock.now().since(began).times(1.0 / len(others))


def _frame() -> Frame:
    """Which scores are pooled."""
    pack = load_pack("clinical", "psa")
    names = shared(sampled(pack, "spr"))
    return Frame(np.isin(names, POOLED), shifts(names, pack))


def law(seed: int, samples: list[Sample], lanes: int, rounds: Rounds) -> tuple[list[Clock], Any]:
    """When each round of the law was done, and what they came to."""
    frame = _frame()
    rng, done = np.random.default_rng(seed), [Clock.now()]
    population = Plain(rng, np.ones((lanes, len(samples)), bool), frame)
    found = gibbs(rng, population, samples, rounds, lambda _: done.append(Clock.now()))
    return done, mixtures(found.some, frame)


def measured(seed: int, count: int, rounds: int, pace: Pace) -> dict[str, Any]:
    """One size, in this process."""
    series = cohort(seed, LED + 1)
    everyone = members(table_of(series), Settings(reference=DESIGN.reference))
    begin = Standing([plain(_frame())] * len(everyone), [])
    early, alone = timed(Stage(seed, 0, pace.settle, pace.stage), everyone, begin)
    _, priors = law(seed, early, pace.lanes, Rounds(pace.warmup, pace.thin, pace.thin))
    late, last = timed(Stage(seed, 1, pace.settle, pace.last), everyone, Standing(priors, early))
    done, _ = law(seed, [late[place % len(late)] for place in range(count)], pace.lanes, Rounds(1, rounds, rounds))
    spent = [after.since(before) for before, after in pairwise(done)]
    each = Clock(*(statistics.median(column) for column in zip(*spent[1:], strict=True)))
    between = last.times((STAGES - 2) * (pace.settle + pace.stage) / (pace.settle + pace.last))
    total = STAGES * pace.warmup + round((1 + (STAGES - 1) * BETWEEN) * pace.rounds)
    whole = alone.plus(between).plus(last).times(count).plus(each.times(total))
    kept = [sum(part.nbytes for part in rows[0].kept) for rows in (early, late)]
    return {
        "patients": count,
        "values": int(sum(len(one.day) for one in series)) // len(series),
        "alone": alone._asdict(),
        "last": last._asdict(),
        "round": each._asdict(),
        "rounds": total,
        "fit_hours": whole.times(1.0 / 3600.0)._asdict(),
        "peak_gb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024**2,
        "kept_gb": count * ((STAGES - 1) * kept[0] + kept[1]) / 1e9,
    }


def apart(seed: int, count: int, rounds: int, pace: Pace) -> dict[str, Any]:
    """The same in a process of its own."""
    words = [sys.executable, __file__, "--one", str(count), "--rounds", str(rounds), "--seed", str(seed)]
    words += ["--lanes", str(pace.lanes)]
    ran = subprocess.run(words, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, Any] = json.loads(ran.stdout.splitlines()[-1])
    return found


def written(about: dict[str, Any]) -> str:
    """The page."""
    names = ["patients", "s of the first stage, a patient", "s of the last", "ms a round of the law", "hours of a fit"]
    names += ["peak GB", "kept GB"]
    where = f"{about['cores']} cores ({about['machine']}), {about['lanes']} lanes, a dozen pooled scores"
    lines = [
        "# A pooled fit: time and memory by patients",
        "",
        f"`python scripts/benchmark_cohort.py`: {where}, 66 values a patient;",
        f"rounds of the law after compiling, median of {about['timed']}. Seconds on the wall, in brackets of all cores.",
        f"Hours are reckoned with the default pace of `fit --pool`. {about['beside']}".rstrip(),
        "",
        f"| {' | '.join(names)} |",
        "|---" * len(names) + "|",
    ]
    for row in about["sizes"]:
        cells = [str(row["patients"])]
        cells += [f"{one['wall']:.1f} ({one['cpu']:.1f})" for one in (row["alone"], row["last"])]
        cells += [f"{1000.0 * row['round']['wall']:.0f} ({1000.0 * row['round']['cpu']:.0f})"]
        cells += [f"{row['fit_hours']['wall']:.1f} ({row['fit_hours']['cpu']:.1f})"]
        lines.append(f"| {' | '.join([*cells, format(row['peak_gb'], '.1f'), format(row['kept_gb'], '.2f')])} |")
    return "\n".join([*lines, ""])


def main(arguments: list[str]) -> None:
    """Measure every size and write the table."""
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--patients", type=int, nargs="+", default=[54, 200, 1000])
    options.add_argument("--rounds", type=int, default=20, help="rounds of the law that are timed")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--lanes", type=int, default=None, help="of the fit [as of the default chains]")
    options.add_argument("--beside", default="", help="a sentence on what else ran on the machine")
    options.add_argument("--one", type=int, default=None, help=argparse.SUPPRESS)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/benchmark_cohort.json"))
    asked = options.parse_args(arguments)
    jax.config.update("jax_enable_x64", True)
    pace = Pace()
    pace = pace._replace(lanes=asked.lanes or pace.lanes)
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
