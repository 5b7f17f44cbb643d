"""Fields as numbers and days: what a cell of a table may say, and the fault where it says something else.

Decimal marks and the kind of time (days or ISO dates) are settled once for all rows that are judged; a table that
mixes them is refused, never guessed at.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from datetime import datetime

from persist.records.text import Row, Sheet

NUMBER = re.compile(r"[+-]?([0-9]+([.,][0-9]*)?|[.,][0-9]+)([eE][+-]?[0-9]+)?")
GROUPED = re.compile(r"[+-]?[1-9][0-9]{0,2},[0-9]{3}")
POINTED = re.compile(r"[+-]?[1-9][0-9]{0,2}\.[0-9]{3}")
ISO = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}([T ][0-9]{2}:[0-9]{2}(:[0-9]{2})?)?")
TIMED = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[^0-9].*", re.DOTALL)
OTHER_DATE = re.compile(r"[0-9]{1,4}([/.-])[0-9]{1,2}\1[0-9]{1,4}")
LONGEST_DAYS = 100_000.0
SECONDS_PER_DAY = 86_400.0


def decimal_mark(sheet: Sheet, rows: Iterable[Row], columns: Sequence[str]) -> str:
    """The decimal mark of these columns, a comma or (else) a point; both in one file is a `DataError`."""
    fields = _numbers(rows, columns)
    _refuse_groups(sheet, fields)
    first: dict[str, Row] = {}
    for row, column in fields:
        text = row.values[column]
        for mark in {".", ","} & set(text):
            first.setdefault(mark, row)
        if len(first) == 2:
            other = first["." if "," in text else ","].line
            what = f"{text!r} has another decimal mark than row {other}"
            raise row.fault(column, what, "write all numbers with points, or all with commas")
    return next(iter(first), ".")


def _numbers(rows: Iterable[Row], columns: Sequence[str]) -> list[tuple[Row, str]]:
    """The fields of these columns that are numbers."""
    return [(row, column) for row in rows for column in columns if NUMBER.fullmatch(row.values[column])]


def _refuse_groups(sheet: Sheet, fields: Sequence[tuple[Row, str]]) -> None:
    """`DataError` for 1,200, which may be 1200: among commas; among tabs where no number shows its comma to be decimal."""
    commas = [(row, column) for row, column in fields if "," in row.values[column]]
    grouped = [(row, column) for row, column in commas if GROUPED.fullmatch(row.values[column])]
    if grouped and (sheet.delimiter == "," or (sheet.delimiter == "\t" and len(grouped) == len(commas))):
        row, column = grouped[0]
        raise row.fault(column, f"{row.values[column]!r} can be read in two ways", "write it without a comma")


def points_noticed(sheet: Sheet, rows: Iterable[Row], columns: Sequence[str]) -> list[str]:
    """A sentence where columns are parted by semicolons and every point might part thousands, as in 1.200."""
    points = [(row, column) for row, column in _numbers(rows, columns) if "." in row.values[column]]
    if sheet.delimiter != ";" or not points or not all(POINTED.fullmatch(row.values[c]) for row, c in points):
        return []
    row, column = points[0]
    said = f"{row.values[column]!r} (row {row.line}) is read as {float(row.values[column]):g}"
    return [f"{sheet.file}: every number with a point has three digits after it; {said}: points are decimal marks"]


def number(row: Row, column: str, mark: str = ".") -> float:
    """The finite number of a field; `DataError` for nothing, text, nan and infinity."""
    text = row.values[column]
    if not text:
        raise row.fault(column, "the value is missing (empty)", "fill it in or leave the row out")
    if text.lower() in {"nan", "na", "n/a", "null", "none", "."}:
        raise row.fault(column, f"{text!r} is not a value", "fill it in or leave the row out")
    if not NUMBER.fullmatch(text) or (mark == "." and "," in text):
        infinite = text.lower().lstrip("+-") in {"inf", "infinity"}
        if infinite:
            raise row.fault(column, f"{text!r} is infinite", "write a finite number")
        remedy = "write a plain number"
        if text[0] in "<>":
            side = "left" if text[0] == "<" else "right"
            remedy = f"write the limit as a plain number, and {side} in a column censoring"
        raise row.fault(column, f"{text!r} is not a number", remedy)
    value = float(text.replace(",", "."))
    if not math.isfinite(value):
        raise row.fault(column, f"{text!r} is infinite", "write a finite number")
    return value


def has_dates(fields: Iterable[tuple[Row, str]]) -> bool:
    """Whether these times are ISO dates (else days); a mixture, or any other form of date, is a `DataError`."""
    first: dict[bool, Row] = {}
    for row, column in fields:
        text = row.values[column]
        is_date = ISO.fullmatch(text) is not None
        if TIMED.fullmatch(text) and not is_date:
            what = f"{text!r} is a date with a time of day in a form that is not read"
            raise row.fault(column, what, f"write the date alone, as {text[:10]}")
        if OTHER_DATE.fullmatch(text) and not is_date:
            raise row.fault(column, f"{text!r} is a date in a form that is not ISO", "write dates as 1999-12-31")
        if not is_date and not NUMBER.fullmatch(text):
            continue
        first.setdefault(is_date, row)
        if len(first) == 2:
            kinds = "a date where {} has a number" if is_date else "a number where {} has a date"
            what = f"{text!r} is {kinds.format(_place(first[not is_date], row))}"
            raise row.fault(column, what, "write all times as days, or all as ISO dates")
    return True in first


def day(row: Row, column: str, mark: str, dates: bool) -> float:
    """A time in days; for dates, days since the calendar's own beginning (the caller subtracts an origin)."""
    if not dates:
        value = number(row, column, mark)
        if abs(value) > LONGEST_DAYS:
            what = f"{row.values[column]!r} is more than {LONGEST_DAYS:g} days"
            raise row.fault(column, what, "give days since the patient's own origin, or dates as 1999-12-31")
        return value
    text = row.values[column]
    if not ISO.fullmatch(text):
        what = f"{text!r} is not a date" if text else "the date is missing (empty)"
        raise row.fault(column, what, "write dates as 1999-12-31")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise row.fault(column, f"{text!r} is not a day of the calendar", "write dates as 1999-12-31") from None
    return moment.toordinal() + (moment - moment.replace(hour=0, minute=0, second=0)).total_seconds() / SECONDS_PER_DAY


def _place(row: Row, seen_from: Row) -> str:
    return f"row {row.line}" if row.file == seen_from.file else f"row {row.line} of {row.file}"
