"""What a user can get wrong: exit 2, one line that names the thing and the remedy, nothing printed, nothing written."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner

from persist.cli.main import main
from persist.errors import StoreError
from persist.inference import store

BURDEN = "patient_id,time_days,burden\nA,0,10\nA,28,5\nB,0,8\nB,30,0.5\nC,0,3\n"
DOSES = "patient_id,start_days,stop_days,drug,dose\nA,0,14,x,80\nB,0,9,x,1\nB,14,20,y,1\n"
RATES = "[rates]\nbirth_s = 0.1\n[cells]\nsensitive = 100\n"
DRUGS = f"{RATES}[drugs.A]\nkill_s = 0.1\n[drugs.B]\nkill_s = 0.2\n"


def result_file(path: Path, kind: str, **attrs: object) -> None:
    """The least that a result file may be: one patient with three values, on drug until the last."""
    axes, dims = {"patient": ["A"], "visit": [0, 1, 2]}, ("patient", "visit")
    seen = {"day": [[0.0, 28.0, 56.0]], "burden": [[10.0, 5.0, 2.0]], "censoring": [[0.0, 0.0, 0.0]]}
    given = {"start": 0.0, "stop": 56.0, "dose": 1.0}
    groups = {
        "observed_data": store.dataset({name: (dims, np.array(rows)) for name, rows in seen.items()}, axes),
        "constant_data": store.dataset(
            {name: (("patient", "segment"), np.array([[value]])) for name, value in given.items()}
            | {"log_evidence": (("patient", "chain"), np.array([[-9.0]]))},
            {"patient": ["A"]},
        ),
    }
    for group in store.GROUPS[kind]:
        names = store.VARIABLES.get(group, ("decline_s",))
        groups.setdefault(group, store.dataset(dict.fromkeys(names, ((), 0.0)), {}))
    about = {"observable": "psa", "unit": "ng/mL", "settings": {"pack": "clinical"}, "provenance": {}, "problems": {}}
    about |= {"seconds": 1.0, "notes": [], "summary": {}, "fit": {}}
    made = store.tree(kind, groups, about)
    made.attrs |= attrs
    store.save(made, path)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Everything that the commands are given, by name."""
    folder = tmp_path_factory.mktemp("files")
    result_file(folder / "fit.nc", "fit")
    result_file(folder / "fut.nc", "forecast")
    result_file(folder / "old.nc", "fit", persist_schema=store.SCHEMA - 1)
    result_file(folder / "new.nc", "fit", persist_schema=store.SCHEMA + 1)
    store.dataset({"x": (("a",), np.zeros(2))}, {}).to_netcdf(folder / "foreign.nc", engine="h5netcdf")
    found = {path.name: path.read_bytes() for path in folder.iterdir()}
    found |= {"cut.nc": found["fit.nc"][: len(found["fit.nc"]) // 2], "text.nc": b"not netCDF", "empty.nc": b""}
    texts = {"b.csv": BURDEN, "t.csv": DOSES, "empty.csv": "", "r.toml": RATES, "drugs.toml": DRUGS, "there.nc": "mine"}
    texts["taken.nc.partial"] = "mine"
    return found | {name: text.encode() for name, text in texts.items()}


@pytest.fixture
def folder(tmp_path: Path, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Path:
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERSIST_DEBUG", raising=False)
    for command in ("fit", "forecast", "simulate"):
        monkeypatch.setattr(f"persist.cli.{command}.keep_compiled", lambda: None)
    return tmp_path


def fit(*more: str, out: str = "o.nc", burden: str = "b.csv") -> list[str]:
    return ["fit", burden, *more, "-o", out]


def forecast(*more: str, plans: tuple[str, ...] = ("on",), days: str = "100", out: str = "o.nc") -> list[str]:
    file = () if more and more[0].endswith(".nc") else ("fit.nc",)
    wanted = [word for plan in plans for word in ("--plan", plan)]
    return ["forecast", *file, *more, *wanted, "--horizon", days, "-o", out]


def simulate(*more: str, rates: str = "r.toml", plan: str = "on", days: str = "3", out: str = "o.nc") -> list[str]:
    return ["simulate", "--rates", rates, "--plan", plan, "--days", days, *more, "-o", out]


def report(*more: str, out: str = "o.html") -> list[str]:
    return ["report", *more, "-o", out]


PSA = ("--patient", "A", "--observable", "psa")
TREATED = ("--observable", "psa", "--treatments", "t.csv")

FAULTS: dict[str, tuple[list[str], tuple[str, ...]]] = {
    # plans
    "unknown word": (forecast(plans=("of 90, on",)), ('"of 90, on", column 1', 'did you mean "off"')),
    "mistake later on": (forecast(plans=("h=off 90, onn",)), ("column 11", '"onn"', '"on"')),
    "no days": (forecast(plans=("off, on",)), ("column 1", '"off" has no days', '"off 28"')),
    "dose over 1": (forecast(plans=("dose 1.5",)), ("column 6", "1.5", "0 to 1")),
    "until": (forecast(plans=("until progression: on",)), ("column 22", 'no ", then PLAN"', "then off")),
    "until in a simulation": (simulate(plan="until progression: on, then off"), ("sees no progression", "forecast")),
    "no table of plans": (forecast("--plans", "absent.csv"), ("absent.csv", "no such file", "check the path")),
    "another table": (forecast("--plans", "t.csv"), ("t.csv: row 1, column plan", "missing", "plan, start_days")),
    "all visits missed": (forecast("--missed-visits", "1"), ("--missed-visits", "no share", "less than 1")),
    "limit under 1": (forecast("--burden-limit", "0.9"), ("--burden-limit", "no limit", "over 1")),
    "endpoint twice": (forecast("--endpoint", "psa", "--endpoint", "psa"), ("--endpoint", "twice", "each rule once")),
    "adaptive": (forecast(plans=("adaptive 1.0/0.5",)), ("column 10", "stop under 1 and restart from 0.5")),
    "empty plan": (forecast(plans=("",)), ("column 1", "nothing", "on, off and dose")),
    "two of one name": (forecast(plans=("h=on", "h=off")), ("--plan", 'two plans are called "h"', "give each its own")),
    "two alike": (forecast(plans=("on", "on")), ("--plan", 'called "on"')),
    "no plan": (["forecast", "fit.nc", "--horizon", "9", "-o", "o.nc"], ("--plan", "forecast --help")),
    "simulated plan": (simulate(plan="onn"), ("column 1", '"onn"', '"on"')),
    # days
    "horizon 0": (forecast(days="0"), ("--horizon", "0 days", "over 0")),
    "horizon below 0": (forecast(days="-5"), ("--horizon", "-5 days", "over 0")),
    "horizon nan": (forecast(days="nan"), ("--horizon", "nan", "plain number")),
    "horizon infinite": (forecast(days="inf"), ("--horizon", "inf", "plain number")),
    "horizon without sense": (forecast(days="1e9"), ("--horizon", "1e+09", "at most 100000")),
    "horizon in words": (forecast(days="long"), ("--horizon", "'long'")),
    "start before the patient": (forecast("--from", "-1"), ("--from", "patient A", "day 0", "later day")),
    "start nan": (forecast("--from", "nan"), ("--from", "nan", "plain number")),
    "start without sense": (forecast("--from", "1e9"), ("--from", "1e+09", "at most 100000")),
    "visits nan": (forecast("--visit-every", "nan"), ("--visit-every", "nan")),
    "visits 0": (forecast("--visit-every", "0"), ("--visit-every", "x>0")),
    "no days to simulate": (simulate(days="0"), ("--days", "1<=x")),
    "parts of days": (simulate(days="1.5"), ("--days", "1.5")),
    # endpoints
    "unknown endpoint": (forecast("--endpoint", "best"), ("--endpoint", '"best"', "psa, recist, relative")),
    "endpoint of another kind": (forecast("--endpoint", "recist"), ("--endpoint", "observable is psa", "use psa")),
    # tables
    "doses over 1": (
        fit("--patient", "A", *TREATED),
        ("t.csv: row 2, column dose", "'80'", "--full-dose x=AMOUNT"),
    ),
    "two drugs": (fit("--patient", "B", *TREATED), ("patient B", "2 drugs (x, y)", "--drug")),
    "a drug where nobody is treated": (
        fit(*PSA, "--drug", "x"),
        ("--drug", "no patient was given 'x'", "--treatments"),
    ),
    "unknown drug": (fit("--patient", "B", *TREATED, "--drug", "z"), ("--drug", '"z"', "x, y")),
    "one value": (
        fit("--patient", "C", "--observable", "psa"),
        ("b.csv: row 6, column burden", "'C' has 1 value", "add values", "by --patient"),
    ),
    "unknown patient": (fit("--patient", "D", "--observable", "psa"), ("b.csv", "column patient_id", "'D'", "A, B, C")),
    "unknown observable": (fit("--patient", "A", "--observable", "pas"), ("--observable", "'pas'", "'psa'")),
    "no observable": (fit("--patient", "A"), ("--observable", '"burden" cannot be fitted', "psa")),
    "empty table": (fit(burden="empty.csv"), ("empty.csv: row 1", "empty", "patient_id, time_days, burden")),
    "no table": (fit(burden="absent.csv"), ("absent.csv", "no such file", "check the path")),
    "a folder as table": (fit(burden="."), ("cannot be read", "CSV")),
    "netCDF as table": (fit(burden="fit.nc"), ("fit.nc: row", "binary file", "UTF-8")),
    # the model
    "unknown model": (fit(*PSA, "--model", "spx"), ("--model", '"spx"', "spr, sr, sp")),
    "unknown pack": (fit(*PSA, "--pack", "mice"), ("--pack", '"mice"', "clinical or in-vitro")),
    "one chain": (fit(*PSA, "--chains", "1"), ("--chains", "2<=x<=16")),
    "no draws": (fit(*PSA, "--draws", "0"), ("--draws", "x>=50")),
    "seed below 0": (fit(*PSA, "--seed", "-1"), ("--seed", "0<=x<=9223372036854775807")),
    "seed without sense": (fit(*PSA, "--seed", str(2**63)), ("--seed", "0<=x<=9223372036854775807")),
    "seed of a forecast": (forecast("--seed", str(2**64)), ("--seed", "0<=x<=9223372036854775807")),
    "seed of a simulation": (simulate("--seed", str(2**63)), ("--seed", "0<=x<=9223372036854775807")),
    # rates
    "no rates": (simulate(rates="absent.toml"), ("absent.toml", "no such file", "check the path")),
    "rates in another form": (simulate(rates="b.csv"), ("b.csv", "not TOML", "line 1")),
    "binary rates": (simulate(rates="fit.nc"), ("fit.nc", "not UTF-8", "TOML")),
    "several drugs": (simulate(rates="drugs.toml"), ("drugs.toml", "A, B", "--drug NAME")),
    "a drug that is not there": (simulate("--drug", "C", rates="drugs.toml"), ("drugs.toml", '"C"', "choose A, B")),
    "unknown engine": (simulate("--engine", "exact"), ("--engine", "'exact'", "'ssa'")),
    "a long step": (simulate("--step", "2"), ("--step", "0<x<=1")),
    "no trajectories": (simulate("--trajectories", "0"), ("--trajectories", "x>=1")),
    # outputs
    "existing": (fit(*PSA, out="there.nc"), ("there.nc", "the file exists", "--force")),
    "existing forecast": (forecast(out="there.nc"), ("there.nc", "the file exists", "--force")),
    "existing simulation": (simulate(out="there.nc"), ("there.nc", "the file exists", "--force")),
    "existing page": (report("fit.nc", out="there.nc"), ("there.nc", "the file exists", "--force")),
    "under a file": (fit(*PSA, out="there.nc/o.nc"), ("no folder 'there.nc'", "make it first")),
    "forecast under a file": (forecast(out="there.nc/o.nc"), ("no folder 'there.nc'", "make it first")),
    "simulation in no folder": (simulate(out="absent/o.nc"), ("no folder 'absent'", "make it first")),
    "page in no folder": (report("fit.nc", out="absent/o.html"), ("no folder 'absent'", "make it first")),
    "a long name": (fit(*PSA, out="x" * 300), ("xxx", "cannot be written", "another name")),
    "a long name of a forecast": (forecast(out="x" * 300), ("xxx", "cannot be written", "another name")),
    "a file for partial results": (fit(*PSA, out="taken.nc"), ("taken.nc.partial", "move it away")),
    "a folder": (fit(*PSA, out="."), ("the output is a folder", "name a file")),
    "over the table": (fit(*PSA, "--force", out="b.csv"), ("b.csv", "one of the inputs", "another name")),
    "over the treatments": (fit(*TREATED, "--force", out="./t.csv"), ("t.csv", "one of the inputs")),
    "over the fit": (forecast("--force", out="fit.nc"), ("fit.nc", "one of the inputs", "another name")),
    "over the rates": (simulate("--force", out="r.toml"), ("r.toml", "one of the inputs", "another name")),
    "no output": (["fit", "b.csv"], ("-o", "fit --help")),
}


def told(folder: Path, words: list[str], parts: tuple[str, ...]) -> None:
    """Run, and hold what came of it against the promise."""
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("persist: error: ")
    assert result.stderr.count("\n") == 1
    assert "internal fault" not in result.stderr
    for part in parts:
        assert part in result.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize("as_json", [False, True])
@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(folder: Path, name: str, as_json: bool) -> None:
    words, parts = FAULTS[name]
    told(folder, [*words, "--json"] if as_json else words, parts)


FILES = {
    "absent.nc": ("no such file", "check the path"),
    "text.nc": ("cannot be read as netCDF", "make it again"),
    "b.csv": ("cannot be read as netCDF", "that persist wrote"),
    "empty.nc": ("cannot be read as netCDF", "make it again"),
    "cut.nc": ("cannot be read as netCDF", "make it again"),
    "foreign.nc": ("not one of persist's", "output of persist"),
    "old.nc": (f"schema version {store.SCHEMA - 1}", "make it again with this version"),
    "new.nc": (f"schema version {store.SCHEMA + 1}", "use the version of persist that wrote it"),
    "fut.nc": ('holds a "forecast", a "fit" is needed', "give the output of fit"),
}
READERS: dict[str, Callable[[str], list[str]]] = {
    "diagnose": lambda file: ["diagnose", file],
    "forecast": lambda file: ["forecast", file, "--plan", "on", "--horizon", "9", "-o", "o.nc"],
    "report": lambda file: report(file),
}


@pytest.mark.parametrize("file", FILES)
@pytest.mark.parametrize("reader", READERS)
def test_a_file_that_is_no_fit(folder: Path, reader: str, file: str) -> None:
    told(folder, READERS[reader](file), (file, *FILES[file]))


def test_a_fit_without_its_draws_is_damaged(folder: Path) -> None:
    made = store.load(folder / "fit.nc")
    del made["posterior"]
    store.save(made, folder / "broken.nc")
    with pytest.raises(StoreError, match="lacks the group posterior"):
        store.load(folder / "broken.nc")


DAMAGE: dict[str, tuple[Callable[[Any], object], str]] = {
    "settings no JSON": (lambda made: made.attrs.update(settings="{pack"), '"settings" cannot be read'),
    "settings a list": (lambda made: made.attrs.update(settings="[]"), '"settings" is of another kind'),
    "settings without a pack": (lambda made: made.attrs.update(settings="{}"), "no pack"),
    "seconds in words": (lambda made: made.attrs.update(seconds="long"), '"seconds" is no number'),
    "empty prior": (lambda made: made["prior"].__delitem__("decline_s"), "prior is empty"),
} | {
    f"no {name}": (lambda made, name=name: made.attrs.pop(name), f'lacks the attribute "{name}"')
    for name in store.ATTRIBUTES["fit"]
} | {
    f"no group {name}": (lambda made, name=name: made.__delitem__(name), f"lacks the group {name}")
    for name in store.GROUPS["fit"]
} | {
    f"no {name} in {group}": (lambda made, group=group, name=name: made[group].__delitem__(name), f"{group} lacks {name}")
    for group, names in {"posterior": ("decline_s",), **store.VARIABLES}.items()
    for name in names
    if group in store.GROUPS["fit"]
}  # fmt: skip


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_fit_is_refused(folder: Path, name: str) -> None:
    spoil, sentence = DAMAGE[name]
    made = store.load(folder / "fit.nc")
    spoil(made)
    store.save(made, folder / "broken.nc")
    told(folder, READERS["diagnose"]("broken.nc"), ("broken.nc", sentence, "it is damaged; make it again"))


@pytest.mark.parametrize("name", store.ATTRIBUTES["forecast"])
def test_a_damaged_forecast_is_refused(folder: Path, name: str) -> None:
    made = store.load(folder / "fut.nc")
    del made.attrs[name]
    store.save(made, folder / "broken.nc")
    told(folder, report("fit.nc", "broken.nc"), ("broken.nc", f'lacks the attribute "{name}"'))


def test_a_schema_that_is_no_number_is_refused(folder: Path) -> None:
    result_file(folder / "odd.nc", "fit", persist_schema="one")
    with pytest.raises(StoreError, match="no number"):
        store.load(folder / "odd.nc")


def test_a_fit_is_no_forecast(folder: Path) -> None:
    told(folder, report("fit.nc", "fit.nc"), ('holds a "fit", a "forecast" is needed', "output of forecast"))


@pytest.mark.parametrize("words", [fit(*PSA), forecast(), simulate()])
def test_an_absent_gpu_is_an_error(folder: Path, words: list[str]) -> None:
    if any(device.platform == "gpu" for device in jax.devices()):
        pytest.skip("there is a GPU")
    told(folder, [*words, "--device", "gpu"], ("--device gpu", "no GPU", "--device cpu"))


@pytest.mark.parametrize("more", [(), ("--quiet",), ("--quiet", "--json")])
def test_a_marked_fit_is_warned_of_even_in_quiet(
    folder: Path, monkeypatch: pytest.MonkeyPatch, more: tuple[str, ...]
) -> None:
    about = {
        "summary": {},
        "settings": {"horizon": 365.0},
        "warnings": {"A": ["chains disagree"], "B": []},
        "notes": [],
    }
    result_file(folder / "made.nc", "forecast", **{name: store.as_attribute(one) for name, one in about.items()})
    made = store.load(folder / "made.nc")
    monkeypatch.setattr("persist.forecast.outcome.forecast", lambda *_: made)
    result = CliRunner().invoke(main, forecast(*more))
    assert result.exit_code == 0, result.stderr
    assert result.stderr == "persist: warning: the posterior of A is marked: chains disagree\n"
    assert bool(result.stdout) == (more != ("--quiet",))


HEALTH = {"max_rhat": 2.0, "min_ess_bulk": 5.0, "min_ess_tail": 5.0, "divergences": 0, "chains": 2, "rates": {}}
TOLD = {
    "correlations": [],
    "next_measurement": {"sentence": "none"},
    "residuals": {"sentence": "too few", "scores": [], "measured": [], "flagged": False},
    "predictive": {"coverage": {"90": None}, "statistics": {}},
}


@pytest.fixture
def judged(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder where every fit is marked, and none takes time."""

    def made(table: Any, *_: object, **__: object) -> Any:
        result = store.load("fit.nc")
        result.attrs |= {"compile_seconds": 1.0, "wall_seconds": 1.0, "notes": json.dumps(table.notes), "unfit": "{}"}
        return result

    report = {"A": HEALTH | TOLD | {"ok": False, "problems": ["chains disagree"]}}
    monkeypatch.setattr("persist.inference.fit.fit", made)
    found = {"patients": report, "residuals": {"patients": 1, "autocorrelation": None}, "population": None}
    monkeypatch.setattr("persist.validation.health.whole", lambda _: found)
    return folder


@pytest.mark.parametrize("more", [["--quiet"], ["--json"], []])
@pytest.mark.parametrize("words", [fit(*PSA), ["diagnose", "fit.nc"]])
def test_fit_and_diagnose_warn_of_a_marked_fit(judged: Path, words: list[str], more: list[str]) -> None:
    result = CliRunner().invoke(main, [*words, *more])
    assert result.exit_code == 3, result.stderr
    assert bool(result.stdout) == (more != ["--quiet"])
    warning = "persist: warning: the posterior of A is marked: chains disagree\n"
    assert result.stderr == (warning if more else "")
    assert more or "chains disagree" in result.stdout


def test_a_drug_that_is_left_out_is_said(judged: Path) -> None:
    words = ["fit", "b.csv", "--observable", "psa", "--treatments", "t.csv", "--patient", "B", "--drug", "y"]
    said = "drug x of patient B is left out of the model"
    assert f"- {said}\n" in CliRunner().invoke(main, [*words, "-o", "one.nc"]).stdout
    assert said in store.attribute(store.load("one.nc"), "notes")
    assert said in json.loads(CliRunner().invoke(main, [*words, "-o", "two.nc", "--json"]).stdout)["notes"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
@pytest.mark.parametrize("words", [fit(*PSA, out="shut/o.nc"), forecast(out="shut/o.nc"), simulate(out="shut/o.nc")])
def test_a_closed_folder(folder: Path, words: list[str]) -> None:
    (folder / "shut").mkdir(mode=0o500)
    told(folder, words, ("'shut' cannot be written to", "another folder"))
