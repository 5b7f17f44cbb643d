"""Calibration: ranks of a posterior that is known, virtual patients, and a run that is broken, cut and put together."""

from __future__ import annotations

import json
from functools import partial
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from click.testing import CliRunner

import fakes
import laws
from persist.cli.main import main
from persist.errors import FitError, PrecisionError, UsageError
from persist.forecast.endpoints import rule_for
from persist.forecast.landmark import Look, Patient
from persist.forecast.under import whole
from persist.inference import posterior
from persist.inference.cohort import Reference, case, pad
from persist.inference.fit import Settings
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import load_pack, score
from persist.validation import calibrate, join
from persist.validation import replicate as one_replicate
from persist.validation.bands import rank
from persist.validation.calibrate import Chunk
from persist.validation.designs import DESIGNS
from persist.validation.replicate import DERIVED, where_truth_stands
from persist.validation.study import PLANTS as ALL_PLANTS
from persist.validation.study import Study, study
from persist.validation.virtual import NOISIER, PLANTS, generator, made, names_of, prior_draw, virtual

TINY = Settings(chains=2, warmup=50, draws=50)
NAMES = ("growth", "decline", *DERIVED)


# ---------------------------------------------------------------- ranks


def conjugate(count: int, ranks: int, shift: float = 0.0, width: float = 1.0) -> np.ndarray:
    """Ranks of truths of a normal model with one value: theta ~ N(0, 1), y ~ N(theta, 1), theta | y ~ N(y / 2, 1 / 2)."""
    rng = np.random.default_rng(6)
    truth = rng.normal(size=count)
    value = truth + rng.normal(size=count)
    draws = 0.5 * value[:, None] + shift + width * np.sqrt(0.5) * rng.normal(size=(count, ranks - 1))
    return np.array([rank(one, row, rng) for one, row in zip(truth, draws, strict=True)])


@pytest.mark.law
def test_ranks_of_a_right_posterior_are_uniform() -> None:
    even = np.full(20, 0.05)
    laws.check_distribution(conjugate(6000, 20), even)
    laws.must_fail(lambda: laws.check_distribution(conjugate(6000, 20, shift=0.1), even))
    laws.must_fail(lambda: laws.check_distribution(conjugate(6000, 20, width=0.85), even))


@pytest.mark.law
def test_ties_are_broken_at_random() -> None:
    """Times that often stand at the horizon: truth and draws alike."""
    rng = np.random.default_rng(7)
    times = np.minimum(np.round(rng.exponential(8.0, (6000, 20))), 10.0)
    even = np.full(20, 0.05)
    laws.check_distribution([rank(row[0], row[1:], rng) for row in times], even)
    laws.must_fail(lambda: laws.check_distribution([int((row[1:] < row[0]).sum()) for row in times], even))


def test_coverage_is_that_of_the_middle_ranks() -> None:
    ranks = np.arange(100)
    assert calibrate.covered(ranks, 99, 50) == 0.5
    assert calibrate.covered(ranks, 99, 90) == 0.9
    assert calibrate.covered(np.array([0, 4, 5, 94, 95]), 99, 90) == 0.4
    assert calibrate.covered(np.arange(20), 19, 90) == 0.9


# ---------------------------------------------------------------- virtual patients


@pytest.mark.law
@pytest.mark.parametrize("pack", DESIGNS)
def test_truths_are_of_the_prior(pack: str) -> None:
    design = DESIGNS[pack]
    priors = load_pack(pack, "psa" if pack == "clinical" else "one")
    draws = [prior_draw(generator(0, number, "prior"), pack, "spr", design) for number in range(800)]
    assert set(draws[0]) == set(sampled(priors, "spr"))
    unit = {"burden_0": design.reference.first, "settled_burden": design.reference.largest}
    for name in draws[0]:
        prior = priors.entries.get(name, priors.cells_per_unit)
        z = score(prior, np.array([draw[name] for draw in draws]) / unit.get(name, 1.0))
        laws.check_mean(z, 0.0, what=name)
        laws.check_variance(z, 1.0, what=name)
        laws.must_fail(lambda z=z: laws.check_mean(z + 0.3, 0.0))


@pytest.mark.parametrize(
    ("pack", "model"),
    [(pack, model) for pack in DESIGNS for model in VARIANTS if (pack, model) != ("in-vitro", "spr-shed")],
)
def test_a_virtual_patient_is_whole(pack: str, model: str) -> None:
    design = DESIGNS[pack]
    one = virtual(0, 3, pack, model, design)
    assert set(one.values) == set(sampled(load_pack(pack, "psa" if pack == "clinical" else "one"), model))
    assert 24 <= len(one.series.day) <= 30
    assert np.all(one.series.burden >= design.floor)
    assert np.all((one.series.censoring == -1) == (one.series.burden == design.floor))
    assert all(float(state[0]) == round(float(state[0])) for state in one.cells)


def test_a_replicate_is_the_same_whatever_else_is_run() -> None:
    design = DESIGNS["clinical"]
    alone = virtual(5, 10, "clinical", "spr", design)
    for number in (0, 11):
        other = virtual(5, number, "clinical", "spr", design)
        assert other.values["net_growth_s"] != alone.values["net_growth_s"]
    again = virtual(5, 10, "clinical", "spr", design)
    assert again.values == alone.values
    np.testing.assert_array_equal(again.series.burden, alone.series.burden)


def test_what_is_planted() -> None:
    """The cells and the wander stay; censoring goes, or the errors are twice as large."""
    design, number = DESIGNS["clinical"], 5
    none, uncensored, noisier = (virtual(0, number, "clinical", "spr", design, plant) for plant in PLANTS)
    assert (none.series.censoring < 0).any()
    assert not uncensored.series.censoring.any()
    np.testing.assert_array_equal(uncensored.series.burden, none.series.burden)
    assert noisier.values == none.values
    assert noisier.noise_sd == NOISIER * none.noise_sd == NOISIER * none.values["noise_sd"]
    both = (none.series.censoring == 0) & (noisier.series.censoring == 0)
    twice, once = (np.log(part.series.burden[both]) for part in (noisier, none))
    assert np.std(twice - once) > 0.0


@pytest.mark.law
def test_values_wander_and_err_as_the_likelihood_says(monkeypatch: pytest.MonkeyPatch) -> None:
    """With cells held still: variance of a value, and of its difference to the next, wander and errors together."""
    from persist.validation import virtual as room

    still = np.full(len(DESIGNS["clinical"].day), 1e10)
    monkeypatch.setattr(room, "moved", lambda *_: room.Cells(still, 0.0 * still, 0.0 * still))
    known = {"wander_sd": 0.3, "wander_days": 40.0, "noise_sd": 0.1, "cells_per_unit": 1e8, "burden_0": 100.0}
    usual = prior_draw(generator(0, 0, "prior"), "clinical", "spr", DESIGNS["clinical"])
    monkeypatch.setattr(room, "prior_draw", lambda *_: usual | known)
    logs = np.array(
        [np.log(virtual(0, number, "clinical", "spr", DESIGNS["clinical"]).series.burden) for number in range(200)]
    )
    error = 0.1**2 * float(np.sum(room.observe.NOISE_WEIGHT * room.observe.NOISE_SCALE**2))
    first, step = logs[:, 13] - np.log(100.0), logs[:, 13] - logs[:, 12]
    laws.check_mean(first, 0.0)
    laws.check_variance(first, 0.3**2 + error)
    laws.check_variance(step, 2.0 * error + 2.0 * 0.3**2 * (1.0 - room.observe.correlation(28.0, 40.0)))
    laws.must_fail(lambda: laws.check_variance(step, 2.0 * error))
    laws.must_fail(lambda: laws.check_variance(first, error))


def test_the_future_of_the_truth_starts_from_its_own_cells() -> None:
    one = virtual(0, 6, "clinical", "spr", DESIGNS["clinical"])
    few = one._replace(cells=one.cells._replace(resistant=np.array([7.0])))
    at = where_truth_stands(few, "clinical")
    assert at.nadir is None  # the design ends off drug
    assert at.day == DESIGNS["clinical"].last
    np.testing.assert_array_equal(at.wander_mean[0], one.wander)
    assert not at.wander_root.any()
    assert 0.0 < float(at.exposure[0]) < 1.0
    for number in range(5):
        who = Patient(0, f"x{number}", at, Look(at.day, 100.0, 28.0), rule_for("psa"), 1, False)
        begun = whole(who.seed, who.name, np.arange(1), at)
        assert [float(state[0]) for state in begun] == [float(state[0]) for state in few.cells]


# ---------------------------------------------------------------- the reference of the priors


def test_priors_count_in_the_reference_where_it_is_given() -> None:
    cohort = pad([fakes.FIVE_VALUES], pack="clinical")
    own = case(cohort, 0, counted=False)
    given = case(cohort, 0, counted=False, reference=Reference(3.0, 50.0))
    assert (float(np.exp(own.log_first)), float(np.exp(own.log_largest))) == pytest.approx((20.0, 20.0))
    assert (float(np.exp(given.log_first)), float(np.exp(given.log_largest))) == pytest.approx((3.0, 50.0))
    for name in case(cohort, 0, counted=False)._fields:
        if name not in ("log_first", "log_largest"):
            jax.tree.map(np.testing.assert_array_equal, getattr(own, name), getattr(given, name))
    with pytest.raises(UsageError, match="over 0"):
        case(cohort, 0, counted=False, reference=Reference(0.0, 1.0))


def test_the_priors_of_a_file_are_those_of_the_reference() -> None:
    series = fakes.Table((fakes.FIVE_VALUES,), (), "x")
    usual = Settings()._asdict()
    own = posterior._prior(series, usual)
    given = posterior._prior(series, usual | {"reference": Reference(40.0, 60.0)})
    for name, ratio in (("burden_0", 2.0), ("settled_burden", 3.0), ("decline_s", 1.0)):
        np.testing.assert_allclose(given[name].values / own[name].values, ratio, rtol=1e-12)


# ---------------------------------------------------------------- runs


def row(asked: Study, number: int) -> dict[str, Any]:
    """A replicate without simulation and fit: right ranks of some quantities; number 4 cannot be fitted."""
    if number == 4:
        return {"replicate": 4, "wall_seconds": 1.0, "unfit": "no start was found"}
    rng = np.random.default_rng([asked.settings.seed, number])
    health = {
        "max_rhat": 1.0,
        "min_ess_bulk": 500.0,
        "min_ess_tail": 400.0,
        "divergences": 0,
        "ok": True,
        "problems": [],
    }
    return {
        "replicate": number,
        "wall_seconds": 2.5,
        "compile_seconds": 1.0,
        "censored": 0,
        "health": health,
        "residuals": {"autocorrelation": 0.1 * (number % 3 - 1), "p_value": 0.5, "flagged": number == 2},
        "truth": dict.fromkeys(NAMES, 0.1),
        "ranks": {name: int(rng.integers(0, asked.ranks)) for name in NAMES},
        "contraction": dict.fromkeys(NAMES[:2], 0.25),
    }


@pytest.fixture
def fast(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Replicates that take no time; the list is of those that were run."""
    run: list[int] = []

    def quick(asked: Study, number: int) -> dict[str, Any]:
        run.append(number)
        return row(asked, number)

    monkeypatch.setattr(calibrate, "replicate", quick)
    return run


def test_the_json_has_what_was_promised(fast: list[int]) -> None:
    found = calibrate.calibrate(study(TINY), 12)
    assert (found["replicates"], found["asked"], found["rank_max"], found["seed"]) == (11, 12, 99, 0)
    assert found["all_ok"] is True
    assert found["unfit"] == [{"replicate": 4, "reason": "no start was found"}]
    assert found["missing"] == []
    assert found["seconds"] == pytest.approx(11 * 1.5 + 1.0)
    assert found["settings"]["reference"] == {"first": 20.0, "largest": 40.0}
    for name in NAMES:
        one = found["parameters"][name]
        assert len(one["ranks"]) == 11
        assert one["ecdf_ok"] is True
        assert set(one["coverage"]) == {"50", "90"}
        assert (one["contraction"] is None) == (name in DERIVED)
    assert found["band"]["asked_of_each"] == pytest.approx(1.0 - 0.05 / len(NAMES))
    assert found["band"]["inside"] >= found["band"]["asked_of_each"]
    assert found["fits"] == {"marked": 0, "divergent": 0, "few_draws": 0}
    errors = found["residuals"]
    assert (errors["series"], errors["flagged"]) == (11, 1)
    assert errors["mean"] == pytest.approx(0.0, abs=1e-12)
    assert errors["standard_error"] == pytest.approx(np.sqrt(8 * 0.01 / 10 / 11))
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_one_bad_quantity_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    def shifted(asked: Study, number: int) -> dict[str, Any]:
        made = row(asked, number + 200)
        return made | {"replicate": number, "ranks": made["ranks"] | {"growth": made["ranks"]["growth"] // 3}}

    monkeypatch.setattr(calibrate, "replicate", shifted)
    found = calibrate.calibrate(study(TINY), 40)
    assert not found["all_ok"]
    assert [name for name, one in found["parameters"].items() if not one["ecdf_ok"]] == ["growth"]
    assert found["parameters"]["growth"]["farthest"] > 0.3


def test_without_a_single_rank_nothing_is_well(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calibrate, "replicate", lambda _, number: row(study(TINY), 4) | {"replicate": number})
    found = calibrate.calibrate(study(TINY), 2)
    assert (found["replicates"], found["all_ok"], found["parameters"], found["band"]) == (0, False, {}, None)


def test_an_unfit_replicate_is_told_with_its_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise FitError("no start was found", where="patient replicate 3")

    monkeypatch.setattr(one_replicate, "fit", refuse)
    found = one_replicate.replicate(study(TINY), 3)
    assert found["unfit"] == "patient replicate 3: no start was found"
    assert set(found) == {"replicate", "wall_seconds", "unfit"}


def test_a_broken_run_goes_on(fast: list[int], tmp_path: Path) -> None:
    whole = calibrate.calibrate(study(TINY), 8)
    assert fast == list(range(8))
    fast.clear()
    heard = []

    def stop(at: calibrate.Progress) -> None:
        heard.append(at)
        if at.done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        calibrate.calibrate(study(TINY), 8, partial=tmp_path, progress=stop)
    assert fast == list(range(5))
    assert heard[0] == (0, 8, None)
    assert heard[-1].seconds_left >= 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == [f"{number:06d}.json" for number in range(5)]
    fast.clear()
    assert calibrate.calibrate(study(TINY), 8, partial=tmp_path) == whole
    assert fast == [5, 6, 7]


@pytest.mark.parametrize("spoil", ["empty", "cut", "other number", "no object"])
def test_a_damaged_replicate_is_run_again(fast: list[int], tmp_path: Path, spoil: str) -> None:
    whole = calibrate.calibrate(study(TINY), 3, partial=tmp_path)
    fast.clear()
    first = tmp_path / "000000.json"
    text = first.read_text(encoding="utf-8")
    other = (tmp_path / "000001.json").read_text(encoding="utf-8")
    first.write_text(
        {"empty": "", "cut": text[:-9], "other number": other, "no object": "[1]"}[spoil], encoding="utf-8"
    )
    assert calibrate.calibrate(study(TINY), 3, partial=tmp_path) == whole
    assert fast == [0]


CHANGES = {
    "seed": study(TINY._replace(seed=1)),
    "draws": study(TINY._replace(draws=60)),
    "model": study(TINY._replace(model="sp")),
    "ranks": study(TINY, 20),
    "plant": study(TINY, plant="noisier"),
    "cohort": study(TINY, cohort=3),
}


@pytest.mark.parametrize("what", CHANGES)
def test_replicates_of_another_study_are_not_taken(fast: list[int], tmp_path: Path, what: str) -> None:
    calibrate.calibrate(study(TINY), 2, partial=tmp_path)
    fast.clear()
    calibrate.calibrate(CHANGES[what], 2, partial=tmp_path)
    assert fast == [0, 1]


def test_replicates_of_other_source_are_not_taken(
    fast: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate.calibrate(study(TINY), 2, partial=tmp_path)
    monkeypatch.setattr(calibrate, "source", lambda: "another")
    fast.clear()
    calibrate.calibrate(study(TINY), 2, partial=tmp_path)
    assert fast == [0, 1]


def test_shares_together_are_one_run(fast: list[int]) -> None:
    whole = calibrate.calibrate(study(TINY), 11)
    parts = {f"{place}.json": calibrate.calibrate(study(TINY), 11, Chunk(place, 3)) for place in (3, 1, 2)}
    assert parts["2.json"]["chunk"] == "2/3"
    assert [one["replicate"] for one in parts["2.json"]["runs"]] == [1, 4, 7, 10]
    assert join.join(parts) == whole
    rest = join.join({name: part for name, part in parts.items() if name != "2.json"})
    assert rest["missing"] == [1, 4, 7, 10]
    assert join.join({"rest.json": rest, "2.json": parts["2.json"]}) == whole


def test_float64_is_needed(fast: list[int]) -> None:
    with jax.enable_x64(False), pytest.raises(PrecisionError):
        calibrate.calibrate(study(TINY), 1)


# ---------------------------------------------------------------- the commands


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("PERSIST_DEBUG", raising=False)
    monkeypatch.setattr("persist.cli.calibrate.keep_compiled", lambda: None)
    return tmp_path


def run(*words: str) -> Any:
    return CliRunner().invoke(main, list(words))


EFFORT = ("--chains", "2", "--warmup", "50", "--draws", "50")


def test_chunks_by_command_are_merged_and_drawn(fast: list[int], folder: Path) -> None:
    for place in (1, 2):
        words = ("calibrate", "--replicates", "6", "--chunk", f"{place}/2", *EFFORT, "-o", f"{place}.json")
        result = run(*words)
        assert result.exit_code == 0, result.stderr
        assert result.stderr == ""
    assert run("calibrate", "--replicates", "6", *EFFORT, "-o", "one.json", "--figure", "one.svg").exit_code == 0
    told = run("merge", "all.json", "1.json", "2.json", "--json")
    assert told.exit_code == 0, told.stderr
    whole, merged = (json.loads(Path(name).read_text(encoding="utf-8")) for name in ("one.json", "all.json"))
    assert merged == whole
    assert {name: value for name, value in json.loads(told.stdout).items() if name in merged} == merged
    assert "<svg" in Path("one.svg").read_text(encoding="utf-8")
    assert sorted(path.name for path in folder.iterdir()) == ["1.json", "2.json", "all.json", "one.json", "one.svg"]


def test_a_merge_says_what_is_missing_even_in_quiet(fast: list[int], folder: Path) -> None:
    assert run("calibrate", "--replicates", "6", "--chunk", "2/2", *EFFORT, "-o", "2.json", "--quiet").stderr == ""
    told = run("merge", "all.json", "2.json", "--quiet")
    assert (told.exit_code, told.stdout) == (0, "")
    assert told.stderr == "persist: warning: 3 of 6 replicates are missing: 0, 2, 4\n"


def test_words_of_a_calibration(fast: list[int], folder: Path) -> None:
    told = run("calibrate", "--replicates", "5", *EFFORT, "--plant", "noisier", "-o", "o.json").stdout
    assert "4 replicates, ranks 0 to 99, with a planted error (noisier)" in told
    assert "all ranks stay in their bands" in told
    assert "replicate 4 has no ranks: no start was found" in told


def test_an_interrupted_command_keeps_what_is_done(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(asked: Study, number: int) -> dict[str, Any]:
        if number == 2:
            raise KeyboardInterrupt
        return row(asked, number)

    monkeypatch.setattr(calibrate, "replicate", stop)
    words = ("calibrate", "--replicates", "3", *EFFORT, "-o", "o.json")
    assert run(*words).exit_code == 130
    assert len(list((folder / "o.json.partial").iterdir())) == 2
    monkeypatch.setattr(calibrate, "replicate", lambda asked, number: row(asked, {2: 2}[number]))
    assert run(*words).exit_code == 0
    assert [path.name for path in folder.iterdir()] == ["o.json"]


def asked(*more: str, out: str = "o.json") -> tuple[str, ...]:
    return ("calibrate", "--replicates", "4", *more, "-o", out)


FAULTS: dict[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "no replicates": (("calibrate", "--replicates", "0", "-o", "o.json"), ("--replicates", "x>=1")),
    "no output": (("calibrate", "--replicates", "4"), ("-o", "calibrate --help")),
    "a chunk of none": (asked("--chunk", "0/4"), ("--chunk", "'0/4'", "1/4")),
    "a chunk beyond": (asked("--chunk", "5/4"), ("--chunk", "'5/4'", "1 <= i <= n")),
    "a chunk in words": (asked("--chunk", "first"), ("--chunk", "'first'", "i/n")),
    "more chunks than replicates": (asked("--chunk", "1/5"), ("--chunk", "4 replicates", "5 shares")),
    "unknown model": (asked("--model", "spx"), ("--model", '"spx"', "spr")),
    "unknown pack": (asked("--pack", "mice"), ("--pack", '"mice"', "clinical or in-vitro")),
    "unknown plant": (asked("--plant", "rose"), ("--plant", "'rose'", "uncensored")),
    "a plant of cohorts": (asked("--plant", "alike"), ("--plant", "an error of a population", "--cohort")),
    "a cohort of one": (asked("--cohort", "1"), ("--cohort", "x>=2")),
    "odd ranks": (asked("--ranks", "30"), ("--ranks", "30", "multiple of 20")),
    "no ranks": (asked("--ranks", "0"), ("--ranks", "multiple of 20")),
    "more ranks than draws": (asked("--ranks", "120", *EFFORT), ("--ranks", "119 posterior draws, and 100", "--draws")),
    "a figure of another kind": (asked("--figure", "f.pdf"), ("f.pdf", ".svg or .png")),
    "a figure over the output": (asked("--figure", "o.svg", out="o.svg"), ("o.svg", "the figure is the output")),
    "existing": (asked(out="there.json"), ("there.json", "the file exists", "--force")),
    "an existing figure": (asked("--figure", "there.svg"), ("there.svg", "the file exists", "--force")),
    "nothing to merge": (("merge", "o.json"), ("FILE", "merge --help")),
    "an absent part": (("merge", "o.json", "absent.json"), ("absent.json", "cannot be read", "check the path")),
    "a part that is no JSON": (("merge", "o.json", "text.json"), ("text.json", "not JSON", "--chunk")),
    "a part that is a list": (("merge", "o.json", "there.json"), ("there.json", "no JSON object", "--chunk")),
    "a part of another command": (("merge", "o.json", "other.json"), ("other.json", "no output of calibrate")),
    "a part twice": (("merge", "o.json", "a.json", "a.json"), ("a.json", "named twice")),
    "a replicate twice": (("merge", "o.json", "a.json", "copy.json"), ("copy.json", "replicate 0 is in a.json too")),
    "parts of two seeds": (("merge", "o.json", "a.json", "seed.json"), ("seed.json", "seed is 1, and 0 in a.json")),
    "parts of a cohort and of patients": (
        ("merge", "o.json", "a.json", "cohort.json"),
        ("cohort.json", "cohort is {'patients': 3", "and None in a.json"),
    ),
    "parts of two efforts": (
        ("merge", "o.json", "a.json", "draws.json"),
        ("draws.json", "settings.draws is 60, and 50 in a.json", "one run"),
    ),
    "over a part": (("merge", "a.json", "a.json", "--force"), ("a.json", "one of the inputs")),
}


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_one_line_and_leaves_nothing(fast: list[int], folder: Path, name: str) -> None:
    parts = {"a.json": study(TINY), **{f"{name}.json": CHANGES[name] for name in ("seed", "draws", "cohort")}}
    for file, one in parts.items():
        made = calibrate.calibrate(one, 4, Chunk(1, 2))
        (folder / file).write_text(json.dumps(made), encoding="utf-8")
    (folder / "copy.json").write_bytes((folder / "a.json").read_bytes())
    texts = {"text.json": "no JSON", "there.json": "[]", "there.svg": "mine", "other.json": '{"command": "fit"}'}
    for file, text in texts.items():
        (folder / file).write_text(text, encoding="utf-8")
    before = {path: path.read_bytes() for path in folder.rglob("*")}
    words, said = FAULTS[name]
    result = run(*words)
    assert result.exit_code == 2, result.stderr
    assert result.stdout == ""
    assert result.stderr.startswith("persist: error: ")
    assert result.stderr.count("\n") == 1
    for part in said:
        assert part in result.stderr
    assert {path: path.read_bytes() for path in folder.rglob("*")} == before


def test_the_plants_of_the_command_are_those_there_are() -> None:
    from persist.cli.calibrate import command

    found = next(option for option in command.params if option.name == "plant")
    assert tuple(found.type.choices) == ALL_PLANTS  # type: ignore[attr-defined]


# ---------------------------------------------------------------- the whole


@pytest.mark.slow
def test_two_replicates_through_the_whole_pipeline(tmp_path: Path) -> None:
    """A run, and a second one cut into shares with one replicate taken from the first: every number the same."""
    asked_for = study(TINY, 20)
    whole = calibrate.calibrate(asked_for, 2, partial=tmp_path)
    names = [*sampled(load_pack("clinical", "psa"), "spr"), *DERIVED]
    assert list(whole["parameters"]) == names
    assert all(0 <= value <= 19 for one in whole["parameters"].values() for value in one["ranks"])
    assert whole["replicates"] == 2
    again = calibrate.calibrate(asked_for, 2, Chunk(2, 2))["runs"][0]
    for key in ("truth", "ranks", "contraction", "censored", "health", "residuals"):
        assert again[key] == whole["runs"][1][key]
    assert {row["replicate"] for row in whole["runs"]} == {0, 1}


def test_a_virtual_patient_is_measured_by_what_its_cells_shed() -> None:
    """Nearly no noise: the values are those of the curve in which persisters shed less, not of all cells."""
    design = DESIGNS["clinical"]
    values = virtual(0, 3, "clinical", "spr-shed", design).values | {"noise_sd": 1e-3, "wander_sd": 1e-6}
    values |= {"persister_0": 0.5, "shed_p": 0.1, "decline_s": -0.01}
    one = made("sure", values, partial(names_of, 0, 3), design)
    assert one.series.burden[0] == pytest.approx(values["burden_0"], rel=0.3)
