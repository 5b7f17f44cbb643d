"""The command `persist forecast` with all that may be asked of plans, on the screen and as JSON."""

from __future__ import annotations

import json

import pytest
from click.testing import CliRunner

import fakes
from persist.cli.main import main
from persist.inference import store
from persist.records.table import read

WORDS = (
    *("forecast", "fit.nc", "--plan", "on", "--plan", "stop=until progression: on, then off", "--plans", "plans.csv"),
    *("--horizon", "300", "--from", "1100", "--visit-every", "14", "--endpoint", "psa", "--endpoint", "relative"),
    *("--missed-visits", "0.1", "--burden-limit", "1.4", "--draws", "20", "--force", "-o", "f.nc"),
)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    store.save(fakes.posterior(table, {"P02": fakes.truth("P02")}), "fit.nc")
    (tmp_path / "plans.csv").write_text("plan,start_days,stop_days,dose\nholiday,60,,1\n", encoding="utf-8")
    return tmp_path


def test_everything_that_may_be_asked_of_plans(folder):
    shown = CliRunner().invoke(main, WORDS)
    assert shown.exit_code == 0, shown.stderr
    assert [line.split()[0] for line in shown.stdout.splitlines()[3:6]] == ["on", "stop", "holiday"]
    for said in ("flare: true burden up by 20 %", 'by relative: "holiday"', '"stop" reaches 1.4 times the burden'):
        assert said in shown.stdout
    assert "note: plans.csv: 1 plan read: holiday" in shown.stderr
    told = json.loads(CliRunner().invoke(main, [*WORDS, "--json"]).stdout)
    asked, one = told["settings"], told["patients"]["P02"]
    assert (asked["missed_visits"], asked["burden_limit"]) == (0.1, 1.4)
    assert asked["plans"] == {"on": "on", "stop": "until progression: on, then off", "holiday": "off 60, on"}
    assert list(one["benefit"]) == list(one["endpoints"]["relative"]["benefit"]) == ["stop", "holiday"]
    assert set(one["plans"]["stop"]) >= {"progressed_by_horizon", "time_to_progression", "days_on_drug", "extinct"}
    assert one["plans"]["on"]["flare"] is None
    assert 0.0 < one["plans"]["stop"]["flare"]["stops"] <= 1.0
    assert one["after"]["holiday"]["reason"] == "no other plan gives the same treatment up to progression"
    assert "nothing can be compared" not in shown.stdout  # of a plan that waits for nothing
    assert one["after"]["stop"]["reference"] == "on"
    assert one["after"]["stop"]["burden_time"]["mean"] > 0.0
