"""What is asked of a forecast, and what of that cannot be answered."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.forecast.endpoints import Rule, label, rule_for
from persist.forecast.partner import Effect, check_names, check_partner, told
from persist.forecast.reply import RESPONSE_DAYS
from persist.forecast.trace import LIMIT
from persist.records.plans import read_plans
from persist.treatment.schedule import Plan, parse_plan, plan_of, plan_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


class Ask(NamedTuple):
    """What is asked of a forecast: plans (the first is the reference), horizon and start (None: the last visit) in days,
    endpoint (None: the observable's own) and others to list ``beside`` it, spacing of visits (None: the patient's median, else
    28 days), effort, seed; the share of visits that are missed; the limit of the burden after progression, over the burden
    then; the days within which a response to a restart counts; notes on the plans as they were read, and the drug that they
    name, with the place where they do (None: they name none); what a second drug does (``partner``).
    """

    plans: tuple[Plan, ...]
    horizon: float
    start: float | None = None
    endpoint: str | None = None
    beside: tuple[str, ...] = ()
    visit_every: float | None = None
    draws: int = 500
    replicates: int = 2
    seed: int = 0
    missed_visits: float = 0.0
    burden_limit: float = LIMIT
    response_days: float = RESPONSE_DAYS
    notes: tuple[str, ...] = ()
    drug: tuple[str, str] | None = None
    partner: Effect | None = None


def ask(plans: Sequence[str], horizon: float, table: str | Path | None = None, **options: Any) -> Ask:
    """An `Ask` from plan texts and those of a ``table`` (a file, `records.plans`) after them; `ScheduleError` / `UsageError`
    for what is no plan, two of one name, or no horizon, `DataError` for what is no table of plans.
    """
    _check_options(options)
    parsed = tuple(parse_plan(text) for text in ([plans] if isinstance(plans, str) else plans))
    if table is not None:
        written = read_plans(table)
        parsed += tuple(plan_of(name, schedule) for name, schedule in written.schedules.items())
        options |= {"notes": written.notes, "drug": (written.drug, written.where) if written.drug else None}
    names = [plan.name for plan in parsed]
    twice = sorted({name for name in names if names.count(name) > 1})
    where = "--plan" if table is None else "--plan and --plans"
    if not names:
        remedy = "give --plan PLAN or --plans FILE (persist forecast --help)"
        raise UsageError("no plan was given", where=where, remedy=remedy)
    if twice:
        what, remedy = f'two plans are called "{twice[0]}"', 'give each its own, such as --plan "holiday=off 90, on"'
        raise UsageError(what, where=where, remedy=remedy)
    if not 0.0 < horizon < np.inf:
        raise UsageError(f"the horizon is {horizon:g} days", where="--horizon", remedy="give a number of days over 0")
    check_partner(parsed, options.get("partner"))
    check_names(parsed)
    return Ask(parsed, float(horizon), **options)


def _check_options(options: dict[str, Any]) -> None:
    """`UsageError` for effort or spacing that is not positive."""
    for name, least in (("draws", 1), ("replicates", 1), ("visit_every", 1e-3), ("response_days", 1)):
        value = options.get(name)
        if value is not None and not value >= least:
            where = f"--{name.replace('_', '-')}"
            raise UsageError(f"{value:g} is too few", where=where, remedy=f"give {least:g} or more")
    limit = options.get("burden_limit", LIMIT)
    if not 1.0 < limit < np.inf:
        remedy = "give a multiple of the burden at progression over 1, such as 1.5"
        raise UsageError(f"{limit:g} is no limit", where="--burden-limit", remedy=remedy)
    missed = options.get("missed_visits", 0.0)
    if not 0.0 <= missed < 1.0:
        remedy = "give a probability from 0 to less than 1, such as 0.2"
        raise UsageError(f"{missed:g} is no share of visits", where="--missed-visits", remedy=remedy)


def rules_of(question: Ask, observable: str) -> tuple[Rule, ...]:
    """The rules of progression that are asked for, the one that decides first; `UsageError` for one that is no rule of the
    observable, or is there twice.
    """
    rules = (rule_for(observable, question.endpoint), *(rule_for(observable, text) for text in question.beside))
    names = [label(rule) for rule in rules]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"the rule {name} is there twice", where="--endpoint", remedy="name each rule once")
    return rules


def check_first_parts(question: Ask, rule: Rule) -> None:
    """`UsageError` for a plan that never gives the drug until progression, where that is judged on drug only."""
    for plan in question.plans:
        drugs = [plan] if plan.other is None else [plan, plan.other]
        never = plan.then is not None and not any(len(plan_schedule(one, 0.0, question.horizon).start) for one in drugs)
        if never and not rule.any_time:
            what = "its first part never gives the drug, and progression is judged on drug only, so the second never begins"
            remedy = f"use --endpoint {rule.name}:any-time, or begin with some days on"
            raise UsageError(what, where=f'plan "{plan.text}"', remedy=remedy)


def drug_of_plans(question: Ask, fitted: str | None) -> list[str]:
    """What is assumed of the drugs that the plans name; `UsageError` where it is not the one that was ``fitted``."""
    named = {plan.drug: f'plan "{plan.text}"' for plan in reversed(question.plans) if plan.drug}
    named |= {} if question.drug is None else dict([question.drug])
    said = [told(question.partner)] if question.partner is not None else []
    return [*(note for name, where in named.items() for note in _is_the_one(name, where, fitted)), *said]


def _is_the_one(name: str, where: str, fitted: str | None) -> list[str]:
    """What is assumed of a drug that is named first."""
    if fitted is None:
        return [f"the fit names no drug: {name}, which the plans name, is taken to be the one that was fitted"]
    if name.lower() != fitted.lower():
        remedy = f"name {fitted}, or none; of two drugs, the plan of {fitted} comes first"
        raise UsageError(f"the drug {name!r} was not fitted, but {fitted!r}", where=where, remedy=remedy)
    return []
