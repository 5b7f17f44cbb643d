"""Endpoints: what a path of measured burdens means by the rules of the clinic.

Pure functions over the last axis (visits), which batch over all axes before it and may be jitted with the rule static.
Days count from the start of the plan, and are sorted; burdens are on their natural scale (not logarithms), at least 0,
without NaN. A day that is never reached is inf.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from persist.errors import UsageError

CONFIRM_DAYS = 21.0
"""PCWG3: a change of PSA is confirmed by a value at least three weeks later."""
AT_NEXT_VISIT = 1e-6
"""A wait for confirmation so short that the next visit confirms, whatever the spacing (days in patients, hours in wells)."""
ROUNDING = 1e-12
"""A value short of a limit by this share only has reached it (0.07 * 1.25 is above 0.0875 in binary numbers)."""


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
    course = jnp.asarray(on).astype(int)
    course = jnp.ones_like(course) if rule.any_time else course
    before = jnp.concatenate([jnp.zeros_like(course[..., :1]), course[..., :-1]], axis=-1)
    treated = course != 0
    restart = _batched(treated & (course != before), level)
    low = _running_nadir(level, restart)
    limit = jnp.maximum(low * (1.0 + rule.rise), low + rule.rise_absolute)
    met = _batched(treated, level) & (level > low) & (level >= limit * (1.0 - ROUNDING))
    stretch = jnp.cumsum(_batched(course != before, level), axis=-1)
    return _first_day(day, _confirmed(day, met, stretch, rule.confirm_days))


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


def _running_nadir(level: jax.Array, restart: jax.Array) -> jax.Array:
    """Running minimum along the last axis, begun anew where ``restart`` is True."""

    def join(left: Any, right: Any) -> Any:
        return left[0] | right[0], jnp.where(right[0], right[1], jnp.minimum(left[1], right[1]))

    low: jax.Array = jax.lax.associative_scan(join, (restart, level), axis=-1)[1]
    return low


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
