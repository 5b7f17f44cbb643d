"""Rates files: what is read from them, and one line with a remedy for everything that cannot be."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from persist.dynamics import checks
from persist.errors import PersistError, RatesError, UsageError
from persist.records import rates as rates_file
from persist.records.rates import read_rates
from persist.types import Cells, Rates

CELLS = "[cells]\nsensitive = 1_000\npersister = 10\nresistant = 0\n"


def written(folder: Path, text: str | bytes) -> Path:
    path = folder / "r.toml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_absent_rates_have_their_defaults(tmp_path: Path) -> None:
    rates, cells = read_rates(written(tmp_path, CELLS))
    assert rates == Rates()
    assert (rates.tolerance_power, rates.capacity, rates.kill_half) == (1.0, math.inf, math.inf)
    assert cells == Cells(1000.0, 10.0, 0.0)
    assert all(isinstance(value, float) for value in (*rates, *cells))


def test_every_rate_is_read(tmp_path: Path) -> None:
    values = {name: 0.01 * (number + 1) for number, name in enumerate(Rates._fields)}
    lines = "\r\n".join(["[rates]", *(f"{name} = {value}" for name, value in values.items())])
    rates, _ = read_rates(written(tmp_path, f"\ufeff{lines}\n# a remark\n{CELLS}"))
    assert rates._asdict() == values


def test_whole_numbers_and_infinity_where_it_has_a_meaning(tmp_path: Path) -> None:
    rates, _ = read_rates(written(tmp_path, f"[rates]\ncapacity = inf\nkill_half = +inf\nbirth_s = 1\n{CELLS}"))
    assert (rates.capacity, rates.kill_half, rates.birth_s) == (math.inf, math.inf, 1.0)


def test_shares_are_those_of_the_engines() -> None:
    assert rates_file.SHARES == checks.SHARES
    assert set(rates_file.OF_A_DRUG) <= set(Rates._fields)


ONE = f"[rates]\nbirth_s = 0.1\n{CELLS}[drugs.A]\nkill_s = 0.2\nkill_half = 0.5\n"
TWO = f"{ONE}[drugs.B]\nkill_s = 0.3\n"


def test_the_only_drug_is_given(tmp_path: Path) -> None:
    rates, _ = read_rates(written(tmp_path, ONE))
    assert rates == Rates(birth_s=0.1, kill_s=0.2, kill_half=0.5)
    assert read_rates(written(tmp_path, ONE), "A")[0] == rates


def test_one_of_several_drugs_is_chosen(tmp_path: Path) -> None:
    path = written(tmp_path, TWO)
    assert read_rates(path, "B")[0] == Rates(birth_s=0.1, kill_s=0.3)
    assert read_rates(path, "A")[0].kill_half == 0.5


def test_a_fading_kill_belongs_to_a_drug_or_to_all(tmp_path: Path) -> None:
    fading = "attenuation_rate = 0.01\nrecovery_rate = 0.03\n"
    of_all, _ = read_rates(written(tmp_path, f"[rates]\n{fading}{CELLS}"))
    of_a_drug, _ = read_rates(written(tmp_path, f"{CELLS}[drugs.A]\n{fading}[drugs.B]\n"), "A")
    assert of_all == of_a_drug == Rates(attenuation_rate=0.01, recovery_rate=0.03)
    assert read_rates(tmp_path / "r.toml", "B")[0] == Rates()


def test_a_rate_said_twice_alike_is_no_fault(tmp_path: Path) -> None:
    rates, _ = read_rates(written(tmp_path, f"[rates]\nkill_s = 0.2\n{CELLS}[drugs.A]\nkill_s = 0.2\n"))
    assert rates.kill_s == 0.2


BAD: dict[str, tuple[str | bytes, tuple[str, ...]]] = {
    "unknown key": (f"[rates]\nbirth = 1\n{CELLS}", ("r.toml: [rates]", '"birth"', "'birth_s'", "the keys are")),
    "capitals": (f"[rates]\nBirth_S = 1\n{CELLS}", ("did you mean 'birth_s'",)),
    "unknown cells": ("[cells]\nresistent = 1\n", ("[cells]", '"resistent"', "'resistant'")),
    "negative": (f"[rates]\nbirth_s = -0.1\n{CELLS}", ("[rates], birth_s", "-0.1 is negative", "1/day")),
    "negative cells": ("[cells]\nsensitive = -1\n", ("[cells], sensitive", "-1 is negative", "cells")),
    "nan": (f"[rates]\nbirth_s = nan\n{CELLS}", ("birth_s", "nan")),
    "infinite": (f"[rates]\nbirth_s = inf\n{CELLS}", ("birth_s", "infinite", "finite number")),
    "infinite cells": ("[cells]\nsensitive = inf\n", ("sensitive", "infinite")),
    "too large": (f"[rates]\nbirth_s = 1{'0' * 400}\n{CELLS}", ("birth_s", "infinite")),
    "too many digits": (f"[rates]\nbirth_s = 1{'0' * 5000}\n{CELLS}", ("not TOML",)),
    "text": (f'[rates]\nbirth_s = "0.1"\n{CELLS}', ("birth_s", "'0.1' is not a number", "plain number")),
    "line end in text": (f'[rates]\nbirth_s = "a\\nb"\n{CELLS}', ("'a\\nb'",)),
    "truth": (f"[rates]\nbirth_s = true\n{CELLS}", ("birth_s", "bool")),
    "list": (f"[rates]\nbirth_s = [1]\n{CELLS}", ("birth_s", "list")),
    "table for a number": (f"[rates.birth_s]\nx = 1\n{CELLS}", ("birth_s", "dict")),
    "share": (f"[rates]\nmutation = 1.5\n{CELLS}", ("mutation", "1.5 is over 1", "share")),
    "no cells": ("[rates]\nbirth_s = 1\n", ("no table [cells]", "sensitive, persister, resistant")),
    "empty": ("", ("no table [cells]",)),
    "outside": (f"birth_s = 1\n{CELLS}", ("birth_s stands outside", "[rates] above")),
    "cells outside": ("sensitive = 1\n", ("sensitive stands outside", "[cells] above")),
    "unknown table": (f"[rate]\nbirth_s = 1\n{CELLS}", ('"rate"', "'rates'", "[drugs.NAME]")),
    "cells no table": ("cells = 1\n", ("cells is not a table",)),
    "drugs no table": (f"{CELLS}[drugs]\nkill_s = 1\n", ("[drugs]", "kill_s is not a table", "[drugs.NAME]")),
    "syntax": (f"[rates]\nbirth_s = 0,1\n{CELLS}", ("not TOML", "line 2", "column 12")),
    "twice": (f"[rates]\nbirth_s = 1\nbirth_s = 2\n{CELLS}", ("not TOML", "line 3")),
    "binary": (b"\x89HDF\r\n\x1a\n", ("byte 0x89", "not UTF-8", "TOML")),
    "zero byte": (b"[rates]\nbirth_s = 1\0\n", ("not TOML", "line 2")),
    "deep": ("x = " + "[" * 5000, ("nested too deeply",)),
    "of the cells": (f"{CELLS}[drugs.A]\nbirth_s = 1\n", ("[drugs.A]", "birth_s", "put it into [rates]")),
    "unknown of a drug": (f"{CELLS}[drugs.A]\nkill = 1\n", ("[drugs.A]", '"kill"', "'kill_s'")),
    "negative of a drug": (f"{CELLS}[drugs.A]\nkill_s = -1\n", ("[drugs.A], kill_s", "-1 is negative")),
    "two values": (f"[rates]\nkill_s = 0.1\n{ONE[ONE.index('[cells]') :]}", ("0.1 in [rates]", "0.2 in [drugs.A]")),
    "several drugs": (TWO, ("2 drugs (A, B)", "--drug")),
}


@pytest.mark.parametrize("name", BAD)
def test_what_cannot_be_read_is_one_line(tmp_path: Path, name: str) -> None:
    text, parts = BAD[name]
    with pytest.raises(RatesError) as found:
        read_rates(written(tmp_path, text))
    line = str(found.value)
    assert "\n" not in line
    assert found.value.remedy
    for part in ("r.toml", *parts):
        assert part in line


@pytest.mark.parametrize(("text", "drug", "parts"), [(CELLS, "A", ("leave --drug out",)), (TWO, "a", ("'A'", "A, B"))])
def test_a_drug_that_is_not_there(tmp_path: Path, text: str, drug: str, parts: tuple[str, ...]) -> None:
    with pytest.raises(RatesError) as found:
        read_rates(written(tmp_path, text), drug)
    assert all(part in str(found.value) for part in parts)


def test_files_that_are_none(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file"):
        read_rates(tmp_path / "absent.toml")
    with pytest.raises(PersistError, match="cannot be read"):
        read_rates(tmp_path)
