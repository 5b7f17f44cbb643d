"""Posterior draws of one patient: walkers led to the posterior, warmed up together, drawn from, draws named.

Walkers share one metric, the covariance of the later half of all their points so far, and one step size; both are fixed before
the draws. Where the draws do not pass (R-hat over chains, effective size), as many trajectories are added as there were, and
every second point is kept, a few times. Where many trajectories were refused besides, walkers have come to narrower places than
the warm-up saw: then they are warmed up again from where they are, this time at the pace of the slowest too, and what was drawn
before is dropped. The programs depend only on the padded sizes, so all patients of a size share them, and a patient's numbers
do not depend on who else is fitted.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from numpyro.diagnostics import effective_sample_size, split_gelman_rubin

from persist.inference.across import across
from persist.inference.fate import SIZE, died_out
from persist.inference.target import flat_potential, named, ready, reference
from persist.inference.tempering import adapted, temper
from persist.inference.walkers import WALKERS, Crowd, Stride, Walkers, root_of_metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.target import Target
    from persist.inference.tempering import Tempered

ACCEPT = 0.85
"""Acceptance that the common step size aims at."""

TIME = 3.0
"""Longest trajectory in whitened space, half a turn of a normal law; the shortest is a third of it. Longer ones end farther
from their start: an effective draw takes about half the steps that it took with two thirds of this time."""

HASTE = 0.5
"""Share of that time in the first half of the warm-up, which need not come so far."""

FIRST, LEAST = 0.5, 0.05
"""How fast the step size learns in the first round of warm-up, and later at least."""

CAUTION = 0.9
"""Share of the adapted step size with which draws are made."""

REFUSED = 0.15
"""Share of refused trajectories over which draws that do not pass are made anew, after another warm-up."""

THIN = 2
"""Trajectories for each kept point."""

PASSED, ENOUGH = 1.009, 500.0
"""R-hat and effective size with which sampling ends before it has been doubled as often as it may."""

TEMPERING = 0.25
"""Share of the progress that tempering counts for."""


class Effort(NamedTuple):
    """How long to sample: chains, and of each the warm-up and the kept draws, in points of all its walkers together; and how
    often sampling may be doubled where the draws do not pass.
    """

    chains: int
    warmup: int
    draws: int
    doublings: int = 4

    @property
    def rounds(self) -> tuple[int, int]:
        """Rounds of warm-up and of kept draws, one point of every walker each; rounded up."""
        return max(1, -(-self.warmup // WALKERS)), max(1, -(-self.draws // WALKERS))


class Report(NamedTuple):
    """Where a run is: ``done`` of ``total`` rounds of this patient."""

    done: int
    total: int


class Draws(NamedTuple):
    """Posterior draws ``(chains, draws)`` by name, walker after walker, what the sampler reported of them, the log evidence by
    chain ``(chains,)``, and the run time in seconds, without compiling.
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    log_evidence: np.ndarray
    seconds: float


class Kept(NamedTuple):
    """Points ``(rounds, lanes, n)``, and of each, ``(rounds, lanes)``, its energy U and what the trajectories on the way there
    did: Hamiltonian, mean acceptance, whether a small step diverged, the share that diverged, leapfrog steps, common step size.
    """

    point: np.ndarray
    energy: np.ndarray
    hamiltonian: np.ndarray
    accept: np.ndarray
    diverging: np.ndarray
    lost: np.ndarray
    leaps: np.ndarray
    step: np.ndarray


def total_rounds(effort: Effort) -> int:
    """Rounds that a run reports on, tempering among them, as far as they are known beforehand."""
    warm, kept = effort.rounds
    return round((warm + THIN * kept) / (1.0 - TEMPERING))


def draw(
    key: Array, target: Target, effort: Effort, case: Case, progress: Callable[[Report], None] | None = None
) -> Draws:
    """Posterior draws of one patient; ``warmup`` and ``draws`` are rounded up to whole rounds of all `WALKERS`."""
    search, pick = jax.random.split(key)
    seed = int(np.asarray(jax.random.bits(search, dtype=np.uint32)))
    case, lanes = ready(case), effort.chains * WALKERS
    walkers = Walkers(seed, flat_potential(target), case, reference(target, case), lanes, across(target))
    total = total_rounds(effort)

    def tell(done: float) -> None:
        if progress is not None:
            progress(Report(min(round(done), total), total))

    began = time.perf_counter()
    start = temper(walkers, lambda beta: tell(TEMPERING * total * beta**0.3))
    return drawn_from(pick, target, walkers, start, effort, began, lambda n: tell(TEMPERING * total + n))


def drawn_from(
    key: Array,
    target: Target,
    walkers: Walkers,
    start: Tempered,
    effort: Effort,
    began: float,
    tell: Callable[[int], None] = lambda _: None,
) -> Draws:
    """Draws of walkers that stand at the posterior; ``began`` is when the run of this patient did (`time.perf_counter`)."""
    crowd, stride, _ = warm(walkers, start.crowd, start.stride, effort, tell)
    kept = _enough(walkers, crowd, stride, effort, lambda n: tell(effort.rounds[0] + n))
    return told(key, target, walkers.case, kept, start.log_evidence, time.perf_counter() - began)


def told(key: Array, target: Target, case: Case, kept: Kept, log_evidence: np.ndarray, seconds: float) -> Draws:
    """What was kept as draws, one chain for each of ``log_evidence``."""
    chains = len(log_evidence)
    values = _named(key, target, case, _by_chain(kept.point, chains))
    return Draws(values, _stats(kept, chains), log_evidence, seconds)


def warm(
    walkers: Walkers,
    crowd: Crowd,
    stride: Stride,
    effort: Effort,
    tell: Callable[[int], None],
    *,
    slowest: bool = False,
) -> tuple[Crowd, Stride, list[np.ndarray]]:
    """Adapt metric and step size: the metric at rounds 4, 8, 16 and so on and twice in the second half, the step size
    throughout; what is left is its geometric mean over the last quarter, a little shortened. ``slowest``: see `adapted`.

    Returned with them: the points of all rounds, each ``(lanes, n)``.
    """
    past: list[np.ndarray] = []
    steps: list[float] = []
    rounds = effort.rounds[0]
    renewed = {4 * 2**power for power in range(20)} | {rounds // 2, 3 * rounds // 4}
    for number in range(1, rounds + 1):
        stride = stride._replace(time=TIME * (HASTE if 2 * number <= rounds else 1.0))
        crowd, moved = walkers.move(crowd, stride)
        past.append(crowd.point)
        stride = adapted(stride, moved, ACCEPT, max(LEAST, FIRST / (1.0 + 0.2 * number)), slowest=slowest)
        steps.append(np.log(stride.step))
        if number in renewed and number < rounds:
            stride = stride._replace(root=root_of_metric(np.stack(past[len(past) // 2 :])))
        tell(number)
    last = steps[-max(1, rounds // 4) :]
    return crowd, stride._replace(step=CAUTION * float(np.exp(np.mean(last)))), past


def _enough(walkers: Walkers, crowd: Crowd, stride: Stride, effort: Effort, tell: Callable[[int], None]) -> Kept:
    """Points until they pass, or have been doubled as often as they may."""
    wanted, thin = effort.rounds[1], THIN
    parts: list[Kept] = []
    for doubled in range(effort.doublings + 1):
        for _ in range(wanted - sum(len(part.point) for part in parts)):
            crowd, part = one_round(walkers, crowd, stride, thin)
            parts.append(part)
            tell(THIN * sum(len(one.point) for one in parts))
        kept = Kept(*(np.concatenate(rows) for rows in zip(*parts, strict=True)))
        if doubled == effort.doublings or _passed(kept.point, effort.chains):
            break
        if np.mean(kept.accept) < 1.0 - REFUSED:
            crowd, stride, _ = warm(walkers, crowd, stride, effort, lambda _: None, slowest=True)
            parts = []
        else:
            diverging = kept.diverging[1::2] | kept.diverging[: 2 * (len(kept.diverging) // 2) : 2]
            parts = [Kept(*(row[1::2] for row in kept))._replace(diverging=diverging)]
        thin *= 2
    return kept


def one_round(walkers: Walkers, crowd: Crowd, stride: Stride, thin: int) -> tuple[Crowd, Kept]:
    """One kept point of every walker, and what the trajectories on the way there did."""
    leaps = walkers.leaps
    accept, lost, diverging = np.zeros(walkers.lanes), np.zeros(walkers.lanes), np.zeros(walkers.lanes, bool)
    for _ in range(thin):
        crowd, moved = walkers.move(crowd, stride)
        accept = accept + moved.accept / thin
        diverging = diverging | (moved.diverging & ~moved.common)
        lost = lost + moved.diverging / thin
    spent, step = np.full(walkers.lanes, walkers.leaps - leaps), np.full(walkers.lanes, stride.step)
    return crowd, Kept(
        *(
            np.asarray(part)[None]
            for part in (crowd.point, crowd.energy, moved.hamiltonian, accept, diverging, lost, spent, step)
        )
    )


def _by_chain(rows: np.ndarray, chains: int) -> np.ndarray:
    """``(rounds, lanes, ...)`` as ``(chains, draws, ...)``, walker after walker."""
    own = rows.reshape(len(rows), chains, -1, *rows.shape[2:])
    return np.moveaxis(own, 0, 2).reshape(chains, -1, *rows.shape[2:])


def _by_round(rows: np.ndarray, chains: int) -> np.ndarray:
    """``(rounds, lanes, ...)`` as ``(chains, draws, ...)``, round after round: its halves are early and late."""
    own = rows.reshape(len(rows), chains, -1, *rows.shape[2:])
    return np.moveaxis(own, 0, 1).reshape(chains, -1, *rows.shape[2:])


def _passed(points: np.ndarray, chains: int) -> bool:
    """True if chains agree in every coordinate and walkers give enough effective points."""
    worst = float(max(np.max(split_gelman_rubin(order(points, chains))) for order in (_by_chain, _by_round)))
    least = float(np.min(effective_sample_size(np.moveaxis(points, 0, 1)))) if len(points) > 3 else np.inf
    return worst <= PASSED and least >= ENOUGH


def worst_rhat(drawn: Draws) -> float:
    """The largest split R-hat over all that moved."""
    return max(float(split_gelman_rubin(value)) for value in drawn.values.values() if np.ptp(value) > 0)


def _stats(kept: Kept, chains: int) -> dict[str, np.ndarray]:
    """Sampler statistics under ArviZ's names, each ``(chains, draws)``; ``walker`` is the number of the walker in its chain.

    A common step that diverges is lost, and smaller ones are there for such places: ``lost`` is the share of those, while
    ``diverging`` marks that even a small step failed.
    """
    columns = {
        "lp": -kept.energy,
        "energy": kept.hamiltonian,
        "n_steps": kept.leaps,
        "acceptance_rate": kept.accept,
        "diverging": kept.diverging,
        "lost": kept.lost,
        "step_size": kept.step,
        "walker": np.broadcast_to(np.tile(np.arange(kept.energy.shape[1] // chains), chains), kept.energy.shape),
    }
    return {name: _by_chain(np.asarray(rows), chains) for name, rows in columns.items()}


def _named(key: Array, target: Target, case: Case, points: np.ndarray) -> dict[str, np.ndarray]:
    """Parameters by name ``(chains, draws)``; a clone that died out has size 0."""
    values = {name: np.asarray(value) for name, value in named(target)(case, jnp.asarray(points)).items()}
    if SIZE in values:
        gone = np.asarray(_died_out(values, case, target.power))
        values[SIZE] = np.where(np.asarray(jax.random.uniform(key, gone.shape)) < gone, 0.0, values[SIZE])
    return values


@jax.jit
def _died_out(values: dict[str, Array], case: Case, power: float) -> Array:
    """Probability that its clone died out, of every draw ``(chains, draws)``; chain after chain."""
    found: Array = jax.lax.map(jax.vmap(lambda row: died_out(row, case, power)), values)
    return found
