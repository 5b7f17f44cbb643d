"""One patient under one plan: paths of all draws and replicates, and what is kept of them, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.batches import bucket
from persist.dynamics.checks import Method
from persist.dynamics.paths import Lanes, Partner, Steered
from persist.dynamics.sampling import poisson, stream
from persist.dynamics.trajectories import steered
from persist.forecast.agenda import course, days_on_drug_before, deciding, last_course, planned
from persist.forecast.endpoints import Judge, judge, room
from persist.forecast.kept import Part, part
from persist.forecast.reply import waiting
from persist.forecast.visits import chances, missed, scale_of
from persist.forecast.watch import TOLD, Visit, following, look, watch
from persist.inference.fate import SIZE
from persist.types import Cells

if TYPE_CHECKING:
    from collections.abc import Iterable

    from persist.dynamics.stepsize import Paces, Step
    from persist.forecast.agenda import Agenda
    from persist.forecast.landmark import Landmark, Patient
    from persist.forecast.reply import Reply
    from persist.forecast.watch import Second

POISSON_BELOW = 1e6
"""Resistant cells up to which their number at the landmark is drawn; above, their mean is rounded."""

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the burden that are kept."""


class Futures(NamedTuple):
    """What is kept of one plan: ``day`` ``(n_days,)`` after the start with quantiles of the burden ``(n_days, n_levels)`` and
    of what would be ``measured`` of it, mean shares of S, P, R ``(n_days, 3)`` and dose ``(n_days,)``; per path ``(n_draws,
    n_replicates)`` the time to progression (``by_rule`` ``(n_rules, n_draws, n_replicates)``, that by the first rule alone too)
    and to the visit at which it was ``seen`` (days after the start, inf: not within the horizon) and whether all cells are
    gone, the day on which the drug was first ``stopped`` and that on which the burden ``flared`` after it (inf: not); the
    ``area`` under the burden (unit times days) and that ``area_after`` progression was seen, and the day on which the burden
    ``reached`` its limit after that (inf: not); the days on which the drug was ``restarted`` and the burden, measured as
    ``before_restart``, ``responded`` to that, and shares ``persister_at_stop``, ``resistant_at_stop`` of the cells (`Reply`);
    days ``on`` drug of each path, and the mean of the paths; the most visits in a row at which progression is judged, being on
    drug (median of the paths); the shortest `step` of the leap.
    """

    day: np.ndarray
    burden: np.ndarray
    measured: np.ndarray
    shares: np.ndarray
    dose: np.ndarray
    time_to_progression: np.ndarray
    by_rule: np.ndarray
    seen: np.ndarray
    extinct: np.ndarray
    stopped: np.ndarray
    flared: np.ndarray
    area: np.ndarray
    area_after: np.ndarray
    reached: np.ndarray
    restarted: np.ndarray
    before_restart: np.ndarray
    responded: np.ndarray
    persister_at_stop: np.ndarray
    resistant_at_stop: np.ndarray
    days_on_drug: float
    visits_on_drug: int
    step: Step
    on: np.ndarray


def under(who: Patient, one: Agenda, paces: Paces) -> Futures:
    """Futures of one patient under one plan, each draw ``(n_draws,)`` in steps as ``paces`` has them."""
    number, draws = who.paths, who.paths // who.replicates
    first = who.at.burden if who.look.start <= who.at.day + 1e-6 else None
    offset = who.look.start - who.at.day

    def lanes(members: np.ndarray) -> Lanes:
        mine, seen = _of(who, members, one)
        cells = whole(who.seed, who.name, members, mine)
        judges, second = _judges(who, one, len(members)), _second(one, len(members))
        memory = watch(
            scale_of(mine),
            judges,
            one.plan.rule,
            first,
            second=second,
            offset=offset,
            before=who.before,
            limit=who.limit,
            reply=_reply(who, one, len(members)),
        )
        partner = (
            None if who.partner is None else Partner(*(part[members // who.replicates] for part in who.partner[:5]))
        )
        return Lanes(cells, mine.rates, mine.exposure, who.before, seen, memory, mine.potency, partner)

    def finish(members: np.ndarray, lanes: Lanes, path: Steered) -> tuple[np.ndarray, Part]:
        return members, part(who, one, members, lanes, path)

    key, along, leaps = (
        keys.key(who.seed, who.name, "futures"),
        course(who, one),
        np.repeat(paces.substeps, who.replicates),
    )
    how = (key, lanes, one.steps, along, Method("leap"))
    chunks = steered(finish, look, *how, trajectories=number, record=one.recorded, leaps=leaps)
    members, parts = zip(*chunks, strict=True)
    order = np.argsort(np.concatenate(members))

    def shaped(chunks: Iterable[np.ndarray]) -> np.ndarray:
        return np.concatenate(list(chunks))[order].reshape(draws, who.replicates)

    def by_path(name: str) -> np.ndarray:
        return shaped(getattr(part, name) for part in parts)

    rules, on = range(1 + len(who.others)), by_path("on") - days_on_drug_before(who, one)
    by_rule = np.stack([shaped(part.times[:, rule] for part in parts) for rule in rules])
    return Futures(
        day=one.dense - who.look.start,
        burden=np.quantile(np.concatenate([part.burden for part in parts]), LEVELS, axis=0).T,
        measured=np.quantile(np.concatenate([part.measured for part in parts]), LEVELS, axis=0).T,
        shares=np.asarray(sum(part.shares for part in parts)) / number,
        dose=np.asarray(sum(part.dose for part in parts)) / number,
        time_to_progression=by_rule[0],
        by_rule=by_rule,
        seen=by_path("seen"),
        extinct=by_path("gone"),
        **{name: shaped(part.trace[name] for part in parts) for name in TOLD},
        days_on_drug=float(on.mean()),
        visits_on_drug=int(np.median(by_path("visits"))),
        step=paces.finest,
        on=on,
    )


def _second(one: Agenda, number: int) -> Second:
    """The plan that follows progression."""
    return following(one.plan.then, one.after, number, one.partner_after)


def _judges(who: Patient, one: Agenda, number: int) -> tuple[Judge, ...]:
    """A judge for each rule of progression; the nadir up to the landmark counts for as long as that course goes on."""
    days, before = one.visits - who.look.start, (who.at.nadir, last_course(who, one))
    return tuple(judge(rule, (number,), room(days, rule.confirm_days), before) for rule in (who.rule, *who.others))


def _reply(who: Patient, one: Agenda, number: int) -> Reply:
    """What is known of a restart; the last value up to the landmark is the first that it may be judged by, unless that is older
    than visits are apart when the plan begins.
    """
    rule, old = who.response, who.look.start - who.at.day > who.look.visit_every + 1e-6
    rises = room(one.visits - who.look.start, rule.confirm_days)
    return waiting(number, rule, np.nan if old else who.at.burden, rises, who.within, treated=who.treated)


def _of(who: Patient, members: np.ndarray, one: Agenda) -> tuple[Landmark, Visit]:
    """The landmark of some paths, and what is seen of them on recorded days (and more, to fill up)."""
    pick = members // who.replicates
    mine: Landmark = jax.tree.map(
        lambda value: np.asarray(value)[pick] if np.ndim(value) else value, who.at._replace(nadir=0.0)
    )
    some = {name: mine.values[name] for name in ("noise_sd", "wander_sd", "wander_days")}
    more = bucket(len(one.day)) - len(one.day)
    looked = (np.isin(one.day, days) for days in (deciding(who, one), one.visits))
    *doses, beside = planned(who, one)
    of_days = (one.day - who.at.day, one.shared, one.day - who.look.start, *doses, *looked, beside)
    since, shared, *told = (np.pad(part, (0, more), mode="edge") for part in of_days)
    streams = _streams(keys.numbered(keys.key(who.seed, who.name, "visits"), jnp.asarray(members)))
    chance = chances(streams, since, shared, (mine.wander_mean, mine.wander_root), some)
    own = keys.numbered(keys.key(who.seed, who.name, "missed"), jnp.asarray(members))
    away = missed(own, since, who.missed)
    now = Visit(chance, away, *told)
    return mine, now._replace(missed=away & now.looked[:, None])


_streams = jax.jit(stream)
_poisson = jax.jit(jax.vmap(poisson))
_uniform = jax.jit(jax.vmap(jax.random.uniform))


def whole(seed: int, name: str, members: np.ndarray, at: Landmark) -> Cells:
    """Whole cells: S and P rounded. While there are few R, those that the fit knows by the size of their clone are rounded up
    or down by chance, and those that it knows as a mean are drawn as Poisson.
    """
    cells, key = at.cells, keys.key(seed, name, "landmark")
    mean = jnp.asarray(cells.resistant)
    own = keys.numbered(key, jnp.asarray(members))
    few = jnp.minimum(mean, POISSON_BELOW)
    draw = jnp.floor(few + _uniform(own)) if SIZE in at.values else _poisson(own, few)
    resistant = jnp.where(mean < POISSON_BELOW, draw, jnp.round(mean))
    return Cells(jnp.round(cells.sensitive), jnp.round(cells.persister), resistant)
