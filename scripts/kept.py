"""Rows of results that are kept as they are found, one JSON object a line, so that a run that was stopped goes on from them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np


def read(path: Path) -> list[dict[str, Any]]:
    """The rows found so far; none where there is no file."""
    rows: list[dict[str, Any]] = json.loads(path.read_text()) if path.exists() else []
    return rows


def keep(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write the rows, numbers to four digits; whole or not at all."""
    lines = ",\n".join(json.dumps(_short(row)) for row in rows)
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(f"[\n{lines}\n]\n")
    beside.replace(path)


def _short(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_short(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}")
    return value
