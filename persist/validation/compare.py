"""Mechanisms side by side: how well fits of several models to the same data foretell what they were not shown.

Each patient's values are held out one by one (LOO) and from a cut on (LFO), see `validation.held_out`; models are compared and
stacked by both, see `validation.standings`. Where plans are asked about, the models' forecasts are mixed by the weights, see
`forecast.stack`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, NamedTuple

from persist.errors import DataError, UsageError
from persist.forecast import outcome
from persist.forecast.stack import stack
from persist.inference import fit as fitting
from persist.inference import leaning, left_out, posterior, store
from persist.inference.settings import made_with
from persist.types import Table
from persist.validation.health import examine
from persist.validation.held_out import LEAST_DRAWS, first_cut, leave_future_out, leave_one_out
from persist.validation.same import check_same
from persist.validation.side_by_side import KINDS, Held, patient, together

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from persist.forecast.outcome import Ask
    from persist.types import Series

DRAWS = 1000
"""Posterior draws of each fit that are weighed, unless told otherwise."""
FEW_VALUES = 100

_PRIOR_KNOWS = (
    "the priors of the burdens at the start and at rest are relative to the first and the largest value of the whole series, "
    "in every model alike, so a value that is held out is not quite unseen"
)
_FEW = f"with fewer than {FEW_VALUES} values, standard errors of differences are themselves rough, mostly too small"


class Way(NamedTuple):
    """How to compare: ``draws`` of each fit; leave-future-out from ``first`` known values on (None: a third, at least 8) of
    ``ahead`` values together, with a new fit where the weights fail if ``refit``; ``weights`` of the stack, of `KINDS`.
    """

    draws: int = DRAWS
    first: int | None = None
    ahead: int = 1
    refit: bool = False
    weights: str = "loo"

    def first_of(self, values: int) -> int:
        """How many of a patient's values the first cut knows."""
        return first_cut(values) if self.first is None else self.first


def compare(
    fits: Mapping[str, store.DataTree],
    *,
    patients: Sequence[str] = (),
    question: Ask | None = None,
    progress: Callable[[str], None] | None = None,
    **options: Any,
) -> dict[str, Any]:
    """The comparison of fits, by the name of their model, as the JSON object of `persist compare`.

    ``patients``: only these. ``question``: plans whose forecasts are to be mixed. ``options`` are those of `Way`. Raises
    `UsageError` for fits that are not of the same data or options that cannot be (a new fit of a patient of a cohort is one),
    `DataError` for an unknown patient.
    """
    began, way, tell = time.perf_counter(), Way(**options), progress or (lambda line: None)
    check_same(fits)
    _check_way(way)
    if way.refit:
        _check_refit(fits)
    chosen = _chosen(next(iter(fits.values())), patients)
    marked = {name: store.attribute(fit, "problems") if "problems" in fit.attrs else {} for name, fit in fits.items()}
    held = {one.patient_id: _hold_out(fits, one, way, marked, tell) for one in chosen}
    count = {one.patient_id: len(one.day) for one in chosen}
    rows = {name: patient(mine, way.first_of(count[name]), way.ahead) for name, mine in held.items()}
    return {
        "patients": rows,
        "together": together(held, way.ahead) if len(held) > 1 else None,
        "stack": None if question is None else _stacked(fits, rows, question, way, tell),
        "warnings": marked,
        "notes": [_PRIOR_KNOWS, *([_FEW] if min(count.values()) < FEW_VALUES else [])],
        "settings": way._asdict() | {"models": {name: store.attribute(fit, "settings") for name, fit in fits.items()}},
        "seconds": time.perf_counter() - began,
    }


def _check_way(way: Way) -> None:
    for option, value, least in (("draws", way.draws, LEAST_DRAWS), ("first", way.first, 1), ("ahead", way.ahead, 1)):
        if value is not None and value < least:
            raise UsageError(f"{value} is too few", where=f"--{option}", remedy=f"give {least} or more")
    if way.weights not in KINDS:
        raise UsageError(f'no weights are called "{way.weights}"', where="--weights", remedy="choose loo or lfo")


def _check_refit(fits: Mapping[str, store.DataTree]) -> None:
    """`UsageError` for a fit whose population was learned from its own patients: that of the first values is in no file."""
    for name, fit in fits.items():
        if leaning.GROUP in fit.children and store.attribute(fit, "pooled"):
            what = (
                f"the patients of {name} cannot be fitted anew one by one: they are a cohort (--pool), and its population has "
                "learned from the values that a cut leaves out"
            )
            remedy = "leave --refit out, or fit them with --population POP.nc, learned from other patients"
            raise UsageError(what, where="--refit", remedy=remedy)


def _chosen(fit: store.DataTree, patients: Sequence[str]) -> list[Series]:
    known = posterior.patients(fit)
    unknown = [name for name in patients if name not in known]
    if unknown:
        raise DataError(
            f'no patient "{unknown[0]}" in these fits', where="--patient", remedy=f"choose {', '.join(known)}"
        )
    return [one for one in posterior.series(fit) if not patients or one.patient_id in patients]


def _hold_out(
    fits: Mapping[str, store.DataTree],
    series: Series,
    way: Way,
    marked: dict[str, dict[str, list[str]]],
    tell: Callable[[str], None],
) -> dict[str, Held]:
    """Scores of one patient under each model; what is wrong with new fits is added to ``marked``, by model and patient."""
    found = {}
    for name, fit in fits.items():
        tell(f"patient {series.patient_id}: {name}")
        terms = left_out.of_patient(fit, series.patient_id, way.draws)
        if len(terms.ahead) < LEAST_DRAWS:
            what = f"{name} has {len(terms.ahead)} draws, too few for their weights to be judged"
            raise UsageError(what, where=name, remedy=f"fit with {LEAST_DRAWS} draws or more")
        problems = marked[name].setdefault(series.patient_id, [])
        again = _again(fit, series, way, problems, tell) if way.refit else None
        first = way.first_of(len(series.day))
        found[name] = Held(leave_one_out(terms), leave_future_out(terms, first, way.ahead, again))
    return found


def _again(
    fit: store.DataTree, series: Series, way: Way, problems: list[str], tell: Callable[[str], None]
) -> Callable[[int], left_out.Terms]:
    """A fit of the first values of a series, made as its own was and by the same priors, the population that it leans on among
    them, for `leave_future_out`. What is wrong with one is added to ``problems``.
    """
    settings = made_with(fit)._replace(drug=None, reference=left_out.reference(fit, series))
    law = leaning.prior_of(fit, series.patient_id)

    def refit(cut: int) -> left_out.Terms:
        tell(f"patient {series.patient_id}, fitted anew to the first {cut} values")
        new = fitting.fit(Table((series.until(series.day[cut - 1]),), (), ""), settings, population=law)
        wrong = examine(new, series.patient_id).problems
        problems.extend([f"the new fit of the first {cut} values is marked too: {wrong[0]}"] if wrong else [])
        return left_out.ahead_of(new, series, way.draws)

    return refit


def _stacked(
    fits: Mapping[str, store.DataTree],
    rows: Mapping[str, dict[str, Any]],
    question: Ask,
    way: Way,
    tell: Callable[[str], None],
) -> dict[str, Any]:
    """The models' forecasts, mixed by each patient's own weights."""
    shares = {
        patient: {name: one[f"weight_{way.weights}"] for name, one in row["models"].items()}
        for patient, row in rows.items()
    }
    without = [patient for patient, mine in shares.items() if None in mine.values()]
    if without:
        what = f"patient {without[0]} has no cut at which leave-future-out holds, so no weights by it"
        raise UsageError(what, where="--weights", remedy="use --weights loo, or --refit")
    told = {}
    for name, fit in fits.items():

        def under(patient: str, done: int, total: int, name: str = name) -> None:
            tell(f"forecast of {name}: patient {patient} ({done} of {total} done)")

        told[name] = outcome.forecast(_of_only(fit, list(rows)), question, under)
    first = store.attribute(next(iter(told.values())), "settings")
    notes = {name: store.attribute(one, "notes") for name, one in told.items()}
    return {
        "weights_from": way.weights,
        "plans": first["plans"],
        "reference": first["reference"],
        "horizon": first["horizon"],
        "endpoint": first["endpoint"],
        "thresholds": first["thresholds"],
        "seed": question.seed,
        "patients": stack(told, shares),
        "notes": notes,
    }


def _of_only(fit: store.DataTree, patients: list[str]) -> store.DataTree:
    """A fit of these patients alone."""
    groups = {name: node.to_dataset() for name, node in fit.children.items()}
    part = store.DataTree.from_dict(
        {name: own.sel(patient=patients) if "patient" in own.dims else own for name, own in groups.items()}
    )
    part.attrs = dict(fit.attrs)
    return part
