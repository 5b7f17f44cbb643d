"""From ragged series to one padded cohort, so that one compile serves every patient of a similar size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from persist.dynamics.observe import OBSERVABLES, Observable
from persist.errors import DataError, UsageError
from persist.inference import composition
from persist.inference.population import UNKNOWN, Polynomials, Population
from persist.inference.priors import base_of
from persist.records.stops import doubtful
from persist.treatment import doubt
from persist.treatment.exposure import along
from persist.treatment.schedule import grid
from persist.types import Cohort, Doubt, Known, Schedule, Series, Specimens

MAX_STEP_DAYS = {"clinical": 30.0, "in-vitro": 0.5}
SETTLING_DAYS = {"clinical": (5.0, 10.0, 20.0, 35.0, 50.0, 70.0), "in-vitro": (0.2, 0.5, 1.0)}
"""Steps also end so many days after a change of dose, while the exposure moves and one kind of cell takes over from another:
without them, a month's step is off by 5 % of N in the median prior draw and 22 % in the worst of twenty; with them by 0.8 % and
4 %."""
CLONE_GROWTH = {"clinical": 0.01, "in-vitro": 0.5}
"""A usual growth of a resistant clone, 1/day: the centre of net_growth_s."""
BRIDGED_DAYS = {"clinical": 120.0, "in-vitro": 5.0}
"""Measured exposures farther apart say nothing of what was between them: there the lag goes on."""
APART_DAYS = {"clinical": 30.0, "in-vitro": 0.5}
"""How far measured exposures lie from the lag is the same for about so long: nearer ones count in proportion."""
_STEP_BUCKET, _VISIT_BUCKET = 32, 32
"""Padded sizes are multiples of these: wide, since another size means another half minute of compiling."""


class Reference(NamedTuple):
    """What the priors of `burden_0` and `settled_burden` count in, in the unit of the burden, where it is given beforehand.

    By default these are the ``first`` and the ``largest`` burden of the series itself: the prior then looks at the data, which
    is mild in use, but no law that parameters could be drawn from before there is a series.
    """

    first: float
    largest: float


class Case(NamedTuple):
    """One patient of a cohort as the model reads it: the row of each array, and numbers of the whole series.

    ``sight_*`` are of the visit at which a growing clone would show first: the days until then, those at full dose, the area
    under the burden (unit of burden x days) and the log burden there. ``low_*`` are of the lowest value, which leaves least
    room for persisters: the days on drug since the restart before it, and the log of the burden then over the lowest.
    ``population``: what other patients tell of this one. ``known``: measured exposures along the steps, and ``doubt``:
    where they lie in the gaps of doubtful stops, None of a patient without any.
    """

    gap: np.ndarray
    value: np.ndarray
    censoring: np.ndarray
    counting: np.ndarray
    seen: np.ndarray
    length: np.ndarray
    dose: np.ndarray
    moving: np.ndarray
    step: np.ndarray
    log_first: np.ndarray
    log_largest: np.ndarray
    sight_days: np.ndarray
    sight_on: np.ndarray
    sight_area: np.ndarray
    sight_log: np.ndarray
    low_on: np.ndarray
    low_fall: np.ndarray
    specimens: Specimens
    population: Population | Polynomials = UNKNOWN
    known: Known | None = None
    doubt: Doubt | None = None


def observable(name: str) -> Observable:
    """How a burden of this name is read; `UsageError` for one that cannot be fitted."""
    if name not in OBSERVABLES:
        known = ", ".join(sorted(OBSERVABLES))
        raise UsageError(f'a burden of kind "{name}" cannot be fitted', where="--observable", remedy=f"choose {known}")
    return OBSERVABLES[name]


def one_schedule(series: Series, drug: str | None = None) -> Schedule:
    """The treatment of a patient by one drug (the only one, or the one named); no treatment at all is an empty schedule."""
    if drug is None and len(series.schedules) > 1:
        raise DataError(
            f"patient {series.patient_id} has {len(series.schedules)} drugs ({', '.join(series.schedules)})",
            where="treatments",
            remedy="name the one to fit with --drug",
        )
    if drug is not None and drug not in series.schedules and series.schedules:
        raise DataError(
            f'patient {series.patient_id} was never given "{drug}"',
            where="--drug",
            remedy=f"choose {', '.join(series.schedules)}",
        )
    names = [drug] if drug is not None else list(series.schedules)
    empty = Schedule(np.zeros(0), np.zeros(0), np.zeros(0))
    return series.schedules.get(names[0], empty) if names else empty


def pad(
    series: list[Series] | tuple[Series, ...],
    *,
    pack: str,
    drug: str | None = None,
    gaps: Sequence[np.ndarray] | None = None,
) -> Cohort:
    """One cohort from series: time grids aligned to visits and dose changes, padded to bucketed sizes. ``gaps``: of each, those
    in which a stop is doubtful, ``(n, 2)`` days (by default as `records.stops` finds them).

    Raises `DataError` / `UsageError` as `one_schedule` and `observable` do.
    """
    kind = observable(series[0].observable)
    found = [doubtful(one, one_schedule(one, drug)) for one in series] if gaps is None else gaps
    rows = [_grid_row(one, drug, pack, own) for one, own in zip(series, found, strict=True)]
    n_steps = _bucket(max(len(row.length) for row in rows), _STEP_BUCKET)
    n_visits = _bucket(max(len(one.day) for one in series), _VISIT_BUCKET)
    values = [_values(one, kind.ceiling) for one in series]
    return Cohort(
        patient_id=tuple(one.patient_id for one in series),
        day=_stack([one.day for one in series], n_visits, edge=True),
        log_burden=_stack([value for value, _ in values], n_visits),
        censoring=_stack([mark for _, mark in values], n_visits).astype(np.int8),
        seen=_stack([np.ones(len(one.day)) for one in series], n_visits) > 0,
        length=_stack([row.length for row in rows], n_steps),
        dose=_stack([row.dose for row in rows], n_steps, edge=True),
        moving=_stack([row.moving for row in rows], n_steps) > 0,
        step=_stack([row.step for row in rows], n_visits, edge=True).astype(np.int64),
        sight=np.array(
            [_sight(one.day, value / kind.power, pack) for one, (value, _) in zip(series, values, strict=True)]
        ),
        specimens=composition.specimens(series, [row.counted for row in rows]),
        course=_course([row.known for row in rows], n_steps) if any(len(one.levels.day) for one in series) else None,
        doubt=_doubts([row.doubt for row in rows], n_steps),
    )


def _doubts(rows: list[Doubt | None], size: int) -> Doubt | None:
    """Doubtful stops along the steps of several patients."""
    if not any(rows):
        return None
    filled = [Doubt(*(np.full(1, at) for at in doubt.SURE)) if row is None else row for row in rows]
    return Doubt(
        *(_stack(list(parts), size, fill=at) for parts, at in zip(zip(*filled, strict=True), doubt.SURE, strict=True))
    )


def _course(rows: list[Known], size: int) -> Known:
    """Measured exposures along the steps of several patients; nothing is known of the padding."""
    start, end, measured = (
        _stack([getattr(row, name) for row in rows], size, fill=np.nan) for name in Known._fields[:3]
    )
    weight = _stack([row.weight for row in rows], size)
    return Known(start, end, measured, weight, np.array([row.first for row in rows]))


def case(cohort: Cohort, index: int, *, counted: bool, reference: Reference | None = None) -> Case:
    """The row of one patient. ``counted``: burdens are counts, whose logs have the extra variance 1 / count. ``reference``
    takes the place of the series' own first and largest burden; `UsageError` where it is no burden.
    """
    if reference is not None and not all(0.0 < burden < np.inf for burden in reference):
        what = f"the reference burdens are {reference.first:g} and {reference.largest:g}"
        raise UsageError(what, where="reference", remedy="give two numbers over 0, in the unit of the burden")
    day, value, seen = cohort.day[index], cohort.log_burden[index], cohort.seen[index]
    mark = cohort.censoring[index]
    first = value[0] - (np.log(2.0) if mark[0] < 0 else 0.0)
    sight = int(cohort.sight[index])
    steps = slice(0, cohort.step[index, sight])
    on = cohort.length[index] * cohort.dose[index] * cohort.moving[index]
    low = int(np.argmin(np.where(seen, value, np.inf)))
    restart = _restart(on, int(cohort.step[index, low]))
    before = int(np.flatnonzero(seen & (cohort.step[index] <= restart))[-1])
    return Case(
        gap=np.diff(day, prepend=day[:1]),
        value=value,
        censoring=mark,
        counting=np.where(seen & counted, np.exp(-value), 0.0),
        seen=seen,
        length=cohort.length[index],
        dose=cohort.dose[index],
        moving=cohort.moving[index],
        step=cohort.step[index],
        log_first=np.asarray(first if reference is None else np.log(reference.first)),
        log_largest=np.asarray(value[seen].max() if reference is None else np.log(reference.largest)),
        sight_days=np.asarray(day[sight] - day[0]),
        sight_on=np.asarray(on[steps].sum()),
        sight_area=np.asarray(np.trapezoid(np.exp(value[: sight + 1]), day[: sight + 1])),
        sight_log=np.asarray(value[sight]),
        low_on=np.asarray(on[slice(restart, cohort.step[index, low])].sum()),
        low_fall=np.asarray(value[before] - value[low]),
        specimens=Specimens(*(part[index] for part in cohort.specimens)),
        known=None if cohort.course is None else Known(*(part[index] for part in cohort.course)),
        doubt=None if cohort.doubt is None else Doubt(*(part[index] for part in cohort.doubt)),
    )


def _sight(day: np.ndarray, log_cells: np.ndarray, pack: str) -> int:
    """The visit at which a clone that grows at the usual pace from the start would show first, by its share."""
    return int(np.argmin(log_cells - CLONE_GROWTH[base_of(pack)] * (day - day[0])))


def _restart(on: np.ndarray, step: int) -> int:
    """The step that begins the unbroken time on drug before ``step``; ``step`` itself where there is none."""
    while step > 0 and on[step - 1] > 0.0:
        step -= 1
    return step


class _Row(NamedTuple):
    length: np.ndarray
    dose: np.ndarray
    moving: np.ndarray
    step: np.ndarray
    counted: np.ndarray
    known: Known
    doubt: Doubt | None


def _grid_row(series: Series, drug: str | None, pack: str, gaps: np.ndarray) -> _Row:
    """Steps from the start of treatment or the first visit, whichever is earlier, to the last visit or fraction."""
    composition.check(series)
    schedule, visits = one_schedule(series, drug), len(series.day)
    seen = np.concatenate([series.day, series.composition.day])
    first, last = float(series.day[0]), float(seen.max())
    start = min([first, *schedule.start[schedule.start < first]])
    changes = np.concatenate([schedule.start, schedule.stop])
    settling = (changes[:, None] + np.array(SETTLING_DAYS[base_of(pack)])).ravel()
    levels = series.until(float(series.day[-1])).levels  # as a forecast from the last visit has them
    others = (day[(day > start) & (day < last)] for day in (settling, levels.day, doubt.marks(gaps)))
    marks = np.concatenate([seen, *others])
    steps, index = grid(schedule, marks, start=start, stop=last, max_step=MAX_STEP_DAYS[base_of(pack)])
    length, dose = np.asarray(steps.length), np.asarray(steps.dose)
    if len(length) == 0:  # one visit only, and no treatment before it: nothing moves
        length, dose = np.zeros(1), np.zeros(1)
    node = start + np.append(0.0, np.cumsum(length))
    known = along(levels, node, changes, BRIDGED_DAYS[base_of(pack)], APART_DAYS[base_of(pack)])
    unsure = doubt.along(gaps, node) if len(gaps) else None
    return _Row(length, dose, node[1:] > first + 1e-6, index[:visits], index[visits : len(seen)], known, unsure)


def _values(series: Series, ceiling: float) -> tuple[np.ndarray, np.ndarray]:
    """Log burdens and their censoring. A count of 0 is "less than 1"; a burden at the ceiling is right-censored there."""
    mark = np.where((series.burden >= ceiling) & (series.censoring == 0), 1, series.censoring)
    mark = np.where(series.burden <= 0.0, -1, mark)
    return np.log(np.where(series.burden > 0.0, np.minimum(series.burden, ceiling), 1.0)), mark


def _bucket(size: int, width: int) -> int:
    return max(width, -(-size // width) * width)


def _stack(rows: list[np.ndarray], size: int, *, edge: bool = False, fill: float = 0.0) -> np.ndarray:
    """Rows padded to ``size`` by ``fill``, or by their last value; ``(n_rows, size)`` float64."""
    how: dict[str, Any] = {"mode": "edge"} if edge else {"constant_values": fill}
    return np.stack([np.pad(np.asarray(row, float), (0, size - len(row)), **how) for row in rows])
