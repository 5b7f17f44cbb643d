"""Traces: what the true burden of a path does between visits, followed step by step: its rise after the drug is stopped.

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
NEAR = 1e-6
"""Days nearer to each other than this are one."""


class Trace(NamedTuple):
    """What is known of paths, each ``(n,)``, days since the start of the plan: the day on which the drug was first ``stopped``
    (inf: not yet), the burden ``at_stop``, and the day on which it ``flared`` (inf: it has not).
    """

    stopped: Any
    at_stop: Any
    flared: Any


def begin(number: int) -> Trace:
    """The trace of so many paths before the first step."""
    never = jnp.full(number, jnp.inf)
    return Trace(never, jnp.zeros(number), never)


def followed(trace: Trace, day: Any, burden: Array, stops: Any) -> Trace:
    """The trace at the end of a step: on a ``day`` ``()`` since the start of the plan (before it: negative) with this
    ``burden`` ``(n,)``; ``stops`` ``(n,)``, the drug was given up to now, and is not from now on.
    """
    first = stops & jnp.isinf(trace.stopped) & (day >= -NEAR)
    stopped = jnp.where(first, jnp.maximum(day, 0.0), trace.stopped)
    at_stop = jnp.where(first, burden, trace.at_stop)
    risen = (burden > at_stop) & (burden >= at_stop * (1.0 + FLARE_RISE) * (1.0 - ROUNDING))
    in_time = (day > stopped) & (day <= stopped + FLARE_DAYS + NEAR)
    flared = jnp.where(jnp.isinf(trace.flared) & risen & in_time, day, trace.flared)
    return Trace(stopped, at_stop, flared)
