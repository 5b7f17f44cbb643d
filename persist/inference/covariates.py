"""How a population depends on biomarkers: the law of a patient's scores given x, and of x itself where it is missing.

Of p biomarkers, each less its mean over its standard deviation in the cohort that the population is learned from,

    z_i ~ Normal(m + B x_i + c_i d, C),     c_i = 1 where u_i > 0,  u_i ~ Normal(a + g' x_i, 1),     x_i ~ Normal(0, Sigma)
    a ~ Normal(INTERCEPT, INTERCEPT_SD^2),  Sigma ~ inverse Wishart(p + 1 + STEADY, STEADY I)        (mean: the identity)

(the probit by Albert & Chib 1993, 10.1080/01621459.1993.10476321; m, d, C as in `inference.population`). The prior of each
effect b, an entry of B or of g, is a horseshoe, which lets a few be large and draws the others to 0, times a slab, so that a
biomarker which parts patients without error has no endless effect:

    p(b, l, t)  in proportion to  Normal(b; 0, l^2 t^2) exp(-b^2 / (2 SLAB^2)) HalfCauchy(l; 1) HalfCauchy(t; GLOBAL)

l of each effect, t of all (Piironen & Vehtari 2017, 10.1214/17-EJS1337SI, regularised in the form of Nishimura & Suchard 2022,
10.1214/22-BA1308: the slab as an observation of each effect, 0 with the error SLAB, by which l and t keep their conditionals).

B acts on the scores of `ACTS_ON`: what biomarkers of drug response may change by their biology is the kill, the tolerance, and
the composition at the start (Dimberg et al. 2013, Oncogene 32:1341, for the death receptors and their decoys, FLIP and XIAP).
Its other rows are 0, as is all of it on scores that are not pooled: on those, a cohort cannot show an effect.

Missing biomarkers are drawn with all else, given what is known of the patient. A binary one is taken as normal there: what
fills its gaps is not 0 or 1, but has the mean, spread and correlations of the values that are known.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np
from jax.scipy.special import ndtr

from persist.errors import DataError, UsageError
from persist.inference.population import Law, Moments
from persist.inference.population import moments as of_law
from persist.records.text import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persist.types import Biomarkers

ACTS_ON = ("decline_s", "tolerance_base", "tolerance_drug", "persister_0", "resistant_0")
"""Scores that biomarkers may act on: kill, tolerance, composition at the start."""

GLOBAL, SLAB = 0.05, 1.0
"""Scale of the effects of all biomarkers, and the most that one may well have: in standard deviations of the pack's prior (of
u, for g) by standard deviation of the biomarker."""

INTERCEPT, INTERCEPT_SD = -0.926, 0.46
"""Of a: the share of those apart then has the mean and spread of Beta(2, 8) at the mean of all biomarkers."""

STEADY = 10.0
"""Of the prior of Sigma: correlations of more than 0.53 have 5 %."""


class Scale(NamedTuple):
    """Biomarkers of the cohort that a population was learned from: ``names``, mean and standard deviation, each ``(p,)``."""

    names: tuple[str, ...]
    centre: np.ndarray
    sd: np.ndarray


class Covariates(NamedTuple):
    """What is known of patients: standardised ``value`` (patients, p), 0 where it is not ``seen`` (patients, p); and which of n
    scores it ``acts`` on, (n,).
    """

    value: np.ndarray
    seen: np.ndarray
    acts: np.ndarray


class Effects(NamedTuple):
    """A state of the effects in each of some lanes: B ``slope`` (lanes, k, p), g ``toward`` (lanes, p) those apart, a
    ``intercept`` (lanes,), l^2 of B's rows and then of g, ``local`` (lanes, k + 1, p), t ``scale`` (lanes,), Sigma ``spread``
    (lanes, p, p).
    """

    slope: np.ndarray
    toward: np.ndarray
    intercept: np.ndarray
    local: np.ndarray
    scale: np.ndarray
    spread: np.ndarray


def scale_of(biomarkers: Biomarkers) -> Scale:
    """Mean and spread of what is known; `DataError` for a biomarker that does not differ between patients."""
    if not biomarkers.names:
        what = "no patient has a biomarker at or before the first burden"
        raise DataError(what, where="--biomarkers", remedy="give values without a time, or leave --biomarkers out")
    for name, column in zip(biomarkers.names, biomarkers.value.T, strict=True):
        there = column[np.isfinite(column)]
        if not np.ptp(there) > 0.0:
            what = f"the biomarker {name!r} has one value in all {len(there)} patients of whom it is known"
            raise DataError(what, where="--biomarkers", remedy="leave its rows out: it cannot tell patients apart")
    return Scale(biomarkers.names, np.nanmean(biomarkers.value, axis=0), np.nanstd(biomarkers.value, axis=0))


def standardised(scale: Scale, biomarkers: Biomarkers | None, patients: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Values ``(patients, p)`` on a population's scale, 0 where they are missing, and which are there.

    Raises `UsageError` for a biomarker that the population does not know.
    """
    value = np.full((len(patients), len(scale.names)), np.nan)
    if biomarkers is not None:
        for name, column in zip(biomarkers.names, biomarkers.rows(patients).T, strict=True):
            if name not in scale.names:
                what = f"the population knows no biomarker {name!r}{did_you_mean(name, scale.names)}"
                remedy = f"leave its rows out: it knows {', '.join(scale.names) or 'none'}"
                raise UsageError(what, where="--biomarkers", remedy=remedy)
            value[:, scale.names.index(name)] = column
    value = (value - scale.centre) / scale.sd
    seen = np.isfinite(value)
    return np.where(seen, value, 0.0), seen


def start(lanes: int, acts: np.ndarray, size: int) -> Effects:
    """The effects that a cohort begins with: none. ``acts`` (k,) of the pooled scores, ``size`` biomarkers."""
    k = len(acts)
    none, one = np.zeros((lanes, k, size)), np.ones((lanes, k + 1, size))
    spread = np.tile(np.eye(size), (lanes, 1, 1))
    return Effects(none, none[:, 0].copy(), np.full(lanes, INTERCEPT), one, np.full(lanes, GLOBAL), spread)


def shift(effects: Effects, x: np.ndarray) -> np.ndarray:
    """B x ``(lanes, patients, k)`` of biomarkers ``(lanes, patients, p)``."""
    return np.asarray(np.einsum("lkb,lpb->lpk", effects.slope, x))


def share(effects: Effects, x: np.ndarray) -> np.ndarray:
    """Probability ``(lanes, patients)`` to be among those apart, by the biomarkers ``(lanes, patients, p)`` alone."""
    return np.asarray(_ndtr(effects.intercept[:, None] + np.einsum("lb,lpb->lp", effects.toward, x)))


_ndtr = jax.jit(ndtr)


def at(law: Law, effects: Effects, x: np.ndarray) -> Law:
    """The law of a patient with biomarkers ``(..., p)`` in each of some lanes ``(...)``: one without biomarkers."""
    mean = law.mean + np.einsum("...kb,...b->...k", effects.slope, x)
    toward = effects.intercept + np.einsum("...b,...b->...", effects.toward, x)
    return law._replace(mean=mean, share=np.asarray(_ndtr(toward)))


def overall(law: Law, effects: Effects) -> Law:
    """The law with the share that those apart have among all patients: of Normal(a, 1 + g' Sigma g), what is over 0."""
    return law._replace(share=np.asarray(_ndtr(effects.intercept / _deviation(effects))))


def _deviation(effects: Effects) -> np.ndarray:
    """Standard deviation ``(...)`` of u over all patients."""
    return np.asarray(np.sqrt(1.0 + np.einsum("...b,...bd,...d->...", effects.toward, effects.spread, effects.toward)))


def moments(law: Law, effects: Effects) -> Moments:
    """m + w d, and C + w (1 - w) d d^T + B Sigma B^T + B r d^T + d r^T B^T: of all patients together, whatever their x.

    r = Sigma g phi(a / s) / s is the covariance of x with c, s the standard deviation of u.
    """
    within, s = of_law(overall(law, effects)), _deviation(effects)
    height = np.exp(-0.5 * (effects.intercept / s) ** 2) / np.sqrt(2.0 * np.pi) / s
    along = np.einsum("...bd,...d->...b", effects.spread, effects.toward) * height[..., None]
    cross = np.einsum("...kb,...b->...k", effects.slope, along)[..., None] * law.apart[..., None, :]
    between = effects.slope @ effects.spread @ np.swapaxes(effects.slope, -1, -2)
    return Moments(within.mean, within.covariance + between + cross + np.swapaxes(cross, -1, -2))


def completed(
    rng: np.random.Generator, precision: np.ndarray, linear: np.ndarray, value: np.ndarray, seen: np.ndarray
) -> np.ndarray:
    """Biomarkers ``(..., p)`` of which some are ``seen`` (..., p), the others drawn from the normal law of all given those.

    log p(x) = -x^T Q x / 2 + h^T x + constant, with Q the ``precision`` (..., p, p) and h ``linear`` (..., p).
    """
    size, open_ = value.shape[-1], ~seen
    inner = np.where(open_[..., :, None] & open_[..., None, :], precision, np.eye(size))
    known = np.where(seen, value, 0.0)
    rest = np.where(open_, linear - np.einsum("...bd,...d->...b", precision, known), 0.0)
    drawn = normal(rng, inner, rest)
    return np.where(seen, value, drawn)


def normal(rng: np.random.Generator, precision: np.ndarray, linear: np.ndarray) -> np.ndarray:
    """Draws ``(..., n)`` of the normal law with this precision Q ``(..., n, n)`` and mean Q^-1 h, h ``linear`` (..., n)."""
    root = np.linalg.cholesky(precision)
    half = np.linalg.solve(root, linear[..., None])
    noise = rng.standard_normal(half.shape)
    drawn: np.ndarray = np.linalg.solve(np.swapaxes(root, -1, -2), half + noise)[..., 0]
    return drawn
