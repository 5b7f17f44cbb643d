"""Whether fits may be compared: of the same data, and each of a model of its own."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from persist.errors import UsageError
from persist.inference import posterior, store

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def names(paths: Sequence[str | Path], fits: Sequence[store.DataTree]) -> list[str]:
    """What each fit is called: its model where no other fit has the same, else the name of its file.

    `UsageError` for fewer than two fits, the same file twice, or names that are still alike.
    """
    files = [str(Path(path).resolve()) for path in paths]
    twice = next((str(path) for path, file in zip(paths, files, strict=True) if files.count(file) > 1), None)
    if twice is not None:
        raise UsageError("the same file is given twice", where=twice, remedy="give each fit once")
    if len(fits) < 2:
        raise UsageError("there is nothing to compare with", where=str(paths[0]), remedy="give two fits or more")
    models = [str(store.attribute(fit, "settings").get("model", "unknown")) for fit in fits]
    found = [model if models.count(model) == 1 else Path(path).stem for path, model in zip(paths, models, strict=True)]
    alike = sorted({name for name in found if found.count(name) > 1})
    if alike:
        remedy = "rename one of the files"
        raise UsageError(f'two fits would both be called "{alike[0]}"', where=str(paths[0]), remedy=remedy)
    return found


def check_same(fits: Mapping[str, store.DataTree]) -> None:
    """`UsageError` unless all fits are of the same data as the first: patients, observable, values, treatment, file."""
    if len(fits) < 2:
        raise UsageError(f"{len(fits)} fit cannot be compared", remedy="give two fits or more")
    (head, first), *rest = fits.items()
    for name, fit in rest:
        fault = _difference(first, fit)
        if fault:
            remedy = "fit each model to the same tables, with the same --patient, --observable, --floor, --exposure and --drug"
            raise UsageError(f"{head} and {name} are not fits of the same data: {fault}", where=name, remedy=remedy)


def _difference(one: store.DataTree, other: store.DataTree) -> str:
    """In what the data of two fits differ first, in words; "" where they are the same."""
    for what in ("observable", "unit"):
        if one.attrs[what] != other.attrs[what]:
            return f'the {what} is "{one.attrs[what]}" and "{other.attrs[what]}"'
    ids = posterior.patients(one), posterior.patients(other)
    if set(ids[0]) != set(ids[1]):
        lone = sorted(set(ids[0]) ^ set(ids[1]))
        return f"only one has {'patients' if len(lone) > 1 else 'patient'} {', '.join(lone)}"
    theirs = {series.patient_id: series for series in posterior.series(other)}
    for series in posterior.series(one):
        twin = theirs[series.patient_id]
        for what in ("day", "burden", "censoring"):
            if not np.array_equal(getattr(series, what), getattr(twin, what)):
                return f"patient {series.patient_id} has another {what} in each"
        pairs = zip(series.composition, twin.composition, strict=True)
        if not all(np.array_equal(mine, its) for mine, its in pairs):
            return f"patient {series.patient_id} has other measured fractions in each"
        if not all(np.array_equal(mine, its) for mine, its in zip(series.levels, twin.levels, strict=True)):
            return f"patient {series.patient_id} has another measured exposure in each"
        given = [[list(map(float, part)) for drug in who.schedules.values() for part in drug] for who in (series, twin)]
        if given[0] != given[1]:
            return f"patient {series.patient_id} has other treatments in each"
    digests = [store.attribute(fit, "provenance").get("data_sha256") for fit in (one, other)]
    return "" if digests[0] == digests[1] else "their tables have other SHA-256 sums (data_sha256)"
