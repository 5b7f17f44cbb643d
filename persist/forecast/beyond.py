"""Treatment beyond progression: from the day on which progression is seen on, how long the true burden keeps under a limit, and
the burden-time, of each plan and against the reference.

    burden-time = integral of y(t) dt    unit x days, y the true burden (without wander and error of measurement)

The limit is a multiple of the burden on the day on which progression was seen. Plans are compared from progression on only
where that is the same day in every future under both, as it is of `until progression: on, then ...` and `on`; what differs then
is what followed, on the same chance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.forecast import decide

if TYPE_CHECKING:
    from persist.forecast.under import Futures

LEVELS = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


def burden_time(area: np.ndarray) -> dict[str, float]:
    """Mean and quantiles of the area under the burden, unit x days."""
    return {"mean": float(area.mean())} | {name: float(np.quantile(area, level)) for name, level in LEVELS.items()}


def after_progression(future: Futures, horizon: float) -> dict[str, Any] | None:
    """Of the futures in which progression is seen (None: there are none): their share; the share of them that reach the limit,
    and the days from progression to there (quantiles that are not reached within the horizon are null); burden-time from there
    on.
    """
    seen = future.seen < np.inf
    if not seen.any():
        return None
    days = (future.reached[seen] - future.seen[seen]).ravel()
    found = {name: float(np.quantile(days, level, method="inverted_cdf")) for name, level in LEVELS.items()}
    return {
        "seen": float(seen.mean()),
        "reached_by_horizon": float(np.isfinite(days).mean()),
        "days_to_limit": {name: value if np.isfinite(value) else None for name, value in found.items()},
        "burden_time": burden_time(future.area_after[seen]),
    }


def against(plan: Futures, reference: Futures, horizon: float, effective: float) -> dict[str, Any] | None:
    """A plan against the reference from the same progression on, all futures counted (without progression they do not differ):
    ``to_limit`` as a benefit, days gained up to the limit; ``burden_time``, the difference of the areas over the horizon, with
    the probability that the plan has less. None where progression is not seen on the same day in every future, or in none.
    """
    if not np.array_equal(plan.seen, reference.seen) or not np.isfinite(plan.seen).any():
        return None
    later = decide.judge(decide.gain(plan.reached, reference.reached, horizon), effective=effective)
    more = decide.judge(plan.area - reference.area, effective=effective)
    area = decide.as_json(more)
    return {
        "to_limit": decide.as_json(later),
        "burden_time": area["gain_days"] | {"probability_less": more.loss, "probability_more": more.probability},
    }


def sentence(plan: str, reference: str, told: dict[str, Any], limit: float, horizon: float) -> str:
    """The comparison in words."""
    gained, area = told["to_limit"]["gain_days"], told["burden_time"]
    way = "later" if gained["mean"] >= 0.0 else "earlier"
    return (
        f'From progression on, "{plan}" reaches {limit:g} times the burden at progression {abs(gained["mean"]):.0f} days '
        f'{way} on average than "{reference}" within {horizon:g} days (90 % of futures: {gained["q05"]:.0f} to '
        f"{gained['q95']:.0f} days), with a probability of {area['probability_less']:.2f} of less burden-time (mean "
        f"difference {area['mean']:+.3g})."
    )
