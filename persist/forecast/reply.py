"""Replies: how a path answers to the drug given again, and what the tumour was made of when it was stopped before.

The restart is the first day within the plan from which the drug is given again, after an earlier course; where a second plan
waits for progression, the first one of that. The response is by the rule in force (`endpoints.RESPONSES`), from the burden as
last measured before, or on that day, and within so many days of it. Burdens are judged as measured at visits, whether the drug
is still given then or was stopped again. The composition is that on the day of the last stop before the restart; it is not
known where that stop lies before the landmark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp

from persist.forecast.endpoints import ROUNDING, Response, confirmed
from persist.forecast.trace import NEAR

if TYPE_CHECKING:
    from jax import Array

    from persist.types import Cells

RESPONSE_DAYS = 168.0
"""A response counts within so many days of the restart, unless told otherwise."""
TOLD = ("restarted", "before_restart", "responded", "persister_at_stop", "resistant_at_stop")
"""What is told of a reply."""


class Reply(NamedTuple):
    """What is known of paths, each ``(n,)``, days since the start of the plan: whether they were ever ``treated`` up to now;
    the burden as ``latest`` measured, and the one ``before_restart`` (NaN: none is known); days ``open`` ``(n, n_open)`` of low
    values that wait for their confirmation (inf: none); the days on which the drug was ``restarted`` and the burden
    ``responded`` (inf: not yet); shares ``persister_at_stop`` and ``resistant_at_stop`` of all cells (NaN: not known). Of the
    rule, ``()``: ``fall``, ``confirm_days``, and the days ``within`` which it counts.
    """

    treated: Any
    latest: Any
    before_restart: Any
    open: Any
    restarted: Any
    responded: Any
    persister_at_stop: Any
    resistant_at_stop: Any
    fall: Any
    confirm_days: Any
    within: Any


def waiting(
    number: int, rule: Response, burden: Any, room: int, within: float = RESPONSE_DAYS, *, treated: bool = True
) -> Reply:
    """What is known of so many paths before the first step, with the last measured ``burden`` (NaN: too old to count), and
    whether they were ``treated`` before; ``room`` for low values that wait at once.
    """
    never, none = jnp.full(number, jnp.inf), jnp.full(number, jnp.nan)
    latest = jnp.full(number, burden, float)
    asked = (jnp.asarray(part, float) for part in (*rule, within))
    course = jnp.full(number, treated)
    return Reply(course, latest, none, jnp.full((number, room), jnp.inf), never, never, none, none, *asked)


def given(reply: Reply, day: Any, cells: Cells, stops: Array, starts: Array) -> Reply:
    """The reply at the end of a step, on a ``day`` ``()`` since the start of the plan: ``stops`` and ``starts`` ``(n,)``, the
    drug is stopped on that day, or given again.
    """
    coming = jnp.isinf(reply.restarted)
    first = starts & coming & reply.treated & (day >= -NEAR)
    news = coming & stops
    total = jnp.maximum(cells.total, 1.0)
    return reply._replace(
        treated=reply.treated | stops,
        before_restart=jnp.where(first, reply.latest, reply.before_restart),
        restarted=jnp.where(first, jnp.maximum(day, 0.0), reply.restarted),
        persister_at_stop=jnp.where(news, cells.persister / total, reply.persister_at_stop),
        resistant_at_stop=jnp.where(news, cells.resistant / total, reply.resistant_at_stop),
    )


def measured(reply: Reply, day: Any, burden: Array) -> Reply:
    """The reply after a visit on a ``day`` ``()`` that measured ``burden`` ``(n,)``."""
    fallen = burden <= reply.before_restart * (1.0 - reply.fall) * (1.0 + ROUNDING)
    low = (day > reply.restarted) & (burden < reply.before_restart) & fallen
    when = jnp.broadcast_to(jnp.asarray(day, float), burden.shape)
    first, waits = confirmed(reply.open, low, when, reply.confirm_days)
    new = jnp.isinf(reply.responded) & (first <= reply.restarted + reply.within + NEAR)
    return reply._replace(latest=burden, open=waits, responded=jnp.where(new, first, reply.responded))
