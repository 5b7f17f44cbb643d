"""Pairs of parameters that a series shows only together, and whose confusion changes a decision.

    rank correlation (Spearman) of the posterior draws; the priors are independent, so it is the data's

Told are those of `PAIRS` with a size of at least `STRONG` that the effective draws can tell from none (Fisher's z).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from arviz_stats.base import array_stats  # type: ignore[attr-defined]

if TYPE_CHECKING:
    from collections.abc import Mapping

STRONG = 0.5
SURE = 3.0
"""Standard errors by which a correlation must differ from 0."""

PAIRS = (
    ("reversion", "washout_days"),
    ("washout_days", "effect_half"),
    ("reversion", "reversion_block"),
    ("reversion", "net_growth_s"),
    ("reversion", "death_p"),
    ("persister_0", "tolerance_drug"),
    ("persister_0", "resistant_0"),
    ("tolerance_drug", "resistant_0"),
    ("tolerance_drug", "shed_p"),
    ("resistant_0", "cost_r"),
    ("resistant_0", "kill_r_share"),
    ("resistant_0", "mutation"),
    ("cost_r", "kill_r_share"),
    ("net_growth_s", "settled_burden"),
    ("decline_s", "onset_days"),
    ("noise_sd", "wander_sd"),
    ("stop_share", "resistant_0"),
    ("stop_share", "tolerance_drug"),
)
"""How fast a pause pays back; persisters or resistant cells, many that shed little or few that shed much; how the clone is
held; growth or room; error or wander; a drug that was stopped before, or cells that grew on it."""

EXTREMES: dict[str, tuple[str, str]] = {
    "reversion": ("a slow return of persisters", "a fast return of persisters"),
    "washout_days": ("a fast fading of the drug", "a slow fading of the drug"),
    "reversion_block": ("persisters that return on drug too", "persisters that return only off drug"),
    "net_growth_s": ("slow growth without drug", "fast growth without drug"),
    "death_p": ("persisters that seldom die", "persisters that die often"),
    "persister_0": ("few persisters at the start", "many persisters at the start"),
    "tolerance_drug": ("a drug that makes few persisters", "a drug that makes many persisters"),
    "resistant_0": ("few resistant cells at the start", "many resistant cells at the start"),
    "cost_r": ("a low cost of resistance", "a high cost of resistance"),
    "kill_r_share": ("resistant cells that the drug hardly slows", "resistant cells that the drug slows"),
    "mutation": ("rare mutation", "frequent mutation"),
    "settled_burden": ("little room to grow", "much room to grow"),
    "decline_s": ("a fast decline on drug", "a slow decline on drug"),
    "onset_days": ("a fast onset of the drug", "a slow onset of the drug"),
    "effect_half": ("an effect that outlasts the drug", "an effect that goes with the drug"),
    "shed_p": ("persisters that shed little of the marker", "persisters that shed much of the marker"),
    "noise_sd": ("small errors of measurement", "large errors of measurement"),
    "wander_sd": ("a small wander", "a large wander"),
    "stop_share": ("a drug that was stopped long before the record", "a drug that was stopped when recorded"),
}
"""What a low and a high value of a parameter means."""


def correlations(draws: Mapping[str, np.ndarray]) -> list[dict[str, Any]]:
    """Strong pairs with their sentences, strongest first; ``draws`` ``(chains, draws)`` by name."""
    found = []
    for one, other in PAIRS:
        if one not in draws or other not in draws or not all(np.ptp(draws[name]) > 0.0 for name in (one, other)):
            continue
        value = rank_correlation(draws[one], draws[other])
        size = min(_effective(draws[one]), _effective(draws[other]))
        sure = size > 4.0 and np.arctanh(min(abs(value), 1.0 - 1e-12)) * np.sqrt(size - 3.0) > SURE
        if abs(value) >= STRONG and sure:
            found.append({"pair": [one, other], "value": value, "sentence": sentence(one, other, value)})
    return sorted(found, key=lambda row: -abs(float(row["value"])))


def rank_correlation(one: np.ndarray, other: np.ndarray) -> float:
    """Spearman's correlation of two arrays of one shape (draws have no ties)."""
    ranks = np.stack([np.argsort(np.argsort(part.ravel())) for part in (one, other)]).astype(float)
    return float(np.corrcoef(ranks)[0, 1])


def _effective(draws: np.ndarray) -> float:
    return float(array_stats.ess(draws, chain_axis=0, draw_axis=1, method="bulk"))  # type: ignore[no-untyped-call]


def sentence(one: str, other: str, value: float) -> str:
    """Which two stories the series cannot tell apart."""
    low, high = EXTREMES[one]
    partner = EXTREMES[other] if value > 0.0 else EXTREMES[other][::-1]
    return (
        f"the series is explained alike by {low} with {partner[0]} and by {high} with {partner[1]} "
        f"({one} and {other}: rank correlation {value:+.2f})"
    )
