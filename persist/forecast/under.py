"""One patient under one plan: paths of all draws and replicates, and what is kept of them, chunk by chunk."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics.batches import bucket
from persist.dynamics.checks import Method
from persist.dynamics.paths import Lanes, Steered
from persist.dynamics.sampling import poisson, stream
from persist.dynamics.trajectories import steered
from persist.forecast.agenda import course, days_on_drug_before
from persist.forecast.kept import Part, part
from persist.forecast.visits import Chance, chances, look, scale_of, watch
from persist.inference.fate import SIZE
from persist.types import Cells

if TYPE_CHECKING:
    from persist.dynamics.stepsize import Step
    from persist.forecast.agenda import Agenda
    from persist.forecast.landmark import Landmark, Patient

POISSON_BELOW = 1e6
"""Resistant cells up to which their number at the landmark is drawn; above, their mean is rounded."""

LEVELS = (0.05, 0.25, 0.5, 0.75, 0.95)
"""Quantiles of the burden that are kept."""


class Futures(NamedTuple):
    """What is kept of one plan: ``day`` ``(n_days,)`` after the start with quantiles of the burden ``(n_days, n_levels)``
    and of what would be ``measured`` of it,
    mean shares of S, P, R ``(n_days, 3)`` and dose ``(n_days,)``; per path ``(n_draws, n_replicates)`` the time to
    progression (days after the start, inf: not within the horizon) and whether all cells are gone; days on drug (mean of
    the paths); the most visits in a row at which progression is judged, being on drug (median of the paths); the `step`
    of the leap; days ``on`` drug of each path ``(n_draws, n_replicates)``.
    """

    day: np.ndarray
    burden: np.ndarray
    measured: np.ndarray
    shares: np.ndarray
    dose: np.ndarray
    time_to_progression: np.ndarray
    extinct: np.ndarray
    days_on_drug: float
    visits_on_drug: int
    step: Step
    on: np.ndarray


def under(who: Patient, one: Agenda, step: Step) -> Futures:
    """Futures of one patient under one plan, the leap taking the ``step``."""
    number, draws = who.paths, who.paths // who.replicates
    first = who.at.burden if who.look.start <= who.at.day + 1e-6 else None

    def lanes(members: np.ndarray) -> Lanes:
        mine, seen = _of(who, members, one)
        cells = whole(who.seed, who.name, members, mine)
        memory = watch(one.plan.rule, scale_of(mine), first)
        return Lanes(cells, mine.rates, mine.exposure, who.before, seen, memory, mine.potency)

    def finish(members: np.ndarray, lanes: Lanes, path: Steered) -> Part:
        return part(who, one, members, lanes, path)

    key, along, method = keys.key(who.seed, who.name, "futures"), course(who, one), Method("leap", step.days)
    chunks = steered(finish, look, key, lanes, one.steps, along, method, trajectories=number, record=one.recorded)
    parts = list(chunks)
    return Futures(
        day=one.dense - who.look.start,
        burden=np.quantile(np.concatenate([part.burden for part in parts]), LEVELS, axis=0).T,
        measured=np.quantile(np.concatenate([part.measured for part in parts]), LEVELS, axis=0).T,
        shares=np.asarray(sum(part.shares for part in parts)) / number,
        dose=np.asarray(sum(part.dose for part in parts)) / number,
        time_to_progression=np.concatenate([part.times for part in parts]).reshape(draws, who.replicates),
        extinct=np.concatenate([part.gone for part in parts]).reshape(draws, who.replicates),
        days_on_drug=float(np.concatenate([part.on for part in parts]).mean()) - days_on_drug_before(who, one),
        visits_on_drug=int(np.median(np.concatenate([part.visits for part in parts]))),
        step=step,
        on=np.concatenate([part.on for part in parts]).reshape(draws, who.replicates) - days_on_drug_before(who, one),
    )


def _of(who: Patient, members: np.ndarray, one: Agenda) -> tuple[Landmark, Chance]:
    """The landmark of some paths, and the chance of what is measured of them on recorded days (and more, to fill up)."""
    pick = members // who.replicates
    mine: Landmark = jax.tree.map(
        lambda value: np.asarray(value)[pick] if np.ndim(value) else value, who.at._replace(nadir=0.0)
    )
    some = {name: mine.values[name] for name in ("noise_sd", "wander_sd", "wander_days")}
    more = bucket(len(one.day)) - len(one.day)
    since, shared = (np.pad(part, (0, more), mode="edge") for part in (one.day - who.at.day, one.shared))
    streams = _streams(keys.numbered(keys.key(who.seed, who.name, "visits"), jnp.asarray(members)))
    return mine, chances(streams, since, shared, (mine.wander_mean, mine.wander_root), some)


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
