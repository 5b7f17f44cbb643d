"""How likely laws of a population make the draws of a patient, many laws and many draws at once.

Draws z_k of a patient's posterior under a prior q tell the likelihood of any law that reaches no farther than q does
(importance sampling; in cohorts, Lunn et al. 2013, 10.1111/rssc.12007):

    p(y | law) / p(y | q) ~ mean over k of p(z_k | law) / q(z_k)

Scores that the laws do not share have the pack's prior in both and drop out. A normal log density is linear in the products of
two scores, the scores and 1, so that all draws under all laws are one product of matrices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from persist.inference.population import Population


def features(z: np.ndarray) -> np.ndarray:
    """Products of each two scores, scores, and 1, of draws ``(K, k)``: ``(K, k (k + 1) / 2 + k + 1)``."""
    one, other = np.triu_indices(z.shape[1])
    return np.concatenate([z[:, one] * z[:, other], z, np.ones((len(z), 1))], axis=1)


def one(law: Population) -> Population:
    """A law as the only one of some."""
    return law._replace(**{name: np.asarray(part)[None] for name, part in law._asdict().items()})


def _coefficients(law: Population, at: np.ndarray) -> np.ndarray:
    """What `features` of the scores ``at`` (k,) are multiplied with, ``(..., m, F)``: the log density of each of m normal laws
    over that of the standard normal.
    """
    whiten = np.asarray(law.whiten)[..., at[:, None], at[None, :]]
    mean = np.asarray(law.mean)[..., at]
    precision = np.swapaxes(whiten, -1, -2) @ whiten
    pull = np.einsum("...ij,...j->...i", precision, mean)
    one, other = np.triu_indices(len(at))
    square = 0.5 * (np.eye(len(at)) - precision)[..., one, other] * np.where(one == other, 1.0, 2.0)
    scale = np.log(np.abs(np.diagonal(whiten, axis1=-2, axis2=-1))).sum(axis=-1)
    still = scale - 0.5 * np.einsum("...i,...i->...", mean, pull) + np.asarray(law.log_weight)
    return np.concatenate([square, pull, still[..., None]], axis=-1)


def log_ratio(rows: np.ndarray, law: Population, at: np.ndarray) -> np.ndarray:
    """Log density of draws under each of some laws ``(lanes, m, n)``, mixtures of m, less that under the pack's prior
    ``(K, lanes)``; ``rows`` are the `features` of their scores ``at`` (k,).
    """
    coefficients = _coefficients(law, at)
    lanes, parts = coefficients.shape[:2]
    each = (rows @ coefficients.reshape(lanes * parts, -1).T).reshape(len(rows), lanes, parts)
    top = each.max(axis=-1)
    return np.asarray(top + np.log(np.exp(each - top[..., None]).sum(axis=-1)))
