"""The section of one patient: its figures, tables and sentences, ready for the template."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.forecast import beyond, rechallenge
from persist.inference.priors import quantile
from persist.report import checks, plots, rates, words
from persist.validation.identify import ENDS, scores

if TYPE_CHECKING:
    import xarray as xr

    from persist.inference.priors import Prior
    from persist.report.read import Future, History


class Sources(NamedTuple):
    """What a section is made from: history and futures, draws of the posterior, priors, and the twin of the whole page."""

    story: History
    coming: list[Future]
    posterior: xr.Dataset
    prior: dict[str, Prior]
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
        "beside": _beside(told, asked) if told else [],
        "flares": told is not None and all("flare" in ends for ends in told["plans"].values()),
        "restarts": told is not None and any(ends.get("rechallenge") for ends in told["plans"].values()),
        "response": rechallenge.rule_in_words(asked["response"]) if told and "response" in asked else "",
        "panels": [_panel(mark, key, of, table[key]) for key in words.SHOWN if key in of.prior],
        "more_panels": [
            _panel(mark, key, of, row) for key, row in table.items() if key in of.prior and key not in words.SHOWN
        ],
        "rates": table,
        "checks": _checks(mark, of, state),
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


def _beside(told: dict[str, Any], asked: dict[str, Any]) -> list[str]:
    """Where endpoints disagree, and what follows a restart and progression; nothing in a file from before these were told."""
    after = rechallenge.sentences(told["plans"])
    return [*told.get("disagreements", {}).values(), *after, *beyond.sentences(told.get("after", {}), asked)]


def _never_judged(told: dict[str, Any], plan: str, asked: dict[str, Any]) -> bool:
    """A plan without a day on drug has no progression by a rule that looks only on drug, so nothing to compare."""
    ends = told["plans"][plan]
    return bool(
        ends["days_on_drug"] == 0 and not ends.get("judged", False) and not asked["endpoint"].get("any_time", False)
    )


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
                "flare": words.flare(told["plans"][future.plan].get("flare")),
                "response": words.response(told["plans"][future.plan].get("rechallenge")),
                "never_judged": _never_judged(told, future.plan, asked),
            }
        )
    return rows


def _checks(mark: str, of: Sources, state: dict[str, Any]) -> dict[str, Any]:
    """Figures of the predictive check and of the residuals, and the rows of its table."""
    name, found = of.story.series.patient_id, state["predictive"]
    label = f"Replicated against measured burden of patient {name}"
    errors = f"Errors of one-step forecasts of patient {name}, by day and by lag"
    return {
        "replicated": checks.replicated(f"{mark}-replicated", label, of.story),
        "residuals": checks.residuals(f"{mark}-residuals", errors, state["residuals"]),
        "statistics": [row | {"name": words.STATISTICS[key]} for key, row in found["statistics"].items()],
    }


def _rates(found: dict[str, Any], prior: dict[str, Prior]) -> dict[str, dict[str, Any]]:
    """Rows of the table of rates: quantiles and unit, with the prior's 90 % range and what the parameter is."""
    rows = {}
    for name, row in found.items():
        low, high = quantile(prior[name], np.array(ENDS)) if name in prior else (None, None)
        told = {"prior_low": low, "prior_high": high, "told": words.data_say(row, found)}
        rows[name] = row | told | {"meaning": words.MEANING.get(name, "")}
    return dict(sorted(rows.items(), key=lambda item: _order(item[0], item[1])))


def _order(name: str, row: dict[str, Any]) -> tuple[int, int]:
    """Sampled before derived, each as in the list of meanings."""
    known = list(words.MEANING)
    return int(row["informed"] is None), known.index(name) if name in known else len(known)


def _panel(mark: str, name: str, of: Sources, row: dict[str, Any]) -> dict[str, Any]:
    """One small figure: posterior against prior."""
    label = f"{name}: posterior and prior, {words.informed(row['informed'])}"
    z = scores(of.prior[name], of.posterior[name].values.ravel())
    return {
        "name": name,
        "figure": rates.against_prior(f"{mark}-{name.replace('_', '-')}", label, z, of.prior[name]),
        "row": row,
    }
