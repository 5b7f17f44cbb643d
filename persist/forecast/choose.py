"""Choosing one of many plans by posterior draws, and what it gains, without the winner's curse.

The plan that does best on some draws owes part of that to those draws. So it is chosen on one half of them and valued on the
other, and the other way round (cross-fitting): with G_a(i) the gain of plan a over the reference in draw i,

    a_f = argmax over the pool of half f of the mean of G_a over half f,    f = 1, 2
    honest gain = mean over all i of G_{a of the other half}(i)        naive gain = max over a of the mean of G_a over all i

The honest gain is without bias for a plan that is chosen by half of the draws. Halves are of the order of the draws, which are
those of all chains one after another, so that hardly any autocorrelation reaches from one to the other.

NumPy; gains are ``(n_plans, n_draws, n_replicates)``, days.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np


class Choice(NamedTuple):
    """The plan that is ``best`` by all draws and those chosen by each of the ``halves``, as places among the plans; the
    ``honest`` gains of each draw ``(n_draws, n_replicates)``; the ``naive`` gain; and the ``regret``, how much the best of
    all plans (or the reference) does better on the valuing half. Days.
    """

    best: int
    halves: tuple[int, int]
    honest: np.ndarray
    naive: float
    regret: float


def halves(draws: int) -> np.ndarray:
    """Which draws are of each half, ``(2, n_draws)``. ValueError for fewer than two of each, which have no spread."""
    if draws < 4:
        raise ValueError(f"{draws} draws are too few to choose on some and value on others")
    first = np.arange(draws) < draws // 2
    return np.stack([first, ~first])


def choose(
    gains: np.ndarray, pools: np.ndarray, *, may: np.ndarray | None = None, reference: bool = True
) -> Choice | None:
    """The choice among plans; ``pools`` ``(2, n_plans)`` says which are open to each half, by what that half knows of them;
    ``may`` ``(n_plans,)`` which can be the best of all (those open to a half, by default), ``reference`` whether that one may
    be kept, and so counts for the regret. None where a half has no plan to choose from, or none can be the best.
    """
    may = pools.any(axis=0) if may is None else may & pools.any(axis=0)
    if not pools.any(axis=1).all() or not may.any():
        return None
    means, sides = gains.mean(axis=2), halves(gains.shape[1])
    by_half = np.stack([means[:, side].mean(axis=1) for side in sides])
    picked = [_highest(by_half[side], pools[side]) for side in (0, 1)]
    honest = np.where(sides[0][:, None], gains[picked[1]], gains[picked[0]])
    overall, open_to_all = means.mean(axis=1), pools.any(axis=0)
    best = _highest(overall, may)
    least = 0.0 if reference else -np.inf
    regret = [max(least, by_half[1 - side][open_to_all].max()) - by_half[1 - side][picked[side]] for side in (0, 1)]
    weight = sides[::-1].mean(axis=1)
    return Choice(best, (picked[0], picked[1]), honest, float(overall[best]), float(weight @ regret))


def _highest(values: np.ndarray, among: np.ndarray) -> int:
    """The place of the highest value among some; of several, the first."""
    return int(np.argmax(np.where(among, values, -np.inf)))
