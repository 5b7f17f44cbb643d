"""Endpoints: what a path of measured burdens means by the rules of the clinic.

A `Judge` goes from visit to visit, as a clinic does, and knows nothing of what is to come; the engine takes it along. The
functions over the last axis (visits) batch over all axes before it and may be jitted with the rule static.
Days count from the start of the plan, and are sorted; burdens are on their natural scale (not logarithms), at least 0,
without NaN. A day that is never reached is inf.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from jax.typing import ArrayLike

from persist.errors import UsageError

CONFIRM_DAYS = 21.0
"""PCWG3: a change of PSA is confirmed by a value at least three weeks later."""
AT_NEXT_VISIT = 1e-6
"""A wait for confirmation so short that the next visit confirms, whatever the spacing (days in patients, hours in wells)."""
ROUNDING = 1e-12
"""A value short of a limit by this share only has reached it (0.07 * 1.25 is above 0.0875 in binary numbers)."""

ROOM = 4
"""Rises that wait for their confirmation (weekly visits, PCWG3: three)."""


class Rule(NamedTuple):
    """When a burden has progressed: burden >= nadir (1 + ``rise``) and burden >= nadir + ``rise_absolute``.

    ``confirm_days``: a visit at least so many days later must also meet it (0 = no confirmation). ``any_time``: judged
    off drug too, against the nadir since the start. ``scale``: what is compared, and the unit of ``rise_absolute``.
    """

    name: str
    rise: float
    rise_absolute: float
    confirm_days: float
    any_time: bool
    scale: str


RULES: dict[str, Rule] = {
    "psa": Rule("psa", 0.25, 2.0, CONFIRM_DAYS, False, "PSA in ng/mL"),
    "recist": Rule("recist", 0.20, 5.0, 0.0, False, "sum of diameters in mm"),
    "relative": Rule("relative", 0.25, 0.0, AT_NEXT_VISIT, False, "burden as measured"),
}
"""Built-in rules of progression.

`psa`: PCWG3 (Scher 2016, 10.1200/JCO.2015.64.2702), +25 % and +2 ng/mL over the nadir, confirmed; its 12 weeks of grace
for a PSA that never falls are left out. `recist`: RECIST 1.1 (Eisenhauer 2009, 10.1016/j.ejca.2008.10.026), +20 % and
+5 mm over the nadir; new lesions are not simulated. `relative`: +25 % over the nadir at two visits in a row, the default
where no published rule is built in. It is easily met by chance: with wander and noise at the priors' medians and a visit
a month, nearly every tumour that stands still has progressed by it within a year. A forecast by it says so.
"""


class Response(NamedTuple):
    """When a burden has responded: burden <= (1 - ``fall``) of what it was, and so too at the first visit at least
    ``confirm_days`` later (0 = no confirmation).
    """

    fall: float
    confirm_days: float


RESPONSES: dict[str, Response] = {
    "psa": Response(0.5, CONFIRM_DAYS),
    "recist": Response(0.3, 0.0),
    "relative": Response(0.5, AT_NEXT_VISIT),
}
"""Response where progression is judged by the rule of this name: PSA50 of PCWG3 (Scher 2016, 10.1200/JCO.2015.64.2702); the
partial response of RECIST 1.1 (Eisenhauer 2009, 10.1016/j.ejca.2008.10.026); and down by half at two visits in a row.
"""

_MEANT_FOR = {"psa": ("psa",), "recist": ("sld", "diameter")}


def rule_for(observable: str, text: str | None = None) -> Rule:
    """Rule of an observable, or the one asked for as ``NAME`` or ``NAME:any-time`` (case and spaces do not matter).

    Default: psa -> `psa`, sld and diameter -> `recist`, all others -> `relative`. Raises `UsageError` for another name,
    and for a rule whose absolute rise is in a unit that the observable does not have.
    """
    seen = observable.strip().lower()
    if text is None:
        return RULES[next((name for name, meant in _MEANT_FOR.items() if seen in meant), "relative")]
    name, colon, when = (part.strip().lower() for part in text.partition(":"))
    where = f'--endpoint "{text}"'
    if name not in RULES:
        remedy = f"the rules are {', '.join(RULES)}, each also with :any-time"
        raise UsageError(f'unknown rule "{name}"', where=where, remedy=remedy)
    if colon and when != "any-time":
        raise UsageError(f'unknown addition "{when}"', where=where, remedy=f"write {name} or {name}:any-time")
    if seen not in _MEANT_FOR.get(name, (seen,)):
        what = f'rule "{name}" judges {RULES[name].scale}, and the observable is {seen}'
        raise UsageError(what, where=where, remedy=f"use {rule_for(seen).name} or relative")
    return RULES[name]._replace(any_time=bool(colon))


def response_of(rule: Rule) -> Response:
    """When a burden has responded, where progression is judged by ``rule``; one that is not built in goes with `relative`."""
    return RESPONSES.get(rule.name, RESPONSES["relative"])


def label(rule: Rule) -> str:
    """A rule as it is asked for: NAME, or NAME:any-time."""
    return f"{rule.name}:any-time" if rule.any_time else rule.name


class Judge(NamedTuple):
    """What a rule remembers of paths ``(...)`` from visit to visit: its numbers ``()``; ``course`` of treatment at the last
    visit (0: off drug) and nadir ``low`` since it began; days ``open`` ``(..., n)`` of rises that wait for their confirmation
    (inf: none); the day ``rose`` of the first rise that was confirmed, and that on which it was ``seen`` to be (inf: not yet).
    """

    rise: Any
    rise_absolute: Any
    confirm_days: Any
    any_time: Any
    course: Any
    low: Any
    open: Any
    rose: Any
    seen: Any


def judge(rule: Rule, shape: tuple[int, ...], waiting: int, before: tuple[float | None, int] = (None, 0)) -> Judge:
    """A judge of paths ``shape`` before the first visit, with room for so many rises ``waiting`` for confirmation; ``before``
    is the nadir that is known already (None: none is) and the number of its course.
    """
    low, course = before
    none = jnp.full(shape, jnp.inf)
    number = 0 if low is None else 1 if rule.any_time else course
    return Judge(
        rise=jnp.asarray(rule.rise, float),
        rise_absolute=jnp.asarray(rule.rise_absolute, float),
        confirm_days=jnp.asarray(rule.confirm_days, float),
        any_time=jnp.asarray(rule.any_time),
        course=jnp.full(shape, number),
        low=none if low is None else jnp.full(shape, low, float),
        open=jnp.full((*shape, waiting), jnp.inf),
        rose=none,
        seen=none,
    )


def judged(before: Judge, day: ArrayLike, burden: ArrayLike, course: ArrayLike) -> Judge:
    """The judge after a visit on ``day``, later than all before, that measured ``burden`` in a ``course`` of treatment
    ``(...)``.

    A rise waits for the first visit at least ``confirm_days`` later, which must meet the rule too; another course ends the
    wait.
    """
    level = jnp.asarray(burden, float)
    when = jnp.broadcast_to(jnp.asarray(day, float), level.shape)
    number = jnp.where(before.any_time, 1, jnp.asarray(course).astype(int))
    same = number == before.course
    low = jnp.where((number != 0) & ~same, level, jnp.minimum(before.low, level))
    limit = jnp.maximum(low * (1.0 + before.rise), low + before.rise_absolute)
    met = (number != 0) & (level > low) & (level >= limit * (1.0 - ROUNDING))
    first, waits = confirmed(jnp.where(same[..., None], before.open, jnp.inf), met, when, before.confirm_days)
    new = jnp.isinf(before.seen) & jnp.isfinite(first)
    return before._replace(
        course=number,
        low=low,
        open=waits,
        rose=jnp.where(new, first, before.rose),
        seen=jnp.where(new, when, before.seen),
    )


def confirmed(waits: Array, met: Array, when: Array, confirm_days: Any) -> tuple[Array, Array]:
    """The first day that a visit confirms (inf: none), and the days that wait on, ``(..., n)``: of those that did up to now,
    and of the visit ``when`` ``(...)`` itself where it ``met`` the rule. The first visit ``confirm_days`` after a day or later
    confirms it, or ends its wait.
    """
    waiting = jnp.concatenate([jnp.where(met, when, jnp.inf)[..., None], waits], axis=-1)
    due = waiting + confirm_days - 1e-9 <= when[..., None]
    first = jnp.min(jnp.where(due & met[..., None], waiting, jnp.inf), axis=-1)
    return first, jnp.where(due, jnp.inf, waiting)[..., :-1]


def room(day: np.ndarray, confirm_days: float) -> int:
    """Room for all days that may wait at once for their confirmation, at visits on the days ``(n_visits,)``: filled up to a
    power of `ROOM`, so that one compiled program serves many.
    """
    most = int(np.max(np.searchsorted(day, day + confirm_days - 1e-9) - np.arange(len(day)), initial=1))
    size = ROOM
    while size < most:
        size *= ROOM
    return size


def time_to_progression(day: ArrayLike, burden: ArrayLike, on: ArrayLike, rule: Rule) -> jax.Array:
    """First ``day`` on which the burden has progressed by ``rule``, inf where it does not.

    nadir(v) = min of burden over the visits since the last restart up to v; progressed(v) = on(v), the rule met at v,
    and confirmed: met also at the first visit >= day(v) + confirm_days, on drug at all visits in between. A rise too
    late to be confirmed does not count. Restarts: the first visit on drug, and each one after a visit off drug; the
    value there counts for the nadir. With ``rule.any_time``, ``on`` is not looked at. The landmark value may stand
    first, at day 0; values before it are not known here. ``on`` is bool, or the number of the course of treatment (0: off
    drug), so that a pause between two visits is known too: another number is a restart.

    ``day`` and ``on`` ``(n_visits,)`` or with the leading axes of ``burden`` ``(..., n_visits)``; returns
    ``(...)``, days. Over a nadir of 0 every value > 0 has risen (by any share).
    """
    level = jnp.asarray(burden, float)
    days, course = (_batched(part, level) for part in (jnp.asarray(day, float), jnp.asarray(on).astype(int)))
    waiting = 1 if rule.confirm_days <= AT_NEXT_VISIT else level.shape[-1]

    def visit(memory: Judge, row: tuple[jax.Array, ...]) -> tuple[Judge, None]:
        return judged(memory, *row), None

    rows = tuple(jnp.moveaxis(part, -1, 0) for part in (days, level, course))
    last, _ = jax.lax.scan(visit, judge(rule, level.shape[:-1], waiting), rows)
    return jnp.asarray(last.rose)


def response(day: ArrayLike, burden: ArrayLike, fraction: float = 0.5, confirm_days: float = CONFIRM_DAYS) -> jax.Array:
    """First ``day`` with burden <= (1 - ``fraction``) of the first value, confirmed; inf where there is none.

    The defaults are PSA50 of PCWG3 (10.1200/JCO.2015.64.2702): the first visit at least 21 days later is as low too.
    ``day`` ``(n_visits,)`` or ``(..., n_visits)``, ``burden`` ``(..., n_visits)``; returns ``(...)``, days.
    """
    level = jnp.asarray(burden, float)
    first = level[..., :1]
    met = (level < first) & (level <= first * (1.0 - fraction) * (1.0 + ROUNDING))
    return _first_day(day, _confirmed(day, met, jnp.zeros(level.shape, int), confirm_days))


def recist_response(day: ArrayLike, burden: ArrayLike, confirm_days: float = 0.0) -> jax.Array:
    """First ``day`` with the sum of diameters at least 30 % under the first value; inf where there is none.

    Partial response of RECIST 1.1 (10.1016/j.ejca.2008.10.026), which asks for confirmation (28 days) only in trials
    without a randomised control. Shapes as in `response`.
    """
    return response(day, burden, 0.3, confirm_days)


def nadir(day: ArrayLike, burden: ArrayLike) -> tuple[jax.Array, jax.Array]:
    """Lowest burden and the first ``day`` it is reached, each ``(...)``; shapes as in `response`."""
    level = jnp.asarray(burden, float)
    lowest = jnp.argmin(level, axis=-1, keepdims=True)
    days = _batched(jnp.asarray(day, float), level)
    return jnp.min(level, axis=-1), jnp.take_along_axis(days, lowest, axis=-1)[..., 0]


def _batched(row: jax.Array, like: jax.Array) -> jax.Array:
    """``row`` with the leading axes of ``like``."""
    return jnp.broadcast_to(row.reshape((1,) * (like.ndim - row.ndim) + row.shape), like.shape)


def _confirmed(day: ArrayLike, met: jax.Array, stretch: jax.Array, days: float) -> jax.Array:
    """Visits where ``met`` holds, and also at the first visit at least ``days`` later, within the same ``stretch``."""
    if days <= 0.0:
        return met
    when, n_visits = jnp.asarray(day, float), met.shape[-1]
    needed = when + days - 1e-9
    later = jnp.sum(when[..., None, :] < needed[..., :, None], axis=-1)
    at = _batched(jnp.minimum(later, n_visits - 1), met)
    same = jnp.take_along_axis(stretch, at, axis=-1) == stretch
    return met & same & jnp.take_along_axis(met, at, axis=-1) & _batched(later < n_visits, met)


def _first_day(day: ArrayLike, hit: jax.Array) -> jax.Array:
    return jnp.min(jnp.where(hit, _batched(jnp.asarray(day, float), hit), jnp.inf), axis=-1)
