"""Proper scores of forecasts of log burdens, value by value, and what can be said of their averages over patients.

    CRPS        E|X - y| - E|X - X'| / 2                       (Gneiting & Raftery 2007, 10.1198/016214506000001437)
    log score   - log p(y); of a value at its floor, - log P(X <= floor)
    PIT         P(X < y) + u P(X = y),   u uniform

Forecasts and values are raised to the floor of each value first: below it no difference counts. Averages are over values,
their intervals from a bootstrap that draws patients, whose values hang together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.scipy.special import logsumexp
from jax.scipy.stats import norm

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT

if TYPE_CHECKING:
    from persist.validation.cuts import Cut

COVERED = (50, 80, 90)
"""Central intervals whose coverage is told, in %."""

REPEATS = 2000
"""Draws of the bootstrap."""

BOUNDS = (0.05, 0.95)
"""Quantiles of the bootstrap that are told."""


class Forecast(NamedTuple):
    """A forecast of the values after a cut: draws of the log burden as ``measured`` ``(n_draws, n)``; and the same as a mixture
    of laws about ``level`` with errors of scale ``sd``, ``(n_parts, n)`` or broadcast to it, which are ``normal`` or the
    robust ones of the model.
    """

    measured: np.ndarray
    level: np.ndarray
    sd: np.ndarray
    normal: bool = False


class Score(NamedTuple):
    """Of each value ``(n,)``: the scores, whether the intervals of `COVERED` hold it ``(n, 3)``, and the median.

    An interval holds a value whose PIT lies in it: where draws and value meet at a floor, the mass there is shared by chance.
    """

    crps: np.ndarray
    log_score: np.ndarray
    pit: np.ndarray
    held: np.ndarray
    median: np.ndarray


def score(found: Forecast, cut: Cut, rng: np.random.Generator) -> Score:
    """Scores of a forecast at the values of a cut that are scored."""
    use = cut.scored
    y, floor = cut.value[use], cut.floor[use]
    x = np.sort(np.maximum(found.measured[:, use], floor), axis=0)
    below, same = np.mean(x < y, axis=0), np.mean(x == y, axis=0)
    pit = below + rng.uniform(size=len(y)) * same
    return Score(crps_of(x, y), -log_density(found, use, y, floor), pit, held(pit), np.median(x, axis=0))


def score_of_both(one: Forecast, other: Forecast, cut: Cut, rng: np.random.Generator) -> Score:
    """Scores of the linear pool of two forecasts, half each (Stone 1961, 10.1214/aoms/1177704873)."""
    apart = [score(part, cut, rng).log_score for part in (one, other)]
    places = np.linspace(0, len(other.measured) - 1, len(one.measured)).round().astype(int)
    whole = score(one._replace(measured=np.concatenate([one.measured, other.measured[places]])), cut, rng)
    return whole._replace(log_score=np.log(2.0) - np.logaddexp(-apart[0], -apart[1]))


def held(pit: np.ndarray) -> np.ndarray:
    """Whether the intervals of `COVERED` hold values of these PITs ``(n,)``; ``(n, 3)``."""
    return np.stack([np.abs(pit - 0.5) <= share / 200.0 for share in COVERED], axis=1)


def crps_of(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """CRPS ``(n,)`` of values ``(n,)`` under draws ``(n_draws, n)`` that are sorted."""
    count = len(x)
    rank = np.arange(1, count + 1)[:, None]
    spread = np.sum((2.0 * rank - count - 1.0) * x, axis=0) / count**2
    return np.asarray(np.mean(np.abs(x - y), axis=0) - spread)


def log_density(found: Forecast, use: np.ndarray, y: np.ndarray, floor: np.ndarray) -> np.ndarray:
    """Log predictive density of log burdens ``(n,)``; of one at its floor, the log probability of lying there or below."""
    level = np.maximum(found.level[:, use], -700.0)[..., None]
    sd = np.broadcast_to(found.sd, found.level.shape)[:, use][..., None]
    weight, scale = (np.ones(1), np.ones(1)) if found.normal else (NOISE_WEIGHT, NOISE_SCALE)
    off, wide = (y[None, :, None] - level), sd * scale
    at_floor = (y <= floor)[None, :, None]
    each = np.where(at_floor, np.asarray(norm.logcdf(off / wide)), np.asarray(norm.logpdf(off / wide)) - np.log(wide))
    mixed = np.asarray(logsumexp(each + np.log(weight), axis=-1))
    return np.asarray(logsumexp(mixed, axis=0) - np.log(len(mixed)))


def about(point: np.ndarray, sd: np.ndarray, draws: int = 500) -> Forecast:
    """A normal forecast about ``point`` ``(n,)`` with standard deviation ``sd`` ``(n,)``."""
    from statistics import NormalDist

    z = np.array([NormalDist().inv_cdf((k + 0.5) / draws) for k in range(draws)])
    return Forecast(point + sd * z[:, None], point[None], np.asarray(sd)[None], normal=True)


def bootstrap(patient: np.ndarray, values: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Mean of values ``(n,)`` with a bootstrap interval that draws patients, as JSON; null for none."""
    names, place = np.unique(patient, return_inverse=True)
    if not len(names):
        return {"mean": None, "q05": None, "q95": None, "values": 0}
    total, number = np.bincount(place, values), np.bincount(place)
    taken = rng.multinomial(len(names), np.full(len(names), 1.0 / len(names)), size=REPEATS)
    means = taken @ total / np.maximum(taken @ number, 1)
    low, high = np.quantile(means, BOUNDS)
    return {"mean": float(values.mean()), "q05": float(low), "q95": float(high), "values": len(values)}


def brier(probability: np.ndarray, event: np.ndarray, base: np.ndarray) -> dict[str, float | None]:
    """Brier score, its skill over the base rates, AUC, and balanced accuracy at the base rate, of events ``(n,)``."""
    if not len(event):
        return dict.fromkeys(("brier", "brier_skill", "auc", "balanced_accuracy"))
    own, plain = np.mean((probability - event) ** 2), np.mean((base - event) ** 2)
    says, yes = probability > base, event.astype(bool)
    both = yes.any() and not yes.all()
    return {
        "brier": float(own),
        "brier_skill": float(1.0 - own / plain) if plain > 0 else None,
        "auc": auc(probability[yes], probability[~yes]) if both else None,
        "balanced_accuracy": float(0.5 * (says[yes].mean() + (~says[~yes]).mean())) if both else None,
    }


def auc(with_it: np.ndarray, without: np.ndarray) -> float:
    """Probability that one with the event is given a higher probability than one without; ties count half."""
    higher = with_it[:, None] > without[None, :]
    return float(np.mean(higher + 0.5 * (with_it[:, None] == without[None, :])))
