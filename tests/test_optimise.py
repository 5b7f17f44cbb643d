"""The best plan of patients whose truth is known, from the search to the command."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

import fakes
from persist.cli.main import main
from persist.errors import UsageError
from persist.forecast import search as searching
from persist.forecast.candidates import coarse, finer
from persist.forecast.choose import halves
from persist.forecast.limits import Limits
from persist.forecast.optimise import optimise, subject, told, wanted
from persist.forecast.outcome import ask, forecast
from persist.forecast.search import Terms, gain, play, search
from persist.inference import store
from persist.inference.posterior import series
from persist.records.table import read

DAYS = 730.0
FEW: dict[str, Any] = {"draws": 16, "replicates": 1}


@pytest.fixture(scope="module")
def planted() -> Any:
    """P01, whose cells persist and come back; P02, who has a resistant clone."""
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01", "P02"))
    return fakes.posterior(table, {name: fakes.truth(name) for name in ("P01", "P02")})


@pytest.fixture(scope="module")
def best(planted: Any) -> dict[str, Any]:
    return optimise(planted, wanted(DAYS, families=("holidays", "adaptive"), **FEW))["patients"]


def subjects(planted: Any, name: str, **options: Any) -> Any:
    one = next(one for one in series(planted) if one.patient_id == name)
    return subject(planted, one, wanted(DAYS, **{**FEW, **options}).question)


def test_who_persists_has_a_holiday_and_who_resists_keeps_to_the_drug(best: dict[str, Any]) -> None:
    assert not best["P01"]["keep_reference"]
    assert best["P01"]["family"] == "holidays"
    assert best["P01"]["gain_days"]["mean"] > 100.0
    assert best["P01"]["probability"] > 0.9
    assert best["P02"]["keep_reference"]
    assert best["P02"]["reason"].startswith('keep to "on"')


def test_the_best_holiday_is_neither_the_shortest_nor_the_longest(best: dict[str, Any]) -> None:
    """Too short, and few have come back; too long, and the tumour has grown up to the limit by itself."""
    days = {one["days_on_drug"]: one for one in best["P01"]["candidates"] if one["family"] == "holidays"}
    assert min(days) < best["P01"]["days_on_drug"] < max(days)


def test_the_gain_of_a_candidate_is_that_of_the_forecast(planted: Any) -> None:
    """By the same rule, draws and chance, a plan gains what `forecast` says, whatever is looked for beside it."""
    asked = wanted(DAYS, families=("holidays",), endpoint="psa:any-time", **FEW)
    rows = optimise(planted, asked, ("P02",))["patients"]["P02"]["candidates"]
    plan = rows[0]["plan"]
    beside = forecast(planted, ask(("on", plan), DAYS, endpoint="psa:any-time", **FEW))
    one = store.attribute(beside, "summary")["P02"]["benefit"][plan]["gain_days"]
    assert rows[0]["gain_days"]["mean"] == pytest.approx(one["mean"])
    assert rows[0]["gain_days"]["mcse"] == pytest.approx(one["mcse"])


def test_the_finer_plans_of_a_half_are_about_its_own_best(planted: Any) -> None:
    """And what a half chose is valued by the other: the numbers told follow from the futures."""
    who, terms = subjects(planted, "P01"), Terms(("holidays",), wanted(DAYS).terms.reference, replicates=1)
    found = search(who, terms)
    choice = found.among()
    assert choice is not None
    for side, half in enumerate(halves(16)):
        mine = [one for one in found.played if one.halves[side] and not one.refused]
        means = [one.gains[half].mean() for one in mine]
        assert mine[int(np.argmax(means))] is found.played[choice.halves[side]]
    assert len(found.played) > 5  # the grid's, and finer ones
    row = told(found, who, terms, 1e9)
    other = [found.played[choice.halves[1 - side]].gains[half] for side, half in enumerate(halves(16))]
    assert row["gain_days"]["mean"] == pytest.approx(np.concatenate(other).mean())
    assert row["gain_days"]["naive"] >= max(one.gains.mean() for one in found.played) - 1e-9
    assert row["regret_days"] >= 0.0


def test_finer_plans_are_open_to_the_half_whose_best_they_are_about(planted: Any, monkeypatch: Any) -> None:
    who, terms = subjects(planted, "P01"), Terms(("holidays",), wanted(DAYS).terms.reference, replicates=1)
    short, long = coarse(("holidays",), DAYS)[:2]
    monkeypatch.setattr(searching, "_best", lambda _: [short, long])
    sides = {one.candidate.plan.text: one.halves for one in search(who, terms).played}
    near = [{one.plan.text for one in finer(about, DAYS)} - {one.plan.text for one in coarse(("holidays",), DAYS)}
            for about in (short, long)]  # fmt: skip
    assert near[0] - near[1]
    for text in near[0] | near[1]:
        assert sides[text] == (text in near[0], text in near[1])
    assert sides[short.plan.text] == (True, True)


def test_a_day_on_drug_costs_its_weight(planted: Any) -> None:
    who, terms = subjects(planted, "P02"), Terms(("holidays",), wanted(DAYS).terms.reference, replicates=1)
    (free, dear) = (play(who, terms._replace(weight=w), coarse(terms.families, DAYS)[:2])[1] for w in (0.0, 0.25))
    for one, other in zip(free, dear, strict=True):
        np.testing.assert_allclose(other.gains, one.gains + 0.25 * (DAYS - one.days_on))
    found = optimise(planted, wanted(DAYS, families=("holidays",), weight_drug=0.25, **FEW), ("P02",))
    assert not found["patients"]["P02"]["keep_reference"]  # the holiday is paid for
    assert 0.0 < found["patients"]["P02"]["days_on_drug"] < DAYS


def test_days_on_drug_are_counted_path_by_path_under_a_rule(planted: Any) -> None:
    who, terms = subjects(planted, "P01"), Terms(("adaptive",), wanted(DAYS).terms.reference, weight=1.0, replicates=1)
    grid = [one for one in coarse(("adaptive",), DAYS) if one.plan.text == "adaptive 1/2"]
    reference, played = play(who, terms, grid)
    free = play(who, terms._replace(weight=0.0), grid)[1]
    spent = DAYS - (played[0].gains - free[0].gains)
    assert np.ptp(spent) > 0.0
    assert spent.mean() == pytest.approx(played[0].days_on)
    np.testing.assert_array_equal(gain(reference, reference, DAYS, 1.0), 0.0)


def test_limits_refuse_plans_and_the_reference_may_break_them_itself(planted: Any) -> None:
    limits = Limits(on=0.7)
    found = optimise(planted, wanted(DAYS, families=("holidays", "doses"), limits=limits, **FEW), ("P02",))
    one = found["patients"]["P02"]
    allowed = [row for row in one["candidates"] if row["refused"] is None]
    assert allowed
    assert all(row["days_on_drug"] <= 0.7 * DAYS for row in allowed)
    assert all(row["refused"] for row in one["candidates"] if row["days_on_drug"] > 0.7 * DAYS)
    assert one["days_on_drug"] <= 0.7 * DAYS
    assert one["families"]["doses"]["plan"] is None
    assert one["reference"]["breaks"] == "on drug for 100% of the horizon"
    assert not one["keep_reference"]
    assert one["gain_days"]["mean"] < 0.0
    assert '"on" breaks a limit' in one["reason"]
    none = optimise(planted, wanted(DAYS, families=("doses",), limits=Limits(days_on=9.0), **FEW), ("P02",))
    assert none["patients"]["P02"]["best"] is None
    assert none["patients"]["P02"]["keep_reference"]
    assert "each is refused" in none["patients"]["P02"]["reason"]


def test_a_rule_that_judges_on_drug_only_is_told_to_be_one(planted: Any) -> None:
    """The longest holiday wins by it, and does not with time off drug judged too."""
    one = optimise(planted, wanted(DAYS, families=("holidays",), endpoint="psa", **FEW), ("P01",))["patients"]["P01"]
    judged = [row for row in one["candidates"] if row["refused"] is None]
    assert one["days_on_drug"] == min(row["days_on_drug"] for row in judged)
    assert one["judged_off_drug_too"]["mean"] <= 0.0
    assert "it rests on not judging the time off drug" in one["reason"]


def test_a_reference_that_is_not_judged_cannot_be_compared_with(planted: Any) -> None:
    asked = wanted(DAYS, families=("doses",), reference="off", endpoint="psa", **FEW)
    one = optimise(planted, asked, ("P02",))["patients"]["P02"]
    assert one["best"] is None
    assert "not judged" in one["reason"]
    assert {row["refused"] for row in one["candidates"]} == {"the reference is not judged"}


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({"families": ("pulses",)}, 'no family "pulses"'),
        ({"limits": Limits(on=1.5)}, "--max-on: 1.5 is no such limit; give a number from 0 to 1"),
        ({"limits": Limits(days_on=-1.0)}, "--max-days-on: -1 is no such limit"),
        ({"weight_drug": -0.5}, "--weight-drug: a weight of -0.5"),
        ({"draws": 3}, "3 draws cannot be halved"),
        ({"limits": Limits(flare=-0.1)}, "--max-flare: -0.1 is no such limit"),
        ({"burden_limit": 2.0}, "a search has no option burden_limit"),
        ({"beside": ("psa",)}, "a search has no option beside"),
        ({"missed_visits": 1.0}, "--missed-visits"),
    ],
)
def test_mistakes_in_what_is_asked(options: dict[str, Any], part: str) -> None:
    with pytest.raises(UsageError, match=part):
        wanted(DAYS, **options)


# ---------------------------------------------------------------- the command


@pytest.fixture(scope="module")
def file(planted: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    path = tmp_path_factory.mktemp("optimise") / "fit.nc"
    store.save(planted, path)
    return path


def run(file: Any, tmp_path: Any, *more: str) -> Any:
    tmp_path.mkdir(exist_ok=True)
    words = ["optimise", str(file), "-o", str(tmp_path / "o.json"), "--horizon", "730", "--draws", "16"]
    return CliRunner().invoke(main, [*words, "--replicates", "1", "--family", "holidays", *more])


def test_the_command_writes_and_tells_the_best(file: Any, tmp_path: Any) -> None:
    told = run(file, tmp_path, "--patient", "P01", "--seed", "3", "--json")
    assert told.exit_code == 0, told.stderr
    content = json.loads(told.stdout)
    assert content == json.loads((tmp_path / "o.json").read_text())
    assert (content["command"], content["seed"], list(content["patients"])) == ("optimise", 3, ["P01"])
    one = content["patients"]["P01"]
    names = {"best", "gain_days", "probability", "regret_days", "keep_reference", "reason", "families", "candidates"}
    assert names <= set(one)
    assert set(one["gain_days"]) == {"mean", "mcse", "naive"}
    assert one["families"]["holidays"]["plan"] == one["best"]
    told = run(file, tmp_path, "--patient", "P01", "--seed", "3", "--force")
    assert told.exit_code == 0
    assert one["best"] in told.stdout
    assert 'patient P01: days gained over "on"' in told.stdout
    assert one["reason"] in told.stdout


def test_without_an_output_the_command_only_tells(file: Any, tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    words = ["optimise", str(file), "--horizon", "730", "--draws", "8", "--replicates", "1", "--family", "holidays"]
    told = CliRunner().invoke(main, [*words, "--patient", "P02", "--max-flare", "0.0", "--missed-visits", "0.3"])
    assert told.exit_code == 0, told.stderr
    assert "patient P02" in told.stdout
    assert "Written" not in told.stdout
    assert list(tmp_path.iterdir()) == []


def test_visits_that_are_missed_see_failure_later(planted: Any) -> None:
    """On average: a visit that would not have confirmed it may be missed too."""
    who, reference = subjects(planted, "P01"), wanted(DAYS).terms.reference
    every, few = (play(who, Terms((), reference, replicates=1, missed=share), [])[0] for share in (0.0, 0.6))
    assert few.time_to_progression.mean() > every.time_to_progression.mean() + 10.0


def test_the_command_begins_on_the_day_that_is_asked_for(file: Any, tmp_path: Any) -> None:
    """A year before the last visit another plan gains something else."""
    by_day = []
    for number, more in enumerate(((), ("--from", "400"))):
        told = run(file, tmp_path / str(number), "--patient", "P01", "--json", *more)
        assert told.exit_code == 0, told.stderr
        by_day.append(json.loads(told.stdout))
    assert [one["settings"]["from"] for one in by_day] == [None, 400.0]
    first, other = (one["patients"]["P01"]["candidates"] for one in by_day)
    assert [one["gain_days"] for one in first] != [one["gain_days"] for one in other]


@pytest.mark.parametrize(
    ("more", "part"),
    [
        (("--patient", "P1"), "there is no patient 'P1'"),
        (("--family", "pulse"), 'no family "pulse"'),
        (("--max-on", "nan"), "nan is no such limit"),
        (("--reference", "onn"), 'unknown word "onn"'),
        (("--endpoint", "limit:high"), "no limit of a burden"),
    ],
)
def test_the_command_refuses_in_one_line(file: Any, tmp_path: Any, more: tuple[str, ...], part: str) -> None:
    told = run(file, tmp_path, *more)
    assert told.exit_code == 2
    assert part in told.stderr
    assert told.stderr.count("\n") == 1
    assert not (tmp_path / "o.json").exists()
