"""Traces: what the true burden of a path does between visits, followed step by step: its rise after the drug is stopped, the
area under it, and how long after progression it keeps under a limit.

The true burden is that of the cells, without wander and error of measurement: y = (N / cells_per_unit)^power, N the visible
cells. It is known at the ends of steps (a day apart at most), and a day is the end of the first step at which something has
come about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from persist.forecast.endpoints import ROUNDING

if TYPE_CHECKING:
    from jax import Array

FLARE_RISE = 0.2
"""A flare is a rise of the true burden by this share over what it was when the drug was stopped."""
FLARE_DAYS = 21.0
"""It counts within so many days of the stop: EGFR-TKI stopped before a trial, 23 % of patients, after 8 days in the median
(Chaft 2011, 10.1158/1078-0432.CCR-11-1468)."""
LIMIT = 1.5
"""The limit after progression is so many times the burden at progression, unless told otherwise."""
NEAR = 1e-6
"""Days nearer to each other than this are one."""


class Trace(NamedTuple):
    """What is known of paths, each ``(n,)``, days since the start of the plan: the day on which the drug was first ``stopped``
    (inf: not yet), the burden ``at_stop``, and the day on which it ``flared`` (inf: it has not); ``area`` under the burden
    since the start, and ``area_after`` since progression was seen, in unit times days; the burden ``at_progression``, and the
    day on which it ``reached`` ``limit`` ``()`` times that (inf: it has not). ``day`` ``()`` and ``burden`` are the last.
    """

    stopped: Any
    at_stop: Any
    flared: Any
    area: Any
    area_after: Any
    at_progression: Any
    reached: Any
    limit: Any
    day: Any
    burden: Any


def begin(number: int, limit: float = LIMIT) -> Trace:
    """The trace of so many paths before the first step."""
    never, none = jnp.full(number, jnp.inf), jnp.zeros(number)
    factor = jnp.asarray(limit, float)
    return Trace(never, none, never, none, none, none, never, factor, jnp.asarray(-jnp.inf), none)


def followed(trace: Trace, day: Any, burden: Array, stops: Any, seen: Any) -> Trace:
    """The trace at the end of a step: on a ``day`` ``()`` since the start of the plan (before it: negative) with this
    ``burden`` ``(n,)``; ``stops`` ``(n,)``, the drug was given up to now, and is not from now on; progression was ``seen``
    ``(n,)`` on that day (inf: not yet).
    """
    return _measured(_flared(trace, day, burden, stops), day, burden, seen)


def _measured(trace: Trace, day: Any, burden: Array, seen: Any) -> Trace:
    """Areas by the trapezoid, and the limit; ``trace.day`` is the end of the step before (-inf: there is none)."""
    began = trace.day >= -NEAR
    piece = jnp.where(began, day - trace.day, 0.0) * (trace.burden + burden) / 2.0
    at_progression = jnp.where(jnp.abs(day - seen) <= NEAR, burden, trace.at_progression)
    over = burden >= trace.limit * at_progression * (1.0 - ROUNDING)
    new = (day > seen + NEAR) & jnp.isinf(trace.reached) & over & (burden > at_progression)
    return trace._replace(
        area=trace.area + piece,
        area_after=trace.area_after + jnp.where(trace.day >= seen - NEAR, piece, 0.0),
        at_progression=at_progression,
        reached=jnp.where(new, day, trace.reached),
        day=jnp.asarray(day, float),
        burden=burden,
    )


def _flared(trace: Trace, day: Any, burden: Array, stops: Any) -> Trace:
    """The first stop, and the flare after it."""
    first = stops & jnp.isinf(trace.stopped) & (day >= -NEAR)
    stopped = jnp.where(first, jnp.maximum(day, 0.0), trace.stopped)
    at_stop = jnp.where(first, burden, trace.at_stop)
    risen = (burden > at_stop) & (burden >= at_stop * (1.0 + FLARE_RISE) * (1.0 - ROUNDING))
    in_time = (day > stopped) & (day <= stopped + FLARE_DAYS + NEAR)
    flared = jnp.where(jnp.isinf(trace.flared) & risen & in_time, day, trace.flared)
    return trace._replace(stopped=stopped, at_stop=at_stop, flared=flared)
