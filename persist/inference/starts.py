"""Where chains start: apart from each other, and each already near a mode.

Many draws from the prior are scored, the better ones are improved by a short optimisation side by side, and the chains
start from the ends of those that came near the best. Ends that fell behind are dropped: a chain that starts in a mode which
is worse by many nats would only sit there.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.errors import FitError
from persist.inference.coordinates import sites, starting_range

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.priors import Pack

LANES = 16
N_SCORED, N_STEPS, RATE, NUDGE = 256, 250, 0.05, 1e-4
NEAR_NATS = 6.0
"""Chains start only where the log posterior density is within this of the best end found."""


FAR_NATS = 100.0


class Starts(NamedTuple):
    """Points ``(chains, n)``, the covariance of a normal fitted at each ``(chains, n, n)``; of all ends found, best first,
    where they are ``(LANES, n)`` and their energies ``(LANES,)``.
    """

    point: np.ndarray
    spread: np.ndarray
    end: np.ndarray
    energy: np.ndarray


def coordinates(pack: Pack, names: tuple[str, ...], case: Case) -> tuple[dict[str, Any], dict[str, Any]]:
    """Location and scale of the prior of the parameters ``names`` in the sampler's coordinates (about, in some), by site."""
    entries = dict(pack.entries)
    if pack.cells_per_unit is not None:
        entries["cells_per_unit"] = pack.cells_per_unit
    own = starting_range(names, pack)
    reach = {site: own[site] if site in own else (entries[site].location, entries[site].scale) for site in sites(names)}
    location = {site: jnp.asarray(at) for site, (at, _) in reach.items()}
    location["settled_burden"] = location["settled_burden"] + case.log_largest
    location["burden_0"] = location["burden_0"] + case.log_first
    return location, {site: jnp.asarray(width) for site, (_, width) in reach.items()}


def find_starts(
    key: Array, slope: Callable[[Array], tuple[Array, Array]], location: np.ndarray, scale: np.ndarray, chains: int
) -> Starts:
    """Starting points in unconstrained coordinates (flat, in the order of ``location`` and ``scale`` ``(n,)``).

    ``slope`` maps points ``(LANES, n)`` to minus the log posterior density ``(LANES,)`` and its gradient ``(LANES, n)``:
    one compiled function serves the search, the descent and the curvature.
    """
    draw, choose = (np.random.default_rng(np.asarray(jax.random.key_data(part))) for part in jax.random.split(key))
    points = draw.standard_normal((N_SCORED, len(location)))
    level = np.concatenate([_scaled(slope, part, location, scale)[0] for part in np.split(points, N_SCORED // LANES)])
    ends, energy = _descend(partial(_scaled, slope, location=location, scale=scale), points[np.argsort(level)[:LANES]])
    if not np.isfinite(energy).any():
        raise FitError(
            "no starting point has a finite posterior density",
            where="starts",
            remedy="look for values that no rate of the pack can explain (`persist check`), or choose another --pack",
        )
    near = choose.permutation(np.flatnonzero(energy < energy.min() + NEAR_NATS))
    chosen = near[np.arange(chains) % len(near)]
    spread = np.stack([_spread(slope, at, location, scale) for at in ends[chosen]])
    point = _apart(slope, location + scale * ends[chosen], spread, choose)
    order = np.argsort(energy)
    return Starts(point, spread, location + scale * ends[order], energy[order])


def _apart(slope: Any, point: np.ndarray, spread: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """A draw from the normal fitted at each point ``(chains, n)``, so that chains of one mode start apart; the point itself
    where that is `FAR_NATS` less likely, and the normal no guide.
    """
    width = np.linalg.cholesky(spread + 1e-12 * np.eye(len(spread[0])))
    moved = point + np.einsum("cij,cj->ci", width, rng.standard_normal(point.shape))
    lanes = [jnp.asarray(np.pad(rows, ((0, LANES - len(rows)), (0, 0)), mode="edge")) for rows in (point, moved)]
    before, after = (np.asarray(slope(rows)[0])[: len(point)] for rows in lanes)
    return np.where((after < before + FAR_NATS)[:, None], moved, point)


def _scaled(slope: Any, point: np.ndarray, location: np.ndarray, scale: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Energy and gradient in coordinates in which the prior is a standard normal; what is not finite counts as a wall."""
    energy, bend = (np.asarray(part) for part in slope(jnp.asarray(location + scale * point)))
    energy = np.where(np.isfinite(energy), energy, np.inf)
    return energy, np.where(np.isfinite(bend), np.clip(bend * scale, -1e3, 1e3), 0.0)


def _descend(slope: Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]], point: np.ndarray) -> tuple[Any, Any]:
    """A short Adam descent of `N_STEPS` steps, all lanes at once (Kingma & Ba 2014, arXiv:1412.6980)."""
    first, second = np.zeros_like(point), np.zeros_like(point)
    for count in range(1, N_STEPS + 1):
        bend = slope(point)[1]
        first = 0.9 * first + 0.1 * bend
        second = 0.999 * second + 0.001 * bend**2
        point = point - RATE * (first / (1.0 - 0.9**count)) / (np.sqrt(second / (1.0 - 0.999**count)) + 1e-8)
    return point, slope(point)[0]


def _spread(slope: Any, point: np.ndarray, location: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Covariance of the normal that fits the posterior at ``point``, never wider than the prior; ``(n, n)``.

    The curvature is a central difference of gradients, `LANES` points at a time.
    """
    size = len(location)
    shift = np.concatenate([np.eye(size), -np.eye(size)]) * NUDGE
    shift = np.pad(shift, ((0, -len(shift) % LANES), (0, 0)))
    parts = [_scaled(slope, point + part, location, scale)[1] for part in np.split(shift, len(shift) // LANES)]
    bend = np.concatenate(parts)
    curve = (bend[:size] - bend[size : 2 * size]) / (2.0 * NUDGE)
    values, vectors = np.linalg.eigh(0.5 * (curve + curve.T))
    return np.asarray((vectors / np.maximum(values, 1.0)) @ vectors.T * scale[:, None] * scale[None, :])
