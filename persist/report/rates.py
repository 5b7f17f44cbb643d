"""Figures of rates: what the data say of one against what its prior said, on the scale on which the prior is normal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.inference.priors import Prior, score
from persist.report.ink import BLACK, BLUE, GREY, svg
from persist.report.words import number

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

BINS = 70
PRIOR_ENDS = (-1.6449, 0.0, 1.6449)
LEAST_GAP = 0.19
"""Ticks stand apart by this share of the axis."""


def against_prior(name: str, label: str, z: np.ndarray, prior: Prior) -> Markup:
    """Densities of the posterior's scores ``(n,)`` and of the prior, and the 90 % interval of each as a bar."""
    return svg(name, label, (2.9, 1.35), lambda figure: _draw(figure, z, prior))


def _draw(figure: Figure, z: np.ndarray, prior: Prior) -> None:
    axes = figure.subplots()
    figure.subplots_adjust(left=0.04, right=0.96, top=0.97, bottom=0.24)
    low, high = min(-2.5, float(np.quantile(z, 0.01)) - 0.3), max(2.5, float(np.quantile(z, 0.99)) + 0.3)
    edges = np.linspace(low, high, BINS + 1)
    middle = 0.5 * (edges[1:] + edges[:-1])
    after, before = density(z, edges), np.exp(-0.5 * middle**2) / np.sqrt(2.0 * np.pi)
    axes.fill([middle[0], *middle, middle[-1]], [0.0, *after, 0.0], color=BLUE, alpha=0.35, linewidth=0)
    axes.plot(middle, after, color=BLUE, linewidth=1.6)
    axes.plot(middle, before, color=GREY, linewidth=1.4, linestyle=(0, (4, 2)))
    top = max(after.max(), before.max())
    for ends, height, colour in ((np.quantile(z, (0.05, 0.5, 0.95)), -0.08, BLUE), (PRIOR_ENDS, -0.2, GREY)):
        axes.plot([ends[0], ends[2]], [height * top] * 2, color=colour, linewidth=2.6, solid_capstyle="butt")
        axes.plot(ends[1], height * top, "|", color=BLACK, markersize=6)
    axes.set_xlim(low, high)
    axes.set_ylim(-0.3 * top, 1.08 * top)
    axes.set_xticks(*ticks(prior, low, high))
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def ticks(prior: Prior, low: float, high: float) -> tuple[list[float], list[str]]:
    """Scores between ``low`` and ``high`` at which round values stand, and these values as text; powers of ten first."""
    taken: list[tuple[float, str]] = []
    for leading in (1.0, 3.0, 2.0, 5.0):
        values = leading * 10.0 ** np.arange(-12.0, 16.0)
        if prior.kind == "negative-log-normal":
            values = -values
        if prior.kind == "logit-normal":
            near = prior.upper - values
            values = np.concatenate([values, near])
            values = values[(values > prior.lower) & (values < prior.upper)]
        at = np.asarray(score(prior, values))
        for z, value in zip(at, values, strict=True):
            apart = all(abs(z - other) >= LEAST_GAP * (high - low) for other, _ in taken)
            if low <= z <= high and apart:
                taken.append((float(z), number(float(value))))
    return [z for z, _ in taken], [text for _, text in taken]


def density(draws: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density of draws over bins of equal width, smoothed by Silverman's rule; ``(n_bins,)``."""
    width = edges[1] - edges[0]
    counts = np.histogram(draws, edges)[0] / draws.size
    smoothing = max(0.9 * np.std(draws) * draws.size**-0.2 / width, 0.5)
    reach = np.arange(len(counts))
    kernel = np.exp(-0.5 * ((reach[:, None] - reach) / smoothing) ** 2)
    smooth: np.ndarray = (kernel / kernel.sum(axis=0)) @ counts / width
    return smooth
