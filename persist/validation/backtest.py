"""The back-test: forecasts at landmarks from what was known then, of patients that the population has not seen.

Patients are dealt into folds. The population of a fold is learned from the patients of all others, with all of their values; a
patient is fitted with the values up to each landmark and that population for a prior, and carried on under the treatments that
were given. Finished landmarks are kept, so that a run which was stopped goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist import keys
from persist.errors import DataError
from persist.forecast.ahead import ahead
from persist.forecast.landmark import landmark
from persist.inference import crew, resume
from persist.inference.cohort import observable
from persist.inference.fit import members
from persist.inference.pooling import Pace, pool
from persist.inference.population import UNKNOWN, Law, Population, blend
from persist.inference.sampler import Effort, draw, worst_rhat
from persist.types import Table
from persist.validation.baselines import REPLAY, RULES, forecasts
from persist.validation.cuts import Cut, cuts, fails
from persist.validation.finished import source
from persist.validation.scoring import Forecast, Score, score, score_of_both

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persist.inference.cohort import Case
    from persist.inference.settings import Settings
    from persist.inference.target import Member

FOLDS = 10

LANES = 6
"""Lanes of the cohort's run for each fold, half of them with the draws of one half of each patient's walkers."""

PACE = Pace()
"""How long the populations of all folds are drawn together."""

DRAWS = 640
"""Paths of a forecast."""


class Plan(NamedTuple):
    """What a back-test is asked: the fit's settings, the kind of landmark, whether patients are pooled."""

    settings: Settings
    landmark: str = "cycles"
    pooled: bool = True


class Place(NamedTuple):
    """A landmark of a patient ``name`` and the fold that it is in."""

    name: str
    fold: int
    cut: Cut


class Judged(NamedTuple):
    """A landmark with the model's score, the probability that the period fails (NaN where none is judged), how its fit went,
    and the score of the model and the previous cycle over again, half each (`REPLAY`).
    """

    place: Place
    score: Score
    fails: float
    max_rhat: float
    divergences: int
    both: Score | None = None


class Foreseen(NamedTuple):
    """Of each path and day ``(n_paths, n_days)``: log burden as measured, log burden, and scale of the error between them."""

    measured: np.ndarray
    level: np.ndarray
    sd: np.ndarray


def places(table: Table, plan: Plan) -> list[Place]:
    """All landmarks; `DataError` where there is none."""
    fold = folds(plan.settings.seed, [series.patient_id for series in table.series])
    found = [
        Place(series.patient_id, fold[series.patient_id], cut)
        for series in table.series
        for cut in cuts(series, plan.landmark, plan.settings.drug)
    ]
    if not found:
        remedy = "give series with later periods on drug, or --landmark after:N"
        raise DataError("no patient has a landmark with values after it", where="--landmark", remedy=remedy)
    return found


def folds(seed: int, names: list[str]) -> dict[str, int]:
    """The fold of each patient: about as many in each, dealt by chance."""
    rng = np.random.default_rng(keys.seed_of(seed, "folds"))
    return {names[place]: turn % FOLDS for turn, place in enumerate(rng.permutation(len(names)))}


def populations(
    table: Table, plan: Plan, folder: Path | None, progress: Callable[[str, float], None] | None = None
) -> list[Population]:
    """The population of each fold, from one run of which every lane leaves out the patients of a fold."""
    if not plan.pooled:
        return of_all(UNKNOWN)
    of = folds(plan.settings.seed, [series.patient_id for series in table.series])
    fold = np.array([of[series.patient_id] for series in table.series])
    mine = np.arange(FOLDS * LANES) % FOLDS  # so that a fold has as many of the first half of the lanes as of the other
    pace = PACE._replace(lanes=len(mine))
    everyone, counted = members(table, plan.settings), fold[None] != mine[:, None]
    found = pool(plan.settings.seed, everyone, pace, counted=counted, folder=folder, progress=progress)
    of_fold = (Law(*(part[:, mine == number] for part in found.laws)) for number in range(FOLDS))
    return [blend(laws, found.frame) for laws in of_fold]


def of_all(population: Population) -> list[Population]:
    """One population for every fold: that of patients who are not tested."""
    return [population] * FOLDS


def judge_model(
    where: list[Place],
    plan: Plan,
    known: list[Population],
    folder: Path | None,
    progress: Callable[[int, int], None] | None = None,
    scheduler: str | None = None,
    replays: list[Forecast] | None = None,
) -> tuple[list[Judged], dict[str, str]]:
    """The model's forecast at every landmark, scored, and of those that cannot be fitted the reason, by patient and day.

    ``scheduler``: who does the work, as of `fit`. ``replays``: forecasts of `REPLAY` at the landmarks, for `Judged.both`.
    """
    kept = {
        number: kept for number, place in enumerate(where) if (kept := _kept(place, plan, known, folder)) is not None
    }
    todo = [number for number in range(len(where)) if number not in kept]
    jobs = [_job(where[number], plan, known) for number in todo]
    unfit = {}
    for count, (at, made) in enumerate(crew.each(_forecast, jobs, scheduler), start=len(kept) + 1):
        place = where[todo[at]]
        if isinstance(made, crew.Failure):
            unfit[label(place)] = made.what
        else:
            kept[todo[at]] = made
            if folder is not None:
                resume.write(resume.named(folder, label(place)), _mark(place, plan, known), made)
        if progress is not None:
            progress(count, len(where))
    others = [None] * len(where) if replays is None else replays
    return [_judged(where[number], plan, kept[number], others[number]) for number in sorted(kept)], unfit


def label(place: Place) -> str:
    """A landmark's name: patient and day."""
    return f"{place.name} at {place.cut.day:g}"


def _job(place: Place, plan: Plan, known: list[Population]) -> tuple[str, Cut, Plan, Member]:
    """What is to be done of a landmark: `_forecast`."""
    member = members(Table((place.cut.series,), (), ""), plan.settings, known[place.fold])[0]
    return label(place), place.cut, plan, member


def _mark(place: Place, plan: Plan, known: list[Population]) -> str:
    """Of all that decides the forecast of a landmark."""
    later = [part.tolist() for part in (*place.cut.given, place.cut.days)]
    return resume.fingerprint([_job(place, plan, known)[-1]], plan.settings, later, DRAWS, source())


def _kept(place: Place, plan: Plan, known: list[Population], folder: Path | None) -> dict[str, Any] | None:
    """The forecast of a landmark that an earlier run left, if one did."""
    path = None if folder is None else resume.named(folder, label(place))
    return None if path is None or not path.exists() else resume.read(path, _mark(place, plan, known))


def _judged(place: Place, plan: Plan, kept: dict[str, Any], replay: Forecast | None) -> Judged:
    """A landmark, scored."""
    forecast = Forecast(kept["measured"], kept["level"], kept["sd"])
    rng = np.random.default_rng(keys.seed_of(plan.settings.seed, label(place), "score"))
    period = place.cut.period
    failing = float(fails(np.maximum(forecast.measured, place.cut.floor)[:, period]).mean()) if period.any() else np.nan
    own = score(forecast, place.cut, rng)
    both = None if replay is None else score_of_both(forecast, replay, place.cut, rng)
    return Judged(place, own, failing, float(kept["max_rhat"]), int(kept["divergences"]), both)


def _forecast(name: str, cut: Cut, plan: Plan, member: Member) -> dict[str, Any]:
    """Draws of the fit up to a landmark, and what they come to on the days after it."""
    settings = plan.settings
    effort = Effort(settings.chains, settings.warmup, settings.draws, settings.doublings)
    drawn = draw(keys.key(settings.seed, name, "back-test"), member.target, effort, member.case)
    take = np.linspace(0, next(iter(drawn.values.values())).size - 1, DRAWS).round().astype(int)
    values = {name: value.ravel()[take] for name, value in drawn.values.items()}
    told = {"max_rhat": worst_rhat(drawn), "divergences": int(drawn.stats["diverging"].sum())}
    return told | foreseen(settings.seed, name, cut, values, member.case)._asdict()


def foreseen(seed: int, name: str, cut: Cut, values: dict[str, np.ndarray], case: Case) -> Foreseen:
    """What draws of a patient's parameters ``(n_draws,)`` come to on the days after a landmark, one path each; ``case`` is the
    series up to there.
    """
    kind, last = observable(cut.series.observable), float(cut.series.day[-1])
    at = landmark(values, case, (last, float(cut.series.burden[-1])), kind, None)
    path = ahead(seed, name, at, cut.given, cut.days)
    counting = np.exp(-np.maximum(path.level, 0.0)) if kind.counted else 0.0
    return Foreseen(path.measured, path.level, np.sqrt(path.noise_sd[:, None] ** 2 + counting))


def replays(where: list[Place]) -> list[Forecast]:
    """Forecasts of `REPLAY` at all landmarks."""
    return forecasts(REPLAY, [place.cut for place in where], np.array([place.fold for place in where]))


def judge_rules(where: list[Place], seed: int) -> dict[str, list[Score]]:
    """Scores of the baselines at every landmark."""
    fold = np.array([place.fold for place in where])
    found = {}
    for name in RULES:
        rng = np.random.default_rng(keys.seed_of(seed, name))
        made = forecasts(name, [place.cut for place in where], fold)
        found[name] = [score(one, place.cut, rng) for one, place in zip(made, where, strict=True)]
    return found
