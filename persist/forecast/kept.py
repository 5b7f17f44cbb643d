"""What is kept of a chunk of futures: burdens, endpoints as a clinic would judge them, and sums over paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from persist.dynamics.batches import bucket
from persist.dynamics.observe import visible
from persist.forecast.agenda import last_course
from persist.forecast.endpoints import Rule, time_to_progression
from persist.forecast.visits import measure
from persist.treatment.schedule import course_at, dose_at
from persist.types import Cells

if TYPE_CHECKING:
    from persist.dynamics.paths import Lanes, Steered
    from persist.forecast.agenda import Agenda
    from persist.forecast.landmark import Patient

QUANTILES_OF = 20_000
"""Paths that the quantiles of the burden are taken of: as many replicates of each draw as fit."""


SHORTLY = 1e-6
"""Days before the horizon at which the dose that goes on there is read."""


class Part(NamedTuple):
    """What is kept of a chunk of paths: ``burden`` of some ``(n, n_dense)``, and what would be ``measured`` of it; per path
    ``times``, ``gone``, ``visits`` in a row on drug and days ``on`` it; sums of ``shares`` ``(n_dense, 3)`` and ``dose``
    ``(n_dense,)``.
    """

    burden: np.ndarray
    measured: np.ndarray
    times: np.ndarray
    gone: np.ndarray
    visits: np.ndarray
    on: np.ndarray
    shares: np.ndarray
    dose: np.ndarray


def part(who: Patient, one: Agenda, members: np.ndarray, lanes: Lanes, path: Steered) -> Part:
    """Burdens, endpoints and sums of a chunk."""
    here = len(members)
    cells, dose, course = _on_days(who, one, lanes, path, here)
    total, shed = cells.sum(axis=-1), lanes.memory.scale.shed_p
    seen = visible(Cells(*np.moveaxis(cells, -1, 0)), None if shed is None else np.asarray(shed)[:here, None])
    filled = _filled(np.asarray(seen).T, lanes.seen.drift.shape)
    burden, measured = (np.asarray(value).T[:here] for value in _measured(filled, lanes.memory.scale, lanes.seen))
    burden, measured = burden[:, : len(one.day)], measured[:, : len(one.day)]
    dense, visited = np.isin(one.day, one.dense), np.isin(one.day, one.visits)
    before, seen_days = (who.at.nadir, last_course(who, one)), one.visits - who.look.start
    kept = members % who.replicates < max(1, QUANTILES_OF * who.replicates // max(1, who.paths))
    return Part(
        burden=burden[kept][:, dense],
        measured=measured[kept][:, dense],
        times=_times(measured[:, visited], seen_days, course[:, visited], before, who.rule),
        gone=total[:, -1] <= 0.0,
        visits=_longest_runs(course[:, visited]),
        on=np.asarray(path.days_on_drug),
        shares=(cells / np.maximum(total, 1.0)[..., None])[:, dense].sum(axis=0),
        dose=dose[:, dense].sum(axis=0),
    )


def _on_days(
    who: Patient, one: Agenda, lanes: Lanes, path: Steered, here: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Cells ``(n, n_days, 3)``, dose and course of treatment ``(n, n_days)`` on the recorded days of an agenda; a day that no
    step leads up to is the landmark.
    """
    started, place = one.upto > 0, np.searchsorted(np.unique(one.upto[one.upto > 0]), one.upto)

    def at_marks(record: Any, start: Any) -> np.ndarray:
        values = np.asarray(record)[:, np.minimum(place, np.shape(record)[1] - 1)]
        return np.where(started, values, np.reshape(start, (-1, 1)))

    pairs = zip(path.cells, lanes.cells, strict=True)
    cells = np.stack([at_marks(record, start[:here]) for record, start in pairs], axis=-1)
    ruled = one.ruled_from <= who.at.day + 1e-6
    dose = at_marks(path.dose, lanes.memory.dose[:here] if ruled else one.steps.dose[0])
    course = at_marks(path.course, 0)
    if one.plan.rule is None:
        seen = np.minimum(one.day, one.day[-1] - SHORTLY)  # on the last day, the schedule is cut off
        dose = np.broadcast_to(dose_at(one.schedule, seen), dose.shape)
        course = np.broadcast_to(course_at(one.schedule, seen), course.shape)
    return cells, dose, course


_measured = jax.jit(measure)


def _times(
    measured: np.ndarray, day: np.ndarray, course: np.ndarray, before: tuple[float | None, int], rule: Rule
) -> np.ndarray:
    """Time to progression of every path; ``before`` is the nadir up to the landmark (None: off drug), and its course.

    The nadir stands first, at day 0, and counts for as long as that course goes on.
    """
    nadir, number = before
    if nadir is not None:
        measured = np.concatenate([np.full((len(measured), 1), nadir), measured], axis=1)
        course = np.concatenate([np.full((len(measured), 1), number), course], axis=1)
        day = np.append(0.0, day)
    shape = (bucket(len(measured)), bucket(len(day)))  # beyond the visits: no burden, off drug, at no time
    later = np.append(day, np.full(shape[1] - len(day), np.inf))
    return np.asarray(_judged(later, _filled(measured, shape), _filled(course, shape), rule))[: len(measured)]


def _filled(part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array filled up by zeros, so that few shapes are compiled."""
    return np.pad(part, [(0, size - had) for size, had in zip(shape, part.shape, strict=True)])


_judged = jax.jit(time_to_progression, static_argnames="rule")


def _longest_runs(course: np.ndarray) -> np.ndarray:
    """The most visits in a row within one course of treatment, of each path ``(n,)``."""
    row, best = np.zeros(len(course), int), np.zeros(len(course), int)
    before = np.zeros(len(course), int)
    for now in course.T:
        row = np.where(now > 0, np.where(now == before, row, 0) + 1, 0)
        best, before = np.maximum(best, row), now
    return best
