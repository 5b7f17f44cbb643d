"""Retrodiction: do the priors alone foretell trials of schedules, rechallenge and flare that the model never saw?

    python scripts/retrodiction.py [--patients 2000] [--seed 0] [-o docs/retrodiction.json]

Virtual patients are drawn from the clinical priors as they stand, nothing is fitted, and treated as the published trials were
(`trials.py`, written before the first run). For each question: the model's value over all patients; the 90 % interval of what a
trial of the published size would show (arms drawn from them, patients of their own in each); and whether it is right. A
schedule is right by its sign (the hazard ratio over or under 1; neutral: within exp(+-0.1)), a rate within 15 points.

    hazard ratio = (events / time at risk) of a plan over that of the reference, times from randomisation, cut at the horizon

which is that of constant hazards, and close to Cox's where hazards are proportional. A tool that always favours a holiday, or
never does, fails.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import kept
import numpy as np
from trials import BEYOND, RATES, SCHEDULES, Trial

from persist import keys
from persist.forecast.endpoints import rule_for
from persist.forecast.futures import run
from persist.forecast.landmark import Landmark, Look, landmark
from persist.forecast.trace import FLARE_DAYS
from persist.forecast.under import Futures
from persist.inference.cohort import case, observable, pad
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.treatment.schedule import parse_plan
from persist.types import Schedule, Series

NEUTRAL, POINTS = 0.1, 0.15
RESAMPLED = 2000
NO_DRUG = Schedule(np.zeros(0), np.zeros(0), np.zeros(0))

ELIGIBLE: dict[str, Callable[[list[Futures], Trial], np.ndarray]] = {
    "no progression by day 56": lambda arms, _: ~(arms[0].time_to_progression <= 56.0),
    "no progression by day 182": lambda arms, _: ~(arms[0].time_to_progression <= 182.0),
    "progressed": lambda arms, _: np.isfinite(arms[0].seen),
    "progressed after 6 months": lambda arms, _: np.isfinite(arms[0].seen) & (arms[0].seen > 182.0),
    "stopped when the rule began": lambda arms, trial: _stopped_first(arms[1], trial),
    "ever stopped": lambda arms, _: arms[1].stopped <= arms[0].time_to_progression,
}
"""Who of the paths ``(n, 1)`` would have been in the trial."""


def _stopped_first(arm: Futures, trial: Trial) -> np.ndarray:
    return np.asarray(np.abs(arm.stopped - parse_plan(trial.plans[1]).ruled_from) < 1e-6)


def untreated(trial: Trial, patients: int, seed: int) -> Landmark:
    """Patients drawn from the clinical priors, before any drug: the first burden is given, the wander stationary."""
    kind = observable(trial.observable)
    pack = load_pack("clinical", kind.cells)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.key(seed, "retrodiction"))))
    levels = {name: rng.uniform(1e-9, 1.0 - 1e-9, patients) for name in sorted(pack.every)}
    values = {name: quantile(pack.every[name], levels[name]) for name in sampled(pack, "spr")}
    values["burden_0"] = np.full(patients, trial.first)
    values["settled_burden"] = values["settled_burden"] * trial.first
    day, burden = np.zeros(1), np.full(1, trial.first)
    one = Series("virtual", trial.observable, "", day, burden, np.zeros(1, int), {"drug": NO_DRUG})
    at = landmark(values, case(pad([one], pack="clinical"), 0, counted=False), (0.0, trial.first), kind, trial.first)
    spread = values["wander_sd"][:, None, None] * np.eye(2)
    return at._replace(wander_mean=np.zeros((patients, 2)), wander_root=spread)


def arms_of(trial: Trial, patients: int, seed: int) -> list[Futures]:
    """Futures of the same patients, on the same chance, under each plan."""
    plans = tuple(parse_plan(text) for text in trial.plans)
    look = Look(0.0, trial.horizon, trial.every, 28.0)
    rule = rule_for(trial.observable, trial.rule)
    at = untreated(trial, patients, seed)
    return list(run(seed, trial.name, at, NO_DRUG, plans, look, rule, 1, limit=trial.limit))


def ends(arms: list[Futures], trial: Trial) -> list[tuple[np.ndarray, np.ndarray]]:
    """Of each plan and eligible path, the value that is asked of it, ``(n,)``, and whether it counts as an event (a time that
    is cut does not; a rate has none but events and counts).
    """
    which = ELIGIBLE[trial.eligible](arms, trial)
    found = []
    for arm in arms:
        if trial.asked == "response":
            counted = which & (arm.restarted + 168.0 <= trial.horizon)
            found.append((np.isfinite(arm.responded[counted]).astype(float), np.ones(counted.sum(), bool)))
        elif trial.asked == "flare":
            counted = which & (arm.stopped + FLARE_DAYS <= trial.horizon)
            found.append((np.isfinite(arm.flared[counted]).astype(float), np.ones(counted.sum(), bool)))
        else:
            after = trial.asked == "hazard ratio after progression"
            begin = arm.seen[which] if after else np.full(which.sum(), _randomised(trial))
            end = (arm.reached if after else arm.time_to_progression)[which]
            found.append((np.minimum(end, trial.horizon) - begin, end <= trial.horizon))
    return found


def _randomised(trial: Trial) -> float:
    """The day from which times count."""
    if trial.eligible == "stopped when the rule began":
        return parse_plan(trial.plans[1]).ruled_from
    return 56.0 if trial.eligible == "no progression by day 56" else 0.0


def hazard(times: np.ndarray, events: np.ndarray) -> float:
    """Events by time at risk; half an event where there is none."""
    return float(max(events.sum(), 0.5) / times.sum())


def answer(found: list[tuple[np.ndarray, np.ndarray]]) -> float:
    """The hazard ratio of two arms over the first, or the share of one."""
    if len(found) == 1:
        return float(found[0][0].mean())
    return hazard(*found[1]) / hazard(*found[0])


def would_show(found: list[tuple[np.ndarray, np.ndarray]], trial: Trial, rng: np.random.Generator) -> list[float]:
    """The 90 % interval of what trials of the published size would show."""
    shown = []
    for _ in range(RESAMPLED):
        picks = [rng.integers(0, len(one[0]), size) for one, size in zip(found, trial.size, strict=True)]
        shown.append(answer([(one[0][pick], one[1][pick]) for one, pick in zip(found, picks, strict=True)]))
    return [float(value) for value in np.quantile(shown, (0.05, 0.95))]


def right(value: float, trial: Trial) -> bool:
    """Whether a value says what was published."""
    if trial.asked in ("response", "flare"):
        return abs(value - trial.truth) <= POINTS
    said, truth = math.log(value), math.log(trial.truth)
    return abs(said) < NEUTRAL if abs(truth) < 0.05 else said * truth > 0.0


def row(trial: Trial, patients: int, seed: int) -> dict[str, Any]:
    """What the model says of one question."""
    arms = arms_of(trial, patients, seed)
    found = ends(arms, trial)
    rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.key(seed, "trials", trial.name))))
    value = answer(found)
    told = {
        "trial": trial.name,
        "asked": trial.asked,
        "truth": trial.truth,
        "seen": value,
        "interval": would_show(found, trial, rng),
        "right": right(value, trial),
        "eligible": len(found[0][0]),
        "source": trial.source,
    }
    return told | {"by_clone": by_clone(arms, trial)}


def by_clone(arms: list[Futures], trial: Trial) -> dict[str, Any] | None:
    """The same of those with and without a clone of 5 % of the cells or more when the drug was stopped; None where it is not
    asked, since the drug is not stopped at progression.
    """
    if trial.asked not in ("response", "hazard ratio after progression") or trial.eligible.startswith("no "):
        return None
    share = arms[0].resistant_at_stop
    told = {}
    for name, part in (("with", share >= 0.05), ("without", share < 0.05)):
        mine = [arm._replace(seen=np.where(part, arm.seen, np.inf)) for arm in arms]
        found = ends(mine, trial)
        told[name] = {"patients": len(found[0][0]), "seen": answer(found) if len(found[0][0]) >= 20 else None}
    return told


def carry_out(asked: argparse.Namespace) -> int:
    """Every question once; those that stand in the file are not asked again."""
    questions = (*SCHEDULES, *BEYOND, *RATES)
    about = kept.about(asked.seed, "clinical", "psa", patients=asked.patients, questions=questions, version=2)
    rows = kept.read(asked.output, about)
    done = {one["trial"] for one in rows}
    for trial in questions:
        if trial.name not in done:
            rows.append(row(trial, asked.patients, asked.seed))
            kept.keep(asked.output, about, rows)
    for one in rows:
        low, high = one["interval"]
        mark = "right" if one["right"] else "wrong"
        print(f"{one['trial']:<48}{one['truth']:>7.2f}{one['seen']:>7.2f} ({low:.2f} to {high:.2f})  {mark}")
        for name, part in (one["by_clone"] or {}).items():
            print(f"  {name} a clone: {part['seen']} ({part['patients']} patients)")
    counts = [
        sum(one["right"] for one in rows if one["trial"] in {t.name for t in of}) for of in (SCHEDULES, BEYOND, RATES)
    ]
    print(
        f"right: {counts[0]} of {len(SCHEDULES)} schedules, {counts[1]} of {len(BEYOND)} beyond progression, ", end=""
    )
    print(f"{counts[2]} of {len(RATES)} rates")
    return 0


def main() -> None:
    """Read the options and carry it out."""
    options = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    options.add_argument("--patients", type=int, default=2000)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/retrodiction.json"))
    kept.carried_out("retrodiction", carry_out, options.parse_args())


if __name__ == "__main__":
    main()
