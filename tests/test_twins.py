"""Twins of real patients: they have the patient's visits and floors, and what the errors of both say is kept and compared."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import twins

import fakes
from persist.errors import DataError
from persist.inference import store
from persist.inference.population import UNKNOWN
from persist.types import Composition, Series, Table
from persist.validation import residuals

DAY = np.array([0.0, 31.37, 58.91, 93.53, 121.77, 149.17, 178.83])
BURDEN = np.array([20.357, 2.1234, 0.2, 0.2, 0.0732, 7.6543, 15.4321])
CENSORING = np.array([0, 0, -1, -1, 0, 0, 0])


def series(name: str, burden: np.ndarray = BURDEN) -> Series:
    return Series(name, "psa", "ng/mL", DAY, burden, CENSORING, fakes.FIVE_VALUES.schedules)


@pytest.fixture(scope="module")
def fit() -> Any:
    table = Table((series("A"), series("B", 1.5 * BURDEN), series("C", 2.5 * BURDEN)), (), "0" * 64)
    return fakes.posterior(table, {name: fakes.truth("P01") for name in ("A", "B", "C")})


def test_a_floor_is_the_nearest_limit_but_never_over_what_was_measured() -> None:
    np.testing.assert_array_equal(twins.floors(series("A")), [0.2, 0.2, 0.2, 0.2, 0.0732, 0.2, 0.2])
    np.testing.assert_array_equal(twins.floors(series("A")._replace(censoring=0 * CENSORING)), 0.0)


def test_a_twin_is_a_replicate_of_one_draw(fit) -> None:
    drawn = fit["posterior_predictive"].to_dataset().sel(patient="A")["burden"].values.reshape(-1, len(DAY))
    floor = twins.floors(series("A"))
    rng, seen = np.random.default_rng(0), set()
    for _ in range(20):
        made = twins.twin(fit, "A", rng)
        under = made.censoring == -1
        assert np.all(made.burden[under] == floor[under])
        row = np.flatnonzero((np.abs(drawn - made.burden) < 1e-6 * drawn)[:, ~under].all(axis=1))
        assert len(row) >= 1
        assert np.all(drawn[row[0], under] < floor[under])
        seen.add(int(row[0]))
        np.testing.assert_array_equal(made.day, DAY)
        assert made.schedules == series("A").schedules
    assert len(seen) > 5


def test_sums_are_of_visits_that_both_measured(fit, monkeypatch) -> None:
    monkeypatch.setattr(twins, "fit_table", lambda table, *_, **__: fakes.posterior(table, {"A": fakes.truth("P01")}))
    row = twins.compared(fit, "A")
    assert row["measured"]["patient"] == 5
    assert row["sums"]["patient"]["measured"] == row["sums"]["twin"]["measured"] <= min(row["measured"].values())
    assert row["twin_fit"]["problems"] == list(twins.examine(fakes.posterior(*truth_of("A")), "A").problems)


def truth_of(name: str) -> tuple[Table, dict[str, Any]]:
    return Table((series(name),), (), "0" * 64), {name: fakes.truth("P01")}


def test_a_patient_with_fractions_has_no_twin() -> None:
    table, truth = truth_of("A")
    counted = Composition(DAY[:1], np.array([0.1]), np.array([100.0]), np.array([0]))
    table = table._replace(series=(table.series[0]._replace(composition=counted),))
    with pytest.raises(DataError, match="fractions were measured of patient A"):
        twins.twin(fakes.posterior(table, truth), "A", np.random.default_rng(0))


def rows(patient: np.ndarray, twin: np.ndarray) -> list[dict[str, Any]]:
    measured = np.ones(patient.shape[1], bool)
    both = zip(patient, twin, strict=True)
    return [
        {
            "patient": str(at),
            "sums": {
                name: residuals.sums(score, measured)._asdict() for name, score in (("patient", one), ("twin", other))
            },
            "flagged": {"patient": at == 0, "twin": False},
            "measured": {"patient": 50, "twin": 49},
            "twin_fit": {"ok": at != 1, "max_rhat": 1.0, "problems": []},
        }
        for at, (one, other) in enumerate(both)
    ]


def test_what_lasts_in_patients_and_not_in_twins_is_told() -> None:
    rng = np.random.default_rng(1)
    plain = rng.standard_normal((40, 50))
    lasting = 0.8 * plain[:, :-1] + 0.6 * plain[:, 1:]  # correlation of neighbours: 0.48
    found = twins.over_all(rows(lasting, rng.standard_normal((40, 49))))
    assert found["more"] > 6.0 * found["standard_error"]
    assert found["more"] == pytest.approx(0.48, abs=5.0 * found["standard_error"])
    assert found["flagged"] == {"patient": 1, "twin": 0}
    assert (found["twin_fits_ok"], found["measured"]) == (39, {"patient": 2000, "twin": 1960})
    same = twins.over_all(rows(plain, rng.standard_normal((40, 50))))
    assert abs(same["more"]) < 5.0 * same["standard_error"]
    assert same["standard_error"] > same["patient"]["standard_error"]


def test_it_fits_twins_keeps_rows_and_goes_on(fit, tmp_path, monkeypatch, capsys) -> None:
    fitted: list[tuple[str, int, int]] = []

    def fake(table: Table, settings: Any, population: Any) -> Any:
        (one,) = table.series
        assert settings.drug is None
        assert population is UNKNOWN
        fitted.append((one.patient_id, settings.seed, settings.doublings))
        return fakes.posterior(table, {one.patient_id: fakes.truth("P01")})

    monkeypatch.setattr(twins, "fit_table", fake)
    store.save(fit, tmp_path / "fit.nc")
    out = tmp_path / "twins.json"
    words = [str(tmp_path / "fit.nc"), "-o", str(out)]
    assert twins.main([*words, "--patients", "2"]) == 0
    assert [name for name, _, _ in fitted] == ["A", "C"]  # evenly
    assert {doublings for _, _, doublings in fitted} == {0}
    assert len({seed for _, seed, _ in fitted}) == 2
    first = json.loads(out.read_text())
    assert "more by" in capsys.readouterr().out
    assert twins.main([*words, "--patients", "2"]) == 0
    assert len(fitted) == 2  # what is there is not made again
    assert json.loads(out.read_text()) == first
    assert first["over_all"]["patient"]["autocorrelation"] is not None
    with pytest.raises(SystemExit, match="another seed"):
        twins.main(words)
    private = [f"{value:.4g}" for value in (*DAY[1:], *BURDEN)]
    assert not any(f" {value}" in out.read_text() for value in private if "." in value and len(value) > 4)


def test_a_file_that_is_no_fit_is_one_line(tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"absent\.nc: there is no such file"):
        twins.main([str(tmp_path / "absent.nc")])
