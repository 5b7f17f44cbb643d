"""Measured fractions in the file of a fit, there and back; a fit without any is as if they did not exist.

``observed_data`` has ``fraction`` and ``fraction_day``, ``constant_data`` has ``fraction_counted`` and ``fraction_marker`` (the
name of the marked state), each (patient, specimen); ``log_likelihood`` has ``fraction`` (chain, draw, patient, specimen). Where
a patient has fewer specimens than another: NaN, 0 counted, no marker, log-likelihood 0.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import store
from persist.types import MARKERS, NO_COMPOSITION, Composition

if TYPE_CHECKING:
    from persist.types import Table

_DIMS = ("patient", "specimen")


def added(groups: dict[str, store.Dataset], table: Table, pointwise: list[np.ndarray]) -> dict[str, store.Dataset]:
    """Those of the ``groups`` of a fit that gain something, with it; ``pointwise`` log-likelihoods are (chains, draws, n)."""
    found = [series.composition for series in table.series]
    size = max(len(one.day) for one in found)
    if size == 0:
        return {}
    own = [part[..., : len(one.day)] for part, one in zip(pointwise, found, strict=True)]
    each = [np.pad(part, ((0, 0), (0, 0), (0, size - part.shape[-1]))).astype(np.float32) for part in own]
    more: dict[str, dict[str, Any]] = {
        "observed_data": {
            "fraction": (_DIMS, _column([one.share for one in found], size, np.nan)),
            "fraction_day": (_DIMS, _column([one.day for one in found], size, np.nan)),
        },
        "constant_data": {
            "fraction_counted": (_DIMS, _column([one.counted for one in found], size, 0.0)),
            "fraction_marker": (_DIMS, _column([np.asarray(MARKERS)[one.marker] for one in found], size, "")),
        },
        "log_likelihood": {"fraction": (("chain", "draw", *_DIMS), np.stack(each, 2))},
    }
    return {name: groups[name].assign(columns) for name, columns in more.items()}


def _column(rows: list[np.ndarray], size: int, fill: Any) -> np.ndarray:
    return np.stack([np.pad(row, (0, size - len(row)), constant_values=fill) for row in rows])


def of(observed: store.Dataset, constant: store.Dataset) -> Composition:
    """The measured fractions of one patient, from its part of these groups."""
    if "fraction" not in observed:
        return NO_COMPOSITION
    real = np.isfinite(observed["fraction_day"].values)
    marker = [MARKERS.index(str(name)) for name in constant["fraction_marker"].values[real]]
    day, share, counted = (observed["fraction_day"], observed["fraction"], constant["fraction_counted"])
    return Composition(day.values[real], share.values[real], counted.values[real], np.array(marker, np.int64))
