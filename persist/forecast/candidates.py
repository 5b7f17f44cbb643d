"""Candidates: the plans among which the best is looked for, family by family, and finer ones about one of them.

The grids are those of the clinic's habits, as shares of the horizon, so that they serve wells (days) as well as patients
(years). What a plan may be is not limited by them: any plan is compared by `forecast`.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, NamedTuple

from persist.errors import UsageError
from persist.treatment.schedule import Plan, parse_plan

if TYPE_CHECKING:
    from collections.abc import Sequence

WHOLE_DAYS = 60.0
"""Horizon in days from which on the days of a plan are whole ones."""
FINER = (2.0**-0.5, 1.0, 2.0**0.5)
"""Factors of the numbers of a plan about which it is looked more finely; of a family with one number also their roots."""


class Family(NamedTuple):
    """A family of plans: its ``form``, the ``values`` of each number in it (days as shares of the horizon), and whether the
    numbers are ``days``.
    """

    form: str
    values: tuple[tuple[float, ...], ...]
    days: bool


FAMILIES: dict[str, Family] = {
    "cycles": Family("on {0:g}, off {1:g}, repeat", ((1 / 12, 1 / 6, 1 / 3), (1 / 24, 1 / 12, 1 / 6, 1 / 3)), True),
    "holidays": Family("off {0:g}, on", ((1 / 12, 1 / 6, 1 / 4, 1 / 3, 1 / 2),), True),
    "adaptive": Family("adaptive {0:g}/{1:g}", ((0.25, 0.5, 1.0), (0.5, 1.0, 2.0)), False),
    "doses": Family("dose {0:g}", ((0.25, 0.5, 0.75),), False),
}
"""Fixed cycles, a holiday first, thresholds of the burden over that when the plan starts, a lower dose throughout."""


class Candidate(NamedTuple):
    """A plan of a ``family`` by its ``numbers``."""

    family: str
    numbers: tuple[float, ...]
    plan: Plan


def chosen(names: Sequence[str]) -> tuple[str, ...]:
    """Families by name, each once and in their order; all of them where none is named. `UsageError` for another name."""
    for name in names:
        if name not in FAMILIES:
            raise UsageError(f'no family "{name}"', where="--family", remedy=f"choose {', '.join(FAMILIES)}")
    return tuple(name for name in FAMILIES if not names or name in names)


def coarse(families: Sequence[str], horizon: float) -> list[Candidate]:
    """The grid of each family over a horizon (days)."""
    found = []
    for name in families:
        family = FAMILIES[name]
        scale = horizon if family.days else 1.0
        for numbers in itertools.product(*family.values):
            found += _candidate(name, tuple(scale * number for number in numbers), horizon)
    return _apart(found)


def finer(about: Candidate, horizon: float) -> list[Candidate]:
    """Plans about one, each of its numbers times `FINER`, without itself."""
    factors = FINER if len(about.numbers) > 1 else tuple(sorted((*FINER, *(factor**0.5 for factor in FINER))))
    found = []
    for those in itertools.product(factors, repeat=len(about.numbers)):
        numbers = tuple(number * factor for number, factor in zip(about.numbers, those, strict=True))
        found += _candidate(about.family, numbers, horizon)
    return [one for one in _apart(found) if one.plan != about.plan]


def _candidate(name: str, numbers: tuple[float, ...], horizon: float) -> list[Candidate]:
    """The plan of these numbers, or none where they make no plan of their family (or one that is `on`)."""
    family = FAMILIES[name]
    rounded = tuple(_days(number, horizon) if family.days else float(f"{number:.3g}") for number in numbers)
    if name == "adaptive" and not rounded[0] < rounded[1]:
        return []
    if name == "doses" and not rounded[0] < 1.0:
        return []
    if family.days and rounded[-1 if name == "holidays" else 0] >= horizon:
        return []
    return [Candidate(name, rounded, parse_plan(family.form.format(*rounded)))]


def _days(number: float, horizon: float) -> float:
    """Whole days, at least one, of a long horizon; of a short one, three digits."""
    return float(max(1, math.floor(number + 0.5))) if horizon >= WHOLE_DAYS else float(f"{number:.3g}")


def _apart(found: list[Candidate]) -> list[Candidate]:
    """Each plan once."""
    return list({one.plan.text: one for one in found}.values())
