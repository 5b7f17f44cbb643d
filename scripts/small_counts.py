"""Few cells: the fast likelihood against the particle filter on simulated wells of about ten thousand cells.

    python scripts/small_counts.py [--patients 10] [--seed 0] [-o docs/small_counts.json]

Every well starts with a few resistant cells on average, so whether a clone lives and when it shows is chance. The wells are
simulated by the stochastic engine, fitted, and audited at posterior draws: the gap of the fast likelihood with the clone's law,
and of the mean field in its place. Where the filter errs by too much to tell, it is run again with eight times the particles.
Finished wells are kept in the file, and a run that was stopped goes on from them.
"""

from __future__ import annotations

import argparse
import math
from pathlib import Path

import jax
import kept
import numpy as np

from persist import Settings, fit
from persist.inference.cohort import Reference
from persist.validation import audit
from persist.validation.designs import Design
from persist.validation.virtual import errors, generator, moved, names_of, seen, wandered

CAPACITY, FIRST = 1e4, 4e3
DRAWS = 50
TOLD = (
    *("loglik_gap", "gap_mcse", "mean_field_gap", "clone_law_gap", "filter_noise", "khat", "khat_limit", "ess"),
    *("ok", "verdict", "problems", "draws"),
)
"""What is kept of an audit."""
TRUTH = {
    "net_growth_s": 0.45,
    "turnover_s": 0.15,
    "decline_s": -0.3,
    "tolerance_base": 1e-3,
    "tolerance_drug": 2e-2,
    "reversion": 0.2,
    "reversion_block": 0.9,
    "birth_p_share": 0.05,
    "death_p": 0.02,
    "mutation": 5e-8,
    "escape_fold": 15.0,
    "resistant_0": 7.5e-4,
    "persister_0": 1e-2,
    "cost_r": 0.1,
    "kill_p_share": 0.05,
    "kill_r_share": 0.1,
    "onset_days": 0.4,
    "washout_days": 0.5,
    "noise_sd": 0.07,
    "wander_sd": 0.12,
    "wander_days": 3.0,
}
"""A cell line: three resistant cells at the start on average, and hundreds of persisters under the drug."""

SPREAD = 0.25
"""Spread of the logs of rates from well to well."""

DESIGN = Design(
    observable="cells",
    unit="",
    given="on 8, off 5, repeat",
    visit_every=1.0,
    last=24.0,
    reference=Reference(FIRST, CAPACITY / 2.4),
    floor=1.0,
    plan="on",
    holiday="off 3, on",
    horizon=25.0,
)


def truth(seed: int, number: int) -> dict[str, float]:
    """Rates of one well."""
    shock = generator(seed, number, "rates").standard_normal(len(TRUTH))
    moves = {"net_growth_s", "decline_s", "tolerance_drug", "reversion", "resistant_0", "persister_0", "death_p"}
    values = {
        name: value * math.exp(SPREAD * z if name in moves else 0.0)
        for (name, value), z in zip(TRUTH.items(), shock, strict=True)
    }
    return values | {"burden_0": FIRST, "settled_burden": CAPACITY * (1.0 - values["turnover_s"])}


def well(seed: int, number: int):
    """The series of one well, and how many resistant cells it began and ended with."""
    from persist.inference.curve import patient

    values = truth(seed, number)
    start = patient({name: np.asarray(value) for name, value in values.items()}, 1.0)
    cells = moved(names_of(seed, number, "cells"), start, DESIGN)
    total = np.maximum(np.asarray(cells.total), 0.5)
    level = np.log(total) + wandered(names_of(seed, number, "wander"), values, DESIGN.day)[:, 0]
    noisy = level + errors(names_of(seed, number, "errors"), values["noise_sd"], np.exp(level), counted=True)
    series = seen(f"well {number}", np.round(np.exp(noisy)), DESIGN, math.inf, "none")
    return series, float(cells.resistant[0]), float(cells.resistant[-1])


def one(seed: int, number: int, particles: int) -> dict[str, object]:
    """Fit and audit of one well."""
    from persist.types import Table
    from persist.validation.health import examine

    series, first, last = well(seed, number)
    settings = Settings(pack="in-vitro", seed=seed, warmup=960, draws=320, reference=DESIGN.reference)
    result = fit(Table((series,), (), ""), settings)
    health = examine(result, series.patient_id)
    found = audit.audit(result, series.patient_id, draws=DRAWS, particles=particles, seed=seed)
    if found.noise > audit.MOST_NOISE:
        particles *= 8
        found = audit.audit(result, series.patient_id, draws=DRAWS, particles=particles, seed=seed)
    told = audit.as_json(found)
    told = {name: told[name] for name in TOLD} | {"particles": particles}
    return told | {"well": number, "resistant": [first, last], "fit_ok": health.ok, "max_rhat": health.max_rhat}


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--patients", type=int, default=10)
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--particles", type=int, default=1000)
    options.add_argument("-o", "--output", type=Path, default=Path("docs/small_counts.json"))
    asked = options.parse_args()
    jax.config.update("jax_enable_x64", True)
    about = kept.about(
        *(asked.seed, "in-vitro", "one"),
        **{
            "truth": TRUTH,
            "design": DESIGN,
            "spread": SPREAD,
            "told": TOLD,
            "draws": DRAWS,
            "particles": asked.particles,
        },
    )
    rows = kept.read(asked.output, about)
    for number in range(asked.patients):
        if any(row["well"] == number for row in rows):
            continue
        rows.append(one(asked.seed, number, asked.particles))
        kept.keep(asked.output, about, rows)
        row = rows[-1]
        print(
            f"well {number}: R {row['resistant'][0]:.0f} -> {row['resistant'][1]:.0f}; gap {row['loglik_gap']:+.2f} ± "
            f"{row['gap_mcse']:.2f}, mean field {row['mean_field_gap']:+.2f}, k-hat {row['khat']:.2f}, ok {row['ok']}",
            flush=True,
        )
    print_sums(rows)


def print_sums(rows: list[dict]) -> None:
    """How many wells hold, with the clone's law and with the mean field."""
    for name, what in (("loglik_gap", "the clone's law"), ("mean_field_gap", "the mean field")):
        good = sum(abs(row[name]) < audit.MOST_GAP for row in rows)
        print(f"{what}: {good} of {len(rows)} wells within {audit.MOST_GAP} nats")
    for verdict in sorted({row["verdict"] for row in rows}):
        print(f"{verdict}: wells {', '.join(str(row['well']) for row in rows if row['verdict'] == verdict)}")


if __name__ == "__main__":
    main()
