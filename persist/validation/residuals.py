"""Do the errors of the fit go on from visit to visit? One-step forecasts of each value from those before it.

    u_i = mean over draws of F(y_i | y_1 .. y_i-1, draw),    z_i = Phi^-1(u_i)

Under the model the scores z of a series are independent and standard normal. A censored value has a uniform draw in the mass
on its side of the limit. What lasts longer than the wander of the model shows as a positive autocorrelation,

    r_k = mean of z_i z_i+k / mean of z_i^2       over pairs of measured values k visits apart,

by itself (k = 1, one-sided: a curve that was fitted to the same values leaves errors that alternate, so negative ones prove
nothing) and by Ljung and Box's sum over k = 1, 2, 3 (10.1093/biomet/65.2.297). Their chance level is exact for independent
scores of any symmetric law: signs are drawn anew, sizes kept. Since the draws have seen the values, the scores of a fit lie a
little too close to 0, which a test of this kind does not feel.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np
from jax.scipy.special import ndtri

from persist import keys
from persist.inference import posterior, store
from persist.inference.curve import follow
from persist.inference.likelihood import Visits, forecast_share
from persist.inference.subject import Subject, subject

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from jax import Array

    from persist.inference.cohort import Case

DRAWS = 400
LAGS = 3
FLIPS = 9999
ALARM = 0.01
"""Chance that a series from the model itself is flagged: half for each statistic."""
LEAST_PAIRS = 3


class Residuals(NamedTuple):
    """Scores of a series, ``score`` and ``measured`` ``(n_visits,)``; lag-1 ``autocorrelation`` with its standard error and
    one-sided p-value, ``by_lag`` ``(LAGS,)``, Ljung-Box statistic and p-value. NaN where there are too few pairs.
    """

    score: np.ndarray
    measured: np.ndarray
    autocorrelation: float
    standard_error: float
    p_value: float
    by_lag: np.ndarray
    ljung_box: float
    ljung_box_p_value: float

    @property
    def flagged(self) -> bool:
        """Whether a series from the model itself would be so rarely like this (`ALARM`)."""
        return bool(min(self.p_value, self.ljung_box_p_value) < 0.5 * ALARM)  # False for NaN


def residuals(fit: store.DataTree, patient: str) -> Residuals:
    """One-step errors of a patient's fit; `PrecisionError` without float64."""
    one = subject(fit, patient)
    random = _random(store.attribute(fit, "settings").get("seed", 0), patient)
    score = scores(posterior.thinned(fit, patient, DRAWS), one, random)
    return judge(score, one.case.censoring[: len(score)] == 0, random)


def _random(seed: int, patient: str) -> np.random.Generator:
    return np.random.default_rng(np.asarray(jax.random.key_data(keys.key(seed, patient, "residuals"))))


def scores(values: dict[str, np.ndarray], one: Subject, random: np.random.Generator) -> np.ndarray:
    """Normal scores ``(n_visits,)`` of a series under draws ``(n_draws,)`` of its parameters."""
    visits = len(one.series.day)
    share = np.asarray(_shares(values, one.case, one.power))[:, :visits].mean(axis=0)
    return normal_scores(share, one.case.censoring[:visits], random)


def normal_scores(share: np.ndarray, censoring: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Scores of forecast shares, same shape; a censored one by a uniform draw in the mass below (-1) or above (1) its limit."""
    uniform = random.uniform(size=share.shape)
    inside = np.where(censoring < 0, uniform * share, np.where(censoring > 0, share + uniform * (1.0 - share), share))
    return np.asarray(ndtri(np.clip(inside, 1e-15, 1.0 - 1e-15)))


@jax.jit
def _shares(values: dict[str, Array], one: Case, power: float) -> Array:
    """Forecast shares of every draw at every padded visit, ``(n_draws, n_visits)``."""
    visits = Visits(one.gap, one.value, one.censoring, one.counting, one.seen)

    def under(row: dict[str, Array]) -> Array:
        level = follow(row, one, power).level
        return forecast_share(visits, level, row["noise_sd"], row["wander_sd"], row["wander_days"])

    return jax.vmap(under)(values)


def judge(score: np.ndarray, measured: np.ndarray, random: np.random.Generator) -> Residuals:
    """Autocorrelation of scores ``(n,)`` and its chance level, from signs drawn anew."""
    squares = float(np.mean(score[measured] ** 2)) if measured.any() else np.nan
    pairs = [np.flatnonzero(measured[lag:] & measured[:-lag]) for lag in range(1, min(LAGS, len(score) - 1) + 1)]
    if not pairs or len(pairs[0]) < LEAST_PAIRS or not squares > 0.0:
        return Residuals(score, measured, *(np.nan,) * 3, np.full(LAGS, np.nan), np.nan, np.nan)
    signs = random.choice((-1.0, 1.0), (FLIPS, len(score)))
    flipped = np.concatenate([score[None], signs * np.abs(score)])
    lags = np.stack(
        [(flipped[:, at] * flipped[:, at + lag]).sum(axis=1) / max(len(at), 1) for lag, at in enumerate(pairs, 1)]
    )
    by_lag = lags / squares
    size = int(measured.sum())
    box = (size + 2.0) / size * (np.array([len(at) for at in pairs]) @ by_lag**2)
    first = pairs[0]
    error = np.sqrt(np.sum((score[first] * score[first + 1]) ** 2)) / len(first) / squares
    seen = np.pad(by_lag[:, 0], (0, LAGS - len(pairs)), constant_values=np.nan)
    return Residuals(
        score, measured, float(seen[0]), float(error), _beyond(by_lag[0]), seen, float(box[0]), _beyond(box)
    )


def _beyond(statistic: np.ndarray) -> float:
    """Share of a statistic's values by chance, the seen one (the first) among them, that are no less than it."""
    return float(np.mean(statistic >= statistic[0] - 1e-9))


def as_json(found: Residuals, day: np.ndarray) -> dict[str, Any]:
    """One patient's `residuals` object."""
    return {
        "autocorrelation": found.autocorrelation,
        "standard_error": found.standard_error,
        "p_value": found.p_value,
        "by_lag": found.by_lag.tolist(),
        "ljung_box": found.ljung_box,
        "ljung_box_p_value": found.ljung_box_p_value,
        "flagged": found.flagged,
        "sentence": sentence(found),
        "days": np.asarray(day).tolist(),
        "scores": found.score.tolist(),
        "measured": found.measured.tolist(),
    }


def sentence(found: Residuals) -> str:
    """What the errors say of the model."""
    if np.isnan(found.autocorrelation):
        return "too few measured values in a row to say whether the errors of the fit go on from visit to visit"
    seen = f"{found.autocorrelation:+.2f} ± {found.standard_error:.2f} from one visit to the next"
    chance = f"by chance p = {found.p_value:.2g}; over three lags p = {found.ljung_box_p_value:.2g}"
    told = f"the errors of the fit go on from visit to visit (autocorrelation {seen}; {chance})"
    return f"{told}: it misses something that lasts" if found.flagged else f"no sign that {told}"


class Sums(NamedTuple):
    """What a series adds to the lag-1 autocorrelation of several: how many ``pairs`` of neighbours, both measured, the sums of
    their ``product`` and of its ``product_square``; how many ``measured`` values, and the sum of their ``square``.
    """

    pairs: int
    product: float
    product_square: float
    measured: int
    square: float


def sums(score: np.ndarray, measured: np.ndarray) -> Sums:
    """The sums of scores ``(n_visits,)``, of which some are of measured values."""
    product = (score[1:] * score[:-1])[measured[1:] & measured[:-1]]
    own = score[measured]
    return Sums(len(product), float(product.sum()), float((product**2).sum()), len(own), float((own**2).sum()))


def together(rows: Iterable[Sums]) -> dict[str, float | None]:
    """Lag-1 autocorrelation over patients, its standard error, and its one-sided p-value by the normal law; null of too few."""
    found = list(rows)
    pairs, product, product_square, measured, square = (
        sum(getattr(row, name) for row in found) for name in Sums._fields
    )
    if pairs < LEAST_PAIRS:
        return dict.fromkeys(("autocorrelation", "standard_error", "p_value"))
    size = square / measured
    value, error = product / pairs / size, float(np.sqrt(product_square)) / pairs / size
    return {"autocorrelation": value, "standard_error": error, "p_value": 1.0 - NormalDist().cdf(value / error)}


def pooled(rows: Iterable[Mapping[str, Any]]) -> dict[str, Any]:
    """`together` of patients, from their `residuals` objects, with how many they are and how many are flagged."""
    found = list(rows)
    own = [sums(np.asarray(row["scores"], float), np.asarray(row["measured"], bool)) for row in found]
    return {"patients": len(found), "flagged": sum(bool(row["flagged"]) for row in found), **together(own)}
