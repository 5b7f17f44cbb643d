"""Other back-tests of the same landmarks beside one: what variants of the model foresaw, as baselines in its table.

The rows of a back-test hold all that its averages are made of. So finished files are compared, and no forecast is made anew:
each value of ours with the other's of the same patient, landmark and day, as the rules are (`backtest_table`).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.validation.backtest_table import BOTH, difference, summary
from persist.validation.scoring import held

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from persist.validation.backtest_table import Columns

KEY = ("patient_id", "landmark", "time_days")
"""What tells a value."""

SAME = ("observed", "floor")
"""What both must say of it, where both do: files of version 0.1 before this one have no ``floor``."""

SCORES = ("crps", "log_score", "pit", "median")


class Other(NamedTuple):
    """Another back-test: the name of its ``file``, and what it holds."""

    file: str
    content: dict[str, Any]


def check(others: Mapping[str, Other], taken: Iterable[str], sha256: str) -> None:
    """`UsageError` unless all are finished back-tests of the same data under names that are not ``taken``."""
    names = ("model", BOTH, *taken)
    for name, other in others.items():
        if name in names:
            what = f'"{name}" is a row of the table already'
            raise UsageError(what, where=f"--beside {name}={other.file}", remedy="give it another name")
        if other.content.get("command") != "backtest" or "rows" not in other.content:
            share = "share" in other.content
            what = "it is a share of a back-test" if share else "it is no back-test"
            remedy = "put the shares together by persist merge first" if share else "give a file of persist backtest"
            raise UsageError(what, where=other.file, remedy=remedy)
        theirs = other.content["provenance"]["data_sha256"]
        if theirs != sha256:
            what = f"it is of other data (SHA-256 {theirs[:12]}, not {sha256[:12]})"
            raise UsageError(what, where=other.file, remedy="give a back-test of the same tables")


def matched(other: Other, ours: list[dict[str, Any]], unfit: Iterable[str] = ()) -> list[dict[str, Any]]:
    """Rows of another back-test in the order of ``ours``, which are rows or `backtest_table.values`.

    `UsageError` unless it has all of them, and no more but of landmarks that are ``unfit`` in ours.
    """
    theirs = {_key(row): row for row in other.content["rows"]}
    remedy = "give a back-test of the same patients with the same --landmark and --floor"
    for row in ours:
        found = theirs.get(_key(row))
        if found is None:
            why = ", which it could not fit" if _label(row) in other.content["unfit"] else ""
            raise UsageError(f"it has no forecast of {_words(row)}{why}", where=other.file, remedy=remedy)
        for name in SAME:
            if name in row and name in found and not math.isclose(row[name], found[name], rel_tol=1e-6):
                what = f"{name} is {found[name]:g}, and {row[name]:g} in ours, of {_words(row)}"
                raise UsageError(what, where=other.file, remedy=remedy)
        if any(not isinstance(found.get(name), int | float) for name in SCORES):
            what = f"it lacks a score of {_words(row)}"
            raise UsageError(what, where=other.file, remedy="run it again by this version of persist backtest")
    ours_too, lost = {_key(row) for row in ours}, set(unfit)
    for key, row in theirs.items():
        if key not in ours_too and _label(row) not in lost:
            raise UsageError(f"it has {_words(row)}, and ours has not", where=other.file, remedy=remedy)
    return [theirs[_key(row)] for row in ours]


def beside(content: dict[str, Any], others: Mapping[str, Other]) -> dict[str, Any]:
    """A finished back-test with others among its baselines, and their differences to the model; ``beside`` tells the file of
    each, and how it was fitted. Raises as `check` and `matched` do.
    """
    check(others, content["baselines"], content["provenance"]["data_sha256"])
    seed, mine = content["seed"], columns_of(content["rows"])
    baselines, gaps, told = dict(content["baselines"]), dict(content["difference"]), dict(content.get("beside", {}))
    for name, other in others.items():
        theirs = columns_of(matched(other, content["rows"], content["unfit"]))
        baselines[name] = summary(theirs, seed) | {"event": other.content["model"]["event"]}
        gaps[name] = difference(mine, theirs, seed)
        told[name] = {"file": other.file} | {key: other.content[key] for key in ("seed", "settings", "population")}
    return content | {"baselines": baselines, "difference": gaps, "beside": told}


def columns_of(rows: list[dict[str, Any]]) -> Columns:
    """Scored values in one column each, from the rows of a file (`backtest_table.columns`)."""
    found = {name: np.array([row[name] for row in rows], float) for name in SCORES}
    found["patient"] = np.array([row["patient_id"] for row in rows])
    found["after"] = np.array([row["time_days"] - row["landmark"] for row in rows])
    return found | {"median": np.log(found["median"]), "held": held(found["pit"])}


def _key(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[name] for name in KEY)


def _label(row: dict[str, Any]) -> str:
    """The landmark, as `backtest.label` names it."""
    return f"{row['patient_id']} at {row['landmark']:g}"


def _words(row: dict[str, Any]) -> str:
    return f"patient {row['patient_id']} on day {row['time_days']:g} from landmark {row['landmark']:g}"
