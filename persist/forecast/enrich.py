"""Selecting patients by a biomarker: whom a cut-off selects, how many of them respond, and whether the test is worth it.

Of patients with a biomarker x and a response r (0 or 1), those are selected who lie beyond a cut-off on its better side, s = 1.
With w the harm of a treatment without response, in responses, and the cost of a test in responses too, the net benefit by
patient (Vickers & Elkin 2006, 10.1177/0272989X06295361; w is the odds of their threshold probability) is

    by test  E[s r] - w E[s (1 - r)] - cost          treat all  E[r] - w E[1 - r]          treat none  0

and the value of the test is what it has over the better of the two others. One more response needs 1 / E[r | s] patients who
are treated, of those selected, if without treatment none responds, and 1 / E[s r] who are tested.

Only arithmetic of arrays: ``biomarker`` and ``response`` ``(laws, patients)``, a row a draw of the population's law. What is
told is the mean over all patients and 5 % and 95 % points over the laws; the chance of who is among a row's patients is in
them too.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

SHARES = (0.9, 0.8, 0.7, 0.6, 0.5, 0.4, 0.3, 0.2, 0.1)
"""Shares of patients that the cut-offs select, as nearly as the values of the biomarker allow."""


class Price(NamedTuple):
    """The ``harm`` of a treatment without response, and the ``cost`` of a test, both in responses."""

    harm: float = 0.25
    cost: float = 0.0


def direction(biomarker: np.ndarray, response: np.ndarray) -> int:
    """1 where patients with more of it respond more often, else -1."""
    return 1 if np.mean((biomarker - biomarker.mean()) * response) >= 0.0 else -1


def enriched(
    biomarker: np.ndarray, response: np.ndarray, price: Price, shares: tuple[float, ...] = SHARES
) -> dict[str, Any]:
    """Who responds among all, the ``direction`` ("high" or "low"), and ``rows``, one a cut-off from the mildest on."""
    sign, hit = direction(biomarker, response), response.astype(float)
    cuts = dict.fromkeys(float(cut) for cut in np.quantile(sign * biomarker, 1.0 - np.array(shares), method="higher"))
    rows = [_row(sign * biomarker >= cut, hit, price) | {"cut": sign * cut} for cut in cuts]
    return {
        "direction": "high" if sign > 0 else "low",
        "rate": _ratio(hit, np.ones_like(hit)),
        "treat_all": _told(_benefit(np.ones_like(hit), hit, price)),
        "rows": [row for row in rows if row["selected"]["mean"] < 1.0],
    }


def _row(selected: np.ndarray, hit: np.ndarray, price: Price) -> dict[str, Any]:
    """What one cut-off comes to."""
    chosen, rest = selected.astype(float), 1.0 - selected
    found, everyone = chosen * hit, np.ones_like(hit)
    tested = _benefit(chosen, hit, price) - price.cost
    over_all = tested - _benefit(everyone, hit, price)
    rate = _ratio(found, chosen)
    return {
        "selected": _ratio(chosen, everyone),
        "rate": rate,
        "rate_of_others": _ratio(rest * hit, rest),
        "treated_for_one": _inverse(rate),
        "tested_for_one": _inverse(_ratio(found, everyone)),
        "net_benefit": _told(tested),
        "over_treating_all": _told(over_all),
        "over_treating_none": _told(tested),
        "value": float(min(over_all.mean(), tested.mean())),
        "probability_of_value": float(np.mean(np.minimum(over_all, tested) > 0.0)),
    }


def _benefit(treated: np.ndarray, hit: np.ndarray, price: Price) -> np.ndarray:
    """Net benefit by patient ``(laws,)`` of treating some, a test aside."""
    return np.asarray((treated * (hit - price.harm * (1.0 - hit))).mean(axis=1))


def _ratio(part: np.ndarray, whole: np.ndarray) -> dict[str, float | None]:
    """Of how many of the whole: of all patients, and 5 % and 95 % points of laws in which there are any."""
    sums = whole.sum(axis=1)
    there = sums > 0.0
    each = part.sum(axis=1)[there] / sums[there]
    return _told(each, float(part.sum() / whole.sum()) if there.any() else None)


def _inverse(share: dict[str, float | None]) -> dict[str, float | None]:
    """One over a share; None where that is 0."""
    turned = {"mean": share["mean"], "q05": share["q95"], "q95": share["q05"]}
    return {name: 1.0 / value if value else None for name, value in turned.items()}


def _told(each: np.ndarray, mean: float | None = None) -> dict[str, float | None]:
    if not len(each):
        return dict.fromkeys(("mean", "q05", "q95"))
    low, high = (float(edge) for edge in np.quantile(each, (0.05, 0.95)))
    return {"mean": float(each.mean()) if mean is None else mean, "q05": low, "q95": high}
