"""The script that counts false verdicts: its patients, its counts, and that it goes on where it stopped."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "scripts"))

import verdicts

from persist.validation.visible import hidden, visible


def row(number: int, informed: bool) -> dict:
    called = ["reversion"] if informed else []
    told = {"hidden": ["reversion"], "contracted": ["reversion"], "informed": called}
    return {"number": number, "ok": number > 0, "max_rhat": 1.0} | told


def test_a_patient_is_the_same_under_every_design_until_they_part() -> None:
    one, other = (verdicts.patient(3, kind, "spr") for kind in verdicts.DESIGNS)
    early = one.day <= 252.0
    np.testing.assert_allclose(one.burden[early], other.burden[early], rtol=1e-6)
    assert not np.allclose(one.burden[~early], other.burden[~early])
    assert (one.burden[one.censoring < 0] == verdicts.FLOOR).all()
    assert hidden("reversion", visible(one))
    assert not hidden("reversion", visible(other))


def test_counts_have_their_limit() -> None:
    told = verdicts.count([row(number, number < 2) for number in range(100)])["reversion"]
    assert told["hidden"]
    assert told["contracted"]["count"] == 100
    assert told["informed"]["count"] == 2
    assert told["informed"]["at_most"] == pytest.approx(0.0700, abs=5e-4)  # Wilson's limit for 2 of 100


def test_done_replicates_are_not_done_again(tmp_path, monkeypatch) -> None:
    done = []
    monkeypatch.setattr(verdicts, "replicate", lambda number, _: done.append(number) or row(number, False))
    out = tmp_path / "v.json"
    words = ["--draws", "10", "-o", str(out)]
    verdicts.main(["--replicates", "4", "--chunk", "1/2", *words])
    assert done == [0, 2]
    verdicts.main(["--replicates", "4", *words])
    assert done == [0, 2, 1, 3]
    assert [one["number"] for one in json.loads(out.read_text())["rows"]] == [0, 1, 2, 3]
    verdicts.main(["--replicates", "2", "--first", "3", *words])
    assert done[4:] == [4]


def test_replicates_of_another_design_or_effort_are_not_taken(tmp_path, monkeypatch) -> None:
    done = []
    monkeypatch.setattr(verdicts, "replicate", lambda number, _: done.append(number) or row(number, False))
    out = tmp_path / "v.json"
    verdicts.main(["--replicates", "2", "-o", str(out)])
    for other in (["--design", "intermittent"], ["--model", "spr-tis"], ["--draws", "10"]):
        with pytest.raises(SystemExit, match="another"):
            verdicts.main(["--replicates", "2", *other, "-o", str(out)])
    out.unlink()  # what lies beside it is of another design too
    verdicts.main(["--replicates", "2", "--design", "intermittent", "-o", str(out)])
    assert done == [0, 1, 0, 1]
