"""The command line: help without heavy imports, `check`, `doctor`, one line an error, outputs claimed first."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner, Result

import persist
from persist.cli import doctor
from persist.cli import main as main_module
from persist.cli.common import claim_folder, claim_output, emit_json, plain
from persist.cli.main import COMMANDS, main
from persist.errors import FitError, UsageError

BURDEN = "patient_id,time_days,burden\nA,0,10\nA,28,5\nB,0,8\nB,30,0.5\n"
DOSES = "patient_id,start_days,stop_days,drug,dose\nA,0,14,x,1\nA,14,20,y,1\nA,25,,x,1\n"
HEAVY = ("numpy", "jax", "pandas", "numpyro", "arviz", "xarray", "matplotlib")


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERSIST_DEBUG", raising=False)
    (tmp_path / "b.csv").write_text(BURDEN)
    (tmp_path / "t.csv").write_text(DOSES)
    return tmp_path


def run(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def assert_one_line(result: Result, code: int, *parts: str) -> None:
    assert result.exit_code == code
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert result.stderr.startswith("persist: ")
    assert "Traceback" not in result.stderr
    for part in parts:
        assert part in result.stderr


def test_help_lists_every_command_with_its_line(folder: Path) -> None:
    result = run("--help")
    assert result.exit_code == 0
    for name, (_, _, line) in COMMANDS.items():
        assert any(shown.split() == [name, *line.split()] for shown in result.stdout.splitlines())
    assert run("--version").stdout == f"persist {persist.__version__}\n"


@pytest.mark.parametrize(
    ("arguments", "left"), [(["--help"], 0), (["check", "--help"], 0), (["check"], 2), (["absent"], 2)]
)
def test_help_imports_nothing_heavy(arguments: list[str], left: int) -> None:
    code = (
        "import atexit, sys\nfrom persist.cli.main import main\n"
        f"atexit.register(lambda: print([name for name in {HEAVY} if name in sys.modules], file=sys.stderr))\n"
        f"main({arguments})"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == left
    assert done.stderr.splitlines()[-1] == "[]"


def test_module_is_the_command_line(folder: Path) -> None:
    root = Path(persist.__file__).parent.parent
    environment = {**os.environ, "PYTHONPATH": str(root)}
    command = [sys.executable, "-m", "persist", "check", "b.csv", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    assert json.loads(done.stdout)["values"] == 4
    assert done.stderr == ""


def test_public_names_are_found() -> None:
    for name in persist.__all__:
        assert getattr(persist, name) is not None
    assert set(persist.__all__) <= set(dir(persist))
    with pytest.raises(AttributeError, match="nonsense"):
        persist.nonsense  # noqa: B018


def test_check_prints_what_was_read_and_assumed(folder: Path) -> None:
    result = run("check", "b.csv", "--treatments", "t.csv")
    assert result.exit_code == 0
    assert result.stderr == ""
    lines = result.stdout.splitlines()
    assert lines[0] == "Read 4 values of burden from 2 patient(s)."
    row = next(line for line in lines if line.startswith("A "))
    assert row.split() == ["A", "2", "0", "28", "5", "10", "0", "2x,", "goes", "on", "23"]
    assert next(line for line in lines if line.startswith("B ")).split()[-2:] == ["never", "0"]
    assert any(line.startswith("- ") and "1 patient without treatment" in line for line in lines)


def test_check_json_is_one_object(folder: Path) -> None:
    result = run("check", "b.csv", "--treatments", "t.csv", "--floor", "0.5", "--json", "--seed", "7")
    got = json.loads(result.stdout)
    assert result.stderr == ""
    assert got["seed"] == 7
    assert got["patients"]["B"]["left_censored"] == 1
    assert got["patients"]["A"]["on_treatment"] == [
        {"start_days": 0.0, "stop_days": 20.0},
        {"start_days": 25.0, "stop_days": None},
    ]
    assert got["notes"]
    assert len(got["sha256"]) == 64


def test_check_quiet_says_nothing(folder: Path) -> None:
    result = run("check", "b.csv", "--quiet")
    assert (result.exit_code, result.output) == (0, "")


BAD = {
    "column": (
        "patient_id,time,burden\nA,0,1\n",
        (),
        ("b.csv: row 1, column time_days", "missing", "name the columns"),
    ),
    "text": ("patient_id,time_days,burden\nA,0,x\n", (), ("row 2, column burden", "'x'", "plain number")),
    "zero": ("patient_id,time_days,burden\nA,0,0\nA,1,1\n", (), ("row 2, column burden", "'0'", "--floor")),
    "one value": (
        "patient_id,time_days,burden\nA,0,1\n",
        (),
        ("row 2, column burden", "1 value", "add values", "by --patient"),
    ),
    "patient": (BURDEN, ("--patient", "C"), ("column patient_id", "'C'", "A, B")),
    "file": (None, (), ("b.csv", "no such file", "check the path")),
    "floor": (BURDEN, ("--floor", "low"), ("--floor", "'low'", "auto, none")),
    "floor below 0": (BURDEN, ("--floor=-1",), ("-1", "auto, none")),
    "full dose": (BURDEN, ("--full-dose", "x"), ("--full-dose", "DRUG=AMOUNT")),
    "full dose without treatments": (BURDEN, ("--full-dose", "x=2"), ("'x'", "--treatments")),
    "observable": (BURDEN, ("--observable", "pas"), ("'pas'", "psa")),
    "pooling": (BURDEN, ("--pool",), ("--pool", "check --help")),
    "option": (BURDEN, ("--patients", "A"), ("--patients", "--patient", "check --help")),
    "line end in a name": (BURDEN, ("--patient", "C\nD"), ("C",)),
}


@pytest.mark.parametrize("name", BAD)
@pytest.mark.parametrize("as_json", [False, True])
def test_bad_input_is_one_line_and_exit_2(folder: Path, name: str, as_json: bool) -> None:
    content, options, parts = BAD[name]
    (folder / "b.csv").unlink()
    if content is not None:
        (folder / "b.csv").write_text(content)
    before = sorted(folder.iterdir())
    result = run("check", "b.csv", *options, *(["--json"] if as_json else []))
    assert_one_line(result, 2, "persist: error: ", *parts)
    assert sorted(folder.iterdir()) == before


@pytest.mark.parametrize(
    ("observable", "sentence"),
    [
        ("PSA", None),
        ("blasts", None),
        ("fraction", "cannot be fitted by this version (it fits psa, "),
        (None, "--observable NAME"),
    ],
)
def test_check_says_what_cannot_be_fitted(folder: Path, observable: str | None, sentence: str | None) -> None:
    (folder / "b.csv").write_text("patient_id,time_days,burden\nA,0,0.5\nA,1,0.2\n")
    options = () if observable is None else ("--observable", observable)
    got = json.loads(run("check", "b.csv", *options, "--json").stdout)
    assert got["can_be_fitted"] is (sentence is None)
    shown = run("check", "b.csv", *options).stdout
    assert shown.count("fitted by this version") == (observable == "fraction")
    if sentence is not None:
        assert sentence in got["notes"][-1]
        assert sentence in shown


def test_every_observable_that_is_read_is_fitted_or_said_not_to_be() -> None:
    from persist.cli.check import no_fit
    from persist.dynamics.observe import OBSERVABLES
    from persist.records.burden import OBSERVABLES as KNOWN

    assert set(OBSERVABLES) <= set(KNOWN)
    assert {name for name in KNOWN if no_fit(name)} == set(KNOWN) - set(OBSERVABLES)


@pytest.mark.parametrize("arguments", [[], ["chek"], ["check"], ["--nonsense"]])
def test_bad_usage_is_one_line_and_exit_2(arguments: list[str]) -> None:
    assert_one_line(run(*arguments), 2, "--help")


@pytest.mark.parametrize(
    ("error", "code", "parts"),
    [
        (KeyboardInterrupt(), 130, ("interrupted",)),
        (ZeroDivisionError("split\nin two"), 1, ("ZeroDivisionError", "split in two", "please report")),
        (FitError("no posterior", remedy="simplify"), 2, ("no posterior; simplify",)),
        (UsageError("wrong", where="--x"), 2, ("--x: wrong",)),
        (click.FileError("f", "gone"), 2, ("gone",)),
    ],
)
def test_the_shell_around_errors(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int, parts: tuple[str, ...]
) -> None:
    monkeypatch.delenv("PERSIST_DEBUG", raising=False)

    @click.command()
    def failing() -> None:
        raise error

    monkeypatch.setattr(main_module, "import_module", lambda name: type("module", (), {"command": failing}))
    assert_one_line(run("fit"), code, *parts)
    monkeypatch.setenv("PERSIST_DEBUG", "1")
    assert "Traceback" in run("fit").stderr


@pytest.mark.parametrize(("value", "code"), [(None, 0), (0, 0), (3, 3)])
def test_a_command_returns_its_exit_code(monkeypatch: pytest.MonkeyPatch, value: int | None, code: int) -> None:
    command = click.Command("fit", callback=lambda: value)
    monkeypatch.setattr(main_module, "import_module", lambda name: type("module", (), {"command": command}))
    assert run("fit").exit_code == code


def test_outputs_are_claimed_before_work(tmp_path: Path) -> None:
    there = tmp_path / "there.nc"
    claim_output(there, force=False)
    assert not there.exists()
    there.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        claim_output(there, force=False)
    claim_output(there, force=True)
    assert there.read_text() == "mine"
    with pytest.raises(UsageError, match="no folder"):
        claim_output(tmp_path / "absent" / "x.nc", force=True)
    with pytest.raises(UsageError, match="is a folder"):
        claim_output(tmp_path, force=True)


def test_an_output_that_is_no_regular_file_is_refused(tmp_path: Path) -> None:
    pipe, link, loop = tmp_path / "pipe", tmp_path / "link", tmp_path / "loop"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    loop.symlink_to(loop)
    for path in (pipe, link, loop):
        with pytest.raises(UsageError, match="no regular file"):
            claim_output(path, force=True)
    assert pipe.is_fifo()


def test_a_link_stands_for_the_file_it_leads_to(tmp_path: Path) -> None:
    there, link, shut = tmp_path / "there.nc", tmp_path / "link.nc", tmp_path / "absent.nc"
    link.symlink_to(there)
    claim_output(link, force=False)
    there.write_text("mine")
    with pytest.raises(UsageError, match="--force"):
        claim_output(link, force=False)
    claim_output(link, force=True)
    shut.symlink_to(tmp_path / "absent" / "o.nc")
    with pytest.raises(UsageError, match="no folder"):
        claim_output(shut, force=True)
    assert sorted(tmp_path.iterdir()) == [shut, link, there]


def test_a_name_that_cannot_be_written_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for claim in (lambda path: claim_output(path, force=False), claim_folder):
        with pytest.raises(UsageError, match=r"cannot be written .*another name"):
            claim(tmp_path / ("x" * 300))

    def failing(**_: object) -> None:
        raise OSError(30, "Read-only file system")

    monkeypatch.setattr("tempfile.mkstemp", failing)
    with pytest.raises(UsageError, match="Read-only file system"):
        claim_output(tmp_path / "x.nc", force=False)
    assert not list(tmp_path.iterdir())


def test_a_folder_is_claimed_and_not_left(tmp_path: Path) -> None:
    claim_folder(tmp_path / "new")
    assert not list(tmp_path.iterdir())
    kept = tmp_path / "kept"
    kept.mkdir()
    (kept / "a.npz").write_text("a")
    claim_folder(kept)
    assert (kept / "a.npz").read_text() == "a"
    with pytest.raises(UsageError, match="folder for partial results"):
        claim_folder(kept / "a.npz")


def test_a_closed_folder_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(UsageError, match="cannot be written"):
        claim_output(tmp_path / "x.nc", force=False)


def test_json_knows_no_nan(capsys: pytest.CaptureFixture[str]) -> None:
    import numpy as np

    emit_json({"a": np.array([1.0, np.nan]), "b": (np.float64("inf"), np.int64(2)), "c": Path("x"), "d": {3: None}})
    assert json.loads(capsys.readouterr().out) == {"a": [1.0, None], "b": [None, 2], "c": "x", "d": {"3": None}}
    assert plain(np.bool_(True)) is True


def test_doctor(folder: Path) -> None:
    result = run("doctor", "--json")
    got = json.loads(result.stdout)
    assert result.exit_code == (0 if got["ok"] else 3)
    assert got["precision"] == "float64"
    assert got["versions"]["persist"] == persist.__version__
    assert all(check["ok"] for check in got["checks"].values())
    assert "float64" in run("doctor").stdout


def test_doctor_leaves_with_3_where_one_check_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(doctor, "poisson_error", lambda seed: 0.29)
    result = run("doctor", "--json")
    got = json.loads(result.stdout)
    assert result.exit_code == 3
    assert not got["ok"]
    assert [name for name, check in got["checks"].items() if not check["ok"]] == ["poisson_spread"]
    shown = run("doctor")
    assert shown.exit_code == 3
    assert [line.split()[1] for line in shown.stdout.splitlines() if "FAILS" in line] == ["poisson_spread:"]
    assert run("doctor", "--quiet").exit_code == 3


def test_doctor_judges_the_precision_of_an_array(monkeypatch: pytest.MonkeyPatch) -> None:
    import jax
    import jax.numpy as jnp

    plain_ones = jnp.ones
    monkeypatch.setattr(jnp, "ones", lambda shape: plain_ones(shape, jnp.float32))
    result = run("doctor", "--json")
    got = json.loads(result.stdout)
    assert jax.config.jax_enable_x64
    assert (result.exit_code, got["precision"]) == (3, "float32")
    assert not got["checks"]["precision"]["ok"]
