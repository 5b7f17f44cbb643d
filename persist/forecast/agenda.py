"""Agendas: one plan on the calendar of one patient, with the grid of steps on which its futures are followed."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.dynamics.paths import Course
from persist.errors import ScheduleError
from persist.treatment.schedule import dose_at, grid, plan_schedule, splice
from persist.types import Grid, Schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persist.forecast.landmark import Look, Patient
    from persist.treatment.schedule import Plan


NEVER = Schedule(np.zeros(0), np.zeros(0), np.zeros(0))
"""A schedule that gives nothing."""
MOST_CHANGES = 1000
"""Changes of dose that a plan which follows progression may have within the horizon."""
MOST_DAYS = 20_000
"""Days on which it may have them, since it may begin at any visit."""


class Agenda(NamedTuple):
    """A plan in days of the patient: its ``schedule`` with what was given before (under a rule: as if on drug throughout);
    the days of ``visits`` and of the plotted record (``dense``); those that are recorded, ``day``, with the number of
    ``steps`` up to each, ``upto``; the day on which its rule begins to decide (inf: it has none); and the schedule ``after``
    progression, in days since that was seen (None: the plan goes on); the same of a ``partner``, its schedule in days of the
    patient and that ``partner_after`` progression.
    """

    plan: Plan
    schedule: Schedule
    visits: np.ndarray
    dense: np.ndarray
    day: np.ndarray
    upto: np.ndarray
    steps: Grid
    ruled_from: float
    after: Schedule | None
    partner: Schedule = NEVER
    partner_after: Schedule | None = None

    @property
    def ends(self) -> np.ndarray:
        """Days since the landmark at which the steps end."""
        return np.cumsum(self.steps.length)

    @property
    def shared(self) -> np.ndarray:
        """Which recorded days are those of every plan."""
        return np.isin(self.day, np.append(self.visits, self.dense))

    @property
    def recorded(self) -> np.ndarray:
        """Which steps end on a day that is recorded."""
        return np.isin(1 + np.arange(len(self.steps.length)), self.upto)


def agendas(who: Patient, history: Schedule, plans: Sequence[Plan]) -> list[Agenda]:
    """The agendas of all plans of one forecast. Where one of them may change the dose after progression, which may be on many
    days, the steps of all break: so the futures that a plan shares with another stay the same to the last cell. They also break
    where a second drug changes.
    """
    changes = [part for plan in plans for part in (_changes_after(who, plan), _changes_beside(who, plan))]
    breaks = np.unique(np.concatenate([np.zeros(0), *changes]))
    return [agenda(who, history, plan, breaks) for plan in plans]


def agenda(who: Patient, history: Schedule, plan: Plan, breaks: np.ndarray) -> Agenda:
    """The agenda of a plan. Its grid breaks at whole days since the landmark, at the days that are recorded, at the ``breaks``
    ``(n_breaks,)`` of all plans and at the plan's own changes of dose: but for these last, the steps of all plans of a patient
    are the same.
    """
    look, at = who.look, who.at
    schedule = splice(history, plan_schedule(plan, look.start, look.horizon), look.start)
    ruled = look.start + plan.ruled_from if plan.rule is not None and plan.ruled_from < look.horizon else np.inf
    visits, dense = _days(look)
    day = np.unique(np.concatenate([visits, dense, [ruled] if np.isfinite(ruled) else []]))
    stop = float(day[-1])
    after = _after(plan, look)
    nodes = np.concatenate([day, np.arange(at.day + 1.0, stop), breaks])
    steps, upto = grid(schedule, nodes, start=at.day, stop=stop, max_step=1.0)
    partner, later = (NEVER, None) if plan.other is None else (_beside(plan.other, look), _after(plan.other, look))
    return Agenda(plan, schedule, visits, dense, day, upto[: len(day)], steps, ruled, after, partner, later)


def _beside(other: Plan, look: Look) -> Schedule:
    """What a second drug gives, in days of the patient, up to progression."""
    return plan_schedule(other, look.start, look.horizon)


def _changes_beside(who: Patient, plan: Plan) -> np.ndarray:
    """Days within the horizon on which a second drug may change."""
    if plan.other is None:
        return np.zeros(0)
    given, look = _beside(plan.other, who.look), who.look
    edge = np.concatenate([given.start, given.stop])
    edge = edge[(edge > look.start) & (edge < look.start + look.horizon)]
    return np.unique(np.concatenate([edge, _changes_after(who, plan.other)]))


def _after(plan: Plan, look: Look) -> Schedule | None:
    """What a plan gives after progression, in days since that was seen; None: it goes on."""
    return None if plan.then is None else plan_schedule(plan.then, 0.0, look.horizon)


def _changes_after(who: Patient, plan: Plan) -> np.ndarray:
    """Days before the end on which a plan that begins at any of the visits may change the dose."""
    after, visits = _after(plan, who.look), _days(who.look)[0]
    if plan.then is None or after is None:
        return np.zeros(0)
    edge = np.unique([*after.start, *after.stop, plan.then.ruled_from])
    days = np.unique(_told_apart(np.add.outer(visits, edge[(edge > 0.0) & (edge < np.inf)])))
    days = days[days < visits[-1]]
    if len(edge) > MOST_CHANGES or len(days) > MOST_DAYS:
        what = f'"{plan.then.text}", which may begin at any visit, changes the dose too often for this horizon'
        raise ScheduleError(
            what, where=f'plan "{plan.text}"', remedy="write longer pieces, in whole days, or fewer visits"
        )
    return np.asarray(days)


def _days(look: Look) -> tuple[np.ndarray, np.ndarray]:
    """The days of visits and of the plotted record; both end at the horizon."""
    visits, dense = (_told_apart(look.start + _until(look.horizon, first, gap)) for first, gap in look.spacing)
    return visits, dense


def _until(horizon: float, first: float, gap: float) -> np.ndarray:
    """Days from ``first`` on, ``gap`` apart, and the horizon."""
    return np.append(np.arange(first, horizon - 1e-6, gap), horizon)


def _told_apart(days: np.ndarray) -> np.ndarray:
    """Days that are the same number where they are the same day: visits and record are counted by different steps."""
    return np.round(days, 9)


def course(who: Patient, one: Agenda) -> Course:
    """The plan along the grid. Every visit is looked at, and where it has a rule, that looks at the start of the plan, for its
    reference (unless that is the landmark, whose burden is known), and where it begins, too. Visits are numbered as the
    recorded days are.
    """
    ends, visit = one.ends + who.at.day, np.full(len(one.steps.length), -1)
    looked = np.union1d(one.visits, deciding(who, one))
    visit[np.searchsorted(ends, looked - 1e-6)] = np.searchsorted(one.day, looked - 1e-6)
    return Course(np.asarray(one.steps.dose), _ruled(who, one), visit, _partner(who, one))


def _partner(who: Patient, one: Agenda) -> np.ndarray:
    """The dose of a second drug in each step."""
    begins = one.ends + who.at.day - one.steps.length
    return np.asarray(dose_at(one.partner, begins + 1e-9))


def deciding(who: Patient, one: Agenda) -> np.ndarray:
    """The days on which the rule of a plan (its first, where another follows progression) looks; none without a rule."""
    if not np.isfinite(one.ruled_from):
        return np.zeros(0)
    early = np.unique([who.look.start, one.ruled_from])
    return np.append(early[early > who.at.day + 1e-6], one.visits[one.visits > one.ruled_from + 1e-6])


def planned(who: Patient, one: Agenda) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Of each recorded day ``(n_days,)``, the dose that is planned from then on, whether the rule decides it instead, and the
    dose of a second drug.
    """
    following = np.minimum(one.upto, len(one.steps.length) - 1)
    return np.asarray(one.steps.dose)[following], _ruled(who, one)[following], _partner(who, one)[following]


def _ruled(who: Patient, one: Agenda) -> np.ndarray:
    """Which steps begin while the rule decides."""
    return np.asarray(one.ends + who.at.day - one.steps.length >= one.ruled_from - 1e-6)


def last_course(who: Patient, one: Agenda) -> int:
    """The number of the course of treatment just before the start of the plan (0: off drug), as its futures count them."""
    history = np.append(who.before, one.steps.dose[_before(who, one)] > 0).astype(int)
    return int(history[-1] and history[0] + (np.diff(history) > 0).sum())


def days_on_drug_before(who: Patient, one: Agenda) -> float:
    """Days on drug from the landmark to the start of the plan."""
    return float(np.sum(one.steps.length[_before(who, one) & (one.steps.dose > 0)]))


def _before(who: Patient, one: Agenda) -> np.ndarray:
    """Which steps lie between the landmark and the start of the plan."""
    return np.asarray(one.ends + who.at.day <= who.look.start + 1e-6)
