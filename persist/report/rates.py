"""Figures of rates: what the data say of one against what its prior said, on a logarithmic axis."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.report.ink import BLACK, BLUE, GREY, log_axis, svg

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

BINS = 70


def against_prior(name: str, label: str, posterior: np.ndarray, prior: np.ndarray) -> Markup:
    """Densities of log |x| of posterior and prior draws, and the 90 % interval of each as a bar."""
    return svg(name, label, (2.9, 1.35), lambda figure: _draw(figure, np.abs(posterior), np.abs(prior)))


def _draw(figure: Figure, posterior: np.ndarray, prior: np.ndarray) -> None:
    axes = figure.subplots()
    figure.subplots_adjust(left=0.04, right=0.96, top=0.97, bottom=0.24)
    low, high = _range(posterior, prior)
    edges = np.geomspace(low, high, BINS + 1)
    middle = np.sqrt(edges[1:] * edges[:-1])
    after, before = density(posterior, edges), density(prior, edges)
    axes.fill([middle[0], *middle, middle[-1]], [0.0, *after, 0.0], color=BLUE, alpha=0.35, linewidth=0)
    axes.plot(middle, after, color=BLUE, linewidth=1.6)
    axes.plot(middle, before, color=GREY, linewidth=1.4, linestyle=(0, (4, 2)))
    top = max(after.max(), before.max())
    for draws, height, colour in ((posterior, -0.08, BLUE), (prior, -0.2, GREY)):
        ends = np.quantile(draws, (0.05, 0.5, 0.95))
        axes.plot(ends[[0, 2]], [height * top] * 2, color=colour, linewidth=2.6, solid_capstyle="butt")
        axes.plot(ends[1], height * top, "|", color=BLACK, markersize=6)
    axes.set_xscale("log")
    axes.set_xlim(low, high)
    axes.set_ylim(-0.3 * top, 1.08 * top)
    log_axis(axes.xaxis, low, high, ticks=5)
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)


def _range(posterior: np.ndarray, prior: np.ndarray) -> tuple[float, float]:
    ends = [np.quantile(draws[draws > 0.0], (0.01, 0.99)) for draws in (posterior, prior)]
    low, high = min(end[0] for end in ends), max(end[1] for end in ends)
    spread = max(high / low, 1.5) ** 0.08
    return float(low / spread), float(high * spread)


def density(draws: np.ndarray, edges: np.ndarray) -> np.ndarray:
    """Density of log x over bins of equal width on that scale, smoothed by Silverman's rule; ``(n_bins,)``."""
    width = np.log(edges[1] / edges[0])
    counts = np.histogram(draws, edges)[0] / draws.size
    spread = np.std(np.log(draws[draws > 0.0]))
    smoothing = max(0.9 * spread * draws.size**-0.2 / width, 0.5)
    reach = np.arange(len(counts))
    kernel = np.exp(-0.5 * ((reach[:, None] - reach) / smoothing) ** 2)
    smooth: np.ndarray = (kernel / kernel.sum(axis=0)) @ counts / width
    return smooth
