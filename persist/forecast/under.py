"""One patient under one plan: paths of all draws and replicates, and what is kept of them, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.paths import Course, Lanes, Steered
from persist.dynamics.sampling import poisson
from persist.dynamics.trajectories import Method, bucket, steered
from persist.forecast.endpoints import Rule, time_to_progression
from persist.forecast.visits import NAMES, Chance, Scale, chances, look, measure, watch
from persist.treatment.schedule import course_at, dose_at
from persist.types import Cells, Grid, Rates, Schedule

if TYPE_CHECKING:
    from jax import Array

    from persist.dynamics.stepsize import Step
    from persist.treatment.schedule import Plan

POISSON_BELOW = 1e6
LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILES_OF = 20_000
"""Paths that the quantiles of the burden are taken of: as many replicates of each draw as fit."""


class Landmark(NamedTuple):
    """Where futures start, one entry a draw ``(n_draws,)``: constants, cells, exposure, wander, scale and noise; ``day``
    is the last visit up to the landmark and ``burden`` its value, ``counted`` as of `Observable`, ``nadir`` the lowest
    burden since the last restart if on drug then (else None).
    """

    day: float
    rates: Rates
    cells: Cells
    exposure: Array
    wander_mean: Array
    wander_sd: Array
    log_unit: Array
    values: dict[str, np.ndarray]
    power: float
    counted: bool
    burden: float
    nadir: float | None


class Look(NamedTuple):
    """When futures are seen: plan start and horizon (days), spacing of visits and of the plotted record (days)."""

    start: float
    horizon: float
    visit_every: float
    record_every: float = 7.0


class Futures(NamedTuple):
    """What is kept of one plan: ``day`` ``(n_days,)`` after the start with quantiles of the burden ``(n_days, n_levels)``,
    mean shares of S, P, R ``(n_days, 3)`` and dose ``(n_days,)``; per path ``(n_draws, n_replicates)`` the time to
    progression (days after the start, inf: not within the horizon) and whether all cells are gone; days on drug (mean of
    the paths); the most visits in a row at which progression is judged, being on drug (median of the paths); the `step`
    of the leap.
    """

    day: np.ndarray
    burden: np.ndarray
    shares: np.ndarray
    dose: np.ndarray
    time_to_progression: np.ndarray
    extinct: np.ndarray
    days_on_drug: float
    visits_on_drug: int
    step: Step


class Days(NamedTuple):
    """Days of the patient: ``visits``, those of the plotted record (``dense``), and those on which a rule begins."""

    visits: np.ndarray
    dense: np.ndarray
    rules: np.ndarray


class Marks(NamedTuple):
    """The days that are recorded, the number of ``steps`` up to each, the steps, and that of the leap."""

    day: np.ndarray
    upto: np.ndarray
    steps: Grid
    step: Step


class Patient(NamedTuple):
    """What the futures of one patient have in common; ``before``: on drug up to the landmark."""

    seed: int
    name: str
    at: Landmark
    look: Look
    rule: Rule
    replicates: int
    before: bool

    @property
    def paths(self) -> int:
        """How many are followed."""
        return len(np.asarray(self.at.cells.sensitive)) * self.replicates


def under(who: Patient, plan: Plan, schedule: Schedule, days: Days, marks: Marks) -> Futures:
    """Futures of one patient under one plan."""
    at, number, draws = who.at, who.paths, who.paths // who.replicates
    course = _course(who, plan, days, marks)
    first = at.burden if who.look.start <= at.day + 1e-6 else None

    def lanes(members: np.ndarray) -> Lanes:
        mine, seen = _of(who, members, marks)
        cells = _whole(who, members, mine.cells)
        memory = watch(plan.rule, Scale(mine.log_unit, at.power, at.counted), first)
        return Lanes(cells, mine.rates, mine.exposure, who.before, seen, memory)

    def finish(members: np.ndarray, lanes: Lanes, path: Steered) -> _Part:
        known = _known(who, schedule if plan.rule is None else None, marks)._replace(ruled_from=plan.ruled_from)
        return _part(who, members, lanes, path, days, marks, known)

    key, recorded = keys.key(who.seed, who.name, "futures"), np.isin(1 + np.arange(len(course.dose)), marks.upto)
    method = Method("leap", marks.step.days)
    parts = list(steered(finish, look, key, lanes, marks.steps, course, method, trajectories=number, record=recorded))
    return Futures(
        day=days.dense - who.look.start,
        burden=np.quantile(np.concatenate([part.burden for part in parts]), LEVELS, axis=0).T,
        shares=np.asarray(sum(part.shares for part in parts)) / number,
        dose=np.asarray(sum(part.dose for part in parts)) / number,
        time_to_progression=np.concatenate([part.times for part in parts]).reshape(draws, who.replicates),
        extinct=np.concatenate([part.gone for part in parts]).reshape(draws, who.replicates),
        days_on_drug=float(np.concatenate([part.on for part in parts]).mean()) - _days_on_drug_before(who, marks),
        visits_on_drug=int(np.median(np.concatenate([part.visits for part in parts]))),
        step=marks.step,
    )


def _course(who: Patient, plan: Plan, days: Days, marks: Marks) -> Course:
    """The plan along the grid. Its rule looks at the start of the plan, for its reference (unless that is the landmark,
    whose burden is known), where it begins, and at the visits after that. Visits are numbered as the marks are.
    """
    ends, begin = np.cumsum(marks.steps.length) + who.at.day, who.look.start + plan.ruled_from
    looked = days.visits[days.visits > begin + 1e-6]
    if plan.rule is not None:
        early = np.unique([who.look.start, begin])
        looked = np.append(early[(early > who.at.day + 1e-6) & (early < ends[-1])], looked)
    visit = np.full(len(ends), -1)
    visit[np.searchsorted(ends, looked - 1e-6)] = np.searchsorted(marks.day, looked - 1e-6)
    return Course(np.asarray(marks.steps.dose), ends - marks.steps.length >= begin - 1e-6, visit)


class _Known(NamedTuple):
    """What is known of a plan before it is followed: its schedule (None under a rule), the number of the course of
    treatment just before its start, and the days until its rule decides.
    """

    schedule: Schedule | None
    last: int
    ruled_from: float


def _known(who: Patient, schedule: Schedule | None, marks: Marks) -> _Known:
    if schedule is not None:
        return _Known(schedule, int(course_at(schedule, who.look.start - 1e-6)), np.inf)
    history = np.append(who.before, marks.steps.dose[_before(who, marks)] > 0).astype(int)
    return _Known(None, int(history[0] + (np.diff(history) > 0).sum()), np.inf)


def _days_on_drug_before(who: Patient, marks: Marks) -> float:
    """Days on drug from the landmark to the start of the plan."""
    return float(np.sum(marks.steps.length[_before(who, marks) & (marks.steps.dose > 0)]))


def _before(who: Patient, marks: Marks) -> np.ndarray:
    """Which steps lie between the landmark and the start of the plan."""
    return np.asarray(np.cumsum(marks.steps.length) + who.at.day <= who.look.start + 1e-6)


class _Part(NamedTuple):
    """What is kept of a chunk of paths: ``burden`` of some ``(n, n_dense)``; per path ``times``, ``gone``, ``visits`` in a
    row on drug and days ``on`` it; sums of ``shares`` ``(n_dense, 3)`` and ``dose`` ``(n_dense,)``.
    """

    burden: np.ndarray
    times: np.ndarray
    gone: np.ndarray
    visits: np.ndarray
    on: np.ndarray
    shares: np.ndarray
    dose: np.ndarray


def _of(who: Patient, members: np.ndarray, marks: Marks) -> tuple[Landmark, Chance]:
    """The landmark of some paths, and the chance of what is measured of them at the marks (and at more, to fill up)."""
    own = {name: keys.key(who.seed, who.name, name) for name in NAMES}
    pick = members // who.replicates
    mine: Landmark = jax.tree.map(
        lambda value: np.asarray(value)[pick] if np.ndim(value) else value, who.at._replace(nadir=0.0)
    )
    known = (mine.wander_mean, mine.wander_sd)
    some = {name: mine.values[name] for name in ("noise_sd", "wander_sd", "wander_days")}
    more = bucket(len(marks.day)) - len(marks.day)
    when = np.append(who.at.day, np.pad(marks.day, (0, more), mode="edge"))
    return mine, chances(own, jnp.asarray(members), when, known, some)


def _part(
    who: Patient, members: np.ndarray, lanes: Lanes, path: Steered, days: Days, marks: Marks, known: _Known
) -> _Part:
    """Burdens, endpoints and sums of a chunk."""
    here = len(members)
    seen = jax.tree.map(lambda value: value[: len(marks.day), :here], lanes.seen)
    scale = lanes.memory.scale._replace(log_unit=lanes.memory.scale.log_unit[:here])
    started, place = marks.upto > 0, np.searchsorted(np.unique(marks.upto[marks.upto > 0]), marks.upto)

    def at_marks(record: Any, start: Any) -> np.ndarray:
        values = np.asarray(record)[:, np.minimum(place, np.shape(record)[1] - 1)]
        return np.where(started, values, np.reshape(start, (-1, 1)))

    pairs = zip(path.cells, lanes.cells, strict=True)
    cells = np.stack([at_marks(record, start[:here]) for record, start in pairs], axis=-1)
    total = cells.sum(axis=-1)
    burden, measured = (np.asarray(value).T for value in _measured(total.T, scale, seen))
    ruled = known.schedule is None and who.look.start + known.ruled_from <= who.at.day + 1e-6
    first = lanes.memory.dose[:here] if ruled else marks.steps.dose[0]
    dose, course = at_marks(path.dose, first), at_marks(path.course, 0)
    if known.schedule is not None:
        dose = np.broadcast_to(dose_at(known.schedule, marks.day), dose.shape)
        course = np.broadcast_to(course_at(known.schedule, marks.day), course.shape)
    dense, visited = np.isin(marks.day, days.dense), np.isin(marks.day, days.visits)
    before, seen_days = (who.at.nadir, known.last), days.visits - who.look.start
    kept = members % who.replicates < max(1, QUANTILES_OF * who.replicates // max(1, who.paths))
    return _Part(
        burden=burden[kept][:, dense],
        times=_times(measured[:, visited], seen_days, course[:, visited], before, who.rule),
        gone=total[:, -1] <= 0.0,
        visits=_longest_runs(course[:, visited]),
        on=np.asarray(path.days_on_drug),
        shares=(cells / np.maximum(total, 1.0)[..., None])[:, dense].sum(axis=0),
        dose=dose[:, dense].sum(axis=0),
    )


_measured = jax.jit(measure)
_poisson = jax.jit(jax.vmap(poisson))


def _whole(who: Patient, members: np.ndarray, cells: Cells) -> Cells:
    """Whole cells: S and P rounded, R Poisson about its mean while that is small."""
    mean, key = jnp.asarray(cells.resistant), keys.key(who.seed, who.name, "landmark")
    draw = _poisson(keys.numbered(key, jnp.asarray(members)), jnp.minimum(mean, POISSON_BELOW))
    resistant = jnp.where(mean < POISSON_BELOW, draw, jnp.round(mean))
    return Cells(jnp.round(cells.sensitive), jnp.round(cells.persister), resistant)


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
    return np.asarray(_judged(day, measured, course, rule))


_judged = jax.jit(time_to_progression, static_argnames="rule")


def _longest_runs(course: np.ndarray) -> np.ndarray:
    """The most visits in a row within one course of treatment, of each path ``(n,)``."""
    row, best = np.zeros(len(course), int), np.zeros(len(course), int)
    before = np.zeros(len(course), int)
    for now in course.T:
        row = np.where(now > 0, np.where(now == before, row, 0) + 1, 0)
        best, before = np.maximum(best, row), now
    return best
