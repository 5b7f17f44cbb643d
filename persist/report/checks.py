"""Figures of the checks of a fit: replicated measurements against the measured ones, and the errors of one-step forecasts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.report.ink import BLACK, BLUE, GREY, shade, svg
from persist.report.plots import burden_axis, fan, limits, values
from persist.report.read import treated

if TYPE_CHECKING:
    from markupsafe import Markup
    from matplotlib.figure import Figure

    from persist.report.read import History

SIZE = (5.6, 2.7)


def replicated(name: str, label: str, story: History) -> Markup:
    """Bands of replicated measurements of one patient, with the measured ones."""
    return svg(name, label, SIZE, lambda figure: _replicated(figure, story))


def residuals(name: str, label: str, found: dict[str, Any]) -> Markup:
    """Normal scores against the day, and their autocorrelation; ``found`` is a `residuals` object of the JSON."""
    return svg(name, label, SIZE, lambda figure: _residuals(figure, found))


def _replicated(figure: Figure, story: History) -> None:
    axes, series = figure.subplots(), story.series
    figure.subplots_adjust(left=0.14, right=0.985, top=0.97, bottom=0.18)
    shade(axes, treated(story.schedule, float(series.day[0]), float(series.day[-1])))
    fan(axes, series.day, story.replicated.T)
    values(axes, series)
    burden_axis(axes, limits(np.concatenate([series.burden, story.replicated.ravel()])), series)
    axes.set_xlabel("days")


def _residuals(figure: Figure, found: dict[str, Any]) -> None:
    by_day, by_lag = figure.subplots(1, 2, width_ratios=(3.2, 1.0))
    figure.subplots_adjust(left=0.1, right=0.985, top=0.97, bottom=0.18, wspace=0.34)
    day, score, measured = (np.asarray(found[part]) for part in ("days", "scores", "measured"))
    by_day.axhline(0.0, color=GREY, linewidth=0.8)
    for edge in (-2.0, 2.0):
        by_day.axhline(edge, color=GREY, linewidth=0.8, linestyle=":")
    by_day.plot(day, score, color=GREY, linewidth=0.7)
    by_day.plot(day[measured], score[measured], "o", color=BLACK, markersize=3.4)
    by_day.plot(day[~measured], score[~measured], "o", color=BLACK, markersize=3.8, markerfacecolor="white")
    reach = max(3.0, float(np.abs(score).max()) + 0.3)
    by_day.set_ylim(-reach, reach)
    by_day.set_xlabel("days")
    by_day.set_ylabel("score")
    lag = np.arange(1, len(found["by_lag"]) + 1)
    told = np.nan_to_num(np.asarray(found["by_lag"], float))
    by_lag.bar(lag, told, width=0.5, color=BLUE)
    by_lag.axhline(0.0, color=GREY, linewidth=0.8)
    if np.isfinite(found["standard_error"]):
        for edge in (-2.0, 2.0):
            by_lag.axhline(edge * found["standard_error"], color=GREY, linewidth=1.0, linestyle=(0, (4, 2)))
    by_lag.set_ylim(-1.0, 1.0)
    by_lag.set_yticks([-1.0, -0.5, 0.0, 0.5, 1.0], ["−1", "−0.5", "0", "0.5", "1"])
    by_lag.set_xticks(lag)
    by_lag.set_xlabel("visits apart")
    by_lag.set_ylabel("correlation", labelpad=0)
