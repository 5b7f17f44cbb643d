"""`persist backtest` from the tables to the scores, on three bundled patients and as little work as it can do."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from click.testing import CliRunner

import fakes
from persist.cli.main import main
from persist.inference import leaning, pooled, store
from persist.inference.clone_free import Frame, shifts
from persist.inference.population import one_kind
from persist.types import Table
from persist.validation import backtest
from persist.validation.baselines import RULES

TABLES = (str(fakes.DATA / "burden.csv"), "--treatments", str(fakes.DATA / "treatments.csv"), "--observable", "psa")
THREE = ("--patient", "P04", "--patient", "P05", "--patient", "P06")
LITTLE = ("--warmup", "50", "--draws", "50", "--quiet")

pytestmark = [pytest.mark.slow, pytest.mark.ci]


def run(*arguments: str) -> str:
    done = CliRunner().invoke(main, ["backtest", *TABLES, *THREE, *LITTLE, *arguments])
    assert done.exit_code == 0, done.output
    return done.stdout


@pytest.fixture(scope="module")
def alone(tmp_path_factory) -> dict:
    path = tmp_path_factory.mktemp("alone") / "scores.json"
    run("--no-pool", "-o", str(path), "--json")
    return json.loads(path.read_text())


def test_the_file_tells_what_was_asked(alone) -> None:
    assert alone["patients"] == 3
    assert set(alone["model"]["crps"]) == {"0-182", "182-365"}
    assert set(alone["baselines"]) == set(RULES)
    assert set(alone["difference"]) == set(alone["baselines"])
    rows = alone["rows"]
    assert {"patient_id", "landmark", "time_days", "observed", "crps", "pit"} <= set(rows[0])
    assert all(0.0 <= row["pit"] <= 1.0 and row["crps"] >= 0.0 and row["time_days"] > row["landmark"] for row in rows)
    assert len({(row["patient_id"], row["landmark"]) for row in rows}) == alone["landmarks"]


def test_a_run_that_was_stopped_gives_the_same(alone, tmp_path, monkeypatch) -> None:
    """Stopped in the second landmark; the first is not fitted again."""
    path, whole = tmp_path / "scores.json", backtest._forecast
    fitted: list[str] = []

    def until_the_second(label, *given):
        if fitted:
            raise KeyboardInterrupt
        fitted.append(label)
        return whole(label, *given)

    monkeypatch.setattr(backtest, "_forecast", until_the_second)
    stopped = CliRunner().invoke(main, ["backtest", *TABLES, *THREE, *LITTLE, "--no-pool", "-o", str(path)])
    assert stopped.exit_code != 0
    assert not path.exists()
    again: list[str] = []
    monkeypatch.setattr(backtest, "_forecast", lambda label, *given: again.append(label) or whole(label, *given))
    run("--no-pool", "-o", str(path))
    assert fitted[0] not in again
    assert len(again) == alone["landmarks"] - 1
    assert json.loads(path.read_text())["rows"] == alone["rows"]


def test_shares_come_together_to_the_same(alone, tmp_path) -> None:
    parts = [str(tmp_path / f"{place}.json") for place in (1, 2)]
    for place, path in enumerate(parts, start=1):
        run("--no-pool", "--chunk", f"{place}/2", "-o", path)
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "all.json"), *reversed(parts), "--quiet"])
    assert done.exit_code == 0, done.output
    whole = json.loads((tmp_path / "all.json").read_text())
    assert alone["with_repeat"]["crps"].keys() == alone["model"]["crps"].keys()
    for key in ("model", "with_repeat", "baselines", "difference", "fits", "rows", "landmarks", "patients", "missing"):
        assert whole[key] == alone[key], key
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "some.json"), parts[0]])
    assert f"{alone['landmarks'] // 2} landmarks are in no file" in done.stdout
    again = shutil.copy(parts[0], tmp_path / "again.json")
    done = CliRunner().invoke(main, ["merge", str(tmp_path / "twice.json"), parts[0], str(again)])
    assert done.exit_code == 2
    assert "is in another of them too" in done.stderr


def test_the_two_population_model_without_chance_has_another_beside_it(alone, tmp_path) -> None:
    """Sensitive and resistant cells, no persisters, no wander, each patient alone; the same from finished files."""
    (tmp_path / "alone.json").write_text(json.dumps(alone))
    variant = ("--no-pool", "--model", "sr", "--prior", "wander_sd=1e-6..1e-5")
    run(*variant, "--beside", f"spr={tmp_path / 'alone.json'}", "-o", str(tmp_path / "two.json"))
    two = json.loads((tmp_path / "two.json").read_text())
    assert all(np.isfinite(row["crps"]) and np.isfinite(row["log_score"]) for row in two["rows"])
    assert two["settings"]["settings"]["model"] == "sr"
    theirs, own = two["baselines"]["spr"], alone["model"]
    assert theirs == own
    gap = np.mean([one["crps"] - other["crps"] for one, other in zip(two["rows"], alone["rows"], strict=True)])
    np.testing.assert_allclose(two["difference"]["spr"]["mean"], gap)
    words = ["merge", str(tmp_path / "table.json"), str(tmp_path / "alone.json"), "--quiet", "--beside"]
    done = CliRunner().invoke(main, [*words, f"two={tmp_path / 'two.json'}"])
    assert done.exit_code == 0, done.output
    table = json.loads((tmp_path / "table.json").read_text())
    np.testing.assert_allclose(table["difference"]["two"]["mean"], -gap)
    assert table["baselines"]["two"] == two["model"]


def test_patients_are_forecast_from_a_population_that_is_learned(alone, tmp_path, monkeypatch) -> None:
    """With a population the numbers are others, and are forecasts still."""
    monkeypatch.setattr(backtest, "PACE", backtest.Pace(settle=4, stage=6, last=8, warmup=20, rounds=20, thin=20))
    monkeypatch.setattr(backtest, "LANES", 1)
    path = tmp_path / "scores.json"
    run("-o", str(path))
    pooled = json.loads(path.read_text())
    assert pooled["settings"]["pooled"]
    one, other = (np.array([row["crps"] for row in of["rows"]]) for of in (pooled, alone))
    assert one.shape == other.shape
    assert not np.allclose(one, other)
    assert np.isfinite(one).all()


@pytest.fixture
def others(tmp_path):
    """A pooled fit of a patient A, whose kind declines fast on drug."""
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")})
    names = leaning.names_of(made)
    law = one_kind(np.full((4, 8, 1), -2.0), np.full((4, 8, 1, 1), 0.3))
    frame = Frame(np.isin(names, "decline_s"), shifts(names, leaning.pack_of(made)))
    pooled.lean(made, leaning.group(names, frame, np.zeros(len(names)), law, chains=2))
    store.save(made, tmp_path / "pop.nc")
    return tmp_path / "pop.nc"


def test_a_population_of_others_is_leaned_on(alone, others, tmp_path) -> None:
    path = tmp_path / "scores.json"
    run("--population", str(others), "-o", str(path))
    leant = json.loads(path.read_text())
    assert leant["population"]["patients"] == ["A"]
    assert alone["population"] is None
    one, other = (np.array([row["crps"] for row in of["rows"]]) for of in (leant, alone))
    assert one.shape == other.shape
    assert not np.allclose(one, other)


def test_patients_of_the_population_are_refused(others, tmp_path) -> None:
    """The tested patients must not have been seen."""
    table = tmp_path / "b.csv"
    table.write_text("patient_id,time_days,burden\n" + "".join(f"A,{28 * k},{9 - 0.5 * k}\n" for k in range(12)))
    arguments = ["backtest", str(table), "--observable", "psa", "--landmark", "after:8", "--population", str(others)]
    done = CliRunner().invoke(main, [*arguments, "-o", str(tmp_path / "scores.json")])
    assert done.exit_code == 2
    assert "patient A is among those that the population was learned from" in done.stderr


def test_a_population_is_learned_or_given_not_both(others, tmp_path) -> None:
    arguments = ["--pool", "--population", str(others), "-o", str(tmp_path / "scores.json")]
    done = CliRunner().invoke(main, ["backtest", *TABLES, *arguments])
    assert done.exit_code == 2
    assert "cannot go together" in done.stderr
