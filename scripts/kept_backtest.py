"""The result of a back-test without what was measured, small enough to be kept beside the program.

    persist backtest OBSERVATIONS --treatments TREATMENTS --model spr-shed -o back.json
    python scripts/kept_backtest.py back.json docs/backtest.json

Of each value that was scored there stay the patient, the number of the landmark, the horizon and the scores: no burden, no day.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from persist.validation.cuts import HORIZONS

SCORES = ("crps", "log_score", "pit")


def without_values(result: dict[str, Any]) -> dict[str, Any]:
    """The result with its rows told by order and horizon."""
    landmarks: dict[str, list[float]] = {}
    rows = []
    for row in result["rows"]:
        own = landmarks.setdefault(row["patient_id"], [])
        if row["landmark"] not in own:
            own.append(row["landmark"])
        after = row["time_days"] - row["landmark"]
        horizon = next(f"{low:.0f}-{high:.0f}" for low, high in HORIZONS if low < after <= high)
        told = {"patient_id": row["patient_id"], "landmark": own.index(row["landmark"]) + 1, "horizon": horizon}
        rows.append(told | {name: round(row[name], 4) for name in SCORES})
    aside = ("notes", "output", "rows")
    provenance = {name: value for name, value in result.get("provenance", {}).items() if name != "command"}  # has paths
    result = result | ({"provenance": provenance} if provenance else {})
    return {name: value for name, value in result.items() if name not in aside} | {"rows": rows}


def written(result: dict[str, Any]) -> str:
    """As JSON, with a line for each row."""
    head = json.dumps({name: value for name, value in result.items() if name != "rows"}, indent=1)
    rows = ",\n  ".join(json.dumps(row) for row in result["rows"])
    return f'{head[:-2]},\n "rows": [\n  {rows}\n ]\n}}\n'


def main() -> None:
    """Read the arguments and write the file."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("result", type=Path)
    parser.add_argument("output", type=Path)
    given = parser.parse_args()
    result = json.loads(given.result.read_text(encoding="utf-8"))
    given.output.write_text(written(without_values(result)), encoding="utf-8")


if __name__ == "__main__":
    main()
