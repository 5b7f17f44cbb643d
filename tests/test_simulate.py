"""`persist simulate`: what it writes and prints, and that neither blocks nor what is kept change a trajectory."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from laws import check_mean, check_variance, must_fail
from persist.cli.main import main
from persist.dynamics import batches
from persist.errors import RatesError, ScheduleError, UsageError
from persist.forecast import simulation
from persist.forecast.order import Order, order
from persist.forecast.tally import Tally
from persist.forecast.tally import part as part_of
from persist.inference import store
from persist.types import Cells, Rates

GROWTH = "[rates]\nbirth_s = 0.12\ndeath_s = 0.06\nkill_s = 0.1\n[cells]\nsensitive = 200\nresistant = 7\n"
RATES = Rates(birth_s=0.12, death_s=0.06, kill_s=0.1)
FEW = Cells(200.0, 0.0, 7.0)
STATES = ["sensitive", "persister", "resistant"]


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persist.cli.simulate.keep_compiled", lambda: None)
    (tmp_path / "r.toml").write_text(GROWTH)
    return tmp_path


def run(*more: str, days: int = 4, plan: str = "off") -> Result:
    words = ["simulate", "--rates", "r.toml", "--plan", plan, "--days", str(days), "-o", "s.nc", *more]
    return CliRunner().invoke(main, words)


@pytest.mark.parametrize("engine", ["ssa", "tau", "leap"])
def test_json_and_file(folder: Path, engine: str) -> None:
    result = run("--engine", engine, "--trajectories", "300", "--keep", "5", "--step", "1", "--seed", "4", "--json")
    assert result.exit_code == 0, result.stderr
    got = json.loads(result.stdout)
    assert (got["trajectories"], got["engine"], got["seed"], got["output"]) == (300, engine, 4, "s.nc")
    assert got["record_days"] == [0, 1, 2, 3, 4]
    assert min(got[name] for name in ("seconds", "compile_seconds", "wall_seconds")) >= 0.0
    for part in ("mean", "variance"):
        assert list(got[part]) == STATES
        assert all(len(row) == 5 for row in got[part].values())
    assert [got["mean"][name][0] for name in STATES] == [200.0, 0.0, 7.0]
    assert got["variance"]["sensitive"][0] == 0.0
    assert got["mean"]["resistant"] == [7.0] * 5
    assert got["extinct"] == {"sensitive": 0.0, "persister": 1.0, "resistant": 0.0}
    assert got["mean"]["sensitive"][-1] == pytest.approx(200.0 * math.exp(0.24), rel=0.05)
    saved = store.load("s.nc", "simulation")
    assert saved["trajectories"]["sensitive"].shape == (5, 5)
    assert saved["summary"]["quantiles"].dims == ("state", "level", "day")
    assert store.attribute(saved, "provenance")["seed"] == 4
    assert store.attribute(saved, "rates")["capacity"] == "inf"


def test_the_mean_field_has_no_variance(folder: Path) -> None:
    got = json.loads(run("--engine", "mean", "--json", plan="on").stdout)
    assert got["mean"]["sensitive"] == pytest.approx([200.0 * math.exp(-0.04 * day) for day in range(5)])
    assert got["extinct"] == dict.fromkeys(STATES)
    assert got["variance"] == dict.fromkeys(STATES, [None] * len(got["record_days"]))
    assert got["trajectories"] == 1
    assert "no chance" in got["notes"][0]


def test_the_table_has_start_middle_and_end(folder: Path) -> None:
    result = run("--engine", "mean", days=8)
    lines = result.stdout.splitlines()
    assert lines[0].startswith("Simulated 1 trajectory of 8 days by mean")
    assert [line.split()[0] for line in lines[3:6]] == ["0", "4", "8"]
    assert lines[3].split() == ["0", "0", "200", "0", "7", "207"]
    assert lines[-1] == "Written: s.nc (seed 0)"
    assert run("--engine", "mean", "--force", "--quiet").output == ""


def test_the_largest_seed_runs(folder: Path) -> None:
    seed = str(2**63 - 1)
    result = run("--engine", "leap", "--trajectories", "3", "--seed", seed, "--json", days=2)
    assert result.exit_code == 0, result.stderr
    assert json.loads(result.stdout)["seed"] == 2**63 - 1
    assert store.attribute(store.load("s.nc"), "provenance")["seed"] == 2**63 - 1


def asked(**options: object) -> Order:
    return order("on 2, off", 3, **({"engine": "ssa"} | options))


def test_blocks_and_keeping_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = simulation.run(FEW, RATES, asked(trajectories=4001, keep=4001))
    monkeypatch.setattr(simulation, "ROOM", 1)
    monkeypatch.setitem(batches.LANES, "ssa", 1334)
    monkeypatch.setattr(batches, "LEAST", 1334)
    seen: list[int] = []
    parts = simulation.run(
        FEW, RATES, asked(trajectories=4001, keep=20), progress=lambda done, total: seen.append(done)
    )
    assert seen == [1334, 2668, 4001]
    for name in ("mean", "variance", "extinct"):
        np.testing.assert_allclose(parts["summary"][name], whole["summary"][name], rtol=1e-12)
    for name in STATES:
        np.testing.assert_array_equal(parts["trajectories"][name], whole["trajectories"][name][:20])
    assert "the first 20 trajectories" in store.attribute(parts, "notes")[0]


@pytest.mark.parametrize(
    ("plan", "doses"),
    [
        ("on", [1.0, 1.0, 1.0, 1.0]),
        ("off", [0.0, 0.0, 0.0, 0.0]),
        ("on 2, off", [1.0, 1.0, 0.0, 0.0]),
        ("off 2, dose 0.5", [0.0, 0.0, 0.5, 0.5]),
        ("off 3, on", [0.0, 0.0, 0.0, 0.0]),
        ("on 1, off 1, repeat", [1.0, 0.0, 1.0, 1.0]),
    ],
)
def test_the_last_day_has_the_dose_up_to_it(plan: str, doses: list[float]) -> None:
    made = simulation.run(FEW, RATES, order(plan, 3, engine="mean"))
    assert made["summary"]["dose"].values.tolist() == doses


def test_the_hybrid_is_the_exact_engine_as_long_as_there_are_few_cells() -> None:
    exact = simulation.run(FEW, RATES, asked(trajectories=50))
    hybrid = simulation.run(FEW, RATES, asked(engine="leap", trajectories=50, exact_below=1e5))
    for name in STATES:
        np.testing.assert_array_equal(exact["trajectories"][name], hybrid["trajectories"][name])
    with pytest.raises(UsageError, match="cannot be followed"):
        asked(exact_below=1e9)


def test_seeds_decide() -> None:
    one, same, other = (simulation.run(FEW, RATES, asked(trajectories=50, seed=seed)) for seed in (1, 1, 2))
    state = [run["trajectories"]["sensitive"].values for run in (one, same, other)]
    np.testing.assert_array_equal(state[0], state[1])
    assert not np.array_equal(state[0], state[2])


@pytest.mark.law
def test_the_law_of_birth_and_death() -> None:
    """Mean n e^{rt} and variance n (b + d) / r e^{rt} (e^{rt} - 1) of a linear birth-death process, r = b - d."""
    made = simulation.run(FEW, RATES, order("off", 3, engine="ssa", trajectories=4000, keep=4000))
    grow = math.exp(0.06 * 3)
    end = made["trajectories"]["sensitive"].values[:, -1]
    check_mean(end, 200.0 * grow)
    must_fail(lambda: check_mean(1.05 * end, 200.0 * grow))
    check_variance(end, 200.0 * 0.18 / 0.06 * grow * (grow - 1.0))
    assert float(made["summary"]["mean"][0, -1]) == pytest.approx(end.mean())
    assert float(made["summary"]["variance"][0, -1]) == pytest.approx(end.var(ddof=1))
    np.testing.assert_allclose(
        made["summary"]["quantiles"].values[0, :, -1], np.quantile(end, made["summary"]["level"])
    )


def test_a_tally_of_parts_is_that_of_the_whole() -> None:
    record = np.random.default_rng(0).lognormal(20.0, 1.0, (3, 50, 4))
    record[1, :10, -1] = 0.0
    tally = Tally()
    for first, some in zip((0, 1, 7, 33), np.split(record, [1, 7, 33], axis=1), strict=True):
        tally.add(part_of(some, 30 - first))
    result = tally.result(9)
    np.testing.assert_allclose(result.mean, record.mean(axis=1))
    np.testing.assert_allclose(result.variance, record.var(axis=1, ddof=1))
    np.testing.assert_allclose(result.quantiles[:, 2], np.median(record[:, :30], axis=1))
    np.testing.assert_array_equal(result.kept, record[:, :9])
    assert result.extinct.tolist() == [0.0, 0.2, 0.0]
    assert (result.all_extinct, result.quantile_trajectories) == (0.0, 30)


def test_one_trajectory_has_no_variance() -> None:
    tally = Tally()
    tally.add(part_of(np.ones((3, 1, 2)), 1))
    assert np.isnan(tally.result(1).variance).all()


REFUSED = {
    "parts of cells": (FEW._replace(persister=0.5), RATES, {}, RatesError, "0.5 cells"),
    "many cells": (FEW._replace(sensitive=1e9), RATES, {}, RatesError, "about day 0 .* leap"),
    "many cells later": (FEW._replace(sensitive=9.9e6), RATES._replace(kill_s=0.0), {}, RatesError, "about day 1 "),
    "without end": (FEW, Rates(birth_s=200.0), {"engine": "mean"}, RatesError, "capacity"),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_no_engine_can_count(name: str) -> None:
    cells, rates, options, error, match = REFUSED[name]
    with pytest.raises(error, match=match):
        simulation.run(cells, rates, asked(**options))


@pytest.mark.parametrize(
    "options", [{"engine": "exact"}, {"trajectories": 0}, {"keep": 0}, {"step": 0.0}, {"step": 2.0}]
)
def test_orders_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        asked(**options)
    with pytest.raises(ScheduleError):
        order("until progress: on, then off", 3)
    with pytest.raises(UsageError, match="sees no progression"):
        order("until progression: on, then off", 3)


def test_the_drug_is_chosen(folder: Path) -> None:
    (folder / "r.toml").write_text(f"{GROWTH.replace('kill_s = 0.1', '')}[drugs.A]\nkill_s = 0.2\n[drugs.B]\n")
    got = json.loads(run("--engine", "mean", "--drug", "A", "--json", plan="on").stdout)
    assert got["drug"] == "A"
    assert got["mean"]["sensitive"][-1] == pytest.approx(200.0 * math.exp(-0.14 * 4))
    assert got["notes"][-1] == "r.toml: the drug that is given is A"


def test_the_only_drug_is_named(folder: Path) -> None:
    assert json.loads(run("--engine", "mean", "--json").stdout)["drug"] is None
    (folder / "r.toml").write_text(f"{GROWTH.replace('kill_s = 0.1', '')}[drugs.X]\nkill_s = 0.2\n")
    got = json.loads(run("--engine", "mean", "--json", "--force", plan="on").stdout)
    assert got["drug"] == "X"
    assert got["notes"][-1] == "r.toml: the drug that is given is X"
    assert store.attribute(store.load("s.nc"), "notes") == got["notes"]


@pytest.mark.parametrize(
    ("old", "new", "more", "where"),
    [
        ("sensitive = 200", "sensitive = 20.5", (), "r.toml: [cells], sensitive: 20.5 cells"),
        ("sensitive = 200", "sensitive = 1e9", ("--engine", "ssa"), "r.toml: [cells]: about day 0 "),
        ("birth_s = 0.12", "birth_s = 300.0", ("--engine", "mean"), "r.toml: [rates], capacity: about day "),
    ],
)
def test_faults_found_while_running_name_the_file_and_the_key(
    folder: Path, old: str, new: str, more: tuple[str, ...], where: str
) -> None:
    (folder / "r.toml").write_text(GROWTH.replace(old, new))
    result = run(*more)
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith(f"persist: error: {where}")
    assert not (folder / "s.nc").exists()
