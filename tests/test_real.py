"""The script that tells of the fit of real patients: its rows, their sums, what it keeps to itself, and that it goes on."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import kept
import real

import fakes
from persist.inference import store
from persist.types import Series, Table
from persist.validation import residuals
from persist.validation.health import examine

DAY = np.array([0.0, 31.37, 58.91, 93.53, 121.77, 149.17, 178.83])
BURDEN = np.array([20.357, 9.1234, 3.4567, 1.2345, 2.3456, 7.6543, 15.4321])


@pytest.fixture(scope="module")
def fit() -> Any:
    """Two patients, the second of whom has the errors of the first the other way round; a third could not be fitted."""
    drug = fakes.FIVE_VALUES.schedules
    one = Series("A", "psa", "ng/mL", DAY, BURDEN, np.zeros(len(DAY), int), drug)
    table = Table((one, one._replace(patient_id="B", burden=BURDEN[::-1].copy())), (), "0" * 64)
    made = fakes.posterior(table, {name: fakes.truth("P01") for name in ("A", "B")})
    made.attrs["unfit"] = store.as_attribute({"C": "no finite density"})
    return made


@pytest.fixture
def path(fit, tmp_path) -> Path:
    store.save(fit, tmp_path / "fit.nc")
    return tmp_path / "fit.nc"


def run(path: Path, *words: str) -> dict[str, Any]:
    out = path.with_name("real.json")
    assert real.main([str(path), "-o", str(out), *words]) == 0
    told: dict[str, Any] = json.loads(out.read_text())
    return told


def test_rows_say_what_diagnose_says(fit, path, capsys) -> None:
    told = run(path)
    assert [row["patient"] for row in told["rows"]] == ["A", "B"]
    for row in told["rows"]:
        health, errors = examine(fit, row["patient"]), residuals.residuals(fit, row["patient"])
        for name in ("max_rhat", "min_ess_bulk", "min_ess_tail", "divergences"):
            assert row[name] == pytest.approx(getattr(health, name), rel=1e-3)
        assert row["problems"] == list(health.problems)
        assert row["ok"] == health.ok
        for name in ("autocorrelation", "p_value"):
            assert row["residuals"][name] == pytest.approx(getattr(errors, name), rel=1e-3)
    together, found = told["over_all"], [residuals.residuals(fit, name) for name in ("A", "B")]
    want = residuals.pooled(residuals.as_json(one, DAY) for one in found)
    assert together["residuals"] == pytest.approx({name: want[name] for name in together["residuals"]}, rel=5e-3)
    assert (together["patients"], together["unfit"]) == (3, ["C"])
    assert together["passed_share"] == pytest.approx(together["passed"] / 3, rel=1e-3)
    assert told["fit"]["wall_seconds"] == 2.0
    assert told["judged_with"]["source"] == real.source()
    assert "could not be fitted: C" in capsys.readouterr().out


def test_those_that_fail_are_counted_and_named(fit) -> None:
    shared: dict[str, list[str]] = {"A": [], "B": ["the population is marked"]}
    rows = [kept.short(real.judge(fit, name, problems)) for name, problems in shared.items()]
    rows[0] |= {"ok": True, "problems": []}
    told = real.over_all(fit, rows)
    assert (told["passed"], told["marked"]) == (1, ["B"])
    assert rows[1]["problems"][-1] == "the population is marked"
    assert told["passed_share"] == pytest.approx(1 / 3)


def numbers(value: Any) -> list[float]:
    if isinstance(value, dict | list):
        return [one for part in (value.values() if isinstance(value, dict) else value) for one in numbers(part)]
    return [float(value)] if isinstance(value, int | float) else []


def test_nothing_that_was_measured_is_in_the_file(path) -> None:
    found = np.array(numbers(run(path)))
    private = np.concatenate([DAY[1:], BURDEN])
    assert not np.isclose(found[:, None], private, rtol=2e-4).any()
    assert np.isclose(np.array(numbers({"score": BURDEN.round(3).tolist()}))[:, None], private, rtol=2e-4).any()


def test_it_goes_on_from_what_is_kept(path, monkeypatch) -> None:
    told, done = run(path), []
    judge = real.judge
    monkeypatch.setattr(real, "judge", lambda fit, name, shared: done.append(name) or judge(fit, name, shared))
    assert run(path) == told
    assert done == []
    kept.keep(path.with_name("real.json"), told["about"], told["rows"][:1])
    assert run(path) == told
    assert done == ["B"]


def test_the_first_patients_are_audited_once(path, monkeypatch, capsys) -> None:
    done: list[tuple[str, int]] = []

    def audited(fit: Any, name: str, draws: int, particles: int, seed: int) -> dict[str, Any]:
        done.append((name, particles))
        told = {"loglik_gap": -0.25, "gap_mcse": 0.05, "khat": 0.4, "filter_noise": 0.1, "ok": True, "problems": []}
        return told | real.asked_of_audit(draws, particles)

    monkeypatch.setattr(real, "audited", audited)
    run(path)
    run(path, "--audit", "1")
    assert "audits: 1 of 1 hold, largest gap 0.25 nats, largest k-hat 0.40" in capsys.readouterr().out
    told = run(path, "--audit", "5")
    assert done == [("A", 1000), ("B", 1000)]
    assert told["over_all"]["audits_ok"] == 2
    run(path, "--audit", "1", "--particles", "2000")
    assert done[2:] == [("A", 2000)]


def test_rows_of_another_fit_are_refused(fit, path) -> None:
    run(path)
    other = fit.copy()
    other.attrs["provenance"] = store.as_attribute(store.attribute(fit, "provenance") | {"data_sha256": "1" * 64})
    store.save(other, path)
    with pytest.raises(SystemExit, match=r"real\.json: its rows are of another"):
        run(path)


def test_a_file_that_is_no_fit_is_one_line(tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"absent\.nc: there is no such file"):
        run(tmp_path / "absent.nc")
