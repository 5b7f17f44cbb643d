"""The drug catalogue: what is known of classes of drugs and of single agents, each fact with its source and its mark.

The data are the TOML files in ``drugs/``. An agent has what its class has, and what is said of it alone; a half-life, a
route or whether it works alone is that of the agent where one is given. Not for clinical use.
"""

from __future__ import annotations

import difflib
import math
import tomllib
from collections.abc import Iterator, Mapping
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from persist.errors import UsageError
from persist.treatment.catalogue_checks import HOURS, LISTS, MARKS, SINGLE, UNKNOWN, faults, plain

PARTS = ("sources", "time_scales", "class", "agent")
"""Tables of the files; a name stands in one file only."""

WITHIN = 2.0
"""A time constant of the effect is taken to lie within this factor of the one that was reported, either way (assumed)."""

SHORTEST_DAYS = 0.1
"""A lag under this many days is taken as this long: no series of burdens tells them apart (assumed)."""


class Bounds(NamedTuple):
    """What is known of a time constant in days: ``low``, ``high`` (each None where nothing is), and in words ``why``."""

    low: float | None
    high: float | None
    why: str


def read() -> dict[str, Any]:
    """The catalogue as its files hold it, unchecked: `PARTS`, each a table by name. `UsageError` for a name twice."""
    content: dict[str, Any] = {part: {} for part in PARTS}
    folder = files("persist.treatment").joinpath("drugs")
    for path in sorted(folder.iterdir(), key=lambda one: one.name):
        if not path.name.endswith(".toml"):
            continue
        for part, rows in tomllib.loads(path.read_text(encoding="utf-8")).items():
            again = set(content.get(part, {})) & set(rows)
            if part not in PARTS or again:
                what = f"{part} {', '.join(sorted(again))} stands in two files" if again else f"unknown table {part}"
                raise UsageError(what, where=path.name, remedy=f"tables are {', '.join(PARTS)}, each name once")
            content[part] |= rows
    return content


@cache
def catalogue() -> dict[str, Any]:
    """The catalogue, checked; `UsageError` with the first fault of one that breaks its rules."""
    content = read()
    found = faults(content)
    if found:
        raise UsageError(found[0], where="drug catalogue", remedy="see docs/drugs.md for how an entry is written")
    return content


def entries() -> list[dict[str, Any]]:
    """All agents as `persist drugs --json` gives them, by class and name in the order of the files."""
    content = catalogue()
    order = {name: number for number, name in enumerate(content["class"])}
    names = sorted(content["agent"], key=lambda name: order[content["agent"][name]["class"]])
    return [entry(name) for name in names]


def find(name: str) -> str | None:
    """The agent that has this name or alias, in whatever case; None where none has."""
    wanted = plain(name)
    for agent, one in catalogue()["agent"].items():
        if wanted in {plain(text) for text in (agent, *one["aliases"])}:
            return str(agent)
    return None


def nearest(name: str, among: Mapping[str, str]) -> str:
    """The words ", did you mean ...?" for a name that is none, empty where none is near; ``among`` as in `names`."""
    close = difflib.get_close_matches(plain(name), list(among), n=1, cutoff=0.6)
    bare = plain(name).replace(" ", "")
    close = close or [one for one in among if bare and bare in one.replace(" ", "")]
    return f', did you mean "{among[close[0]]}"?' if close else ""


def names() -> dict[str, str]:
    """Every name and alias as it is looked up, and how it is written."""
    every = (text for agent, one in catalogue()["agent"].items() for text in (agent, *one["aliases"]))
    return {plain(text): text for text in every}


def entry(agent: str) -> dict[str, Any]:
    """One agent with what its class has: the object of `persist drugs --json`."""
    content = catalogue()
    own = content["agent"][agent]
    kind = content["class"][own["class"]]
    made: dict[str, Any] = {"name": agent, "aliases": own["aliases"], "class": own["class"], "title": kind["title"]}
    made["targets"] = own.get("targets", kind["targets"])
    for key in SINGLE:
        made[key] = _of(own[key], "agent") if key in own else _of(kind.get(key, UNKNOWN), "class")
    made["alone"], made["alone_why"] = _alone(made["alone"])
    for key in LISTS:
        made[key] = [_of(fact, "agent") for fact in own.get(key, [])] + [
            _of(fact, "class") for fact in kind.get(key, [])
        ]
    facts = list(_facts(made))
    cited = dict.fromkeys(fact["source"] for fact in facts)
    made["sources"] = [{"key": key, "cite": content["sources"][key]["cite"]} for key in cited]
    marks = [fact[key] for fact in facts for key in ("mark", "reading") if key in fact]
    made["marks"] = {mark: marks.count(mark) for mark in MARKS}
    made["lags"] = {name: bounds._asdict() for name, bounds in lags(made).items()}
    return made


def _of(fact: Any, whose: str) -> Any:
    """A fact, and whether it is said of the agent or of its class; the word "unknown" as it is."""
    return fact if fact == UNKNOWN else dict(fact) | {"of": whose}


def _alone(fact: Any) -> tuple[bool | None, Any]:
    """Whether the drug works alone (None: not known), and the fact that says so."""
    return (None, UNKNOWN) if fact == UNKNOWN else (bool(fact["active"]), fact)


def _facts(made: Any) -> Iterator[Mapping[str, Any]]:
    """All facts of an entry."""
    if isinstance(made, Mapping):
        if "mark" in made:
            yield made
        for one in made.values():
            yield from _facts(one)
    elif isinstance(made, list):
        for one in made:
            yield from _facts(one)


def span(fact: Any) -> tuple[float | None, float | None]:
    """Low and high end of a half-life in hours, None for an end that is not known."""
    if fact == UNKNOWN:
        return None, None
    hours = HOURS[fact["unit"]]
    low, high = fact.get("low", fact.get("value")), fact.get("high", fact.get("value"))
    return None if low is None else hours * float(low), None if high is None else hours * float(high)


def lags(made: Mapping[str, Any]) -> dict[str, Bounds]:
    """What follows from an entry for the lags of exposure, by the name of the prior; only from facts marked V or D.

    A half-life T is a time constant tau = T / log 2. The effect fades no faster than the drug leaves the plasma, but may
    outlast it: a plasma half-life bounds `washout_days` from below only, and, for a drug by mouth, which builds up over
    days, `onset_days` too. A half-life of the effect bounds `washout_days` on the sides that are reported. Each by a
    factor `WITHIN`, and none under `SHORTEST_DAYS`.
    """
    found: dict[str, Bounds] = {}
    plasma, effect = (_sourced(made[key]) for key in ("half_life", "effect_half_life"))
    low, _ = span(plasma)
    if low is not None:
        bounds = Bounds(_days(low, 1.0 / WITHIN), None, _why("plasma half-life", plasma))
        found["washout_days"] = bounds
        if made["route"] != UNKNOWN and made["route"]["text"] == "oral":
            found["onset_days"] = bounds
    least, most = span(effect)
    if least is not None or most is not None:
        before = found.get("washout_days")
        begin = _days(least, 1.0 / WITHIN) if least is not None else before.low if before else None
        end = None if most is None else _days(most, WITHIN)
        found["washout_days"] = Bounds(begin, end, _why("half-life of the effect", effect))
    return found


def _sourced(fact: Any) -> Any:
    return fact if fact != UNKNOWN and fact["mark"] in ("V", "D") else UNKNOWN


def _days(hours: float, factor: float) -> float:
    """A half-life in hours as a time constant in days, moved by ``factor``."""
    return max(SHORTEST_DAYS, factor * hours / 24.0 / math.log(2.0))


def _why(what: str, fact: Mapping[str, Any]) -> str:
    return f"{what} {amount(fact)} [{fact['mark']}, {fact['source']}]"


def amount(fact: Any) -> str:
    """A half-life in words: "8.9 hours", "6-21 days", "up to 7 days", or "unknown"."""
    if fact == UNKNOWN:
        return UNKNOWN
    if "low" in fact and "high" in fact:
        text = f"{fact['low']:g}-{fact['high']:g}"
        text = f"{fact['value']:g} ({text})" if "value" in fact else text
    elif "value" in fact:
        text = f"{fact['value']:g}"
    else:
        text = f"up to {fact['high']:g}" if "high" in fact else f"at least {fact['low']:g}"
    return f"{text} {fact['unit']}"
