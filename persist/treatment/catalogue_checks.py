"""What the drug catalogue must keep to: no number without its source and evidence mark, no name that leads nowhere.

A *fact* is a table with a `mark` and a `source`: the mark says how well it is known (`MARKS`), the source is a key of the
table `sources`. Everything that is said of a class or an agent, beyond its names, is a fact or the word "unknown".
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from persist.errors import ScheduleError
from persist.treatment.grammar import parse_plan

MARKS = {
    "V": "read in the text or abstract of the source",
    "D": "arithmetic from such numbers",
    "M": "remembered, to be checked",
    "A": "assumption of this project",
}
"""Evidence marks and what each says."""

UNKNOWN = "unknown"
OURS = "ours"
"""The source of assumptions, which only the marks A and D may name."""

HOURS = {"hours": 1.0, "days": 24.0}
STATES = {"S": "sensitive cells, killed less from the start", "P": "persisters", "attenuation": "a kill that fades"}
"""Where the model holds a reversible route."""

SINGLE = ("half_life", "effect_half_life", "alone", "route")
LISTS = ("dosing", "toxicity", "reversible", "genetic", "partners", "biomarkers", "notes")
OF_A_CLASS = ("title", "targets", *SINGLE, *LISTS)
OF_AN_AGENT = ("class", "aliases", "targets", *SINGLE, *LISTS)
NEEDED_OF_A_CLASS = tuple(key for key in OF_A_CLASS if key not in ("route", "notes"))
NOT_DRUGS = ("radiotherapy",)
"""Partners that are no drugs of the catalogue, but events of the table of treatments."""

_KEYS = {
    "half_life": ("value", "low", "high", "unit", "text"),
    "effect_half_life": ("value", "low", "high", "unit", "text"),
    "alone": ("active", "text"),
    "route": ("text",),
    "dosing": ("name", "plan", "full_dose", "text"),
    "toxicity": ("text", "limits"),
    "reversible": ("text", "state", "speed", "reading", "undone_by"),
    "genetic": ("text", "state", "also_resists", "reading"),
    "partners": ("with", "text"),
    "biomarkers": ("name", "text"),
    "notes": ("text",),
}
_MAY_LACK = ("value", "low", "high", "text", "plan", "full_dose", "undone_by", "also_resists")


def faults(content: Mapping[str, Any]) -> list[str]:
    """Everything that is wrong with a catalogue as read, each as place and fault; empty for a good one."""
    sources = content.get("sources", {})
    found = [f"{place}: {what}" for place, what in _unmarked(content, "", sources)]
    for name, one in content.get("class", {}).items():
        found += [f"class.{name}: lacks {key}" for key in NEEDED_OF_A_CLASS if key not in one]
        found += _of_one(f"class.{name}", one, OF_A_CLASS, content)
    for name, one in content.get("agent", {}).items():
        if one.get("class") not in content.get("class", {}):
            found.append(f'agent.{name}: no class is called "{one.get("class")}"')
        found += _of_one(f"agent.{name}", one, OF_AN_AGENT, content)
    return found + _twice(content)


def plain(name: str) -> str:
    """A name as it is looked up: without case, and whichever of space, hyphen and underscore parts its words."""
    return " ".join(name.casefold().replace("_", " ").replace("-", " ").split())


def _unmarked(value: Any, place: str, sources: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Numbers whose own table has no mark or no known source, and tables whose mark or source is none."""
    if isinstance(value, list):
        for number, one in enumerate(value):
            yield from _unmarked(one, f"{place}[{number}]", sources)
        if any(_is_number(one) for one in value):
            yield place, "numbers in a list have no source of their own"
    if not isinstance(value, Mapping):
        return
    numbers = [key for key, one in value.items() if _is_number(one)]
    if numbers or "mark" in value or "source" in value:
        if value.get("mark") not in MARKS:
            yield place, f"{', '.join(numbers) or 'it'} has no evidence mark ({', '.join(MARKS)})"
        if value.get("source") not in sources:
            yield place, f"{', '.join(numbers) or 'it'} has no source of the table of sources"
        elif value["source"] == OURS and value.get("mark") not in ("A", "D"):
            yield place, "what only this project says has the mark A or D"
    for key, one in value.items():
        yield from _unmarked(one, f"{place}.{key}" if place else str(key), sources)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _of_one(place: str, one: Mapping[str, Any], keys: tuple[str, ...], content: Mapping[str, Any]) -> Iterator[str]:
    """Faults of one class or agent."""
    yield from (f"{place}: unknown key {key}" for key in one if key not in keys)
    for key in SINGLE:
        if one.get(key, UNKNOWN) != UNKNOWN:
            yield from _of_fact(f"{place}.{key}", key, one[key], content)
    for key in LISTS:
        for number, fact in enumerate(one.get(key, [])):
            yield from _of_fact(f"{place}.{key}[{number}]", key, fact, content)


def _of_fact(place: str, key: str, fact: Any, content: Mapping[str, Any]) -> Iterator[str]:
    """Faults of one fact."""
    if not isinstance(fact, Mapping):
        yield f"{place}: neither a table with mark and source nor the word {UNKNOWN}"
        return
    yield from (f"{place}: unknown key {name}" for name in fact if name not in (*_KEYS[key], "mark", "source"))
    needed = [name for name in (*_KEYS[key], "mark", "source") if name not in _MAY_LACK]
    yield from (f"{place}: lacks {name}" for name in needed if name not in fact)
    if key in ("half_life", "effect_half_life"):
        yield from _of_duration(place, fact)
    if key == "dosing":
        yield from _of_plan(place, fact)
    if key in ("reversible", "genetic"):
        yield from _of_route(place, key, fact, content)
    named = [*fact.get("undone_by", []), *fact.get("also_resists", []), *([fact["with"]] if "with" in fact else [])]
    known = {*content.get("class", {}), *content.get("agent", {}), *NOT_DRUGS}
    yield from (f'{place}: nothing here is called "{name}"' for name in named if name not in known)


def _of_duration(place: str, fact: Mapping[str, Any]) -> Iterator[str]:
    if fact.get("unit") not in HOURS:
        yield f"{place}: its unit is {' or '.join(HOURS)}"
    given = [fact[key] for key in ("value", "low", "high") if key in fact]
    if not given or not all(_is_number(one) and one > 0 for one in given):
        yield f"{place}: a value, or a low or a high end, over 0"
    elif fact.get("low", given[0]) > fact.get("high", given[-1]):
        yield f"{place}: low is over high"


def _of_plan(place: str, fact: Mapping[str, Any]) -> Iterator[str]:
    if "plan" not in fact and "text" not in fact:
        yield f"{place}: neither a plan nor a text"
    try:
        parse_plan(fact.get("plan", "on"))
    except ScheduleError as error:
        yield f"{place}: {error}"


def _of_route(place: str, key: str, fact: Mapping[str, Any], content: Mapping[str, Any]) -> Iterator[str]:
    """Faults of a way in which the drug is borne: its state of the model, its time-scale, the mark of that reading."""
    if fact.get("reading") not in MARKS:
        yield f"{place}: reading, the mark of how it is mapped to the model, is {', '.join(MARKS)}"
    if fact.get("state") not in (STATES if key == "reversible" else ("R",)):
        yield f"{place}: no such state"
    if key == "reversible" and fact.get("speed") not in content.get("time_scales", {}):
        yield f"{place}: no such time-scale"


def _twice(content: Mapping[str, Any]) -> list[str]:
    """Names and aliases that two agents have."""
    owner: dict[str, str] = {}
    found = []
    for name, one in content.get("agent", {}).items():
        for alias in {plain(text) for text in (name, *one.get("aliases", []))}:
            if alias in owner:
                found.append(f"agent.{name}: {alias} is a name of {owner[alias]} too")
            owner[alias] = name
    return found
