"""Fits side by side: only of the same data, the truth preferred, and forecasts mixed by the weights."""

from __future__ import annotations

import json
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner

import fakes
import laws
import persist
from persist.cli.compare import _print_stack
from persist.cli.main import main
from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT
from persist.errors import DataError, UsageError
from persist.forecast import decide
from persist.forecast.outcome import ask
from persist.forecast.stack import quantiles, stack
from persist.inference import leaning, left_out, pooled, posterior, store
from persist.inference.clone_free import Frame
from persist.inference.cohort import case, pad
from persist.inference.curve import trace_curves
from persist.inference.population import UNKNOWN, Population, one_kind
from persist.inference.priors import load_pack, score
from persist.types import Biomarkers, Schedule, Series, Table
from persist.validation import compare as module
from persist.validation.compare import compare
from persist.validation.same import names
from persist.validation.standings import standings

TRUTH = fakes.truth("P01")
WRONG = TRUTH | {"decline_s": 1.5 * TRUTH["decline_s"]}
DAY = np.arange(16) * 28.0


def simulated(count: int, truth: dict[str, float] = TRUTH) -> tuple[Series, np.ndarray]:
    """A series on drug but for a pause, and the log burdens ``(count, 16)`` of as many replicates of it under the truth."""
    drug = {"drug": Schedule(np.array([0.0, 250.0]), np.array([180.0, 500.0]), np.ones(2))}
    blank = Series("A", "psa", "ng/mL", DAY, np.full(16, truth["burden_0"]), np.zeros(16, int), drug)
    one = case(pad([blank], pack="clinical"), 0, counted=False)
    level = np.asarray(trace_curves({k: jnp.full(1, v) for k, v in truth.items()}, one, 1.0).level)[0, :16]
    rng = np.random.default_rng(8)
    cover = truth["wander_sd"] ** 2 * np.exp(-np.abs(DAY[:, None] - DAY) / truth["wander_days"])
    part = rng.choice(6, (count, 16), p=NOISE_WEIGHT / NOISE_WEIGHT.sum())
    noise = truth["noise_sd"] * NOISE_SCALE[part] * rng.standard_normal((count, 16))
    return blank, level + rng.multivariate_normal(np.zeros(16), cover, count) + noise


def fake(model: str, values: dict[str, float], **changes: Any) -> store.DataTree:
    """A fit of one simulated series whose draws lie about ``values``."""
    blank, logs = simulated(1)
    series = blank._replace(burden=np.exp(logs[0]))
    made = fakes.posterior(Table((series._replace(**changes),), (), "x"), {"A": values}, draws=100)
    made.attrs["settings"] = store.as_attribute(store.attribute(made, "settings") | {"model": model})
    return made


@pytest.fixture(scope="module")
def fits() -> dict[str, store.DataTree]:
    return {"spr": fake("spr", TRUTH), "sr": fake("sr", WRONG)}


@pytest.fixture(scope="module")
def report(fits: dict[str, store.DataTree]) -> dict[str, Any]:
    return compare(fits, draws=200)


def test_the_truth_stands_first(report: dict[str, Any]) -> None:
    one = report["patients"]["A"]
    assert one["values"] == 16
    assert one["models"]["spr"]["weight_loo"] > 0.9
    assert one["differences"]["loo"]["spr"]["best"]
    assert one["differences"]["loo"]["sr"]["elpd"] < 0.0
    assert report["together"] is None
    assert report["stack"] is None


def test_cuts_that_fail_are_told_and_left_aside(report: dict[str, Any]) -> None:
    one = report["patients"]["A"]
    about, models = one["lfo"], one["models"]
    assert about["first"] == 8
    assert about["cuts"] == 8
    limit = models["spr"]["khat_limit"]
    common = np.all([np.array(row["khat_lfo"]) <= limit for row in models.values()], axis=0)
    assert about["held"] == common.sum()
    assert about["held_share"] == common.mean()
    assert about["reliable"] == (common.mean() >= 0.5)
    assert (models["spr"]["elpd_lfo"] is None) == (not common.any())


def test_a_new_fit_is_of_the_values_before_the_cut(fits, monkeypatch) -> None:
    """Fits are faked: each gives draws about the truth, however few values it sees."""
    seen, whole = [], fits["spr"]["observed_data"]["burden"].values[0]
    burdens = (whole[0], whole.max())

    def again(table: Table, settings: persist.Settings, population: Population) -> store.DataTree:
        (one,) = table.series
        assert not len(population.mean)
        assert settings.reference == pytest.approx(burdens)
        seen.append((settings.model, len(one.day)))
        return fakes.posterior(table, {"A": TRUTH}, draws=100)

    monkeypatch.setattr(module.fitting, "fit", again)
    found = compare(fits, draws=200, first=13, refit=True)
    one = found["patients"]["A"]
    assert seen
    assert one["lfo"]["held"] == one["lfo"]["cuts"] == 3
    for name, row in one["models"].items():
        assert row["refitted"] == sorted(size for model, size in seen if model == name)
    assert f"first {seen[0][1]} values is marked too: " in found["warnings"][seen[0][0]]["A"][0]


POOLED, MEAN = ("net_growth_s", "decline_s"), np.array([2.0, -2.0])


def population(fit: store.DataTree) -> store.Dataset:
    """A population whose patients grow and decline faster and slower than the pack has it, by twice its spread, with spreads of
    a fifth of its own.
    """
    law = one_kind(np.tile(MEAN, (40, 8, 1)), np.tile(0.04 * np.eye(2), (40, 8, 1, 1)))
    score = leaning.names_of(fit)
    frame = Frame(np.isin(score, POOLED), np.zeros(len(score)))
    return leaning.group(score, frame, np.ones(len(score)), law, chains=4)


def leaning_on(fit: store.DataTree, **more: Any) -> store.DataTree:
    """The same fit as one of a patient who leans on a population."""
    made = fit.copy(deep=True)
    pooled.lean(made, population(fit))
    made.attrs |= {name: store.as_attribute(value) for name, value in more.items()}
    return made


def test_a_new_fit_leans_on_what_its_own_did(fits, monkeypatch) -> None:
    """One model leans on a population, the other does not; each new fit has the prior of the fit that it stands for."""
    both, seen = {"spr": leaning_on(fits["spr"]), "sr": fits["sr"]}, {}

    def again(table: Table, settings: persist.Settings, population: Population) -> store.DataTree:
        seen[settings.model] = population
        return fakes.posterior(table, {"A": TRUTH}, draws=100)

    monkeypatch.setattr(module.fitting, "fit", again)
    compare(both, draws=200, first=13, refit=True)
    assert seen["sr"] is UNKNOWN
    want = leaning.mixture(population(fits["spr"]), "A")
    for mine, its in zip(seen["spr"], want, strict=True):
        np.testing.assert_allclose(mine, its)


def test_what_is_known_of_a_patient_counts_in_its_prior(fits, monkeypatch) -> None:
    """Biomarkers of the file, and the name by which missing ones are drawn, go into the law as they did."""
    fit, asked = leaning_on(fits["spr"]), []
    markers = Biomarkers(("FLIP", "TNF"), ("A",), np.array([[14.0, np.nan]]))
    fit[leaning.MARKERS] = store.DataTree(leaning.markers(markers, ["A"]))
    monkeypatch.setattr(leaning, "mixture", lambda known, *given: asked.append(given))
    leaning.prior_of(fit, "A")
    ((patient, found),) = asked
    assert (patient, found.names) == ("A", markers.names)
    np.testing.assert_array_equal(found.value, markers.value)


def test_a_patient_of_a_cohort_is_not_fitted_anew(fits, monkeypatch) -> None:
    """Its population is of the values that are left out, too; without --refit it is compared, and one that leans is fitted."""
    monkeypatch.setattr(module.fitting, "fit", lambda *_, **__: pytest.fail("fitted"))
    cohort = {"spr": fits["spr"], "sr": leaning_on(fits["sr"], pooled=True)}
    with pytest.raises(UsageError, match=r"--refit: the patients of sr cannot be fitted anew.*--population POP\.nc"):
        compare(cohort, draws=200, refit=True)
    assert compare(cohort, draws=200)["patients"]["A"]["models"]["sr"]["refitted"] == []


@pytest.mark.slow
def test_a_new_fit_goes_where_its_population_is(fits, monkeypatch) -> None:
    """Three values say little of a patient: what they grow and decline by is the population's, not the pack's."""
    real, made = module.fitting.fit, {}
    plain = fits["spr"].copy(deep=True)
    quick = {"chains": 2, "warmup": 60, "draws": 60, "doublings": 0}
    plain.attrs["settings"] = store.as_attribute(store.attribute(plain, "settings") | quick)
    series = next(iter(posterior.series(plain)))
    for name, fit in (("pack", plain), ("population", leaning_on(plain))):
        monkeypatch.setattr(module.fitting, "fit", lambda *a, name=name, **k: made.setdefault(name, real(*a, **k)))
        terms = module._again(fit, series, module.Way(), [], lambda line: None)(3)
        assert terms.ahead.shape[1] == 16
    entries = load_pack("clinical", "psa").entries
    for name, middle in zip(POOLED, MEAN, strict=True):
        pack, leaned = (
            float(np.mean(score(entries[name], made[kind]["posterior"][name].values)))
            for kind in ("pack", "population")
        )
        assert abs(leaned - middle) < 0.5
        assert (leaned - pack) * np.sign(middle) > 0.8, (name, pack, leaned)


@pytest.mark.slow
@pytest.mark.ci
def test_several_patients_are_also_taken_together() -> None:
    table = persist.read(
        fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01", "P03")
    )
    truth = {name: fakes.truth(name) for name in ("P01", "P03")}
    wrong = {name: one | {"decline_s": 1.5 * one["decline_s"]} for name, one in truth.items()}
    both = {"spr": fakes.posterior(table, truth), "other": fakes.posterior(table, wrong)}
    found = compare(both)
    sums = sum(found["patients"][name]["models"]["spr"]["elpd_loo"] for name in truth)
    assert found["together"]["models"]["spr"]["elpd_loo"] == pytest.approx(sums)
    assert found["together"]["models"]["spr"]["weight_loo"] > 0.5
    assert found["patients"]["P03"]["models"]["spr"]["elpd_lfo"] is None
    assert "too short to leave its future out" in found["patients"]["P03"]["sentences"][-1]
    assert list(compare(both, patients=["P03"])["patients"]) == ["P03"]


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"day": DAY + 1.0}, "another day"),
        ({"burden": np.full(16, 2.0)}, "another burden"),
        ({"observable": "volume"}, 'observable is "psa" and "volume"'),
        ({"patient_id": "B"}, "patients A, B"),
        ({"schedules": {"drug": Schedule(np.zeros(1), np.full(1, 99.0), np.ones(1))}}, "other treatments"),
    ],
)
def test_fits_of_other_data_are_refused(fits, changes: dict[str, Any], said: str) -> None:
    blank, logs = simulated(1)
    series = blank._replace(burden=np.exp(logs[0]))._replace(**changes)
    other = fakes.posterior(Table((series,), (), "x"), {series.patient_id: TRUTH}, draws=20)
    with pytest.raises(UsageError, match=said):
        compare({"spr": fits["spr"], "sr": other})


def test_tables_of_another_sum_are_refused(fits) -> None:
    other = fits["sr"].copy()
    other.attrs["provenance"] = store.as_attribute(store.attribute(other, "provenance") | {"data_sha256": "y"})
    with pytest.raises(UsageError, match="SHA-256"):
        compare({"spr": fits["spr"], "sr": other})


def test_what_cannot_be_asked(fits) -> None:
    with pytest.raises(UsageError, match="cannot be compared"):
        compare({"spr": fits["spr"]})
    with pytest.raises(DataError, match='no patient "Z"'):
        compare(fits, patients=["Z"])
    with pytest.raises(UsageError, match="--draws"):
        compare(fits, draws=10)
    with pytest.raises(UsageError, match="choose loo or lfo"):
        compare(fits, weights="aic")


def test_a_fit_is_named_by_its_model_or_else_its_file(fits) -> None:
    one, other = fits["spr"], fits["sr"]
    assert names(["a.nc", "b.nc"], [one, other]) == ["spr", "sr"]
    assert names(["a.nc", "b.nc", "c.nc"], [one, one, other]) == ["a", "b", "sr"]
    with pytest.raises(UsageError, match="given twice"):
        names(["a.nc", "./a.nc"], [one, one])
    with pytest.raises(UsageError, match='both be called "a"'):
        names(["a.nc", "x/a.nc"], [one, one])
    with pytest.raises(UsageError, match="nothing to compare"):
        names(["a.nc"], [one])


def made(gains: dict[str, list[float]], mcse: dict[str, float | None]) -> dict[str, store.DataTree]:
    """Forecasts of "A" under "on" and "off" by several models, whose gains are written; 500 days are never reached."""
    found = {}
    for name, gain in gains.items():
        times = np.stack([np.full(len(gain), 100.0), 100.0 + np.array(gain)])[None, :, :, None]
        dims = ("patient", "plan", "draw", "replicate")
        ends = store.dataset({"time_to_progression": (dims, times)}, {"patient": ["A"], "plan": ["on", "off"]})
        judged = decide.judge(decide.gain(times[0, 1], times[0, 0], 500.0))
        told = decide.as_json(judged._replace(mcse=np.inf if mcse[name] is None else mcse[name])) | {"judged": True}
        row = {"progressed_by_horizon": 1.0, "days_on_drug": 10.0, "extinct": 0.0, "judged": True}
        plans = {"on": row, "off": row | {"days_on_drug": 4.0 if name == "spr" else 8.0}}
        summary = {"A": {"plans": plans, "benefit": {"off": told}, "sentences": {"off": "x"}}}
        settings = {"plans": {"on": "on", "off": "off"}, "horizon": 500.0}
        found[name] = store.tree("forecast", {"endpoints": ends}, {"summary": summary, "settings": settings})
    return found


def test_the_mixture_weighs_paths_and_adds_errors() -> None:
    two = made({"spr": [50.0] * 20, "sr": [-10.0] * 8}, {"spr": 2.0, "sr": 4.0})
    one = stack(two, {"A": {"spr": 0.75, "sr": 0.25}})["A"]
    told = one["benefit"]["off"]
    assert told["probability"] == pytest.approx(0.75)
    assert told["loss"] == pytest.approx(0.25)
    assert told["gain_days"] == pytest.approx({"mean": 35.0, "mcse": 2.5, "q05": -10.0, "q95": 50.0})
    assert told["verdict"] == "cannot tell"
    assert told["verdicts"] == {"spr": "benefit", "sr": "harm"}
    assert told["hangs_on_mechanism"]
    assert "It hangs on the mechanism: spr benefit, sr harm." in one["sentences"]["off"]
    assert one["plans"]["off"]["days_on_drug"] == pytest.approx(5.0)
    assert one["plans"]["off"]["time_to_progression"] == {"q05": 90.0, "q50": 150.0, "q95": 150.0}


def test_a_model_without_weight_changes_nothing_but_is_named() -> None:
    two = made({"spr": [50.0] * 20, "sr": [-10.0] * 8}, {"spr": 2.0, "sr": None})
    told = stack(two, {"A": {"spr": 1.0, "sr": 0.0}})["A"]["benefit"]["off"]
    assert told["verdict"] == "benefit"
    assert told["gain_days"]["mcse"] == 2.0
    assert told["hangs_on_mechanism"]


def test_an_error_that_cannot_be_known_withholds_the_verdict() -> None:
    two = made({"spr": [50.0] * 20, "sr": [50.0]}, {"spr": 2.0, "sr": None})
    told = stack(two, {"A": {"spr": 0.5, "sr": 0.5}})["A"]["benefit"]["off"]
    assert told["gain_days"]["mcse"] is None
    assert told["verdict"] == "cannot tell"


def test_quantiles_of_one_sample_are_its_own() -> None:
    sample = np.append(np.random.default_rng(0).normal(size=99), np.inf)
    found = quantiles({"a": sample, "b": np.zeros(7)}, {"a": 1.0, "b": 0.0})
    want = np.quantile(sample, (0.05, 0.5, 0.95), method="inverted_cdf")
    assert list(found.values()) == list(want)


@pytest.mark.slow
@pytest.mark.ci
def test_the_stack_of_forecasts(fits) -> None:
    question = ask(("on", "holiday=off 90, on"), 365.0, draws=20, replicates=1)
    found = compare(fits, draws=200, question=question)["stack"]
    one = found["patients"]["A"]
    assert found["weights_from"] == "loo"
    assert sum(one["weights"].values()) == pytest.approx(1.0)
    own = [row["benefit"]["holiday"]["gain_days"]["mean"] for row in one["models"].values()]
    assert min(own) - 1e-9 <= one["benefit"]["holiday"]["gain_days"]["mean"] <= max(own) + 1e-9
    assert one["plans"]["holiday"]["days_on_drug"] == pytest.approx(275.0)


def test_the_command(fits, tmp_path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persist.cli.compare.keep_compiled", lambda: None)
    marked = fits["sr"].copy()
    marked.attrs["problems"] = store.as_attribute({"A": ["chains disagree"]})
    store.save(fits["spr"], "one.nc")
    store.save(marked, "two.nc")
    words = ["compare", "one.nc", "two.nc", "--draws", "100"]
    result = CliRunner().invoke(main, [*words, "--json", "-o", "c.json", "--seed", "3"])
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert told == json.loads((tmp_path / "c.json").read_text())
    assert told["seed"] == 3
    assert told["fits"] == {"spr": "one.nc", "sr": "two.nc"}
    assert {"elpd_loo", "se", "khat_max", "khat_bad", "elpd_lfo", "weight_loo", "weight_lfo"} <= set(
        told["patients"]["A"]["models"]["sr"]
    )
    assert "warning: the posterior of A under sr is marked: chains disagree" in result.stderr
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.stderr
    assert "spr foretells single left-out values best" in result.stdout
    assert "stack" not in result.stdout
    assert "note: " in result.stderr
    result = CliRunner().invoke(main, [*words, "--quiet"])
    assert result.stdout == ""
    assert "chains disagree" in result.stderr


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (["one.nc"], ("nothing to compare", "give two fits")),
        (["one.nc", "one.nc"], ("given twice",)),
        (["one.nc", "absent.nc"], ("absent.nc", "no such file")),
        (["one.nc", "two.nc", "--plan", "on"], ("--plan", "give --horizon")),
        (["one.nc", "two.nc", "--horizon", "100"], ("--horizon", "give --plan")),
        (["one.nc", "two.nc", "--endpoint", "psa"], ("--endpoint", "give --plan")),
        (["one.nc", "two.nc", "-o", "one.nc", "--force"], ("one of the inputs",)),
        (["one.nc", "two.nc", "--patient", "Z"], ('no patient "Z"', "choose A")),
        ([], ("Missing argument",)),
    ],
)
def test_bad_usage_is_one_line(fits, tmp_path, monkeypatch, words: list[str], parts: tuple[str, ...]) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("persist.cli.compare.keep_compiled", lambda: None)
    for name, one in zip(("one.nc", "two.nc"), fits.values(), strict=True):
        store.save(one, name)
    result = CliRunner().invoke(main, ["compare", *words])
    assert result.exit_code == 2
    assert result.stdout == ""
    assert len(result.stderr.splitlines()) == 1
    for part in parts:
        assert part in result.stderr


def test_the_public_name_is_the_command() -> None:
    assert persist.compare is compare


@pytest.mark.law
def test_the_truth_is_preferred_over_a_rival_that_is_five_percent_off() -> None:
    """Left-out values of 400 replicates: on average no rival foretells them better than the truth, and the stack follows.

    A decline 5 % faster is the planted error: taken for the truth, it is caught.
    """
    truth = TRUTH | {"wander_sd": 0.05, "noise_sd": 0.05}
    blank, logs = simulated(400, truth)
    one = case(pad([blank], pack="clinical"), 0, counted=False)

    def foretold(values: dict[str, float]) -> np.ndarray:
        curve = trace_curves({name: jnp.full(1, value) for name, value in values.items()}, one, 1.0)
        noise = tuple(jnp.full(1, values[name]) for name in left_out.NOISE)
        rows = left_out.Visits(one.gap, one.value, one.censoring, one.counting, one.seen)

        def score(value: jax.Array) -> jax.Array:
            visits = rows._replace(value=jnp.pad(value, (0, len(one.gap) - 16)))
            whole = left_out.log_likelihood(visits, curve.level[0], *(part[0] for part in noise))[0].sum()
            return (whole - left_out._without(visits, curve.level, noise)[0])[:16]

        return np.asarray(jax.lax.map(jax.jit(score), jnp.asarray(logs)))

    right, rival = foretold(truth), foretold(truth | {"decline_s": 1.05 * truth["decline_s"]})

    def check_preferred(first: np.ndarray, second: np.ndarray) -> None:
        laws.check_at_least((first - second).sum(axis=1), 0.0, what="surplus of the truth")

    check_preferred(right, rival)
    laws.must_fail(lambda: check_preferred(rival, right))
    both = {"truth": right.ravel(), "rival": rival.ravel()}
    found = standings(both, np.repeat(np.arange(400), 16))
    assert found["truth"].weight > 0.9
    assert not found["rival"].tie


def test_verdicts_of_the_stack_and_of_each_model_are_printed(capsys: pytest.CaptureFixture[str]) -> None:
    two = made({"spr": [50.0] * 20, "sr": [-10.0] * 8}, {"spr": 2.0, "sr": 4.0})
    about = {"weights_from": "loo", "reference": "on"}
    _print_stack(stack(two, {"A": {"spr": 0.75, "sr": 0.25}})["A"], about)
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].strip() == "stack by loo: spr 0.75, sr 0.25"
    assert [line.split()[0] for line in lines[2:5]] == ["stack", "spr", "sr"]
    assert [line.split("  ")[-1] for line in lines[2:5]] == ["cannot tell", "benefit", "harm"]
    assert "hangs on the mechanism" in lines[5]
