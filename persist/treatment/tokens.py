"""The words of a plan: its text as tokens that know their column, and the fault at one of them."""

from __future__ import annotations

import re
from typing import NamedTuple

from persist.errors import ScheduleError

FORMS = (
    "this version runs on, off and dose D with their days, parted by commas; end with one without days, with repeat or "
    "with adaptive STOP/RESTART; or write until progression: PLAN, then PLAN"
)
_TOKEN = re.compile(r"(?P<comma>,)|(?P<slash>/)|(?P<word>[^\W\d_]+)|(?P<number>[+-]?\.?[0-9](?:[\w.]|(?<=[eE])[+-])*)")


class Token(NamedTuple):
    """A word, number, comma or slash; ``column`` counts characters from 1."""

    kind: str
    text: str
    column: int


class Item(NamedTuple):
    """What stands between two commas; ``column`` is that of its first token, or of where one is missing."""

    tokens: tuple[Token, ...]
    column: int


def fault(line: str, column: int, what: str, remedy: str) -> ScheduleError:
    """The error at a column of a plan."""
    return ScheduleError(what, where=f'plan "{line}", column {column}', remedy=remedy)


def tokens(line: str, at: int) -> list[Token]:
    """The tokens of a line from the index ``at`` on; a sign that begins none is a fault."""
    found = []
    while at < len(line):
        if line[at] == " ":
            at += 1
            continue
        match = _TOKEN.match(line, at)
        if not match:
            raise fault(line, at + 1, f'unexpected "{line[at]}"', FORMS)
        found.append(Token(str(match.lastgroup), match.group(), at + 1))
        at = match.end()
    return found


def items(among: list[Token], line: str) -> list[Item]:
    """Tokens parted at the commas; a comma inside a number (a decimal comma) is a mistake and is said to be one."""
    for before, comma, after in zip(among, among[1:], among[2:], strict=False):
        tight = comma.column + 1 == after.column and before.column + len(before.text) == comma.column
        if (before.kind, comma.kind, after.kind) == ("number", "comma", "number") and tight:
            point = f"{before.text}.{after.text}"
            raise fault(line, comma.column, f'a comma inside a number "{before.text},{after.text}"', f"write {point}")
    found: list[Item] = []
    current: list[Token] = []
    for token in [*among, Token("comma", "", len(line.rstrip()) + 1)]:
        if token.kind == "comma":
            found.append(Item(tuple(current), current[0].column if current else token.column))
            current = []
        else:
            current.append(token)
    return found
