"""The likelihood of a series under the stochastic model itself, estimated by a particle filter.

Cells are moved from visit to visit by the leap, so that every founder, mutant and persister has its chance. Given the cells,
the wander and the noise are normal mixtures: each particle is weighed by the value with both integrated out, and its wander is
drawn given the value (a guided filter; Doucet, Godsill & Andrieu 2000, 10.1023/A:1008935410038). A measured fraction depends on
the cells alone and weighs them on its own day. Resampling is systematic. The
mean of the estimate, not of its logarithm, is the likelihood (Del Moral 2004, 10.1007/978-1-4684-9393-1).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import log_ndtr, logsumexp, ndtri

from persist import keys
from persist.dynamics import stepsize
from persist.dynamics.attenuation import attenuated
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, log_burden, passage, times, visible
from persist.dynamics.sampling import poisson, uniform
from persist.dynamics.trajectories import simulate
from persist.inference import composition
from persist.inference.curve import patient, without_size
from persist.treatment.doubt import STOP, dosed
from persist.treatment.exposure import relax
from persist.types import Cells, Doubt, Exposure, Grid, Known, Rates, Specimens

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case

LONGEST = 1.0
"""Longest step in days on which cells are moved."""

_ROOT_2PI = 0.9189385332046727


class Crowd(NamedTuple):
    """Particles of several draws, each ``(n_draws, n_particles)``: cells, and the wander at the last visit with its slope."""

    cells: Cells
    wander: Any
    slope: Any


class Value(NamedTuple):
    """One value as the filter reads it, each ``()``: log burden, censoring (-1, 0, 1), extra variance of counting, days since
    the value before (inf: the first).
    """

    log: Any
    censoring: Any
    counting: Any
    gap: Any


def log_likelihood(
    seed: int,
    name: str,
    values: dict[str, np.ndarray],
    case: Case,
    power: float,
    particles: int,
    progress: Callable[[int, int], None] | None = None,
) -> np.ndarray:
    """Log of the estimated likelihood of the series of patient ``name`` under each draw of ``values``, ``(n_draws,)``."""
    given: dict[str, Any] = {one: jnp.asarray(value, float) for one, value in without_size(values).items()}
    count = len(next(iter(given.values())))
    start = patient(given, power)
    rates = Rates(*(jnp.broadcast_to(jnp.asarray(rate, float), (count,)) for rate in start.rates))
    steps, ends, course = _daily(case)
    if case.doubt is not None and STOP in given:
        steps = steps._replace(dose=_dosed(case.dose, case.doubt, ends, given[STOP]))
    upto = ends[np.asarray(case.step, int)]
    exposure = jax.jit(relax)(steps, rates.onset_days, rates.washout_days, course=course)
    exposure, _ = attenuated(exposure, start.rates, steps.length)
    looks = _looks(case, ends)
    first, last = int(upto[0]), max(look.step for look in looks)
    followed = _cut((steps, exposure), first, last)
    pace = stepsize.choose(start.cells, rates, *followed) if last > first else None  # one value alone: nothing moves
    crowd, total = _beginning(keys.key(seed, name, "audit start"), start.cells, (count, particles)), np.zeros(count)
    at = first
    for done, look in enumerate(looks, start=1):
        key = keys.key(seed, name, "audit", *look.name)
        if pace is not None and look.step > at:
            crowd = _moved(key, crowd, rates, _cut(steps, at, look.step), _cut(exposure, at, look.step), pace)
            at = look.step
        fold = jax.random.fold_in(key, 1)
        if look.counted:
            crowd, fresh = _weighed_by_count(fold, crowd, Specimens(*(part[look.place] for part in case.specimens)))
        else:
            gap = float(case.gap[look.place]) if look.place else np.inf
            seen = Value(case.value[look.place], case.censoring[look.place], case.counting[look.place], gap)
            noise = {one: given[one] for one in ("noise_sd", "wander_sd", "wander_days")}
            crowd, fresh = _weighed(fold, crowd, seen, noise, (start.log_cells_per_unit, start.shed_p), power)
        total += np.asarray(fresh)
        if progress is not None:
            progress(done, len(looks))
    return total


class _Look(NamedTuple):
    """When particles are weighed, and by what: after ``step`` steps, by the visit or the ``counted`` specimen of a place."""

    step: int
    counted: bool
    place: int

    @property
    def name(self) -> tuple[str, ...]:
        """What its random numbers are called."""
        return ("composition", str(self.place)) if self.counted else (str(self.place),)


def _looks(case: Case, ends: np.ndarray) -> list[_Look]:
    """Visits and specimens in order of time; on one day, the visit first."""
    found = [_Look(int(ends[case.step[place]]), False, int(place)) for place in np.flatnonzero(case.seen)]
    of = case.specimens
    return sorted([*found, *(_Look(int(ends[of.step[place]]), True, int(place)) for place in np.flatnonzero(of.seen))])


def _daily(case: Case) -> tuple[Grid, np.ndarray, Known | None]:
    """The steps of a case divided into steps of at most `LONGEST` days; how many there are up to the end of each of its own
    ``(n_steps + 1,)``; and what is known of the exposure along them.
    """
    pieces = np.maximum(np.ceil(np.asarray(case.length) / LONGEST - 1e-9), 1.0).astype(int)
    length, dose = (np.repeat(part, pieces) for part in (np.asarray(case.length) / pieces, np.asarray(case.dose)))
    ends = np.append(0, np.cumsum(pieces))
    if case.known is None:
        return Grid(length, dose), ends, None
    part = _part(ends)
    start, rise = (np.repeat(one, pieces) for one in (case.known.start, case.known.end - case.known.start))
    measured = np.full(ends[-1], np.nan)
    measured[ends[1:] - 1] = case.known.measured
    course = case.known._replace(start=start + part * rise, measured=measured)
    return Grid(length, dose), ends, course._replace(end=start + (part + 1.0 / np.repeat(pieces, pieces)) * rise)


def _dosed(dose: np.ndarray, doubt: Doubt, ends: np.ndarray, share: Array) -> Array:
    """Doses ``(n_steps, n_draws)`` along the divided steps, where a stop is doubtful."""
    pieces = np.diff(ends)
    begin, wide = (np.repeat(part, pieces) for part in (doubt.begin, (doubt.end - doubt.begin)))
    begin = begin + wide * _part(ends)
    return dosed(np.repeat(dose, pieces), Doubt(begin, begin + wide / np.repeat(pieces, pieces)), share)


def _part(ends: np.ndarray) -> np.ndarray:
    """How much of its step lies before each divided one, ``(n_steps,)``."""
    pieces = np.diff(ends)
    return np.asarray((np.arange(ends[-1]) - np.repeat(ends[:-1], pieces)) / np.repeat(pieces, pieces))


def _cut(part: Any, first: int, last: int) -> Any:
    """Steps ``first`` to ``last`` of a grid or an exposure."""
    return jax.tree.map(lambda rows: rows[first:last], part)


def _beginning(key: Array, cells: Cells, shape: tuple[int, int]) -> Crowd:
    """Particles at the first visit: S and P are rounded, R is Poisson; no wander is known yet."""
    many = Cells(*(jnp.broadcast_to(jnp.reshape(state, (-1, 1)), shape) for state in cells))
    resistant = poisson(key, many.resistant)
    return Crowd(
        Cells(jnp.round(many.sensitive), jnp.round(many.persister), resistant), jnp.zeros(shape), jnp.zeros(shape)
    )


def _moved(key: Array, crowd: Crowd, rates: Rates, steps: Grid, exposure: Exposure, pace: stepsize.Step) -> Crowd:
    """Particles at the next visit."""
    shape = np.shape(crowd.wander)
    lanes = Rates(*(jnp.repeat(rate, shape[1]) for rate in rates))
    level = jax.tree.map(lambda part: jnp.repeat(part, shape[1], axis=1) if jnp.ndim(part) == 2 else part, exposure)
    record = np.arange(len(steps.length)) == len(steps.length) - 1
    flat = Cells(*(state.reshape(-1) for state in crowd.cells))
    after = simulate(key, flat, lanes, steps, level, record=record, max_step=pace.days)
    return crowd._replace(cells=Cells(*(jnp.asarray(state)[:, 0].reshape(shape) for state in after)))


@jax.jit
def _weighed(
    key: Array, crowd: Crowd, seen: Value, noise: dict[str, Array], scale: tuple[Array, Array | None], power: float
) -> tuple[Crowd, Array]:
    """Particles after a value, and the log of their mean weight ``(n_draws,)``; ``scale``: log of cells per unit, shed_p."""
    shape = crowd.wander.shape
    log_unit, shed = jnp.broadcast_to(scale[0], shape[:1]), None if scale[1] is None else scale[1][:, None]
    level = log_burden(visible(crowd.cells, shed), log_unit[:, None], power)
    sd, memory = noise["wander_sd"][:, None], noise["wander_days"][:, None]
    over = passage(jnp.broadcast_to(seen.gap, memory.shape), memory)
    mean, slope = times(over.kept, jnp.stack([crowd.wander, crowd.slope]))
    variance, shared, steep = (sd**2 * over.fresh[at] for at in ((0, 0), (0, 1), (1, 1)))
    parts = (noise["noise_sd"][:, None] * jnp.asarray(NOISE_SCALE)[None]) ** 2 + seen.counting
    total = variance[..., None] + parts[:, None, :]  # (n_draws, 1, k)
    off = (seen.log - level - mean)[..., None] / jnp.sqrt(total)
    measured = -0.5 * off**2 - _ROOT_2PI - 0.5 * jnp.log(total)
    censored = log_ndtr(-jnp.asarray(seen.censoring, float) * off)
    each = jnp.log(jnp.asarray(NOISE_WEIGHT))[None, None] + jnp.where(seen.censoring == 0, measured, censored)
    weight = logsumexp(each, axis=-1)
    pick, tail, spread, again = jax.random.split(key, 4)
    part = jax.random.categorical(pick, each, axis=-1)[..., None]
    off, total = (jnp.take_along_axis(jnp.broadcast_to(row, each.shape), part, -1)[..., 0] for row in (off, total))
    error = jnp.where(seen.censoring == 0, off, _beyond(uniform(tail, shape), off, seen.censoring)) * jnp.sqrt(total)
    share = variance / total
    left = jnp.sqrt(jnp.maximum(variance * (1.0 - share), 0.0))
    wander = mean + share * error + left * jax.random.normal(spread, shape)
    pull = shared / jnp.maximum(variance, 1e-300)  # of the slope on the wander
    own = jnp.sqrt(jnp.maximum(steep - pull * shared, 0.0)) * jax.random.normal(jax.random.fold_in(spread, 1), shape)
    return _kept(again, Crowd(crowd.cells, wander, slope + pull * (wander - mean) + own), weight)


@jax.jit
def _weighed_by_count(key: Array, crowd: Crowd, of: Specimens) -> tuple[Crowd, Array]:
    """Particles after a measured fraction (each part of ``of`` is ``()``), and the log of their mean weight ``(n_draws,)``."""
    return _kept(key, crowd, composition.log_likelihood(of, crowd.cells))


def _kept(key: Array, crowd: Crowd, weight: Array) -> tuple[Crowd, Array]:
    """Particles drawn by their log ``weight`` ``(n_draws, n_particles)``, and the log of its mean ``(n_draws,)``."""
    chosen = _systematic(key, weight)
    kept: Crowd = jax.tree.map(lambda state: jnp.take_along_axis(state, chosen, axis=1), crowd)
    return kept, logsumexp(weight, axis=1) - jnp.log(weight.shape[1])


def _beyond(u: Array, limit: Array, censoring: Array) -> Array:
    """A standard normal variable that lies under the ``limit`` (-1) or over it (1), from a uniform number."""
    sign = -jnp.asarray(censoring, float)
    edge = sign * limit
    near = ndtri(jnp.maximum(u * jnp.exp(log_ndtr(jnp.maximum(edge, -30.0))), 1e-300))
    far = edge + jnp.log(u) / jnp.maximum(-edge, 1.0)  # the tail is about exponential there
    return sign * jnp.where(edge > -8.0, near, far)


def _systematic(key: Array, log_weight: Array) -> Array:
    """Places ``(n_draws, n_particles)`` of the particles that go on: one uniform number a draw."""
    count = log_weight.shape[1]
    share = jnp.cumsum(jax.nn.softmax(log_weight, axis=1), axis=1)
    comb = (jnp.arange(count)[None] + jax.random.uniform(key, (log_weight.shape[0], 1))) / count
    found = jax.vmap(jnp.searchsorted)(share / share[:, -1:], comb)
    return jnp.minimum(found, count - 1)
