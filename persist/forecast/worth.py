"""What a further measurement is worth: the value of sample information, from draws at hand (preposterior analysis).

With G_a(i) the gain of action a in draw i (days), and y a value that may be measured,

    EVSI = E_y[max_a E[G_a | y]] - max_a E[G_a]        EVPI = E_i[max_a G_a(i)] - max_a E[G_a]

E[G_a | y] is the mean over draws j with the weights p(y | j), normalised. Taken on the draws that y came from
and G was learned on, it is too good. So one half of the draws decides, with and without the value, and the other half says what
came of it:

    EVSI = mean over i of  G_{a(y_i)}(i) - G_a(i),    y_i measured in draw i,  a(y) and a by the draws of the other half

which is without bias for one who knows half of the draws, never over the EVPI in the same draws, and under 0 by chance only.

NumPy; gains ``(n_actions, n_draws)``, days; data ``(n_draws, n_data)``, whose rows are of the draws.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.forecast.choose import halves

if TYPE_CHECKING:
    from collections.abc import Callable

TOGETHER = 512
"""Data that are weighed together."""


class Worth(NamedTuple):
    """Of each draw ``(n_draws,)`` what a value adds to its gain, and what perfect knowledge of the draw would (of its chance
    too, where gains are means of a few futures: then a bound); what the value seems to add if all draws decide and value
    (``naive``); and how many draws bear on a decision (median over the data).
    """

    added: np.ndarray
    perfect: np.ndarray
    naive: float
    effective: float


def worth(gains: np.ndarray, data: np.ndarray, density: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Worth:
    """The worth of one of the ``data``; ``density(values, draws)`` is log p(value | draw) up to a number of the value
    ``(n_values, n_of_draws)``, for places of ``draws``. ValueError for fewer than four draws.
    """
    added, perfect = np.empty(gains.shape[1]), np.empty(gains.shape[1])
    counts = []
    for side in halves(gains.shape[1]):
        deciding, valuing = np.flatnonzero(side), np.flatnonzero(~side)
        without = int(gains[:, deciding].mean(axis=1).argmax())
        expected, count = _expected(gains, data[valuing].ravel(), density, deciding)
        action = expected.argmax(axis=0).reshape(len(valuing), -1)
        base = gains[without, valuing]
        added[valuing] = gains[action, valuing[:, None]].mean(axis=1) - base
        perfect[valuing] = gains[:, valuing].max(axis=0) - base
        counts.append(count)
    everyone = np.arange(gains.shape[1])
    best = _expected(gains, data.ravel(), density, everyone)[0].max(axis=0).mean()
    return Worth(added, perfect, float(best - gains.mean(axis=1).max()), float(np.median(np.concatenate(counts))))


def _expected(
    gains: np.ndarray, values: np.ndarray, density: Callable[[np.ndarray, np.ndarray], np.ndarray], draws: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """E[G_a | value] ``(n_actions, n_values)`` by some draws, and how many of them count for each."""
    means, counts = [], []
    for begin in range(0, len(values), TOGETHER):
        log = density(values[begin : begin + TOGETHER], draws)
        weight = np.exp(log - log.max(axis=1, keepdims=True))
        weight /= weight.sum(axis=1, keepdims=True)
        means.append(gains[:, draws] @ weight.T)
        counts.append(1.0 / (weight**2).sum(axis=1))
    return np.concatenate(means, axis=1), np.concatenate(counts)
