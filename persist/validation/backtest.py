"""The back-test: forecasts at landmarks from what was known then, of patients that the population has not seen.

Patients are dealt into folds. The population of a fold is learned from the patients of all others, with all of their values; a
patient is fitted with the values up to each landmark and that population for a prior, and carried on under the treatments that
were given. Finished landmarks are kept, so that a run which was stopped goes on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist import keys
from persist.errors import DataError, FitError
from persist.forecast.ahead import ahead
from persist.forecast.landmark import landmark
from persist.inference import resume
from persist.inference.cohort import observable
from persist.inference.fit import members
from persist.inference.pooling import Pace, pool
from persist.inference.population import UNKNOWN, Law, Population, blend
from persist.inference.sampler import Effort, draw, worst_rhat
from persist.types import Table
from persist.validation.baselines import RULES, forecasts
from persist.validation.cuts import Cut, cuts, fails
from persist.validation.finished import source
from persist.validation.scoring import Forecast, Score, score

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persist.inference.fit import Settings
    from persist.inference.target import Member

FOLDS = 10

LANES = 6
"""Lanes of the cohort's run for each fold."""

PACE = Pace(alone=40, warmup=100, rounds=100, thin=100)
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
    """A landmark with the model's score, the probability that the period fails (NaN where none is judged), and how its fit
    went.
    """

    place: Place
    score: Score
    fails: float
    max_rhat: float
    divergences: int


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
    lanes = FOLDS * LANES + (-FOLDS * LANES) % 16
    mine = np.arange(lanes) % FOLDS
    pace = PACE._replace(lanes=lanes)
    everyone, counted = members(table, plan.settings), fold[None] != mine[:, None]
    found = pool(plan.settings.seed, everyone, pace, counted=counted, folder=folder, progress=progress)
    of_fold = (Law(*(part[:, mine == number] for part in found.laws)) for number in range(FOLDS))
    return [blend(laws, found.pooled) for laws in of_fold]


def of_all(population: Population) -> list[Population]:
    """One population for every fold: that of patients who are not tested."""
    return [population] * FOLDS


def judge_model(
    where: list[Place],
    plan: Plan,
    known: list[Population],
    folder: Path | None,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Judged], dict[str, str]]:
    """The model's forecast at every landmark, scored, and of those that cannot be fitted the reason, by patient and day."""
    found, unfit = [], {}
    for number, place in enumerate(where):
        try:
            found.append(_one(place, plan, known[place.fold], folder))
        except FitError as error:
            unfit[f"{place.name} at {place.cut.day:g}"] = error.what
        if progress is not None:
            progress(number + 1, len(where))
    return found, unfit


def _one(place: Place, plan: Plan, known: Population, folder: Path | None) -> Judged:
    """One landmark: fitted, carried on, scored."""
    member = members(Table((place.cut.series,), (), ""), plan.settings, known)[0]
    label = f"{place.name} at {place.cut.day:g}"
    path = None if folder is None else resume.named(folder, label)
    later = [part.tolist() for part in (*place.cut.given, place.cut.days)]
    mark = "" if path is None else resume.fingerprint([member], plan.settings, later, DRAWS, source())
    kept = None if path is None else resume.read(path, mark)
    if kept is None:
        kept = _forecast(label, place.cut, plan, member)
        if path is not None:
            resume.write(path, mark, kept)
    forecast = Forecast(kept["measured"], kept["level"], kept["sd"])
    rng = np.random.default_rng(keys.seed_of(plan.settings.seed, label, "score"))
    period = place.cut.period
    failing = float(fails(np.maximum(forecast.measured, place.cut.floor)[:, period]).mean()) if period.any() else np.nan
    return Judged(place, score(forecast, place.cut, rng), failing, float(kept["max_rhat"]), int(kept["divergences"]))


def _forecast(label: str, cut: Cut, plan: Plan, member: Member) -> dict[str, Any]:
    """Draws of the fit up to a landmark, and what they come to on the days after it."""
    settings = plan.settings
    effort = Effort(settings.chains, settings.warmup, settings.draws, settings.doublings)
    drawn = draw(keys.key(settings.seed, label, "back-test"), member.target, effort, member.case)
    take = np.linspace(0, next(iter(drawn.values.values())).size - 1, DRAWS).round().astype(int)
    values = {name: value.ravel()[take] for name, value in drawn.values.items()}
    kind, last = observable(cut.series.observable), float(cut.series.day[-1])
    at = landmark(values, member.case, (last, float(cut.series.burden[-1])), kind, None)
    path = ahead(settings.seed, label, at, cut.given, cut.days)
    counting = np.exp(-np.maximum(path.level, 0.0)) if kind.counted else 0.0
    told = {"max_rhat": worst_rhat(drawn), "divergences": int(drawn.stats["diverging"].sum())}
    return told | {
        "measured": path.measured,
        "level": path.level,
        "sd": np.sqrt(path.noise_sd[:, None] ** 2 + counting),
    }


def judge_rules(where: list[Place], seed: int) -> dict[str, list[Score]]:
    """Scores of the baselines at every landmark."""
    fold = np.array([place.fold for place in where])
    found = {}
    for name in RULES:
        rng = np.random.default_rng(keys.seed_of(seed, name))
        made = forecasts(name, [place.cut for place in where], fold)
        found[name] = [score(one, place.cut, rng) for one, place in zip(made, where, strict=True)]
    return found
