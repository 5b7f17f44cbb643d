"""Real patients: what the fit of a cohort says of each and of all, for the section of that name in docs/results.md.

    persist fit obs.csv --treatments t.csv --observable psa -o fit.nc
    python scripts/real.py fit.nc [--audit N] [-o docs/real.json]

Of each patient: the worst R-hat, the least effective sizes, divergent transitions, what the fit is marked for, how the errors
of neighbouring visits hang together, and in what share of each chain's draws R are most of the cells. With ``--audit N``, of
the first N patients too how far the fast likelihood is from the particle filter. Over all: the shares that pass, the pooled
correlation of errors, and how long the fit took.

The output names patients by the ids of their table. It holds no day and no measured value: of data that may not be passed on,
nothing can be read from it. Finished patients are kept in it, and a run that was stopped goes on from them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import kept
import numpy as np

from persist.inference import posterior, store
from persist.validation import audit, populations, residuals
from persist.validation.chains import MAX_RHAT, MIN_ESS, MIN_TAIL
from persist.validation.finished import source
from persist.validation.health import examine

DRAWS, PARTICLES = 50, 1000
"""Of an audit, unless told otherwise; as `persist audit` has them."""
SHARES = {"over_half": 0.5, "over_fifth": 0.2}
"""Of R among all cells, on average over the visits: in what share of the draws it is more than this."""
TARGETS = {"ok": 0.95, "max_rhat": MAX_RHAT, "min_ess_bulk": MIN_ESS, "min_ess_tail": MIN_TAIL, "wall_minutes": 60.0}
"""What is asked: share that passes, the worst R-hat, the least effective sizes, minutes of 54 patients on two cores."""


def judge(fit: store.DataTree, name: str, shared: list[str]) -> dict[str, Any]:
    """One patient's row; ``shared``: what is wrong with the population that all of them lean on."""
    health = examine(fit, name)
    problems = [*health.problems, *shared]
    found = residuals.residuals(fit, name)
    resistant = fit["sample_stats"].to_dataset()["resistant_share"].sel(patient=name).values
    return {
        "patient": name,
        "max_rhat": health.max_rhat,
        "min_ess_bulk": health.min_ess_bulk,
        "min_ess_tail": health.min_ess_tail,
        "divergences": health.divergences,
        "ok": not problems,
        "problems": problems,
        "residuals": {
            "autocorrelation": found.autocorrelation,
            "standard_error": found.standard_error,
            "p_value": found.p_value,
            "ljung_box_p_value": found.ljung_box_p_value,
            "flagged": found.flagged,
            "sums": residuals.sums(found.score, found.measured)._asdict(),
        },
        "resistant": {what: np.mean(resistant > most, axis=1).tolist() for what, most in SHARES.items()},
    }


def audited(fit: store.DataTree, name: str, draws: int, particles: int, seed: int) -> dict[str, Any]:
    """What the audit of one patient says."""
    told = audit.as_json(audit.audit(fit, name, draws=draws, particles=particles, seed=seed))
    names = ("loglik_gap", "gap_mcse", "khat", "filter_noise", "ok", "problems")
    return {what: told[what] for what in names} | asked_of_audit(draws, particles)


def asked_of_audit(draws: int, particles: int) -> dict[str, Any]:
    return {"asked": {"draws": draws, "particles": particles}}


def over_all(fit: store.DataTree, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All patients together. Those that could not be fitted do not pass."""
    lost = sorted(store.attribute(fit, "unfit"))
    flagged = [row["patient"] for row in rows if row["residuals"]["flagged"]]
    audits = [row["audit"] for row in rows if "audit" in row]
    told = {
        "patients": len(rows) + len(lost),
        "passed": sum(row["ok"] for row in rows),
        "marked": [row["patient"] for row in rows if not row["ok"]],
        "unfit": lost,
        "max_rhat": max(_known(rows, "max_rhat"), default=None),
        "min_ess_bulk": min(_known(rows, "min_ess_bulk"), default=None),
        "min_ess_tail": min(_known(rows, "min_ess_tail"), default=None),
        "divergences": sum(row["divergences"] for row in rows),
        "targets": TARGETS,
        "flagged": flagged,
        "residuals": residuals.together(residuals.Sums(**row["residuals"]["sums"]) for row in rows),
        "audits": len(audits),
        "audits_ok": sum(one["ok"] for one in audits),
        "largest_gap": max((abs(gap) for gap in _known(audits, "loglik_gap")), default=None),
        "largest_khat": max(_known(audits, "khat"), default=None),
    }
    return told | {"passed_share": told["passed"] / max(1, told["patients"])}


def _known(rows: list[dict[str, Any]], name: str) -> list[float]:
    """The numbers of that name, without nulls."""
    return [row[name] for row in rows if row[name] is not None]


def made(fit: store.DataTree) -> dict[str, Any]:
    """How the fit was made, from its file: settings, versions, digest of the table, when, seconds where they are kept."""
    origin = store.attribute(fit, "provenance")
    names = ("seed", "data_sha256", "versions", "made")
    told = {"settings": store.attribute(fit, "settings")} | {name: origin.get(name) for name in names}
    told["settings"].pop("reference", None)  # burdens
    return told | {name: float(fit.attrs[name]) for name in store.SECONDS if name in fit.attrs}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("fit", type=Path, help="a fit of persist fit")
    parser.add_argument("--audit", type=int, default=0, metavar="N", help="audit the first N patients")
    parser.add_argument("--draws", type=int, default=DRAWS, help="of each audit")
    parser.add_argument("--particles", type=int, default=PARTICLES, help="of each draw of an audit")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/real.json"))
    return kept.carried_out("real", run, parser.parse_args(arguments))


def run(asked: argparse.Namespace) -> int:
    """Judge who is left to judge, audit who is left to audit, keep and print it."""
    fit = store.load(asked.fit, "fit")
    how, kind = made(fit), str(fit.attrs["observable"])
    settings, seed = how["settings"], int(how["seed"])
    about = kept.about(seed, settings["pack"], kind, settings["model"], fit=how, source=source())
    more: dict[str, Any] = {"fit": how, "judged_with": {"source": source(), "version": store.own_version()}}
    rows = kept.read(asked.output, about)

    def keep() -> None:
        kept.keep(asked.output, about, rows, **more, over_all=over_all(fit, rows))

    population = populations.examine(fit)
    shared = [] if population is None else population["problems"]
    done = {row["patient"] for row in rows}
    everyone = posterior.patients(fit)
    for name in everyone:
        if name not in done:
            rows.append(kept.short(judge(fit, name, shared)))
            keep()
            print(f"patient {name} judged", file=sys.stderr, flush=True)
    once = asked_of_audit(asked.draws, asked.particles)
    by_name = {row["patient"]: row for row in rows}
    for name in everyone[: asked.audit]:
        row = by_name[name]
        if row.get("audit", {}).get("asked") != once["asked"]:
            row["audit"] = kept.short(audited(fit, name, asked.draws, asked.particles, seed))
            keep()
            print(f"patient {name} audited", file=sys.stderr, flush=True)
    keep()
    print_rows(rows)
    print_all(over_all(fit, rows), how)
    return 0


def print_rows(rows: list[dict[str, Any]]) -> None:
    """A line a patient, and what it is marked for beneath."""
    print(f"{'patient':<10}{'R-hat':>8}{'bulk':>7}{'tail':>7}{'div.':>6}{'errors':>15}{'p':>8}{'gap':>15}{'k-hat':>7}")
    for row in rows:
        errors, found = row["residuals"], row.get("audit")
        print(f"{row['patient']:<10}{_number(row['max_rhat'], 4):>8}{_number(row['min_ess_bulk'], 0):>7}", end="")
        print(f"{_number(row['min_ess_tail'], 0):>7}{row['divergences']:>6}", end="")
        print(
            f"{give(errors['autocorrelation'], errors['standard_error']):>15}{_number(errors['p_value'], 3):>8}",
            end="",
        )
        gap = "-" if found is None else give(found["loglik_gap"], found["gap_mcse"])
        print(f"{gap:>15}{_number(None if found is None else found['khat']):>7}")
        for problem in row["problems"] + ([] if found is None else found["problems"]):
            print(f"    - {problem}")


def print_all(told: dict[str, Any], how: dict[str, Any]) -> None:
    """What is said of all."""
    print(f"\npass: {told['passed']} of {told['patients']} (asked: {TARGETS['ok']:.0%})", end="")
    print(f"; could not be fitted: {', '.join(told['unfit']) or 'none'}")
    print(f"largest R-hat {_number(told['max_rhat'], 4)} (asked: {MAX_RHAT})", end="")
    for kind, least in (("bulk", MIN_ESS), ("tail", MIN_TAIL)):
        print(f", smallest {kind} ESS {_number(told[f'min_ess_{kind}'], 0)} ({least:.0f})", end="")
    print(f", divergent transitions {told['divergences']}")
    errors = told["residuals"]
    print(f"neighbouring errors: {give(errors['autocorrelation'], errors['standard_error'], 3)}", end="")
    print(f"; flagged at {residuals.ALARM:.0%}: {', '.join(told['flagged']) or 'none'}")
    if told["audits"]:
        print(
            f"audits: {told['audits_ok']} of {told['audits']} hold, largest gap {_number(told['largest_gap'])} nats",
            end="",
        )
        print(f", largest k-hat {_number(told['largest_khat'])}")
    if "wall_seconds" in how:
        print(f"wall time {how['wall_seconds'] / 60.0:.1f} min, of sampling {how['seconds'] / 60.0:.1f}", end="")
        print(f" (asked of 54 patients on two cores: {TARGETS['wall_minutes']:.0f})")


def _number(value: float | None, digits: int = 2) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def give(value: float | None, error: float | None, digits: int = 2) -> str:
    return "-" if value is None or error is None else f"{value:+.{digits}f} ± {error:.{digits}f}"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
