"""What is asked of a simulation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from persist.dynamics.checks import MOST_CELLS
from persist.dynamics.paths import ENGINES
from persist.errors import UsageError
from persist.treatment.schedule import parse_plan

if TYPE_CHECKING:
    from persist.treatment.schedule import Plan

MEAN = "mean"
"""The engine without chance: the mean field."""

VISIT_EVERY = 28.0
"""Days between the visits at which a rule looks at the burden, unless told otherwise."""


class Order(NamedTuple):
    """What is to be simulated: ``days`` days under ``plan`` by ``engine``; ``step`` days at most for leap and mean (None:
    as `stepsize.choose` finds), which follows populations of up to ``exact_below`` cells event by event; ``keep``
    trajectories at most go into the file; a rule looks every ``visit_every`` days.
    """

    plan: Plan
    days: int
    trajectories: int = 1000
    engine: str = "leap"
    step: float | None = None
    keep: int = 1000
    seed: int = 0
    visit_every: float = VISIT_EVERY
    exact_below: float = 0.0


def order(plan: str, days: int, **options: Any) -> Order:
    """An `Order` from the text of a plan; `ScheduleError` / `UsageError` for what cannot be simulated."""
    one = Order(parse_plan(plan), days, **options)
    if one.engine not in (*ENGINES, MEAN):
        raise UsageError(f"no engine named {one.engine!r}", remedy=f"choose {', '.join((*ENGINES, MEAN))}")
    for name, value in (("days", one.days), ("trajectories", one.trajectories), ("keep", one.keep)):
        if value < 1:
            raise UsageError(f"{name} is {value}", remedy="give 1 or more")
    if not 0.0 <= one.exact_below <= MOST_CELLS:
        remedy = f"give a number of cells from 0 to {MOST_CELLS:g}"
        raise UsageError(f"{one.exact_below:g} cells cannot be followed event by event", remedy=remedy)
    if not one.visit_every >= 1.0:
        raise UsageError(f"visits every {one.visit_every:g} days", remedy="give 1 day or more (records are daily)")
    if one.plan.other is not None:
        what = "a simulation is of one drug"
        raise UsageError(what, where=f'plan "{one.plan.text}"', remedy="write the plan of the one named by --drug")
    if one.plan.then is not None:
        what = "a simulation measures nothing, so it sees no progression"
        remedy = "name the day, such as on 180, off, or use persist forecast"
        raise UsageError(what, where=f'plan "{one.plan.text}"', remedy=remedy)
    if one.plan.rule is not None and one.engine == MEAN:
        raise UsageError("the mean field has no paths that a rule could look at", remedy="use another engine")
    if one.step is not None and not 0.0 < one.step <= 1.0:
        raise UsageError(f"the step is {one.step:g} days", remedy="give more than 0 and at most 1 (records are daily)")
    return one
