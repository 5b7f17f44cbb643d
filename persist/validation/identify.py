"""Which parameters the data inform, by a stated measure.

    contraction = 1 - (width of the posterior's 90 % interval) / (width of the prior's),   both on the logarithmic scale

A parameter is called informed if its contraction is at least `INFORMED`: its interval has shrunk to half of the prior's or
less. Parameters that are not positive are compared by the logarithm of their size.

It is called against the prior if the posterior's median lies outside the middle 98 % of the prior: then data and prior
disagree, and either the prior is wrong for this patient or the parameter makes up for something that the model has not.
"""

from __future__ import annotations

import numpy as np

INFORMED = 0.5
OUTSIDE = 0.01
"""Share of the prior on either side beyond which a posterior median is against it."""


def contraction(posterior: np.ndarray, prior: np.ndarray) -> float:
    """Shrinkage of the 90 % interval of log |x|, from draws of any shape; 0 where the prior has no width."""
    widths = [np.diff(np.quantile(np.log(np.abs(draws).clip(1e-300)), (0.05, 0.95)))[0] for draws in (posterior, prior)]
    return float(1.0 - widths[0] / widths[1]) if widths[1] > 0 else 0.0


def informed(posterior: np.ndarray, prior: np.ndarray) -> bool:
    """True if the data at least halved what the prior left open."""
    return contraction(posterior, prior) >= INFORMED


def against_prior(posterior: np.ndarray, prior: np.ndarray) -> bool:
    """True if the posterior's median lies where the prior has less than `OUTSIDE` of its draws beyond it, on either side."""
    below = float(np.mean(np.asarray(prior) < np.median(posterior)))
    return min(below, 1.0 - below) < OUTSIDE
