"""The problem of the benchmark at three sizes, and its true moments.

On drug for 60 days, off for 60, on for 120, recorded daily. A starts from 1000 cells at a capacity of 2000, B and C from half
a capacity of 1e6 and 1e10, without resistant cells. The truth of A is exact Gillespie; that of B the leap at steps of 1/8
day; that of C, where chance is small, the mean field and the linear-noise approximation about it (van Kampen), solved to
1e-9.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from persist.dynamics.checks import Method  # noqa: E402
from persist.dynamics.reactions import CHANGES, propensities  # noqa: E402
from persist.dynamics.trajectories import sweep  # noqa: E402
from persist.treatment.exposure import relax  # noqa: E402
from persist.treatment.schedule import grid, parse_plan, plan_schedule  # noqa: E402
from persist.types import Cells, Exposure, Grid, Rates  # noqa: E402

PLAN, DAYS = "on 60, off 60, on", 240
PIECES = ((0.0, 60.0, 1.0), (60.0, 120.0, 0.0), (120.0, 240.0, 1.0))
LOOKS = (60, 120, 240)
"""Days at which the moments are compared."""
RATES = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02, tolerance_base=1e-4,
    tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
)  # fmt: skip
TRUTH_STEP = 0.125


class Case(NamedTuple):
    """One size of the problem: capacity, cells at the start, and trajectories that its truth is taken from."""

    capacity: float
    cells: Cells
    truth: int


CASES = {
    "A": Case(2000.0, Cells(1000.0, 20.0, 5.0), 200_000),
    "B": Case(1e6, Cells(5e5, 500.0, 0.0), 200_000),
    "C": Case(1e10, Cells(5e9, 5e6, 0.0), 0),
}


def problem(case: Case) -> tuple[Rates, Grid, Exposure]:
    """Rates, daily grid and exposure (immediate) of a case."""
    schedule = plan_schedule(parse_plan(PLAN), 0.0, float(DAYS))
    steps, _ = grid(schedule, np.arange(1.0, DAYS + 1.0), start=0.0, stop=float(DAYS), max_step=1.0)
    rates = RATES._replace(capacity=case.capacity)
    return rates, steps, relax(steps, rates.onset_days, rates.washout_days)


def sampled(case: Case, method: Method, number: int, seed: int) -> np.ndarray:
    """Cells ``(3, number, n_looks)`` on the days that are looked at."""
    rates, steps, exposure = problem(case)
    record = np.isin(np.arange(1, DAYS + 1), LOOKS)
    go = sweep(
        lambda _, cells: np.stack([np.asarray(state) for state in cells]),
        jax.random.key(seed), case.cells, rates, steps, exposure, method, trajectories=number, record=record,
    )  # fmt: skip
    return np.concatenate(list(go), axis=1)


def linear_noise(case: Case) -> dict[str, np.ndarray]:
    """Mean and variance ``(3, n_looks)`` of large numbers of cells: ``m' = f(m)``, ``V' = J V + V J^T + D``, ``J`` the
    derivative of f, ``D`` the sum over reactions of rate x change x change^T.
    """
    from scipy.integrate import solve_ivp

    rates, _, _ = problem(case)
    flow = jax.jit(lambda at, dose: propensities(Cells(*at), rates, dose))
    slope = jax.jit(jax.jacobian(lambda at, dose: propensities(Cells(*at), rates, dose) @ CHANGES))

    def moving(_: float, at: np.ndarray, dose: float) -> np.ndarray:
        rate, jacobian, spread = np.asarray(flow(at[:3], dose)), np.asarray(slope(at[:3], dose)), at[3:].reshape(3, 3)
        gain = jacobian @ spread
        return np.concatenate([rate @ CHANGES, (gain + gain.T + CHANGES.T @ (rate[:, None] * CHANGES)).ravel()])

    at, found = np.concatenate([case.cells, np.zeros(9)]), []
    for begin, end, dose in PIECES:
        at = solve_ivp(moving, (begin, end), at, args=(dose,), method="LSODA", rtol=1e-9, atol=1e-9).y[:, -1]
        found.append((at[:3], at[3:].reshape(3, 3).diagonal()))
    mean, variance = (np.stack(part, axis=1) for part in zip(*found, strict=True))
    nothing = np.zeros_like(mean)
    return {"mean": mean, "mean_error": nothing, "variance": variance, "variance_error": nothing,
            "none": np.zeros(len(LOOKS)), "none_error": np.zeros(len(LOOKS))}  # fmt: skip


def truth(name: str) -> dict[str, np.ndarray]:
    """Mean and variance ``(3, n_looks)`` with their standard errors, and P(R = 0)."""
    case = CASES[name]
    if name == "C":
        return linear_noise(case)
    method = Method("ssa") if name == "A" else Method("leap", TRUTH_STEP)
    return moments(sampled(case, method, case.truth, 99))


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
        "none_error": np.sqrt(none * (1.0 - none) / number),
    }
