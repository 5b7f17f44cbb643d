"""A back-test in shares: every n-th landmark, scored, as plain data, and shares put together to what one run says."""

from __future__ import annotations

from typing import Any

import numpy as np

from persist.errors import UsageError
from persist.types import NO_COMPOSITION, Schedule, Series
from persist.validation.backtest import Judged, Place
from persist.validation.backtest_table import as_json
from persist.validation.cuts import Cut
from persist.validation.scoring import Score

SAME = ("seed", "settings", "population", "provenance", "of", "all")
"""What all shares must have alike; of the provenance, data and version."""

CUT = ("days", "value", "floor", "period")
"""Columns of a cut that its scores are told by."""


def share(numbers: list[int], tested: list[Judged], rules: dict[str, list[Score]]) -> list[dict[str, Any]]:
    """Landmarks as plain data: their ``numbers`` among all, the model's scores and those of the rules."""
    return [
        {
            "number": number,
            "name": one.place.name,
            "fold": one.place.fold,
            "day": one.place.cut.day,
            "cut": {name: getattr(one.place.cut, name).tolist() for name in CUT},
            "model": _plain(one.score),
            "rules": {name: _plain(scores[at]) for name, scores in rules.items()},
            "fails": None if np.isnan(one.fails) else one.fails,
            "max_rhat": one.max_rhat,
            "divergences": one.divergences,
            "both": None if one.both is None else _plain(one.both),
        }
        for at, (number, one) in enumerate(zip(numbers, tested, strict=True))
    ]


def join(parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The back-test whose shares the ``parts`` are (name of the file -> its JSON); `UsageError` unless they are of one run.

    Landmarks that no part has are counted in ``missing``.
    """
    (first, model), *others = parts.items()
    for name, part in parts.items():
        if "share" not in part:
            raise UsageError("it is no share of a back-test", where=name, remedy="give files of backtest --chunk")
    for name, part in others:
        for key in SAME:
            if _mark(part, key) != _mark(model, key):
                raise UsageError(f"its {key} is not that of {first}", where=name, remedy="merge shares of one run only")
    rows: dict[int, dict[str, Any]] = {}
    for name, part in parts.items():
        for row in part["share"]:
            if row["number"] in rows:
                what = f"landmark {row['name']} at {row['day']:g} is in another of them too"
                raise UsageError(what, where=name, remedy="give each share once")
            rows[row["number"]] = row
    unfit = {label: why for part in parts.values() for label, why in part["unfit"].items()}
    ordered = [rows[number] for number in sorted(rows)]
    tested = [_judged(row) for row in ordered]
    rules = {name: [_score(row["rules"][name]) for row in ordered] for name in ordered[0]["rules"]}
    told = {key: model[key] for key in ("command", "seed", "settings", "population", "provenance", "notes")}
    counts = {"patients": len({row["name"] for row in ordered}), "landmarks": len(ordered)}
    missing = model["all"] - len(ordered) - len(unfit)
    return told | counts | {"unfit": unfit, "missing": missing} | as_json(tested, rules, model["seed"])


def _mark(part: dict[str, Any], key: str) -> Any:
    value = part.get(key)
    return {name: value[name] for name in ("data_sha256", "versions")} if key == "provenance" and value else value


def _plain(one: Score) -> dict[str, Any]:
    return {name: np.asarray(column).tolist() for name, column in one._asdict().items()}


def _score(row: dict[str, Any]) -> Score:
    return Score(**{name: np.asarray(column) for name, column in row.items()})


def _judged(row: dict[str, Any]) -> Judged:
    """A landmark as its scores are told; its series, which nothing is told of, is empty."""
    nothing = np.zeros(0)
    series = Series(row["name"], "", "", nothing, nothing, nothing, {}, NO_COMPOSITION)
    columns = {name: np.asarray(row["cut"][name]) for name in CUT}
    cut = Cut(series=series, day=row["day"], given=Schedule(nothing, nothing, nothing), **columns)
    fails = np.nan if row["fails"] is None else row["fails"]
    both = None if row.get("both") is None else _score(row["both"])  # shares of before have none
    place = Place(row["name"], row["fold"], cut)
    return Judged(place, _score(row["model"]), fails, row["max_rhat"], row["divergences"], both)
