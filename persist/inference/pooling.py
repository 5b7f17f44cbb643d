"""A cohort and its population, drawn together: Gibbs, with one Hamiltonian trajectory of every patient a round.

Each of `Pace.lanes` lanes is a state of the whole cohort. A round renews the population of every lane by exact conditional
draws (`inference.population`), then moves every patient by one trajectory in which each walker, one a lane, has its lane's
population for a prior. Patients depend on each other only through the population, so their programs are those of a fit alone,
side by side on all cores. First each patient is led to its posterior alone, and its metric and step size adapt there; a
second warm-up goes with the cohort.

What the patients' own data say nothing of, the cohort cannot tell either, and there draws would creep: parameters of whose
prior variance the patients' own posteriors take away less than `SHOWN` on average keep the pack's prior.

Lanes may leave patients out of their cohort (``counted``): then one run has the populations of all folds of a back-test.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.inference import population
from persist.inference.population import Law, Population, populated
from persist.inference.sampler import ACCEPT, CAUTION, FIRST, LEAST, Effort, Kept, one_round, warm
from persist.inference.target import Member, flat_potential, reference, scored
from persist.inference.tempering import adapted, temper
from persist.inference.walkers import WALKERS, Walkers, root_of_metric

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.walkers import Moved

SHOWN = 0.25
"""Share of its prior variance that patients' own data must take from a parameter, on average, for a population of it."""


class Pace(NamedTuple):
    """How long to draw: lanes, and rounds of each patient alone, of warm-up together, and of draws; every ``thin``-th round
    keeps the patients' points.
    """

    lanes: int = 32
    alone: int = 40
    warmup: int = 100
    rounds: int = 400
    thin: int = 4


class Pooled(NamedTuple):
    """A cohort's draws: which of the n scores are ``pooled`` (n,) and how far the patients' data show them (``shown``, (n,));
    laws of the k pooled ones by round, each ``(rounds, lanes, ...)``; of every patient the kept rounds; run time in seconds.
    """

    pooled: np.ndarray
    shown: np.ndarray
    laws: Law
    patients: tuple[Kept, ...]
    seconds: float


def pool(
    seed: int,
    members: list[Member],
    pace: Pace,
    *,
    counted: np.ndarray | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Pooled:
    """Draws of the cohort and its population.

    ``counted`` (lanes, patients): who belongs to the cohort of each lane (all, by default). ``progress`` is told what is being
    done, and the share of it that is done.
    """
    tell = progress or (lambda _what, _share: None)
    began = time.perf_counter()
    movers = [_Mover(seed, member, pace.lanes) for member in members]
    alone = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for z in threads.map(lambda mover: mover.begin(pace.alone), movers):
            alone.append(z)
            tell("alone", len(alone) / len(movers))
    shown = np.mean([1.0 - np.minimum(z.var(axis=(0, 1)), 1.0) for z in alone], axis=0)
    pooled = shown >= SHOWN
    rng = np.random.default_rng(_bits(seed, "population"))
    who = np.ones((pace.lanes, len(members)), bool) if counted is None else counted
    law = population.start(pace.lanes, int(pooled.sum()))
    kept: list[Law] = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number in range(-pace.warmup, pace.rounds):
            z = np.stack([mover.scores for mover in movers], axis=1)[..., pooled]
            law = population.renew(rng, z, law, who)
            laws = populated(law, pooled)
            list(threads.map(lambda mover, at=number, own=laws: mover.go(own, at, pace), movers))
            if number >= 0:
                kept.append(law)
            tell("together", (number + pace.warmup + 1) / (pace.warmup + pace.rounds))
    laws_kept = Law(*(np.stack(part) for part in zip(*kept, strict=True)))
    return Pooled(pooled, shown, laws_kept, tuple(mover.kept() for mover in movers), time.perf_counter() - began)


class _Mover:
    """The walkers of one patient, one a lane."""

    def __init__(self, seed: int, member: Member, lanes: int) -> None:
        target, case = member.target, member.case
        self.case, self.scored = case, scored(target)
        size = int(self.scored(case, jnp.zeros((lanes, len(reference(target, case).location)))).shape[1])
        nothing = Population(np.zeros((lanes, 1, size)), np.tile(np.eye(size), (lanes, 1, 1, 1)))
        own = _bits(seed, member.patient_id, "pool")
        self.walkers = Walkers(own, flat_potential(target), case, reference(target, case), lanes, (nothing,))
        self.past: list[np.ndarray] = []
        self.since: list[Kept] = []
        self.rows: list[Kept] = []

    def begin(self, rounds: int) -> np.ndarray:
        """Lead the walkers to the patient's own posterior, under the pack's prior; scores of the later half of the
        ``rounds``, ``(rounds, lanes, n)``.
        """
        began = temper(self.walkers)
        effort = Effort(self.walkers.lanes // WALKERS, rounds * WALKERS, 0)
        self.crowd, self.stride, past = warm(self.walkers, began.crowd, began.stride, effort, lambda _: None)
        return np.stack([self.scores_at(point) for point in past[len(past) // 2 :]])

    def scores_at(self, point: np.ndarray) -> np.ndarray:
        """Scores ``(lanes, n)`` of points ``(lanes, ...)``."""
        return np.asarray(self.scored(self.case, jnp.asarray(point)))

    @property
    def scores(self) -> np.ndarray:
        """Where the walkers are, as scores ``(lanes, n)``."""
        return self.scores_at(self.crowd.point)

    def go(self, laws: Population, number: int, pace: Pace) -> None:
        """One trajectory under populations of the lanes; before round 0 the stride adapts, later it is fixed."""
        self.walkers.own = (laws,)
        if number < 0:
            self.crowd, moved = self.walkers.move(self.crowd, self.stride)
            self._adapt(moved, number, pace.warmup)
            return
        self.crowd, row = one_round(self.walkers, self.crowd, self.stride, 1)
        self.since.append(row)
        if len(self.since) == pace.thin:
            self.rows.append(_last_of(self.since))
            self.since = []

    def kept(self) -> Kept:
        """All rounds that were kept."""
        return Kept(*(np.concatenate(part) for part in zip(*self.rows, strict=True)))

    def _adapt(self, moved: Moved, number: int, warmup: int) -> None:
        """The step size all along, the metric after a half and after three quarters of the warm-up."""
        self.past.append(self.crowd.point)
        self.stride = adapted(self.stride, moved, ACCEPT, max(LEAST, FIRST / (1.0 + 0.2 * (warmup + number))))
        if number in (-(warmup // 2), -(warmup // 4)):
            self.stride = self.stride._replace(root=root_of_metric(np.stack(self.past[len(self.past) // 2 :])))
        if number == -1:
            self.stride = self.stride._replace(step=CAUTION * self.stride.step)
            self.past = []


def _last_of(rows: list[Kept]) -> Kept:
    """The last of some rounds, with what the trajectories of all of them did."""
    every = Kept(*(np.stack(part) for part in zip(*rows, strict=True)))
    mean = {name: getattr(every, name).mean(axis=0) for name in ("accept", "lost")}
    return rows[-1]._replace(diverging=every.diverging.any(axis=0), leaps=every.leaps.sum(axis=0), **mean)


def _bits(seed: int, *names: str) -> int:
    """A seed of NumPy's for a named thing."""
    return int(np.asarray(jax.random.bits(keys.key(seed, *names), dtype=np.uint32)))
