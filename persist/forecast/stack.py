"""Forecasts of several models of the same patients as one: a mixture of their futures by given weights.

    P(event) = sum_m w_m P_m(event),   mean = sum_m w_m mean_m,   error of the mean <= sum_m w_m mcse_m

Every path of a model counts w_m over the number of its paths, so no path is drawn anew. The models' random numbers are shared,
so their Monte-Carlo errors may add up rather than cancel; each is that of the model's own effective draws. The weights are
taken as known. A verdict of the mixture follows the same rule as that of one model; beside it stands each model's own, so that
one sees whether it hangs on the mechanism.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from persist.forecast import decide
from persist.inference import store

if TYPE_CHECKING:
    from collections.abc import Mapping

LEVELS = {"q05": 0.05, "q50": 0.5, "q95": 0.95}


def stack(forecasts: Mapping[str, store.DataTree], weights: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """By patient: endpoints and benefit of every plan under the mixture, and under each model; ``weights`` are by patient and
    model, and add up to 1 for each patient. All forecasts answer the same question.
    """
    asked = store.attribute(next(iter(forecasts.values())), "settings")
    plans, horizon = list(asked["plans"]), float(asked["horizon"])
    return {patient: _one(forecasts, patient, dict(mine), plans, horizon) for patient, mine in weights.items()}


def _one(
    forecasts: Mapping[str, store.DataTree], patient: str, weights: dict[str, float], plans: list[str], horizon: float
) -> dict[str, Any]:
    own = {name: store.attribute(one, "summary")[patient] for name, one in forecasts.items()}
    times = {
        name: {plan: one["endpoints"]["time_to_progression"].sel(patient=patient, plan=plan).values for plan in plans}
        for name, one in forecasts.items()
    }
    told = {plan: _benefit(own, times, weights, (plan, plans[0]), horizon) for plan in plans[1:]}
    models = {
        name: {"weight": weights[name], "plans": one["plans"], "benefit": one["benefit"], "sentences": one["sentences"]}
        for name, one in own.items()
    }
    return {
        "weights": weights,
        "plans": {plan: _endpoints(own, times, weights, plan, horizon) for plan in plans},
        "benefit": told,
        "sentences": {plan: _sentence(plan, plans[0], one, own, horizon) for plan, one in told.items()},
        "models": models,
    }


def _endpoints(
    own: dict[str, Any], times: dict[str, Any], weights: dict[str, float], plan: str, horizon: float
) -> dict[str, Any]:
    """One plan's endpoints under the mixture; quantiles that are not reached within the horizon are null."""
    rows = {name: one["plans"][plan] for name, one in own.items()}
    mixed = {
        key: sum(weights[name] * row[key] for name, row in rows.items())
        for key in ("progressed_by_horizon", "days_on_drug", "extinct")
    }
    found = quantiles({name: one[plan] for name, one in times.items()}, weights)
    reached = {level: value if value <= horizon else None for level, value in found.items()}
    judged = all(row["judged"] for name, row in rows.items() if weights[name] > 0.0)
    return mixed | {"time_to_progression": reached, "judged": judged}


def _benefit(
    own: dict[str, Any], times: dict[str, Any], weights: dict[str, float], pair: tuple[str, str], horizon: float
) -> dict[str, Any]:
    """Benefit of a plan over its reference under the mixture, as the JSON of `decide.Benefit`; with the models' verdicts."""
    rows = {name: one["benefit"][pair[0]] for name, one in own.items()}
    used = {name: weight for name, weight in weights.items() if weight > 0.0}
    errors = {name: rows[name]["gain_days"]["mcse"] for name in used}
    gains = {name: decide.gain(times[name][pair[0]], times[name][pair[1]], horizon) for name in used}
    spread = quantiles(gains, used)
    one = decide.Benefit(
        probability=sum(weight * rows[name]["probability"] for name, weight in used.items()),
        mean=sum(weight * rows[name]["gain_days"]["mean"] for name, weight in used.items()),
        mcse=sum(weight * (math.inf if errors[name] is None else errors[name]) for name, weight in used.items()),
        q05=spread["q05"],
        q95=spread["q95"],
        verdict="cannot tell",
        loss=sum(weight * rows[name]["loss"] for name, weight in used.items()),
    )
    judged = all(rows[name]["judged"] for name in used)
    if judged:
        one = one._replace(verdict=decide.verdict(one.probability, one.loss, one.mean, one.mcse))
    verdicts = {name: row["verdict"] for name, row in rows.items()}
    return decide.as_json(one) | {
        "judged": judged,
        "verdicts": verdicts,
        "hangs_on_mechanism": len({one.verdict, *verdicts.values()}) > 1,
    }


def quantiles(values: Mapping[str, np.ndarray], weights: Mapping[str, float]) -> dict[str, float]:
    """Quantiles (`LEVELS`) of the mixture of samples of any shape; inf is a value like others."""
    used = [name for name in values if weights[name] > 0.0]
    pooled = np.concatenate([np.ravel(values[name]) for name in used])
    share = np.concatenate([np.full(np.size(values[name]), weights[name] / np.size(values[name])) for name in used])
    order = np.argsort(pooled, kind="stable")
    reached = np.cumsum(share[order]) / share.sum()
    last = len(order) - 1
    return {
        label: float(pooled[order][min(int(np.searchsorted(reached, level - 1e-9)), last)])
        for label, level in LEVELS.items()
    }


def _sentence(plan: str, reference: str, one: dict[str, Any], own: dict[str, Any], horizon: float) -> str:
    """The mixture's verdict in words, and whether the models agree with it."""
    each = ", ".join(f"{name} {verdict}" for name, verdict in one["verdicts"].items())
    close = f"It hangs on the mechanism: {each}." if one["hangs_on_mechanism"] else "Every mechanism says so."
    if not one["judged"]:
        reason = next(row["sentences"][plan] for row in own.values() if not row["benefit"][plan]["judged"])
        return f"{reason} {close}"
    days = one["gain_days"]
    mcse = math.inf if days["mcse"] is None else days["mcse"]
    told = decide.Benefit(one["probability"], days["mean"], mcse, days["q05"], days["q95"], one["verdict"], one["loss"])
    return f"{decide.sentence(plan, reference, told, horizon)} {close}"
