"""Which parameters the data inform, by a stated rule with a known rate of false alarm.

    z = Phi^-1(F_prior(x))        the scale on which the prior is standard normal: log x, or the logit of a bounded share
    contraction = 1 - (width of the posterior's 90 % interval of z) / 3.29

The priors are known in closed form, so their width has no error. A parameter is called informed if

1. the 95 % lower limit of its contraction is at least `INFORMED`: the data at least halved what the prior left open, which
   takes three times the information that the prior held. The limit takes the ends of the interval at the quantiles that lie
   beyond them by their Monte-Carlo error (Wilson's limits of a share, 10.1080/01621459.1927.10502953, from the effective draws
   at that quantile): a parameter of smaller contraction is called informed by chance of the draws in at most 5 % of fits; and
2. the schedule and the measurements can show it (`validation.visible`).

Priors are independent, so a parameter on which the data do not depend keeps its prior exactly: its contraction is 0, and only
the error of the draws, which 1 bounds, can make it look informed. What 2 adds are those on which the data depend by way of
another parameter alone. A derived rate has no verdict of its own; it is as good as those it hangs on (`hangs_on`).

It is called against the prior if the posterior's median lies outside the middle 98 % of the prior: then data and prior
disagree, and either the prior is wrong for this patient or the parameter makes up for something that the model has not.
"""

from __future__ import annotations

from statistics import NormalDist
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from arviz_stats.base import array_stats  # type: ignore[attr-defined]

from persist.inference.curve import DERIVED, patient
from persist.inference.priors import score

if TYPE_CHECKING:
    from persist.inference.priors import Prior

INFORMED = 0.5
ENDS = (0.05, 0.95)
DOUBT = 0.05
"""Chance that the lower limit of a contraction lies above it."""
LEAST_DRAWS = float(np.log(0.5 * DOUBT) / np.log(ENDS[1]))
"""Of fewer independent draws (72) not even the extremes bound the ends of the interval with that doubt."""
OUTSIDE = 0.01
"""Share of the prior on either side beyond which a posterior median is against it."""
FARTHEST = 12.0
"""Scores are held within so many standard deviations: a share at its bound has none."""

_NORMAL = NormalDist()
PRIOR_WIDTH = _NORMAL.inv_cdf(ENDS[1]) - _NORMAL.inv_cdf(ENDS[0])


class Verdict(NamedTuple):
    """``contraction`` of one parameter and its lower limit ``at_least``; ``reason`` says why it is not informed, or is ""."""

    contraction: float
    at_least: float
    informed: bool
    reason: str


def scores(prior: Prior, draws: np.ndarray) -> np.ndarray:
    """Draws on the scale on which their prior is standard normal, same shape."""
    with np.errstate(divide="ignore"):
        return np.asarray(np.clip(score(prior, draws), -FARTHEST, FARTHEST))


def contraction(z: np.ndarray) -> float:
    """Shrinkage of the 90 % interval against the prior's, from scores of any shape."""
    low, high = np.quantile(z, ENDS)
    return float(1.0 - (high - low) / PRIOR_WIDTH)


def least_contraction(z: np.ndarray) -> float:
    """Its 95 % lower limit, from scores ``(chains, draws)``; -inf for fewer than `LEAST_DRAWS` effective draws."""
    sizes = [effective(z, end) for end in ENDS]
    if not min(sizes) >= LEAST_DRAWS:  # also for NaN
        return -np.inf
    pairs = enumerate(zip(ENDS, sizes, strict=True))
    ends = np.quantile(z, [wilson(end, size, 0.5 * DOUBT)[side] for side, (end, size) in pairs])
    return float(1.0 - (ends[1] - ends[0]) / PRIOR_WIDTH)


def effective(z: np.ndarray, probability: float) -> float:
    """Effective draws at a quantile, of draws ``(chains, draws)``; NaN for too few."""
    return float(array_stats.ess(z, chain_axis=0, draw_axis=1, method="quantile", prob=probability))  # type: ignore[no-untyped-call]


def wilson(share: float, size: float, tail: float) -> tuple[float, float]:
    """Limits of a probability that was seen as ``share`` of ``size``, each passed with the chance ``tail``."""
    z = -_NORMAL.inv_cdf(tail)
    middle, reach = share + z**2 / (2.0 * size), z * np.sqrt(share * (1.0 - share) / size + (z / (2.0 * size)) ** 2)
    return float((middle - reach) / (1.0 + z**2 / size)), float((middle + reach) / (1.0 + z**2 / size))


def verdict(z: np.ndarray, unseen: str) -> Verdict:
    """The verdict on one parameter from its scores ``(chains, draws)``; ``unseen``: why the design cannot show it, or ""."""
    moved = bool(np.ptp(z) > 0.0)  # also False for NaN
    shrunk = contraction(z) if moved else 0.0
    least = least_contraction(z) if moved else -np.inf
    if not moved:
        reason = "its draws never moved or are no numbers"
    elif unseen:
        reason = unseen
    elif shrunk < INFORMED:
        reason = f"its 90 % range is still {1.0 - shrunk:.0%} of the prior's"
    elif least < INFORMED:
        reason = f"too few effective draws to say that its 90 % range is at most half of the prior's (it is {1.0 - shrunk:.0%})"
    else:
        reason = ""
    return Verdict(shrunk, least, not reason, reason)


def against_prior(z: np.ndarray) -> bool:
    """True if the posterior's median lies where the prior has less than `OUTSIDE` of its mass beyond it, on either side."""
    return abs(float(np.median(z))) > -_NORMAL.inv_cdf(OUTSIDE)


def hangs_on(middle: dict[str, float], power: float) -> dict[str, tuple[str, ...]]:
    """The sampled parameters on which each derived rate depends, at the values ``middle``: those with a slope that is not 0."""
    slopes = jax.jacfwd(lambda at: patient(at, power).rates._asdict())({n: jnp.asarray(v) for n, v in middle.items()})
    return {
        name: tuple(source for source in middle if abs(float(slopes[name][source])) > 0.0)
        for name in DERIVED
        if isinstance(slopes[name], dict)
    }
