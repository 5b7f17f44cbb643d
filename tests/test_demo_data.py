"""The bundled tables are readable and hold what was planted in them: the truth itself, carried on, gains and loses."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
import pytest

from persist import keys
from persist.dynamics.moments import mean_field
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT
from persist.dynamics.trajectories import simulate
from persist.forecast.endpoints import RULES, time_to_progression
from persist.inference.curve import patient
from persist.inference.priors import load_pack
from persist.records.table import read
from persist.treatment.exposure import relax
from persist.treatment.schedule import dose_at, grid, parse_plan, plan_schedule, splice
from persist.types import Cells, Rates, Series, Table

ROOT = Path(__file__).resolve().parent.parent
DATA = ROOT / "data"
HORIZON = 1080.0
PATHS = 8


@pytest.fixture(scope="module")
def table() -> Table:
    return read(DATA / "burden.csv", DATA / "treatments.csv", observable="psa")


@pytest.fixture(scope="module")
def truth() -> dict[str, dict[str, float]]:
    found: dict[str, dict[str, float]] = {}
    with (DATA / "truth.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            found.setdefault(row["patient_id"], {})[row["parameter"]] = float(row["value"])
    return found


@pytest.fixture(scope="module")
def demo():
    sys.path.insert(0, str(ROOT / "scripts"))
    try:
        import demo
    finally:
        sys.path.pop(0)
    return demo


def test_twelve_patients_are_read(table: Table, truth: dict[str, dict[str, float]]) -> None:
    names = [f"P{number:02d}" for number in range(1, 13)]
    assert [series.patient_id for series in table.series] == names
    assert list(truth) == names
    assert all(series.schedules for series in table.series)
    assert {series.unit for series in table.series} == {"ng/mL"}
    assert not any("unknown" in note or "sorted" in note for note in table.notes)


def test_those_from_the_priors_are_drawn_as_is_told(table: Table, truth: dict[str, dict[str, float]]) -> None:
    for series in table.series[3:]:
        (schedule,) = series.schedules.values()
        assert len(schedule.start) >= 2
        assert truth[series.patient_id]["turnover_s"] <= 0.95


def test_truths_may_be_where_the_prior_looks(table: Table, truth: dict[str, dict[str, float]]) -> None:
    lower = load_pack("clinical", "psa").entries["settled_burden"].lower
    assert all(truth[one.patient_id]["settled_burden"] > lower * one.burden.max() for one in table.series)


def test_the_written_truth_gives_the_written_rates(truth: dict[str, dict[str, float]]) -> None:
    for values in truth.values():
        rates = patient(values, 1.0).rates
        for name in ("birth_s", "death_s", "kill_s", "kill_r", "birth_p"):
            assert float(getattr(rates, name)) == pytest.approx(values[name], rel=1e-4)


def test_the_series_follow_their_truth(table: Table, truth: dict[str, dict[str, float]]) -> None:
    for series in table.series[:3]:
        values = truth[series.patient_id]
        seen = series.censoring == 0
        burden = expected(values, series)[seen]
        off = np.log(series.burden[seen] / burden)
        spread = np.hypot(values["noise_sd"] * 1.5, values["wander_sd"])
        assert np.abs(off).mean() < 3.0 * spread


def expected(values: dict[str, float], series: Series) -> np.ndarray:
    """The truth's mean field at the visits, in units of the burden."""
    start = patient(values, 1.0)
    (schedule,) = series.schedules.values()
    steps, index = grid(schedule, series.day, start=0.0, stop=series.day[-1], max_step=1.0)
    exposure = relax(steps, start.rates.onset_days, start.rates.washout_days)
    path = jax.jit(mean_field)(start.cells, start.rates, steps.length, exposure)
    return np.append(float(start.cells.total), np.asarray(path.total))[index] / values["cells_per_unit"]


class Course(NamedTuple):
    """The truth from the last restart on: visits as days from the last visit, whether on drug, burden ``(PATHS, n)``."""

    day: np.ndarray
    on: np.ndarray
    burden: np.ndarray


def follow(values: dict[str, float], series: Series, text: str) -> Course:
    """The truth from day 0 in whole cells, first as treated, then under a plan, seen every 20 days."""
    (history,) = series.schedules.values()
    last = float(series.day[-1])
    schedule = splice(history, plan_schedule(parse_plan(text), last, HORIZON), last)
    days = np.append(series.day[series.day > history.start[-1]], last + np.arange(20.0, HORIZON + 1.0, 20.0))
    start = patient(values, 1.0)
    rates = Rates(*(float(rate) for rate in start.rates))
    cells = Cells(*(float(np.round(count)) for count in start.cells))
    steps, index = grid(schedule, days, start=0.0, stop=days[-1], max_step=1.0)
    exposure = relax(steps, rates.onset_days, rates.washout_days)
    path = simulate(keys.key(0, "truth"), cells, rates, steps, exposure, trajectories=PATHS, max_step=0.25)
    burden = np.asarray(path.total)[:, index - 1] / values["cells_per_unit"]
    return Course(days - last, (days <= last) | (dose_at(schedule, days) > 0.0), burden)


def measured(course: Course, values: dict[str, float], repeats: int = 20) -> Course:
    """The same with wander and measurement error; the same errors for every course."""
    rng = np.random.default_rng(3)
    burden = np.repeat(course.burden, repeats, axis=0)
    apart = np.abs(course.day[:, None] - course.day) * np.sqrt(3.0) / values["wander_days"]
    matern = np.linalg.cholesky((1.0 + apart) * np.exp(-apart) + 1e-9 * np.eye(len(apart)))
    walk = values["wander_sd"] * rng.standard_normal(burden.shape) @ matern.T
    scale = NOISE_SCALE[rng.choice(len(NOISE_SCALE), burden.shape, p=NOISE_WEIGHT / NOISE_WEIGHT.sum())]
    error = values["noise_sd"] * scale * rng.standard_normal(burden.shape)
    return course._replace(burden=burden * np.exp(walk + error))


def progression(course: Course) -> np.ndarray:
    """Days from the last visit to progression by the rule for PSA, as a forecast judges: the nadir so far stands first."""
    future = course.day > 0.0
    nadir = course.burden[:, ~future].min(axis=1, keepdims=True)
    burden = np.concatenate([nadir, course.burden[:, future]], axis=1)
    day, on = np.append(0.0, course.day[future]), np.append(True, course.on[future])
    return np.minimum(np.asarray(time_to_progression(day, burden, on, RULES["psa"])), HORIZON)


PLANTED_SIGN = {"P01": 1.0, "P02": -1.0}


@pytest.fixture(scope="module")
def courses(demo, table: Table, truth: dict[str, dict[str, float]]) -> dict[str, list[Course]]:
    plans = demo.plans(DATA / "plans.txt")
    found = {}
    for name in PLANTED_SIGN:
        series = next(one for one in table.series if one.patient_id == name)
        found[name] = [follow(truth[name], series, text) for text in plans]
    return found


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", PLANTED_SIGN)
def test_the_truth_gains_as_planted(courses: dict[str, list[Course]], name: str) -> None:
    on, holiday = (progression(course) for course in courses[name])
    gain = PLANTED_SIGN[name] * (holiday - on)
    assert gain.mean() > 20.0
    assert np.mean(gain > 0.0) >= 0.9


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("name", PLANTED_SIGN)
def test_the_truth_as_measured_gains_as_planted(
    courses: dict[str, list[Course]], truth: dict[str, dict[str, float]], name: str
) -> None:
    on, holiday = (progression(measured(course, truth[name])) for course in courses[name])
    gain = PLANTED_SIGN[name] * (holiday - on)
    assert gain.mean() > 20.0
    assert np.mean(gain > 0.0) >= 0.9


def test_the_plans_of_the_demonstration(demo) -> None:
    texts = demo.plans(DATA / "plans.txt")
    assert [parse_plan(text).name for text in texts] == ["on", "holiday"]
    words = demo.commands(everyone=False)
    assert [one[0] for one in words] == ["check", "fit", "diagnose", "forecast", "report"]
    assert words[1].count("--patient") == 3
    assert "--patient" not in demo.commands(everyone=True)[1]
    assert '--plan "holiday=off 180, on" --horizon 1080' in demo.shown(["persist", *words[3]])


@pytest.mark.parametrize(("codes", "left", "ran"), [([0, 3, 3, 0, 0], 0, 5), ([0, 2], 2, 2)])
def test_a_marked_fit_goes_on_and_a_fault_stops(
    demo, monkeypatch, tmp_path, capsys, codes: list[int], left: int, ran: int
) -> None:
    done: list[list[str]] = []

    def run(words: list[str]) -> int:
        done.append(words)
        return codes[len(done) - 1]

    (tmp_path / "data").mkdir()
    (tmp_path / "demo").mkdir()
    (tmp_path / "data" / "plans.txt").write_text("on\nrest=off 9, on\n")
    (tmp_path / "demo" / "report.json").write_text('{"forecast": {"patients": {"A": {"sentences": {"rest": "No."}}}}}')
    monkeypatch.setattr(demo, "ROOT", tmp_path)
    monkeypatch.setattr(demo, "run", run)
    assert demo.main([]) == left
    assert len(done) == ran
    said = capsys.readouterr()
    assert ("A: No." in said.out) == (left == 0)
    assert ("fit is marked" in said.out) == (3 in codes)


def test_each_command_is_shown_and_run(demo, capfd) -> None:
    assert demo.run(["--version"]) == 0
    assert capfd.readouterr().out.startswith("\n$ persist --version\npersist ")
