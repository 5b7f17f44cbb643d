"""From a posterior to a forecast file: all patients, all plans, endpoints, benefit and verdict."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.errors import DataError, UsageError
from persist.forecast import decide
from persist.forecast.endpoints import rule_for
from persist.forecast.futures import run
from persist.forecast.landmark import Look, landmark
from persist.forecast.notes import notes
from persist.forecast.under import LEVELS, Futures
from persist.inference import posterior, store
from persist.inference.cohort import case, observable, pad
from persist.records.stops import doubtful
from persist.treatment.schedule import Plan, parse_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persist.forecast.endpoints import Rule
    from persist.types import Schedule, Series


VISITS_NEEDED = 3
"""A nadir, a rise and its confirmation: with fewer visits in a row on drug, progression cannot be seen."""
MUCH_HIGHER = 1.5
"""A median burden at the horizon of so many times the reference's is said beside a verdict."""
MEDIAN = LEVELS.index(0.5)


class Ask(NamedTuple):
    """What is asked of a forecast: plans (the first is the reference), horizon and start (None: the last visit) in days,
    endpoint (None: the observable's own), spacing of visits (None: the patient's median, else 28 days), effort, seed.
    """

    plans: tuple[Plan, ...]
    horizon: float
    start: float | None = None
    endpoint: str | None = None
    visit_every: float | None = None
    draws: int = 500
    replicates: int = 2
    seed: int = 0


def ask(plans: Sequence[str], horizon: float, **options: Any) -> Ask:
    """An `Ask` from plan texts; `ScheduleError` / `UsageError` for what is no plan, two of one name, or no horizon."""
    _check_options(options)
    parsed = tuple(parse_plan(text) for text in ([plans] if isinstance(plans, str) else plans))
    names = [plan.name for plan in parsed]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        what = f'two plans are called "{twice[0]}"' if twice else "no plan was given"
        raise UsageError(what, where="--plan", remedy='give each its own, such as --plan "holiday=off 90, on"')
    if not 0.0 < horizon < np.inf:
        raise UsageError(f"the horizon is {horizon:g} days", where="--horizon", remedy="give a number of days over 0")
    return Ask(parsed, float(horizon), **options)


def _check_options(options: dict[str, Any]) -> None:
    """`UsageError` for effort or spacing that is not positive."""
    for name, least in (("draws", 1), ("replicates", 1), ("visit_every", 1e-3)):
        value = options.get(name)
        if value is not None and not value >= least:
            where = f"--{name.replace('_', '-')}"
            raise UsageError(f"{value:g} is too few", where=where, remedy=f"give {least:g} or more")


def forecast(
    fit: store.DataTree, question: Ask, progress: Callable[[str, int, int], None] | None = None
) -> store.DataTree:
    """Futures of every patient of a fit under every plan, as a DataTree of kind "forecast".

    ``progress(patient, done, total)`` is called before each plan of each patient.
    """
    everyone = posterior.series(fit)
    rule = rule_for(everyone[0].observable, question.endpoint)
    total, done = len(everyone) * len(question.plans), 0
    rows: dict[str, list[Futures]] = {}
    looks = {}
    for one in everyone:
        look = look_of(one, question)
        at, history = landmark_of(fit, one, look, question)
        looks[one.patient_id] = look
        futures = run(question.seed, one.patient_id, at, history, question.plans, look, rule, question.replicates)
        rows[one.patient_id] = []
        for _ in question.plans:
            if progress is not None:
                progress(one.patient_id, done, total)
            rows[one.patient_id].append(next(futures))
            done += 1
    return _assemble(fit, question, rule, rows, looks)


def look_of(series: Series, question: Ask) -> Look:
    """When one patient's futures start and are seen."""
    start = float(series.day[-1]) if question.start is None else question.start
    if start < series.day[0]:
        raise DataError(
            f"patient {series.patient_id} is first seen on day {series.day[0]:g}, after day {start:g}",
            where="--from",
            remedy="choose a later day",
        )
    gaps = np.diff(series.day[series.day <= start])
    usual = round(float(np.median(gaps[gaps > 0]))) if np.any(gaps > 0) else 28
    every = question.visit_every or float(max(usual, 1))
    record = float(max(7, math.ceil(question.horizon / 200.0)))
    return Look(start, question.horizon, max(every, question.horizon / 2000.0), record)


def landmark_of(fit: Any, series: Series, look: Look, question: Ask) -> tuple[Any, Any]:
    """State of evenly thinned draws at the last visit up to the start, and the treatment so far."""
    cut = series.until(look.start)
    kind = observable(series.observable)
    settings = store.attribute(fit, "settings")
    schedule = next(iter(series.schedules.values()))
    cohort = pad([cut], pack=settings["pack"], gaps=[doubtful(series, schedule)])  # as the fit had it
    values = posterior.thinned(fit, series.patient_id, question.draws)
    one = case(cohort, 0, counted=kind.counted)
    seen = float(cut.day[-1]), float(cut.burden[-1])
    return landmark(values, one, seen, kind, nadir(cut, schedule, look.start)), schedule


def nadir(series: Series, schedule: Schedule, start: float) -> float | None:
    """Lowest burden since the last restart, if the patient is on drug up to ``start`` (days); else None. A count of 0 is 1."""
    begin = _restart(schedule, start)
    since = series.day >= (np.inf if begin is None else begin)
    if not since.any():
        return None
    return float(np.min(np.where(series.burden > 0.0, series.burden, 1.0)[since]))


def _restart(schedule: Schedule, day: float) -> float | None:
    """First day of the unbroken time on drug that leads up to ``day``; None if off drug then."""
    begin = day
    for first, last, dose in sorted(zip(schedule.start, schedule.stop, schedule.dose, strict=True), reverse=True):
        if dose > 0.0 and first < begin <= last:
            begin = float(first)
    return begin if begin < day else None


def _assemble(
    fit: store.DataTree, question: Ask, rule: Rule, rows: dict[str, list[Futures]], looks: dict[str, Look]
) -> store.DataTree:
    names, plans = list(rows), [plan.name for plan in question.plans]

    def stack(part: str) -> np.ndarray:
        return np.stack([np.stack([np.asarray(getattr(row, part)) for row in futures]) for futures in rows.values()])

    where = ("patient", "plan")
    axes = {"patient": names, "plan": plans}
    record = store.dataset(
        {
            "day": (("patient", "plan", "time"), stack("day")),
            "burden": ((*where, "time", "level"), stack("burden")),
            "measured": ((*where, "time", "level"), stack("measured")),
            "shares": ((*where, "time", "state"), stack("shares")),
            "dose": ((*where, "time"), stack("dose")),
        },
        axes | {"level": list(LEVELS), "state": ["sensitive", "persister", "resistant"]},
    )
    ends = store.dataset(
        {
            "time_to_progression": ((*where, "draw", "replicate"), stack("time_to_progression")),
            "extinct": ((*where, "draw", "replicate"), stack("extinct")),
            "days_on_drug": (where, stack("days_on_drug")),
        },
        axes,
    )
    attrs = {
        "observable": fit.attrs["observable"],
        "unit": fit.attrs["unit"],
        "settings": _settings(question, rule, looks),
        "summary": summary(rows, plans, question.horizon, rule.any_time, _effective(fit, list(rows))),
        "warnings": store.attribute(fit, "problems") if "problems" in fit.attrs else {},
        "notes": notes(fit, question.plans, looks, rule, rows),
        "fit": json.loads(fit.attrs["provenance"]),
        "provenance": store.provenance(question.seed, hashlib.sha256(fit.attrs["provenance"].encode()).hexdigest()),
    }
    return store.tree("forecast", {"futures": record, "endpoints": ends}, attrs)


def _settings(question: Ask, rule: Rule, looks: dict[str, Look]) -> dict[str, Any]:
    return {
        "plans": {plan.name: plan.text for plan in question.plans},
        "reference": question.plans[0].name,
        "horizon": question.horizon,
        "endpoint": rule._asdict(),
        "thresholds": decide.THRESHOLDS,
        "draws": question.draws,
        "replicates": question.replicates,
        "seed": question.seed,
        "patients": {name: look._asdict() for name, look in looks.items()},
    }


def summary(
    rows: dict[str, list[Futures]], plans: list[str], horizon: float, any_time: bool, effective: dict[str, float]
) -> dict[str, Any]:
    """The `patients` object of the JSON: endpoints of every plan, and benefit of each against the first.

    ``effective`` is the number of posterior draws that those of a patient count for, autocorrelated as they are.
    """
    patients = {}
    for name, futures in rows.items():
        times, step = [future.time_to_progression for future in futures], futures[0].step
        ends = {
            plan: _endpoints(future, horizon) | {"judged": any_time or future.visits_on_drug >= VISITS_NEEDED}
            for plan, future in zip(plans, futures, strict=True)
        }
        gains = [decide.judge(decide.gain(time, times[0], horizon), effective=effective[name]) for time in times]
        gains = [_judgeable(one, future, futures[0], any_time) for one, future in zip(gains, futures, strict=True)]
        told = list(zip(plans, gains, strict=True))[1:]
        patients[name] = {
            "step": {"days": step.days, "error": step.error},
            "plans": ends,
            "benefit": {
                plan: decide.as_json(one) | {"judged": not _unjudged(futures[0], future, any_time)}
                for (plan, one), future in zip(told, futures[1:], strict=True)
            },
            "sentences": {
                plan: _sentence(plan, plans[0], one, horizon, (futures[0], futures[i]), any_time)
                for i, (plan, one) in enumerate(told, start=1)
            },
        }
    return patients


def _effective(fit: store.DataTree, names: list[str]) -> dict[str, float]:
    return {name: posterior.effective_draws(fit, name) for name in names}


def _judgeable(benefit: decide.Benefit, plan: Futures, reference: Futures, any_time: bool) -> decide.Benefit:
    """A plan that is hardly ever on drug is never judged, so its "gain" is none: the verdict is withheld."""
    return benefit._replace(verdict="cannot tell") if _unjudged(reference, plan, any_time) else benefit


def _unjudged(reference: Futures, plan: Futures, any_time: bool) -> bool:
    """True if one of the two is on drug at fewer than `VISITS_NEEDED` visits in a row, where only those are judged."""
    return not any_time and min(reference.visits_on_drug, plan.visits_on_drug) < VISITS_NEEDED


def _sentence(
    plan: str, reference: str, benefit: decide.Benefit, horizon: float, both: tuple[Futures, Futures], any_time: bool
) -> str:
    """The verdict in words; and, since a holiday is not judged while it lasts, a burden that ends much higher is said."""
    if _unjudged(*both, any_time):
        return (
            f'Against "{reference}", "{plan}": cannot tell, since one of the two is on drug at fewer than {VISITS_NEEDED} '
            f"visits in a row within {horizon:g} days, so its progression is not judged; an endpoint such as psa:any-time "
            "compares them."
        )
    told = decide.sentence(plan, reference, benefit, horizon)
    rise = float(both[1].burden[-1, MEDIAN]) / max(float(both[0].burden[-1, MEDIAN]), 1e-300)
    if any_time or rise < MUCH_HIGHER:
        return told
    return f'{told} Mind that its median burden after {horizon:g} days is {rise:.1f} times that under "{reference}".'


def _endpoints(future: Futures, horizon: float) -> dict[str, Any]:
    """One plan's endpoints; quantiles of the time to progression that are not reached within the horizon are null."""
    times = future.time_to_progression.ravel()
    found = np.quantile(times, (0.05, 0.5, 0.95), method="inverted_cdf")
    quantiles = {
        label: float(value) if value <= horizon else None
        for label, value in zip(("q05", "q50", "q95"), found, strict=True)
    }
    return {
        "progressed_by_horizon": float(np.mean(times <= horizon)),
        "time_to_progression": quantiles,
        "days_on_drug": future.days_on_drug,
        "burden_at_horizon": dict(zip(("q05", "q50", "q95"), future.burden[-1, [0, MEDIAN, -1]].tolist(), strict=True)),
        "extinct": float(future.extinct.mean()),
    }
