"""Prior fall-back: patients of a known population of whom one or two values are known, forecast a year ahead.

    python scripts/fallback.py [--patients 40] [--seed 0] [-o docs/fallback.json]

What one value tells is how large the tumour was, within noise and wander: its likelihood depends on burden_0, noise_sd and
wander_sd alone. So the posterior is the population, weighed by it, and can be had without a sampler: draws of the population,
drawn again in proportion to the likelihood. Beside each fit stands the forecast of such draws (`weighed`): the fit's must be
as wide, and both must hold what is measured later as often as they say. Of two values the same is asked.

A usual fit takes the references of two priors from the series itself (`inference.cohort.Reference`); the arms "own" do that,
the others are given them beforehand, as in a calibration. Finished patients are kept in the file, and a run that was stopped
goes on from them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import jax
import kept
import numpy as np

from persist.inference import leaning
from persist.inference.cohort import Case
from persist.inference.curve import trace_curves
from persist.inference.fit import members
from persist.inference.model import sampled
from persist.inference.population import ALONE, Law, Population, populated, shared
from persist.inference.priors import at_score, load_pack, quantile
from persist.inference.sampler import Effort, draw, worst_rhat
from persist.inference.settings import Settings
from persist.inference.target import Member
from persist.keys import key
from persist.types import Series, Table
from persist.validation.backtest import Foreseen, foreseen
from persist.validation.cohorts import frame_of, names_in, patient
from persist.validation.cuts import Cut, cuts
from persist.validation.scoring import COVERED, Forecast, score
from persist.validation.study import study
from persist.validation.virtual import Virtual, generator

SCORES = ("net_growth_s", "decline_s", "tolerance_drug", "noise_sd", "wander_sd")
LAW = Law(
    np.array([[0.5, -0.8, 0.3, -0.5, 0.3]]),
    0.25 * (np.eye(5) + 0.3 * (1.0 - np.eye(5)))[None],
    np.array([[0.6, 1.5, 0.0, 0.0, 0.0]]),
    np.array([0.2]),
    np.array([0.5]),
)
"""A population that differs from the pack's prior, and less from patient to patient; a fifth of them decline otherwise."""

ARMS = {"one value": (1, False), "two values": (2, False), "one value, own": (1, True), "two values, own": (2, True)}
"""How many values are known, and whether the references are the series' own."""

DAYS = (91.0, 182.0, 364.0)
"""Days after the landmark at which widths are told, about."""

DRAWS, PATHS = 20_000, 640
"""Draws of the population that are weighed, and paths of a forecast."""


def population(asked_of: Any) -> Population:
    """`LAW` over all scores."""
    return Population(
        *(part[0] for part in populated(LAW, frame_of(asked_of)._replace(pooled=np.isin(names_in(asked_of), SCORES))))
    )


def person(seed: int, number: int) -> Virtual:
    """A patient of the population."""
    asked = study(Settings(seed=seed), cohort=1)
    z = leaning.drawn(generator(seed, number, "fallback"), population(asked), 1)[0]
    return patient(asked, number, 0, z)


def known(
    series: Series, values: int, own: bool, seed: int, effort: tuple[int, int, int]
) -> tuple[Cut, Member, Settings]:
    """A patient cut after so many values, as the sampler reads it, with the population for a prior."""
    asked = study(Settings("spr", "clinical", None, *effort, seed))
    settings = asked.settings._replace(reference=None) if own else asked.settings
    cut = cuts(series, f"after:{values}")[0]
    return cut, members(Table((cut.series,), (), ""), settings, population(asked))[0], settings


def weighed(
    rng: np.random.Generator, case: Case, law: Population, draws: int = DRAWS, paths: int = PATHS
) -> dict[str, np.ndarray]:
    """Parameters ``(PATHS,)`` of draws of a population that are drawn again by how likely they make the series of a case."""
    pack = load_pack("clinical", "psa")
    entries, names = pack.every, sampled(pack, "spr")
    unit = {"burden_0": np.exp(case.log_first), "settled_burden": np.exp(case.log_largest)}
    z = leaning.drawn(rng, law, draws)
    values = {name: at_score(entries[name], column) for name, column in zip(shared(names), z.T, strict=True)}
    values |= {name: unit[name] * quantile(entries[name], rng.uniform(size=draws)) for name in ALONE if name in names}
    level = np.asarray(trace_curves(values, case, 1.0).log_likelihood)
    weight = np.exp(level - level.max())
    take = rng.choice(draws, PATHS, p=weight / weight.sum())
    return {name: column[take] for name, column in values.items()}


def fitted(cut: Cut, member: Member, settings: Settings) -> tuple[Foreseen, float]:
    """The forecast of a fit, and its worst R-hat."""
    effort = Effort(settings.chains, settings.warmup, settings.draws, 1)
    found = draw(key(settings.seed, member.patient_id, "fallback"), member.target, effort, member.case)
    take = np.linspace(0, next(iter(found.values.values())).size - 1, PATHS).round().astype(int)
    values = {name: value.ravel()[take] for name, value in found.values.items()}
    return foreseen(settings.seed, f"{member.patient_id} fit", cut, values, member.case), worst_rhat(found)


def by_weight(cut: Cut, member: Member, seed: int, number: int) -> Foreseen:
    """The forecast of draws of the population that are weighed by the values."""
    assert not member.target.chance  # the clone's size is no matter of chance: the likelihood is that of the mean field
    values = weighed(generator(seed, number, "weighed"), member.case, member.case.population)
    return foreseen(seed, f"{member.patient_id} weighed", cut, values, member.case)


def widths(found: Foreseen, cut: Cut) -> list[float]:
    """Of the middle 90 % at the visits next to `DAYS`."""
    low, high = np.quantile(found.measured, (0.05, 0.95), axis=0)
    return [float((high - low)[np.argmin(np.abs(cut.after - day))]) for day in DAYS]


def held(found: Foreseen, cut: Cut, rng: np.random.Generator) -> list[int]:
    """How many of the values of a year each interval of `COVERED` holds."""
    return score(Forecast(*found), cut, rng).held.sum(axis=0).tolist()


def one(seed: int, number: int, effort: tuple[int, int, int]) -> dict[str, Any]:
    """A patient in every arm, by its fit and by weighed draws."""
    series, rows = person(seed, number).series, {}
    for arm, (values, own) in ARMS.items():
        cut, member, settings = known(series, values, own, seed, effort)
        by_fit, rhat = fitted(cut, member, settings)
        other, rng = by_weight(cut, member, seed, number), generator(seed, number, arm)
        rows[arm] = {
            "values": int(cut.scored.sum()),
            "max_rhat": rhat,
            "held": {"fit": held(by_fit, cut, rng), "weighed": held(other, cut, rng)},
            "width": {"fit": widths(by_fit, cut), "weighed": widths(other, cut)},
        }
    return {"patient": number} | rows


def show(rows: list[dict[str, Any]]) -> None:
    """Coverage, and how wide fits are over weighed draws, arm by arm."""
    print(f"{'':<18}{'held by 50, 80, 90 %: fit':>28}{'weighed':>18}   width of fit / weighed at {DAYS} days")
    for arm in ARMS:
        part = [row[arm] for row in rows]
        total = sum(row["values"] for row in part)
        told = {
            how: "/".join(f"{sum(row['held'][how][k] for row in part) / total:.0%}" for k in range(len(COVERED)))
            for how in ("fit", "weighed")
        }
        ratio = np.median([np.divide(row["width"]["fit"], row["width"]["weighed"]) for row in part], axis=0)
        print(f"{arm:<18}{told['fit']:>28}{told['weighed']:>18}   {', '.join(f'{value:.2f}' for value in ratio)}")


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--patients", type=int, default=40)
    options.add_argument("--seed", type=int, default=0)
    for name, value in (("chains", 2), ("warmup", 640), ("draws", 320)):
        options.add_argument(f"--{name}", type=int, default=value)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/fallback.json"))
    asked = options.parse_args()
    jax.config.update("jax_enable_x64", True)
    effort = (asked.chains, asked.warmup, asked.draws)
    told = {name: part.tolist() for name, part in LAW._asdict().items()}
    about = kept.about(asked.seed, "clinical", "psa", scores=SCORES, law=told, arms=ARMS, effort=effort)
    rows = kept.read(asked.output, about)
    for number in range(len(rows), asked.patients):
        rows.append(one(asked.seed, number, effort))
        kept.keep(asked.output, about, rows)
    show(rows)


if __name__ == "__main__":
    main()
