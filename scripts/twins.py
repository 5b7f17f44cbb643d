"""Twins of real patients: what the errors of a fit would be like were the model right, for docs/results.md.

    persist fit obs.csv --treatments t.csv --observable psa -o fit.nc
    python scripts/twins.py fit.nc [--patients N] [-o docs/twins.json]

A curve that was fitted to values leaves errors that alternate, the more the fewer the values. So that the correlation of
neighbouring errors of real patients has something to be compared with, each of N patients (evenly among all) gets a twin: the
same visits, treatments and floors, with values that the model draws at one draw of the patient's posterior. The twin is fitted
as the patient was, but sampling is never doubled; what its fit is marked for is kept. Over those patients and their twins: both
correlations, of visits that were measured in both (floors hide more of one than of the other), and their difference.

The output names patients by the ids of their table. It holds no day and no measured value. Finished twins are kept in it, and a
run that was stopped goes on from them.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import kept
import numpy as np
import real

from persist import keys
from persist.errors import DataError
from persist.inference import leaning, posterior, store
from persist.inference.fit import fit as fit_table
from persist.inference.settings import made_with
from persist.types import Series
from persist.validation import residuals
from persist.validation.finished import source
from persist.validation.health import examine
from persist.validation.virtual import table_of


def twin(fit: store.DataTree, patient: str, random: np.random.Generator) -> Series:
    """A series of the patient's visits as the model draws it at one draw of the posterior; `DataError` where fractions were
    measured too, of which none are drawn.
    """
    series = next(one for one in posterior.series(fit) if one.patient_id == patient)
    if len(series.composition.day):
        raise DataError(
            f"fractions were measured of patient {patient}", where="fit", remedy="give a fit of burdens alone"
        )
    drawn = fit["posterior_predictive"].to_dataset().sel(patient=patient)["burden"].values
    rows = drawn.reshape(-1, drawn.shape[-1])[:, : len(series.day)]
    value, floor = rows[random.integers(len(rows))].astype(float), floors(series)
    return series._replace(burden=np.maximum(value, floor), censoring=np.where(value < floor, -1, 0))


def floors(series: Series) -> np.ndarray:
    """Under what a value of each visit would have been told as less than it ``(n_visits,)``: the limit that is nearest in time,
    or, where more was told apart than that, what was measured; 0 for a series without limits. Values over a limit count as
    measured.
    """
    left = series.censoring < 0
    if not left.any():
        return np.zeros(len(series.day))
    near = np.argmin(np.abs(series.day[:, None] - series.day[left]), axis=1)
    return np.minimum(series.burden[left][near], series.burden)


def compared(fit: store.DataTree, patient: str) -> dict[str, Any]:
    """One patient's row: what the errors of its fit add to the correlation over all, and those of its twin's."""
    settings = made_with(fit)
    seed = keys.seed_of(settings.seed, patient, "twin")
    made = twin(fit, patient, np.random.default_rng(seed))
    how = settings._replace(doublings=0, seed=seed, drug=None)  # the file has the fitted drug alone
    again = fit_table(table_of((made,)), how, population=leaning.prior_of(fit, patient))
    both = {"patient": residuals.residuals(fit, patient), "twin": residuals.residuals(again, patient)}
    there = both["patient"].measured & both["twin"].measured
    health = examine(again, patient)
    return {
        "patient": patient,
        "sums": {name: residuals.sums(found.score, there)._asdict() for name, found in both.items()},
        "flagged": {name: found.flagged for name, found in both.items()},
        "measured": {name: int(found.measured.sum()) for name, found in both.items()},
        "twin_fit": {"ok": health.ok, "max_rhat": health.max_rhat, "problems": list(health.problems)},
    }


def over_all(rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Both correlations over all patients, and by how much that of the patients is the larger."""
    found = {
        name: residuals.together(residuals.Sums(**row["sums"][name]) for row in rows) for name in ("patient", "twin")
    }
    flagged = {name: sum(row["flagged"][name] for row in rows) for name in found}
    more = {"measured": {name: sum(row["measured"][name] for row in rows) for name in found}}
    more |= {"twin_fits_ok": sum(row["twin_fit"]["ok"] for row in rows)}
    value, error = ([one[what] for one in found.values()] for what in ("autocorrelation", "standard_error"))
    if None in (*value, *error):
        return {**found, **more, "flagged": flagged, "more": None, "standard_error": None}
    beyond = {"more": value[0] - value[1], "standard_error": float(np.hypot(*error))}
    return {**found, **more, "flagged": flagged, **beyond}


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("fit", type=Path, help="a fit of persist fit")
    parser.add_argument("--patients", type=int, default=54, metavar="N", help="so many of the patients, evenly, or all")
    parser.add_argument("-o", "--output", type=Path, default=Path("docs/twins.json"))
    return kept.carried_out("twins", run, parser.parse_args(arguments))


def run(asked: argparse.Namespace) -> int:
    """Make and fit the twins that are left to fit, keep and print what is found."""
    fit = store.load(asked.fit, "fit")
    how = real.made(fit)
    settings = how["settings"]
    asked_of = {"fit": how, "source": source(), "patients": asked.patients}
    about = kept.about(int(how["seed"]), settings["pack"], str(fit.attrs["observable"]), settings["model"], **asked_of)
    rows = kept.read(asked.output, about)
    everyone = posterior.patients(fit)
    places = np.unique(np.linspace(0, len(everyone) - 1, min(asked.patients, len(everyone))).round().astype(int))
    done = {row["patient"] for row in rows}
    for name in (everyone[place] for place in places):
        if name not in done:
            rows.append(kept.short(compared(fit, name)))
            kept.keep(asked.output, about, rows, fit=how, over_all=over_all(rows))
            print(f"twin of {name}: {told(over_all(rows))}", file=sys.stderr, flush=True)
    print(told(over_all(rows)))
    return 0


def told(found: dict[str, Any]) -> str:
    """Both correlations and their difference in a line."""
    each = {name: (found[name]["autocorrelation"], found[name]["standard_error"]) for name in ("patient", "twin")}
    each["more"] = (found["more"], found["standard_error"])
    patients, twins, more = (real.give(*pair, 3) for pair in each.values())
    flagged, sure = found["flagged"], f"{found['twin_fits_ok']} of their fits pass"
    return (
        f"patients {patients} ({flagged['patient']} flagged), twins {twins} ({flagged['twin']}; {sure}), more by {more}"
    )


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
