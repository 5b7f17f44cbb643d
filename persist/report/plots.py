"""Figures of burden and composition: what was measured and fitted, and what is to come under a plan."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.report.ink import BLACK, BLUE, GREY, ORANGE, STATES, log_axis, shade, svg
from persist.report.read import doses, treated
from persist.types import MARKERS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from markupsafe import Markup
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from persist.report.read import Future, History
    from persist.types import Series

MAX_DECADES = 7.0
"""A burden axis shows at most so many, from its top down."""
_LEGEND: dict[str, Any] = {"frameon": False, "fontsize": 9.5}


def past(name: str, label: str, story: History) -> Markup:
    """Burden against the fit, dose, and composition, over all visits of one patient."""
    return svg(name, label, (9.6, 5.4 if story.shares is not None else 3.9), lambda figure: _past(figure, story))


def ahead(name: str, label: str, future: Future, story: History, limits: tuple[float, float]) -> Markup:
    """Burden, dose and composition of one plan, after the last stretch of what was measured."""
    return svg(name, label, (4.6, 4.3), lambda figure: _ahead(figure, future, story, limits))


def common_limits(futures: Sequence[Future], story: History) -> tuple[float, float]:
    """Limits of the burden that all plans of a patient share."""
    recent = story.series.burden[story.series.day >= _opening(futures[0])]
    parts = [future.burden.ravel() for future in futures] + [recent]
    return limits(np.concatenate(parts))


def _past(figure: Figure, story: History) -> None:
    series, mixed = story.series, story.shares is not None
    first, last = float(series.day[0]), float(series.day[-1])
    ratios = (10.0, 0.9, 3.6) if mixed else (10.0, 0.9)
    rows = figure.subplots(len(ratios), 1, sharex=True, height_ratios=ratios)
    figure.subplots_adjust(left=0.085, right=0.985, top=0.975, bottom=0.1 if mixed else 0.14, hspace=0.12)
    burden, strip = rows[0], rows[1]
    shade(burden, treated(story.schedule, first, last))
    _bands(burden, story)
    values(burden, series)
    shown = [series.burden] if story.fitted is None else [series.burden, story.fitted[[0, 4]].ravel()]
    burden_axis(burden, limits(np.concatenate(shown)), series)
    _dose(strip, *doses(story.schedule, first, last))
    if mixed:
        _mixture(rows[2], series.day, np.asarray(story.shares))
        _names(rows[2], _specimens(rows[2], series, np.asarray(story.shares)))
    if story.landmark is not None:
        for axes in rows:
            axes.axvline(story.landmark, color=BLACK, linewidth=1.1, linestyle=(0, (6, 3)))
    margin = 0.012 * max(last - first, 1.0)
    rows[-1].set_xlim(first - margin, max(last, story.landmark or last) + margin)
    rows[-1].set_xlabel("days")


def _bands(axes: Axes, story: History) -> None:
    day = story.series.day
    for edge in story.replicated[[0, -1]]:
        axes.plot(day, edge, color=GREY, linewidth=1.0, linestyle=":", zorder=2)
    if story.fitted is not None:
        fan(axes, day, story.fitted.T)


def fan(axes: Axes, day: np.ndarray, levels: np.ndarray) -> None:
    """90 % and 50 % bands and the median; ``levels`` ``(n, 5)``."""
    floor = np.maximum(levels, 1e-300)
    axes.fill_between(day, floor[:, 0], floor[:, 4], color=BLUE, alpha=0.18, linewidth=0, zorder=1)
    axes.fill_between(day, floor[:, 1], floor[:, 3], color=BLUE, alpha=0.36, linewidth=0, zorder=1)
    axes.plot(day, floor[:, 2], color=BLUE, linewidth=1.7, zorder=3)


def values(axes: Axes, series: Series) -> None:
    """Dots where measured; open triangles at the limit where censored (a count of 0 is under 1)."""
    mark = np.where(series.burden <= 0.0, -1, series.censoring)
    height = np.where(series.burden <= 0.0, 1.0, series.burden)
    for sign, shape in ((0, "o"), (-1, "v"), (1, "^")):
        picked = mark == sign
        look: dict[str, Any] = {"markerfacecolor": BLACK} if sign == 0 else {"markerfacecolor": "white"}
        size = 3.4 if sign == 0 else 6.0
        axes.plot(series.day[picked], height[picked], shape, markersize=size, color=BLACK, zorder=4, **look)


def limits(values: np.ndarray) -> tuple[float, float]:
    """Limits of a logarithmic axis around the positive ones of ``values``."""
    good = values[np.isfinite(values) & (values > 0.0)]
    if len(good) == 0:
        return 0.1, 10.0
    high = float(good.max()) * 1.5
    return max(float(good.min()) / 1.5, high * 10.0**-MAX_DECADES), high


def burden_axis(axes: Axes, ends: tuple[float, float], series: Series) -> None:
    """A logarithmic axis of the burden between two ends."""
    axes.set_yscale("log")
    axes.set_ylim(*ends)
    log_axis(axes.yaxis, *ends)
    axes.set_ylabel(axis_name(series))


def axis_name(series: Series) -> str:
    """The observable with its unit, once."""
    kind, unit = series.observable, series.unit
    shown = kind.upper() if kind in ("psa", "sld") else kind
    bare = unit.replace(shown, "").strip() if unit != shown else ""
    return f"{shown} ({bare})" if bare and bare != kind else shown


def _dose(axes: Axes, day: np.ndarray, dose: np.ndarray) -> None:
    axes.fill_between(day, dose, step="post", facecolor="#cccccc", edgecolor=GREY, hatch="////", linewidth=0.6)
    axes.set_ylim(0.0, 1.05)
    axes.set_yticks([])
    axes.set_ylabel("dose", rotation=0, ha="right", va="center", labelpad=4)
    axes.spines["left"].set_visible(False)


def _mixture(axes: Axes, day: np.ndarray, shares: np.ndarray) -> None:
    """Shares of S, P and R, stacked; ``shares`` ``(3, n)``."""
    top = np.cumsum(np.nan_to_num(shares), axis=0)
    below = np.zeros_like(day, dtype=float)
    for edge, (colour, hatch) in zip(top, STATES.values(), strict=True):
        axes.fill_between(day, below, edge, facecolor=colour, edgecolor=BLACK, hatch=hatch, linewidth=0.4)
        below = edge
    axes.set_ylim(0.0, 1.0)
    axes.set_yticks([0.0, 0.5, 1.0], ["0", "0.5", "1"])
    axes.set_ylabel("share")


def _specimens(axes: Axes, series: Series, shares: np.ndarray) -> list[Any]:
    """Measured fractions, as counted: where the lower edge of their state would be, that of persisters under the fitted R.

    Returns the marks, one for each kind that is there, for the legend.
    """
    found, marks = series.composition, []
    resistant = np.interp(found.day, series.day, shares[2])
    for place, (name, shape) in enumerate(zip(MARKERS, "oD", strict=True)):
        mine = found.marker == place
        above = resistant[mine] if name == "persister" else 0.0
        look: dict[str, Any] = {"markerfacecolor": "white", "markeredgecolor": BLACK, "clip_on": False, "zorder": 5}
        height = 1.0 - found.share[mine] - above
        if mine.any():
            marks += axes.plot(found.day[mine], height, shape, markersize=4.0, label=f"{name}, counted", **look)
    return marks


def _names(axes: Axes, marks: Sequence[Any] = ()) -> None:
    """A legend of the states beneath the days, to the right; of ``marks`` on them, where there are any, to the left."""
    from matplotlib.patches import Patch

    patches = [Patch(facecolor=c, edgecolor=BLACK, hatch=h, linewidth=0.4, label=n) for n, (c, h) in STATES.items()]
    if marks:
        axes.add_artist(axes.legend(handles=marks, ncol=2, loc="upper left", bbox_to_anchor=(0.0, -0.16), **_LEGEND))
    axes.legend(handles=patches, ncol=3, loc="upper right", bbox_to_anchor=(1.0, -0.16), **_LEGEND)


def _opening(future: Future) -> float:
    """The first day shown before a plan starts: a quarter of the horizon before."""
    return float(future.day[0] - 0.25 * (future.day[-1] - future.day[0]))


def _ahead(figure: Figure, future: Future, story: History, limits: tuple[float, float]) -> None:
    rows = figure.subplots(3, 1, sharex=True, height_ratios=(10.0, 0.9, 3.2))
    figure.subplots_adjust(left=0.16, right=0.975, top=0.97, bottom=0.115, hspace=0.13)
    start, opening = float(future.day[0]), _opening(future)
    series = story.series
    recent = series.day >= opening
    cut = {part: getattr(series, part)[recent] for part in ("day", "burden", "censoring")}
    spans = treated(story.schedule, opening, start) + _given(future)
    shade(rows[0], spans)
    fan(rows[0], future.day, future.burden)
    values(rows[0], series._replace(**cut))
    burden_axis(rows[0], limits, series)
    before = doses(story.schedule, opening, start)
    _dose(rows[1], np.append(before[0], future.day), np.append(before[1], future.dose))
    led = _lead(story, opening, start)
    _mixture(rows[2], np.append(led[0], future.day), np.hstack([led[1], future.shares.T]))
    for axes in rows:
        axes.axvline(start, color=BLACK, linewidth=1.1, linestyle=(0, (6, 3)))
    if future.median is not None:
        rows[0].axvline(future.median, color=ORANGE, linewidth=1.6, linestyle="-.")
    rows[2].set_xlim(opening, float(future.day[-1]))
    rows[2].set_xlabel("days")


def _lead(story: History, opening: float, start: float) -> tuple[np.ndarray, np.ndarray]:
    """Days and fitted shares ``(3, n)`` from ``opening`` to ``start``; none where the file holds no shares."""
    day = story.series.day
    if story.shares is None:
        return np.zeros(0), np.zeros((3, 0))
    seen = np.concatenate([[max(opening, day[0])], day[(day > opening) & (day < start)], [min(start, day[-1])]])
    return seen, np.stack([np.interp(seen, day, share) for share in story.shares])


def _given(future: Future) -> list[tuple[float, float]]:
    """Stretches on drug of a plan, from the recorded doses."""
    on = np.concatenate([[False], future.dose[:-1] > 0.0, [False]])
    change = np.flatnonzero(on[1:] != on[:-1])
    return [(float(future.day[a]), float(future.day[b])) for a, b in zip(change[::2], change[1::2], strict=True)]
