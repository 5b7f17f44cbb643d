"""Rechallenge: what a forecast tells of giving the drug again: the probability of a response, and where that and failure come
from: what the tumour was made of when the drug was stopped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.forecast.trace import NEAR

if TYPE_CHECKING:
    from persist.forecast.endpoints import Response
    from persist.forecast.under import Futures


def rechallenge(future: Futures, horizon: float, rule: Response, within: float) -> dict[str, Any] | None:
    """Response after the first restart of the drug: its ``probability`` among the paths of which a burden before is known and
    that are followed for as long as it counts and may have to be confirmed (null: none is), the shares of all paths that
    restart, and that are so ``followed``; the means of the shares of P and R ``at_stop``, of those that respond and of the
    others. None where no path restarts.
    """
    again = future.restarted < horizon - NEAR
    if not again.any():
        return None
    followed = (future.restarted + within + rule.confirm_days <= horizon + NEAR) & np.isfinite(future.before_restart)
    answers = np.isfinite(future.responded)
    kinds = {"responders": followed & answers, "others": followed & ~answers}
    return {
        "probability": float(answers[followed].mean()) if followed.any() else None,
        "restarts": float(again.mean()),
        "followed": float(followed.mean()),
        "within_days": within,
        "fall": rule.fall,
        "confirm_days": rule.confirm_days,
        "at_stop": {kind: _shares(future, which) for kind, which in kinds.items()},
    }


def _shares(future: Futures, which: np.ndarray) -> dict[str, float] | None:
    """Mean shares of P and R when the drug was stopped; None of no paths, and where the stop lies before what is followed."""
    if not which.any() or not np.isfinite(future.resistant_at_stop[which]).all():
        return None
    parts = {"persister": future.persister_at_stop, "resistant": future.resistant_at_stop}
    return {name: float(part[which].mean()) for name, part in parts.items()}


def rule_in_words(asked: dict[str, Any]) -> str:
    """What counts as a response, from the settings of a forecast."""
    days = asked["confirm_days"]
    again = f", confirmed {days:g} days later" if days >= 1.0 else ", confirmed at the next visit" if days else ""
    return (
        f"measured burden down by {100.0 * asked['fall']:g} % from the last value before the drug was given again{again}, "
        f"within {asked['within_days']:g} days, of the futures that restart in time"
    )


def sentences(plans: dict[str, Any]) -> list[str]:
    """Of every plan with a restart, where response and failure come from: what the tumour was when the drug was stopped."""
    said = []
    for plan, row in plans.items():
        found = row.get("rechallenge")
        parts = {kind: shares for kind, shares in (found or {}).get("at_stop", {}).items() if shares}
        names = {"responders": "futures that respond", "others": "the others"}
        told = [
            f"{names[kind]} had {_percent(part['persister'])} persisters and {_percent(part['resistant'])} resistant cells"
            for kind, part in parts.items()
        ]
        if told:
            said.append(f'When the drug was stopped before its restart under "{plan}", {"; ".join(told)}.')
    return said


def _percent(share: float) -> str:
    return "under 1 %" if 0.0 < share < 0.01 else f"{100.0 * share:.0f} %"
