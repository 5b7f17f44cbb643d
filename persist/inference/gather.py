"""A fit put together from fits of its patients' shares: the file that one run would have written.

Draws and series are taken from the files; all that follows from them is made as a fit makes it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from persist.errors import UsageError
from persist.inference import leaning, posterior, store
from persist.inference.fit import described, members
from persist.inference.pooled import lean
from persist.inference.sampler import Draws
from persist.inference.settings import made_with
from persist.types import Biomarkers, Table

OURS = ("resistant_share",)
"""Columns beside the sampler's own statistics, which are made anew."""


def gather(parts: dict[str, store.DataTree]) -> store.DataTree:
    """The fit whose shares the ``parts`` are (name of the file -> fit), patients in the order of the table.

    Patients that no part has stand in the notes. Raises `UsageError` unless all are of one run.
    """
    (first, model), *others = parts.items()
    for name, part in others:
        _same(name, part, first, model)
    where: dict[str, store.DataTree] = {}
    for name, part in parts.items():
        for patient in posterior.patients(part):
            if patient in where:
                raise UsageError(
                    f"patient {patient} is in another of them too", where=name, remedy="give each share once"
                )
            where[patient] = part
    unfit = {name: why for part in parts.values() for name, why in store.attribute(part, "unfit").items()}
    everyone = store.attribute(model, "everyone")
    lacking = [name for name in everyone if name not in where and name not in unfit]
    result = _together([name for name in everyone if name in where], where, model)
    notes = list(dict.fromkeys(note for part in parts.values() for note in store.attribute(part, "notes")))
    notes += [f"no file has patient {name}" for name in lacking]
    problems = {name: told for part in parts.values() for name, told in store.attribute(part, "problems").items()}
    result.attrs |= {
        name: store.as_attribute(value)
        for name, value in {"notes": notes, "unfit": unfit, "everyone": everyone, "problems": problems}.items()
    }
    spent = {name: sum(float(part.attrs[name]) for part in parts.values()) for name in store.SECONDS}
    result.attrs |= spent | {name: model.attrs[name] for name in ("settings", "pooled")}
    return result


def _together(names: list[str], where: dict[str, store.DataTree], model: store.DataTree) -> store.DataTree:
    """The posterior file of these patients, in this order."""
    series = {
        one.patient_id: one for part in {id(p): p for p in where.values()}.values() for one in posterior.series(part)
    }
    sha256 = str(store.attribute(model, "provenance")["data_sha256"])
    table = Table(tuple(series[name] for name in names), (), sha256)
    settings = made_with(model)._replace(drug=None)  # the files hold the schedule of the drug that was fitted
    everyone = members(table, settings)
    result = described(table, settings, everyone, [_draws(where[name], name) for name in names])
    if leaning.GROUP in model.children:
        lean(result, model[leaning.GROUP].to_dataset(), _markers(names, where))
    return result


def _markers(names: list[str], where: dict[str, store.DataTree]) -> Biomarkers | None:
    """The biomarkers of these patients, from the files that they are in."""
    known = {name: leaning.markers_of(where[name]) for name in names}
    first = next((one for one in known.values() if one is not None), None)
    if first is None:
        return None
    rows = [np.full((1, len(first.names)), np.nan) if one is None else one.rows([name]) for name, one in known.items()]
    return Biomarkers(first.names, tuple(names), np.concatenate(rows))


def _draws(fit: store.DataTree, patient: str) -> Draws:
    """The draws of a patient as its sampler gave them."""
    drawn, stats = (fit[group].to_dataset().sel(patient=patient) for group in ("posterior", "sample_stats"))
    sampled = [str(name) for name in fit["prior"].to_dataset().data_vars]
    values = {name: drawn[name].values for name in (*sampled, *posterior.own(drawn))}
    told = {str(name): column.values for name, column in stats.data_vars.items() if name not in OURS}
    evidence = fit["constant_data"].to_dataset()["log_evidence"].sel(patient=patient).values
    return Draws(values, told, evidence, 0.0)


def _same(name: str, part: store.DataTree, first: str, model: store.DataTree) -> None:
    """`UsageError` unless two fits are of one run."""
    for what, of in _marks(part).items():
        if of != _marks(model)[what]:
            remedy = "merge shares of one run only"
            raise UsageError(f"its {what} is not that of {first}", where=name, remedy=remedy)


def _marks(fit: store.DataTree) -> dict[str, Any]:
    """What all shares of a run have alike."""
    provenance = store.attribute(fit, "provenance")
    marks = {"data": provenance["data_sha256"], "version": provenance["versions"]["persist"]}
    marks |= {name: fit.attrs[name] for name in ("settings", "observable", "unit", "everyone", "pooled")}
    known = fit[leaning.GROUP].to_dataset() if leaning.GROUP in fit.children else None
    return marks | {"population": None if known is None else known["mean"].values.tobytes()}
