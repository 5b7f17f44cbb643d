"""Draws of a population that depends on biomarkers: exact conditionals, given the patients.

Given B and x, the scores less B x have the law of a population without biomarkers, whose draws are those of `population`. Then

    vec B | z, x, m, d, C, c  ~  Normal with precision  C^-1 (x) X^T X + diag(1 / (l^2 t^2) + 1 / SLAB^2)
    u_i | c_i                 ~  Normal(a + g' x_i, 1) on its side of 0;     (a, g) | u  as of a linear model
    l^2 | b, t                ~  inverse gamma(1, 1 / nu + b^2 / (2 t^2)),             nu ~ inverse gamma(1, 1 + 1 / l^2)
    t^2 | b, l                ~  inverse gamma((1 + number of b) / 2, 1 / xi + sum of b^2 / l^2 / 2),
                                                                             xi ~ inverse gamma(1, 1 / GLOBAL^2 + 1 / t^2)
    Sigma | x                 ~  inverse Wishart(p + 1 + STEADY + n, STEADY I + X^T X)
    missing x_i | all else    ~  Normal with precision  Sigma^-1 + B^T C^-1 B + g g^T,  given the known x_i

(scales by Makalic & Schmidt 2016, 10.1109/LSP.2015.2503725), each lane by itself, all lanes at once.
"""

from __future__ import annotations

from typing import NamedTuple

import jax
import numpy as np
from jax.scipy.special import ndtr, ndtri

from persist.inference import population
from persist.inference.covariates import (
    GLOBAL,
    INTERCEPT,
    INTERCEPT_SD,
    SLAB,
    STEADY,
    Covariates,
    Effects,
    completed,
    normal,
    overall,
    share,
    shift,
    start,
)
from persist.inference.population import CENTRE, Law, belong, sorted_out

LEAST = 1e-280
"""What variances and probabilities are kept over: they may come out as 0 in float64."""


class Regressed(NamedTuple):
    """A law in each of some lanes, the effects of biomarkers on it, and all biomarkers ``x`` (lanes, patients, p), known or
    drawn.
    """

    law: Law
    effects: Effects
    x: np.ndarray


def begin(lanes: int, known: Covariates, pooled: np.ndarray) -> Regressed:
    """What a cohort begins with: about the pack's prior, no effects; ``pooled`` (n,) of the scores."""
    effects = start(lanes, known.acts[pooled], known.value.shape[1])
    law = population.start(lanes, int(pooled.sum()))
    return Regressed(overall(law, effects), effects, np.tile(known.value, (lanes, 1, 1)))


def likely(z: np.ndarray, state: Regressed) -> np.ndarray:
    """Probability ``(lanes, patients)`` that patients of scores ``(lanes, patients, k)`` are among those apart."""
    return belong(z - shift(state.effects, state.x), state.law, share(state.effects, state.x))


def each(state: Regressed) -> Law:
    """The law that each patient has: its mean ``(lanes, patients, k)`` and share ``(lanes, patients)`` are its own."""
    mean = state.law.mean[:, None] + shift(state.effects, state.x)
    return state.law._replace(mean=mean, share=share(state.effects, state.x))


def renew(
    rng: np.random.Generator, z: np.ndarray, state: Regressed, known: Covariates, acts: np.ndarray, counted: np.ndarray
) -> Regressed:
    """One round of exact conditional draws given scores ``(lanes, patients, k)``, lane by lane.

    ``acts`` (k,) of the pooled scores; ``counted`` (lanes, patients) as of `population.renew`. In this order: who is apart and
    by how much (u); C, m, d; B; a and g; l and t; Sigma; the biomarkers that are missing; which side is called apart.
    """
    law, effects, x = state
    among = rng.uniform(size=counted.shape) < likely(z, state)
    u = _latent(rng, among, effects, x)
    law = sorted_out(rng, z - shift(effects, x), law, among & counted, counted)
    certain = np.linalg.inv(law.covariance)
    off, within = z - law.mean[:, None] - among[..., None] * law.apart[:, None], np.where(counted[..., None], x, 0.0)
    effects = effects._replace(slope=_slopes(rng, certain, off, within, effects, acts))
    intercept, toward = _threshold(rng, u, within, effects, counted)
    effects = _scales(rng, effects._replace(intercept=intercept, toward=toward), acts)
    size = x.shape[-1]
    steady = np.einsum("lpb,lpd->lbd", within, within) + STEADY * np.eye(size)
    inverse = population.wishart(rng, size + 1.0 + STEADY + counted.sum(axis=1), np.linalg.inv(steady))
    effects = effects._replace(spread=np.linalg.inv(inverse))
    x = _missing(rng, inverse, certain, off, u, effects, known)
    law, effects = _turned(rng, law, effects)
    return Regressed(overall(law, effects), effects, x)


_tail, _point = jax.jit(ndtr), jax.jit(ndtri)


def _latent(rng: np.random.Generator, among: np.ndarray, effects: Effects, x: np.ndarray) -> np.ndarray:
    """u ``(lanes, patients)`` on the side of 0 that is known: beyond the mean by a normal law cut off there."""
    mean = effects.intercept[:, None] + np.einsum("lb,lpb->lp", effects.toward, x)
    side = np.where(among, 1.0, -1.0)
    level = np.maximum(rng.uniform(size=among.shape) * np.asarray(_tail(side * mean)), LEAST)
    return np.asarray(mean - side * np.asarray(_point(level)))


def _slopes(
    rng: np.random.Generator, certain: np.ndarray, off: np.ndarray, x: np.ndarray, effects: Effects, acts: np.ndarray
) -> np.ndarray:
    """B ``(lanes, k, p)`` given what the scores are ``off`` the rest of their mean, ``(lanes, patients, k)``; ``x`` is 0 of
    patients who do not count.
    """
    rows, (lanes, _, size) = np.flatnonzero(acts), x.shape
    slope = np.zeros_like(effects.slope)
    if not len(rows):
        return slope
    product = np.einsum("lpb,lpd->lbd", x, x)
    own = certain[:, rows[:, None], rows[None, :]]
    both = np.einsum("lrs,lbd->lrbsd", own, product).reshape(lanes, len(rows) * size, len(rows) * size)
    prior = 1.0 / variance(effects)[:, rows].reshape(lanes, -1)
    linear = np.einsum("lrk,lpk,lpb->lrb", certain[:, rows], off, x).reshape(lanes, -1)
    drawn = normal(rng, both + prior[..., None] * np.eye(len(rows) * size), linear)
    slope[:, rows] = drawn.reshape(lanes, len(rows), size)
    return slope


def variance(effects: Effects) -> np.ndarray:
    """Prior variances ``(lanes, k + 1, p)`` of the effects, given l and t."""
    wide = np.maximum(effects.local * effects.scale[:, None, None] ** 2, LEAST)
    return np.asarray(1.0 / (1.0 / wide + 1.0 / SLAB**2))


def _threshold(
    rng: np.random.Generator, u: np.ndarray, x: np.ndarray, effects: Effects, counted: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """a ``(lanes,)`` and g ``(lanes, p)`` given u ``(lanes, patients)``; ``x`` is 0 of patients who do not count."""
    one = np.concatenate([counted[..., None].astype(float), x], axis=-1)
    first = np.full((len(u), 1), INTERCEPT_SD**-2)
    prior = np.concatenate([first, 1.0 / variance(effects)[:, -1]], axis=1)
    linear = np.einsum("lpb,lp->lb", one, u)
    linear[:, 0] += INTERCEPT / INTERCEPT_SD**2
    precision = np.einsum("lpb,lpd->lbd", one, one) + prior[..., None] * np.eye(one.shape[-1])
    drawn = normal(rng, precision, linear)
    return drawn[:, 0], drawn[:, 1:]


def _scales(rng: np.random.Generator, effects: Effects, acts: np.ndarray) -> Effects:
    """l^2 of every effect and t, given the effects; of rows that are 0 throughout l stays 1 and counts for nothing."""
    rows = np.append(acts, True)
    squares = np.concatenate([effects.slope, effects.toward[:, None]], axis=1)[:, rows] ** 2
    local, scale = effects.local.copy(), effects.scale**2
    auxiliary = _inverse_gamma(rng, 1.0, 1.0 + 1.0 / local[:, rows])
    local[:, rows] = _inverse_gamma(rng, 1.0, 1.0 / auxiliary + 0.5 * squares / scale[:, None, None])
    auxiliary = _inverse_gamma(rng, 1.0, 1.0 / GLOBAL**2 + 1.0 / scale)
    total = (squares / local[:, rows]).sum(axis=(1, 2))
    number = squares.shape[1] * squares.shape[2]
    scale = _inverse_gamma(rng, 0.5 * (1.0 + number), 1.0 / auxiliary + 0.5 * total)
    return effects._replace(local=local, scale=np.sqrt(scale))


def _turned(rng: np.random.Generator, law: Law, effects: Effects) -> tuple[Law, Effects]:
    """The same law told the other way round, those apart being the others, as often as the priors of m and a will have it.

    m' = m + d,  d' = -d,  a' = -a,  g' = -g leaves every patient's law as it is, and lanes would seldom find the way by
    patients who change sides one by one.
    """
    mean = law.mean + law.apart
    gain = 0.5 * (law.mean**2 - mean**2).sum(axis=1) / CENTRE**2
    gain += 0.5 * ((effects.intercept - INTERCEPT) ** 2 - (effects.intercept + INTERCEPT) ** 2) / INTERCEPT_SD**2
    taken = np.log(rng.uniform(size=len(gain))) < gain
    sign = np.where(taken, -1.0, 1.0)
    law = law._replace(mean=np.where(taken[:, None], mean, law.mean), apart=sign[:, None] * law.apart)
    return law, effects._replace(intercept=sign * effects.intercept, toward=sign[:, None] * effects.toward)


def _inverse_gamma(rng: np.random.Generator, shape: float, rate: np.ndarray) -> np.ndarray:
    return np.asarray(np.maximum(rate, LEAST) / rng.gamma(shape, size=rate.shape))


def _missing(
    rng: np.random.Generator,
    inverse: np.ndarray,
    certain: np.ndarray,
    off: np.ndarray,
    u: np.ndarray,
    effects: Effects,
    known: Covariates,
) -> np.ndarray:
    """Biomarkers ``(lanes, patients, p)``; drawn where they are missing, from what the scores and u say of them."""
    toward = effects.toward
    seen_by = np.swapaxes(effects.slope, -1, -2) @ certain
    precision = inverse + seen_by @ effects.slope + toward[:, :, None] * toward[:, None, :]
    linear = np.einsum("lbk,lpk->lpb", seen_by, off)
    linear += (u - effects.intercept[:, None])[..., None] * toward[:, None]
    value = np.broadcast_to(known.value, linear.shape)
    if known.seen.all():
        return value.copy()
    return completed(rng, precision[:, None], linear, value, np.broadcast_to(known.seen, linear.shape))
