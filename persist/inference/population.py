"""How the patients of a cohort are spread: a law of their scores, learned with them and given to the next.

A score is a parameter on the scale on which its prior of the pack is standard normal (`priors.score`). In a cohort of k scores
most patients are about m, and a share w of them, those apart, about m + d:

    z_i ~ Normal(m + c_i d, C),    c_i ~ Bernoulli(w),    w ~ Beta(APART_0, APART_1),    d ~ Normal(0, DISTANCE^2 I),
    m ~ Normal(0, CENTRE^2 I),     C ~ inverse Wishart(k + FREEDOM - 1, SCALE I)

so that one patient's score alone has about the prior that the pack has (CENTRE^2 + SCALE / (FREEDOM - 2) + mean of w times
DISTANCE^2 = 1.06), and a spread of under 0.4 or over 1.1 of that prior's has 5 % each: patients differ in everything, and a
cohort of few must not pretend that they do not. A few may respond far better than the rest, or carry a clone from the start
that others have not: one normal law can hold neither. What a new patient leans on is the mixture over draws of the law, which
holds that a cohort does not tell them exactly. Where biomarkers are known of the patients, m and w depend on them
(`inference.covariates`). In some patients no resistant clone is seeded: their scores of what it comes from are off by a known
vector (`inference.clone_free`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.clone_free import FREE_0, FREE_1, Frame
from persist.inference.priors import score
from persist.treatment.doubt import STOP

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.priors import Pack

CENTRE = 0.6
"""Prior standard deviation of the population's mean, in that of the pack's prior."""

DISTANCE = 1.0
"""Prior standard deviation of each score's distance between those apart and the others."""

APART_0, APART_1 = 2.0, 8.0
"""Of the prior of the share of those apart: a fifth on average, and half or more in 2 %."""

FREEDOM, SCALE = 6.0, 2.0
"""Of the prior of the population's variances: each is inverse gamma (FREEDOM / 2, SCALE / 2)."""

KINDS = 4
"""Of patients: most and those apart, each with a clone and without."""

COMPONENTS = 32
"""Draws of a population of which the prior of the next patient is the mixture."""

ALONE = ("burden_0", "settled_burden", "secretome_boost", STOP)
"""Parameters that patients share nothing of: two count in a burden of the series itself, of the third, which may be 0,
scores have no end, and when one's drug was stopped tells nothing of another's."""


class Population(NamedTuple):
    """A mixture of m normal laws of n scores: ``mean`` (..., m, n), ``whiten`` (..., m, n, n), the inverse of the root of the
    covariance, and ``log_weight`` (..., m). m = 0 stands for the pack's prior.
    """

    mean: Any
    whiten: Any
    log_weight: Any


class Polynomials(NamedTuple):
    """A mixture for those who ask often: log densities of the m laws, with their weights, as polynomials of scores, so that
    those of many points are one product of matrices. Factors of z_i z_j, i <= j, ``square`` (m, n (n + 1) / 2), of scores,
    ``slope`` (m, n), and the ``level`` (m,).
    """

    square: Any
    slope: Any
    level: Any


UNKNOWN = Population(np.zeros((0, 0)), np.zeros((0, 0, 0)), np.zeros(0))
"""No cohort to lean on: the pack's prior."""


class Law(NamedTuple):
    """A state of the population's law in each of some lanes: mean of most ``(lanes, k)``, covariance ``(lanes, k, k)``, how far
    off those apart are ``(lanes, k)``, their share ``(lanes,)``, and the share of patients without a clone ``(lanes,)``.
    """

    mean: np.ndarray
    covariance: np.ndarray
    apart: np.ndarray
    share: np.ndarray
    clone_free: np.ndarray


class Moments(NamedTuple):
    """Mean ``(..., k)`` and covariance ``(..., k, k)`` of all patients of a law together, as far as they have a clone."""

    mean: np.ndarray
    covariance: np.ndarray


def one_kind(mean: np.ndarray, covariance: np.ndarray) -> Law:
    """The law of a population in which none is apart, and all have a clone."""
    none = np.zeros(np.shape(mean)[:-1])
    return Law(mean, covariance, np.zeros_like(mean), none, none.copy())


def moments(law: Law) -> Moments:
    """m + w d, and C + w (1 - w) d d^T."""
    share = law.share[..., None]
    between = (share * (1.0 - share) * law.apart)[..., None] * law.apart[..., None, :]
    return Moments(law.mean + share * law.apart, law.covariance + between)


def shared(names: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the sampled parameters that a population has a law of, in order."""
    return tuple(name for name in names if name not in ALONE)


def scores(values: dict[str, Any], pack: Pack, names: tuple[str, ...]) -> Array:
    """Scores ``(n,)`` of one patient's parameters."""
    entries = pack.every
    return jnp.stack([score(entries[name], values[name]) for name in names])


def polynomials(law: Population) -> Polynomials:
    """A mixture as polynomials.

    log |W| - m^T P m / 2 + (P m) z - sum_ij P_ij z_i z_j / 2,      W what whitens a law of mean m,  P = W^T W
    """
    precision = jnp.einsum("mji,mjk->mik", law.whiten, law.whiten)
    slope = jnp.einsum("mij,mj->mi", precision, law.mean)
    scale = jnp.sum(jnp.log(jnp.abs(jnp.diagonal(law.whiten, axis1=-2, axis2=-1))), axis=-1)
    i, j = np.triu_indices(law.mean.shape[-1])
    square = -precision[:, i, j] * np.where(i == j, 0.5, 1.0)[None]
    return Polynomials(square, slope, scale - 0.5 * jnp.sum(slope * law.mean, axis=-1) + law.log_weight)


def log_ratio(z: Array, law: Population | Polynomials) -> Array:
    """Log density ``()`` of scores ``(n,)`` under the mixture, less that under the pack's prior (standard normal)."""
    told = polynomials(law) if isinstance(law, Population) else law
    return jax.nn.logsumexp(_each(z, told)) + 0.5 * jnp.sum(z**2)


def shares(z: np.ndarray, law: Population) -> np.ndarray:
    """What each law of the mixture has in the density at scores ``(draws, n)``, ``(draws, m)``; rows add up to 1."""
    return np.asarray(jax.nn.softmax(jax.vmap(_each, (0, None))(jnp.asarray(z), polynomials(law)), axis=1))


def _each(z: Array, law: Polynomials) -> Array:
    """Log densities ``(m,)`` of scores ``(n,)`` under the laws of a mixture, with their weights, up to one constant."""
    i, j = np.triu_indices(len(z))
    found: Array = law.square @ (z[i] * z[j]) + law.slope @ z + law.level
    return found


def start(lanes: int, size: int) -> Law:
    """The law that a cohort begins with: about the pack's prior, nobody far apart."""
    share, free = np.full(lanes, APART_0 / (APART_0 + APART_1)), np.full(lanes, FREE_0 / (FREE_0 + FREE_1))
    return Law(np.zeros((lanes, size)), np.tile(np.eye(size), (lanes, 1, 1)), np.zeros((lanes, size)), share, free)


def belong(z: np.ndarray, law: Law, share: np.ndarray | None = None) -> np.ndarray:
    """Probability ``(lanes, patients)`` that patients of scores ``(lanes, patients, k)`` are among those apart; ``share``
    (lanes, patients): what it is of each before its scores are known (the law's, by default).
    """
    toward = np.linalg.solve(law.covariance, law.apart[..., None])[..., 0]
    middle = law.mean + 0.5 * law.apart
    with np.errstate(divide="ignore"):
        before = law.share[:, None] if share is None else share
        odds = np.log(before) - np.log1p(-before)
    log_odds = odds + np.einsum("lpk,lk->lp", z - middle[:, None], toward)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * log_odds)))


def cloneless(z: np.ndarray, more: np.ndarray, each: Law, frame: Frame) -> np.ndarray:
    """Probability ``(lanes, patients)`` that patients of pooled scores ``(lanes, patients, k)`` have no clone; ``more`` (lanes,
    patients) is the log ratio of the rest (`clone_free.rest`), and ``each`` the law of every patient (`learned.Plain.each`).
    """
    with np.errstate(divide="ignore"):
        odds = np.log(each.clone_free) - np.log1p(-each.clone_free)
    odds = odds + more + _log_density(z - frame.learned, each) - _log_density(z, each)
    return np.asarray(0.5 * (1.0 + np.tanh(0.5 * odds)))


def _log_density(z: np.ndarray, each: Law) -> np.ndarray:
    """Of most and those apart together ``(lanes, patients)``, up to a constant."""
    precision = np.linalg.inv(each.covariance)
    near = z - each.mean
    far = near - each.apart[:, None]
    with np.errstate(divide="ignore"):
        shares = np.log1p(-each.share), np.log(each.share)
    kinds = [
        share - 0.5 * np.einsum("lpi,lij,lpj->lp", off, precision, off)
        for share, off in zip(shares, (near, far), strict=True)
    ]
    return np.asarray(np.logaddexp(*kinds))


def renew(rng: np.random.Generator, z: np.ndarray, law: Law, counted: np.ndarray) -> Law:
    """One round of exact conditional draws of the law given scores ``(lanes, patients, k)``, lane by lane.

    ``counted`` (lanes, patients) tells which n patients belong to the cohort of a lane. In this order: who is apart, their
    share, C, m, d; each given all others,

        C | z, m, d, c  ~  inverse Wishart(k + FREEDOM - 1 + n, SCALE I + sum of (z - m - c d)(z - m - c d)^T)
    """
    apart = (rng.uniform(size=counted.shape) < belong(z, law)) & counted
    share = rng.beta(APART_0 + apart.sum(axis=1), APART_1 + (counted & ~apart).sum(axis=1))
    return sorted_out(rng, z, law, apart, counted)._replace(share=share)


def sorted_out(rng: np.random.Generator, z: np.ndarray, law: Law, apart: np.ndarray, counted: np.ndarray) -> Law:
    """C, m and d of `renew`, once it is known who is ``apart`` (lanes, patients); the share stays."""
    size, number = z.shape[-1], counted.sum(axis=1)
    off = np.where(counted[..., None], z - law.mean[:, None] - apart[..., None] * law.apart[:, None], 0.0)
    sums = np.einsum("lpi,lpj->lij", off, off) + SCALE * np.eye(size)
    precision = wishart(rng, size + FREEDOM - 1.0 + number, np.linalg.inv(sums))
    near = np.where(counted[..., None], z - apart[..., None] * law.apart[:, None], 0.0).sum(axis=1)
    mean = _normal(rng, precision, near, number, CENTRE)
    far = np.where(apart[..., None], z - mean[:, None], 0.0).sum(axis=1)
    distance = _normal(rng, precision, far, apart.sum(axis=1), DISTANCE)
    return law._replace(mean=mean, covariance=np.linalg.inv(precision), apart=distance)


def _normal(
    rng: np.random.Generator, precision: np.ndarray, total: np.ndarray, number: np.ndarray, sd: float
) -> np.ndarray:
    """Draws ``(lanes, k)`` of a mean of which ``number`` (lanes,) values of this precision sum to ``total`` (lanes, k); its
    prior is normal about 0 with this standard deviation.
    """
    certain = number[:, None, None] * precision + np.eye(total.shape[-1]) / sd**2
    centre = np.linalg.solve(certain, np.einsum("lij,lj->li", precision, total)[..., None])
    root = np.linalg.cholesky(certain)
    noise = np.linalg.solve(np.swapaxes(root, -1, -2), rng.standard_normal((*total.shape, 1)))
    drawn: np.ndarray = (centre + noise)[..., 0]
    return drawn


def wishart(rng: np.random.Generator, degrees: np.ndarray, scale: np.ndarray) -> np.ndarray:
    """Draws ``(lanes, k, k)`` of Wishart laws with ``degrees`` (lanes,) and ``scale`` (lanes, k, k), by Bartlett's triangle."""
    lanes, size = scale.shape[:2]
    triangle = np.tril(rng.standard_normal((lanes, size, size)), -1)
    chi = np.sqrt(2.0 * rng.gamma(0.5 * (degrees[:, None] - np.arange(size))))
    factor = np.linalg.cholesky(scale) @ (triangle + chi[..., None] * np.eye(size))
    product: np.ndarray = factor @ np.swapaxes(factor, -1, -2)
    return product


def populated(law: Law, frame: Frame) -> Population:
    """The laws of all n scores, each a population of `KINDS`: most and those apart, with a clone and then without, ``(lanes,
    KINDS, n)``. Scores that are not pooled keep the pack's prior where there is a clone.
    """
    lanes, size = len(law.mean), len(frame.pooled)
    at = np.flatnonzero(frame.pooled)
    mean = np.zeros((lanes, KINDS, size))
    mean[:, 2:] = frame.shift
    mean[:, :, at] += ends(law)
    whiten = np.tile(np.eye(size), (lanes, KINDS, 1, 1))
    if len(at):
        whiten[:, :, at[:, None], at[None, :]] = np.linalg.inv(np.linalg.cholesky(law.covariance))[:, None]
    return Population(mean, whiten, log_shares(law))


def ends(law: Law) -> np.ndarray:
    """Means ``(..., KINDS, k)`` of all kinds of patients, had each of them a clone."""
    far = law.mean + law.apart
    return np.stack([law.mean, far, law.mean, far], axis=-2)


def log_shares(law: Law) -> np.ndarray:
    """Logs of the shares ``(..., KINDS)`` of all kinds of patients."""
    with np.errstate(divide="ignore"):
        kinds = np.stack([np.log1p(-law.share), np.log(law.share)], axis=-1)
        return np.concatenate(
            [kinds + np.log1p(-law.clone_free)[..., None], kinds + np.log(law.clone_free)[..., None]], axis=-1
        )


def blend(laws: Law, frame: Frame) -> Population:
    """The mixture of at most `COMPONENTS` of many laws ``(..., k)``, evenly taken, over all n scores."""
    lead = laws.share.ndim
    flat = Law(*(part.reshape(-1, *part.shape[lead:]) for part in laws))
    take = np.unique(np.linspace(0, len(flat.share) - 1, min(COMPONENTS, len(flat.share))).round().astype(int))
    found = populated(Law(*(part[take] for part in flat)), frame)
    each = Population(*(part.reshape(-1, *part.shape[2:]) for part in found))
    return each._replace(log_weight=each.log_weight - np.log(len(take)))
