"""Limits within which a plan must stay to be chosen, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.forecast.summary import MEDIAN, MUCH_HIGHER, VISITS_NEEDED, flare
from persist.forecast.trace import FLARE_DAYS

if TYPE_CHECKING:
    from persist.forecast.under import Futures

ROUNDING = 1e-9
"""Days over a limit that are none."""


class Limits(NamedTuple):
    """The most of the horizon on drug (share ``on``), and the most ``days_on`` drug, in the mean of the futures; the largest
    probability of a ``flare`` after the first stop (`summary.flare`). None: any.
    """

    on: float | None = None
    days_on: float | None = None
    flare: float | None = None


def broken(limits: Limits, future: Futures, horizon: float, draws: np.ndarray | None = None) -> str:
    """Which limit a plan breaks in the futures of some ``draws`` (a mask, ``(n_draws,)``; all, by default), in words; nothing
    where it keeps to all. Any time at a dose over 0 is on drug.
    """
    rows = np.ones(len(future.on), bool) if draws is None else draws
    spent = float(future.on[rows].mean())
    if limits.on is not None and spent > limits.on * horizon + ROUNDING:
        return f"on drug for {spent / horizon:.0%} of the horizon"
    if limits.days_on is not None and spent > limits.days_on + ROUNDING:
        return f"on drug for {spent:.0f} days"
    return _flares(limits.flare, future._replace(stopped=future.stopped[rows], flared=future.flared[rows]), horizon)


def _flares(most: float | None, future: Futures, horizon: float) -> str:
    """Whether a flare after the first stop is likelier than it may be, or its risk cannot be told."""
    told = None if most is None else flare(future, horizon)
    if told is None or most is None:
        return ""
    if told["probability"] is None:
        return f"its risk of a flare cannot be told: no future is followed for {FLARE_DAYS:g} days after its first stop"
    if told["probability"] <= most + ROUNDING:
        return ""
    return f"a flare within {FLARE_DAYS:g} days of the first stop in {told['probability']:.0%} of futures"


def unseen(future: Futures, reference: Futures) -> str:
    """Why the time to progression of a plan is no merit of it, where progression is judged on drug only; nothing where it is.

    A holiday is not judged while it lasts, so the longest would always win: refused is a plan that is on drug at too few
    visits in a row to be judged, and one whose median burden at the horizon is far above the reference's, as `forecast` says.
    """
    if future.visits_on_drug < VISITS_NEEDED:
        return f"not judged, being on drug at fewer than {VISITS_NEEDED} visits in a row"
    rise = float(future.burden[-1, MEDIAN]) / max(float(reference.burden[-1, MEDIAN]), 1e-300)
    if rise >= MUCH_HIGHER:
        return f"its median burden at the horizon is {rise:.1f} times the reference's"
    return ""
