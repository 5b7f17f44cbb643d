"""A cohort and its population in stages: draws of each patient by itself, then the law that they share, and over again.

Patients are drawn from under one prior q, at first the pack's. Their draws tell the likelihood of any law that reaches no
farther than q (`inference.weights`), and the law is drawn by Gibbs (Lunn et al. 2013, 10.1111/rssc.12007): each patient takes
one of its draws in proportion to p(z | law) / q(z), then the law is renewed by exact conditional draws (`inference.learned`).
Where laws have gone far from q, few draws count. So patients are drawn from again, with a mixture of the laws that were found
for q, `STAGES` times in all. ``effective`` tells how many draws of a patient a law finds in the end, on average: the log
likelihood of a law errs by about the root of the sum of their inverses.

Lanes may leave patients out of their cohort (``counted``): then one run has the populations of all folds of a back-test.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist import keys
from persist.inference import resume
from persist.inference.learned import Plain
from persist.inference.population import Law, Population, populated
from persist.inference.sample import Sample, Stage, drawn
from persist.inference.sampler import Kept
from persist.inference.weights import features, log_ratio

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persist.inference.target import Member

STAGES = 4
"""Times that every patient is drawn from, each but the first under what the one before has found."""

PARTS, PLAIN = 16, 0.1
"""Laws in the prior of a stage, and the share of the pack's own prior in it, which bounds the weights."""

NOTHING = -1e30
"""Log weight of a part that is not there."""


class Pace(NamedTuple):
    """How long to draw: ``lanes`` of the law, rounds of each patient's walkers in a ``stage``, and rounds of the law: of
    ``warmup`` and of draws, every ``thin``-th of which is kept. Between stages the law has a ``share`` of those.
    """

    lanes: int = 16
    stage: int = 40
    warmup: int = 400
    rounds: int = 3200
    thin: int = 40
    share: float = 0.125


class Staged(NamedTuple):
    """A cohort's draws: laws of the k pooled scores ``(kept, lanes, ...)``, of each patient the probability to be among those
    apart ``(lanes, patients)``, its draws ``(kept, lanes, ...)`` and how many are ``effective`` ``(patients,)``; run time in
    seconds.
    """

    laws: Law
    apart: np.ndarray
    patients: tuple[Kept, ...]
    effective: np.ndarray
    seconds: float


class Gibbs(NamedTuple):
    """What rounds of the law came to: the population with its draws, the probability of each patient to be among those apart,
    which of its draws it took ``(kept, lanes, patients)``, and how many were effective.
    """

    population: Plain
    apart: np.ndarray
    taken: np.ndarray
    effective: np.ndarray


def staged(
    seed: int,
    members: list[Member],
    pace: Pace,
    pooled: np.ndarray,
    *,
    counted: np.ndarray | None = None,
    folder: Path | None = None,
    progress: Callable[[str, float], None] | None = None,
) -> Staged:
    """Draws of the cohort and of the law of its ``pooled`` scores (n,).

    ``counted`` (lanes, patients): who belongs to the cohort of each lane (all, by default). ``folder`` keeps the draws of
    patients, from which the same run goes on and gives the same numbers. ``progress`` is told what is being done, and the share
    of it that is done.
    """
    began, tell = time.perf_counter(), progress or (lambda _what, _share: None)
    who = np.ones((pace.lanes, len(members)), bool) if counted is None else counted
    mark = resume.fingerprint(members, "stages", seed, pace, who.tolist(), pooled.tolist())
    brief = pace._replace(rounds=max(pace.thin, round(pace.share * pace.rounds)))
    prior, samples, found = mixture(None, pooled), list[Sample](), None
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for number in range(STAGES):
            stage = Stage(seed, number, prior, np.flatnonzero(pooled), pace.stage)
            samples = _every(threads, stage, members, samples, (folder, mark), tell)
            rng = np.random.default_rng(keys.seed_of(seed, "population", str(number)))
            found = gibbs(rng, Plain(rng, who, pooled), samples, pace if number == STAGES - 1 else brief, threads, tell)
            prior = mixture(found.population.drawn(), pooled)
    assert found is not None
    rows = tuple(Kept(*(part[found.taken[:, :, at]] for part in one.kept)) for at, one in enumerate(samples))
    return Staged(found.population.drawn(), found.apart, rows, found.effective, time.perf_counter() - began)


def mixture(laws: Law | None, pooled: np.ndarray) -> Population:
    """`PARTS` of many laws ``(kept, lanes, ...)``, evenly taken, with the pack's own prior: the prior of a stage. It has the
    same number of parts without laws, so that programs need not be compiled anew.
    """
    size, parts = len(pooled), 2 * PARTS + 1
    mean, whiten = np.zeros((parts, size)), np.tile(np.eye(size), (parts, 1, 1))
    log_weight = np.append(np.full(parts - 1, NOTHING), 0.0)
    if laws is not None:
        flat = Law(*(part.reshape(-1, *part.shape[2:]) for part in laws))
        take = np.linspace(0, len(flat.share) - 1, PARTS).round().astype(int)
        each = populated(Law(*(part[take] for part in flat)), pooled)
        mean[:-1], whiten[:-1] = each.mean.reshape(-1, size), each.whiten.reshape(-1, size, size)
        log_weight[:-1] = np.maximum(each.log_weight.ravel(), NOTHING) + np.log((1.0 - PLAIN) / PARTS)
        log_weight[-1] = np.log(PLAIN)
    return Population(mean, whiten, log_weight)


def _every(
    threads: ThreadPoolExecutor,
    stage: Stage,
    members: list[Member],
    before: list[Sample],
    place: tuple[Path | None, str],
    tell: Callable[[str, float], None],
) -> list[Sample]:
    """Draws of all patients under the stage's prior, or those that an earlier run left of it."""

    def work(at: int) -> Sample:
        folder, mark = place
        path = None if folder is None else resume.named(folder, f"{members[at].patient_id}, stage {stage.number}")
        left = None if path is None else resume.read(path, mark)
        if left is not None:
            return Sample(Kept(**resume.under(left, "kept.")), left["scores"], left["under"])
        found = drawn(stage, members[at], before[at] if before else None)
        if path is not None:
            columns = {f"kept.{name}": part for name, part in found.kept._asdict().items()}
            resume.write(path, mark, columns | {"scores": found.scores, "under": found.under})
        return found

    found = []
    for one in threads.map(work, range(len(members))):
        found.append(one)
        tell("alone" if stage.number == 0 else "together", len(found) / len(members))
    return found


def gibbs(
    rng: np.random.Generator,
    population: Plain,
    samples: list[Sample],
    pace: Pace,
    threads: ThreadPoolExecutor,
    tell: Callable[[str, float], None],
) -> Gibbs:
    """Rounds of the law, given the draws of all patients: each takes one of its own, then the law is renewed."""
    at = np.flatnonzero(population.pooled)
    z = [one.scores[:, at] for one in samples]
    rows = [features(own) for own in z]
    taken = np.stack([rng.integers(0, len(own), pace.lanes) for own in z], axis=1)
    apart, effective, kept = np.zeros(population.who.shape), np.zeros(len(z)), list[np.ndarray]()
    for number in range(-pace.warmup, pace.rounds):
        population.renew(_at(z, taken))
        choose = (rows, population.priors(), (one.under for one in samples), rng.uniform(size=(len(z), pace.lanes)))
        found = list(threads.map(lambda own, law, under, u: _choose(log_ratio(own, law, at), under, u), *choose))
        taken = np.stack([one for one, _ in found], axis=1)
        if number >= 0 and (number + 1) % pace.thin == 0:
            apart += population.likely(_at(z, taken))
            effective += [many for _, many in found]
            population.keep()
            kept.append(taken)
            tell("together", (number + 1) / pace.rounds)
    return Gibbs(population, apart / len(kept), np.stack(kept), effective / len(kept))


def _at(z: list[np.ndarray], taken: np.ndarray) -> np.ndarray:
    """Scores ``(lanes, patients, k)`` of the draws taken ``(lanes, patients)``."""
    return np.stack([own[taken[:, at]] for at, own in enumerate(z)], axis=1)


def _choose(log_law: np.ndarray, under: np.ndarray, u: np.ndarray) -> tuple[np.ndarray, float]:
    """Which draw each lane takes, by its weights ``(K, lanes)`` and uniform numbers ``(lanes,)``; how many draws these count
    for, on average over lanes.
    """
    log_weight = log_law - under[:, None]
    weight = np.exp(log_weight - log_weight.max(axis=0))
    total = np.cumsum(weight, axis=0)
    place = np.minimum((total < u * total[-1]).sum(axis=0), len(weight) - 1)
    return place, float(np.mean(total[-1] ** 2 / (weight**2).sum(axis=0)))
