"""Benefit: is the probability that a holiday gains time right, and how much does `optimise` gain of what there is to gain.

    python scripts/benefit.py [--family spr|lotka-volterra|piecewise|attenuation ...] [--patients 100] [-o docs/benefit.json]

Patients whose truth is known are fitted up to a landmark, the start of a course of treatment, and asked for the probability
that each of `PLANS` fails later than the drug throughout within `HORIZON` days. `spr` are those of the model and its prior
(two cycles, `validation.designs`), the others those of `misfit` (one cycle).

**Failure** is that of `optimise`, 1.25 times the largest burden so far, on drug or off, at two visits in a row. By the
default rule of `forecast`, a rise over the nadir while on drug, a holiday is not judged while it lasts, so it gains time
whatever it does; and with that judged at any time, the regrowth that a holiday is meant to have would be its failure. A limit
judges all plans alike.

**What came of it** is one future of the truth under plan and reference, on common random numbers: of `spr`, its own cells,
wander and errors of measurement (`validation.replicate`); of the others, their own equations, with the wander and errors of
one and the same path of visits. y is whether the gain is over 0: as in `decide`, both failing on one day or neither within
the horizon is none. Of `spr` there is the share of `TRUTHS` futures of the truth beside it.

**Who knows the truth** (`spr` only) searches as `optimise` does, with what `optimise` chose among its plans, by futures of
the truth in place of posterior draws. ``advised`` is the true mean gain of what was chosen, 0 where it was said to keep to
the reference; ``best_gain`` that of the plan named best, whatever was said. ``oracle`` and ``oracle_at_most`` are a little
under and over what there is to gain (`benefit_scores.who_knows`). What all that comes to: `benefit_scores`.

Finished patients are kept in the file, and a run that was stopped goes on from them.
"""

from __future__ import annotations

import argparse
import time
from functools import lru_cache
from pathlib import Path
from typing import Any

import benefit_scores
import jax
import jax.numpy as jnp
import kept
import misfit
import numpy as np

from persist import Settings, ask, fit, optimise, wanted
from persist.errors import FitError, RatesError
from persist.forecast import decide
from persist.forecast.candidates import Candidate
from persist.forecast.endpoints import Rule, time_to_progression
from persist.forecast.failure import judged_by
from persist.forecast.landmark import Landmark, Look
from persist.forecast.optimise import DRAWS as SEARCHED
from persist.forecast.optimise import subject
from persist.forecast.search import Subject, Terms, play, search
from persist.inference import posterior
from persist.treatment.rules import decide as decided
from persist.treatment.rules import remember
from persist.treatment.schedule import Plan, dose_at, parse_plan, plan_schedule, splice
from persist.types import Series, Table
from persist.validation.designs import DESIGNS
from persist.validation.health import examine
from persist.validation.replicate import where_truth_stands
from persist.validation.virtual import Virtual, generator, virtual

OWN, PACK, REFERENCE = "spr", "clinical", "on"
PLANS = ("off 56, on", "off 112, on", "on 84, off 84, repeat", "adaptive 0.5/1.0")
HORIZON, EVERY = misfit.HORIZON, misfit.EVERY
LANDMARK = misfit.COURSE + misfit.PAUSE
"""Day on which the futures of the other families begin."""
DRAWS, FUTURES = 500, 1
"""Posterior draws of a forecast, and futures of each draw, in a search too (whose own are two: half the time)."""
TRUTHS = 200
"""Futures of the truth."""
SETTINGS = Settings(pack=PACK, chains=4, warmup=480, draws=320, doublings=1)
"""How patients are fitted."""


def named() -> list[Candidate]:
    """The plans as a search plays them."""
    return [Candidate("named", (), parse_plan(text)) for text in PLANS]


def forecast(result: Any, series: Series, seed: int) -> tuple[Subject, dict[str, dict[str, Any]]]:
    """Who is forecast, and of each plan what is said of its gain."""
    question = ask([REFERENCE], HORIZON, visit_every=EVERY, draws=DRAWS, replicates=FUTURES, seed=seed)
    who, effective = subject(result, series, question), posterior.effective_draws(result, series.patient_id)
    terms, said = wanted(HORIZON, replicates=FUTURES, seed=seed).terms, {}
    for one in play(who, terms, named())[1]:
        found = decide.judge(one.gains, effective=effective)
        said[one.candidate.plan.text] = {
            "probability": found.probability,
            "loss": found.loss,
            "mean": found.mean,
            "verdict": found.verdict,
        }
    return who, said


def of_model(number: int, seed: int) -> dict[str, Any]:
    """A patient of the model itself."""
    design = DESIGNS[PACK]
    one = virtual(seed, number, PACK, OWN, design)
    result = fit(one.table, SETTINGS._replace(seed=seed, reference=design.reference))
    who, plans = forecast(result, one.series, seed)
    asked = wanted(HORIZON, visit_every=EVERY, replicates=FUTURES, seed=seed)
    best = optimise(result, asked)["patients"][one.series.patient_id]
    truth, terms = of_truth(one, who.look), asked.terms._replace(replicates=1)
    for played in play(truth, terms, named())[1]:
        days = played.gains[:, 0]
        share, mean = float((days > 0.0).mean()), float(days.mean())
        plans[played.candidate.plan.text] |= {"realised": float(days[0]), "share": share, "true_mean": mean}
    row = {"ok": examine(result, one.series.patient_id).ok, "plans": plans}
    return row | {"optimise": regret(truth, terms, best)}


def of_truth(one: Virtual, look: Look) -> Subject:
    """The truth as a patient whose draws are all the same."""
    at, rule = judged_by(one.series, where_truth_stands(one, PACK))
    name = f"{one.series.patient_id} truth"
    return Subject(name, alike(at, TRUTHS), one.series.schedules["drug"], look, rule)


def alike(at: Landmark, count: int) -> Landmark:
    """The one draw of a landmark, so many times."""
    found: Landmark = jax.tree.map(lambda part: np.repeat(part, count, axis=0) if np.ndim(part) else part, at)
    return found


def regret(truth: Subject, terms: Terms, best: dict[str, Any]) -> dict[str, Any]:
    """What `optimise` chose, its mean gain in the truth, and the gain of who knows that."""
    found = {one.candidate.plan.text: one for one in search(truth, terms).played}
    if (text := best["best"]) is not None:
        if text not in found:
            found[text] = play(truth, terms, [Candidate("chosen", (), parse_plan(text))])[1][0]
        found[text] = found[text]._replace(halves=(True, True))
    every = list(found.values())
    pools = np.array([one.halves for one in every]).T
    oracle, most, place = benefit_scores.who_knows(np.stack([one.gains for one in every]), pools)
    gain = 0.0 if text is None else float(found[text].gains.mean())
    return {
        "best": text,
        "keep": best["keep_reference"],
        "said": best["gain_days"] and best["gain_days"]["mean"],
        "best_gain": gain,
        "advised": 0.0 if best["keep_reference"] else gain,
        "oracle": oracle,
        "oracle_at_most": most,
        "oracle_best": REFERENCE if place is None else every[place].candidate.plan.text,
    }


def of_others(family: str, number: int, seed: int) -> dict[str, Any]:
    """A patient of another model."""
    series = misfit.seen_at_first(misfit.patient(family, number, seed))
    result = fit(Table((series,), (), ""), SETTINGS._replace(seed=seed))
    who, plans = forecast(result, series, seed)
    tumour = misfit.tumour(family, number, seed)
    times = {text: fails(tumour, parse_plan(text), series, who.rule) for text in (REFERENCE, *PLANS)}
    for text in PLANS:
        days = float(decide.gain(times[text], times[REFERENCE], HORIZON))
        plans[text] |= {"realised": days, "share": None, "true_mean": None}
    return {"ok": examine(result, series.patient_id).ok, "plans": plans, "optimise": None}


def fails(tumour: misfit.Tumour, plan: Plan, series: Series, rule: Rule) -> float:
    """Days from the landmark to failure under a plan, as measured at visits; inf: not by the horizon."""
    given = splice(series.schedules["drug"], plan_schedule(plan, LANDMARK, HORIZON), LANDMARK)
    first = len(series.day) - 1

    def dose(day: float, seen: list[float]) -> float:
        if plan.rule is None or day < LANDMARK:
            return float(dose_at(given, day))
        return ruled(plan, tuple(seen[first:]))

    after = misfit.measured(tumour, dose)[first + 1 :]
    days = np.append(0.0, EVERY * np.arange(1, len(after) + 1))
    return float(time_to_progression(days, np.append(0.0, after), np.ones(len(days), bool), rule))  # over a nadir of 0


@lru_cache(maxsize=256)
def ruled(plan: Plan, burdens: tuple[float, ...]) -> float:
    """The dose that the rule of a plan gives, having seen these burdens from its start on."""
    memory = remember(plan.rule, 1)
    for one in burdens:
        memory = decided(memory, jnp.full(1, one))
    return float(memory.dose[0])


def row_of(family: str, number: int, seed: int) -> dict[str, Any]:
    """One patient, or why it cannot be simulated or fitted (``unfit``)."""
    began = time.perf_counter()
    try:
        row = of_model(number, seed) if family == OWN else of_others(family, number, seed)
    except (FitError, RatesError) as error:
        row = {"unfit": str(error)}
    return {"patient": f"{family} {number}", "family": family} | row | {"seconds": time.perf_counter() - began}


def run(asked: argparse.Namespace) -> int:
    """What is left to do, and what all that is done says."""
    fitted = {"fit": SETTINGS._asdict(), "effort": (DRAWS, FUTURES, SEARCHED, TRUTHS)}
    whom = {"design": DESIGNS[PACK], "landmark": LANDMARK, "noise": (misfit.NOISE, misfit.WANDER, misfit.MEMORY)}
    about = kept.about(asked.seed, PACK, "psa", OWN, plans=PLANS, horizon=HORIZON, **fitted, **whom)
    rows = kept.read(asked.output, about)
    for family in asked.family or (OWN, *misfit.FAMILIES):
        done = {row["patient"] for row in rows}
        for number in range(asked.patients):
            if f"{family} {number}" not in done:
                rows.append(row_of(family, number, asked.seed))
                kept.keep(asked.output, about, rows)
                print(f"{rows[-1]['patient']}: {rows[-1]['seconds']:.0f} s", flush=True)
    found = {}
    for family in dict.fromkeys(row["family"] for row in rows):
        mine = [row for row in rows if row["family"] == family and "plans" in row]
        if mine:
            rng = generator(asked.seed, 0, "benefit", family)
            found[family] = benefit_scores.scores(mine, DRAWS * FUTURES, rng)
    kept.keep(asked.output, about, rows, scores=found)
    for family, one in found.items():
        print(f"\n{family}: ", end="")
        benefit_scores.table(one)
    return 0


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--family", action="append", choices=[OWN, *misfit.FAMILIES])
    options.add_argument("--patients", type=int, default=100)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/benefit.json"))
    kept.carried_out("benefit", run, options.parse_args())


if __name__ == "__main__":
    main()
