"""Measured exposure: read, in place of the lag, telling of the lag, in the file and back, in the filter as elsewhere."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import testosterone

import fakes
from persist.cli.main import main
from persist.dynamics.reactions import within
from persist.errors import DataError, UsageError
from persist.inference import particles, posterior, store
from persist.inference.cohort import case, observable, pad
from persist.inference.curve import LAG_SD, follow
from persist.inference.inverse import located
from persist.inference.target import Target, flat_potential
from persist.records.table import read
from persist.treatment.exposure import along, relax
from persist.types import Grid, Levels, Schedule, Series, Table
from persist.validation import same
from persist.validation.measurements import _ahead
from persist.validation.visible import visible

DAY = np.array([0.0, 28.0, 56.0, 84.0, 140.0, 168.0, 196.0])
BURDEN = np.array([20.0, 9.0, 3.0, 1.5, 2.0, 6.0, 12.0])
LEVELS = Levels(np.array([0.0, 28.0, 84.0, 112.0, 150.0]), np.array([0.0, 0.7, 1.0, 0.8, 0.1]))
PLAIN = Series(
    "A", "psa", "ng/mL", DAY, BURDEN, np.zeros(7, int), {"drug": Schedule(*map(np.array, ([0.0], [84.0], [1.0])))}
)
SEEN = PLAIN._replace(levels=LEVELS)
NEVER = np.zeros(0)
"""Days on which no dose changes."""


def of(series: Series):
    return case(pad([series], pack="clinical"), 0, counted=False)


def values(**more: float) -> dict[str, jax.Array]:
    return {name: jnp.asarray(value) for name, value in (fakes.truth("P01") | more).items()}


def test_a_measured_step_is_a_line_and_the_lag_goes_on_from_its_end() -> None:
    steps = Grid(np.array([5.0, 5.0, 10.0, 0.0, 7.0]), np.array([1.0, 1.0, 0.0, 0.0, 0.0]))
    node = np.array([0.0, 5.0, 10.0, 20.0, 20.0, 27.0])
    known = along(Levels(np.array([5.0, 20.0]), np.array([0.2, 0.8])), node, NEVER, 30.0, 30.0)
    found = relax(steps, 3.0, 4.0, course=known)
    lag = relax(steps, 3.0, 4.0)
    np.testing.assert_allclose(found.start[0], lag.start[0])
    for step, (first, last) in {1: (0.2, 0.4), 2: (0.4, 0.8)}.items():
        piece = jax.tree.map(lambda part, step=step: part[step], found)
        for share in (0.0, 0.3, 0.5, 1.0):
            level = within(piece, share * steps.length[step])
            assert level == pytest.approx(first + share * (last - first), abs=abs(last - first) / 700.0)
    assert found.start[4] == pytest.approx(0.8)
    assert within(jax.tree.map(lambda part: part[4], found), 7.0) == pytest.approx(0.8 * np.exp(-7.0 / 4.0))
    np.testing.assert_array_equal(np.isfinite(known.measured), [True, False, True, False, False])


def test_values_far_apart_are_not_bridged_and_without_values_nothing_is_known() -> None:
    node = np.array([0.0, 10.0, 20.0, 60.0, 61.0])
    far = along(Levels(np.array([0.0, 10.0, 60.0]), np.array([0.0, 1.0, 0.0])), node, NEVER, 30.0, 30.0)
    np.testing.assert_array_equal(np.isfinite(far.start), [True, False, False, False])
    np.testing.assert_array_equal(np.isfinite(far.measured), [True, False, True, False])
    assert not np.isfinite(along(PLAIN.levels, node, NEVER, 30.0, 30.0).start).any()
    steps = Grid(np.array([5.0, 5.0]), np.array([1.0, 0.0]))
    nothing = along(PLAIN.levels, np.array([0.0, 5.0, 10.0]), NEVER, 30.0, 30.0)
    for one, other in zip(relax(steps, 1.0, 2.0, course=nothing)[:3], relax(steps, 1.0, 2.0)[:3], strict=True):
        np.testing.assert_array_equal(one, other)


def test_the_cells_are_exposed_to_what_was_measured() -> None:
    """At the visits between the first and the last measured value the exposure is theirs, whatever the lag."""
    for lag in (2.0, 60.0):
        found = follow(values(onset_days=lag, washout_days=lag), of(SEEN), 1.0)
        np.testing.assert_allclose(found.exposure[:4], [0.0, 0.7, 0.85, 1.0], atol=1e-9)
        at_140 = 0.8 + (0.1 - 0.8) * 28.0 / 38.0
        assert found.exposure[4] == pytest.approx(at_140, abs=1e-9)
        assert found.exposure[5] == pytest.approx(0.1 * np.exp(-18.0 / lag), abs=1e-9)


def exposed(levels: Levels, **more: Any) -> np.ndarray:
    """Exposure at the visits under a lag of 5 and 20 days."""
    return np.asarray(
        follow(values(onset_days=5.0, washout_days=20.0), of(PLAIN._replace(levels=levels, **more)), 1.0).exposure[:7]
    )


def test_no_line_is_drawn_across_a_change_of_dose() -> None:
    """Drug from day 84 on, seen at 0 before and at 1 later: until then nothing reaches the cells."""
    late = {"drug": Schedule(*map(np.array, ([84.0], [196.0], [1.0])))}
    found = exposed(Levels(np.array([0.0, 112.0]), np.array([0.0, 0.9])), schedules=late)
    np.testing.assert_array_equal(found[:4], 0.0)
    assert found[4] == pytest.approx(1.0 - 0.1 * np.exp(-28.0 / 5.0))  # from 0.9 on


def test_every_value_counts_also_one_alone_and_the_first() -> None:
    assert exposed(Levels(np.array([140.0]), np.array([0.9])))[4] == pytest.approx(0.9)
    lone = exposed(Levels(np.array([0.0, 28.0, 168.0]), np.array([0.3, 0.9, 0.5])))
    np.testing.assert_allclose(lone[[0, 1, 5]], [0.3, 0.9, 0.5])
    assert lone[6] == pytest.approx(0.5 * np.exp(-28.0 / 20.0))
    before = exposed(Levels(np.array([-14.0, 14.0]), np.array([0.2, 0.6])), schedules={})
    assert before[0] == pytest.approx(0.4)


def test_values_in_quick_succession_count_in_proportion() -> None:
    """Twice as many values of one course tell no more of the lag, but for the first."""
    days = np.arange(84.0, 197.0, 28.0)
    twice = np.arange(84.0, 197.0, 14.0)

    def gain(days: np.ndarray) -> float:
        one = of(PLAIN._replace(levels=Levels(days, np.exp(-(days - 84.0) / 40.0))))
        near, far = (float(follow(values(onset_days=1.0, washout_days=lag), one, 1.0).lag) for lag in (40.0, 15.0))
        return near - far

    assert gain(twice) == pytest.approx(gain(days), rel=0.25)
    assert gain(days) > 1.0


def test_the_posterior_hears_of_the_lag() -> None:
    """Two points that differ by the washout alone: their densities differ by what the lag's likelihood says."""
    target = Target("spr", "clinical", observable("psa").cells, 1.0, False)
    point = {name: float(value) for name, value in fakes.truth("P01").items()}
    found = {}
    for name, one in (
        ("seen", of(SEEN)),
        ("plain", of(SEEN)._replace(known=of(SEEN).known._replace(weight=0.0 * of(SEEN).known.weight))),
    ):
        ends = [jnp.asarray(located(target, one, point | {"washout_days": lag})) for lag in (10.0, 60.0)]
        found[name] = float(flat_potential(target)(one, ends[0]) - flat_potential(target)(one, ends[1]))
    lag = [float(follow(values(washout_days=lag), of(SEEN), 1.0).lag) for lag in (10.0, 60.0)]
    assert abs(lag[1] - lag[0]) > 0.3
    assert found["seen"] - found["plain"] == pytest.approx(lag[1] - lag[0], abs=1e-6)


def test_what_is_to_come_does_not_know_later_values() -> None:
    """Both futures of the next measurement go by the plan, whatever was measured after the last burden."""
    later = SEEN._replace(
        levels=Levels(np.append(LEVELS.day, [230.0, 300.0, 400.0]), np.append(LEVELS.level, [0.0, 0.0, 0.0]))
    )
    for mine, its in zip(jax.tree.leaves(of(SEEN)), jax.tree.leaves(of(later)), strict=True):
        np.testing.assert_array_equal(mine, its)  # nor does the fit
    rows = {name: np.asarray(value)[None] for name, value in values().items()}
    for pause in (0.0, 3.0):
        one, other = (_ahead(rows, series, pause, 30.0, "clinical")[0] for series in (SEEN, later))
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_gap_of_over_120_days_is_not_bridged_in_patients() -> None:
    for gap, there in ((119.0, True), (121.0, False)):
        untreated = PLAIN._replace(schedules={}, levels=Levels(np.array([10.0, 10.0 + gap]), np.array([0.5, 0.5])))
        assert bool(np.isfinite(of(untreated).known.start).any()) is there


def test_measured_values_tell_of_the_lag() -> None:
    """With values made by a lag of 40 days, its likelihood is highest there; without values it is nothing."""
    washout = 40.0
    days = np.array([28.0, 56.0, 84.0, 98.0, 112.0, 140.0, 168.0, 196.0])
    level = np.where(
        days <= 84.0, 1.0 - np.exp(-days / 5.0), (1.0 - np.exp(-84.0 / 5.0)) * np.exp(-(days - 84.0) / washout)
    )
    one = of(PLAIN._replace(levels=Levels(days, level)))
    found = {
        lag: float(follow(values(onset_days=5.0, washout_days=lag), one, 1.0).lag) for lag in (10.0, 30.0, 40.0, 55.0)
    }
    assert max(found, key=found.__getitem__) == 40.0
    weight = np.minimum(np.diff(days, prepend=-np.inf) / 30.0, 1.0).sum()
    assert found[40.0] == pytest.approx(-weight * np.log(LAG_SD * np.sqrt(2.0 * np.pi)), abs=1e-6)
    assert found[40.0] - found[10.0] > 3.0
    assert float(follow(values(), of(PLAIN), 1.0).lag) == 0.0


def test_the_gradient_is_finite() -> None:
    def likely(lag: jax.Array) -> jax.Array:
        found = follow(values() | {"washout_days": lag}, of(SEEN), 1.0)
        return found.log_likelihood + found.lag

    assert np.isfinite(jax.grad(likely)(jnp.asarray(20.0)))


def test_the_particle_filter_is_exposed_alike() -> None:
    """At patients' cell numbers the filter is close to the fast likelihood under measured exposure, and far without it."""
    row = values(washout_days=60.0, resistant_0=1e-2)
    draws = {name: np.asarray(value)[None] for name, value in row.items()}
    fast, filtered = {}, {}
    for name, one in (("measured", of(SEEN)), ("lag", of(PLAIN))):
        fast[name] = float(follow(row, one, 1.0).log_likelihood)
        filtered[name] = float(particles.log_likelihood(0, "A", draws, one, 1.0, 4000)[0])
        assert abs(filtered[name] - fast[name]) < 0.3
    assert abs(fast["measured"] - fast["lag"]) > 1.0


def test_the_file_of_a_fit_holds_them() -> None:
    table = Table((SEEN, PLAIN._replace(patient_id="B")), (), "0" * 64)
    fit = fakes.posterior(table, {name: fakes.truth("P01") for name in ("A", "B")})
    one, other = posterior.series(fit)
    for part, right in zip(one.levels, LEVELS, strict=True):
        np.testing.assert_array_equal(part, right)
    assert len(other.levels.day) == 0
    assert (
        len(posterior.series(fakes.posterior(Table((PLAIN,), (), "0" * 64), {"A": fakes.truth("P01")}))[0].levels.day)
        == 0
    )
    assert "exposure" in posterior.one_patient(fit, "A")["constant_data"].to_dataset()
    assert store.attribute(fit, "everyone") == ["A", "B"]


def test_what_is_known_at_a_landmark() -> None:
    np.testing.assert_array_equal(SEEN.until(100.0).levels.day, [0.0, 28.0, 84.0])


def write(folder, exposure: str) -> list[str]:
    (folder / "b.csv").write_text("patient_id,time_days,burden\nA,0,20\nA,28,9\nA,56,3\nB,0,5\nB,30,4\n")
    (folder / "e.csv").write_text(exposure)
    return [str(folder / "b.csv"), "--exposure", str(folder / "e.csv")]


def test_check_reads_them_and_says_so(tmp_path) -> None:
    words = write(tmp_path, "patient_id,time_days,exposure,unit\nA,28,0.9,\nA,0,0,\n")
    ran = CliRunner().invoke(main, ["check", *words, "--observable", "psa", "--json"])
    assert ran.exit_code == 0, ran.output
    told = json.loads(ran.stdout)
    assert told["patients"]["A"]["exposure"] == [
        {"time_days": 0.0, "exposure": 0.0},
        {"time_days": 28.0, "exposure": 0.9},
    ]
    assert told["patients"]["B"]["exposure"] == []
    assert any("2 measured exposures of 1 patient" in note for note in told["notes"])
    assert any("at most 120 days apart" in note for note in told["notes"])
    assert any("standard deviation of 0.2" in note for note in told["notes"])
    assert any("1 patient without: the lag alone" in note for note in told["notes"])
    without = read(tmp_path / "b.csv", observable="psa")
    assert told["sha256"] != without.sha256


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ("A,28,1.2", r"e\.csv: row 3, column exposure: .*'1.2' is not between 0 and 1"),
        ("A,28,", r"row 3, column exposure: the value is missing"),
        ("A,0,0.5", r"row 3, column time_days: a second exposure of patient 'A' at this time, the first in row 2"),
        ("C,0,0.5", r"row 3, column patient_id: patient 'C' has an exposure and no burden"),
        ("A,5,half", r"row 3, column exposure: 'half' is not a number"),
    ],
)
def test_what_cannot_be_is_refused(tmp_path, row, said) -> None:
    burden, _, exposure = write(tmp_path, f"patient_id,time_days,exposure\nA,0,0.1\n{row}\n")
    with pytest.raises(DataError, match=said):
        read(burden, observable="psa", exposure_path=exposure)


def test_dates_count_from_the_first_burden(tmp_path) -> None:
    (tmp_path / "b.csv").write_text("patient_id,time_days,burden\nA,2020-01-11,20\nA,2020-02-11,9\n")
    (tmp_path / "e.csv").write_text("patient_id,time_days,exposure\nA,2020-01-01,0.5\nA,2020-01-21,1\n")
    one = read(tmp_path / "b.csv", observable="psa", exposure_path=tmp_path / "e.csv").series[0]
    np.testing.assert_array_equal(one.levels.day, [-10.0, 10.0])


def test_testosterone_becomes_exposure(tmp_path, capsys) -> None:
    rows = [("A", day, value) for day, value in enumerate((12.0, 1.2, 0.0, 15.0, 12.0, "", 12.0))]
    rows += [("B", 0, 3.0), ("B", 1, 4.0)]
    lines = [f"{name},{day},1.0,{value}" for name, day, value in rows]
    (tmp_path / "o.csv").write_text("patient_id,time_days,burden,t\n" + "\n".join(lines) + "\n")
    words = [str(tmp_path / "o.csv"), "--column", "t", "--saturated", "0.5", "-o", str(tmp_path / "e.csv")]
    assert testosterone.main(words) == 0
    made = [line.split(",") for line in (tmp_path / "e.csv").read_text().split()[1:]]
    full = 0.5 * np.quantile([12.0, 1.2, 0.0, 15.0, 12.0, 12.0], 0.9)
    assert [float(one[2]) for one in made] == pytest.approx([0.0, 1.0 - 1.2 / full, 1.0, 0.0, 0.0, 0.0], abs=1e-4)
    assert {one[0] for one in made} == {"A"}  # two values tell of no normal one
    assert "6 exposures of 1 patients" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="is there already"):
        testosterone.main(words)
    (tmp_path / "low.csv").write_text("patient_id,time_days,t\n" + "\n".join(f"C,{day},0.5" for day in range(9)) + "\n")
    assert testosterone.main([str(tmp_path / "low.csv"), "--column", "t", "-o", str(tmp_path / "none.csv")]) == 0
    assert "left out, since no normal value is known: C" in capsys.readouterr().out
    (tmp_path / "nan.csv").write_text("patient_id,time_days,t\nC,0,nan\n")
    with pytest.raises(SystemExit, match="row 2: 'nan' is no value"):
        testosterone.main([str(tmp_path / "nan.csv"), "--column", "t", "-o", str(tmp_path / "never.csv")])
    with pytest.raises(SystemExit, match="no share"):
        testosterone.main([*words[:-1], str(tmp_path / "other.csv"), "--saturated", "0"])
    with pytest.raises(SystemExit, match="no column testosterone"):
        testosterone.main([words[0], "-o", str(tmp_path / "other.csv")])


def test_whether_it_was_measured_is_seen() -> None:
    """On the drug and, twice, off it."""
    assert visible(SEEN).exposure
    assert not visible(PLAIN).exposure
    for days in ([28.0], [28.0, 56.0, 112.0], [112.0, 150.0], [28.0, 250.0, 300.0]):
        assert not visible(SEEN._replace(levels=Levels(np.array(days), np.full(len(days), 0.5)))).exposure


def test_late_values_are_left_out_and_drugs_told_apart(tmp_path) -> None:
    words = write(tmp_path, "patient_id,time_days,exposure\nA,28,0.9\nA,57,0.5\n")
    found = read(words[0], observable="psa", exposure_path=words[2])
    np.testing.assert_array_equal(found.series[0].levels.day, [28.0])
    assert any("1 exposure after the last burden left out" in note for note in found.notes)
    words = write(tmp_path, "patient_id,time_days,exposure,drug\nA,28,0.9,x\nA,30,0.5,y\n")
    with pytest.raises(DataError, match=r"row 3, column drug: exposures to several drugs \(x in row 2, y\)"):
        read(words[0], observable="psa", exposure_path=words[2])


@pytest.mark.parametrize("verb", ["fit", "backtest"])
def test_commands_take_the_table(tmp_path, monkeypatch, verb) -> None:
    """What `read_table` is given by each; a wrong table is one line and code 2."""
    burden, option, exposure = write(tmp_path, "patient_id,time_days,exposure\nA,0,1.5\n")
    words = [verb, burden, option, exposure, "--observable", "psa", "-o", str(tmp_path / "out.nc")]
    ran = CliRunner().invoke(main, words)
    assert ran.exit_code == 2
    assert "exposure '1.5' is not between 0 and 1" in ran.output


def test_compare_tells_measured_exposures_apart() -> None:
    one, other = (
        fakes.posterior(Table((series,), (), "0" * 64), {"A": fakes.truth("P01")}) for series in (SEEN, PLAIN)
    )
    with pytest.raises(UsageError, match="patient A has another measured exposure in each"):
        same.check_same({"one": one, "other": other})
