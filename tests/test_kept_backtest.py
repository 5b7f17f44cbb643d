"""What is kept of a back-test: scores by patient, landmark and horizon, and nothing that was measured."""

from __future__ import annotations

import json
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import kept_backtest


def test_rows_hold_scores_and_no_measured_value() -> None:
    """Landmarks of each patient count from 1, in order; days become the horizon, its end in it."""
    score = {"crps": 0.123456, "log_score": 1.0, "pit": 0.25}
    own = {"observed": 77.25, "median": 76.5, "floor": 0.1}
    rows = [
        {"patient_id": name, "landmark": mark, "time_days": day, **own, **score}
        for name, mark, day in (("A", 311.0, 493.0), ("A", 311.0, 494.0), ("A", 722.0, 750.0), ("B", 99.0, 464.0))
    ]
    result = {"model": {"crps": {"0-182": 0.4}}, "notes": ["patient A"], "output": "x.json", "rows": rows}
    text = kept_backtest.written(kept_backtest.without_values(result))
    found = json.loads(text)
    assert found["model"] == result["model"]
    assert set(found) == {"model", "rows"}
    places = [(row["patient_id"], row["landmark"], row["horizon"]) for row in found["rows"]]
    assert places == [("A", 1, "0-182"), ("A", 1, "182-365"), ("A", 2, "0-182"), ("B", 1, "182-365")]
    assert set(found["rows"][0]) == {"patient_id", "landmark", "horizon", "crps", "log_score", "pit"}
    assert found["rows"][0]["crps"] == 0.1235
    for number in ("311", "493", "722", "77.25", "76.5"):
        assert number not in text
