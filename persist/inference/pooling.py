"""A cohort and its population, drawn together: Gibbs, with one Hamiltonian trajectory of every patient a round.

Each of `Pace.lanes` lanes is a state of the whole cohort. A round renews the population of every lane by exact conditional
draws (`inference.population`), moves it together with its patients (`inference.interweave`; not where the size of a clone is
sampled), then moves every patient by one trajectory in which each walker, one a lane, has its lane's population for a prior.
Patients depend on each other only through the population, so their programs are those of a fit alone, side by side on all
cores. First each patient is led to its posterior alone, and its metric and step size adapt there; a second warm-up goes with
the cohort.

What the patients' own data say nothing of, the cohort cannot tell either, and there draws would creep: parameters of whose
prior variance the patients' own posteriors take away less than `SHOWN` on average keep the pack's prior.

Lanes may leave patients out of their cohort (``counted``): then one run has the populations of all folds of a back-test.
Where biomarkers of the patients are known, each patient has a population of its own in every lane (`inference.regression`).
"""

from __future__ import annotations

import json
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist import keys
from persist.errors import DataError, FitError
from persist.inference import resume
from persist.inference.learned import ByBiomarkers, Plain
from persist.inference.mover import Mover, random_state, since_turn, turns

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.covariates import Covariates, Effects
    from persist.inference.population import Law
    from persist.inference.sampler import Kept
    from persist.inference.target import Member

SHOWN = 0.25
"""Share of its prior variance that patients' own data must take from a parameter, on average, for a population of it."""

LEARN = 0.5
"""How fast the sizes of the laws' moves learn in the first round of warm-up, and after each turn of their axes."""

SAVE = 20
"""Rounds after which it is kept where a run stands."""
COHORT = "cohort.npz"
"""The file that keeps it; those of patients have names of another kind."""


class Pace(NamedTuple):
    """How long to draw: lanes, and rounds of each patient alone, of warm-up together, and of draws; every ``thin``-th round
    keeps the patients' points.
    """

    lanes: int = 32
    alone: int = 40
    warmup: int = 100
    rounds: int = 400
    thin: int = 5


class Pooled(NamedTuple):
    """A cohort's draws: which of the n scores are ``pooled`` (n,) and how far the patients' data show them (``shown``, (n,));
    laws of the k pooled ones by round, each ``(rounds, lanes, ...)``; the probability of each patient to be among those apart,
    by lane ``(lanes, patients)``; of every patient the kept rounds; run time in seconds; effects of biomarkers, as the laws.
    """

    pooled: np.ndarray
    shown: np.ndarray
    laws: Law
    apart: np.ndarray
    patients: tuple[Kept, ...]
    seconds: float
    effects: Effects | None = None


def pool(
    seed: int,
    members: list[Member],
    pace: Pace,
    *,
    counted: np.ndarray | None = None,
    pooled: np.ndarray | None = None,
    covariates: Covariates | None = None,
    folder: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Pooled:
    """Draws of the cohort and its population.

    ``counted`` (lanes, patients): who belongs to the cohort of each lane (all, by default). ``pooled`` (n,): scores that have a
    population, whatever the data show (by default those that they show). ``covariates``: biomarkers of the patients, which the
    population then depends on. ``folder`` keeps where the run stands, from where the same run goes on and gives the same
    numbers. ``progress`` is told what is being done, and the share of it that is done.
    """
    who = np.ones((pace.lanes, len(members)), bool) if counted is None else counted
    run = _Run(seed, members, pace, who, pooled, covariates, folder)
    tell = progress or (lambda _what, _share: None)
    run.alone(tell)
    run.together(tell)
    return run.result()


class _Run:
    """A cohort on its way: its patients' walkers, its population so far, and where it is kept."""

    def __init__(
        self,
        seed: int,
        members: list[Member],
        pace: Pace,
        who: np.ndarray,
        chosen: np.ndarray | None,
        covariates: Covariates | None,
        folder: Path | None,
    ) -> None:
        self.movers = [Mover(seed, member, pace.lanes) for member in members]
        self.pace, self.who, self.chosen, self.covariates, self.folder = pace, who, chosen, covariates, folder
        self.rng = np.random.default_rng(keys.seed_of(seed, "population"))
        own = () if chosen is None else (chosen.tolist(),)
        own += () if covariates is None else tuple(part.tolist() for part in covariates)
        self.mark = resume.fingerprint(members, "pool", seed, pace, who.tolist(), *own)
        self.number, self.seconds = -pace.warmup, 0.0
        self.shown, self.apart = np.zeros(0), np.zeros(who.shape)
        self.population = Plain(self.rng, who, np.zeros(0, bool))

    def alone(self, tell: Callable[[str, float], None]) -> None:
        """Every patient to its own posterior, or to where an earlier run left off."""
        began = time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            shown = []
            for one in threads.map(self._begin, self.movers):
                shown.append(one)
                tell("alone", len(shown) / len(self.movers))
        self.shown = np.mean(shown, axis=0)
        if not self.pooled.any():
            what = "the patients' own data show no parameter well enough to learn how it is spread"
            raise DataError(what, where="--pool", remedy="give more values or patients, or fit them without --pool")
        if self.covariates is None:
            self.population = Plain(self.rng, self.who, self.pooled)
        else:
            self.population = ByBiomarkers(self.rng, self.who, self.pooled, self.covariates)
        self.seconds += time.perf_counter() - began

    @property
    def pooled(self) -> np.ndarray:
        """Which scores there is a population of, ``(n,)``."""
        return np.asarray(self.shown >= SHOWN if self.chosen is None else self.chosen, bool)

    def _begin(self, mover: Mover) -> np.ndarray:
        """A patient alone; how far its data show each score, ``(n,)``."""
        path = None if self.folder is None else resume.named(self.folder, mover.name)
        kept = None if path is None else resume.read(path, self.mark)
        if kept is not None:
            mover.restore(kept)
            return kept["shown"]
        try:
            shown = mover.begin(self.pace.alone)
        except FitError as error:
            raise FitError(error.what, where=f"patient {mover.name}: {error.where}", remedy=error.remedy) from None
        if path is not None:
            resume.write(path, self.mark, mover.state() | {"shown": shown})
        return shown

    def together(self, tell: Callable[[str, float], None]) -> None:
        """All rounds, from the last one that was kept."""
        self._resume()
        total, began = self.pace.warmup + self.pace.rounds, time.perf_counter()
        with ThreadPoolExecutor(os.cpu_count()) as threads:
            while self.number < self.pace.rounds:
                self._round(threads)
                now = time.perf_counter()
                self.seconds, began = self.seconds + now - began, now
                if self.number % SAVE == 0:
                    self._save()
                tell("together", (self.number + self.pace.warmup) / total)

    def _round(self, threads: ThreadPoolExecutor) -> None:
        """The population anew, then every patient."""
        every = np.stack([mover.scores for mover in self.movers], axis=1)
        z, number, pace = every[..., self.pooled], self.number, self.pace
        self.population.renew(z)
        if not any(mover.chance for mover in self.movers):
            z = self._take_along(threads, every, z)
        if -number in turns(pace.warmup):
            self.population.turn()
        self.apart += self.population.likely(z) if number >= 0 else 0.0
        own = self.population.priors()
        list(threads.map(lambda mover, law: mover.go(law, number, pace.warmup, pace.thin), self.movers, own))
        if number >= 0:
            self.population.keep()
        self.number += 1

    def _take_along(self, threads: ThreadPoolExecutor, every: np.ndarray, z: np.ndarray) -> np.ndarray:
        """The population moved together with its patients (`inference.interweave`); where the pooled scores are then."""

        def among(z: np.ndarray) -> np.ndarray:
            found = every.copy()
            found[..., self.pooled] = z
            return found

        def weigh(z: np.ndarray) -> np.ndarray:
            at = np.moveaxis(among(z), 1, 0)
            return np.stack(list(threads.map(lambda mover, mine: mover.weigh(mine), self.movers, at)), axis=1)

        learn = LEARN / (1.0 + 0.1 * since_turn(self.number, self.pace.warmup)) if self.number < 0 else 0.0
        z = self.population.take_along(z, weigh, learn)
        list(threads.map(lambda mover, mine: mover.take_along(mine), self.movers, np.moveaxis(among(z), 1, 0)))
        return z

    def result(self) -> Pooled:
        """What was drawn."""
        laws, effects = self.population.drawn(), self.population.effects_drawn()
        apart, own = self.apart / max(1, len(laws.share)), tuple(mover.kept() for mover in self.movers)
        return Pooled(self.pooled, self.shown, laws, apart, own, self.seconds, effects)

    def _save(self) -> None:
        """All of it in one file, so that no part is newer than another."""
        if self.folder is None:
            return
        columns: dict[str, Any] = {"number": self.number, "seconds": self.seconds, "random": random_state(self.rng)}
        columns |= {"apart": self.apart} | {
            f"population.{name}": part for name, part in self.population.state().items()
        }
        for place, mover in enumerate(self.movers):
            columns |= {f"{place}.{name}": value for name, value in mover.state().items()}
        resume.write(self.folder / COHORT, self.mark, columns)

    def _resume(self) -> None:
        """Where an earlier run of the same left off, if one did."""
        kept = None if self.folder is None else resume.read(self.folder / COHORT, self.mark)
        if kept is None:
            return
        self.number, self.seconds = int(kept["number"]), float(kept["seconds"])
        self.rng.bit_generator.state = json.loads(str(kept["random"]))
        self.apart = kept["apart"]
        self.population.restore(resume.under(kept, "population."))
        for place, mover in enumerate(self.movers):
            mover.restore(resume.under(kept, f"{place}."))
