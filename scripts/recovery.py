"""Recovery: which rates come back from totals alone, and which from totals beside a fraction of persisters.

    python scripts/recovery.py [--patients 20] [--seed 0] [-o docs/recovery.json]

Patients with tumours that began without a resistant clone (a prior that says so is given: the line is known to have been free
of it), two courses of treatment, the second until R are most of the cells, a total a fortnight. Each is fitted thrice: from
the totals alone; with the fraction of cells that are positive for the persister marker (of a thousand) at the same visits;
and with that of resistant alleles too (of ten thousand). Of each rate: whether the 90 % interval covers the truth, and its
width over the prior's on the scale on which the prior is normal. Finished patients are kept in the file, and a run that was
stopped goes on from them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import jax
import kept
import numpy as np

from persist import Settings, fit
from persist.dynamics.observe import counted_share
from persist.inference.cohort import Reference
from persist.inference.curve import patient as start_of
from persist.inference.priors import known
from persist.inference.subject import laws
from persist.types import MARKERS, Cells, Composition, Series, Table
from persist.validation.designs import Design
from persist.validation.health import examine
from persist.validation.identify import PRIOR_WIDTH, scores
from persist.validation.virtual import errors, generator, moved, names_of, seen, wandered

TRUTH = {
    "net_growth_s": 0.015,
    "turnover_s": 0.85,
    "decline_s": -0.035,
    "tolerance_base": 2e-5,
    "tolerance_drug": 2e-3,
    "reversion": 0.04,
    "reversion_block": 0.95,
    "birth_p_share": 0.5,
    "death_p": 0.005,
    "mutation": 3e-8,
    "escape_fold": 20.0,
    "resistant_0": 1e-10,
    "persister_0": 2e-3,
    "cost_r": 0.05,
    "kill_p_share": 0.05,
    "kill_r_share": 0.05,
    "onset_days": 6.0,
    "washout_days": 12.0,
    "noise_sd": 0.07,
    "wander_sd": 0.12,
    "wander_days": 50.0,
    "burden_0": 20.0,
    "settled_burden": 90.0,
    "cells_per_unit": 3e8,
}
MOVED = ("net_growth_s", "decline_s", "tolerance_drug", "reversion", "escape_fold", "persister_0")
SPREAD = 0.3
PACK = known("clinical", ("resistant_0=1e-11..1e-9",))
DESIGN = Design(
    "psa", "ng/mL", "on 252, off 140, on", 14.0, 1092.0, Reference(20.0, 40.0), 0.05, "on", "off 90, on", 365.0
)
COUNTED = {"persister": 1000, "resistant": 10_000}
ARMS = {"totals": (), "with persisters": ("persister",), "with both": ("persister", "resistant")}
"""What is measured beside the totals."""
WATCHED = ("tolerance_drug", "reversion", "escape_drug", "tolerance_base", "net_growth_s", "decline_s", "mutation")


def truth(seed: int, number: int) -> dict[str, float]:
    """Rates of one patient."""
    shock = generator(seed, number, "recovery").standard_normal(len(MOVED))
    return TRUTH | {name: TRUTH[name] * math.exp(SPREAD * z) for name, z in zip(MOVED, shock, strict=True)}


def measured(seed: int, number: int) -> tuple[Series, Composition, dict[str, float]]:
    """Totals of one patient, the fractions at the same visits, and the true rates, derived ones too."""
    values = truth(seed, number)
    start = start_of({name: np.asarray(value) for name, value in values.items()}, 1.0)
    cells = moved(names_of(seed, number, "recovery cells"), start, DESIGN)
    cells = Cells(*(np.asarray(state) for state in cells))
    total = np.maximum(cells.total, 0.5)
    level = np.log(total / values["cells_per_unit"])
    level = level + wandered(names_of(seed, number, "recovery wander"), values, DESIGN.day)[:, 0]
    noise = errors(names_of(seed, number, "recovery errors"), values["noise_sd"], np.exp(level), counted=False)
    series = seen(f"patient {number}", np.exp(level + noise), DESIGN, math.inf, "none")
    rows = []
    for marker, name in enumerate(MARKERS):
        count = COUNTED[name]
        found = counted_share(names_of(seed, number, "recovery", name), cells, marker, count)
        rows += [(day, float(one), count, marker) for day, one in zip(DESIGN.day, np.asarray(found), strict=True)]
    counted = Composition(*(np.array(column) for column in zip(*sorted(rows), strict=True)))
    return series, counted, values | {"escape_drug": float(start.rates.escape_drug)}


def with_markers(series: Series, counted: Composition, markers: tuple[str, ...]) -> Series:
    """The series with the fractions of these markers."""
    chosen = np.isin(counted.marker, [MARKERS.index(name) for name in markers])
    return series._replace(composition=Composition(*(column[chosen] for column in counted)))


def judge(series: Series, true: dict[str, float], seed: int) -> dict[str, object]:
    """A fit, and what became of each watched rate."""
    result = fit(Table((series,), (), ""), Settings(pack=PACK, seed=seed, reference=DESIGN.reference))
    posterior = result["posterior"].to_dataset().sel(patient=series.patient_id)
    prior, health, rows = laws(result, series.patient_id), examine(result, series.patient_id), {}
    for name in WATCHED:
        draws = posterior[name].values
        low, high = np.quantile(draws, (0.05, 0.95))
        if name in prior:
            ends = np.quantile(scores(prior[name], draws), (0.05, 0.95))
            width = float((ends[1] - ends[0]) / PRIOR_WIDTH)
        else:  # escape_drug = escape_fold mutation b_S: its prior by draws
            before = result["prior"].to_dataset().sel(patient=series.patient_id)
            made = before["escape_fold"] * before["mutation"] * before["net_growth_s"] / (1.0 - before["turnover_s"])
            ends = np.quantile(np.log(made.values), (0.05, 0.95))
            width = float(np.log(high / low) / (ends[1] - ends[0]))
        rows[name] = {
            "truth": true[name],
            "q05": float(low),
            "q95": float(high),
            "covers": bool(low <= true[name] <= high),
        }
        rows[name]["width_over_prior"] = width
    return {"ok": health.ok, "max_rhat": health.max_rhat, "rates": rows}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--patients", type=int, default=20)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/recovery.json"))
    asked = options.parse_args()
    jax.config.update("jax_enable_x64", True)
    about = kept.about(
        asked.seed, PACK, "psa", truth=TRUTH, arms=ARMS, design=DESIGN, counted=COUNTED, moved=MOVED, spread=SPREAD
    )
    rows = kept.read(asked.output, about)
    done = {row["patient"] for row in rows}
    for number in sorted(set(range(asked.patients)) - done):
        series, counted, true = measured(asked.seed, number)
        fits = {name: judge(with_markers(series, counted, arm), true, asked.seed) for name, arm in ARMS.items()}
        rows.append({"patient": number} | fits)
        kept.keep(asked.output, about, rows)
    print(f"{'rate':<16}" + "".join(f"{name:>18} covers   width" for name in ARMS))
    for name in WATCHED:
        told = ""
        for arm in ARMS:
            part = [row[arm]["rates"][name] for row in rows]
            covers, width = sum(one["covers"] for one in part), np.mean([one["width_over_prior"] for one in part])
            told += f"{covers:>20} / {len(rows):<3}{width:>8.2f}"
        print(f"{name:<16}{told}")


if __name__ == "__main__":
    main()
