"""The words in which a plan (the treatment to come) is written.

    plan  = [NAME "="] {piece ","} (piece | rule | "repeat")
    piece = ("on" | "off" | "dose" D) [DAYS]        0 <= D <= 1, 0 < DAYS < inf
    rule  = "adaptive" STOP "/" RESTART ["absolute"]        0 < STOP < RESTART

Only the last piece may leave DAYS away, and then goes on without end; before `repeat` every piece needs its DAYS, since
the pieces then follow each other again and again. A rule goes on without end too: at visits, the drug is stopped when
the burden falls under STOP of its reference (its value when the plan starts; `absolute`: of 1, in the unit of the
burden), and given again from RESTART of it on. Case does not matter, nor do spaces. A mistake is a `ScheduleError` whose
place is the plan and the column (1-based character) of the mistake.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import NamedTuple

from persist.errors import ScheduleError

WORDS = ("on", "off", "dose", "adaptive", "repeat")
FORMS = (
    "this version runs on, off and dose D with their days, parted by commas; end with one without days, with repeat or "
    "with adaptive STOP/RESTART"
)

_LATER = re.compile(r"\b(until)\b|[:;]", re.IGNORECASE)
_TOKEN = re.compile(r"(?P<comma>,)|(?P<slash>/)|(?P<word>[^\W\d_]+)|(?P<number>[+-]?\.?[0-9](?:[\w.]|(?<=[eE])[+-])*)")
_NUMBER = re.compile(r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")


class Piece(NamedTuple):
    """One stretch of a plan: ``dose`` (fraction of the full dose, 0..1) for ``days`` (inf = without end)."""

    dose: float
    days: float


class Adaptive(NamedTuple):
    """A rule: stop under ``stop`` of the reference, restart from ``restart`` of it on; ``absolute``: of 1 in its unit."""

    stop: float
    restart: float
    absolute: bool


class Plan(NamedTuple):
    """A plan as written: its ``name``, its ``text`` without the name, its pieces in order, whether they repeat, and the
    ``rule`` that follows them, if one does.
    """

    name: str
    text: str
    pieces: tuple[Piece, ...]
    repeat: bool
    rule: Adaptive | None = None

    @property
    def ruled_from(self) -> float:
        """Days after its start from which the rule decides; inf without one."""
        return sum(piece.days for piece in self.pieces) if self.rule is not None else math.inf


class _Token(NamedTuple):
    kind: str
    text: str
    column: int


class _Item(NamedTuple):
    """What stands between two commas; ``column`` is that of its first token, or of where one is missing."""

    tokens: tuple[_Token, ...]
    column: int


def parse_plan(text: str) -> Plan:
    """Plan from its text, such as ``off 90, on`` or ``holiday=off 90, on``; unnamed, its text is its name.

    Raises `ScheduleError` (plan and column, what, remedy) for anything that is not of the grammar, and for `until
    progression` and plans for several drugs, which this version does not run.
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    name, body_at = _name(line)
    _refuse_later_forms(line, body_at)
    items = _items(_tokens(line, body_at), line)
    last = items[-1].tokens
    repeat = len(items) > 1 and bool(last) and last[0].text.lower() == "repeat"
    if repeat and len(last) > 1:
        raise _fault(line, last[1].column, f'"{last[1].text}" after "repeat"', "end the plan with the bare word repeat")
    rule = _rule(items[-1], line) if last and last[0].text.lower() == "adaptive" else None
    written = items[:-1] if repeat or rule else items
    pieces = tuple(_piece(item, line) for item in written)
    _check_durations(pieces, written, repeat, line, ruled=rule is not None)
    body = line[body_at:].strip()
    return Plan(name or body, body, pieces, repeat, rule)


def _fault(line: str, column: int, what: str, remedy: str) -> ScheduleError:
    return ScheduleError(what, where=f'plan "{line}", column {column}', remedy=remedy)


def _name(line: str) -> tuple[str, int]:
    """Name before the first "=" (empty where there is none) and the index at which the plan proper begins."""
    head, equals, _ = line.partition("=")
    if not equals:
        return "", 0
    if not head.strip():
        raise _fault(line, len(head) + 1, 'no name before "="', 'write NAME=PLAN, such as "holiday=off 90, on"')
    if any(sign in head for sign in ",:;"):
        remedy = 'one name stands before the whole plan, without , : or ;, such as "holiday=off 90, on"'
        raise _fault(line, len(head) + 1, 'unexpected "="', remedy)
    return head.strip(), len(head) + 1


def _refuse_later_forms(line: str, body_at: int) -> None:
    """Parts of the full grammar that this version recognises and does not run."""
    found = _LATER.search(line, body_at)
    if not found:
        return
    form = {"until": 'an "until progression" plan'}
    what = form.get(found.group().lower(), f'a plan for several drugs (with "{found.group()}")')
    raise _fault(line, found.start() + 1, f"{what} is not run by this version yet", FORMS)


def _tokens(line: str, at: int) -> list[_Token]:
    tokens = []
    while at < len(line):
        if line[at] == " ":
            at += 1
            continue
        match = _TOKEN.match(line, at)
        if not match:
            raise _fault(line, at + 1, f'unexpected "{line[at]}"', FORMS)
        tokens.append(_Token(str(match.lastgroup), match.group(), at + 1))
        at = match.end()
    return tokens


def _items(tokens: list[_Token], line: str) -> list[_Item]:
    """Tokens parted at the commas; a comma inside a number (a decimal comma) is a mistake and is said to be one."""
    for before, comma, after in zip(tokens, tokens[1:], tokens[2:], strict=False):
        tight = comma.column + 1 == after.column and before.column + len(before.text) == comma.column
        if (before.kind, comma.kind, after.kind) == ("number", "comma", "number") and tight:
            point = f"{before.text}.{after.text}"
            raise _fault(line, comma.column, f'a comma inside a number "{before.text},{after.text}"', f"write {point}")
    items: list[_Item] = []
    current: list[_Token] = []
    for token in [*tokens, _Token("comma", "", len(line.rstrip()) + 1)]:
        if token.kind == "comma":
            items.append(_Item(tuple(current), current[0].column if current else token.column))
            current = []
        else:
            current.append(token)
    return items


def _piece(item: _Item, line: str) -> Piece:
    """One stretch from its words; days that were left away are inf."""
    if not item.tokens:
        raise _fault(line, item.column, "nothing where a piece of the plan was expected", FORMS)
    first, *rest = item.tokens
    word = first.text.lower()
    if word in ("repeat", "adaptive"):
        after = ", after pieces to repeat" if word == "repeat" else ""
        raise _fault(line, first.column, f'"{word}" has its place at the end only{after}', FORMS)
    if word not in WORDS:
        raise _fault(line, first.column, f'unknown word "{first.text}"', _nearest(word))
    if word != "dose":
        dose = 1.0 if word == "on" else 0.0
    else:
        here = rest.pop(0) if rest else _Token("", "", first.column + len(first.text))
        dose = _number(here, line, "a dose", "a dose is a fraction of the full dose, 0 to 1, such as dose 0.5")
        if not 0.0 <= dose <= 1.0:
            remedy = "a dose is a fraction of the full dose, 0 to 1 (half dose: dose 0.5)"
            raise _fault(line, here.column, f"dose {here.text} is not within 0 and 1", remedy)
    days = _days(rest.pop(0), line) if rest and rest[0].kind == "number" else math.inf
    if rest:
        remedy = "put a comma between the pieces of a plan, such as off 90, on"
        raise _fault(line, rest[0].column, f'unexpected "{rest[0].text}"', remedy)
    return Piece(abs(dose), days)


def _rule(item: _Item, line: str) -> Adaptive:
    """The rule from its words: adaptive STOP/RESTART [absolute]."""
    form = "write adaptive STOP/RESTART, such as adaptive 0.5/1.0, or adaptive 4/10 absolute in units of the burden"
    first, *rest = item.tokens
    absolute = bool(rest) and rest[-1].text.lower() == "absolute"
    rest = rest[:-1] if absolute else rest
    if [token.kind for token in rest] != ["number", "slash", "number"]:
        odd = next((token for token, kind in zip(rest, ("number", "slash", "number"), strict=False) if token.kind != kind),
                   rest[3] if len(rest) > 3 else first)  # fmt: skip
        raise _fault(line, odd.column, f'no two thresholds after "{first.text}"', form)
    stop, restart = (_number(token, line, "a threshold", form) for token in (rest[0], rest[2]))
    if not 0.0 < stop < restart < math.inf:
        what = f"the drug would stop under {stop:g} and restart from {restart:g} on"
        raise _fault(line, rest[0].column, what, "the first threshold is over 0 and under the second")
    return Adaptive(stop, restart, absolute)


def _nearest(word: str) -> str:
    close = difflib.get_close_matches(word, WORDS, n=1)
    return (f'did you mean "{close[0]}"? ' if close else "") + f"the words are {', '.join(WORDS)}"


def _days(token: _Token, line: str) -> float:
    remedy = "days are a plain number over 0; leave them away in the last piece for one without end"
    days = _number(token, line, "days", remedy)
    if not 0.0 < days < math.inf:
        raise _fault(line, token.column, f"{token.text} days is not a duration", remedy)
    return days


def _number(token: _Token, line: str, meaning: str, remedy: str) -> float:
    if not _NUMBER.fullmatch(token.text):
        found = f', found "{token.text}"' if token.text else ""
        raise _fault(line, token.column, f"{meaning} expected as a number{found}", remedy)
    return float(token.text)


def _check_durations(pieces: tuple[Piece, ...], items: list[_Item], repeat: bool, line: str, *, ruled: bool) -> None:
    """Only the last piece goes on without end, and it must, unless the plan repeats or ends with a rule."""
    for piece, item in zip(pieces if repeat or ruled else pieces[:-1], items, strict=False):
        if math.isinf(piece.days):
            before = "repeat" if repeat else "adaptive"
            end = repeat or ruled
            why = f"before {before} every piece needs its days" if end else "only the last piece may leave them away"
            words = " ".join(token.text for token in item.tokens)
            raise _fault(line, item.column, f'"{words}" has no days', f'write "{words} 28"; {why}')
    if not repeat and not ruled and math.isfinite(pieces[-1].days):
        words = " ".join(token.text for token in items[-1].tokens)
        what = f'the plan ends after "{words}" and does not say what follows'
        raise _fault(line, items[-1].column, what, "end with on, off or dose D without days, or with repeat")
