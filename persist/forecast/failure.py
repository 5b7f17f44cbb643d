"""Failure: the day on which the burden reaches a limit, on drug or off, and stays there at the next visit.

A rule that judges on drug only compares plans that were thought of for other reasons. To look for the best plan by it is no
use: nothing is judged in a holiday, so the longest one wins, whatever it does. A limit is the same for every plan at all times.
By itself it is `OVER` times the largest burden that the patient had up to the start.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from persist.errors import UsageError
from persist.forecast.endpoints import AT_NEXT_VISIT, Rule, rule_for

if TYPE_CHECKING:
    from persist.forecast.landmark import Landmark
    from persist.types import Series

NAME = "limit"
OVER = 1.25
"""Times the largest burden seen that count as failure: the +25 % of the rules of progression."""


def judged_by(one: Series, at: Landmark, text: str | None = None) -> tuple[Landmark, Rule]:
    """The landmark and the rule by which a patient is judged: ``limit`` (the default), ``limit:BURDEN`` in the unit of the
    file, or a rule of `endpoints` (``psa``, ``psa:any-time`` ...).

    A limit L is a rise of L over a nadir that is 0 from the start, so the landmark's is taken to be that. Raises `UsageError`
    for a limit that is no burden, and as `rule_for` does.
    """
    name, _, given = (part.strip().lower() for part in (text or NAME).partition(":"))
    if name != NAME:
        return at, rule_for(one.observable, text)
    level = _limit(given, text) if given else OVER * largest(one, at.day)
    return at._replace(nadir=0.0), Rule(NAME, 0.0, level, AT_NEXT_VISIT, True, "burden as measured")


def largest(one: Series, day: float) -> float:
    """The largest burden of a patient up to a day, as measured; a count of 0 is 1."""
    return float(np.max(np.where(one.burden > 0.0, one.burden, 1.0)[one.day <= day]))


def _limit(given: str, text: str | None) -> float:
    try:
        level = float(given)
    except ValueError:
        level = math.nan
    if not 0.0 < level < math.inf:
        remedy = "write limit, or limit:BURDEN in the unit of the burden, such as limit:10"
        raise UsageError(f"{given!r} is no limit of a burden", where=f'--endpoint "{text}"', remedy=remedy)
    return level
