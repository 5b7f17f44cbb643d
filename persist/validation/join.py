"""Shares of one calibration put together again."""

from __future__ import annotations

from typing import Any

from persist.errors import UsageError
from persist.validation.calibrate import assemble

SAME = ("asked", "seed", "rank_max", "settings", "plant", "cohort", "design", "versions", "source")
"""What all shares must have alike."""


def join(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The calibration that the ``parts`` (name of the file -> its JSON) are shares of; `UsageError` unless they are of one run.

    Replicates that no part has stand in ``missing``.
    """
    (first, model), *others = parts.items()
    for name, part in parts.items():
        _known(name, part)
    for name, part in others:
        for key in SAME:
            if part[key] != model[key]:
                what = f"its {_first_difference(key, part[key], model[key])} in {first}"
                raise UsageError(what, where=name, remedy="merge shares of one run only")
    owner: dict[int, str] = {}
    rows = []
    for name, part in parts.items():
        for row in part["runs"]:
            number = row["replicate"]
            if number in owner:
                what = f"replicate {number} is in {owner[number]} too"
                raise UsageError(what, where=name, remedy="give each share once")
            owner[number] = name
            rows.append(row)
    told = {key: model[key] for key in SAME if key != "asked"}
    return assemble(told, model["asked"], rows)


def _known(name: str, part: dict[str, Any]) -> None:
    """`UsageError` for what is no share of a calibration."""
    lacking = [key for key in (*SAME, "runs") if key not in part]
    if part.get("command") != "calibrate" or lacking:
        what = f"it is no output of calibrate (it lacks {lacking[0]})" if lacking else "it is no output of calibrate"
        raise UsageError(what, where=name, remedy="give files that persist calibrate --chunk wrote")


def _first_difference(key: str, one: Any, other: Any) -> str:
    """Where two values differ, in words: the key itself, or the first differing key within."""
    if isinstance(one, dict) and isinstance(other, dict):
        inner = next(name for name in sorted({*one, *other}) if one.get(name) != other.get(name))
        return f"{key}.{inner} is {one.get(inner)}, and {other.get(inner)}"
    return f"{key} is {one}, and {other}"
