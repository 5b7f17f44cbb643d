"""The words in which a plan (the treatment to come) is written.

    plan  = [NAME "="] (whole | DRUG ":" whole [";" DRUG ":" whole])
    whole = part | "until" "progression" ":" part "," "then" part
    part  = {piece ","} (piece | rule | "repeat")
    piece = ("on" | "off" | "dose" D) [DAYS]        0 <= D <= 1, 0 < DAYS < inf
    rule  = "adaptive" STOP "/" RESTART ["absolute"]        0 < STOP < RESTART

Only the last piece of a part may leave DAYS away, and then goes on without end; before `repeat` every piece needs its DAYS,
since the pieces then follow each other again and again. A rule goes on without end too: at visits, the drug is stopped when
the burden falls under STOP of its reference (its value when the part starts; `absolute`: of 1, in the unit of the
burden), and given again from RESTART of it on. With `until progression` the first part runs until progression is seen at a
visit, and the second starts on that day. With two drugs the first is the one that was fitted; the second is timed and has no
rule, and both wait for progression or neither does. Case does not matter, nor do spaces. A mistake is a `ScheduleError` whose
place is the plan and the column (1-based character) of the mistake.
"""

from __future__ import annotations

import difflib
import math
import re
from typing import NamedTuple

from persist.treatment.tokens import FORMS, Item, Token, fault, items, tokens

WORDS = ("on", "off", "dose", "adaptive", "repeat")
UNTIL = "write until progression: PLAN, then PLAN, such as until progression: on, then off"

TWO = "write a drug and its plan, twice, such as A: on; B: off 90, on; the first is the drug that was fitted"
UNTIL_BOTH = "A: until progression: on, then off; B: until progression: off, then on"

_UNTIL = re.compile(r"\s*until\b\s*(?P<what>[^\W\d_]*)\s*(?P<colon>:?)", re.IGNORECASE)
_LATER = re.compile(r"\b(until)\b|[:;]", re.IGNORECASE)
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
    ``rule`` that follows them, if one does. All this holds until progression where there is a plan for ``then``. ``drug`` is
    that which the plan names (empty: none), ``other`` the plan of a second one, called by its name.
    """

    name: str
    text: str
    pieces: tuple[Piece, ...]
    repeat: bool
    rule: Adaptive | None = None
    then: Plan | None = None
    drug: str = ""
    other: Plan | None = None

    @property
    def ruled_from(self) -> float:
        """Days after its start from which the rule decides; inf without one."""
        return sum(piece.days for piece in self.pieces) if self.rule is not None else math.inf


def parse_plan(text: str) -> Plan:
    """Plan from its text, such as ``off 90, on`` or ``holiday=off 90, on``; unnamed, its text is its name.

    Raises `ScheduleError` (plan and column, what, remedy) for anything that is not of the grammar, and for plans for three
    drugs and `until progression` within another, which this version does not run.
    """
    line = "".join(letter if letter.isprintable() else " " for letter in text)
    name, at = _name(line)
    body, ends = line[at:].strip(), [found.start() for found in re.finditer(";", line) if found.start() >= at]
    if len(ends) > 1:
        raise fault(line, ends[1] + 1, "a third drug", TWO)
    begins = [at, *(end + 1 for end in ends)]
    told = [_of_drug(line[:end], begin) for begin, end in zip(begins, [*ends, len(line)], strict=True)]
    if len(told) == 1:
        return told[0]._replace(name=name or body, text=body)
    first, second = told
    _check_two(first, second, line, begins[1])
    return first._replace(name=name or body, text=body, other=second._replace(name=second.drug))


def _of_drug(line: str, at: int) -> Plan:
    """The plan that a line has from ``at`` on, of the drug that it names first, if it names one."""
    drug, at = _drug(line, at)
    body, begin = line[at:].strip(), _after_until(line, at)
    _refuse_later_forms(line, begin, nested=begin > at)
    written = items(tokens(line, begin), line)
    if begin == at:
        return Plan(body, body, *_part(written, line), drug=drug)
    first, second = _parted(written, line)
    after = line[second[0].column - 1 :].strip()
    return Plan(body, body, *_part(first, line), Plan(after, after, *_part(second, line)), drug)


def _drug(line: str, at: int) -> tuple[str, int]:
    """The drug that stands before the first colon (empty: none does) and the index behind it."""
    head, colon, _ = line[at:].partition(":")
    name = head.strip()
    if not colon or _UNTIL.match(line, at) or "," in name:
        return "", at
    if not name:
        raise fault(line, at + len(head) + 1, 'no drug before ":"', TWO)
    if name.lower().split()[0] in WORDS or name.lower().startswith("until") or "=" in name:
        raise fault(
            line, at + len(head) + 1, f'"{name}" before ":" is no drug', f"part pieces by commas; for two drugs {TWO}"
        )
    return name, at + len(head) + 1


def _check_two(first: Plan, second: Plan, line: str, column: int) -> None:
    """Each of two drugs has its own name; the second no rule; and both wait for progression, or neither."""
    where = column + len(line[column:]) - len(line[column:].lstrip()) + 1
    if not (first.drug and second.drug) or first.drug.lower() == second.drug.lower():
        raise fault(line, where, "two plans do not name two drugs", TWO)
    if second.rule is not None or (second.then is not None and second.then.rule is not None):
        what = f"an adaptive plan of a second drug ({second.drug})"
        raise fault(line, where, f"{what} is not run by this version", "write its days, such as B: on 84, off")
    if (first.then is None) != (second.then is None):
        what = "one of two drugs waits for progression and the other does not"
        raise fault(line, where, what, f"write {UNTIL_BOTH}")


def _part(written: list[Item], line: str) -> tuple[tuple[Piece, ...], bool, Adaptive | None]:
    """Pieces of a plan or of one side of it, whether they repeat, and the rule that follows them."""
    last = written[-1].tokens
    repeat = len(written) > 1 and bool(last) and last[0].text.lower() == "repeat"
    if repeat and len(last) > 1:
        raise fault(line, last[1].column, f'"{last[1].text}" after "repeat"', "end the plan with the bare word repeat")
    rule = _rule(written[-1], line) if last and last[0].text.lower() == "adaptive" else None
    timed = written[:-1] if repeat or rule else written
    pieces = tuple(_piece(item, line) for item in timed)
    _check_durations(pieces, timed, repeat, line, ruled=rule is not None)
    return pieces, repeat, rule


def _name(line: str) -> tuple[str, int]:
    """Name before the first "=" (empty where there is none) and the index at which the plan proper begins."""
    head, equals, _ = line.partition("=")
    if not equals:
        return "", 0
    if not head.strip():
        raise fault(line, len(head) + 1, 'no name before "="', 'write NAME=PLAN, such as "holiday=off 90, on"')
    if any(sign in head for sign in ",:;"):
        remedy = 'one name stands before the whole plan, without , : or ;, such as "holiday=off 90, on"'
        raise fault(line, len(head) + 1, 'unexpected "="', remedy)
    return head.strip(), len(head) + 1


def _after_until(line: str, at: int) -> int:
    """The index after "until progression:"; ``at`` where the plan does not begin so."""
    found = _UNTIL.match(line, at)
    if not found:
        return at
    column = found.start("what") + 1
    if found["what"].lower() != "progression":
        there = f'"{found["what"]}"' if found["what"] else "nothing"
        raise fault(line, column, f'the word progression expected after "until", found {there}', UNTIL)
    if not found["colon"]:
        raise fault(line, found.end("what") + 1, 'no colon after "until progression"', UNTIL)
    return found.end()


def _refuse_later_forms(line: str, begin: int, *, nested: bool) -> None:
    """Parts of the full grammar that this version recognises and does not run, or not here."""
    found = _LATER.search(line, begin)
    if not found:
        return
    if found.group().lower() != "until":
        two = f"write {UNTIL_BOTH}" if nested else TWO
        raise fault(line, found.start() + 1, f'"{found.group()}" has no place here', f"for two drugs {two}")
    if nested:
        what, remedy = (
            '"until progression" within another',
            "write it once; both its plans may be timed, repeated or adaptive",
        )
        raise fault(line, found.start() + 1, f"{what} is not run by this version", remedy)
    what, remedy = (
        'what comes before "until progression" belongs behind its colon',
        "until progression: off 90, on, then off",
    )
    raise fault(line, found.start() + 1, what, f"write it so: {remedy}")


def _parted(written: list[Item], line: str) -> tuple[list[Item], list[Item]]:
    """The items before and after the word then, which goes."""
    place = [number for number, item in enumerate(written) if item.tokens and item.tokens[0].text.lower() == "then"]
    if not place:
        raise fault(line, len(line.rstrip()) + 1, 'no ", then PLAN" after "until progression"', UNTIL)
    word, *rest = written[place[0]].tokens
    if len(place) > 1:
        column, what = written[place[1]].column, 'a second "then"'
        raise fault(line, column, what, "one plan follows progression; it may be timed, such as then off 90, on")
    if not place[0]:
        raise fault(line, word.column, 'no plan between "until progression:" and "then"', UNTIL)
    behind = rest[0].column if rest else word.column + len(word.text)
    return written[: place[0]], [Item(tuple(rest), behind), *written[place[0] + 1 :]]


def _piece(item: Item, line: str) -> Piece:
    """One stretch from its words; days that were left away are inf."""
    if not item.tokens:
        raise fault(line, item.column, "nothing where a piece of the plan was expected", FORMS)
    first, *rest = item.tokens
    word = first.text.lower()
    if word in ("repeat", "adaptive"):
        after = ", after pieces to repeat" if word == "repeat" else ""
        raise fault(line, first.column, f'"{word}" has its place at the end only{after}', FORMS)
    if word == "then":
        raise fault(line, first.column, '"then" without "until progression:" before it', UNTIL)
    if word not in WORDS:
        raise fault(line, first.column, f'unknown word "{first.text}"', _nearest(word))
    if word != "dose":
        dose = 1.0 if word == "on" else 0.0
    else:
        here = rest.pop(0) if rest else Token("", "", first.column + len(first.text))
        dose = _number(here, line, "a dose", "a dose is a fraction of the full dose, 0 to 1, such as dose 0.5")
        if not 0.0 <= dose <= 1.0:
            remedy = "a dose is a fraction of the full dose, 0 to 1 (half dose: dose 0.5)"
            raise fault(line, here.column, f"dose {here.text} is not within 0 and 1", remedy)
    days = _days(rest.pop(0), line) if rest and rest[0].kind == "number" else math.inf
    if rest:
        remedy = "put a comma between the pieces of a plan, such as off 90, on"
        raise fault(line, rest[0].column, f'unexpected "{rest[0].text}"', remedy)
    return Piece(abs(dose), days)


def _rule(item: Item, line: str) -> Adaptive:
    """The rule from its words: adaptive STOP/RESTART [absolute]."""
    form = "write adaptive STOP/RESTART, such as adaptive 0.5/1.0, or adaptive 4/10 absolute in units of the burden"
    first, *rest = item.tokens
    absolute = bool(rest) and rest[-1].text.lower() == "absolute"
    rest = rest[:-1] if absolute else rest
    if [token.kind for token in rest] != ["number", "slash", "number"]:
        odd = next((token for token, kind in zip(rest, ("number", "slash", "number"), strict=False) if token.kind != kind),
                   rest[3] if len(rest) > 3 else first)  # fmt: skip
        raise fault(line, odd.column, f'no two thresholds after "{first.text}"', form)
    stop, restart = (_number(token, line, "a threshold", form) for token in (rest[0], rest[2]))
    if not 0.0 < stop < restart < math.inf:
        what = f"the drug would stop under {stop:g} and restart from {restart:g} on"
        raise fault(line, rest[0].column, what, "the first threshold is over 0 and under the second")
    return Adaptive(stop, restart, absolute)


def _nearest(word: str) -> str:
    close = difflib.get_close_matches(word, WORDS, n=1)
    return (f'did you mean "{close[0]}"? ' if close else "") + f"the words are {', '.join(WORDS)}"


def _days(token: Token, line: str) -> float:
    remedy = "days are a plain number over 0; leave them away in the last piece for one without end"
    days = _number(token, line, "days", remedy)
    if not 0.0 < days < math.inf:
        raise fault(line, token.column, f"{token.text} days is not a duration", remedy)
    return days


def _number(token: Token, line: str, meaning: str, remedy: str) -> float:
    if not _NUMBER.fullmatch(token.text):
        found = f', found "{token.text}"' if token.text else ""
        raise fault(line, token.column, f"{meaning} expected as a number{found}", remedy)
    return float(token.text)


def _check_durations(pieces: tuple[Piece, ...], items: list[Item], repeat: bool, line: str, *, ruled: bool) -> None:
    """Only the last piece goes on without end, and it must, unless the plan repeats or ends with a rule."""
    for piece, item in zip(pieces if repeat or ruled else pieces[:-1], items, strict=False):
        if math.isinf(piece.days):
            before = "repeat" if repeat else "adaptive"
            end = repeat or ruled
            why = f"before {before} every piece needs its days" if end else "only the last piece may leave them away"
            words = " ".join(token.text for token in item.tokens)
            raise fault(line, item.column, f'"{words}" has no days', f'write "{words} 28"; {why}')
    if not repeat and not ruled and math.isfinite(pieces[-1].days):
        words = " ".join(token.text for token in items[-1].tokens)
        what = f'the plan ends after "{words}" and does not say what follows'
        raise fault(line, items[-1].column, what, "end with on, off or dose D without days, or with repeat")
