"""How the patients of a cohort are spread: a normal law of their scores, learned with them and given to the next.

A score is a parameter on the scale on which its prior of the pack is standard normal (`priors.score`). In a cohort of k scores

    z_i ~ Normal(m, C),      m ~ Normal(0, CENTRE^2 I),      C ~ inverse Wishart(k + FREEDOM - 1, SCALE I)

so that one patient's score alone has about the prior that the pack has (CENTRE^2 + SCALE / (FREEDOM - 2) = 1), and a spread of
under 0.4 or over 1.1 of that prior's has 5 % each: patients differ in everything, and a cohort of few must not pretend that
they do not. What a new patient leans on is the mixture over draws of (m, C), which holds that a cohort does not tell
them exactly.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.priors import score

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.priors import Pack

CENTRE = 0.7
"""Prior standard deviation of the population's mean, in that of the pack's prior."""

FREEDOM, SCALE = 6.0, 2.0
"""Of the prior of the population's variances: each is inverse gamma (FREEDOM / 2, SCALE / 2)."""

COMPONENTS = 64
"""Draws of a population of which the prior of the next patient is the mixture."""

ALONE = ("burden_0", "settled_burden", "secretome_boost")
"""Parameters that patients share nothing of: two count in a burden of the series itself, and of the third, which may be 0,
scores have no end."""


class Population(NamedTuple):
    """An equal mixture of m normal laws of n scores: ``mean`` (..., m, n), ``whiten`` (..., m, n, n), the inverse of the root
    of the covariance. m = 0 stands for the pack's prior.
    """

    mean: Any
    whiten: Any


UNKNOWN = Population(np.zeros((0, 0)), np.zeros((0, 0, 0)))
"""No cohort to lean on: the pack's prior."""


class Law(NamedTuple):
    """A state of the population's law in each of some lanes: mean ``(lanes, k)``, covariance ``(lanes, k, k)``."""

    mean: np.ndarray
    covariance: np.ndarray


def shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the sampled parameters that a population has a law of, in order."""
    return tuple(name for name in names if name not in ALONE)


def scores(values: dict[str, Any], pack: Pack, names: tuple[str, ...]) -> Array:
    """Scores ``(n,)`` of one patient's parameters."""
    entries = pack.entries if pack.cells_per_unit is None else pack.entries | {"cells_per_unit": pack.cells_per_unit}
    return jnp.stack([score(entries[name], values[name]) for name in names])


def log_ratio(z: Array, law: Population) -> Array:
    """Log density ``()`` of scores ``(n,)`` under the mixture, less that under the pack's prior (standard normal)."""
    away = jnp.einsum("mij,mj->mi", law.whiten, z[None, :] - law.mean)
    scale = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(law.whiten, axis1=-2, axis2=-1))), axis=-1)
    each = scale - 0.5 * jnp.sum(away**2, axis=-1)
    return jax.nn.logsumexp(each) - jnp.log(1.0 * each.shape[0]) + 0.5 * jnp.sum(z**2)


def start(lanes: int, size: int) -> Law:
    """The law that a cohort begins with: about the pack's prior."""
    return Law(np.zeros((lanes, size)), np.tile(np.eye(size), (lanes, 1, 1)))


def renew(rng: np.random.Generator, z: np.ndarray, law: Law, counted: np.ndarray) -> Law:
    """One round of exact conditional draws of the law given scores ``(lanes, patients, k)``, lane by lane.

    ``counted`` (lanes, patients) tells which n patients belong to the cohort of a lane.

        C | z, m  ~  inverse Wishart(k + FREEDOM - 1 + n, SCALE I + sum of (z - m)(z - m)^T),      m | z, C  ~  normal
    """
    size = z.shape[-1]
    number = counted.sum(axis=1)
    off = np.where(counted[..., None], z - law.mean[:, None], 0.0)
    sums = np.einsum("lpi,lpj->lij", off, off) + SCALE * np.eye(size)
    precision = wishart(rng, size + FREEDOM - 1.0 + number, np.linalg.inv(sums))
    total = np.where(counted[..., None], z, 0.0).sum(axis=1)
    certain = number[:, None, None] * precision + np.eye(size) / CENTRE**2
    root = np.linalg.cholesky(certain)
    centre = np.linalg.solve(certain, np.einsum("lij,lj->li", precision, total)[..., None])
    noise = np.linalg.solve(np.swapaxes(root, -1, -2), rng.standard_normal((*total.shape, 1)))
    return Law((centre + noise)[..., 0], np.linalg.inv(precision))


def wishart(rng: np.random.Generator, degrees: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Draws ``(lanes, k, k)`` of Wishart laws with ``degrees`` (lanes,) and ``scale`` (lanes, k, k), by Bartlett's triangle."""
    lanes, size = scale.shape[:2]
    triangle = np.tril(rng.standard_normal((lanes, size, size)), -1)
    chi = np.sqrt(2.0 * rng.gamma(0.5 * (degrees[:, None] - np.arange(size))))
    factor = np.linalg.cholesky(scale) @ (triangle + chi[..., None] * np.eye(size))
    product: np.ndarray = factor @ np.swapaxes(factor, -1, -2)
    return product


def populated(law: Law, pooled: np.ndarray) -> Population:
    """The laws of all n scores, each a population of one, ``(lanes, 1, n)``: those that are not ``pooled`` (n,) keep the
    pack's prior.
    """
    lanes, size = len(law.mean), len(pooled)
    at = np.flatnonzero(pooled)
    mean = np.zeros((lanes, 1, size))
    mean[:, 0, at] = law.mean
    whiten = np.tile(np.eye(size), (lanes, 1, 1, 1))
    if len(at):
        whiten[:, 0, at[:, None], at[None, :]] = np.linalg.inv(np.linalg.cholesky(law.covariance))
    return Population(mean, whiten)


def blend(laws: Law, pooled: np.ndarray) -> Population:
    """The mixture of at most `COMPONENTS` of many laws ``(..., k)``, evenly taken, over all n scores; k are ``pooled``."""
    mean = laws.mean.reshape(-1, laws.mean.shape[-1])
    covariance = laws.covariance.reshape(-1, *laws.covariance.shape[-2:])
    take = np.unique(np.linspace(0, len(mean) - 1, min(COMPONENTS, len(mean))).round().astype(int))
    found = populated(Law(mean[take], covariance[take]), pooled)
    return Population(found.mean[:, 0], found.whiten[:, 0])
