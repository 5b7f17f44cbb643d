"""Which of its draws a patient takes under many laws, and how many of them count.

Draws z_k of a patient's posterior under a prior q tell the likelihood of any law that reaches no farther than q does
(importance sampling; in cohorts, Lunn et al. 2013, 10.1111/rssc.12007):

    p(y | law) / p(y | q) ~ mean over k of p(z_k | law) / q(z_k)

Scores that the laws do not share have the pack's prior in both and drop out. A normal log density is linear in the products of
two scores, the scores and 1, so that all draws under all laws are one product of matrices.

That product is in float32, with scores counted from the middle of the patient's own draws: terms are then of the size of the
log density's own differences, and where a draw has any weight to speak of, its log is off by under 1e-3 (`tests/test_weights`),
a tenth of a per cent of a weight, where so many draws err by several per cent. Coefficients are made in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference.sample import HALVES

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.population import Law
    from persist.inference.sample import Sample

BLOCK = 32
"""Draws whose weights are summed before one among them is looked for."""

NOTHING, LEAST = -1e30, float(np.finfo(np.float32).tiny)
"""Log weight of what cannot be, and the least weight of what can."""


class Draws(NamedTuple):
    """Draws of all patients, K of each half: pooled scores ``z`` ``(patients, HALVES, K, k)`` and their ``centre`` ``(patients,
    k)``; the same less that ``(patients * HALVES, k, K')``, and minus the log density of the prior that they were drawn under,
    up to a constant, ``(patients * HALVES, K')``, both in float32 and filled up to whole blocks.
    """

    z: np.ndarray
    centre: np.ndarray
    near: Array
    rest: Array

    @classmethod
    def of(cls, samples: list[Sample], pooled: np.ndarray) -> Draws:
        """Of samples with as many draws each; ``pooled`` (n,) of their scores."""
        z = np.stack([one.scores[..., pooled] for one in samples])
        rest = 0.5 * (z**2).sum(axis=-1) - np.stack([one.under for one in samples])
        centre, size, more = z.mean(axis=(1, 2)), z.shape[2], -z.shape[2] % BLOCK
        near = np.moveaxis(z - centre[:, None, None], -1, -2).reshape(-1, z.shape[-1], size)
        near = np.pad(near, [(0, 0), (0, 0), (0, more)])
        rest = np.pad(rest.reshape(-1, size), [(0, 0), (0, more)], constant_values=NOTHING)
        return cls(z, centre, jnp.asarray(near, jnp.float32), jnp.asarray(rest, jnp.float32))

    def at(self, taken: np.ndarray) -> np.ndarray:
        """Scores ``(lanes, patients, k)`` of the draws taken ``(lanes, patients)``, each lane's of its half."""
        lanes, patients = taken.shape
        return np.asarray(self.z[np.arange(patients)[None], half_of(lanes)[:, None], taken])

    def taken(self, each: Law, u: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Which draw each lane takes of each patient ``(lanes, patients)``, by its weight under the law that ``each`` has there
        (`learned.Plain.each`) and uniform numbers ``u`` (lanes, patients); how many of those that a lane may take count, on
        average over lanes ``(patients,)``.
        """
        lanes, patients = u.shape
        rows = coefficients(each, self.centre).reshape(patients * HALVES, lanes // HALVES, 2, -1)
        level = np.asarray(1.0 - u.T, np.float32).reshape(patients * HALVES, -1)  # over 0
        found = _choose(self.near, self.rest, jnp.asarray(rows, jnp.float32), jnp.asarray(level))
        place, many = (np.asarray(part).reshape(patients, lanes) for part in found)
        return place.T, many.mean(axis=1, dtype=float)


def half_of(lanes: int) -> np.ndarray:
    """Which half of the walkers lanes take draws of ``(lanes,)``: the first half of them of the first."""
    return np.arange(lanes) // (lanes // HALVES)


def coefficients(each: Law, centre: np.ndarray) -> np.ndarray:
    """What `features` of scores less a ``centre`` (patients, k) are multiplied with, ``(patients, lanes, 2, F)``: the log
    density of most and of those apart, each with its share, up to a constant.
    """
    precision = np.linalg.inv(each.covariance)
    ends = np.stack([each.mean, each.mean + each.apart[:, None]], axis=2) - centre[None, :, None]
    pull = np.einsum("lij,lpmj->lpmi", precision, ends)
    one, other = np.triu_indices(centre.shape[1])
    square = -0.5 * precision[:, one, other] * np.where(one == other, 1.0, 2.0)
    with np.errstate(divide="ignore"):
        share = np.maximum(np.stack([np.log1p(-each.share), np.log(each.share)], axis=2), NOTHING)
    still = 0.5 * np.linalg.slogdet(precision)[1][:, None, None] - 0.5 * np.einsum("lpmi,lpmi->lpm", ends, pull) + share
    rows = [np.broadcast_to(square[:, None, None], (*still.shape, len(one))), pull, still[..., None]]
    return np.swapaxes(np.concatenate(rows, axis=-1), 0, 1)


def features(z: Array) -> Array:
    """Products of each two scores, scores, and 1, of draws ``(k, K)``: ``(k (k + 1) / 2 + k + 1, K)``."""
    one, other = np.triu_indices(len(z))
    return jnp.concatenate([z[one] * z[other], z, jnp.ones((1, z.shape[1]), z.dtype)])


@jax.jit
def _choose(near: Array, rest: Array, rows: Array, level: Array) -> tuple[Array, Array]:
    """Draws that lanes take ``(items, lanes)``, and how many count, of patients' halves one after the other: so what is made on
    the way stays near the processor.
    """
    found: tuple[Array, Array] = jax.lax.map(lambda own: _one(*own), (near, rest, rows, level))
    return found


def _one(near: Array, rest: Array, rows: Array, level: Array) -> tuple[Array, Array]:
    """Of draws ``(k, K)`` under laws with coefficients ``(lanes, 2, F)``, by ``level`` (lanes,) over 0 and up to 1: a block by
    the sums of blocks, then a draw in it.
    """
    lanes, lane = len(rows), jnp.arange(len(rows))
    log_weight = (rows.reshape(2 * lanes, -1) @ features(near) + rest[None]).reshape(lanes, 2, -1)
    weight = jnp.exp(log_weight - log_weight.max(axis=(1, 2), keepdims=True)).sum(axis=1)
    blocks = weight.reshape(lanes, -1, BLOCK)
    sums = blocks.sum(axis=2)
    until = jnp.cumsum(sums, axis=1)
    total = until[:, -1]
    block = jnp.minimum((until < (level * total)[:, None]).sum(axis=1), until.shape[1] - 1)
    within = jnp.cumsum(blocks[lane, block], axis=1)
    left = level * total - (until[lane, block] - sums[lane, block])
    left = jnp.clip(left, LEAST, within[:, -1])  # so that a draw has some weight where sums are rounded too
    place = (within < left[:, None]).sum(axis=1)
    return BLOCK * block + place, total**2 / (weight**2).sum(axis=1)
