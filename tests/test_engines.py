"""The engines against closed forms, or against the exact engine where there is none; each check with its power twin."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, stats
from scipy.linalg import expm

from laws import (
    LawBrokenError,
    check_distribution,
    check_mean,
    check_same,
    check_share,
    check_variance,
    must_fail,
)
from persist.dynamics import batches, sampling
from persist.dynamics.paths import ENGINES, Engine, Pace, Steps, follow
from persist.dynamics.reactions import REACTIONS, scaled
from persist.dynamics.trajectories import simulate
from persist.errors import PrecisionError, RatesError, UsageError
from persist.types import Cells, Exposure, Grid, Rates

NAMES = tuple(reaction.name for reaction in REACTIONS)
KEY = jax.random.key(7)
DAYS = 4
"""Every grid of the checks has this many steps and records them all, so that an engine is compiled once."""


@partial(jax.jit, static_argnames=("engine", "hybrid"))
def _run(keys, factors, cells, rates, length, exposure, pace, engine, hybrid):
    table = scaled(dict(zip(NAMES, factors, strict=True)))
    steps = Steps(length, jnp.arange(DAYS), jnp.arange(DAYS))
    how = Engine(engine, hybrid, table)
    return follow(sampling.stream(keys), cells, rates, steps, exposure, pace, records=DAYS, engine=how)


def run(
    engine: str,
    cells: Cells,
    rates: Rates,
    *,
    n: int,
    length: float = 0.25,
    exposure: Exposure | None = None,
    planted: str | None = None,
    seed: int = 0,
    exact_below: float = 0.0,
) -> np.ndarray:
    """S, P, R ``(3, n, 4)`` at the ends of four steps of ``length`` days; ``planted`` is one made 5 % too fast."""
    level = Exposure(jnp.ones(DAYS), jnp.ones(DAYS), jnp.zeros(DAYS)) if exposure is None else exposure
    factors = jnp.array([1.05 if name == planted else 1.0 for name in NAMES])
    as_arrays = jax.tree.map(lambda value: jnp.asarray(value, float), (cells, rates))
    keys = jax.random.split(jax.random.fold_in(KEY, seed), n)
    pace = Pace(1, exact_below)
    ended = _run(keys, factors, *as_arrays, jnp.full(DAYS, length), level, pace, engine, exact_below > 0)
    return np.stack([np.asarray(state) for state in ended])


# ------------------------------------------------------------------ all eleven reactions at once: a linear network

NETWORK = Rates(
    birth_s=0.3, death_s=0.15, kill_s=0.1, birth_p=0.25, death_p=0.15, kill_p=0.1, birth_r=0.15, death_r=0.1,
    kill_r=0.1, withdrawal_r=0.1, stimulation_r=0.2, tolerance_base=0.05, tolerance_drug=0.2, reversion=0.4,
    reversion_block=0.5, mutation=0.4, escape_base=0.05, escape_drug=0.2, seeding=200.0,
)  # fmt: skip
BEGIN = Cells(1000.0, 1000.0, 1000.0)
HALF = Exposure(jnp.full(DAYS, 0.5), jnp.full(DAYS, 0.5), jnp.zeros(DAYS))


def linear(rates: Rates, E: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Drift matrix (4, 4) of (S, P, R, 1), and the reactions as changes (11, 3) and rates per (S, P, R, 1) (11, 4).

    Written from the model, not from the table: no crowding, linear response, h = 1, sigma = 1 (F_50 = 0).
    """
    r = rates
    rows = [
        ((1, 0, 0), 0, r.birth_s * (1 - r.mutation)),
        ((-1, 0, 0), 0, r.death_s + r.kill_s * E * (1 - r.secretome_protect)),
        ((0, 1, 0), 1, r.birth_p),
        ((0, -1, 0), 1, r.death_p + r.kill_p * E),
        ((0, 0, 1), 2, r.birth_r * (1 + r.secretome_boost * (1 - r.secretome_block * E)) + r.stimulation_r * E),
        ((0, 0, -1), 2, r.death_r + r.kill_r * E + r.withdrawal_r * (1 - E)),
        ((-1, 1, 0), 0, r.tolerance_base + r.tolerance_drug * E * min(1, E / 0.01)),
        ((1, -1, 0), 1, r.reversion * (1 - r.reversion_block * E)),
        ((0, 0, 1), 0, r.mutation * r.birth_s),
        ((0, 0, 1), 1, r.escape_base + r.escape_drug * E),
        ((0, 0, 1), 3, r.seeding * (E > 0)),
    ]
    change = np.array([row[0] for row in rows], float)
    rate = np.zeros((11, 4))
    for number, (_, parent, value) in enumerate(rows):
        rate[number, parent] = value
    drift = np.zeros((4, 4))
    drift[:3] = change.T @ rate
    return drift, change, rate


def moments(rates: Rates, E: float, days: float) -> tuple[np.ndarray, np.ndarray]:
    """Exact mean and variance (3,) of the network after some days: matrix exponential, and the moment equations."""
    drift, change, rate = linear(rates, E)
    start = np.array([*BEGIN, 1.0])

    def second(t: float, flat: np.ndarray) -> np.ndarray:
        cov = flat.reshape(3, 3)
        flow = rate @ (expm(drift * t) @ start)
        return (drift[:3, :3] @ cov + cov @ drift[:3, :3].T + change.T @ (flow[:, None] * change)).ravel()

    solved = integrate.solve_ivp(second, (0, days), np.zeros(9), rtol=1e-8, atol=1e-6)
    return (expm(drift * days) @ start)[:3], np.diag(solved.y[:, -1].reshape(3, 3))


SIZE = 4000
MANY = {"leap": (160_000, 1.05)}
"""Trajectories for the variance, and the planted factor that they must show (in every state); else `SIZE` and 1.2."""

LENGTH = {"leap": 1.0, "ssa": 0.25, "tau": 0.25}
"""Days of each of the four steps: the leap is held to its law at the longest step that it takes."""


def check_network(engine: str, planted: str | None) -> None:
    """Mean of S, P and R after four steps, to 1e-6 false alarm; ``slack`` admits the step error (0.1 % of tau, 0.04 % of
    the leap).
    """
    length = LENGTH[engine]
    mean, _ = moments(NETWORK, 0.5, DAYS * length)
    seen = run(engine, BEGIN, NETWORK, n=SIZE, exposure=HALF, planted=planted, length=length)[:, :, -1]
    for name, state, truth in zip("SPR", seen, mean, strict=True):
        check_mean(state, truth, what=f"{engine}: mean {name}", slack=1e-3 * truth if engine == "tau" else 4e-4 * truth)


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
def test_mean_and_variance_of_the_network(engine: str) -> None:
    check_network(engine, None)
    length = LENGTH[engine]
    _, variance = moments(NETWORK, 0.5, DAYS * length)
    size, planted_share = MANY.get(engine, (SIZE, 1.2))
    seen = run(engine, BEGIN, NETWORK, n=size, exposure=HALF, length=length)[:, :, -1]
    for name, state, truth in zip("SPR", seen, variance, strict=True):
        check = partial(check_variance, variance=truth, what=f"{engine}: variance {name}", slack=0.015 * truth)
        check(state)
        must_fail(partial(check, np.sqrt(planted_share) * state))


def power(name: str, days: float) -> float:
    """Expected distance of the planted error from the truth, in standard errors of the state that sees it best."""
    mean, variance = moments(NETWORK, 0.5, days)
    drift, change, rate = linear(NETWORK, 0.5)
    at = NAMES.index(name)
    moved = drift.copy()
    moved[:3] += 0.05 * np.outer(change[at], rate[at])
    shifted = (expm(moved * days) @ np.array([*BEGIN, 1.0]))[:3]
    return float(np.max(np.abs(shifted - mean) / np.sqrt(variance / SIZE)))


SAMPLE = ("sensitive death", "tolerance", "resistant division", "seeding")
"""Reactions that the everyday tests plant an error in for every engine; the others for the leap alone."""


def planted() -> list:
    pairs = [(engine, name) for engine in ENGINES for name in NAMES]
    late = (pytest.mark.slow, pytest.mark.ci)
    return [pytest.param(*pair, marks=() if pair[0] == "leap" or pair[1] in SAMPLE else late) for pair in pairs]


@pytest.mark.law
@pytest.mark.parametrize(("engine", "name"), planted())
def test_a_planted_error_in_any_reaction_is_caught(engine: str, name: str) -> None:
    assert power(name, DAYS * LENGTH[engine]) > 10
    must_fail(lambda: check_network(engine, name))


# ------------------------------------------------------------------ laws of one state


def kendall(n: int, birth: float, death: float, days: float, size: int = 120) -> np.ndarray:
    """Law of the linear birth-death process from n cells: probabilities of 0 .. size - 1, in closed form."""
    grown = np.expm1((birth - death) * days) / (birth - death) if birth != death else days
    alpha, beta = death * grown / (1 + birth * grown), birth * grown / (1 + birth * grown)
    k = np.arange(size)
    law = np.where(k == 0, alpha**n, 0.0)
    for m in range(1, n + 1):
        law = law + stats.binom(n, 1 - alpha).pmf(m) * stats.nbinom(m, 1 - beta).pmf(k - m)
    return law


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
def test_birth_death_law_and_extinction_in_time(engine: str) -> None:
    n, birth, death = 3, 0.6, 0.5
    length = 0.25 if engine == "leap" else 1.0

    def check(error: float) -> None:
        drawn = run(engine, Cells(0.0, 0.0, n), Rates(birth_r=birth, death_r=death * error), n=20_000, length=length)[2]
        for day in range(DAYS):
            law = kendall(n, birth, death, length * (day + 1))
            check_distribution(drawn[:, day], law, what=f"{engine}: cells at step {day}")
            check_share(drawn[:, day] == 0, law[0], what=f"{engine}: extinct by step {day}")

    check(1.0)
    must_fail(partial(check, 1.1))


@pytest.mark.law
def test_extinction_at_last() -> None:
    n, birth, death = 4, 1.0, 0.8
    drawn = run("leap", Cells(0.0, 0.0, n), Rates(birth_r=birth, death_r=death), n=4000, length=8.0)[2, :, -1]
    check_share(drawn == 0, kendall(n, birth, death, 32.0)[0])
    check_share(drawn == 0, (death / birth) ** n, alarm=1e-9)
    must_fail(lambda: check_share(drawn == 0, (0.95 * death / birth) ** n))


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
def test_yule(engine: str) -> None:
    drawn = run(engine, Cells(2.0, 0.0, 0.0), Rates(birth_s=0.5), n=20_000)[0, :, -1]
    law = kendall(2, 0.5, 0.0, 1.0)
    check_distribution(drawn, law, what="Yule")
    must_fail(lambda: check_distribution(drawn, kendall(2, 0.55, 0.0, 1.0)))


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("n", [12, 400])
def test_two_state_switching(engine: str, n: int) -> None:
    there, back = 0.8, 0.5
    persisters = run(engine, Cells(n, 0.0, 0.0), Rates(tolerance_base=there, reversion=back), n=20_000)[1]
    for step in range(DAYS):
        share = there / (there + back) * -np.expm1(-(there + back) * 0.25 * (step + 1))
        if engine == "tau":  # leaps in Poisson numbers: right in mean to 1 %, not in law
            check_mean(persisters[:, step], n * share, what="mean persisters", slack=0.01 * n * share)
        else:
            check_distribution(persisters[:, step], stats.binom(n, share).pmf(np.arange(n + 1)), what="persisters")
        must_fail(lambda: check_mean(persisters[:, step], n * 1.05 * share, slack=0.01 * n * share))  # noqa: B023


CHURN = Rates(
    birth_s=1.2, death_s=0.9, death_p=0.2, tolerance_base=1.0, reversion=1.0, birth_r=0.5, death_r=0.4, mutation=0.3,
    escape_base=0.2,
)  # fmt: skip


@pytest.mark.law
def test_small_populations_are_exact_in_the_hybrid() -> None:
    """Six cells that divide and switch twice in a step of two days: too much for the leap, not for the hybrid."""
    go = partial(run, cells=Cells(6.0, 0.0, 0.0), rates=CHURN, n=20_000, length=2.0)
    exact = go("ssa")[:, :, -1]

    def check(seen: np.ndarray) -> None:
        check_same(seen[0] == 0, exact[0] == 0, what="S gone")
        for name, one, other in zip("SPR", seen, exact, strict=True):
            check_same(one, other, what=f"mean {name}")
            check_same((one - one.mean()) ** 2, (other - other.mean()) ** 2, what=f"variance {name}")

    check(go("leap", exact_below=40.0, seed=1)[:, :, -1])
    must_fail(lambda: check(go("leap", seed=1)[:, :, -1]))


def test_what_would_never_end_is_refused() -> None:
    """The hybrid follows events one by one, and the leap takes as many steps as it is told to."""
    fast = SPR._replace(tolerance_base=1e6, reversion=1e6)
    grid, level = grid_and_level(2)
    with pytest.raises(UsageError, match="too many for the engine hybrid"):
        simulate(KEY, Cells(1000.0, 0.0, 0.0), fast, grid, level, trajectories=2, max_step=1.0, exact_below=1e4)
    with pytest.raises(UsageError, match="10000 leaps in a step"):
        simulate(KEY, Cells(1000.0, 0.0, 0.0), SPR, grid, level, trajectories=2, max_step=1e-7)
    with pytest.raises(UsageError, match="-3 trajectories"):
        simulate(KEY, Cells(1000.0, 0.0, 0.0), SPR, grid, level, trajectories=-3)


def test_large_populations_are_leapt_in_the_hybrid() -> None:
    big = Cells(5e5, 500.0, 20.0)
    for one, other in zip(
        run("leap", big, SPR, n=20_000, exact_below=1e4), run("leap", big, SPR, n=20_000), strict=True
    ):
        np.testing.assert_array_equal(one, other)


# ------------------------------------------------------------------ mutants


def luria_delbruck(total: float, mutation: float, grown: float, size: int) -> np.ndarray:
    """Mutants that grow as the parents do, parents deterministic: ``G(z) = exp(m (1/z - 1) log(1 - phi z))``."""
    m, phi = mutation * total, 1.0 - 1.0 / grown
    i = np.arange(1, size)
    each = m * phi**i * (1.0 / i - phi / (i + 1))
    law = np.zeros(size)
    law[0] = np.exp(-m * phi)
    for k in range(1, size):
        law[k] = (i[:k] * each[:k] * law[k - 1 :: -1][:k]).sum() / k
    return law


@pytest.mark.law
@pytest.mark.parametrize("engine", ["leap", "tau"])
def test_luria_delbruck(engine: str) -> None:
    start, birth, mutation = 1e7, 1.0, 5e-8
    rates = Rates(birth_s=birth / (1 - mutation), birth_r=birth, mutation=mutation)
    grown = np.exp(birth * 1.0)
    law = luria_delbruck(start * grown, mutation, grown, 60)
    assert law[0] == pytest.approx(np.exp(-mutation * start * (grown - 1)))
    drawn = run(engine, Cells(start, 0.0, 0.0), rates, n=20_000)[2, :, -1]
    check_share(drawn == 0, law[0], what="no mutant")
    if engine == "leap":  # tau lets the critical newcomers grow from the next leap on only
        check_distribution(drawn, law, what="Luria-Delbruck")
    must_fail(lambda: check_share(drawn == 0, luria_delbruck(start * grown, 1.1 * mutation, grown, 60)[0]))


# ------------------------------------------------------------------ exposure, crowding, secretome

LAGGED = Rates(
    birth_s=0.2, death_s=0.1, kill_s=0.8, birth_p=0.1, death_p=0.1, kill_p=0.1, tolerance_drug=0.5, reversion=0.6,
    reversion_block=0.9, birth_r=0.3, death_r=0.2, escape_drug=0.2, withdrawal_r=0.3, stimulation_r=0.2,
)  # fmt: skip


def along(onset: float) -> Exposure:
    """One dose of a day, then none, seen through a lag: start, target and time constant on four steps."""
    level, starts = 0.0, []
    targets, days = np.array([1.0, 1.0, 0.0, 0.0]), np.array([onset, onset, 0.3, 0.3])
    for target, tau in zip(targets, days, strict=True):
        starts.append(level)
        level = target + (level - target) * np.exp(-0.5 / tau)
    return Exposure(jnp.array(starts), jnp.array(targets), jnp.array(days))


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
def test_mean_under_an_exposure_that_lags(engine: str) -> None:
    level = along(0.7)
    start, target, days = (np.asarray(part) for part in level[:3])
    mean = np.array([*BEGIN, 1.0])
    for step in range(DAYS):

        def slope(t: float, y: np.ndarray, step: int = step) -> np.ndarray:
            E = target[step] + (start[step] - target[step]) * np.exp(-t / days[step])
            return linear(LAGGED, E)[0] @ y

        mean = integrate.solve_ivp(slope, (0, 0.5), mean, rtol=1e-9, atol=1e-6).y[:, -1]

    def check(lag: Exposure) -> None:
        seen = run(engine, BEGIN, LAGGED, n=4000, length=0.5, exposure=lag)[:, :, -1]
        for name, state, truth in zip("SPR", seen, mean[:3], strict=True):
            slack = {"ssa": 0.0, "tau": 0.003, "leap": 0.006}[engine] * truth
            check_mean(state, truth, what=f"{engine}: mean {name}", slack=slack)

    check(level)
    must_fail(lambda: check(along(0.7 * 1.2)))


SPR = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02,
    tolerance_base=1e-4, tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
    capacity=2000.0,
)  # fmt: skip


@pytest.fixture(scope="module")
def exact() -> Cells:
    return followed("ssa", SPR, seed=1)


def followed(engine: str, rates: Rates, seed: int) -> Cells:
    """The standard problem at 2,000 cells: a holiday of 20 days between two treatments."""
    grid = Grid(np.ones(60), np.array([1.0] * 20 + [0.0] * 20 + [1.0] * 20))
    level = Exposure(grid.dose, grid.dose, np.zeros(60))
    marks = np.isin(np.arange(60), [4, 19, 39, 59])
    start = Cells(1000.0, 20.0, 5.0)
    return simulate(jax.random.key(seed), start, rates, grid, level, engine=engine, trajectories=6000, record=marks)


@pytest.mark.law
@pytest.mark.parametrize("engine", ["leap", "tau"])
def test_crowded_cells_as_in_the_exact_engine(engine: str, exact: Cells) -> None:
    seen = followed(engine, SPR, seed=2)
    for name, state, truth in zip("SPR", seen, exact, strict=True):
        for at in range(4):
            a, b = np.asarray(state)[:, at], np.asarray(truth)[:, at]
            check_same(a, b, what=f"{engine}: mean {name} at record {at}", slack=2e-3 * b.mean())
            a, b = (a - a.mean()) ** 2, (b - b.mean()) ** 2
            check_same(a, b, what=f"{engine}: variance {name} at record {at}", slack=0.03 * b.mean())
    planted = np.asarray(followed(engine, SPR._replace(capacity=1800.0), seed=2).sensitive)[:, 2]
    must_fail(lambda: check_same(planted, np.asarray(exact.sensitive)[:, 2]))


@pytest.mark.law
def test_secretome_as_in_the_exact_engine() -> None:
    rates = Rates(
        birth_s=0.2, kill_s=0.8, birth_r=0.3, death_r=0.1, secretome_boost=1.0, secretome_half=300.0, seeding=20.0,
        secretome_protect=0.5, capacity=1e4,
    )  # fmt: skip
    one = run("ssa", Cells(1000.0, 0.0, 300.0), rates, n=4000)
    two = run("leap", Cells(1000.0, 0.0, 300.0), rates, n=4000, seed=1)
    for name, at in (("S", 0), ("R", 2)):
        check_same(two[at, :, -1], one[at, :, -1], what=f"mean {name}", slack=1e-3 * one[at, :, -1].mean())
    off = run("leap", Cells(1000.0, 0.0, 300.0), rates._replace(secretome_boost=0.8), n=4000, seed=1)
    must_fail(lambda: check_same(off[2, :, -1], one[2, :, -1], slack=1e-3 * one[2, :, -1].mean()))


# ------------------------------------------------------------------ doors, keys, hostile input

HOSTILE = {
    "no rates": (Cells(10.0, 5.0, 1.0), Rates()),
    "no cells": (Cells(0.0, 0.0, 0.0), NETWORK),
    "crowded out": (Cells(500.0, 50.0, 5.0), SPR._replace(capacity=10.0)),
    "no room at all": (Cells(50.0, 50.0, 5.0), SPR._replace(capacity=0.0)),
    "fast switching": (Cells(50.0, 50.0, 0.0), Rates(tolerance_base=200.0, reversion=300.0, death_s=0.1)),
    "fast death": (Cells(50.0, 50.0, 50.0), Rates(death_s=1e4, death_p=1e4, death_r=1e4)),
    "power of zero": (Cells(50.0, 5.0, 1.0), SPR._replace(tolerance_power=0.0, kill_half=1e-3)),
    "saturated": (Cells(50.0, 5.0, 1.0), SPR._replace(effect_half=1e-6)),
}


SURE = {"no rates": (10.0, 5.0, 1.0), "fast death": (0.0, 0.0, 0.0)}
"""What the cells must be at the end, where this is certain."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_parameters(engine: str, name: str) -> None:
    seen = run(engine, *HOSTILE[name], n=4000 if engine == "leap" else 50, exposure=along(0.7))
    assert np.all(np.isfinite(seen))
    assert np.all(seen >= 0)
    np.testing.assert_array_equal(seen, np.round(seen))
    if name in SURE:
        np.testing.assert_array_equal(seen[:, :, -1], np.reshape(SURE[name], (3, 1)) * np.ones((1, seen.shape[1])))
    if name == "fast switching":
        check_mean(seen[1, :, -1] / seen[:, :, -1].sum(axis=0), 0.4, what="persisters in balance", slack=4e-3)
    if name in ("crowded out", "no room at all"):
        assert np.all(np.diff(seen.sum(axis=0), axis=1) <= 0)


@pytest.mark.parametrize("engine", ["leap", "tau"])
def test_ten_trillion_cells(engine: str) -> None:
    start = Cells(1e13, 1e10, 1e4)
    seen = run(engine, start, SPR._replace(capacity=1e14), n=4000)
    assert np.all(np.isfinite(seen))
    mean = 1e13 * np.exp(-0.2)  # birth 0.1 (1 - N/K), death 0.27, tolerance 0.02: between -0.2 and -0.19
    assert 0.98 * mean < seen[0, :, -1].mean() < 1.02 * mean
    assert seen[0, :, -1].std() < 1e-5 * mean


def grid_and_level(steps: int) -> tuple[Grid, Exposure]:
    return Grid(np.full(steps, 0.5), np.ones(steps)), Exposure(np.ones(steps), np.ones(steps), np.zeros(steps))


def test_results_do_not_depend_on_how_the_work_is_cut(monkeypatch: pytest.MonkeyPatch) -> None:
    grid, level = grid_and_level(6)
    start = Cells(jnp.arange(50.0), 5.0, 5.0)
    go = partial(simulate, KEY, rates=SPR, grid=grid, exposure=level, engine="ssa")
    whole = go(start)
    front = go(Cells(start.sensitive[:20], 5.0, 5.0))
    back = go(Cells(start.sensitive[20:], 5.0, 5.0), first=20)
    monkeypatch.setattr(batches, "LEAST", 4)
    monkeypatch.setitem(batches.LANES, "ssa", 16)
    chunked = go(start)
    for every, a, b, c in zip(whole, front, back, chunked, strict=True):
        np.testing.assert_array_equal(every, np.concatenate([a, b]))
        np.testing.assert_array_equal(every, c)


def test_records_are_the_marked_steps_and_padding_does_nothing() -> None:
    grid, level = grid_and_level(6)
    marks = np.array([False, True, False, False, True, True])
    go = partial(simulate, KEY, Cells(900.0, 5.0, 5.0), SPR, grid, level, engine="ssa", trajectories=30)
    every, some = go(), go(record=marks)
    np.testing.assert_array_equal(some.sensitive, np.asarray(every.sensitive)[:, marks])
    for engine in ENGINES:
        np.testing.assert_array_equal(run(engine, Cells(900.0, 5.0, 5.0), SPR, n=4000, length=0.0)[0], 900.0)


def test_rates_and_exposure_may_differ_between_trajectories() -> None:
    grid, level = grid_and_level(4)
    many = jax.tree.map(lambda part: np.tile(part[:, None], (1, 3)), level)
    rates = SPR._replace(kill_s=np.array([0.0, 0.25, 5.0]))
    seen = simulate(KEY, Cells(1000.0, 0.0, 0.0), rates, grid, many, engine="ssa").sensitive
    assert seen.shape == (3, 4)
    assert seen[0, -1] > seen[1, -1] > seen[2, -1]


def test_the_doors_say_what_is_wrong() -> None:
    grid, level = grid_and_level(2)
    start = Cells(10.0, 0.0, 0.0)
    go = partial(simulate, KEY, grid=grid, exposure=level, trajectories=2)
    with pytest.raises(RatesError, match=r"birth_s is -0\.1"):
        go(start, Rates(birth_s=-0.1))
    with pytest.raises(RatesError, match="death_p is nan"):
        go(start, Rates(death_p=np.nan))
    with pytest.raises(RatesError, match=r"resistant is -1\.0"):
        go(Cells(1.0, 1.0, -1.0), SPR)
    with pytest.raises(RatesError, match="birth_s is inf"):
        go(start, Rates(birth_s=np.inf))
    with pytest.raises(UsageError, match="no trajectories"):
        simulate(KEY, start, SPR, grid, level, trajectories=0)
    with pytest.raises(UsageError, match="events are too many"):
        go(Cells(1e4, 0.0, 0.0), Rates(tolerance_base=1e6, reversion=1e6), engine="ssa")
    with pytest.raises(UsageError, match="no finite length"):
        simulate(KEY, start, SPR, Grid(np.array([1.0, np.nan]), np.ones(2)), level, trajectories=2)
    with pytest.raises(RatesError, match="reversion_block is 2"):
        go(start, Rates(reversion_block=2.0))
    with pytest.raises(UsageError, match="no engine named 'magic'"):
        go(start, SPR, engine="magic")
    with pytest.raises(UsageError, match="too many for the exact engine"):
        go(Cells(1e9, 0.0, 0.0), SPR, engine="ssa")
    with pytest.raises(UsageError, match="2 and 5"):
        go(Cells(np.ones(5), 0.0, 0.0), SPR)
    with jax.enable_x64(False), pytest.raises(PrecisionError, match="float32"):
        go(start, SPR)


def test_the_checks_can_see() -> None:
    draws = np.random.default_rng(0).normal(size=10_000)
    check_mean(draws, 0.0)
    check_variance(draws, 1.0)
    must_fail(lambda: check_mean(draws, 0.1))
    must_fail(lambda: check_variance(draws, 1.2))
    with pytest.raises(AssertionError, match="no power"):
        must_fail(lambda: check_mean(draws, 0.0))
    with pytest.raises(LawBrokenError, match=r"asked 0\.1, seen"):
        check_mean(draws, 0.1)
