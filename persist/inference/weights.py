"""Which of its draws a patient takes under many laws, and how many of them count.

Draws z_k of a patient's posterior under a prior q tell the likelihood of any law that reaches no farther than q does
(importance sampling; in cohorts, Lunn et al. 2013, 10.1111/rssc.12007):

    p(y | law) / p(y | q) ~ mean over k of p(z_k | law) / q(z_k)

Scores that the laws do not share have the pack's prior in both and drop out, but for what they say of a patient's having no
clone (`clone_free.rest`). A normal log density is linear in the products of two scores, the scores, that and 1, so that all
draws under all laws are one product of matrices.

That product is in float32, with scores counted from the middle of the patient's own draws: terms are then of the size of the
log density's own differences, and where a draw has any weight to speak of, its log is off by under 1e-3 (`tests/test_weights`),
a tenth of a per cent of a weight, where so many draws err by several per cent. Coefficients are made in float64.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.inference import clone_free
from persist.inference.population import KINDS, ends, log_shares
from persist.inference.sample import HALVES

if TYPE_CHECKING:
    from jax import Array

    from persist.inference.clone_free import Frame
    from persist.inference.population import Law
    from persist.inference.sample import Sample

BLOCK = 32
"""Draws whose weights are summed before one among them is looked for."""

NOTHING, LEAST = -1e30, float(np.finfo(np.float32).tiny)
"""Log weight of what cannot be, and the least weight of what can."""


class Taken(NamedTuple):
    """Of every lane and patient, ``(lanes, patients)``: the ``place`` of the draw that was taken, how many of the draws that
    the lane may take count (``effective``), and the log of their mean weight (``evidence``), up to a constant of the patient's
    half.
    """

    place: np.ndarray
    effective: np.ndarray
    evidence: np.ndarray


class Draws(NamedTuple):
    """Draws of all patients, K of each half: pooled scores ``z`` ``(patients, HALVES, K, k)`` and their ``centre`` ``(patients,
    k)``; what the others say of having no clone, ``more`` ``(patients, HALVES, K)``; the pooled ones less the centre, and this,
    ``(patients * HALVES, k + 1, K')``, and minus the log density of the prior that they were drawn under,
    up to a constant, ``(patients * HALVES, K')``, both in float32 and filled up to whole blocks.
    """

    z: np.ndarray
    centre: np.ndarray
    more: np.ndarray
    near: Array
    rest: Array

    @classmethod
    def of(cls, samples: list[Sample], frame: Frame) -> Draws:
        """Of samples with as many draws each."""
        z = np.stack([one.scores[..., frame.pooled] for one in samples])
        more = np.stack([clone_free.rest(one.scores, frame) for one in samples])
        rest = 0.5 * (z**2).sum(axis=-1) - np.stack([one.under for one in samples])
        centre, size, lacking = z.mean(axis=(1, 2)), z.shape[2], -z.shape[2] % BLOCK
        near = np.concatenate([z - centre[:, None, None], more[..., None]], axis=-1)
        near = np.moveaxis(near, -1, -2).reshape(-1, near.shape[-1], size)
        near = np.pad(near, [(0, 0), (0, 0), (0, lacking)])
        rest = np.pad(rest.reshape(-1, size), [(0, 0), (0, lacking)], constant_values=NOTHING)
        return cls(z, centre, more, jnp.asarray(near, jnp.float32), jnp.asarray(rest, jnp.float32))

    def at(self, taken: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Scores ``(lanes, patients, k)`` of the draws taken ``(lanes, patients)``, each lane's of its half, and what the
        others say of having no clone, ``(lanes, patients)``.
        """
        lanes, patients = taken.shape
        place = np.arange(patients)[None], half_of(lanes)[:, None], taken
        return np.asarray(self.z[place]), np.asarray(self.more[place])

    def taken(self, each: Law, u: np.ndarray, frame: Frame) -> Taken:
        """What each lane takes, by the weights of draws under the law that ``each`` patient has there (`learned.Plain.each`)
        and uniform numbers ``u`` (lanes, patients).
        """
        lanes, patients = u.shape
        rows = coefficients(each, self.centre, frame).reshape(patients * HALVES, lanes // HALVES, KINDS, -1)
        level = np.asarray(1.0 - u.T, np.float32).reshape(patients * HALVES, -1)  # over 0
        found = _choose(self.near, self.rest, jnp.asarray(rows, jnp.float32), jnp.asarray(level))
        return Taken(*(np.asarray(part).reshape(patients, lanes).T for part in found))


def half_of(lanes: int) -> np.ndarray:
    """Which half of the walkers lanes take draws of ``(lanes,)``: the first half of them of the first."""
    return np.arange(lanes) // (lanes // HALVES)


def coefficients(each: Law, centre: np.ndarray, frame: Frame) -> np.ndarray:
    """What `features` of scores less a ``centre`` (patients, k) are multiplied with, ``(patients, lanes, KINDS, F)``: the log
    density of all kinds of patients (`population.populated`), each with its share, up to a constant.
    """
    precision = np.linalg.inv(each.covariance)
    free = np.arange(KINDS) >= KINDS // 2
    about = ends(each._replace(apart=each.apart[:, None])) + free[:, None] * frame.learned - centre[None, :, None]
    pull = np.einsum("lij,lpmj->lpmi", precision, about)
    one, other = np.triu_indices(centre.shape[1])
    square = -0.5 * precision[:, one, other] * np.where(one == other, 1.0, 2.0)
    share = np.maximum(log_shares(each), NOTHING)
    still = (
        0.5 * np.linalg.slogdet(precision)[1][:, None, None] - 0.5 * np.einsum("lpmi,lpmi->lpm", about, pull) + share
    )
    squares = np.broadcast_to(square[:, None, None], (*still.shape, len(one)))
    rows = [squares, pull, np.broadcast_to(free[:, None], (*still.shape, 1)), still[..., None]]
    return np.swapaxes(np.concatenate(rows, axis=-1), 0, 1)


def features(near: Array) -> Array:
    """Products of each two scores, scores, what the others say of having no clone, and 1, of draws ``(k + 1, K)`` of which that
    is the last row: ``(k (k + 1) / 2 + k + 2, K)``.
    """
    z = near[:-1]
    one, other = np.triu_indices(len(z))
    return jnp.concatenate([z[one] * z[other], near, jnp.ones((1, z.shape[1]), z.dtype)])


@jax.jit
def _choose(near: Array, rest: Array, rows: Array, level: Array) -> tuple[Array, Array, Array]:
    """`Taken` of ``(items, lanes)``, of patients' halves one after the other: what is made stays near the processor."""
    found: tuple[Array, Array, Array] = jax.lax.map(lambda own: _one(*own), (near, rest, rows, level))
    return found


def _one(near: Array, rest: Array, rows: Array, level: Array) -> tuple[Array, Array, Array]:
    """Of draws ``(k + 1, K)`` under laws with coefficients ``(lanes, KINDS, F)``, by ``level`` (lanes,) over 0 and up to 1: a
    block by the sums of blocks, then a draw in it.
    """
    lanes, lane = len(rows), jnp.arange(len(rows))
    log_weight = (rows.reshape(KINDS * lanes, -1) @ features(near) + rest[None]).reshape(lanes, KINDS, -1)
    most = log_weight.max(axis=(1, 2))
    weight = jnp.exp(log_weight - most[:, None, None]).sum(axis=1)
    blocks = weight.reshape(lanes, -1, BLOCK)
    sums = blocks.sum(axis=2)
    until = jnp.cumsum(sums, axis=1)
    total = until[:, -1]
    block = jnp.minimum((until < (level * total)[:, None]).sum(axis=1), until.shape[1] - 1)
    within = jnp.cumsum(blocks[lane, block], axis=1)
    left = level * total - (until[lane, block] - sums[lane, block])
    left = jnp.clip(left, LEAST, within[:, -1])  # so that a draw has some weight where sums are rounded too
    place = (within < left[:, None]).sum(axis=1)
    return BLOCK * block + place, total**2 / (weight**2).sum(axis=1), most + jnp.log(total)
