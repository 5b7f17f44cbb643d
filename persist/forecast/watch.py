"""Watching: what is remembered of a path as it goes, from visit to visit: what its rule decides, when progression is seen, and
the plan that follows then.

The burden as measured at a visit first meets the rule of the plan, then those of progression; where the first of these sees it,
and another plan is to follow, that begins on the same day. Whether a visit is on drug is asked of the plan as it would go on.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.observe import visible
from persist.forecast.endpoints import RESPONSES, Judge, judged
from persist.forecast.reply import TOLD as OF_REPLY
from persist.forecast.reply import Reply, given, measured, waiting
from persist.forecast.trace import LIMIT, NEAR, Trace, begin, followed
from persist.forecast.visits import Chance, Scale, burden_of, measure
from persist.treatment.rules import Memory, decide, remember
from persist.types import Schedule

if TYPE_CHECKING:
    from jax import Array

    from persist.treatment.grammar import Adaptive, Plan
    from persist.types import Cells

OF_TRACE = ("stopped", "flared", "area", "area_after", "reached")
"""What is told of a trace."""
TOLD = (*OF_TRACE, *OF_REPLY)
"""What is told of trace and reply."""
SEGMENTS = 4
"""Segments of a plan that follows are filled up to a power of this, so that one compiled program serves many."""


class Visit(NamedTuple):
    """Of each recorded day ``(n_days, n)`` what chance makes of its measurement, and whether a visit then is ``missed``, and so
    seen by nobody; and ``(n_days,)`` the ``day`` since the start of the plan; the ``dose`` planned from then on, and whether it
    is ``ruled`` instead; whether the rule ``decides`` then, and whether progression is ``looked`` for; the dose of a
    ``partner`` planned from then on.
    """

    chance: Chance
    missed: Any
    day: Any
    dose: Any
    ruled: Any
    decides: Any
    looked: Any
    partner: Any = 0.0


class Doses(NamedTuple):
    """Segments ``(n, n_segments)`` of a schedule, in days since it began."""

    start: Any
    stop: Any
    dose: Any

    def given(self, since: Array) -> Array:
        """The dose ``since`` days ``(n,)`` after its beginning."""
        inside = (self.start <= since[:, None]) & (since[:, None] < self.stop)
        return jnp.sum(jnp.where(inside, self.dose, 0.0), axis=1)


class Second(NamedTuple):
    """The plan that follows progression, of each path: whether one ``follows`` at all, ``()``; its ``doses``; the day ``()``
    from which its ``rule`` decides (inf: it has none); and the doses of a ``partner``.
    """

    follows: Any
    doses: Doses
    ruled_from: Any
    rule: Memory
    partner: Doses

    def given(self, since: Array) -> Any:
        """The dose ``since`` days ``(n,)`` after its beginning."""
        return jnp.where(since >= self.ruled_from, self.rule.dose, self.doses.given(since))


class Marks(NamedTuple):
    """What is told at the end: per path and rule of progression ``(n, n_rules)`` the day of progression (inf: none was seen);
    per path ``(n,)`` the day on which the first of these was seen, and the most visits in a row at which it was judged; and
    what is `TOLD` of its trace and of its reply.
    """

    progressed: Any
    seen: Any
    visits: Any
    trace: dict[str, Any]


class Watch(NamedTuple):
    """What is remembered of paths: the memory of the ``rule`` of the plan; how cells become a burden; a judge for each rule of
    progression; the ``second`` plan; days from the first step to the start of the plan; and ``(n,)`` the dose in force and that
    of a ``partner``, the number of the course of treatment and that of the last visit, visits in a row on drug and the most so
    far; and the trace of the burden. Where there is no rule or no second plan there is one that never decides or begins, so
    that one program serves all plans.
    """

    rule: Memory
    scale: Scale
    judges: tuple[Judge, ...]
    second: Second
    offset: Any
    dose: Any
    partner: Any
    course: Any
    last: Any
    row: Any
    visits: Any
    trace: Trace
    reply: Reply

    @property
    def marks(self) -> Marks:
        """What is told at the end."""
        rose = jnp.stack([one.rose for one in self.judges], axis=1)
        told = {
            name: getattr(of, name) for of, names in ((self.trace, OF_TRACE), (self.reply, OF_REPLY)) for name in names
        }
        return Marks(rose, self.judges[0].seen, self.visits, told)

    def given(self, planned: Any, ruled: Any, day: Any) -> Any:
        """The dose from ``day`` (since the first step) on."""
        since = self.since(day - self.offset)
        return jnp.where(since >= 0.0, self.second.given(since), self.rule.given(planned, ruled, day))

    def beside(self, planned: Any, day: Any) -> Any:
        """The dose of a partner from ``day`` (since the first step) on."""
        since = self.since(day - self.offset)
        return jnp.where(since >= 0.0, self.second.partner.given(since), planned)

    def since(self, day: Any) -> Any:
        """Days ``(n,)`` that the second plan is on, on a ``day`` of the plan; -inf before, and where none follows."""
        return jnp.where(self.second.follows, day + NEAR - self.judges[0].seen, -jnp.inf)

    def along(self, cells: Cells, day: Any, dose: Any, course: Any, partner: Any = 0.0) -> Watch:
        """The doses and the course of treatment from a day on, and the trace up to it."""
        since, stops, starts = day - self.offset, (self.dose > 0.0) & (dose <= 0.0), (self.dose <= 0.0) & (dose > 0.0)
        trace = followed(self.trace, since, burden_of(cells, self.scale), stops, self.judges[0].seen)
        again = starts & (~self.second.follows | jnp.isfinite(self.judges[0].seen))
        other = jnp.broadcast_to(jnp.asarray(partner, float), jnp.shape(dose))
        return self._replace(
            dose=dose, partner=other, course=course, trace=trace, reply=given(self.reply, since, cells, stops, again)
        )


def watch(
    scale: Scale,
    judges: tuple[Judge, ...],
    rule: Adaptive | None = None,
    first: float | None = None,
    *,
    second: Second | None = None,
    offset: float = 0.0,
    before: bool = False,
    limit: float = LIMIT,
    reply: Reply | None = None,
) -> Watch:
    """What is remembered at the beginning; ``first``, where known, is the burden that the rule refers to, ``before`` says
    whether the paths were on drug up to then, and ``limit`` is that of the burden after progression, over that at progression;
    without a ``reply`` the burden at the beginning counts as unknown: none after a restart is a response.
    """
    count = len(scale.log_unit)
    memory = starting(rule, count)
    if rule is not None and first is not None:
        memory = decide(memory, jnp.full(count, first, float))
    none, dose = jnp.zeros(count, int), jnp.full(count, float(before))
    follows = following(None, None, count) if second is None else second
    trace, reply = begin(count, limit), waiting(count, RESPONSES["relative"], np.nan, 1) if reply is None else reply
    return Watch(
        memory,
        scale,
        judges,
        follows,
        jnp.asarray(offset, float),
        dose,
        0.0 * dose,
        none,
        none,
        none,
        none,
        trace,
        reply,
    )


def starting(rule: Adaptive | None, number: int) -> Memory:
    """The memory of a rule when it begins, or of none: one that gives nothing, and is not asked."""
    if rule is not None:
        return remember(rule, number)
    return Memory(jnp.zeros(number), jnp.zeros(number), jnp.zeros(()), jnp.zeros(()))


def following(plan: Plan | None, schedule: Schedule | None, number: int, partner: Schedule | None = None) -> Second:
    """The plan that follows progression, with its schedule in days since it began and that of a ``partner``; one that never
    begins, where there is none.
    """
    ruled_from = np.inf if plan is None else plan.ruled_from
    rule = starting(None if plan is None else plan.rule, number)
    doses, beside = (_doses(part, number) for part in (schedule, partner))
    return Second(np.asarray(plan is not None), doses, np.asarray(float(ruled_from)), rule, beside)


def _doses(schedule: Schedule | None, number: int) -> Doses:
    """A schedule of so many paths; of None, nothing."""
    none = np.zeros(0)
    segments = Schedule(none, none, none) if schedule is None else schedule
    size = SEGMENTS
    while size < len(segments.start):
        size *= SEGMENTS
    return Doses(*(np.tile(np.pad(part, (0, size - len(part))), (number, 1)) for part in segments))


def look(memory: Watch, cells: Cells, now: Visit) -> Watch:
    """The memory after a visit; for `trajectories.steered`."""
    level = measure(visible(cells, memory.scale.shed_p), memory.scale, now.chance)[1]
    looked = now.looked & ~now.missed
    memory = memory._replace(rule=_where(now.decides & ~now.missed, decide(memory.rule, level), memory.rule))
    ruling = looked & (memory.since(now.day) >= memory.second.ruled_from)
    memory = _decided(memory, level, ruling)
    day = now.day + memory.offset
    going_on = jnp.maximum(memory.given(now.dose, now.ruled, day), memory.beside(now.partner, day))
    course = jnp.where(going_on > 0.0, memory.course + (jnp.maximum(memory.dose, memory.partner) <= 0.0), 0)
    judges = tuple(_where(looked, judged(one, now.day, level, course), one) for one in memory.judges)
    row = _where(looked, _in_a_row(memory, judges[0], course), memory.row)
    last = _where(looked, course, memory.last)
    reply = _where(looked, measured(memory.reply, now.day, level), memory.reply)
    memory = memory._replace(judges=judges, last=last, row=row, visits=jnp.maximum(memory.visits, row), reply=reply)
    return _decided(memory, level, judges[0].seen == now.day)


def _decided(memory: Watch, measured: Array, there: Any) -> Watch:
    """The memory after the rule of the second plan looked, where it does; first on the day on which that plan begins, for its
    reference.
    """
    rule = _where(there, decide(memory.second.rule, measured), memory.second.rule)
    return memory._replace(second=memory.second._replace(rule=rule))


def _in_a_row(memory: Watch, now: Judge, course: Array) -> Any:
    """Visits in a row within one course of treatment, this one counted; while a second plan is on, all count: nothing is left
    to be judged.
    """
    row = jnp.where(course > 0, jnp.where(course == memory.last, memory.row, 0) + 1, 0)
    return jnp.where(memory.second.follows & jnp.isfinite(now.seen), memory.row + 1, row)


def _where(there: Any, one: Any, other: Any) -> Any:
    """One memory where ``there`` ``()`` or ``(n,)`` holds, another elsewhere; its numbers ``()`` are the same in both."""

    def either(new: Array, old: Array) -> Array:
        wide = jnp.expand_dims(there, tuple(range(jnp.ndim(there), jnp.ndim(new)))) if jnp.ndim(new) else True
        return jnp.where(wide, new, old)

    return jax.tree.map(either, one, other)
