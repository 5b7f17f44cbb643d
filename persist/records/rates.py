"""Rates files: reaction constants and starting cells, written by hand in TOML.

    [rates]        any field of `Rates`; absent: 0 (tolerance_power 1; capacity, kill_half and effect_half infinite)
    [cells]        sensitive, persister, resistant; each absent: 0
    [drugs.NAME]   what belongs to one drug (`OF_A_DRUG`), where the file knows several

One drug is given at a time: the only one, or the one that is named; the others are absent.
"""

from __future__ import annotations

import hashlib
import math
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from persist.errors import RatesError, UsageError
from persist.records.text import did_you_mean, listed, shown
from persist.types import RATE_UNITS, Cells, Rates

TABLES = ("rates", "cells", "drugs")

OF_A_DRUG = (
    *("kill_s", "kill_p", "kill_r", "tolerance_drug", "tolerance_power", "reversion_block", "escape_drug"),
    *("withdrawal_r", "stimulation_r", "secretome_block", "kill_half", "effect_half", "onset_days", "washout_days"),
    *("attenuation_rate", "recovery_rate"),
)
"""Fields of `Rates` that a `[drugs.NAME]` table may hold."""

SHARES = ("mutation", "reversion_block", "secretome_block", "secretome_protect")
"""Rates that are shares, 0 to 1."""

MAY_BE_INFINITE = ("capacity", "kill_half", "effect_half")


def read_rates(path: str | Path, drug: str | None = None) -> tuple[Rates, Cells]:
    """Rates (1/day and as in `RATE_UNITS`) and starting cells of a rates file, all floats.

    ``drug`` chooses among the file's drugs. Raises `RatesError` (file, table, key, value, remedy) for a wrong name or
    value, `UsageError` for a file that cannot be read.
    """
    file = Path(path).name
    content = _parsed(Path(path))
    _check_tables(content, file)
    rates = _numbers(content.get("rates", {}), Rates._fields, f"{file}: [rates]")
    cells = _numbers(content["cells"], Cells._fields, f"{file}: [cells]")
    drugs = {name: _of_drug(table, f"{file}: [drugs.{name}]") for name, table in content.get("drugs", {}).items()}
    chosen = _chosen(tuple(drugs), drug, file)
    given = drugs[chosen] if chosen is not None else {}
    for name in given.keys() & rates.keys():
        if rates[name] != given[name]:
            what = f"{name} is {rates[name]:g} in [rates] and {given[name]:g} in [drugs.{chosen}]"
            raise RatesError(what, where=file, remedy="leave one of them out")
    return Rates(**(rates | given)), Cells(**(dict.fromkeys(Cells._fields, 0.0) | cells))


def given_drug(path: str | Path, drug: str | None = None) -> str | None:
    """The drug whose rates `read_rates` would take: the one named or the file's only one; None where it has no drugs."""
    return _chosen(tuple(_parsed(Path(path)).get("drugs", {})), drug, Path(path).name)


def digest(path: str | Path) -> str:
    """SHA-256 of a file, in hexadecimal; for the provenance of what is made from it."""
    return hashlib.sha256(Path(path).read_bytes()).hexdigest()


def _parsed(path: Path) -> dict[str, Any]:
    """The file as TOML."""
    remedy = "write [rates] and [cells] with lines such as birth_s = 0.1"
    try:
        return tomllib.loads(path.read_bytes().decode("utf-8-sig"))
    except FileNotFoundError:
        raise UsageError("there is no such file", where=str(path), remedy="check the path") from None
    except UnicodeDecodeError as error:
        what = f"byte 0x{error.object[error.start]:02x} at {error.start} is not UTF-8 text"
        raise RatesError(what, where=path.name, remedy="give a rates file in TOML") from None
    except RecursionError:
        raise RatesError("it is nested too deeply", where=path.name, remedy=remedy) from None
    except ValueError as error:
        raise RatesError(f"it is not TOML ({error})", where=path.name, remedy=remedy) from None
    except OSError as error:
        what = f"the file cannot be read ({error.strerror})"
        raise UsageError(what, where=str(path), remedy="give a rates file in TOML") from None


def _check_tables(content: Mapping[str, Any], file: str) -> None:
    """The tables are those of a rates file, and they are tables."""
    for name in content:
        if name in (*Rates._fields, *Cells._fields):
            table = "cells" if name in Cells._fields else "rates"
            raise RatesError(f"{name} stands outside of any table", where=file, remedy=f"put [{table}] above it")
        if name not in TABLES:
            raise RatesError(f"unknown table {_quoted(name, TABLES)}", where=file, remedy=f"the tables are {_tables()}")
    for name in ("cells", *content):
        if not isinstance(content.get(name, {}), Mapping):
            raise RatesError(f"{name} is not a table", where=file, remedy=f"write it as {_tables()}")
    if "cells" not in content:
        remedy = "add [cells] with sensitive, persister, resistant: the cells on day 0"
        raise RatesError("there is no table [cells]", where=file, remedy=remedy)
    for name, table in content.get("drugs", {}).items():
        if not isinstance(table, Mapping):
            what = f"{shown(name)} is not a table of one drug"
            raise RatesError(what, where=f"{file}: [drugs]", remedy=f"write [drugs.NAME] with {listed(OF_A_DRUG, 3)}")


def _tables() -> str:
    return "[rates], [cells] and [drugs.NAME]"


def _quoted(name: str, known: Iterable[str]) -> str:
    return f'"{shown(name)}"{did_you_mean(name, known)}'


def _numbers(table: Mapping[str, Any], known: Iterable[str], where: str) -> dict[str, float]:
    """The numbers of a table, checked one by one."""
    known = tuple(known)
    for name in table:
        if name not in known:
            remedy = f"the keys are {listed(known, len(known))}"
            raise RatesError(f"unknown key {_quoted(name, known)}", where=where, remedy=remedy)
    return {name: _number(name, value, where) for name, value in table.items()}


def _of_drug(table: Mapping[str, Any], where: str) -> dict[str, float]:
    """The numbers of one drug; a rate of the cells themselves is sent to its place."""
    for name in table:
        if name in Rates._fields and name not in OF_A_DRUG:
            raise RatesError(f"{name} is not a property of a drug", where=where, remedy="put it into [rates]")
    return _numbers(table, OF_A_DRUG, where)


def _number(name: str, value: Any, where: str) -> float:
    """A rate or count as a float; `RatesError` for what is none, negative, NaN, infinite, or a share above 1."""
    where = f"{where}, {name}"
    unit = RATE_UNITS.get(name, "cells")
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        said = ascii(value) if isinstance(value, str) else type(value).__name__
        raise RatesError(f"{said} is not a number", where=where, remedy=f"write a plain number ({unit})")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if math.isnan(number):
        raise RatesError("nan is not a value", where=where, remedy="write a number, or leave the line out")
    if number < 0.0:
        raise RatesError(f"{number:g} is negative", where=where, remedy=f"give 0 or more ({unit})")
    if math.isinf(number) and name not in MAY_BE_INFINITE:
        raise RatesError("the value is infinite", where=where, remedy=f"give a finite number ({unit})")
    if name in SHARES and number > 1.0:
        raise RatesError(f"{number:g} is over 1", where=where, remedy="it is a share, from 0 to 1")
    return number


def _chosen(drugs: tuple[str, ...], asked: str | None, file: str) -> str | None:
    """The drug that is given: the one asked for, the only one, or none where the file has no drug tables."""
    if asked is None:
        if len(drugs) > 1:
            what = f"the file has {len(drugs)} drugs ({listed(drugs)})"
            raise RatesError(what, where=file, remedy="choose the one that is given with --drug NAME")
        return drugs[0] if drugs else None
    if not drugs:
        what = f'there is no [drugs.NAME] to choose "{shown(asked)}" from'
        raise RatesError(what, where=file, remedy="leave --drug out: the drug of [rates] is given")
    if asked not in drugs:
        what = f"there is no drug {_quoted(asked, drugs)}"
        raise RatesError(what, where=file, remedy=f"choose {listed(drugs)} with --drug")
    return asked
