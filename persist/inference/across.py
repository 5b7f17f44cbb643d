"""Steps from a clone that shows to one that never will, and back.

What a clone is seeded by, and whether there is one at all (`inference.clone_free`), has a law of two humps, and between them,
where a clone would show a little, the data may have a ditch that no trajectory crosses: each walker would keep the hump that it
began in. So walkers also try a step from the one to the other: the log x of the clone where it would show first, which all that
seeds it has in common, goes on by d, either way alike,

    u = x + k sigmoid(x)  (`inference.coordinates`),      x' = x + d,      d ~ +-Normal(FAR, SPREAD^2),

by Metropolis's rule in u:  accepted with the probability  p(u') / p(u)  (du'/dx') / (du/dx), at most 1.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.clone_free import FAINT
from persist.inference.coordinates import CLONE, stretched, unstretch
from persist.inference.target import order

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.target import Target
    from persist.inference.walkers import Across

FAR, SPREAD = float(-np.log(FAINT)), 3.0
"""Length of a step, what having no clone makes of its log, and its spread."""


def across(target: Target) -> Across | None:
    """The step of a target; None where it has no clone."""
    sites, site = order(target), CLONE["resistant_0"]
    return partial(stepped, sites.index(site)) if site in sites else None


def stepped(place: int, rng: np.random.Generator, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where walkers at points ``(lanes, n)`` may go along the coordinate at a ``place``, and the log of how much wider it is
    there, ``(lanes,)``.
    """
    lanes = len(point)
    by = np.where(rng.uniform(size=lanes) < 0.5, -1.0, 1.0) * rng.normal(FAR, SPREAD, lanes)
    there = point.copy()
    there[:, place], grown = (np.asarray(part) for part in _moved(point[:, place], by))
    return there, np.asarray(grown)


@jax.jit
def _moved(u: Array, by: Array) -> tuple[Array, Array]:
    """Where sights ``u`` are when their logs have gone on ``by`` so much, and the logs of the slopes of the way there."""
    x, falls = unstretch(u)
    there, slope = stretched(x + by)
    return there, jnp.log(slope) + falls
