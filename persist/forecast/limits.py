"""Limits within which a plan must stay to be chosen, and why it does not."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

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


def broken(limits: Limits, future: Futures, horizon: float) -> str:
    """Which limit a plan breaks, in words; nothing where it keeps to all. Any time at a dose over 0 is on drug."""
    spent = future.days_on_drug
    if limits.on is not None and spent > limits.on * horizon + ROUNDING:
        return f"on drug for {spent / horizon:.0%} of the horizon"
    if limits.days_on is not None and spent > limits.days_on + ROUNDING:
        return f"on drug for {spent:.0f} days"
    told = None if limits.flare is None else flare(future, horizon)
    risk = None if told is None else told["probability"]
    if limits.flare is not None and risk is not None and risk > limits.flare + ROUNDING:
        return f"a flare within {FLARE_DAYS:g} days of stopping in {risk:.0%} of futures"
    return ""


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
