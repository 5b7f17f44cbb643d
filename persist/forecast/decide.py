"""Decisions: how much later one plan lets the burden progress than another, and whether that can be said.

    gain = min(T_plan, H) - min(T_reference, H)    days, on paired futures (common random numbers), H the horizon

NumPy, float64; times and gains are ``(n_draws, n_replicates)``: posterior draws, and futures of one draw.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

PROBABILITY = 0.9
"""A verdict needs at least this share of the paired futures on its side."""
MCSE_MULTIPLE = 2.0
"""A verdict needs a mean gain of more than so many of its Monte-Carlo errors."""
THRESHOLDS = {"probability": PROBABILITY, "mcse_multiple": MCSE_MULTIPLE}
"""As they stand in the JSON."""


class Benefit(NamedTuple):
    """A plan against its reference over all paired futures.

    ``probability`` P(gain > 0); ``mean``, its Monte-Carlo error ``mcse`` (inf where it cannot be known), and the
    quantiles ``q05``, ``q95`` of the gain in days; ``verdict`` benefit, harm or cannot tell; ``loss`` P(gain < 0),
    which is not 1 - probability, since both plans may end alike.
    """

    probability: float
    mean: float
    mcse: float
    q05: float
    q95: float
    verdict: str
    loss: float


def gain(t_plan: ArrayLike, t_reference: ArrayLike, horizon: float) -> np.ndarray:
    """min(T_plan, H) - min(T_reference, H), days; times (inf = never) of one shape, pair by pair; returns that shape.

    Raises ValueError for times that are not paired or NaN, or a horizon that is not positive and finite.
    """
    plan, reference = np.asarray(t_plan, dtype=np.float64), np.asarray(t_reference, dtype=np.float64)
    if plan.shape != reference.shape:
        raise ValueError(f"times are not paired: {plan.shape} and {reference.shape}")
    if not 0.0 < horizon < math.inf or np.isnan(plan).any() or np.isnan(reference).any():
        raise ValueError(f"times must not be NaN and the horizon positive and finite, got {horizon}")
    difference: np.ndarray = np.minimum(plan, horizon) - np.minimum(reference, horizon)
    return difference


def judge(gains: ArrayLike, *, effective: float | None = None) -> Benefit:
    """Benefit of the gains ``(n_draws, n_replicates)``, finite, in days.

    mcse = sd over draws of (mean over the replicates of a draw) / sqrt(n), n = the number of draws, or ``effective``
    where the draws are autocorrelated and fewer count (more than all never do). benefit: P(gain > 0) >= 0.9 and
    mean > 2 mcse; harm: P(gain < 0) >= 0.9 and mean < -2 mcse; else cannot tell. One draw has no Monte-Carlo error, so
    no verdict either. Raises ValueError for gains of another shape or not finite, or an ``effective`` not positive.
    """
    days = np.asarray(gains, dtype=np.float64)
    if days.ndim != 2 or days.size == 0 or not np.isfinite(days).all():
        raise ValueError(f"gains must be finite and (n_draws, n_replicates), got shape {days.shape}")
    count = float(len(days)) if effective is None else min(float(effective), float(len(days)))
    if not count > 0.0:
        raise ValueError(f"the effective number of draws must be positive, got {effective}")
    mean = float(days.mean())
    mcse = float(days.mean(axis=1).std(ddof=1)) / math.sqrt(count) if len(days) > 1 else math.inf
    probability, loss = float((days > 0.0).mean()), float((days < 0.0).mean())
    q05, q95 = (float(value) for value in np.quantile(days, [0.05, 0.95]))
    return Benefit(probability, mean, mcse, q05, q95, verdict(probability, loss, mean, mcse), loss)


def verdict(probability: float, loss: float, mean: float, mcse: float) -> str:
    """The rule alone: benefit, harm or cannot tell, from P(gain > 0), P(gain < 0), the mean gain and its error (days)."""
    if probability >= PROBABILITY and mean > MCSE_MULTIPLE * mcse:
        return "benefit"
    if loss >= PROBABILITY and mean < -MCSE_MULTIPLE * mcse:
        return "harm"
    return "cannot tell"


def sentence(plan: str, reference: str, benefit: Benefit, horizon: float) -> str:
    """The verdict in one sentence of plain words, for the report; ``horizon`` in days, within which it holds."""
    opening = f'Against "{reference}", within {_days(horizon)}, "{plan}"'
    futures = f"90 % of futures: {_whole(benefit.q05)} to {_whole(benefit.q95)}"
    if benefit.verdict == "benefit":
        odds = f"probability of a gain {_share(benefit.probability)}"
        return f"{opening} is expected to delay progression by {_days(benefit.mean)} ({futures}; {odds}): benefit."
    if benefit.verdict == "harm":
        odds = f"probability of a loss {_share(benefit.loss)}"
        return f"{opening} is expected to hasten progression by {_days(-benefit.mean)} ({futures}; {odds}): harm."
    odds = f"probability of a gain {_share(benefit.probability)}, of a loss {_share(benefit.loss)}"
    shift = f"{_days(abs(benefit.mean))} {'later' if benefit.mean >= 0.0 else 'earlier'}"
    reason = _reason(benefit, horizon)
    return f"{opening} has its progression {shift} on average ({futures}; {odds}): cannot tell, {reason}."


def _reason(benefit: Benefit, horizon: float) -> str:
    """Why there is no verdict, and what would help where something does."""
    alike = 1.0 - benefit.probability - benefit.loss
    if not math.isfinite(benefit.mcse):
        return "since one posterior draw has no Monte-Carlo error"
    if max(benefit.probability, benefit.loss) >= PROBABILITY:
        return (
            f"since this mean is not clear of its Monte-Carlo error of {_days(benefit.mcse)}; more draws may settle it"
        )
    if alike >= 0.5:
        return f"since in {100.0 * alike:.0f} % of futures both do equally well"
    return f"since neither outcome reaches a probability of {PROBABILITY:g}"


def _share(value: float) -> str:
    """Rounded down, so that a share that misses a threshold is never printed as having reached it."""
    return f"{math.floor(100.0 * value + 1e-9) / 100.0:.2f}"


def _whole(value: float) -> str:
    return f"{round(value):d}"


def _days(value: float) -> str:
    """Days as a reader says them: whole, with one decimal under 10 where it is not whole."""
    number = f"{value:.1f}".removesuffix(".0") if abs(value) < 9.95 else _whole(value)
    return f"{number} day" if number == "1" else f"{number} days"


def as_json(benefit: Benefit) -> dict[str, Any]:
    """Benefit under the names of the JSON; a Monte-Carlo error that cannot be known is null."""
    mcse = benefit.mcse if math.isfinite(benefit.mcse) else None
    days = {"mean": benefit.mean, "mcse": mcse, "q05": benefit.q05, "q95": benefit.q95}
    return {"probability": benefit.probability, "gain_days": days, "verdict": benefit.verdict, "loss": benefit.loss}
