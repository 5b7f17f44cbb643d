"""Treatment beyond progression: from the day on which progression is seen on, how long the true burden keeps under a limit, and
the burden-time, of each plan and against the reference.

    burden-time = integral of y(t) dt    unit x days, y the true burden (without wander and error of measurement)

The limit is a multiple of the burden on the day on which progression was seen. Plans are compared from progression on only
where they are the same up to there, as `until progression: on, then ...` and `on` are, each with the first plan that has this
first part. Progression is then seen on the same day in every future under both, and what differs is what followed, on the same
chance. Progression that is seen shortly before the horizon cannot show what follows: the limit is asked for within
`FOLLOWED_DAYS`, of the futures that are followed for so long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.forecast import decide
from persist.forecast.trace import NEAR
from persist.treatment.schedule import plan_schedule

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persist.forecast.under import Futures
    from persist.treatment.schedule import Plan

LEVELS = {"q05": 0.05, "q50": 0.5, "q95": 0.95}
FOLLOWED_DAYS = 90.0
"""Days after progression within which the limit is asked for."""


def burden_time(area: np.ndarray) -> dict[str, float]:
    """Mean and quantiles of the area under the burden, unit x days."""
    return {"mean": float(area.mean())} | {name: float(np.quantile(area, level)) for name, level in LEVELS.items()}


def after_progression(future: Futures, horizon: float) -> dict[str, Any] | None:
    """Of the futures in which progression is seen (None: there are none): their share of all, and the share that is then
    ``followed`` for `FOLLOWED_DAYS`, ``within_days``; of these, the share that reach the limit in that time, and the days to
    there (quantiles that are not reached in it are null; all is null where none is followed); and the burden-time from
    progression to the horizon, with the days that this is.
    """
    seen = future.seen < np.inf
    if not seen.any():
        return None
    followed = future.seen + FOLLOWED_DAYS <= horizon + NEAR
    days = future.reached[followed] - future.seen[followed]
    in_time = np.where(days <= FOLLOWED_DAYS + NEAR, days, np.inf)
    return {
        "seen": float(seen.mean()),
        "followed": float(followed.mean()),
        "within_days": FOLLOWED_DAYS,
        "reached": float(np.isfinite(in_time).mean()) if followed.any() else None,
        "days_to_limit": {name: _reached(in_time, level) for name, level in LEVELS.items()},
        "burden_time": burden_time(future.area_after[seen]),
        "days_to_horizon": {"mean": float((horizon - future.seen[seen]).mean())},
    }


def _reached(days: np.ndarray, level: float) -> float | None:
    """A quantile of days ``(n,)``; None where that is not reached, or where there are none."""
    value = float(np.quantile(days, level, method="inverted_cdf")) if len(days) else np.inf
    return value if np.isfinite(value) else None


def compared(futures: Sequence[Futures], plans: Sequence[Plan], horizon: float, effective: float) -> dict[str, Any]:
    """Every plan against the first one that is the same up to progression, its ``reference`` (which has no entry itself), as
    of `against`; where there is nothing to compare ``reference`` is None, and the ``reason`` says why in words.
    """
    groups: dict[Any, list[int]] = {}
    for number, plan in enumerate(plans):
        groups.setdefault(_first_part(plan, horizon), []).append(number)
    found: dict[int, dict[str, Any]] = {}
    for first, *others in groups.values():
        if not others:
            found[first] = _nothing("no other plan gives the same treatment up to progression")
        for other in others:
            both = futures[other], futures[first]
            told = against(*both, horizon, effective)
            found[other] = _nothing(_why(*both)) if told is None else {"reference": plans[first].name} | told
    return {plans[number].name: found[number] for number in sorted(found)}


def _first_part(plan: Plan, horizon: float) -> tuple[Any, ...]:
    """What a plan gives up to progression, the same for all words that say the same."""
    doses = plan_schedule(plan, 0.0, horizon)
    other = plan.other
    beside = () if other is None or not len(plan_schedule(other, 0.0, horizon).start) else _first_part(other, horizon)
    return *(tuple(part.tolist()) for part in doses), plan.rule, min(plan.ruled_from, horizon), beside


def _why(plan: Futures, reference: Futures) -> str:
    """Why two plans with the same first part are not compared."""
    if np.isfinite(plan.seen).any() or np.isfinite(reference.seen).any():
        return "progression is not seen on the same day in every future"
    return "progression is seen in no future"


def _nothing(reason: str) -> dict[str, Any]:
    return {"reference": None, "reason": reason}


def against(plan: Futures, reference: Futures, horizon: float, effective: float) -> dict[str, Any] | None:
    """A plan against a reference that is the same up to progression, all futures counted (without progression they do not
    differ): ``to_limit`` as a benefit, days gained up to the limit; ``burden_time``, the difference of the areas over the
    horizon, with the probability that the plan has less. None where progression is not seen on the same day in every future,
    or in none.
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


def sentences(after: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """What a forecast with these settings says of what follows progression: every comparison, and of a plan that waits for
    progression the reason why there is none. Files from before the reasons have neither.
    """
    said = []
    for plan, told in after.items():
        if told is None or "reference" not in told:
            continue
        if told["reference"] is not None:
            said.append(sentence(plan, told["reference"], told, asked["burden_limit"], asked["horizon"]))
        elif "until progression" in " ".join(asked["plans"][plan].lower().split()):
            said.append(f'Of what follows progression under "{plan}" nothing can be compared: {told["reason"]}.')
    return said


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
