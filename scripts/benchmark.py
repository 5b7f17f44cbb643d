"""Speed and accuracy of the engines on one problem at three sizes, as JSON and as a table.

    python scripts/benchmark.py                      all jobs on the CPU
    python scripts/benchmark.py --device gpu         the same on a GPU; an error where there is none
    python scripts/benchmark.py --job "C leap"       one of them
    python scripts/benchmark.py -o benchmark.json    the numbers too

The problem: on drug for 60 days, off for 60, on for 120, recorded daily. A starts from 1000 cells at a capacity of 2000, B and
C from half a capacity of 1e6 and 1e10, without resistant cells. Speed is trajectories a second after compiling, the median of
several runs. The truth of A is exact Gillespie; of B and C, for the mean the mean field's equations, solved to 1e-10 (at a
million cells their error is below 1e-4), and for the variance leaps of 1/32 day.
"""

from __future__ import annotations

import json
import statistics
import time
from pathlib import Path
from typing import Any, NamedTuple

import click
import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from persist.cli.common import use_device  # noqa: E402
from persist.dynamics.reactions import CHANGES, propensities  # noqa: E402
from persist.dynamics.trajectories import simulate  # noqa: E402
from persist.treatment.exposure import relax  # noqa: E402
from persist.treatment.schedule import grid, parse_plan, plan_schedule  # noqa: E402
from persist.types import Cells, Exposure, Grid, Rates  # noqa: E402

PLAN, DAYS = "on 60, off 60, on", 240
LOOKS = (60, 120, 240)
"""Days at which the moments are compared."""
RATES = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02, tolerance_base=1e-4,
    tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
)  # fmt: skip


class Case(NamedTuple):
    """One size of the problem: capacity and cells at the start."""

    capacity: float
    cells: Cells


class Job(NamedTuple):
    """One line of the table: a case, an engine, trajectories a run for speed, and for accuracy."""

    case: str
    engine: str
    timed: int
    judged: int

    @property
    def name(self) -> str:
        return f"{self.case} {self.engine}"


CASES = {
    "A": Case(2000.0, Cells(1000.0, 20.0, 5.0)),
    "B": Case(1e6, Cells(5e5, 500.0, 0.0)),
    "C": Case(1e10, Cells(5e9, 5e6, 0.0)),
}
JOBS = (
    Job("A", "ssa", 4_000, 40_000),
    Job("A", "leap", 10_000, 40_000),
    Job("B", "leap", 10_000, 100_000),
    Job("B", "tau", 500, 4_000),
    Job("C", "leap", 20_000, 40_000),
)


def problem(case: Case) -> tuple[Rates, Grid, Exposure]:
    """Rates, daily grid and exposure (immediate) of a case."""
    schedule = plan_schedule(parse_plan(PLAN), 0.0, float(DAYS))
    steps, _ = grid(schedule, np.arange(1.0, DAYS + 1.0), start=0.0, stop=float(DAYS), max_step=1.0)
    rates = RATES._replace(capacity=case.capacity)
    return rates, steps, relax(steps, rates.onset_days, rates.washout_days)


def run(case: Case, engine: str, number: int, seed: int, max_step: float | None = None, days: Any = None) -> np.ndarray:
    """Cells ``(3, number, n_days)`` at the marked ``days`` (every day by default)."""
    rates, steps, exposure = problem(case)
    record = None if days is None else np.isin(np.arange(1, DAYS + 1), days)
    path = simulate(
        jax.random.key(seed), case.cells, rates, steps, exposure,
        engine=engine, trajectories=number, max_step=max_step, record=record,
    )  # fmt: skip
    return np.stack([np.asarray(state) for state in path])


def speed(job: Job, repeats: int) -> dict[str, float]:
    """Trajectories a second (median, least, most of the repeats), and seconds of the first run less a later one."""
    case, spent = CASES[job.case], []
    for seed in range(repeats + 1):
        began = time.perf_counter()
        run(case, job.engine, job.timed, seed)
        spent.append(time.perf_counter() - began)
    first, *later = spent
    rates = sorted(job.timed / seconds for seconds in later)
    middle = statistics.median(rates)
    return {"per_second": middle, "least": rates[0], "most": rates[-1], "compile_seconds": first - job.timed / middle}


def mean_truth(case: Case) -> np.ndarray:
    """The mean field's cells ``(3, n_looks)``, solved piece by piece."""
    from scipy.integrate import solve_ivp

    rates, _, _ = problem(case)
    state, found = np.array(case.cells), []
    flow = jax.jit(lambda cells, dose: propensities(Cells(*cells), rates, dose) @ CHANGES)
    for begin, end, dose in ((0, 60, 1.0), (60, 120, 0.0), (120, 240, 1.0)):
        solved = solve_ivp(
            lambda _, at, dose=dose: np.asarray(flow(at, dose)),
            (begin, end),
            state,
            method="LSODA",
            rtol=1e-10,
            atol=1e-12,
        )
        state = solved.y[:, -1]
        found.append(state)
    return np.stack(found, axis=1)


def truth(name: str) -> dict[str, np.ndarray]:
    """Mean and variance ``(3, n_looks)`` with their standard errors, and P(R = 0)."""
    case = CASES[name]
    exact = name == "A"
    sample = run(case, "ssa" if exact else "leap", 100_000 if name != "C" else 20_000, 99, 1.0 / 32.0, LOOKS)
    found = moments(sample)
    if not exact:
        found |= {"mean": mean_truth(case), "mean_error": np.zeros_like(found["mean"])}
    return found


def moments(sample: np.ndarray) -> dict[str, np.ndarray]:
    """Mean, variance, their standard errors, and the share without R, of cells ``(3, n, n_looks)``."""
    number = sample.shape[1]
    mean, variance = sample.mean(axis=1), sample.var(axis=1, ddof=1)
    fourth = ((sample - mean[:, None]) ** 4).mean(axis=1)
    none = (sample[2] == 0).mean(axis=0)
    return {
        "mean": mean,
        "mean_error": np.sqrt(variance / number),
        "variance": variance,
        "variance_error": np.sqrt(np.maximum(fourth - variance**2, 0.0) / number),
        "none": none,
        "none_error": np.sqrt(np.maximum(none * (1.0 - none), 1.0 / number) / number),
    }


def accuracy(job: Job, asked: dict[str, np.ndarray]) -> list[dict[str, float | str]]:
    """Bias of the mean and ratio of the variance at each look and state, each with the error of the comparison."""
    seen = moments(run(CASES[job.case], job.engine, job.judged, 7, days=LOOKS))
    rows: list[dict[str, float | str]] = []
    for look, day in enumerate(LOOKS):
        for state, letter in enumerate("SPR"):

            def part(one: dict[str, np.ndarray], name: str, at: tuple[int, int] = (state, look)) -> float:
                return float(one[name][at])

            mean, variance = part(asked, "mean"), part(asked, "variance")
            off = np.hypot(part(seen, "mean_error"), part(asked, "mean_error"))
            loose = np.hypot(part(seen, "variance_error"), part(asked, "variance_error"))
            rows.append(
                {
                    "day": day,
                    "state": letter,
                    "bias": part(seen, "mean") / mean - 1.0,
                    "bias_error": off / mean,
                    "variance_ratio": part(seen, "variance") / variance,
                    "variance_ratio_error": loose / variance,
                }
            )
        gap = float(seen["none"][look] - asked["none"][look])
        error = float(np.hypot(seen["none_error"][look], asked["none_error"][look]))
        rows.append({"day": day, "state": "R = 0", "bias": gap, "bias_error": error})
    return rows


def told(job: Job, found: dict[str, Any]) -> str:
    """A line of the table: the largest bias and distance of the variance from 1, with their errors."""
    cells = [row for row in found["accuracy"] if row["state"] != "R = 0"]
    bias = max(cells, key=lambda row: abs(row["bias"]))
    ratio = max(cells, key=lambda row: abs(row["variance_ratio"] - 1.0))
    none = max((row for row in found["accuracy"] if row["state"] == "R = 0"), key=lambda row: abs(row["bias"]))
    return (
        f"| {job.name} | {found['speed']['per_second']:,.0f} | {found['speed']['compile_seconds']:.1f} "
        f"| {100 * bias['bias']:+.2f} ± {100 * bias['bias_error']:.2f} ({bias['state']}, day {bias['day']}) "
        f"| {ratio['variance_ratio']:.3f} ± {ratio['variance_ratio_error']:.3f} ({ratio['state']}, day {ratio['day']}) "
        f"| {none['bias']:+.4f} ± {none['bias_error']:.4f} |"
    )


@click.command()
@click.option("--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where to run.")
@click.option("--job", "names", multiple=True, type=click.Choice([job.name for job in JOBS]), help="Only this one.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True, help="Runs timed after the first.")
@click.option("-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Write the numbers as JSON.")
def main(device: str, names: tuple[str, ...], repeats: int, output: Path | None) -> None:
    """Measure speed and accuracy of the engines."""
    use_device(device)  # type: ignore[arg-type]
    jobs = [job for job in JOBS if not names or job.name in names]
    asked = {name: truth(name) for name in sorted({job.case for job in jobs})}
    results: dict[str, Any] = {}
    click.echo(
        "| job | trajectories/s | compile s | largest bias of a mean, % | variance ratio farthest from 1 | P(R = 0) off by |"
    )
    click.echo("|---|---|---|---|---|---|")
    for job in jobs:
        results[job.name] = {"speed": speed(job, repeats), "accuracy": accuracy(job, asked[job.case])}
        click.echo(told(job, results[job.name]))
    if output is not None:
        about = {"device": str(jax.devices()[0]), "jax": jax.__version__, "jobs": results}
        output.write_text(json.dumps(about, indent=1, default=float) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
