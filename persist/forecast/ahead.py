"""What will be measured of a patient on given days under treatments that are known: paths of posterior draws, no plan judged.

The cells go on from the landmark by the leap, as whole cells; the wander and the errors are those of the fit. This is what a
back-test compares with what was measured.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.dynamics import stepsize
from persist.dynamics.attenuation import attenuated
from persist.dynamics.batches import bucket
from persist.dynamics.observe import visible
from persist.dynamics.sampling import stream
from persist.dynamics.trajectories import simulate
from persist.forecast.under import whole
from persist.forecast.visits import chances, measure, scale_of
from persist.treatment.exposure import relax
from persist.treatment.schedule import grid
from persist.types import Grid

if TYPE_CHECKING:
    from persist.forecast.landmark import Landmark
    from persist.types import Cells, Schedule

LONGEST = 1.0
"""Longest step in days on which cells are moved."""


class Ahead(NamedTuple):
    """Of each path and day ``(n_paths, n_days)``: log burden, and log burden as measured (-inf: no cells); ``(n_paths,)`` the
    scale of the error between them.
    """

    level: np.ndarray
    measured: np.ndarray
    noise_sd: np.ndarray


def ahead(seed: int, name: str, at: Landmark, schedule: Schedule, days: np.ndarray) -> Ahead:
    """What draws of a landmark come to on ``days`` after it (absolute, rising), one path each."""
    path = moved(seed, name, at, schedule, days)
    return _measured(seed, name, at, path, days, np.arange(len(at.log_unit)))


def moved(seed: int, name: str, at: Landmark, schedule: Schedule, days: np.ndarray) -> Cells:
    """Cells of the draws of a landmark on ``days`` after it, one path each, ``(n_draws, n_days)``."""
    steps, index = grid(schedule, days, start=at.day, stop=float(days[-1]), max_step=LONGEST)
    steps = _filled(steps)
    exposure = _relax(steps, at.rates.onset_days, at.rates.washout_days, at.exposure)
    exposure, _ = _attenuated(exposure, at.rates, steps.length, at.potency)
    cells = whole(seed, name, np.arange(len(at.log_unit)), at)
    pace = stepsize.choose(cells, at.rates, steps, exposure)
    record = np.isin(np.arange(len(steps.length)), index - 1)
    key = keys.key(seed, name, "ahead")
    return simulate(key, cells, at.rates, steps, exposure, record=record, max_step=pace.days)


_relax, _attenuated, _streams = jax.jit(relax), jax.jit(attenuated), jax.jit(stream)


def _filled(steps: Grid) -> Grid:
    """Padded by steps that do nothing, to a size that others have too."""
    more = bucket(len(steps.length)) - len(steps.length)
    return Grid(np.pad(steps.length, (0, more)), np.pad(steps.dose, (0, more), mode="edge"))


def _measured(seed: int, name: str, at: Landmark, path: Cells, days: np.ndarray, members: np.ndarray) -> Ahead:
    """Cells ``(n_paths, n_days)`` as a burden, and as it is measured."""
    some = {key: jnp.asarray(at.values[key]) for key in ("noise_sd", "wander_sd", "wander_days")}
    streams = _streams(keys.numbered(keys.key(seed, name, "ahead visits"), jnp.asarray(members)))
    more = bucket(len(days)) - len(days)
    since, shared = np.pad(days - at.day, (0, more), mode="edge"), np.ones(len(days) + more, bool)
    chance = chances(streams, since, shared, (at.wander_mean, at.wander_root), some)
    chance = jax.tree.map(lambda part: part[: len(days)] if np.ndim(part) else part, chance)
    scale = scale_of(at)
    total = visible(path, None if scale.shed_p is None else np.asarray(scale.shed_p)[:, None]).T
    burden, seen = measure(total, scale, chance)
    with np.errstate(divide="ignore"):
        return Ahead(np.log(np.asarray(burden)).T, np.log(np.asarray(seen)).T, np.asarray(some["noise_sd"]))
