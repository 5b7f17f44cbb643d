"""Androgen deprivation as it was measured: a table of exposures from a column of testosterone.

    python scripts/testosterone.py OBSERVATIONS.csv -o exposure.csv [--column testosterone_nmol_per_L]
    persist fit OBSERVATIONS.csv --treatments TREATMENTS.csv --observable psa --exposure exposure.csv -o fit.nc

    exposure = 1 - T / (s T_normal), not under 0;    T_normal: the patient's own, the `HIGH` quantile of its values

Prostate cells are driven in full well under normal testosterone (the saturation model; Morgentaler & Traish 2009,
10.1016/j.eururo.2008.09.024, remembered): with s = 1 a patient whose testosterone has come back half way would count as half
treated while PSA rises as ever, so s, `--saturated`, is `SATURATED`.

Rows without a value are left out, and so are patients with fewer than `LEAST` values, or whose highest values are those of
castration (under `--least-normal`): of them no normal value is known. T_normal looks at all values, later ones too: before a
back-test is believed, it has to be of values before each landmark. The table is of real people: keep it where their data are.
"""

from __future__ import annotations

import argparse
import csv
import sys
from collections import defaultdict
from pathlib import Path

import numpy as np

HIGH, LEAST = 0.9, 3
LEAST_NORMAL = 3.0
"""nmol/L, about twice the usual limit of castration (1.7)."""
SATURATED = 0.3
"""Share of normal testosterone from which on more of it changes nothing: an assumption, after looking at ten forecasts."""


def exposures(value: np.ndarray, saturated: float = SATURATED) -> np.ndarray:
    """Exposures ``(n,)`` of one patient's values of testosterone ``(n,)``, in any unit."""
    full = saturated * np.quantile(value, HIGH)
    return np.clip(1.0 - value / full, 0.0, 1.0)


def read(path: Path, column: str) -> dict[str, list[tuple[str, float]]]:
    """Days as they are written, and values, by patient; leaves with a message where the table has no such column."""
    found: dict[str, list[tuple[str, float]]] = defaultdict(list)
    with path.open(newline="", encoding="utf-8-sig") as file:
        rows = csv.DictReader(file)
        for name in ("patient_id", "time_days", column):
            if name not in (rows.fieldnames or ()):
                raise SystemExit(f"testosterone: {path.name} has no column {name}")
        for row in rows:
            if row[column]:
                found[row["patient_id"]].append((row["time_days"], number(row[column], rows.line_num)))
    return found


def number(text: str, line: int) -> float:
    """A finite number, not under 0; leaves with a message for what is none."""
    try:
        value = float(text)
    except ValueError:
        value = np.nan
    if not 0.0 <= value < np.inf:
        raise SystemExit(f"testosterone: row {line}: {text!r} is no value of testosterone")
    return value


def known(rows: list[tuple[str, float]], least: float) -> bool:
    """Whether these values tell what is normal."""
    return len(rows) >= LEAST and float(np.quantile([value for _, value in rows], HIGH)) >= least


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("observations", type=Path)
    parser.add_argument("--column", default="testosterone_nmol_per_L")
    parser.add_argument(
        "--saturated", type=float, default=SATURATED, metavar="S", help="share of normal that is enough"
    )
    words = "a normal value is this at least, in the unit of the column"
    parser.add_argument("--least-normal", type=float, default=LEAST_NORMAL, metavar="T", help=words)
    parser.add_argument("-o", "--output", type=Path, required=True)
    asked = parser.parse_args(arguments)
    if not 0.0 < asked.saturated <= 1.0:
        raise SystemExit(f"testosterone: --saturated {asked.saturated:g} is no share from 0 to 1")
    if asked.output.exists():
        raise SystemExit(f"testosterone: {asked.output} is there already")
    every = read(asked.observations, asked.column)
    found = {name: rows for name, rows in every.items() if known(rows, asked.least_normal)}
    with asked.output.open("w", newline="", encoding="utf-8") as file:
        write = csv.writer(file, lineterminator="\n")
        write.writerow(("patient_id", "time_days", "exposure"))
        for name, rows in found.items():
            level = exposures(np.array([value for _, value in rows]), asked.saturated)
            write.writerows((name, day, f"{one:.4f}") for (day, _), one in zip(rows, level, strict=True))
    print(f"{sum(map(len, found.values()))} exposures of {len(found)} patients in {asked.output}")
    if len(found) < len(every):
        print(f"left out, since no normal value is known: {', '.join(sorted(set(every) - set(found)))}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
