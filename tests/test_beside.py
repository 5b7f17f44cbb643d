"""Back-tests beside one another: variants of the model as baselines, compared value by value from their files alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import fakes
from persist.cli.main import main
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT
from persist.errors import UsageError
from persist.inference.likelihood import Visits, log_likelihood
from persist.inference.priors import known, load_pack
from persist.types import NO_COMPOSITION, Schedule, Series
from persist.validation import backtest_table
from persist.validation.backtest import Judged, Place
from persist.validation.beside import Other, beside, matched
from persist.validation.cuts import Cut
from persist.validation.scoring import about, score

NOTHING = np.zeros(0)
SHA = "ab" * 32
TABLES = (str(fakes.DATA / "burden.csv"), "--treatments", str(fakes.DATA / "treatments.csv"), "--observable", "psa")


def places() -> list[Place]:
    """Two landmarks of each of two patients, with five values after each."""
    found = []
    for fold, name in enumerate("AB"):
        for day in (100.0, 300.0):
            series = Series(name, "psa", "", NOTHING, NOTHING, NOTHING, {}, NO_COMPOSITION)
            days, value = day + 70.0 * np.arange(1, 6), np.linspace(-1.0, 1.0, 5) + fold
            cut = Cut(
                series, day, Schedule(NOTHING, NOTHING, NOTHING), days, value, np.full(5, -2.0), np.zeros(5, bool)
            )
            found.append(Place(name, fold, cut))
    return found


def content(off: float, seed: int = 0, **more: Any) -> dict[str, Any]:
    """A finished back-test of a model whose forecasts are ``off``, with one rule."""
    where, rng = places(), np.random.default_rng(3)
    tested = [
        Judged(place, score(about(place.cut.value + off, np.full(5, 0.5)), place.cut, rng), 0.2, 1.0, 0)
        for place in where
    ]
    rule = [score(about(place.cut.value + 1.0, np.ones(5)), place.cut, rng) for place in where]
    made = backtest_table.as_json([one._replace(fails=np.nan) for one in tested], {"rule": rule}, seed)
    head = {"command": "backtest", "seed": seed, "patients": 2, "landmarks": 4, "missing": 0, "unfit": {}, "notes": []}
    head |= {"settings": {"pooled": off == 0.0}, "population": None, "provenance": {"data_sha256": SHA, "versions": {}}}
    return json.loads(json.dumps(head | made)) | more


def test_a_back_test_beside_itself_is_a_tie_and_says_the_same() -> None:
    """Averages from the rows alone are those of the forecasts: coverage too, which the rows hold by their PIT."""
    ours = content(0.3)
    found = beside(ours, {"again": Other("again.json", content(0.3))})
    own = {key: value for key, value in found["model"].items() if key != "event"}
    theirs = {key: value for key, value in found["baselines"]["again"].items() if key != "event"}
    assert theirs == own
    assert found["difference"]["again"]["mean"] == 0.0
    assert found["baselines"]["rule"] == ours["baselines"]["rule"]
    assert found["difference"]["rule"] == ours["difference"]["rule"]
    assert "again" not in ours["baselines"]


def test_values_are_paired_by_patient_landmark_and_day() -> None:
    ours, theirs = content(0.0), content(0.8)
    event = {"brier": 0.1, "auc": 0.7}
    theirs["model"]["event"] = event
    found = beside(ours, {"alone": Other("alone.json", theirs)})
    gap = np.array([one["crps"] - other["crps"] for one, other in zip(ours["rows"], theirs["rows"], strict=True)])
    np.testing.assert_allclose(found["difference"]["alone"]["mean"], gap.mean())
    assert found["difference"]["alone"]["q95"] < 0.0
    saved = 1.0 - found["model"]["crps"]["0-182"] / found["baselines"]["alone"]["crps"]["0-182"]
    np.testing.assert_allclose(found["difference"]["alone"]["0-182"]["saved"], saved)
    assert found["baselines"]["alone"]["event"] == event
    assert found["beside"]["alone"] == {
        "file": "alone.json",
        "seed": 0,
        "settings": {"pooled": False},
        "population": None,
    }
    turned = theirs | {"rows": theirs["rows"][::-1]}
    assert beside(ours, {"alone": Other("alone.json", turned)}) == found
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_landmarks_that_ours_could_not_fit_are_left_out() -> None:
    whole = content(0.4)
    rows = [row for row in whole["rows"] if (row["patient_id"], row["landmark"]) != ("B", 300.0)]
    ours = content(0.0) | {"rows": rows}
    with pytest.raises(UsageError, match="it has patient B on day 370 from landmark 300, and ours has not"):
        matched(Other("o.json", whole), ours["rows"])
    assert matched(Other("o.json", whole), ours["rows"], {"B at 300": "no start"}) == rows
    theirs = whole | {"rows": rows, "unfit": {"B at 300": "no start"}}
    with pytest.raises(
        UsageError, match="no forecast of patient B on day 370 from landmark 300, which it could not fit"
    ):
        matched(Other("o.json", theirs), whole["rows"])


def spoilt(**change: Any) -> dict[str, Any]:
    """A back-test with a first row that is changed; None: without that key."""
    made = content(0.5)
    made["rows"][0] = {name: value for name, value in (made["rows"][0] | change).items() if value is not None}
    return made


FILES: dict[str, Any] = {
    "ours.json": content(0.0),
    "other.json": content(0.5),
    "data.json": content(0.5, provenance={"data_sha256": "cd" * 32}),
    "day.json": spoilt(time_days=171.0),
    "value.json": spoilt(observed=9.0),
    "floor.json": spoilt(floor=0.2),
    "lacks.json": spoilt(log_score=None),
    "share.json": {key: value for key, value in content(0.5).items() if key != "rows"} | {"share": []},
    "fit.json": {"command": "fit"},
    "list.json": [],
}
FAULTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no name": (("other.json",), ("--beside", "'other.json' names no file", "NAME=FILE")),
    "an empty name": (("=other.json",), ("--beside", "names no file")),
    "a name twice": (("a=other.json", "--beside", "a=day.json"), ("--beside", '"a" is named twice')),
    "the name of a rule": (("rule=other.json",), ("rule=other.json", "a row of the table already", "another name")),
    "the model's own name": (("model=other.json",), ("model=other.json", "a row of the table already")),
    "other data": (
        ("a=data.json",),
        ("data.json", "other data (SHA-256 cdcdcdcdcdcd, not abababababab)", "same tables"),
    ),
    "another day": (
        ("a=day.json",),
        ("day.json", "no forecast of patient A on day 170 from landmark 100", "--landmark"),
    ),
    "another value": (("a=value.json",), ("value.json", "observed is 9", "of patient A on day 170")),
    "another floor": (("a=floor.json",), ("floor.json", "floor is 0.2", "--floor")),
    "a row without a score": (("a=lacks.json",), ("lacks.json", "lacks a score of patient A", "run it again")),
    "a share": (("a=share.json",), ("share.json", "a share of a back-test", "persist merge first")),
    "another command": (("a=fit.json",), ("fit.json", "no back-test", "persist backtest")),
    "a list": (("a=list.json",), ("list.json", "no JSON object", "persist backtest")),
    "nothing there": (("a=absent.json",), ("absent.json", "cannot be read", "check the path")),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERSIST_DEBUG", raising=False)
    for name, one in FILES.items():
        (tmp_path / name).write_text(json.dumps(one))
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


def refused(said: tuple[str, ...], *words: str) -> None:
    done = run(*words)
    assert done.exit_code == 2, done.output
    assert done.stderr.count("\n") == 1
    for part in said:
        assert part in done.stderr


@pytest.mark.parametrize("name", FAULTS)
def test_what_cannot_stand_beside_is_refused(folder: Path, name: str) -> None:
    words, said = FAULTS[name]
    refused(said, "merge", "out.json", "ours.json", "--beside", *words)
    assert not (folder / "out.json").exists()


def test_finished_back_tests_are_put_side_by_side(folder: Path) -> None:
    done = run("merge", "out.json", "ours.json", "--beside", "no pooling=other.json")
    assert done.exit_code == 0, done.output
    found = json.loads((folder / "out.json").read_text())
    assert list(found["baselines"]) == ["rule", "no pooling"]
    assert {key: found[key] for key in ("model", "rows", "seed")} == {
        key: FILES["ours.json"][key] for key in ("model", "rows", "seed")
    }
    gap = found["difference"]["no pooling"]
    line = next(line for line in done.stdout.splitlines() if line.startswith("no pooling"))
    assert f"{gap['mean']:+.3f} ({gap['q05']:+.3f} to {gap['q95']:+.3f})" in line
    more = run("merge", "more.json", "out.json", "--beside", "third=other.json")
    assert more.exit_code == 0, more.output
    assert list(json.loads((folder / "more.json").read_text())["beside"]) == ["no pooling", "third"]
    refused(("a row of the table already",), "merge", "no.json", "out.json", "--beside", "no pooling=other.json")
    refused(("out.json", "one of the inputs"), "merge", "out.json", "ours.json", "--beside", "a=out.json", "--force")


def test_only_back_tests_have_others_beside_them(folder: Path) -> None:
    refused(("only a back-test has a table",), "merge", "out.nc", "a.nc", "b.nc", "--beside", "a=other.json")
    refused(("only a back-test has a table",), "merge", "out.json", "fit.json", "--beside", "a=other.json")
    refused(("ours.json", "no share of a back-test"), "merge", "out.json", "ours.json")


def test_a_range_can_say_that_nothing_wanders() -> None:
    """Values are then independent about the curve, with the robust errors of the model; a usual wander is seen."""
    pack = load_pack(known("clinical", ("wander_sd=1e-6..1e-5",)), "psa")
    assert (pack.entries["wander_sd"].low, pack.entries["wander_sd"].high) == (1e-6, 1e-5)
    value, count = np.array([0.1, -0.3, 0.05, 0.6]), 4
    seen = Visits(np.full(count, 20.0), value, np.zeros(count, int), np.zeros(count), np.ones(count, bool))
    parts = NOISE_WEIGHT * stats.norm.pdf(value[:, None], 0.0, 0.2 * NOISE_SCALE)
    still, usual = (np.asarray(log_likelihood(seen, np.zeros(count), 0.2, sd, 60.0)[0]) for sd in (1e-5, 0.3))
    np.testing.assert_allclose(still, np.log(parts.sum(axis=1)), rtol=1e-6)
    assert np.abs(usual - still).max() > 0.1


def test_a_long_run_does_not_begin_before_what_is_beside_it_is_known(folder: Path) -> None:
    words = ("backtest", *TABLES, "--patient", "P04", "-o", "out.json", "--beside")
    refused(("--beside", "a share has no table", "persist merge"), *words, "a=other.json", "--chunk", "1/2")
    refused(("repeat=other.json", "a row of the table already"), *words, "repeat=other.json")
    refused(("other.json", "other data"), *words, "a=other.json")
    from persist.records.table import read

    sha = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa").sha256
    (folder / "mine.json").write_text(json.dumps(content(0.5, provenance={"data_sha256": sha})))
    refused(("mine.json", "no forecast of patient P04"), *words, "a=mine.json")
    assert not (folder / "out.json").exists()
