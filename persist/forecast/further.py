"""What to measure next: the days that one more value is worth to the choice of a plan.

The plan is chosen, and begins, on the day of the value; until then the treatment goes on as recorded. The plans are those of
the coarse grid that may be chosen, and the reference. `worth` says what a value is worth, `to_measure` how likely it is.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from persist import keys
from persist.errors import UsageError
from persist.forecast import decide
from persist.forecast.ahead import moved
from persist.forecast.candidates import coarse
from persist.forecast.limits import broken
from persist.forecast.optimise import subject
from persist.forecast.search import play
from persist.forecast.to_measure import KINDS, measured
from persist.forecast.worth import worth
from persist.inference import posterior
from persist.types import Cells

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persist.forecast.optimise import Wanted
    from persist.forecast.search import Played, Subject, Terms
    from persist.forecast.under import Futures
    from persist.inference import store
    from persist.types import Series

VALUES = 4
"""Values that are drawn of each draw."""

FEW = 20.0
"""Draws that bear on a decision, under which its worth is told to be rough."""


def ahead_of(
    fit: store.DataTree,
    asked: Wanted,
    patients: Sequence[str],
    after: Sequence[float],
    progress: Callable[[str, int, int], None] | None = None,
) -> dict[str, list[dict[str, Any]]]:
    """`whats_next` of some patients of a fit, by name; nothing where no day is asked for."""
    found = {}
    for one in posterior.series(fit) if after else ():
        name = one.patient_id
        if name in patients:
            count = None if progress is None else partial(progress, name)
            found[name] = whats_next(fit, one, asked, after, posterior.effective_draws(fit, name), count)
    return found


def whats_next(
    fit: store.DataTree,
    one: Series,
    asked: Wanted,
    after: Sequence[float],
    effective: float,
    progress: Callable[[int, int], None] | None = None,
) -> list[dict[str, Any]]:
    """For each day so many days ``after`` the last value: ``day``, ``without`` (the plan chosen with no further value),
    ``perfect_at_most`` (for one who knows the draw and the chance of its futures) and, by kind of `KINDS`, ``{mean, mcse,
    naive, effective_draws, rough}`` in days of gain.

    ``effective`` is the number of draws that those of the fit count for. Raises `UsageError` for a day that is not after it.
    """
    found = []
    for days in after:
        if not days > 0.0:
            raise UsageError(f"{days:g} days after the last value", where="--next", remedy="give a number over 0")
        start = float(one.day[-1]) + days
        who = subject(fit, one, asked.question._replace(start=start))
        reference, played = play(who, asked.terms, coarse(asked.terms.families, who.look.horizon), progress)
        found.append({"day": start} | of_day(who, asked.terms, reference, played, effective))
    return found


def of_day(
    who: Subject, terms: Terms, reference: Futures, played: Sequence[Played], effective: float
) -> dict[str, Any]:
    """What a value on the day on which the plans begin is worth, given the plans as played."""
    may = [(one.candidate.plan.text, one.gains.mean(axis=1)) for one in played if not one.refused]
    if not broken(terms.limits, reference, who.look.horizon):
        may.append((terms.reference.text, np.zeros(len(reference.time_to_progression))))
    if len(may) < 2:
        return {"without": may[0][0] if may else None, "perfect_at_most": None} | dict.fromkeys(KINDS)
    gains, days = np.stack([gain for _, gain in may]), who.look.start - who.at.day
    path = moved(terms.seed, who.name, who.at, who.history, np.array([who.look.start]))
    cells = Cells(*(np.asarray(state)[:, 0] for state in path))
    told: dict[str, Any] = {"without": may[int(gains.mean(axis=1).argmax())][0], "perfect_at_most": None}
    for kind in KINDS:
        law = measured(kind, who.at, cells, days)
        rng = np.random.default_rng(keys.seed_of(terms.seed, who.name, "next", kind, f"{who.look.start:g}"))
        value = worth(gains, law.drawn(rng, VALUES), law.density)
        benefit = decide.judge(value.added[:, None], effective=effective)
        told[kind] = {
            "mean": benefit.mean,
            "mcse": benefit.mcse,
            "naive": value.naive,
            "effective_draws": value.effective,
            "rough": value.effective < FEW,
        }
    return told | {"perfect_at_most": float(value.perfect.mean())}
