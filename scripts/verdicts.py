"""How often a parameter that the data cannot show is called informed: patients from the prior, fitted, counted.

    python scripts/verdicts.py --replicates 200 -o verdicts.json [--design continuous|intermittent] [--model spr] [--draws N]

continuous      on full-dose drug throughout: nothing after a stop is seen (reversion, washout_days)
intermittent    on, off and on again at one level of dose: the dose response is not seen (tolerance_power, where it is sampled),
                nor from totals the secretome (secretome_*, with --model spr-tis)

A patient's rates come from the clinical pack; PSA every 28 days for two years is that of the mean field with wander and error,
under 0.01 ng/mL censored. For each parameter that the design hides (`validation.visible`), fits are counted whose contraction
alone would call it informed (``contracted``), and those in which it is called so (``informed``); of the others the share called
informed stands beside. The target is at most 5 % (``at_most``: the upper 97.5 % limit of a share). Replicates that are done lie
beside the output (OUT.partial) and are used by the same command; ``--chunk i/n`` does each n-th from the i-th.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

from persist import keys  # noqa: E402
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, correlation  # noqa: E402
from persist.inference.cohort import case, pad  # noqa: E402
from persist.inference.curve import trace_curves  # noqa: E402
from persist.inference.fit import fit  # noqa: E402
from persist.inference.model import sampled  # noqa: E402
from persist.inference.priors import load_pack, quantile  # noqa: E402
from persist.inference.settings import Settings  # noqa: E402
from persist.types import Schedule, Series, Table  # noqa: E402
from persist.validation.health import examine, rates  # noqa: E402
from persist.validation.identify import INFORMED, wilson  # noqa: E402
from persist.validation.visible import hidden, visible  # noqa: E402

DAY = np.arange(0.0, 731.0, 28.0)
FIRST, FLOOR = 20.0, 0.01
"""About the first burden and the assay's floor, ng/mL."""
DESIGNS = {
    "continuous": Schedule(np.zeros(1), np.array([np.inf]), np.ones(1)),
    "intermittent": Schedule(np.array([0.0, 392.0]), np.array([252.0, np.inf]), np.ones(2)),
}
TAIL = 0.025


def patient(number: int, kind: str, model: str) -> Series:
    """A patient drawn from the prior: the same number is the same patient under every design."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.key(number, "verdicts"))))
    pack = load_pack("clinical", "psa")
    entries = pack.every
    level = {name: rng.uniform(1e-3, 1.0 - 1e-3, 1) for name in sorted(entries)}
    values = {name: quantile(entries[name], level[name]) for name in sampled(pack, model)}
    values["burden_0"] = FIRST * values["burden_0"]
    values["settled_burden"] = values["burden_0"] * values["settled_burden"]
    empty = Series(
        str(number), "psa", "ng/mL", DAY, np.full(len(DAY), FIRST), np.zeros(len(DAY), int), {"drug": DESIGNS[kind]}
    )
    curve = trace_curves(values, case(pad([empty], pack="clinical"), 0, counted=False), 1.0)
    log = np.asarray(curve.level)[0, : len(DAY)] + error(rng, values)
    burden = np.exp(np.clip(log, np.log(FLOOR), 50.0))
    return empty._replace(burden=burden, censoring=np.where(log < np.log(FLOOR), -1, 0))


def error(rng: np.random.Generator, values: dict[str, np.ndarray]) -> np.ndarray:
    """Wander and error of measurement at `DAY`, on the log."""
    part = rng.choice(len(NOISE_SCALE), len(DAY), p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    found = values["noise_sd"] * NOISE_SCALE[part] * rng.standard_normal(len(DAY))
    apart = np.abs(DAY[:, None] - DAY)
    cover = values["wander_sd"] ** 2 * correlation(apart, values["wander_days"])
    return found + np.linalg.cholesky(cover + 1e-12 * np.eye(len(DAY))) @ rng.standard_normal(len(DAY))


def replicate(number: int, asked: argparse.Namespace) -> dict[str, Any]:
    """Fit one patient; of every sampled parameter: hidden, contracted, informed."""
    one = patient(number, asked.design, asked.model)
    settings = Settings(asked.model, "clinical", None, asked.chains, asked.warmup, asked.draws, number)
    found = fit(Table((one,), (), str(number)), settings)
    seen = visible(one)
    rows = {name: row for name, row in rates(found, one.patient_id, seen).items() if row["informed"] is not None}
    told = {
        name: {
            "hidden": bool(hidden(name, seen)),
            "contracted": bool(row["at_least"] >= INFORMED),
            "informed": row["informed"],
        }
        for name, row in rows.items()
    }
    health = examine(found, one.patient_id)
    return {"number": number, "ok": health.ok, "max_rhat": health.max_rhat, "parameters": told}


def count(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Shares by parameter, with the upper limit of each."""
    found = {}
    for name in rows[0]["parameters"]:
        cells = [row["parameters"][name] for row in rows]
        told: dict[str, Any] = {"hidden": cells[0]["hidden"]}
        for mark in ("contracted", "informed"):
            hits = sum(cell[mark] for cell in cells)
            told[mark] = {
                "count": hits,
                "share": hits / len(rows),
                "at_most": wilson(hits / len(rows), len(rows), TAIL)[1],
            }
        found[name] = told
    return found


def kept(folder: Path, asked: argparse.Namespace) -> dict[int, dict[str, Any]]:
    """Replicates that were done with the same settings, by number."""
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    return {one["number"]: one for one in files if one["asked"] == about(asked)}


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """What decides a replicate's numbers."""
    return {name: getattr(asked, name) for name in ("design", "model", "chains", "warmup", "draws")}


def write(path: Path, content: dict[str, Any]) -> None:
    """Write whole or not at all."""
    beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    beside.write_text(json.dumps(content, indent=1) + "\n")
    os.replace(beside, path)


def main(arguments: list[str]) -> int:
    """Do what is left to do, then count all that is done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--design", choices=list(DESIGNS), default="continuous")
    parser.add_argument("--model", default="spr")
    parser.add_argument("--chunk", default="1/1", help="i/n: each n-th replicate from the i-th")
    for name, value in (("chains", 4), ("warmup", 400), ("draws", 600)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    first, every = map(int, asked.chunk.split("/"))
    folder = asked.output.with_name(f"{asked.output.name}.partial")
    folder.mkdir(parents=True, exist_ok=True)
    done = kept(folder, asked)
    for number in range(first - 1, asked.replicates, every):
        if number not in done:
            write(
                folder / f"{asked.design}-{asked.model}-{number:05d}.json",
                replicate(number, asked) | {"asked": about(asked)},
            )
            print(f"replicate {number} done", file=sys.stderr, flush=True)
    rows = [row for _, row in sorted(kept(folder, asked).items()) if row["number"] < asked.replicates]
    healthy = [row for row in rows if row["ok"]]
    told = {"replicates": len(rows), "healthy": len(healthy), "settings": about(asked), "target": 0.05}
    told |= {"parameters": count(rows) if rows else {}, "parameters_of_healthy": count(healthy) if healthy else {}}
    write(asked.output, told)
    for name, row in told["parameters"].items():
        if row["hidden"]:
            called, shrunk = (row[mark]["count"] for mark in ("informed", "contracted"))
            print(f"{name}: informed {called} of {len(rows)}, by contraction alone {shrunk}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
