"""The section of one patient: its figures, tables and sentences, ready for the template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.report import plots, rates, words

if TYPE_CHECKING:
    import xarray as xr

    from persist.report.read import Future, History


class Sources(NamedTuple):
    """What a section is made from: history and futures, draws of posterior and prior, and the twin of the whole page."""

    story: History
    coming: list[Future]
    posterior: xr.Dataset
    prior: xr.Dataset
    twin: dict[str, Any]


def section(index: int, of: Sources) -> dict[str, Any]:
    """Everything that the template says of the patient with this number in the page."""
    name = of.story.series.patient_id
    mark = f"p{index}"
    state = of.twin["fit"]["patients"][name]
    table = _rates(state["rates"], of.prior)
    asked = of.twin["settings"]["forecast"]
    told = None if not of.coming else of.twin["forecast"]["patients"][name]
    return {
        "name": name,
        "mark": mark,
        "visits": len(of.story.series.day),
        "censored": int(np.sum(of.story.series.censoring != 0)),
        "first": float(of.story.series.day[0]),
        "last": float(of.story.series.day[-1]),
        "health": state,
        "past": plots.past(f"{mark}-past", f"Burden of patient {name} as measured and as fitted, by day", of.story),
        "has_fit": of.story.fitted is not None,
        "landmark": of.story.landmark,
        "plans": _plans(mark, of, told, asked) if told else [],
        "horizon": asked["horizon"] if told else None,
        "verdicts": _verdicts(told, asked) if told else [],
        "panels": [_panel(mark, key, of, table[key]) for key in (*words.SHOWN, *words.SHOWN_TOO) if key in of.prior],
        "rates": table,
        "blind": words.blind_spots(state["rates"], len(of.story.schedule.start)),
    }


def _verdicts(told: dict[str, Any], asked: dict[str, Any]) -> list[dict[str, Any]]:
    """One entry a plan that was compared; where there is only the reference, its outlook without a verdict."""
    benefit, sentences = told["benefit"], told["sentences"]
    if not benefit:
        plan = asked["reference"]
        return [{"plan": plan, "verdict": None, "sentence": words.outlook(plan, told["plans"][plan], asked["horizon"])}]
    return [
        {
            "plan": plan,
            "verdict": one["verdict"],
            "sentence": sentences[plan],
            "benefit": one,
            "comparable": not any(_never_judged(told, name, asked) for name in (plan, asked["reference"])),
        }
        for plan, one in benefit.items()
    ]


def _never_judged(told: dict[str, Any], plan: str, asked: dict[str, Any]) -> bool:
    """A plan without a day on drug has no progression by a rule that looks only on drug, so nothing to compare."""
    return bool(told["plans"][plan]["days_on_drug"] == 0 and not asked["endpoint"].get("any_time", False))


def _plans(mark: str, of: Sources, told: dict[str, Any], asked: dict[str, Any]) -> list[dict[str, Any]]:
    """Figure and endpoints of every plan."""
    limits = plots.common_limits(of.coming, of.story)
    rows = []
    for number, future in enumerate(of.coming, start=1):
        label = f"Burden, dose and composition of patient {of.story.series.patient_id} under the plan {future.plan}"
        rows.append(
            {
                "name": future.plan,
                "text": asked["plans"].get(future.plan, future.plan),
                "reference": future.plan == asked["reference"],
                "figure": plots.ahead(f"{mark}-plan{number}", label, future, of.story, limits),
                "ends": told["plans"][future.plan],
                "never_judged": _never_judged(told, future.plan, asked),
            }
        )
    return rows


def _rates(found: dict[str, Any], prior: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Rows of the table of rates: quantiles and unit, with the prior's 90 % range and what the parameter is."""
    rows = {}
    for name, row in found.items():
        low, high = np.quantile(prior[name].values, (0.05, 0.95)) if name in prior else (None, None)
        rows[name] = row | {"prior_low": low, "prior_high": high, "meaning": words.MEANING.get(name, "")}
    return dict(sorted(rows.items(), key=lambda item: _order(item[0], item[1])))


def _order(name: str, row: dict[str, Any]) -> tuple[int, int]:
    """Sampled before derived, each as in the list of meanings."""
    known = list(words.MEANING)
    return int(row["informed"] is None), known.index(name) if name in known else len(known)


def _panel(mark: str, name: str, of: Sources, row: dict[str, Any]) -> dict[str, Any]:
    """One small figure: posterior against prior."""
    label = f"{name}: posterior and prior, {words.informed(row['informed'])}"
    figure = rates.against_prior(
        f"{mark}-{name.replace('_', '-')}", label, of.posterior[name].values.ravel(), of.prior[name].values.ravel()
    )
    return {"name": name, "figure": figure, "row": row, "size_only": bool(row["q50"] < 0)}
