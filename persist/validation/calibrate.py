"""Simulation-based calibration of the whole pipeline: replicates, in shares that can be taken up again, and their verdict.

A replicate has its numbers from the seed and its own number alone, so it is the same in whichever share or order it is run.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import numpy as np

from persist.errors import PrecisionError, UsageError
from persist.inference import store
from persist.validation import bands, designs
from persist.validation.cohorts import POOLED
from persist.validation.finished import Finished, source
from persist.validation.replicate import replicate

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from pathlib import Path

    from persist.validation.study import Study

COVERAGE = (50, 90)
"""Percent of the middle ranks whose share is told."""


class Chunk(NamedTuple):
    """A share of the work: every ``of``-th replicate, from the one at ``place`` (from 1) on."""

    place: int = 1
    of: int = 1

    def numbers(self, replicates: int) -> range:
        """The replicates of the share, numbered from 0."""
        return range(self.place - 1, replicates, self.of)


class Progress(NamedTuple):
    """Where a calibration is: replicates ``done`` of ``total`` and how many seconds are about left (None: not known yet)."""

    done: int
    total: int
    seconds_left: float | None


def calibrate(
    asked: Study,
    replicates: int,
    share: Chunk = Chunk(),  # noqa: B008 - immutable
    *,
    partial: Path | None = None,
    progress: Callable[[Progress], None] | None = None,
) -> dict[str, Any]:
    """The calibration (or a share of it) as plain data, under the keys of the JSON; see `assemble`.

    ``partial`` is a folder that keeps finished replicates; those of the same study are taken from it.
    """
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX runs in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    if share.of > replicates:
        what = f"{replicates} replicates have no {share.of} shares"
        raise UsageError(what, where="--chunk", remedy="give fewer shares, or more --replicates")
    told, numbers = about(asked), share.numbers(replicates)
    kept = None if partial is None else Finished(partial, told)
    found = {number: row for number in numbers if kept is not None and (row := kept.read(number)) is not None}
    missing, began = [number for number in numbers if number not in found], time.perf_counter()
    for place, number in enumerate(missing):
        if progress is not None:
            progress(Progress(len(found), len(numbers), _left(began, place, len(missing))))
        found[number] = json.loads(json.dumps(replicate(asked, number), allow_nan=False))
        if kept is not None:
            kept.write(number, found[number])
    if progress is not None:
        progress(Progress(len(found), len(numbers), 0.0))
    return assemble(told, replicates, found.values(), None if share.of == 1 else f"{share.place}/{share.of}")


def _left(began: float, done: int, total: int) -> float | None:
    """Seconds left at the pace so far; None before the first."""
    return (time.perf_counter() - began) / done * (total - done) if done else None


def about(asked: Study) -> dict[str, Any]:
    """All that decides the numbers of a replicate, as plain data."""
    settings = asked.settings
    reference = None if settings.reference is None else settings.reference._asdict()
    told = {
        "seed": settings.seed,
        "rank_max": asked.rank_max,
        "settings": settings._asdict() | {"reference": reference},
        "plant": asked.plant,
        "cohort": {"patients": asked.cohort, "pooled": POOLED} if asked.cohort else None,
        "design": designs.as_json(asked.design),
        "versions": store.provenance(settings.seed, "")["versions"],
        "source": source(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(told))
    return plain


def assemble(
    told: dict[str, Any], replicates: int, rows: Iterable[dict[str, Any]], share: str | None = None
) -> dict[str, Any]:
    """The JSON of ``rows``, out of ``replicates`` asked for: what all ranks say together, and every replicate.

    ``replicates`` are those that have ranks; ``unfit`` those that could not be simulated or fitted, with the reason;
    ``missing`` those that are not in the file.
    """
    runs = sorted(rows, key=lambda row: int(row["replicate"]))
    ranked = [row for row in runs if "unfit" not in row]
    names = list(ranked[0]["ranks"]) if ranked else []
    each = bands.level(len(names))
    parameters = {name: _quantity(name, ranked, told["rank_max"], each) for name in names}
    here = {row["replicate"] for row in runs}
    return {
        "command": "calibrate",
        "replicates": len(ranked),
        "asked": replicates,
        "chunk": share,
        **told,
        "all_ok": bool(ranked) and all(one["ecdf_ok"] for one in parameters.values()),
        "parameters": parameters,
        "band": _band(len(ranked), told["rank_max"], len(names)),
        "fits": _fits(ranked, told["rank_max"]),
        "residuals": _errors(ranked),
        "unfit": [{"replicate": row["replicate"], "reason": row["unfit"]} for row in runs if "unfit" in row],
        "missing": [number for number in range(replicates) if number not in here],
        "seconds": sum(row["wall_seconds"] - row.get("compile_seconds", 0.0) for row in runs),
        "compile_seconds": sum(row.get("compile_seconds", 0.0) for row in runs),
        "wall_seconds": sum(row["wall_seconds"] for row in runs),
        "runs": runs,
    }


def _quantity(name: str, ranked: list[dict[str, Any]], rank_max: int, each: float) -> dict[str, Any]:
    """What the ranks of one quantity say: inside the band or not, where farthest from uniform, coverage and contraction."""
    ranks = np.array([row["ranks"][name] for row in ranked])
    off = bands.counts(ranks, rank_max) / len(ranks) - np.arange(1, rank_max + 1) / (rank_max + 1)
    shrunk = [row["contraction"][name] for row in ranked if name in row["contraction"]]
    levels = ("q05", "q50", "q95")
    return {
        "ranks": ranks.tolist(),
        "ecdf_ok": bands.fits(ranks, rank_max, each),
        "farthest": float(off[np.argmax(np.abs(off))]),
        "coverage": {str(percent): covered(ranks, rank_max, percent) for percent in COVERAGE},
        "contraction": dict(zip(levels, np.quantile(shrunk, (0.05, 0.5, 0.95)).tolist(), strict=True))
        if shrunk
        else None,
    }


def covered(ranks: np.ndarray, rank_max: int, percent: int) -> float:
    """Share of truths inside the middle ``percent`` of the posterior: that of the ranks which are the middle ones."""
    outside = round((rank_max + 1) * (100 - percent) / 200)
    return float(np.mean((ranks >= outside) & (ranks <= rank_max - outside)))


def _band(number: int, rank_max: int, quantities: int) -> dict[str, Any] | None:
    """The band of every quantity: counts of ranks up to 0, 1 ... between which each must stay."""
    if not number:
        return None
    each = bands.level(quantities)
    found = bands.band(number, rank_max, each)
    return {
        "family": bands.FAMILY,
        "quantities": quantities,
        "asked_of_each": each,
        "inside": found.inside,
        "pointwise": found.pointwise,
        "lower": found.lower.tolist(),
        "upper": found.upper.tolist(),
    }


def _fits(ranked: list[dict[str, Any]], rank_max: int) -> dict[str, Any]:
    """Health of the fits: how many are marked, have divergent transitions, or fewer effective draws than ranks need."""
    health = [row["health"] for row in ranked]
    return {
        "marked": sum(not one["ok"] for one in health),
        "divergent": sum(one["divergences"] > 0 for one in health),
        "few_draws": sum(one["min_ess_bulk"] is None or one["min_ess_bulk"] < rank_max for one in health),
    }


def _errors(ranked: list[dict[str, Any]]) -> dict[str, Any] | None:
    """Correlation of neighbouring one-step errors of fits to series from the model itself: mean, its standard error, spread,
    and how many are flagged. None where no replicate has it (cohorts).
    """
    own = [row["residuals"] for row in ranked if "residuals" in row]
    seen = np.array([one["autocorrelation"] for one in own if one["autocorrelation"] is not None])
    if len(seen) < 2:
        return None
    spread = float(seen.std(ddof=1))
    told = {"mean": float(seen.mean()), "standard_error": spread / float(np.sqrt(len(seen))), "sd": spread}
    return {"series": len(seen), **told, "flagged": sum(one["flagged"] for one in own)}
