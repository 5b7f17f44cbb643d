"""What biomarkers say of a population: the effect of each on each score that it may act on, and on standing apart.

Effects on scores count in standard deviations of the pack's prior by standard deviation of the biomarker in the cohort; those
on standing apart are of the probit: of a share of 20 %, an effect of 0.5 makes 37 % one standard deviation up. An effect is
clear where its 90 % interval leaves 0 out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import leaning

if TYPE_CHECKING:
    from collections.abc import Iterator

    import xarray as xr

APART = "standing apart"
"""What g acts on, in words."""

MEANING = {
    "decline_s": ("a slower fall on drug", "a faster fall on drug"),
    "tolerance_base": ("more tolerance without drug", "less tolerance without drug"),
    "tolerance_drug": ("more tolerance by the drug", "less tolerance by the drug"),
    "persister_0": ("more persisters at the start", "fewer persisters at the start"),
    "resistant_0": ("more resistant cells at the start", "fewer resistant cells at the start"),
    APART: ("standing apart more often", "standing apart less often"),
}
"""What more of a biomarker goes with where its effect is over and under 0."""


def draws(group: xr.Dataset) -> Iterator[tuple[str, str, np.ndarray]]:
    """Biomarker, what it acts on, and draws of the effect ``(chain, draw)``; nothing for a population without biomarkers."""
    if leaning.scale_of(group) is None:
        return
    for name in map(str, group["biomarker"].values):
        for score in map(str, group["score"].values):
            found = group["slope"].sel(score=score, biomarker=name).values
            if found.any():
                yield name, score, found
        yield name, APART, group["toward"].sel(biomarker=name).values


def told(group: xr.Dataset) -> list[dict[str, Any]] | None:
    """Of every effect its quantiles, the probability of the ``sign`` of its median, and whether it is ``clear``; None for a
    population without biomarkers.
    """
    if leaning.scale_of(group) is None:
        return None
    rows = []
    for name, score, found in draws(group):
        low, middle, high = (float(edge) for edge in np.quantile(found, (0.05, 0.5, 0.95)))
        sign = float(np.mean(found > 0.0 if middle > 0.0 else found < 0.0))
        row: dict[str, Any] = {"biomarker": name, "on": score, "q05": low, "q50": middle, "q95": high}
        rows.append(row | {"probability": sign, "clear": bool(low > 0.0 or high < 0.0)})
    return rows


def sentences(rows: list[dict[str, Any]] | None) -> list[str]:
    """What is clear, an effect a sentence, or that nothing is."""
    if rows is None:
        return []
    clear = sorted((row for row in rows if row["clear"]), key=lambda row: -abs(row["q50"]))
    said = [
        f"more {row['biomarker']} goes with {MEANING[row['on']][row['q50'] < 0.0]}: {row['on']} {row['q50']:+.2f} "
        f"({row['q05']:+.2f} to {row['q95']:+.2f}) by standard deviation"
        for row in clear
    ]
    names = dict.fromkeys(row["biomarker"] for row in rows)
    return said or [f"the biomarkers ({', '.join(names)}) say nothing clear: the 90 % interval of every effect holds 0"]
