"""From a posterior to a forecast file: all patients, all plans, endpoints, benefit and verdict."""

from __future__ import annotations

import hashlib
import json
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from persist.errors import DataError
from persist.forecast import decide
from persist.forecast.asking import Ask as Ask
from persist.forecast.asking import ask as ask
from persist.forecast.asking import check_first_parts, drug_of_plans, rules_of
from persist.forecast.endpoints import label, response_of
from persist.forecast.futures import run
from persist.forecast.landmark import Landmark, Look, landmark
from persist.forecast.notes import notes
from persist.forecast.partner import drawn
from persist.forecast.reply import TOLD as OF_REPLY
from persist.forecast.summary import summary
from persist.forecast.trace import FLARE_DAYS, FLARE_RISE
from persist.forecast.under import LEVELS, Futures
from persist.inference import posterior, store
from persist.inference.cohort import case, observable, pad
from persist.records.stops import doubtful

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.dynamics.paths import Partner
    from persist.forecast.endpoints import Rule
    from persist.types import Schedule, Series


def forecast(
    fit: store.DataTree, question: Ask, progress: Callable[[str, int, int], None] | None = None
) -> store.DataTree:
    """Futures of every patient of a fit under every plan, as a DataTree of kind "forecast".

    ``progress(patient, done, total)`` is called before each plan of each patient.
    """
    everyone = posterior.series(fit)
    rules = rules_of(question, everyone[0].observable)
    rule = rules[0]
    check_first_parts(question, rule)
    question = question._replace(
        notes=(*question.notes, *drug_of_plans(question, store.attribute(fit, "settings").get("drug")))
    )
    total, done = len(everyone) * len(question.plans), 0
    rows: dict[str, list[Futures]] = {}
    looks = {}
    for one in everyone:
        look = look_of(one, question)
        at, history = landmark_of(fit, one, look, question)
        looks[one.patient_id] = look
        how = question.replicates, question.missed_visits, question.burden_limit, rules[1:], question.response_days
        partner = _partner(fit, question, one.patient_id, at)
        futures = run(question.seed, one.patient_id, at, history, question.plans, look, rule, *how, partner)
        rows[one.patient_id] = []
        for _ in question.plans:
            if progress is not None:
                progress(one.patient_id, done, total)
            rows[one.patient_id].append(next(futures))
            done += 1
    return _assemble(fit, question, rules, rows, looks)


def _partner(fit: store.DataTree, question: Ask, patient: str, at: Landmark) -> Partner | None:
    """What the draws of a patient take a second drug to do; None where no plan has one."""
    if question.partner is None:
        return None
    pack = store.attribute(fit, "settings")["pack"]
    return drawn(question.partner, pack, question.seed, patient, len(np.asarray(at.cells.sensitive)))


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
    fit: store.DataTree, question: Ask, rules: tuple[Rule, ...], rows: dict[str, list[Futures]], looks: dict[str, Look]
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
            "time_by_rule": ((*where, "rule", "draw", "replicate"), stack("by_rule")),
            "seen": ((*where, "draw", "replicate"), stack("seen")),
            "extinct": ((*where, "draw", "replicate"), stack("extinct")),
            "stopped": ((*where, "draw", "replicate"), stack("stopped")),
            "flared": ((*where, "draw", "replicate"), stack("flared")),
            "burden_time": ((*where, "draw", "replicate"), stack("area")),
            "burden_time_after": ((*where, "draw", "replicate"), stack("area_after")),
            "reached_limit": ((*where, "draw", "replicate"), stack("reached")),
            **{name: ((*where, "draw", "replicate"), stack(name)) for name in OF_REPLY},
            "days_on_drug": (where, stack("days_on_drug")),
        },
        axes | {"rule": [label(rule) for rule in rules]},
    )
    attrs = {
        "observable": fit.attrs["observable"],
        "unit": fit.attrs["unit"],
        "settings": _settings(question, rules, looks),
        "summary": summary(rows, question, rules, _effective(fit, list(rows))),
        "warnings": store.attribute(fit, "problems") if "problems" in fit.attrs else {},
        "notes": [*question.notes, *notes(fit, question.plans, looks, rules[0], rows)],
        "fit": json.loads(fit.attrs["provenance"]),
        "provenance": store.provenance(question.seed, hashlib.sha256(fit.attrs["provenance"].encode()).hexdigest()),
    }
    return store.tree("forecast", {"futures": record, "endpoints": ends}, attrs)


def _settings(question: Ask, rules: tuple[Rule, ...], looks: dict[str, Look]) -> dict[str, Any]:
    return {
        "plans": {plan.name: plan.text for plan in question.plans},
        "reference": question.plans[0].name,
        "horizon": question.horizon,
        "endpoint": rules[0]._asdict(),
        "endpoints": {label(rule): rule._asdict() for rule in rules},
        "thresholds": decide.THRESHOLDS,
        "burden_limit": question.burden_limit,
        "flare": {"rise": FLARE_RISE, "within_days": FLARE_DAYS},
        "response": response_of(rules[0])._asdict() | {"within_days": question.response_days},
        "partner": None if question.partner is None else question.partner._asdict(),
        "draws": question.draws,
        "replicates": question.replicates,
        "missed_visits": question.missed_visits,
        "seed": question.seed,
        "patients": {name: look._asdict() for name, look in looks.items()},
    }


def _effective(fit: store.DataTree, names: list[str]) -> dict[str, float]:
    return {name: posterior.effective_draws(fit, name) for name in names}
