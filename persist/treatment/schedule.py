"""Schedules: the doses given, by day, and the grid of steps on which the cells are followed.

A `Plan` says what is to come, counted from its start; a `Schedule` says it in days of the patient. The grid cuts time
at every change of dose and at every day one wants to see. Days and doses are float64; doses are of full dose (0..1).
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike

from persist.errors import ScheduleError
from persist.treatment.grammar import Piece, Plan, parse_plan
from persist.types import Grid, Schedule

__all__ = ["Piece", "Plan", "course_at", "dose_at", "grid", "parse_plan", "plan_of", "plan_schedule", "splice"]

CLOSE = 1e-9
"""Days nearer to each other than this are one day."""
MAX_PIECES = 100_000
"""A plan may be unrolled to this many pieces within its horizon."""


def plan_schedule(plan: Plan, start_day: float, horizon: float) -> Schedule:
    """Schedule of a plan: its pieces from ``start_day``, repeated where it repeats, cut at ``start_day + horizon``.

    Where a rule follows the pieces, it is taken to give the full dose throughout, and of a plan until progression this is the
    first part, as if there was none. Segments ``(n_segments,)`` in absolute
    days, dose > 0 only; touching pieces of one dose are one segment. Raises
    `ScheduleError` where the pieces are so short that more than `MAX_PIECES` would fit into the horizon.
    """
    if not (math.isfinite(start_day) and 0.0 < horizon < math.inf):
        raise ValueError(f"start_day and horizon must be finite and horizon positive, got {start_day} and {horizon}")
    pieces = plan.pieces if plan.rule is None else (*plan.pieces, Piece(1.0, math.inf))
    dose, days = (np.array(column, dtype=np.float64) for column in zip(*pieces, strict=True))
    offset = np.concatenate([[0.0], np.cumsum(np.minimum(days, horizon))])
    turns = horizon / float(offset[-1]) if plan.repeat else 1.0
    if turns * len(days) > MAX_PIECES:
        what = f"more than {MAX_PIECES} pieces within {horizon:g} days"
        raise ScheduleError(what, where=f'plan "{plan.text}"', remedy="write longer pieces or a shorter horizon")
    cycles = math.ceil(turns)
    opens = (offset[-1] * np.arange(cycles))[:, None] + offset[None, :-1]
    edge = start_day + np.minimum(np.append(opens.ravel(), cycles * offset[-1]), horizon)
    return _tidy(edge[:-1], edge[1:], np.tile(dose, cycles))


def plan_of(name: str, schedule: Schedule) -> Plan:
    """The plan that a schedule in days from its start stands for: its pieces, off drug where no segment is.

    Segments ``(n_segments,)`` sorted and apart, from day 0 on; a dose of 0 is none. Its text is that of the grammar.
    """
    edge = np.unique(np.concatenate([[0.0], schedule.start, schedule.stop[np.isfinite(schedule.stop)]]))
    doses = dose_at(schedule, edge)
    fresh = np.append(True, np.diff(doses) != 0.0)
    edge, doses = edge[fresh], doses[fresh]
    pieces = tuple(
        Piece(float(dose), float(days)) for dose, days in zip(doses, np.diff(edge, append=np.inf), strict=True)
    )
    return Plan(name, ", ".join(_words(piece) for piece in pieces), pieces, repeat=False)


def _words(piece: Piece) -> str:
    """A piece as it is written in a plan."""
    given = {0.0: "off", 1.0: "on"}.get(piece.dose, f"dose {piece.dose!r}")
    return given if math.isinf(piece.days) else f"{given} {piece.days!r}".removesuffix(".0")


def splice(history: Schedule, planned: Schedule, day: float) -> Schedule:
    """What ``history`` gave before ``day``, then what is ``planned`` from ``day`` on; the rest of either is dropped."""
    start = np.concatenate([history.start, np.maximum(planned.start, day)])
    stop = np.concatenate([np.minimum(history.stop, day), planned.stop])
    return _tidy(start, stop, np.concatenate([history.dose, planned.dose]))


def dose_at(schedule: Schedule, day: ArrayLike) -> np.ndarray:
    """Dose in force at each ``day`` (any shape); right-continuous: at a change of dose, the new one; else 0."""
    days = np.asarray(day, dtype=np.float64)
    if len(schedule.start) == 0:
        return np.zeros(days.shape)
    segment = np.searchsorted(schedule.start, days, side="right") - 1
    inside = (segment >= 0) & (days < schedule.stop[segment])
    return np.where(inside, schedule.dose[segment], 0.0)


def course_at(schedule: Schedule, day: ArrayLike) -> np.ndarray:
    """Number of the course of treatment in force at each ``day`` (any shape), from 1 on; 0 off drug.

    A course is an unbroken time on drug, at whatever dose: a pause begins another one, even if no visit falls into it.
    """
    given = np.asarray(schedule.dose) > 0.0
    start, stop = np.asarray(schedule.start)[given], np.asarray(schedule.stop)[given]
    fresh = np.concatenate([[True], start[1:] > stop[:-1] + CLOSE]) if len(start) else np.zeros(0, bool)
    number = np.searchsorted(start[fresh], np.asarray(day, float), side="right")
    return np.where(dose_at(schedule, day) > 0.0, number, 0)


def grid(
    schedule: Schedule, marks: ArrayLike, *, start: float, stop: float, max_step: float
) -> tuple[Grid, np.ndarray]:
    """Steps from ``start`` to ``stop``, and for each mark the number of steps that lead up to it.

    Broken at every change of dose and at every mark ``(n_marks,)`` (visit days within start..stop, in any order), and
    between breaks split evenly into the fewest steps of at most ``max_step`` days. Returns ``Grid(length, dose)``,
    NumPy ``(n_steps,)``, and the index ``(n_marks,)``: ``start + length[:index].sum()`` is the mark (within `CLOSE`;
    breaks nearer than that are one). The dose of a step is the schedule's at its midpoint. Raises ValueError for marks
    outside or bounds that are none.
    """
    days = np.asarray(marks, dtype=np.float64)
    if not (math.isfinite(start) and math.isfinite(stop) and start <= stop and max_step > 0.0):
        raise ValueError(f"no grid from {start} to {stop} in steps of {max_step}")
    if not np.all((days >= start - CLOSE) & (days <= stop + CLOSE)):
        raise ValueError(f"marks outside {start} to {stop}")
    node = _breaks(schedule, days, start, stop)
    gap = np.diff(node)
    pieces = np.maximum(np.ceil(gap / max_step - CLOSE), 1.0).astype(np.int64)
    length = np.repeat(gap / pieces, pieces)
    within = np.arange(len(length)) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    midpoint = np.repeat(node[:-1], pieces) + (within + 0.5) * length
    steps = np.concatenate([[0], np.cumsum(pieces)])
    return Grid(length, dose_at(schedule, midpoint)), steps[_nearest_node(node, days)]


def _breaks(schedule: Schedule, marks: np.ndarray, start: float, stop: float) -> np.ndarray:
    """Sorted days at which steps must end, the first ``start``, the last ``stop``, none closer than `CLOSE`.

    Where a mark and a change of dose lie that close, the mark stays.
    """
    nodes = [start, stop] if stop - start > CLOSE else [start]
    for group in (marks, schedule.start, schedule.stop):
        taken = np.array(sorted(nodes))
        inside = np.unique(group[(group > start) & (group < stop)])
        free = inside[np.abs(inside - taken[_nearest_node(taken, inside)]) > CLOSE]
        nodes.extend(free[np.diff(free, prepend=-np.inf) > CLOSE])
    return np.array(sorted(nodes))


def _nearest_node(node: np.ndarray, days: np.ndarray) -> np.ndarray:
    """Index of the node that lies nearest to each day; ``node`` sorted, not empty."""
    right = np.clip(np.searchsorted(node, days), 0, len(node) - 1)
    left = np.maximum(right - 1, 0)
    return np.where(np.abs(days - node[left]) <= np.abs(node[right] - days), left, right)


def _tidy(start: np.ndarray, stop: np.ndarray, dose: np.ndarray) -> Schedule:
    """Schedule of the segments that give a dose, in order; empty ones dropped, touching ones of one dose joined."""
    given = (stop > start) & (dose > 0.0)
    start, stop, dose = start[given], stop[given], dose[given]
    if len(start) == 0:
        return Schedule(start, stop, dose)
    joined = (start[1:] <= stop[:-1]) & (dose[1:] == dose[:-1])
    opens, closes = np.append(True, ~joined), np.append(~joined, True)
    return Schedule(start[opens], stop[closes], dose[opens])
