"""Delimited text as rows that know their place: one file in, a `Sheet` out, nothing interpreted yet.

UTF-8 with or without a byte-order mark, any line ending, columns parted by commas, semicolons or tabs (decided by the
header alone). Every row keeps its line number, the header being line 1, so that each fault can be found in an editor.
"""

from __future__ import annotations

import csv
import difflib
import io
import unicodedata
from collections.abc import Collection, Iterable, Sequence
from pathlib import Path
from typing import NamedTuple

from persist.errors import DataError, UsageError

DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}


class Row(NamedTuple):
    """One line of a table: ``values`` by column, stripped; ``line`` counts the header as 1."""

    file: str
    line: int
    values: dict[str, str]

    def fault(self, column: str, what: str, remedy: str) -> DataError:
        """An error that stands at this row and column."""
        return DataError(what, where=f"{self.file}: row {self.line}, column {column}", remedy=remedy)


class Sheet(NamedTuple):
    """A whole table: its columns in order, its rows, what was noticed while reading, and the bytes that were read."""

    file: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    delimiter: str
    notes: tuple[str, ...]
    content: bytes


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """The question whether a name near to ``name`` was meant, or nothing; capitals and leading zeros are forgiven."""
    known = list(dict.fromkeys(known))
    same = [word for word in known if word.lower().lstrip("0") == name.lower().lstrip("0")]
    close = same or difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    return f" (did you mean {' or '.join(repr(word) for word in close)}?)" if close else ""


def shown(name: str) -> str:
    """A name as it can be printed in one line; control characters escaped."""
    return name if name.isprintable() else ascii(name)


def refuse_control(row: Row, column: str) -> None:
    """`DataError` for a name with a line end, a tab or another control character."""
    name = row.values[column]
    for sign in name:
        if unicodedata.category(sign) in ("Cc", "Zl", "Zp"):
            what = f"{name!r} has the control character {sign!r}"
            raise row.fault(column, what, "write the name in one line of plain text")


def listed(names: Iterable[str], most: int = 8) -> str:
    """Names as a list to read, cut after ``most`` of them."""
    names = [shown(name) for name in names]
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def counted(number: int, noun: str) -> str:
    """``1 value``, ``2 values``."""
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"


def read_sheet(path: str | Path, required: Sequence[str], optional: Collection[str]) -> Sheet:
    """Read a delimited text file with a header; `DataError` where it is not one, `UsageError` where there is no file.

    ``required`` columns must be there; columns neither required nor ``optional`` are set aside with a note.
    """
    path = Path(path)
    content = _bytes(path)
    text, notes = _text(path.name, content)
    delimiter = _delimiter(text)
    if delimiter != ",":
        notes.append(f"{path.name}: columns are parted by {DELIMITERS[delimiter]}")
    lines = _lines(path.name, text, delimiter)
    if not lines:
        raise DataError("the file is empty", where=f"{path.name}: row 1", remedy=f"a table with {listed(required)}")
    columns = _columns(path.name, lines[0][1], required)
    aside = [name for name in columns if name and name not in required and name not in optional]
    if aside:
        notes.append(f"{path.name}: columns set aside: {listed(aside, 20)}")
    rows = tuple(_row(path.name, line, fields, columns) for line, fields in lines[1:])
    if not rows:
        where = f"{path.name}: row {lines[0][0]}"
        raise DataError("there is a header and no row under it", where=where, remedy="add the rows")
    return Sheet(path.name, columns, rows, delimiter, tuple(notes), content)


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise UsageError("there is no such file", where=str(path), remedy="check the path") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise UsageError(f"the file cannot be read ({reason})", where=str(path), remedy="give a CSV file") from None


def _text(file: str, content: bytes) -> tuple[str, list[str]]:
    """Decode, and say what was met on the way: byte-order mark, Windows or old Macintosh line ends."""
    remedy = "save the table as CSV in UTF-8"
    if b"\0" in content:
        line = content[: content.index(b"\0")].count(b"\n") + 1
        raise DataError(
            "a NUL byte: this is a binary file, not a text table", where=f"{file}: row {line}", remedy=remedy
        )
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        what = f"byte 0x{content[error.start]:02x} is not UTF-8 text"
        raise DataError(what, where=f"{file}: row {line}", remedy=remedy) from None
    notes = []
    if text.startswith("\ufeff"):
        text = text[1:]
        notes.append(f"{file}: begins with a byte-order mark (BOM), passed over")
    if "\r" in text:
        notes.append(f"{file}: lines end in CRLF or CR, read as line ends")
    return text, notes


def _delimiter(text: str) -> str:
    header = text.lstrip("\r\n").splitlines()[:1]
    return max(DELIMITERS, key=header[0].count) if header else ","


def _lines(file: str, text: str, delimiter: str) -> list[tuple[int, list[str]]]:
    """Stripped fields of every record that is not blank, and the line on which it begins (quoted fields may span many)."""
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True)
    lines, begins = [], 1
    try:
        for fields in reader:
            stripped = [field.strip() for field in fields]
            if any(stripped):
                lines.append((begins, stripped))
            begins = reader.line_num + 1
    except csv.Error as error:
        where = f"{file}: row {begins}"
        raise DataError(f"not a delimited table ({error})", where=where, remedy="look for a stray quote") from None
    return lines


def _columns(file: str, header: list[str], required: Sequence[str]) -> tuple[str, ...]:
    columns = tuple(header)
    for name in columns:
        if name and columns.count(name) > 1:
            what = "this column is there twice"
            raise DataError(what, where=f"{file}: row 1, column {shown(name)}", remedy="keep or rename one of them")
    for name in required:
        if name not in columns:
            there = listed(filter(None, columns), 12)[:400]
            what = f"the column is missing; the file has {there}{did_you_mean(name, columns)}"
            remedy = f"name the columns {', '.join(required)}"
            raise DataError(what, where=f"{file}: row 1, column {name}", remedy=remedy)
    return columns


def _row(file: str, line: int, fields: list[str], columns: tuple[str, ...]) -> Row:
    if len(fields) != len(columns) and (len(fields) < len(columns) or any(fields[len(columns) :])):
        what = f"{counted(len(fields), 'field')} where the header has {len(columns)}"
        remedy = "part columns by semicolons where numbers have decimal commas, and leave missing values empty"
        column = columns[len(fields)] if len(fields) < len(columns) else columns[-1]
        raise DataError(what, where=f"{file}: row {line}, column {shown(column) or 'without a name'}", remedy=remedy)
    return Row(file, line, dict(zip(columns, fields, strict=False)))
