"""The figure of a calibration: how far the ranks of every quantity stray from uniform, and the band that right ones stay in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from persist.report.ink import BLUE, GREY, PALE, VERMILION, picture

if TYPE_CHECKING:
    from pathlib import Path

    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 5
CELL = (2.1, 1.55)
"""Width and height of the panel of one quantity, inches."""


def save(result: dict[str, Any], path: Path) -> None:
    """Draw the JSON of `calibrate` (with at least one replicate) into an SVG or PNG file."""
    rows = math.ceil(len(result["parameters"]) / COLUMNS)
    picture(path, (COLUMNS * CELL[0], rows * CELL[1] + 0.6), lambda figure: draw(figure, result))


def draw(figure: Figure, result: dict[str, Any]) -> None:
    """One panel a quantity: ECDF of the ranks minus that of uniform ones, over the rank as a share of all."""
    quantities = result["parameters"]
    rows = math.ceil(len(quantities) / COLUMNS)
    panels = figure.subplots(rows, COLUMNS, sharex=True, sharey=True, squeeze=False)
    figure.subplots_adjust(left=0.07, right=0.99, top=1.0 - 0.3 / (rows + 0.4), bottom=0.55 / (rows + 0.4), hspace=0.4)
    share, low, high = difference_band(result)
    for axes, (name, one) in zip(panels.flat, quantities.items(), strict=False):
        axes.fill_between(share, low, high, step="post", color=PALE, linewidth=0)
        axes.axhline(0.0, color=GREY, linewidth=0.7)
        colour, width = (BLUE, 1.2) if one["ecdf_ok"] else (VERMILION, 1.8)
        axes.step(share, difference(one["ranks"], result["rank_max"]), where="post", color=colour, linewidth=width)
        axes.set_title(name if one["ecdf_ok"] else f"{name} (out)", fontsize=8.0, pad=3.0)
        axes.tick_params(labelsize=7.5)
    for place, axes in enumerate(panels.flat):
        axes.set_visible(place < len(quantities))
        axes.tick_params(labelbottom=place + COLUMNS >= len(quantities))
    _label(figure, panels[0, 0], result)


def _label(figure: Figure, axes: Axes, result: dict[str, Any]) -> None:
    """Names of the axes, and what the grey band is."""
    axes.set_xticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    family = 100 * result["band"]["family"]
    figure.supylabel("ECDF of the ranks minus uniform", fontsize=9.0)
    told = f"{result['replicates']} replicates; grey: where all ranks of a right program stay, with {family:g} %"
    figure.supxlabel(f"rank as a share of all {result['rank_max'] + 1} ({told})", fontsize=9.0)


def difference(ranks: list[int], rank_max: int) -> np.ndarray:
    """ECDF of ranks minus that of uniform ones at the ranks 0..rank_max - 1, after a 0 before the first; 0 at the end."""
    seen = np.cumsum(np.bincount(ranks, minlength=rank_max + 1)) / len(ranks)
    return np.append(0.0, seen - np.arange(1, rank_max + 2) / (rank_max + 1))


def difference_band(result: dict[str, Any]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Where `difference` stands, as shares of all ranks, and the limits of the band there, each ``(rank_max + 2,)``."""
    share = np.arange(result["rank_max"] + 2) / (result["rank_max"] + 1)
    limits = (np.array([0, *result["band"][side], result["replicates"]]) for side in ("lower", "upper"))
    low, high = (limit / result["replicates"] - share for limit in limits)
    return share, low, high
