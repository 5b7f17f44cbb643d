"""Responders: a few patients of a cohort respond far better; who is one, told from two visits on drug.

    python scripts/responders.py [--cohort 40] [--patients 120] [--seed 0] [-o docs/responders.json]

A cohort of a known population, a share `SHARE` of which falls faster on drug and tolerates it less, is followed for two cycles
and fitted together, with biomarkers that have nothing to do with anything and one that responders have more of. Patients who
come after it, without biomarkers, are then seen before the drug and at two visits on it, and fitted with that population. Told
are how well the probability of being apart ranks responders first (AUC), of them and of the cohort itself, whether it is right
on average, and what the biomarkers were found to act on.

The draws of every patient are kept beside the output, from which a run that was stopped goes on.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import kept
import numpy as np

from persist.errors import UsageError
from persist.inference import leaning
from persist.inference.pooled import fit_cohort, fit_next
from persist.inference.population import Law, Population, populated
from persist.inference.settings import Settings
from persist.types import Biomarkers, Series, Table
from persist.validation.cohorts import frame_of, names_in, patient
from persist.validation.populations import examine
from persist.validation.scoring import auc
from persist.validation.study import Study, study
from persist.validation.virtual import generator, table_of

SHARE, NOISE, KNOWN = 0.15, 5, 3
"""Share of responders, biomarkers of no meaning, and values that are known of those who come later."""
TELLS = 1.5
"""How many standard deviations more of the last biomarker a responder has."""

SCORES = ("net_growth_s", "decline_s", "tolerance_drug", "noise_sd", "wander_sd")
MOST = np.array([0.5, 0.3, 0.3, -0.5, 0.3])
TOWARD = np.array([0.0, -2.5, -1.0, 0.0, 0.0])
"""Means of most patients, in scores, and how far responders are from them."""
SPREAD = 0.25 * (np.eye(5) + 0.3 * (1.0 - np.eye(5)))

COLUMNS = (*(f"noise {number + 1}" for number in range(NOISE)), "marker")


def people(asked: Study, number: int, count: int) -> tuple[tuple[Series, ...], np.ndarray]:
    """Patients of the population, and which of them respond."""
    frame = frame_of(asked)._replace(pooled=np.isin(names_in(asked), SCORES))
    rng, series = generator(asked.settings.seed, number, "responders"), []
    responds = rng.uniform(size=count) < SHARE
    for place, well in enumerate(responds):
        mean = MOST + TOWARD * well
        law = Law(mean[None], SPREAD[None], np.zeros((1, 5)), np.zeros(1), np.array([0.5]))
        z = leaning.drawn(rng, Population(*(part[0] for part in populated(law, frame))), 1)[0]
        series.append(patient(asked, number, place, z).series)
    return tuple(series), responds


def markers(asked: Study, series: tuple[Series, ...], responds: np.ndarray) -> Biomarkers:
    """Of every patient; a tenth is missing."""
    rng = generator(asked.settings.seed, 0, "biomarkers")
    value = rng.standard_normal((len(series), len(COLUMNS)))
    value[:, -1] += TELLS * responds
    value[rng.uniform(size=value.shape) < 0.1] = np.nan
    return Biomarkers(COLUMNS, tuple(one.patient_id for one in series), value)


def ranked(likely: np.ndarray, responds: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """AUC with its 90 % interval over patients, and the mean probability beside the share that there is.

    Raises `UsageError` where all respond or none does: then there is nothing to rank.
    """
    if responds.all() or not responds.any():
        what = f"{int(responds.sum())} of {len(responds)} patients respond: there is nothing to rank"
        raise UsageError(what, where="--cohort, --patients", remedy="simulate more of them")
    value = auc(likely[responds], likely[~responds])
    picks = [rng.integers(0, len(likely), len(likely)) for _ in range(2000)]
    again = [
        auc(likely[at][responds[at]], likely[at][~responds[at]]) for at in picks if 0 < responds[at].sum() < len(at)
    ]
    low, high = np.quantile(again, (0.05, 0.95))
    right = np.mean((likely - responds) ** 2)
    base = responds.mean() * (1.0 - responds.mean())
    return {
        "auc": value,
        "auc_q05": low,
        "auc_q95": high,
        "responders": int(responds.sum()),
        "patients": len(likely),
        "mean_probability": float(likely.mean()),
        "brier_skill": 1.0 - right / base,
    }


def tell(what: str, share: float) -> None:
    """Where the fit of the cohort is."""
    print(f"\r{what} {share:.0%} ", end="", file=sys.stderr)


def run(asked: argparse.Namespace) -> int:
    """Cohort, newcomers, and what is told of them."""
    of = study(Settings(seed=asked.seed), cohort=asked.cohort)
    beside = asked.output.with_name(f"{asked.output.name}.partial")
    series, responds = people(of, 0, asked.cohort)
    table = table_of(series)._replace(biomarkers=markers(of, series, responds))
    fit = fit_cohort(table, of.settings, partial=beside / "cohort", progress=tell)
    told = dict(examine(fit) or {})
    later, well = people(of, 1, asked.patients)
    first = tuple(one.until(float(one.day[KNOWN - 1])) for one in later)
    quick = of.settings._replace(chains=2, warmup=480, draws=320, doublings=1)
    known = fit_next(Table(first, (), ""), quick, fit, partial=beside / "later", progress=lambda at: None)
    likely = dict(examine(known) or {})
    rng = generator(asked.seed, 0, "bootstrap")
    who = [one.patient_id for one in series], [one.patient_id for one in first]
    result = {
        "max_rhat": told["max_rhat"],
        "min_ess_bulk": told["min_ess_bulk"],
        "share_apart": told["share_apart"],
        "newcomers": ranked(np.array([likely["is_apart"][name] for name in who[1]]), well, rng),
        "cohort": ranked(np.array([told["is_apart"][name] for name in who[0]]), responds, rng),
    }
    about = kept.about(asked.seed, "clinical", "psa", share=SHARE, most=MOST.tolist(), toward=TOWARD.tolist())
    kept.keep(asked.output, about, told["effects"], **result)
    for name, value in result.items():
        print(name, kept.short(value))
    for row in told["effects"]:
        print(kept.short(row))
    return 0


def main() -> None:
    options = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    options.add_argument("--cohort", type=int, default=40)
    options.add_argument("--patients", type=int, default=120)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/responders.json"))
    kept.carried_out("responders", run, options.parse_args())


if __name__ == "__main__":
    main()
