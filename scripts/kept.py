"""Rows of results that are kept as they are found, one JSON object a line, so that a run that was stopped goes on from them.

A file tells what its rows are about: seed, a digest of the priors, and what else a script names. Rows of something else are not
taken for its own.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np

from persist.errors import PersistError
from persist.inference.model import sampled
from persist.inference.priors import load_pack


def carried_out(name: str, run: Callable[[argparse.Namespace], int], asked: argparse.Namespace) -> int:
    """What a script does in float64; an error of the program is one line, and its ``name`` before it."""
    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]
    try:
        return run(asked)
    except PersistError as error:
        raise SystemExit(f"{name}: {error}") from None


def about(seed: int, pack: str, cells: str, model: str = "spr", **more: Any) -> dict[str, Any]:
    """What rows are about: ``seed``, a digest of the priors that a ``model`` has in a ``pack``, and of all given besides."""
    entries = load_pack(pack, cells)
    told = repr({name: entries.every[name] for name in sorted(sampled(entries, model))})
    told += json.dumps(more, sort_keys=True, default=str)
    return {"seed": seed, "digest": hashlib.sha256(told.encode()).hexdigest()[:16]}


def read(path: Path, what: dict[str, Any]) -> list[dict[str, Any]]:
    """The rows found so far of ``what``; none where there is no file. Leaves with a message where the file is of another."""
    if not path.exists():
        return []
    found = json.loads(path.read_text())
    if not isinstance(found, dict) or found.get("about") != what:
        raise SystemExit(
            f"{path}: its rows are of another seed, prior or truth, or what else decides them (options, the fit, the source); "
            "move it away, or choose another output by -o"
        )
    rows: list[dict[str, Any]] = found["rows"]
    return rows


def keep(path: Path, what: dict[str, Any], rows: list[dict[str, Any]], **more: Any) -> None:
    """Write the rows, numbers to four digits, and ``more`` that follows from them; whole or not at all."""
    lines = ",\n".join(json.dumps(short(row)) for row in rows)
    told = "".join(f'"{name}": {json.dumps(short(value))},\n' for name, value in more.items())
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_name(f"{path.name}.tmp")
    beside.write_text(f'{{"about": {json.dumps(what)}, {told}"rows": [\n{lines}\n]}}\n')
    beside.replace(path)


def short(value: Any) -> Any:
    """A value as a file has it: numbers to four digits, null for what is no number."""
    if isinstance(value, dict):
        return {name: short(one) for name, one in value.items()}
    if isinstance(value, list):
        return [short(one) for one in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.4g}") if math.isfinite(value) else None
    return value
