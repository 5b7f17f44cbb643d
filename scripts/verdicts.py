"""How often a parameter that the data cannot show is called informed: patients from the prior, fitted, counted.

    python scripts/verdicts.py --replicates 200 -o verdicts.json [--design continuous|intermittent] [--model spr] [--draws N]

continuous      on full-dose drug throughout: nothing after a stop is seen (reversion, washout_days)
intermittent    on, off and on again

Under either, totals do not show the secretome (secretome_*, with --model spr-tis).

A patient's rates come from the clinical pack; PSA every 28 days for two years is that of the mean field with wander and error,
under 0.01 ng/mL censored. For each parameter that the design hides (`validation.visible`), fits are counted whose contraction
alone would call it informed (``contracted``), and those in which it is called so (``informed``: never, by rule); of the others
the share called informed stands beside. The target is at most 5 % (``at_most``: the upper 97.5 % limit of a share). Replicates
that are done are in the output and beside it (OUT.partial), and are used by the same command where design, model, effort and
priors are the same; ``--chunk i/n`` does each n-th from the i-th, ``--first N`` begins with replicate N.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import jax
import kept
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
    """Fit one patient; which sampled parameters are hidden, contracted, informed."""
    one = patient(number, asked.design, asked.model)
    effort = asked.chains, asked.warmup, asked.draws
    settings = Settings(asked.model, "clinical", None, *effort, number, doublings=asked.doublings)
    found = fit(Table((one,), (), str(number)), settings)
    seen = visible(one)
    judged = {name: row for name, row in rates(found, one.patient_id, seen).items() if row["informed"] is not None}
    health = examine(found, one.patient_id)
    return {
        "number": number,
        "ok": health.ok,
        "max_rhat": health.max_rhat,
        "hidden": [name for name in judged if hidden(name, seen)],
        "contracted": [name for name, row in judged.items() if row["at_least"] >= INFORMED],
        "informed": [name for name, row in judged.items() if row["informed"]],
    }


def count(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Of each parameter that is hidden or ever informed: in how many rows, and the upper limit of the share."""
    names = sorted({name for row in rows for mark in ("hidden", "contracted", "informed") for name in row[mark]})
    found = {}
    for name in names:
        told: dict[str, Any] = {"hidden": name in rows[0]["hidden"]}
        for mark in ("contracted", "informed"):
            hits = sum(name in row[mark] for row in rows)
            told[mark] = {"count": hits, "at_most": wilson(hits / len(rows), len(rows), TAIL)[1]}
        found[name] = told
    return found


def about(asked: argparse.Namespace) -> dict[str, Any]:
    """What decides a replicate's numbers."""
    effort = {name: getattr(asked, name) for name in ("design", "model", "chains", "warmup", "draws", "doublings")}
    return effort | kept.about(0, "clinical", "psa", asked.model, first=FIRST, floor=FLOOR, days=DAY.tolist())


def done(asked: argparse.Namespace, folder: Path) -> dict[int, dict[str, Any]]:
    """Replicates that are done, in the output or beside it, by number."""
    rows = kept.read(asked.output, about(asked))
    files = [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]
    rows += [row for one in files if one["about"] == about(asked) for row in one["rows"]]
    return {row["number"]: row for row in rows}


def main(arguments: list[str]) -> int:
    """Do what is left to do, then count all that is done."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--replicates", type=int, default=200)
    parser.add_argument("--first", type=int, default=0, help="the first replicate")
    parser.add_argument("--design", choices=list(DESIGNS), default="continuous")
    parser.add_argument("--model", default="spr")
    parser.add_argument("--chunk", default="1/1", help="i/n: each n-th replicate from the i-th")
    for name, value in (("chains", 4), ("warmup", 400), ("draws", 600), ("doublings", 4)):
        parser.add_argument(f"--{name}", type=int, default=value)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    begin, every = map(int, asked.chunk.split("/"))
    folder = asked.output.with_name(f"{asked.output.name}.partial")
    found = done(asked, folder)
    for number in range(asked.first + begin - 1, asked.first + asked.replicates, every):
        if number not in found:
            kept.keep(folder / f"{number:05d}.json", about(asked), [replicate(number, asked)])
            print(f"replicate {number} done", file=sys.stderr, flush=True)
    rows = [row for _, row in sorted(done(asked, folder).items())]
    kept.keep(asked.output, about(asked), rows)
    print(f"{len(rows)} replicates, {sum(row['ok'] for row in rows)} of them healthy")
    for name, told in count(rows).items():
        called, shrunk = told["informed"], told["contracted"]
        kind = "hidden" if told["hidden"] else ""
        print(f"{name:<18}{kind:<8}informed {called['count']:>3}, by contraction alone {shrunk['count']:>3}", end="")
        print(f" (at most {shrunk['at_most']:.1%})")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
