"""Plans as a table: what is read, what is refused, and that they are the plans that their rows say."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
from persist.cli.main import main
from persist.errors import DataError, UsageError
from persist.forecast import asking
from persist.forecast.outcome import ask, forecast
from persist.inference import store
from persist.records.plans import read_plans
from persist.records.table import read
from persist.treatment.grammar import parse_plan
from persist.treatment.schedule import plan_of, plan_schedule
from persist.types import Schedule

HEAD = "plan,start_days,stop_days,dose"


def table(folder: Path, *rows: str, head: str = HEAD) -> Path:
    path = folder / "plans.csv"
    path.write_text("\n".join([head, *rows]) + "\n", encoding="utf-8")
    return path


def test_plans_follow_those_of_the_command_line_in_order_of_appearance(tmp_path: Path) -> None:
    rows = ("taper,28,56,0.25", "b,90,,1", "taper,0,28,0.5", "never,0,,0", "gap,0,7,1", "gap,21,,1")
    question = ask(("on", "b2=off"), 400.0, table(tmp_path, *rows))
    assert {plan.name: plan.text for plan in question.plans} == {
        "on": "on",
        "b2": "off",
        "taper": "dose 0.5 28, dose 0.25 28, off",
        "b": "off 90, on",
        "never": "off",
        "gap": "on 7, off 14, on",
    }
    assert [plan.name for plan in question.plans] == ["on", "b2", "taper", "b", "never", "gap"]
    assert question.notes[-1] == "plans.csv: 4 plans read: taper, b, never, gap"
    assert next(plan.name for plan in ask((), 400.0, table(tmp_path, *rows)).plans) == "taper"


def test_semicolons_and_decimal_commas_are_read_and_said(tmp_path: Path) -> None:
    written = read_plans(table(tmp_path, "a;0,5;28;0,25", head="plan;start_days;stop_days;dose"))
    np.testing.assert_array_equal(np.concatenate(written.schedules["a"]), [0.5, 28.0, 0.25])
    assert "plans.csv: numbers have decimal commas" in written.notes


@pytest.mark.parametrize(
    ("rows", "row", "column", "what", "remedy"),
    [
        (("a,0,28,1.5",), 2, "dose", "dose '1.5' is not within 0 and 1", "half dose: 0.5"),
        (("a,0,28,-0.1",), 2, "dose", "is not within 0 and 1", "0 to 1"),
        (("a,0,28,",), 2, "dose", "the value is missing", "fill it in"),
        (("a,0,28,full",), 2, "dose", "'full' is not a number", "plain number"),
        (("b,0,,1", "a,-7,28,1"), 3, "start_days", "'-7' is before the start of the plan", "day 0"),
        (("a,28,28,1",), 2, "stop_days", "'28' is not after the start '28'", "leave it empty"),
        (("a,2026-01-01,,1",), 2, "start_days", "is not a number", "plain number"),
        (("a,0,28,1", "b,0,,1", "a,21,,0"), 4, "start_days", "that of row 2 stops at 28", "touch but not overlap"),
        (("a,0,,1", "a,21,30,0"), 3, "start_days", "never (empty stop_days)", "touch but not overlap"),
        ((",0,28,1",), 2, "plan", "no name", "name the plan"),
    ],
)
def test_a_fault_has_its_row_its_column_and_its_remedy(
    tmp_path: Path, rows: tuple[str, ...], row: int, column: str, what: str, remedy: str
) -> None:
    with pytest.raises(DataError) as caught:
        ask(("on",), 400.0, table(tmp_path, *rows))
    assert caught.value.where == f"plans.csv: row {row}, column {column}"
    assert what in caught.value.what
    assert remedy in caught.value.remedy


def test_two_drugs_and_a_missing_column_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'B' beside 'A' of row 2"):
        read_plans(table(tmp_path, "a,0,,1,A", "a,0,,1,B", head=f"{HEAD},drug"))
    with pytest.raises(DataError, match="the column is missing"):
        read_plans(table(tmp_path, "a,0,1", head="plan,start_days,dose"))


def test_two_plans_of_one_name_are_refused_and_none_too(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match='two plans are called "on"') as caught:
        ask(("on",), 400.0, table(tmp_path, "on,0,,1"))
    assert caught.value.where == "--plan and --plans"
    found = CliRunner().invoke(main, ["forecast", "fit.nc", "--horizon", "9", "-o", str(tmp_path / "o.nc")])
    assert found.exit_code == 2
    assert "no plan was given" in found.stderr


@st.composite
def schedules(draw: st.DrawFn) -> Schedule:
    """Segments with a dose, apart or touching with other doses, the last one at times without end."""
    edge = sorted(
        draw(st.lists(st.floats(0.0, 300.0).map(lambda day: round(day, 3)), min_size=2, max_size=8, unique=True))
    )
    start, stop = np.array(edge[: len(edge) // 2 * 2 : 2]), np.array(edge[1::2])
    if draw(st.booleans()):
        stop[:-1] = start[1:]
    if draw(st.booleans()):
        stop[-1] = math.inf
    return Schedule(
        start, stop, np.array([draw(st.sampled_from([0.25, 0.5])) if at % 2 else 1.0 for at in range(len(start))])
    )


@settings(deadline=None)
@given(schedules())
def test_a_plan_of_a_schedule_gives_that_schedule(given_schedule: Schedule) -> None:
    plan = plan_of("x", given_schedule)
    unrolled = plan_schedule(plan, 0.0, 1000.0)
    for part, expected in zip(unrolled, given_schedule, strict=True):
        np.testing.assert_allclose(part, np.minimum(expected, 1000.0), atol=1e-9)
    again = parse_plan(plan.text)
    assert again.pieces == plan.pieces


def test_plans_of_a_table_are_run_as_their_words_are(tmp_path: Path) -> None:
    burden = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    fit = fakes.posterior(burden, {"P02": fakes.truth("P02")})
    path = table(tmp_path, "h,60,,1,adt", head=f"{HEAD},drug")
    made = forecast(fit, ask(("on", "holiday=off 60, on"), 120.0, path, draws=12, replicates=1))
    ends = made["futures"]["burden"]
    np.testing.assert_array_equal(ends.sel(plan="holiday").values, ends.sel(plan="h").values)
    said = store.attribute(made, "notes")
    assert any("adt, which the plans name, is taken to be the one that was fitted" in note for note in said)
    assert store.attribute(made, "settings")["plans"]["h"] == "off 60, on"
    with pytest.raises(UsageError, match="'adt' was not fitted, but 'abiraterone'") as caught:
        asking.drug_of_plans(ask((), 120.0, path), "abiraterone")
    assert caught.value.where == "plans.csv: row 2, column drug"
