"""Speed and accuracy of the engines on one problem at three sizes, as JSON and as a table.

    python scripts/benchmark.py                      all jobs on the CPU (seven minutes on two cores)
    python scripts/benchmark.py --device gpu         the same on a GPU, with a million trajectories; an error without one
    python scripts/benchmark.py --job "C leap"       one of them
    python scripts/benchmark.py -o benchmark.json    the numbers too

Exit code 1 where a speed, a mean or a variance is not what is asked (`ASKED`).

The problem and its truth: `spr.py`. Speed is trajectories a second after compiling, the median of several runs.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import jax.numpy as jnp
import numpy as np
from spr import CASES, DAYS, LOOKS, PLAN, RATES, moments, problem, sampled, truth

from persist.cli.common import use_device
from persist.dynamics import batches, sampling, stepsize
from persist.dynamics.checks import Method
from persist.dynamics.trajectories import simulate
from persist.types import Rates

MANY = {"cpu": 100_000, "gpu": 1_000_000}
"""Trajectories of the run whose memory (CPU) or time (GPU) is told."""


ASKED = {
    "A ssa": (1_500, 0.005, 0.05), "A leap": (3_000, 0.005, 0.05), "B leap": (3_000, 0.005, 0.05),
    "B tau": (200, 0.01, 0.10), "C leap": (5_000, 0.005, 0.05),
}  # fmt: skip
"""Trajectories a second on two cores, and how far means and variances may be off, apart from four errors of their own."""


class Job(NamedTuple):
    """One line of the table: a case, an engine, trajectories a run for speed, and for accuracy."""

    case: str
    engine: str
    timed: int
    judged: int

    @property
    def name(self) -> str:
        return f"{self.case} {self.engine}"


JOBS = (
    Job("A", "ssa", 5_000, 50_000),
    Job("A", "leap", 20_000, 400_000),
    Job("B", "leap", 20_000, 400_000),
    Job("B", "tau", 2_000, 20_000),
    Job("C", "leap", 20_000, 100_000),
)


def speed(job: Job, repeats: int) -> dict[str, float]:
    """Trajectories a second, recorded daily: median, least, most; and seconds of the first run less a later one."""
    (rates, steps, exposure), spent = problem(CASES[job.case]), []
    jax.clear_caches()
    batches.forget()
    for seed in range(repeats + 1):
        began = time.perf_counter()
        jax.block_until_ready(
            simulate(
                jax.random.key(seed), CASES[job.case].cells, rates, steps, exposure,
                engine=job.engine, trajectories=job.timed,
            )
        )  # fmt: skip
        spent.append(time.perf_counter() - began)
    first, *later = spent
    found = sorted(job.timed / seconds for seconds in later)
    middle = statistics.median(found)
    return {"per_second": middle, "least": found[0], "most": found[-1], "compile_seconds": first - job.timed / middle}


def accuracy(job: Job, asked: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    """Bias of the mean and ratio of the variance at each look and state, each with the error of the comparison."""
    seen = moments(sampled(CASES[job.case], Method(job.engine), job.judged, 7))
    off = np.hypot(seen["mean_error"], asked["mean_error"]) / asked["mean"]
    loose = np.hypot(seen["variance_error"], asked["variance_error"]) / asked["variance"]
    bias, ratio = seen["mean"] / asked["mean"] - 1.0, seen["variance"] / asked["variance"]
    rows: list[dict[str, Any]] = [
        {"day": day, "state": letter, "bias": bias[state, look], "bias_error": off[state, look],
         "variance_ratio": ratio[state, look], "variance_ratio_error": loose[state, look]}
        for look, day in enumerate(LOOKS) for state, letter in enumerate("SPR")
    ]  # fmt: skip
    gap, error = seen["none"] - asked["none"], np.hypot(seen["none_error"], asked["none_error"])
    rows += [{"day": day, "state": "R = 0", "bias": gap[i], "bias_error": error[i]} for i, day in enumerate(LOOKS)]
    return rows


def told(job: Job, found: dict[str, Any]) -> str:
    """A line of the table: the largest bias and distance of the variance from 1, with their errors."""
    line = f"| {job.name} | {found['speed']['per_second']:,.0f} | {found['speed']['compile_seconds']:.1f} "
    cells = [row for row in found["accuracy"] if row["state"] != "R = 0"]
    bias = max(cells, key=lambda row: abs(row["bias"]))
    ratio = max(cells, key=lambda row: abs(row["variance_ratio"] - 1.0))
    none = max((row for row in found["accuracy"] if row["state"] == "R = 0"), key=lambda row: abs(row["bias"]))
    return line + (
        f"| {100 * bias['bias']:+.2f} ± {100 * bias['bias_error']:.2f} ({bias['state']}, day {bias['day']}) "
        f"| {ratio['variance_ratio']:.3f} ± {ratio['variance_ratio_error']:.3f} ({ratio['state']}, day {ratio['day']}) "
        f"| {none['bias']:+.4f} ± {none['bias_error']:.4f} |"
    )


def memory() -> dict[str, float]:
    """Peak of a process that simulates `MANY` trajectories of C for a year, in GB, and its seconds of running."""
    names = (*zip(Rates._fields, RATES, strict=True), ("capacity", CASES["C"].capacity))
    rates = {name: value for name, value in names if np.isfinite(value)}
    cells = CASES["C"].cells._asdict()
    tables = {"rates": rates, "cells": cells}
    with tempfile.TemporaryDirectory() as folder:
        file, out = Path(folder, "rates.toml"), Path(folder, "out.nc")
        lines = [
            f"[{name}]\n" + "".join(f"{key} = {value!r}\n" for key, value in one.items())
            for name, one in tables.items()
        ]
        file.write_text("\n".join(lines), encoding="utf-8")
        words = ["simulate", "--rates", file, "--plan", PLAN, "--days", "365", "--trajectories", str(MANY["cpu"])]
        ran = subprocess.run(
            [sys.executable, "-m", "persist", *map(str, words), "-o", str(out), "--json"],
            check=True,
            capture_output=True,
        )
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024**2
    return {"trajectories": MANY["cpu"], "days": 365, "peak_gb": peak, "seconds": json.loads(ran.stdout)["seconds"]}


def million(number: int) -> dict[str, float]:
    """Seconds of many trajectories of C, of which moments on three days are kept, and of their random numbers alone."""
    case, spent, floor = CASES["C"], [], []
    streams = jax.random.bits(jax.random.key(0), (min(number, 2**19),), jnp.uint64)

    @jax.jit
    def numbers(streams: jax.Array) -> jax.Array:
        def step(_: int, total: jax.Array) -> jax.Array:
            return total + sampling.normal_quantile(sampling.draws(streams + total.astype(jnp.uint64), 13)[1]).sum(
                axis=0
            )

        return jax.lax.fori_loop(0, DAYS, step, jnp.zeros(streams.shape))

    for seed in range(4):
        began = time.perf_counter()
        sampled(case, Method("leap"), number, seed)
        spent.append(time.perf_counter() - began)
        began = time.perf_counter()
        for _ in range(-(-number // len(streams))):
            numbers(streams).block_until_ready()
        floor.append(time.perf_counter() - began)
    middle = [statistics.median(part[1:]) for part in (spent, floor)]
    return {"trajectories": number, "seconds": middle[0], "random_number_seconds": middle[1]}


def missed(name: str, found: dict[str, Any], device: str) -> list[str]:
    """What a job does not keep of what is `ASKED`; speeds are asked of a CPU."""
    speed, bias, variance = ASKED[name]
    told = []
    if device == "cpu" and found["speed"]["per_second"] < speed:
        told.append(f"{name}: {found['speed']['per_second']:,.0f} trajectories a second, asked {speed:,}")
    for row in found["accuracy"]:
        at = f"{name}, {row['state']} on day {row['day']}"
        allowed = 0.0 if row["state"] == "R = 0" else bias
        if abs(row["bias"]) > allowed + 4.0 * row["bias_error"]:
            told.append(f"{at}: mean off by {row['bias']:+.4f} ± {row['bias_error']:.4f}, asked {allowed:g}")
        if abs(row.get("variance_ratio", 1.0) - 1.0) > variance + 4.0 * row.get("variance_ratio_error", 0.0):
            told.append(f"{at}: variance {row['variance_ratio']:.3f} of the true one, asked 1 ± {variance:g}")
    return told


@click.command()
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where to run.")
@click.option("--job", "names", multiple=True, type=click.Choice([job.name for job in JOBS]), help="Only this one.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Runs timed after the first.")
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Write the numbers as JSON.")
def main(device: str, names: tuple[str, ...], repeats: int, output: Path | None) -> None:
    """Measure speed and accuracy of the engines."""
    use_device(device)  # type: ignore[arg-type]
    jobs = [job for job in JOBS if not names or job.name in names]
    about = {
        "device": str(jax.devices()[0]),
        "cores": os.cpu_count(),
        "machine": platform.machine(),
        "jax": jax.__version__,
    }
    steps = {name: stepsize.choose(case.cells, *problem(case)) for name, case in CASES.items()}
    results: dict[str, Any] = {}
    head = [
        "job",
        "trajectories/s",
        "compile s",
        "largest bias of a mean, %",
        "variance ratio farthest from 1",
        "P(R = 0) off by",
    ]
    click.echo(f"| {' | '.join(head)} |\n{'|---' * len(head)}|")
    timed = {job.name: speed(job, repeats) for job in jobs}
    asked, faults = {name: truth(name) for name in sorted({job.case for job in jobs})}, []
    for job in jobs:
        results[job.name] = {"speed": timed[job.name], "accuracy": accuracy(job, asked[job.case])}
        click.echo(told(job, results[job.name]))
        faults += missed(job.name, results[job.name], device)
    about |= {"steps": {name: step._asdict() for name, step in steps.items()}, "jobs": results}
    if not names:
        about["many"] = million(MANY[device]) | (memory() if device == "cpu" else {})
        click.echo(json.dumps(about["many"]))
    about["missed"] = faults
    if output is not None:
        output.write_text(json.dumps(about, indent=1, default=float) + "\n", encoding="utf-8")
    for fault in faults:
        click.echo(fault, err=True)
    sys.exit(1 if faults else 0)


if __name__ == "__main__":
    main()
