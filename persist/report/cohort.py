"""What a page says of many patients together: their rates beside each other and beside the population, and who is apart."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.inference import store
from persist.inference.cohort import observable
from persist.inference.priors import load_pack, score
from persist.report.ink import BLACK, BLUE, GREY, ORANGE, svg
from persist.report.rates import ticks
from persist.validation.effects import sentences

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from persist.inference.priors import Prior

LEAST = 3
"""Patients from which on they are shown together."""

RATES = ("decline_s", "net_growth_s", "tolerance_drug", "reversion", "resistant_0")
"""What the forest plot shows, where it was sampled."""

LIKELY = 0.5
"""Probability from which on a patient is named as one of those apart."""

MOST = 12
"""Effects of biomarkers that are listed: clear ones first, then the largest."""

Z90 = 1.6449


class Row(NamedTuple):
    """A patient's rate: ends and middle of its 90 % interval ``(3,)`` as scores, and whether the data inform it."""

    ends: np.ndarray
    informed: bool


class Panel(NamedTuple):
    """A rate of all patients, its prior, and mean and spread of the population's scores (None: no population of it)."""

    name: str
    unit: str
    prior: Prior
    rows: list[Row]
    population: tuple[float, float] | None


def section(fit: store.DataTree, told: dict[str, Any]) -> dict[str, Any] | None:
    """What the template needs, from a fit and what `health.whole` says of it; None for few patients."""
    names = list(told["patients"])
    if len(names) < LEAST:
        return None
    panels = [_panel(name, fit, told) for name in RATES if name in fit["prior"].data_vars]
    height = 1.0 + 0.17 * len(names)
    label = f"Rates of {len(names)} patients with their 90 % intervals, beside prior and population"
    population = told["population"]
    apart, free = ({} if population is None else population[name] for name in ("is_apart", "is_clone_free"))
    effects = None if population is None else population["effects"]
    return {
        "effects": sorted(effects or (), key=lambda row: (not row["clear"], -abs(row["q50"])))[:MOST],
        "said": sentences(effects),
        "figure": svg("cohort", label, (9.6, height), lambda figure: _forest(figure, names, panels)),
        "population": population,
        "apart": sorted((name for name, share in apart.items() if share >= LIKELY), key=lambda name: -apart[name]),
        "cloned": sorted((name for name, share in free.items() if share < LIKELY), key=lambda name: free[name]),
    }


def _panel(name: str, fit: store.DataTree, told: dict[str, Any]) -> Panel:
    pack = load_pack(store.attribute(fit, "settings")["pack"], observable(str(fit.attrs["observable"])).cells)
    prior, rows = pack.entries[name], []
    for one in told["patients"].values():
        rate = one["rates"][name]
        ends = np.sort(np.asarray(score(prior, np.array([rate["q05"], rate["q50"], rate["q95"]]))))
        rows.append(Row(ends, bool(rate["informed"])))
    known = {} if told["population"] is None else told["population"]["scores"]
    at = known.get(name)
    unit = one["rates"][name]["unit"]
    return Panel(name, unit, prior, rows, None if at is None else (at["mean"]["q50"], at["spread"]["q50"]))


def _forest(figure: Figure, names: list[str], panels: list[Panel]) -> None:
    """A panel a rate, a line a patient, sorted by the first rate."""
    order = np.argsort([row.ends[1] for row in panels[0].rows])
    every = figure.subplots(1, len(panels), sharey=True, squeeze=False)[0]
    tall = float(figure.get_size_inches()[1])
    figure.subplots_adjust(left=0.09, right=0.99, top=1.0 - 0.3 / tall, bottom=0.5 / tall, wspace=0.1)
    for axes, panel in zip(every, panels, strict=True):
        _rows(axes, panel, order)
    every[0].set_yticks(range(len(names)), [names[at] for at in order], fontsize=7.5)
    every[0].set_ylim(len(names) - 0.4, -0.6)


def _rows(axes: Axes, panel: Panel, order: np.ndarray) -> None:
    ends = np.stack([row.ends for row in panel.rows])
    low, high = min(-2.6, float(ends.min()) - 0.2), max(2.6, float(ends.max()) + 0.2)
    for edge in (-Z90, Z90):
        axes.axvline(edge, color=GREY, linewidth=0.9, linestyle=(0, (4, 2)), zorder=0)
    if panel.population is not None:
        mean, spread = panel.population
        axes.axvspan(mean - Z90 * spread, mean + Z90 * spread, color=ORANGE, alpha=0.25, linewidth=0, zorder=0)
        axes.axvline(mean, color=ORANGE, linewidth=1.2, zorder=0)
    for place, at in enumerate(order):
        row = panel.rows[at]
        axes.plot(row.ends[[0, 2]], [place, place], color=BLUE if row.informed else GREY, linewidth=1.6)
        axes.plot(row.ends[1], place, "o", color=BLACK, markersize=2.6)
    axes.set_xlim(low, high)
    axes.set_xticks(*ticks(panel.prior, low, high), fontsize=8)
    axes.set_title(panel.name, fontsize=9.5)
    axes.set_xlabel(panel.unit if len(panel.unit) < 20 else "", fontsize=8)
    axes.tick_params(axis="y", length=0)
