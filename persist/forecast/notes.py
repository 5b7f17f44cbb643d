"""What a reader of a forecast must know of how it was made."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.dynamics.stepsize import BOUND
from persist.inference import posterior

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persist.forecast.endpoints import Rule
    from persist.forecast.landmark import Look
    from persist.forecast.under import Futures
    from persist.inference import store
    from persist.treatment.schedule import Plan


def notes(
    fit: store.DataTree, plans: Sequence[Plan], looks: dict[str, Look], rule: Rule, rows: dict[str, list[Futures]]
) -> list[str]:
    """Sentences for the file, the page and the terminal; ``looks`` and ``rows`` by patient."""
    return [*_later_values(fit, looks), *_new_doses(fit, plans, looks), *_rule_met_by_chance(rule), *_long_steps(rows)]


def _later_values(fit: store.DataTree, looks: dict[str, Look]) -> list[str]:
    """Values after the start of the futures, which the fit knew already."""
    later = {
        one.patient_id: int(np.sum(one.day > looks[one.patient_id].start))
        for one in posterior.series(fit)
        if one.patient_id in looks
    }
    return [
        f"the rates of {name} were fitted to {count} values after day {looks[name].start:g} too, so this is no forecast "
        "from that day on: to judge one, fit without them"
        for name, count in later.items()
        if count
    ]


def _new_doses(fit: store.DataTree, plans: Sequence[Plan], looks: dict[str, Look]) -> list[str]:
    """Doses that a patient never had are foretold by the model's straight line between none and the full dose."""
    told_of = []
    for one in (one for one in posterior.series(fit) if one.patient_id in looks):
        had = {0.0, *(float(dose) for schedule in one.schedules.values() for dose in schedule.dose)}
        new = sorted(
            {piece.dose for plan in plans for piece in (*plan.pieces, *(plan.then.pieces if plan.then else ()))} - had
        )
        if new:
            told = ", ".join(f"{dose:g}" for dose in new)
            told_of.append(
                f"{one.patient_id} was never given the dose {told} (of full dose): its effect is the model's, in proportion "
                "to the dose, and no data of this patient bear on it"
            )
    return told_of


def _rule_met_by_chance(rule: Rule) -> list[str]:
    """What is wrong with a rule that wander alone may meet."""
    if rule.name != "relative":
        return []
    return [
        "the rule relative (+25 % over the nadir at two visits in a row) is often met by a tumour that stands still, by "
        "wander and noise alone: compare plans by it, and do not read its days as a clinical progression"
    ]


def _long_steps(rows: dict[str, list[Futures]]) -> list[str]:
    """Steps of the engine that are too long for some draw."""
    return [
        f"some draw of {name} is so fast that steps of {step.days:.2g} days put its mean off by up to "
        f"{100 * step.error:.2g} %"
        for name, futures in rows.items()
        if (step := futures[0].step).error > BOUND
    ]
