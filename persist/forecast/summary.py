"""Summaries: what the futures of each patient say of every plan, as the JSON of a forecast has it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.forecast import beyond, decide
from persist.forecast.endpoints import Rule, label, response_of
from persist.forecast.rechallenge import rechallenge
from persist.forecast.trace import FLARE_DAYS, NEAR
from persist.forecast.under import LEVELS, Futures

if TYPE_CHECKING:
    from persist.forecast.asking import Ask

VISITS_NEEDED = 3
"""A nadir, a rise and its confirmation: with fewer visits in a row on drug, progression cannot be seen."""
MUCH_HIGHER = 1.5
"""A median burden at the horizon of so many times the reference's is said beside a verdict."""
MEDIAN = LEVELS.index(0.5)


def summary(
    rows: dict[str, list[Futures]], question: Ask, rules: tuple[Rule, ...], effective: dict[str, float]
) -> dict[str, Any]:
    """The `patients` object of the JSON: endpoints of every plan, and benefit of each against the first.

    The first of the ``rules`` of progression decides; where there are several, ``endpoints`` has what each says.
    ``effective`` is the number of posterior draws that those of a patient count for, autocorrelated as they are.
    """
    written, horizon, again = question.plans, question.horizon, (response_of(rules[0]), question.response_days)
    patients, any_time, plans = {}, rules[0].any_time, [plan.name for plan in written]
    for name, futures in rows.items():
        times, step = [future.time_to_progression for future in futures], futures[0].step
        ends = {
            plan: _endpoints(future, horizon)
            | {"rechallenge": rechallenge(future, horizon, *again)}
            | {"judged": any_time or future.visits_on_drug >= VISITS_NEEDED}
            for plan, future in zip(plans, futures, strict=True)
        }
        gains = [decide.judge(decide.gain(time, times[0], horizon), effective=effective[name]) for time in times]
        gains = [_judgeable(one, future, futures[0], any_time) for one, future in zip(gains, futures, strict=True)]
        told = list(zip(plans, gains, strict=True))[1:]
        patients[name] = {
            "step": {"days": step.days, "error": step.error},
            "plans": ends,
            "benefit": {
                plan: decide.as_json(one) | {"judged": not _unjudged(futures[0], future, any_time)}
                for (plan, one), future in zip(told, futures[1:], strict=True)
            },
            "after": beyond.compared(futures, written, horizon, effective[name]),
            "endpoints": (said := _by_rule(futures, plans, horizon, rules, effective[name])),
            "disagreements": _disagreements(said, plans),
            "sentences": {
                plan: _sentence(plan, plans[0], one, horizon, (futures[0], futures[i]), any_time)
                for i, (plan, one) in enumerate(told, start=1)
            },
        }
    return patients


def _by_rule(
    futures: list[Futures], plans: list[str], horizon: float, rules: tuple[Rule, ...], effective: float
) -> dict[str, Any]:
    """Of each rule, endpoints of every plan by it and benefit of each against the first; nothing where there is one rule."""
    told: dict[str, Any] = {}
    for at, rule in enumerate(rules if len(rules) > 1 else ()):
        mine = [future._replace(time_to_progression=future.by_rule[at]) for future in futures]
        ends = {}
        for plan, future in zip(plans, mine, strict=True):
            found = _endpoints(future, horizon)
            judged = {"judged": rule.any_time or future.visits_on_drug >= VISITS_NEEDED}
            ends[plan] = {key: found[key] for key in ("progressed_by_horizon", "time_to_progression")} | judged
        benefit = {}
        for plan, future in zip(plans[1:], mine[1:], strict=True):
            gains = decide.gain(future.time_to_progression, mine[0].time_to_progression, horizon)
            one = _judgeable(decide.judge(gains, effective=effective), future, mine[0], rule.any_time)
            benefit[plan] = decide.as_json(one) | {"judged": not _unjudged(mine[0], future, rule.any_time)}
        told[label(rule)] = {"plans": ends, "benefit": benefit}
    return told


def _disagreements(told: dict[str, Any], plans: list[str]) -> dict[str, str]:
    """A sentence for each plan of which the rules give several verdicts."""
    found = {}
    for plan in plans[1:]:
        verdicts = {rule: one["benefit"][plan]["verdict"] for rule, one in told.items()}
        if len(set(verdicts.values())) > 1:
            each = ", ".join(f"{rule} {verdict}" for rule, verdict in verdicts.items())
            found[plan] = f'The verdict on "{plan}" hangs on the endpoint: {each}. The first decides.'
    return found


def _judgeable(benefit: decide.Benefit, plan: Futures, reference: Futures, any_time: bool) -> decide.Benefit:
    """A plan that is hardly ever on drug is never judged, so its "gain" is none: the verdict is withheld."""
    return benefit._replace(verdict="cannot tell") if _unjudged(reference, plan, any_time) else benefit


def _unjudged(reference: Futures, plan: Futures, any_time: bool) -> bool:
    """True if one of the two is on drug at fewer than `VISITS_NEEDED` visits in a row, where only those are judged."""
    return not any_time and min(reference.visits_on_drug, plan.visits_on_drug) < VISITS_NEEDED


def _sentence(
    plan: str, reference: str, benefit: decide.Benefit, horizon: float, both: tuple[Futures, Futures], any_time: bool
) -> str:
    """The verdict in words; and, since a holiday is not judged while it lasts, a burden that ends much higher is said."""
    if _unjudged(*both, any_time):
        return (
            f'Against "{reference}", "{plan}": cannot tell, since one of the two is on drug at fewer than {VISITS_NEEDED} '
            f"visits in a row within {horizon:g} days, so its progression is not judged; an endpoint such as psa:any-time "
            "compares them."
        )
    told = decide.sentence(plan, reference, benefit, horizon)
    rise = float(both[1].burden[-1, MEDIAN]) / max(float(both[0].burden[-1, MEDIAN]), 1e-300)
    if any_time or rise < MUCH_HIGHER:
        return told
    return f'{told} Mind that its median burden after {horizon:g} days is {rise:.1f} times that under "{reference}".'


def flare(future: Futures, horizon: float) -> dict[str, Any] | None:
    """Flare after the first stop of the drug: its ``probability`` among the paths that are followed for `FLARE_DAYS` from there
    (null: none is), and the shares of all paths that stop, and that are so ``followed``. None where no path stops.
    """
    stops, followed = future.stopped < horizon - NEAR, future.stopped + FLARE_DAYS <= horizon + NEAR
    if not stops.any():
        return None
    probability = float(np.isfinite(future.flared[followed]).mean()) if followed.any() else None
    return {"probability": probability, "stops": float(stops.mean()), "followed": float(followed.mean())}


def _endpoints(future: Futures, horizon: float) -> dict[str, Any]:
    """One plan's endpoints; quantiles of the time to progression that are not reached within the horizon are null."""
    times = future.time_to_progression.ravel()
    found = np.quantile(times, (0.05, 0.5, 0.95), method="inverted_cdf")
    quantiles = {
        label: float(value) if value <= horizon else None
        for label, value in zip(("q05", "q50", "q95"), found, strict=True)
    }
    return {
        "progressed_by_horizon": float(np.mean(times <= horizon)),
        "time_to_progression": quantiles,
        "days_on_drug": future.days_on_drug,
        "burden_at_horizon": dict(zip(("q05", "q50", "q95"), future.burden[-1, [0, MEDIAN, -1]].tolist(), strict=True)),
        "extinct": float(future.extinct.mean()),
        "flare": flare(future, horizon),
        "burden_time": beyond.burden_time(future.area),
        "after_progression": beyond.after_progression(future, horizon),
    }
