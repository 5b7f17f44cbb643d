"""What is kept of a chunk of futures: burdens, endpoints as the watch told them, and sums over paths."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from persist.dynamics.observe import visible
from persist.forecast.agenda import planned
from persist.forecast.visits import measure
from persist.types import Cells

if TYPE_CHECKING:
    from persist.dynamics.paths import Lanes, Steered
    from persist.forecast.agenda import Agenda
    from persist.forecast.landmark import Patient

QUANTILES_OF = 20_000
"""Paths that the quantiles of the burden are taken of: as many replicates of each draw as fit."""


class Part(NamedTuple):
    """What is kept of a chunk of paths: ``burden`` of some ``(n, n_dense)``, and what would be ``measured`` of it; per path
    ``times`` of progression by each rule ``(n, n_rules)`` and of the visit at which it was ``seen``, ``gone``, what is told
    of its ``trace``, ``visits`` in a row on drug and days ``on`` it; sums of ``shares`` ``(n_dense, 3)`` and ``dose``
    ``(n_dense,)``.
    """

    burden: np.ndarray
    measured: np.ndarray
    times: np.ndarray
    seen: np.ndarray
    gone: np.ndarray
    trace: dict[str, np.ndarray]
    visits: np.ndarray
    on: np.ndarray
    shares: np.ndarray
    dose: np.ndarray


def part(who: Patient, one: Agenda, members: np.ndarray, lanes: Lanes, path: Steered) -> Part:
    """Burdens, endpoints and sums of a chunk."""
    here = len(members)
    cells, dose = _on_days(who, one, lanes, path, here)
    total, shed = cells.sum(axis=-1), lanes.memory.scale.shed_p
    shown = visible(Cells(*np.moveaxis(cells, -1, 0)), None if shed is None else np.asarray(shed)[:here, None])
    filled = _filled(np.asarray(shown).T, lanes.seen.chance.drift.shape)
    burden, measured = (
        np.asarray(value).T[:here] for value in _measured(filled, lanes.memory.scale, lanes.seen.chance)
    )
    burden, measured = burden[:, : len(one.day)], measured[:, : len(one.day)]
    dense = np.isin(one.day, one.dense)
    kept = members % who.replicates < max(1, QUANTILES_OF * who.replicates // max(1, who.paths))
    return Part(
        burden=burden[kept][:, dense],
        measured=measured[kept][:, dense],
        times=np.asarray(path.marks.progressed),
        seen=np.asarray(path.marks.seen),
        gone=total[:, -1] <= 0.0,
        trace={name: np.asarray(value) for name, value in path.marks.trace.items()},
        visits=np.asarray(path.marks.visits),
        on=np.asarray(path.days_on_drug),
        shares=(cells / np.maximum(total, 1.0)[..., None])[:, dense].sum(axis=0),
        dose=dose[:, dense].sum(axis=0),
    )


def _on_days(who: Patient, one: Agenda, lanes: Lanes, path: Steered, here: int) -> tuple[np.ndarray, np.ndarray]:
    """Cells ``(n, n_days, 3)`` and dose ``(n, n_days)`` on the recorded days of an agenda; a day that no step leads up to is
    the landmark.
    """
    started, place = one.upto > 0, np.searchsorted(np.unique(one.upto[one.upto > 0]), one.upto)

    def at_marks(record: Any, start: Any) -> np.ndarray:
        values = np.asarray(record)[:, np.minimum(place, np.shape(record)[1] - 1)]
        return np.where(started, values, np.reshape(start, (-1, 1)))

    pairs = zip(path.cells, lanes.cells, strict=True)
    cells = np.stack([at_marks(record, start[:here]) for record, start in pairs], axis=-1)
    first = np.broadcast_to(
        lanes.memory.given(*(part[0] for part in planned(who, one)[:2]), 0.0), len(lanes.seen.chance.drift[0])
    )
    return cells, at_marks(path.dose, first[:here])


_measured = jax.jit(measure)


def _filled(part: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    """An array filled up by zeros, so that few shapes are compiled."""
    return np.pad(part, [(0, size - had) for size, had in zip(shape, part.shape, strict=True)])
