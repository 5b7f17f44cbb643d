"""How well a fit foretells values that are held out, without fitting again, by importance sampling from its posterior.

    leave one out     log p(y_i | y_-i),                  weights 1 / p(y_i | y_-i, theta)
    leave future out  log p(y_i+1..i+h | y_1..i),         weights 1 / p(y_i+1..n | y_1..i, theta), i = L .. n - h

Weights are Pareto-smoothed; their k-hat says where they fail: over min(1 - 1 / log10 S, 0.7) with S draws (Vehtari et al. 2024,
jmlr.org/papers/v25/19-556.html). Leave-future-out goes backwards in time (Buerkner, Gabry & Vehtari 2020,
10.1080/00949655.2020.1783262): the more values a cut leaves out, the further its posterior lies from that of all values. Where
the weights fail it goes on from a new fit of the values up to there, if it is given one, else it says that they fail.

Measured exposures are given throughout, those after a cut too: what is foretold is the burden under the exposure that was.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, NamedTuple

import arviz as az
import numpy as np
from arviz_stats.base import array_stats  # type: ignore[attr-defined]
from xarray import DataArray, Dataset, DataTree

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.left_out import Terms

LEAST_DRAWS = 30
"""Fewer draws have no tail from which a k-hat could be told."""
ALIKE = 0.05
"""Nats within which all weights are alike: they change no quantile to speak of, and a k-hat of their tail would say nothing."""
FIRST_VALUES, FIRST_SHARE = 8, 1 / 3
"""The first cut knows a third of the values, and eight at least."""


class Scores(NamedTuple):
    """Log predictive density of each value that was held out (or each cut), nats, with the ``khat`` of its weights, each
    ``(n,)``; the ``limit`` of k-hat; and the cuts at which the model was fitted anew.
    """

    elpd: np.ndarray
    khat: np.ndarray
    limit: float
    refitted: tuple[int, ...] = ()

    @property
    def holds(self) -> np.ndarray:
        """Where the weights can be relied on, ``(n,)``."""
        return np.asarray(self.khat <= self.limit)


def khat_limit(draws: int) -> float:
    """k-hat up to which the weights of so many draws can be relied on."""
    return float(min(1.0 - 1.0 / np.log10(draws), 0.7))


def first_cut(values: int) -> int:
    """How many values the first cut of a series knows, unless told otherwise."""
    return max(FIRST_VALUES, int(np.ceil(FIRST_SHARE * values)))


def leave_one_out(terms: Terms) -> Scores:
    """PSIS-LOO of every value, by ArviZ, from terms that are conditional on all other values."""
    draws, _ = terms.left_out.shape
    share = terms.effective / draws
    pairs = [smoothed(-column, share) for column in terms.left_out.T]
    weights, khat = (np.stack(part, axis=-1) for part in zip(*pairs, strict=True))
    dims = ("chain", "draw", "value")
    found = _quietly(
        az.loo,
        DataTree.from_dict({"log_likelihood": Dataset({"burden": (dims, terms.left_out[None])})}),
        pointwise=True,
        reff=share,
        log_weights=DataArray(weights[None], dims=dims),
        pareto_k=DataArray(khat, dims="value"),
    )
    return Scores(np.asarray(found.elpd_i), np.asarray(found.pareto_k), khat_limit(draws))


def leave_future_out(terms: Terms, first: int, ahead: int = 1, refit: Callable[[int], Terms] | None = None) -> Scores:
    """PSIS-LFO of the ``ahead`` values after each cut, together; the first cut knows ``first`` values.

    ``refit(cut)`` gives the terms under a fit of the first ``cut`` values. Fractions measured after a cut are left out with the
    values. No cuts at all if the series is too short.
    """
    base, later, share = terms.ahead, terms.ahead + terms.between, terms.effective / len(terms.ahead)
    known = values = base.shape[1]
    rows, anew = [], []
    for cut in range(values - ahead, first - 1, -1):
        weight, khat = smoothed(-later[:, cut:known].sum(axis=1), share)
        if refit is not None and not khat <= khat_limit(len(base)):
            new = refit(cut)
            base, later, share, known = new.ahead, new.ahead + new.between, new.effective / len(new.ahead), cut
            weight, khat = smoothed(np.zeros(len(base)), share)
            anew.append(cut)
        rows.append((float(_log_sum(weight + base[:, cut : cut + ahead].sum(axis=1))), khat))
    elpd, khats = np.array(rows[::-1]).reshape(-1, 2).T
    return Scores(elpd, khats, khat_limit(len(terms.ahead)), tuple(anew[::-1]))


def smoothed(log_ratio: np.ndarray, share: float) -> tuple[np.ndarray, float]:
    """Log weights of some draws ``(n_draws,)``, Pareto-smoothed and summing to 1, and their k-hat (0 where all weigh alike).

    ``share`` is the effective number of draws over their number.
    """
    if np.ptp(log_ratio) < ALIKE:
        return np.full(len(log_ratio), -np.log(len(log_ratio))), 0.0
    weight, khat = array_stats.psislw(-log_ratio, r_eff=share)  # type: ignore[no-untyped-call]
    return np.asarray(weight), float(khat)


def _log_sum(logs: np.ndarray) -> Any:
    """log sum exp, stable."""
    top = logs.max()
    return top + np.log(np.exp(logs - top).sum())


def _quietly(call: Callable[..., Any], *given: Any, **named: Any) -> Any:
    """A call of ArviZ without its warnings: what they say is told in the result."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return call(*given, **named)
