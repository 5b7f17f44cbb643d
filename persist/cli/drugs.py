"""``persist drugs``: the drug catalogue, whole, by class, or one entry with its sources."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import click

from persist.cli.common import emit_json
from persist.cli.options import common_options
from persist.errors import UsageError
from persist.treatment import catalogue
from persist.treatment.catalogue_checks import MARKS, UNKNOWN, plain

FOOT = "Not for clinical use. Marks: " + "; ".join(f"{mark} {meaning}" for mark, meaning in MARKS.items()) + "."

SECTIONS = {
    "dosing": "dosing",
    "toxicity": "toxicity that limits schedules",
    "reversible": "reversible tolerance",
    "genetic": "genetic resistance",
    "partners": "partners",
    "biomarkers": "biomarkers",
    "notes": "notes",
}


@click.command("drugs")
@click.argument("name", required=False, metavar="[NAME]")
@click.option("--class", "kind", metavar="CLASS", help="Only the agents of this class.")
@common_options
def command(name: str | None, kind: str | None, seed: int, as_json: bool, quiet: bool) -> None:
    """List what is known of drugs by class, or tell of NAME (or one of its aliases) with sources and evidence marks.

    Not for clinical use. What no source says is "unknown".
    """
    chosen = [_one(name)] if name is not None else catalogue.entries()
    if kind is not None:
        asked = _class(kind)
        chosen = [one for one in chosen if one["class"] == asked]
        if not chosen:
            raise UsageError(f"{name} is not of the class {asked}", where="--class", remedy="leave --class out")
    if as_json:
        emit_json({"command": "drugs", "seed": seed, "drugs": chosen, "evidence": MARKS})
    elif not quiet:
        for line in _told(chosen[0]) if name is not None else _listed(chosen):
            click.echo(line)
        click.echo(f"\n{FOOT}")


def _one(name: str) -> dict[str, Any]:
    """The entry of a name or alias; `UsageError` for one that is none."""
    agent = catalogue.find(name)
    if agent is None:
        hint = catalogue.nearest(name, catalogue.names())
        remedy = "`persist drugs` lists all names, --class CLASS those of a class"
        raise UsageError(f'no drug is called "{name}"{hint}', where="NAME", remedy=remedy)
    return catalogue.entry(agent)


def _class(name: str) -> str:
    """The class of a name as it is written; `UsageError` for one that is none."""
    classes = {plain(one): str(one) for one in catalogue.catalogue()["class"]}
    if plain(name) not in classes:
        hint = catalogue.nearest(name, classes)
        remedy = "`persist drugs` lists the classes"
        raise UsageError(f'no class is called "{name}"{hint}', where="--class", remedy=remedy)
    return classes[plain(name)]


def _listed(chosen: list[dict[str, Any]]) -> list[str]:
    """A line an agent, under its class."""
    lines: list[str] = []
    before = ""
    for one in chosen:
        if one["class"] != before:
            before = one["class"]
            lines += ["", f"{before}: {one['title']}"]
        marks = " ".join(f"{mark}{count}" for mark, count in one["marks"].items() if count)
        lines.append(
            f"  {one['name']:24} {_alone(one['alone']):13} half-life {catalogue.amount(one['half_life']):22} "
            f"of the effect {catalogue.amount(one['effect_half_life']):18} {marks}"
        )
    return lines[1:]


def _told(one: Mapping[str, Any]) -> list[str]:
    """One entry in words."""
    others = f" ({', '.join(one['aliases'])})" if one["aliases"] else ""
    lines = [f"{one['name']}{others}: {one['title']} [{one['class']}]", f"targets: {', '.join(one['targets'])}"]
    lines.append(f"active: {_alone(one['alone'])}{_said(one['alone_why'])}")
    lines.append(f"route: {UNKNOWN if one['route'] == UNKNOWN else one['route']['text'] + _marked(one['route'])}")
    for key, label in (("half_life", "half-life in plasma"), ("effect_half_life", "half-life of the effect")):
        lines.append(f"{label}: {catalogue.amount(one[key])}{_said(one[key])}")
    for name, bounds in one["lags"].items():
        ends = (("from", bounds["low"]), ("to", bounds["high"]))
        span = " ".join(f"{word} {end:.3g}" for word, end in ends if end is not None)
        lines.append(f"prior of {name} in patients: {span} days, by the {bounds['why']}; the other end is the pack's")
    for key, title in SECTIONS.items():
        lines += ["", f"{title}:"] if one[key] else ["", f"{title}: {UNKNOWN}"]
        lines += [f"  - {_fact(key, fact)}" for fact in one[key]]
    return [*lines, "", "sources:", *(f"  {source['key']}: {source['cite']}" for source in one["sources"])]


def _fact(key: str, fact: Mapping[str, Any]) -> str:
    """One fact of a list, with what belongs to its kind."""
    head = fact.get("name", fact.get("with", ""))
    words = ": ".join(part for part in (head, fact.get("text", "")) if part)
    more = {
        "dosing": (("plan", 'plan "{}"'), ("full_dose", "full dose {}")),
        "toxicity": (("limits", "limits: {}"),),
        "reversible": (("state", "in the model {}"), ("speed", "goes back: {}"), ("undone_by", "undone by {}")),
        "genetic": (("also_resists", "resists too: {}"),),
    }.get(key, ())
    for name, form in more:
        if fact.get(name):
            value = fact[name]
            words += "; " + form.format(", ".join(value) if isinstance(value, list) else value)
    return words + _marked(fact)


def _marked(fact: Mapping[str, Any]) -> str:
    """The mark and source of a fact; with the mark of how it is read into the model, where it has one."""
    reading = f", reading {fact['reading']}" if "reading" in fact else ""
    return f" [{fact['mark']}, {fact['source']}{reading}]"


def _said(fact: Any) -> str:
    """What a single fact says beside its value, and its mark; nothing for an unknown one."""
    if fact == UNKNOWN:
        return ""
    text = f", {fact['text']}" if fact.get("text") else ""
    return text + _marked(fact)


def _alone(active: bool | None) -> str:
    return {True: "alone", False: "with partners", None: UNKNOWN}[active]
