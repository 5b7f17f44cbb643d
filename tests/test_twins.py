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
from persist.inference import store
from persist.types import Series, Table
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
    same = twins.over_all(rows(plain, rng.standard_normal((40, 50))))
    assert abs(same["more"]) < 5.0 * same["standard_error"]
    assert same["standard_error"] > same["patient"]["standard_error"]


def test_it_fits_twins_keeps_rows_and_goes_on(fit, tmp_path, monkeypatch, capsys) -> None:
    fitted: list[tuple[str, int, int]] = []

    def fake(table: Table, settings: Any) -> Any:
        (one,) = table.series
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
    assert twins.main(words) == 0
    assert [name for name, _, _ in fitted] == ["A", "C", "B"]
    told = json.loads(out.read_text())
    assert told["rows"][:2] == first["rows"]
    assert told["over_all"]["patient"]["autocorrelation"] is not None
    private = [f"{value:.4g}" for value in (*DAY[1:], *BURDEN)]
    assert not any(f" {value}" in out.read_text() for value in private if "." in value and len(value) > 4)


def test_a_file_that_is_no_fit_is_one_line(tmp_path) -> None:
    with pytest.raises(SystemExit, match=r"absent\.nc: there is no such file"):
        twins.main([str(tmp_path / "absent.nc")])
