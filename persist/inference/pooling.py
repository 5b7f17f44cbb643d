"""A cohort and its population, in stages: draws of each patient by itself, then the law that they share, and over again.

Patients are drawn from under one prior, at first the pack's, with a clone and without (`inference.sample`), and the law by
Gibbs, given their draws (`inference.gibbs`), after they have joined it one by one (`inference.joining`). Then patients are
drawn from again, with a mixture of the laws that were found for their prior (`inference.stages`), `STAGES` times in all, the
last time longest. Patients hang on each other only through the law, so they
are drawn from side by side on all cores, and rounds of the law, which look at no likelihood, can be as many as it needs.

Before, patients and law were drawn in one run: a trajectory of each patient to a round of the law, which moved along with its
patients. With 54 patients the laws of the lanes had not come together after 200 rounds: R-hat of their means and spreads was
1.1 to 2.5, and they drifted on. In stages it was 0.99 to 1.21 at the first try (docs/results.md).

``effective`` tells how many of the draws that it may take of a patient count for a law: a log likelihood errs by about the root
of the sum of their inverses. Half of the lanes have the draws of half of the walkers, so that R-hat sees this error too.

What the patients' own data say nothing of, the cohort cannot tell either: parameters of whose prior variance the patients' own
posteriors take away less than `SHOWN` on average keep the pack's prior.

Lanes may leave patients out of their cohort (``counted``): then one run has the populations of all folds of a back-test.
Where biomarkers of the patients are known, each patient has a population of its own in every lane (`inference.regression`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist import keys
from persist.errors import DataError
from persist.inference import resume
from persist.inference.clone_free import Frame, shifts
from persist.inference.gibbs import Found, Rounds, gibbs
from persist.inference.learned import ByBiomarkers, Plain
from persist.inference.model import sampled
from persist.inference.population import shared
from persist.inference.priors import load_pack
from persist.inference.sample import Sample, Stage
from persist.inference.sampler import Kept
from persist.inference.stages import Shelf, Standing, everyone, mixtures, plain
from persist.inference.weights import half_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persist.inference.covariates import Covariates, Effects
    from persist.inference.population import Law
    from persist.inference.target import Member

STAGES = 3
"""Times that every patient is drawn from, each but the first under what the one before has found."""

SHOWN = 0.25
"""Share of its prior variance that patients' own data must take from a parameter, on average, for a population of it."""

BETWEEN = 0.125
"""Share of the rounds of the law that it has between stages, where it only makes the next prior."""

DRAWN = 0.8
"""Share of a stage's progress that drawing from the patients counts for, the law being the rest."""


class Pace(NamedTuple):
    """How long to draw. ``lanes`` of the law, an even number. Of each patient's walkers, the rounds in which they ``settle`` in
    every stage, and those that are kept in a ``stage`` and in the ``last``. Of the law, rounds of ``warmup`` and of draws; of
    these every ``thin``-th is kept.
    """

    lanes: int = 64
    settle: int = 16
    stage: int = 24
    last: int = 96
    warmup: int = 400
    rounds: int = 1200
    thin: int = 30


class Pooled(NamedTuple):
    """A cohort's draws: the ``frame`` of the n scores, and how far the patients' data show them (``shown``, (n,)); laws of the
    k pooled ones, each ``(kept, lanes, ...)``; the probability of each patient to be among those ``apart``, and to have no
    clone (``free``), by lane ``(lanes, patients)``; of every patient the draws that it took, ``(kept, lanes, ...)``, with their
    energy under the prior of the last stage; run time in seconds; effects of biomarkers, as the laws; and how many of the draws
    that a lane may take of a patient count for its law, on average ``(patients,)``.
    """

    frame: Frame
    shown: np.ndarray
    laws: Law
    apart: np.ndarray
    free: np.ndarray
    patients: tuple[Kept, ...]
    seconds: float
    effects: Effects | None = None
    effective: np.ndarray | None = None


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
    population then depends on. ``folder`` keeps the draws of patients, from which the same run goes on and gives the same
    numbers. ``progress`` is told what is being done, and the share of it that is done.

    Raises `DataError` where the patients show no score, `FitError` where one has no finite density.
    """
    who = np.ones((pace.lanes, len(members)), bool) if counted is None else counted
    given = [None if pooled is None else pooled.tolist(), *(part.tolist() for part in covariates or ())]
    shelf = Shelf(folder, resume.fingerprint(members, "pool", STAGES, seed, pace, who.tolist(), *given))
    frame = _frame(members[0])
    at, shown = Standing([plain(frame)] * len(members), []), np.zeros(0)
    for number in range(STAGES):
        last = number == STAGES - 1
        stage = Stage(seed, number, pace.settle, pace.last if last else pace.stage)
        samples = everyone(stage, members, at, shelf, _telling(progress, number, 0.0, DRAWN))
        if number == 0:
            shown = _shown(samples)
            frame = frame._replace(pooled=_chosen(shown) if pooled is None else np.asarray(pooled, bool))
        rng = np.random.default_rng(keys.seed_of(seed, "population", str(number)))
        population = Plain(rng, who, frame) if covariates is None else ByBiomarkers(rng, who, frame, covariates)
        found = gibbs(rng, population, samples, _rounds(pace, last=last), _telling(progress, number, DRAWN, 1.0))
        at = Standing(mixtures(found.some, frame), samples)
    laws, effects, rows = population.drawn(), population.effects_drawn(), _taken(samples, found)
    return Pooled(frame, shown, laws, found.apart, found.free, rows, shelf.seconds, effects, found.effective)


def _frame(one: Member) -> Frame:
    """The frame of all scores, of which none is pooled yet."""
    names = names_of(one)
    return Frame(np.zeros(len(names), bool), shifts(names, load_pack(one.target.pack, one.target.cells)))


def names_of(one: Member) -> tuple[str, ...]:
    """The n scores that patients may share a law of, in order."""
    return shared(sampled(load_pack(one.target.pack, one.target.cells), one.target.variant))


def _rounds(pace: Pace, *, last: bool) -> Rounds:
    """Rounds of the law after a stage; at least one of them is kept."""
    rounds = pace.rounds if last else max(pace.thin, round(BETWEEN * pace.rounds))
    return Rounds(pace.warmup, rounds, pace.thin)


def _shown(samples: list[Sample]) -> np.ndarray:
    """Shares of the prior variance of each score that the patients' own data take away, ``(n,)``, on average over patients; one
    who is spread wider than the prior counts as 0. Draws count as under the pack's prior, in which all have a clone.
    """
    weight = [np.exp(one.under.min() - one.under) for one in samples]
    mean = [np.average(one.scores, axis=(0, 1), weights=own) for one, own in zip(samples, weight, strict=True)]
    squares = [np.average(one.scores**2, axis=(0, 1), weights=own) for one, own in zip(samples, weight, strict=True)]
    variance = np.array(squares) - np.array(mean) ** 2
    return np.asarray(np.mean(1.0 - np.minimum(variance, 1.0), axis=0))


def _chosen(shown: np.ndarray) -> np.ndarray:
    """Scores that have a population, ``(n,)``."""
    if not (shown >= SHOWN).any():
        what = "the patients' own data show no parameter well enough to learn how it is spread"
        raise DataError(what, where="--pool", remedy="give more values or patients, or fit them without --pool")
    return np.asarray(shown >= SHOWN)


def _taken(samples: list[Sample], found: Found) -> tuple[Kept, ...]:
    """What each patient took ``(kept, lanes, ...)``."""
    half = half_of(found.taken.shape[1])[None]
    places = np.moveaxis(found.taken, -1, 0)
    return tuple(Kept(*(part[half, at] for part in one.kept)) for one, at in zip(samples, places, strict=True))


def _telling(
    progress: Callable[[str, float], None] | None, number: int, begin: float, end: float
) -> Callable[[float], None]:
    """Who is told how much is done of a part of a stage, from one share of the stage to another: the first stage is of patients
    alone, the others together are of the cohort.
    """
    what, before, stages = ("alone", 0, 1) if number == 0 else ("together", number - 1, STAGES - 1)

    def tell(share: float) -> None:
        if progress is not None:
            progress(what, (before + begin + (end - begin) * share) / stages)

    return tell
