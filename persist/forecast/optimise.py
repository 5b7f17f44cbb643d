"""From a posterior to the best plan of each patient: its honest gain, its regret, and whether to keep to the reference."""

from __future__ import annotations

import math
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.forecast import decide
from persist.forecast.candidates import FAMILIES, chosen
from persist.forecast.choose import halves
from persist.forecast.failure import judged_by
from persist.forecast.limits import Limits
from persist.forecast.notes import notes
from persist.forecast.outcome import Ask, ask, landmark_of, look_of
from persist.forecast.search import Found, Played, Subject, Terms, judged, play, search
from persist.inference import posterior, store
from persist.records.text import did_you_mean
from persist.treatment.grammar import parse_plan

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persist.forecast.choose import Choice
    from persist.types import Series

ERRORS = decide.MCSE_MULTIPLE
"""A gain of no more than so many of its errors is none: keep to the reference."""

DRAWS = 200
"""Posterior draws used, unless told otherwise: some forty plans are played with each."""


OPTIONS = ("start", "endpoint", "visit_every", "missed_visits", "replicates", "seed")
"""Options of a forecast that a search takes too."""


class Wanted(NamedTuple):
    """What is asked of `optimise`: the ``question`` as of a forecast, whose one plan is the reference, and the ``terms``."""

    question: Ask
    terms: Terms


def wanted(
    horizon: float,
    *,
    families: Sequence[str] = (),
    reference: str = "on",
    limits: Limits = Limits(),  # noqa: B008 - immutable
    weight_drug: float = 0.0,
    draws: int = DRAWS,
    **options: Any,
) -> Wanted:
    """A `Wanted` from words; ``options`` are the `OPTIONS` of `ask`.

    Raises `UsageError` for families that are none, limits or a weight that are no such thing, options that do not apply, and as
    `ask` does.
    """
    for name in options:
        if name not in OPTIONS:
            what = f"a search has no option {name}"
            raise UsageError(what, where="optimise", remedy=f"choose {', '.join(OPTIONS)}")
    if (named := parse_plan(reference)).drug or named.other is not None:
        remedy = "write the plan of the fitted drug alone, without its name, such as on"
        raise UsageError("a search is of one drug, the fitted one", where=f'--reference "{reference}"', remedy=remedy)
    question = ask([reference], horizon, draws=draws, **options)
    if question.draws < 4:
        raise UsageError(f"{question.draws} draws cannot be halved", where="--draws", remedy="give 4 or more")
    if not 0.0 <= weight_drug < math.inf:
        remedy = "give the days that a day on drug is worth, 0 or more"
        raise UsageError(f"a weight of {weight_drug:g}", where="--weight-drug", remedy=remedy)
    for name, value, most in (
        ("--max-on", limits.on, 1.0),
        ("--max-flare", limits.flare, 1.0),
        ("--max-days-on", limits.days_on, math.inf),
    ):
        if value is not None and not 0.0 <= value <= most:
            remedy = f"give a number from 0{' to 1' if most == 1.0 else ' on'}"
            raise UsageError(f"{value:g} is no such limit", where=name, remedy=remedy)
    how = (question.replicates, question.seed, question.missed_visits)
    return Wanted(question, Terms(chosen(families), question.plans[0], limits, float(weight_drug), *how))


def optimise(
    fit: store.DataTree,
    asked: Wanted,
    patients: Sequence[str] = (),
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, Any]:
    """The ``patients`` of a fit (all, where none is named), each with its best plan, and the ``notes`` on them.

    A patient: ``best`` (text, None: no candidate may be chosen), ``gain_days`` ``{mean, mcse, naive}``, ``probability`` of a
    gain, ``regret_days``, ``keep_reference``, ``reason``, ``families``, ``candidates``. ``progress(patient, done, total)``
    counts plans. Raises `UsageError` for a patient who is not there, or draws that are too few to halve.
    """
    known = {one.patient_id: one for one in posterior.series(fit)}
    for name in patients:
        if name not in known:
            what = f"there is no patient {name!r}{did_you_mean(name, known)}"
            raise UsageError(what, where="--patient", remedy=f"choose {', '.join(known)}")
    found, said = {}, []
    for name in (name for name in known if not patients or name in patients):
        count = None if progress is None else partial(progress, name)
        who = subject(fit, known[name], asked.question)
        searched = search(who, asked.terms, count)
        found[name] = told(searched, who, asked.terms, posterior.effective_draws(fit, name))
        plans = [one.candidate.plan for one in searched.played if one.candidate.plan.text == found[name]["best"]]
        said += notes(fit, plans, {name: who.look}, who.rule, {name: [searched.reference]})
    return {"patients": found, "notes": list(dict.fromkeys(said))}


def subject(fit: store.DataTree, one: Series, question: Ask) -> Subject:
    """A patient of a fit where the futures begin."""
    look = look_of(one, question)
    at, history = landmark_of(fit, one, look, question)
    if len(at.log_unit) < 4:
        raise UsageError("the fit has fewer than 4 draws, which cannot be halved", remedy="fit with more draws")
    at, rule = judged_by(one, at, question.endpoint)
    return Subject(one.patient_id, at, history, look, rule)


def told(found: Found, who: Subject, terms: Terms, effective: float) -> dict[str, Any]:
    """One patient as the JSON has it; ``effective`` is the number of draws that those of the fit count for."""
    choice = found.among()
    one = _row(choice, found, effective)
    content: dict[str, Any] = {"best": one.pop("plan")} | one
    content |= {"keep_reference": True, "reason": _none(found, who), "judged_off_drug_too": None}
    if choice is not None:
        content |= _verdict(content, choice, found, who, terms, effective)
    content["endpoint"] = who.rule._asdict()
    content["reference"] = {
        "plan": terms.reference.text,
        "days_on_drug": found.reference.days_on_drug,
        "breaks": found.broken or None,
    }
    content["families"] = {name: _row(found.among(name), found, effective) for name in terms.families}
    content["candidates"] = [_listed(played, effective) for played in found.played]
    return content


def _row(choice: Choice | None, found: Found, effective: float) -> dict[str, Any]:
    """The best of some candidates; null throughout where none may be chosen."""
    names = ("plan", "family", "gain_days", "probability", "regret_days", "days_on_drug", "of_halves")
    if choice is None:
        return dict.fromkeys(names)
    best, honest = found.played[choice.best], decide.judge(choice.honest, effective=effective)
    days = {"mean": honest.mean, "mcse": honest.mcse, "naive": choice.naive}
    by_half = [found.played[place].candidate.plan.text for place in choice.halves]
    values = (best.candidate.plan.text, best.candidate.family, days, honest.probability, choice.regret)
    return dict(zip(names, (*values, best.days_on, by_half), strict=True))


def _listed(one: Played, effective: float) -> dict[str, Any]:
    """A candidate; its gain is by all draws, and of the best of many it is too good."""
    benefit = decide.judge(one.gains, effective=effective)
    return {
        "plan": one.candidate.plan.text,
        "family": one.candidate.family,
        "gain_days": {"mean": benefit.mean, "mcse": benefit.mcse},
        "days_on_drug": one.days_on,
        "refused": one.refused or None,
    }


def _none(found: Found, who: Subject) -> str:
    """Why no candidate may be chosen."""
    if not judged(who, found.reference):
        return (
            "nothing can be compared with a reference that is not judged, being on drug at too few visits in a row; an "
            "endpoint such as limit judges it"
        )
    return "no candidate may be chosen: each is refused, for the reason beside it"


def _verdict(
    content: dict[str, Any], choice: Choice, found: Found, who: Subject, terms: Terms, effective: float
) -> dict[str, Any]:
    """Whether to keep to the reference, why, and what the best plan gains if time off drug is judged too."""
    days, name, reference = content["gain_days"], content["best"], terms.reference.name
    off = _off_drug(found, choice, who, terms, effective)
    keep = not days["mean"] > ERRORS * days["mcse"] and not found.broken
    error, naive = f"{days['mcse']:.1f}", f"{days['naive']:.1f}"
    by = f"error {error}; {naive} by the draws that chose it{_picks(found, choice)}"
    gain = f"an honest gain of {days['mean']:.1f} days ({by})"
    if found.broken:
        reason = (
            f'"{reference}" breaks a limit ({found.broken}); within the limits "{name}" is best, with {gain} over it'
        )
    elif keep and days["mean"] >= 0.0:
        reason = f'keep to "{reference}": "{name}" has {gain}, which is not clear of {ERRORS:g} errors'
    elif keep:
        reason = f'keep to "{reference}": the best of the others, "{name}", has {gain}'
    else:
        reason = f'"{name}" has {gain} over "{reference}"'
    if off is not None and not keep and off["mean"] <= 0.0 < days["mean"]:
        reason += f"; it rests on not judging the time off drug: with that judged too, it is {off['mean']:.1f} days"
    return {"keep_reference": keep, "reason": reason, "judged_off_drug_too": off}


def _off_drug(found: Found, choice: Choice, who: Subject, terms: Terms, effective: float) -> dict[str, float] | None:
    """The honest gain of what was chosen, where progression is judged at all times; None where it is anyway."""
    if who.rule.any_time:
        return None
    picked = [found.played[place].candidate for place in choice.halves]
    _, played = play(who._replace(rule=who.rule._replace(any_time=True)), terms, picked)
    first = halves(len(choice.honest))[0][:, None]
    benefit = decide.judge(np.where(first, played[1].gains, played[0].gains), effective=effective)
    return {"mean": benefit.mean, "mcse": benefit.mcse}


def _picks(found: Found, choice: Choice) -> str:
    """What the halves of the draws chose, whose gain it is, where that is not the best by all draws."""
    picked = list(dict.fromkeys(found.played[place].candidate.plan.text for place in choice.halves))
    if picked == [found.played[choice.best].candidate.plan.text]:
        return ""
    return "; it is that of choosing so: half of the draws chose " + " and the other ".join(
        f'"{one}"' for one in picked
    )


def grids() -> dict[str, dict[str, Any]]:
    """The families as the file tells them: form, and the values of each number (days as shares of the horizon)."""
    return {name: {"form": one.form, "values": one.values, "days": one.days} for name, one in FAMILIES.items()}
