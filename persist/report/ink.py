"""Ink: the palette, the style of axes, and how a matplotlib figure becomes inline SVG.

Colours are those of Okabe and Ito, which colour-blind readers can tell apart; line styles and hatches repeat what the
colours say, so that the page can be read in black and white. Text stays text, in the page's own font.
"""

from __future__ import annotations

import io
import math
import os
import tempfile
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import matplotlib as mpl
from markupsafe import Markup
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator

from persist.report.inline import element
from persist.report.words import number

if TYPE_CHECKING:
    from collections.abc import Callable

    from matplotlib.axes import Axes

BLACK, GREY, PALE = "#111111", "#6b6b6b", "#e9e9e9"
BLUE, SKY, ORANGE, VERMILION = "#0072b2", "#56b4e9", "#e69f00", "#d55e00"
STATES = {"sensitive": (SKY, ""), "persister": (ORANGE, "////"), "resistant": (VERMILION, "xxxx")}
"""Fill and hatch of each state."""

_STYLE: dict[Any, Any] = {
    "svg.fonttype": "none",
    "svg.hashsalt": "persist",
    "text.parse_math": False,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.labelcolor": BLACK,
    "axes.linewidth": 0.8,
    "font.size": 10.0,
    "axes.labelsize": 10.0,
    "xtick.labelsize": 9.5,
    "ytick.labelsize": 9.5,
    "hatch.linewidth": 0.6,
    "path.simplify": True,
}
_HEAD = {"Date": None, "Creator": None, "Format": None, "Type": None}


def svg(name: str, label: str, size: tuple[float, float], draw: Callable[[Figure], None]) -> Markup:
    """Inline SVG of what ``draw`` puts on a figure of ``size`` (inches); ``label`` is what it says to a screen reader.

    ``name`` (letters, digits, hyphens) goes before every id, so that many figures can stand in one page.
    """
    text = io.StringIO()
    with mpl.rc_context(_STYLE), warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # a sign that the measuring font lacks; the reader's has it
        figure = Figure(figsize=size)
        draw(figure)
        figure.savefig(text, format="svg", transparent=True, metadata=_HEAD)
    return Markup(element(text.getvalue(), name, label))


def picture(path: Path, size: tuple[float, float], draw: Callable[[Figure], None]) -> None:
    """A file of its own, SVG or PNG by its name, of what ``draw`` puts on a figure of ``size`` (inches); written whole or not
    at all.
    """
    kind = path.suffix.lower().lstrip(".")
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    try:
        with mpl.rc_context(_STYLE):
            figure = Figure(figsize=size)
            draw(figure)
            figure.savefig(temporary, format=kind, dpi=160, metadata=_HEAD if kind == "svg" else {})
        os.chmod(temporary, 0o644)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def log_axis(axis: Any, low: float, high: float, ticks: int = 6) -> None:
    """Decades, or some steps within each where there are few, as plain numbers."""
    decades = math.log10(high / low)
    steps = (1.0, 2.0, 5.0) if decades < 1.5 else (1.0, 3.0) if decades < 2.5 else (1.0,)
    if decades < 0.9:
        axis.set_major_locator(MaxNLocator(ticks - 2, steps=[1, 2, 5, 10]))
    else:
        axis.set_major_locator(LogLocator(subs=steps, numticks=ticks if decades >= 2.5 else 12))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: number(value)))


def shade(axes: Axes, spans: list[tuple[float, float]]) -> None:
    """Grey behind the days on treatment."""
    for start, stop in spans:
        axes.axvspan(start, stop, color=PALE, linewidth=0, zorder=0)
