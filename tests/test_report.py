"""The page and its twin, from small made-up result files: self-contained, escaped, marked, whole or not at all."""

from __future__ import annotations

import json
import math
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result
from hypothesis import given
from hypothesis import strategies as st

from persist.cli.main import main
from persist.errors import StoreError
from persist.forecast import decide
from persist.inference import leaning, pooled, store
from persist.inference.clone_free import Frame
from persist.inference.curve import DERIVED
from persist.inference.model import sampled
from persist.inference.population import Law
from persist.inference.priors import load_pack, quantile
from persist.report import inline, page, words
from persist.report.rates import against_prior, density, ticks
from persist.validation import chains
from persist.validation.identify import FARTHEST

LEVELS = [0.05, 0.25, 0.5, 0.75, 0.95]
STATES = ["sensitive", "persister", "resistant"]
PLANS = ("on", "holiday", "off")
CHAINS, DRAWS, VISITS, PRIORS = 4, 250, 9, 200
AS_BEFORE = ("turnover_s", "mutation", "washout_days")
"""Parameters whose made posterior is the prior."""
WALKERS = 10
HOSTILE = "<script>alert('x')</script>"


def made_fit(
    names: tuple[str, ...] = ("A 1", HOSTILE), poor: bool = False, seed: int = 1, stuck: bool = False
) -> store.DataTree:
    """A posterior in the layout of `persist fit`, of random numbers; ``poor``: its chains stand apart; ``stuck``: a
    walker of each chain hardly moved.
    """
    rng = np.random.default_rng(seed)
    pack = load_pack("clinical", "psa")
    assert pack.cells_per_unit is not None
    entries = pack.entries | {"cells_per_unit": pack.cells_per_unit}
    dims, count = ("chain", "draw", "patient"), len(names)
    axes = {"chain": np.arange(CHAINS), "draw": np.arange(DRAWS), "patient": list(names)}
    before, after = {}, {}
    for name in sampled(pack, "spr"):
        before[name] = (dims, quantile(entries[name], rng.uniform(0.001, 0.999, (1, PRIORS, count))))
        around = rng.uniform(0.4, 0.6, (CHAINS, DRAWS, count))
        around = around + 0.1 * np.arange(CHAINS)[:, None, None] if poor else around
        around = rng.uniform(0.001, 0.999, (CHAINS, DRAWS, count)) if name in AS_BEFORE else around
        after[name] = (dims, quantile(entries[name], around))
    after |= {name: (dims, rng.lognormal(-3.0, 0.2, (CHAINS, DRAWS, count))) for name in DERIVED}
    shape = (CHAINS, DRAWS, count)
    stats = {"lp": (dims, rng.normal(size=shape)), "diverging": (dims, np.zeros(shape, bool))}
    stats["resistant_share"] = (dims, rng.uniform(0.1, 0.2, shape))
    number = np.repeat(np.arange(WALKERS), DRAWS // WALKERS)[None, :, None]
    stats["walker"] = (dims, np.broadcast_to(number, shape))
    stats["acceptance_rate"] = (dims, np.broadcast_to(np.where(stuck & (number == 3), 0.02, 0.9), shape))
    day = np.tile(np.arange(VISITS) * 28.0, (count, 1))
    burden = np.exp(rng.normal(1.0, 0.3, (count, VISITS)))
    censoring = np.zeros((count, VISITS), np.int8)
    censoring[:, 3], censoring[:, 5] = -1, 1
    for part in (day, burden):
        part[-1, -2:] = np.nan  # padding of a shorter series
    spread = np.exp(np.linspace(-0.5, 0.5, 5))[:, None]
    fitted = {
        "burden": (("patient", "level", "visit"), burden[:, None] * spread),
        "shares": (("patient", "state", "visit"), np.full((count, 3, VISITS), 1.0 / 3.0)),
    }
    grid = axes | {"visit": np.arange(VISITS)}
    replicated = burden * np.exp(rng.normal(size=(*shape, VISITS)) * 0.2)
    given_to = {
        part: (("patient", "segment"), np.tile(np.array(values, float), (count, 1)))
        for part, values in (("start", (0, 140)), ("stop", (84, math.inf)), ("dose", (1, 0.5)))
    }
    given_to["log_evidence"] = (("patient", "chain"), rng.normal(-50.0, 0.5, (count, CHAINS)))
    where = {"patient": list(names), "visit": np.arange(VISITS)}
    groups = {
        "posterior": store.dataset(after, axes),
        "prior": store.dataset(before, {"chain": [0], "draw": np.arange(PRIORS), "patient": list(names)}),
        "sample_stats": store.dataset(stats, axes),
        "posterior_predictive": store.dataset({"burden": ((*dims, "visit"), replicated)}, grid),
        "fitted": store.dataset(fitted, where | {"level": LEVELS, "state": STATES}),
        "observed_data": store.dataset(
            {n: (("patient", "visit"), v) for n, v in (("day", day), ("burden", burden), ("censoring", censoring))},
            where,
        ),
        "constant_data": store.dataset(given_to, {"patient": list(names)}),
    }
    attrs = {
        "observable": "psa",
        "unit": "ng/mL",
        "settings": {"model": "spr", "pack": "clinical", "drug": None, "chains": CHAINS, "seed": 0},
        "notes": ["a column was set aside: <b>bold</b>"],
        "seconds": 1.5,
        "provenance": store.provenance(seed, "ab" * 32),
    }
    return store.tree("fit", groups, attrs)


def made_forecast(fit: store.DataTree, plans: tuple[str, ...] = PLANS) -> store.DataTree:
    """A forecast in the layout of `persist forecast`, from random numbers."""
    rng = np.random.default_rng(2)
    names = [str(name) for name in fit["posterior"]["patient"].values]
    times, horizon = np.linspace(0.0, 364.0, 27), 364.0
    shape = (len(names), len(plans), len(times))
    on = np.stack([np.full(len(times), 0.0 if plan == "off" else 1.0) for plan in plans])
    record = {
        "day": (("patient", "plan", "time"), np.broadcast_to(times, shape).copy()),
        "burden": (("patient", "plan", "time", "level"), np.sort(np.exp(rng.normal(size=(*shape, 5))), axis=-1)),
        "shares": (("patient", "plan", "time", "state"), rng.dirichlet(np.ones(3), shape)),
        "dose": (("patient", "plan", "time"), np.broadcast_to(on, shape).copy()),
    }
    axes = {"patient": names, "plan": list(plans)}
    coords = axes | {"level": LEVELS, "state": STATES}
    start = float(VISITS - 1) * 28.0
    settings = {
        "plans": {plan: plan for plan in plans},
        "reference": plans[0],
        "horizon": horizon,
        "endpoint": {"name": "psa", "any_time": False},
        "thresholds": decide.THRESHOLDS,
        "patients": {name: {"start": start} for name in names},
    }
    attrs = {
        "observable": "psa",
        "unit": "ng/mL",
        "settings": settings,
        "summary": {name: made_summary(plans, horizon) for name in names},
        "warnings": {},
        "fit": store.attribute(fit, "provenance"),
        "provenance": store.provenance(0, "cd" * 32),
    }
    return store.tree("forecast", {"futures": store.dataset(record, coords)}, attrs)


def made_summary(plans: tuple[str, ...], horizon: float) -> dict[str, Any]:
    """One patient's summary: the second plan brings a benefit, the others cannot be told."""
    rng = np.random.default_rng(3)
    ends = {
        plan: {
            "progressed_by_horizon": 0.4,
            "time_to_progression": {"q05": 30.0, "q50": 200.0, "q95": None},
            "days_on_drug": 0.0 if plan == "off" else horizon,
            "extinct": 0.0,
        }
        for plan in plans
    }
    gains = {plan: rng.normal(60.0 if i == 1 else 0.0, 20.0, (200, 2)) for i, plan in enumerate(plans)}
    told = {plan: decide.judge(days) for plan, days in list(gains.items())[1:]}
    return {
        "plans": ends,
        "benefit": {plan: decide.as_json(one) for plan, one in told.items()},
        "sentences": {plan: decide.sentence(plan, plans[0], one, horizon) for plan, one in told.items()},
    }


@pytest.fixture(scope="module")
def fit() -> store.DataTree:
    return made_fit()


@pytest.fixture(scope="module")
def report(fit: store.DataTree) -> page.Report:
    return page.build(fit, made_forecast(fit))


@pytest.fixture(scope="module")
def lonely() -> store.DataTree:
    return made_fit(("A 1",))


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory, lonely: store.DataTree) -> Path:
    folder = tmp_path_factory.mktemp("saved")
    store.save(lonely, folder / "fit.nc")
    store.save(made_forecast(lonely), folder / "fut.nc")
    return folder


@pytest.fixture
def folder(tmp_path: Path, saved: Path) -> Path:
    for file in saved.iterdir():
        shutil.copy(file, tmp_path)
    return tmp_path


def run(folder: Path, *arguments: str) -> Result:
    return CliRunner().invoke(main, ["report", *(str(folder / a) if "." in a else a for a in arguments)])


def one_line(text: str) -> str:
    return " ".join(text.split())


# ---------------------------------------------------------------- the page


def test_page_is_self_contained(report: page.Report) -> None:
    text = report.html
    assert "http" not in text
    assert "<script" not in text
    assert "<link" not in text
    assert "@import" not in text
    targets = re.findall(r'(?:href|src)="([^"]*)"', text) + re.findall(r"url\(([^)]*)\)", text)
    assert targets
    ids = re.findall(r'\bid="([^"]*)"', text)
    assert len(ids) == len(set(ids))
    assert {target for target in targets if not target.startswith("#") or target[1:] not in ids} == set()
    assert len(text) < 2.5e6 / 12 * 2


def test_what_a_user_gave_is_escaped(report: page.Report) -> None:
    assert "&lt;script&gt;alert(" in report.html
    assert "<b>bold</b>" not in report.html
    assert "&lt;b&gt;bold" in report.html
    hostile = made_fit(("$x_<i>",))
    told = page.build(hostile, made_forecast(hostile, ("on", '"><img src=x onerror=alert(1)>', "$\\frac{1}$"))).html
    assert "<img" not in told
    assert "<i>" not in told


def test_verdicts_and_figures_are_there(report: page.Report) -> None:
    text = report.html.replace("&#34;", '"')
    for one in report.twin["forecast"]["patients"].values():
        for sentence in one["sentences"].values():
            assert sentence in text
    every = sampled(load_pack("clinical", "psa"), "spr")
    assert text.count('role="img"') == 2 * (1 + len(PLANS) + len(every) + 2)
    assert text.count("aria-label=") >= text.count('role="img"')
    assert "✓ benefit" in text
    assert "? cannot tell" in text
    assert "never judged (no day on drug)" in text
    assert text.count("not comparable: one of the two has no day on drug") == 2
    assert text.count("NOT FOR CLINICAL USE") == 2
    assert "Marked fit" not in text
    assert all(f"<strong>{name}</strong>" in text for name in every)
    assert all(f"<code>{name}</code>" in text for name in (*words.SHOWN, *DERIVED))
    assert all(name in words.MEANING for name in (*sampled(load_pack("clinical", "psa"), "spr"), *DERIVED))


def test_marked_fit_shows_its_banner() -> None:
    text = page.build(made_fit(("A", "B"), poor=True)).html
    assert "The fit of A and B is marked: it fails a check; the reasons stand in their sections." in one_line(text)
    assert text.count("Marked fit: do not rely on this section.") == 2
    assert "chains disagree: R-hat" in text


def test_a_fit_marked_for_stuck_walkers_alone_is_not_said_to_lack_convergence() -> None:
    told = page.build(made_fit(("A", "B"), stuck=True))
    for name in ("A", "B"):
        (problem,) = told.twin["fit"]["patients"][name]["problems"]
        assert problem.startswith(f"{CHAINS} of {CHAINS * WALKERS} walkers hardly moved")
    text = one_line(told.html)
    assert text.count("walkers hardly moved") == 2
    assert "The fit of A and B is marked: it fails a check" in text
    assert "onvergence" not in text
    assert "chains" not in text.split("<h3>Checks</h3>")[0].split("</style>")[1]


def test_the_limits_of_the_checks_are_those_that_judge(lonely: store.DataTree) -> None:
    text = one_line(page.build(lonely).html)
    assert f"(good: at most {chains.MAX_RHAT})" in text
    assert f"in the tails (good: at least {chains.MIN_ESS:.0f} and {chains.MIN_TAIL:.0f})" in text


def test_without_forecast_the_page_says_so(lonely: store.DataTree) -> None:
    told = page.build(lonely)
    assert told.twin["forecast"] is None
    assert "No forecast was given" in told.html
    assert "Futures under each plan" not in told.html


def test_one_plan_has_an_outlook_and_no_verdict(lonely: store.DataTree) -> None:
    text = page.build(lonely, made_forecast(lonely, ("on",))).html
    assert "the probability of progression within 364 days is 40 %" in text
    assert 'class="badge benefit' not in text


def test_flares_disagreements_and_what_follows_progression_are_told(lonely: store.DataTree) -> None:
    forecast = made_forecast(lonely)
    settings, every = (store.attribute(forecast, name) for name in ("settings", "summary"))
    settings |= {"burden_limit": 1.5, "flare": {"rise": 0.2, "within_days": 21.0}}
    settings["plans"]["off"] = "until progression: on, then off"
    one = every["A 1"]
    flares = (
        None,
        {"probability": 0.37, "stops": 1.0, "followed": 1.0},
        {"probability": None, "stops": 0.1, "followed": 0.0},
    )
    for ends, flare in zip(one["plans"].values(), flares, strict=True):
        ends["flare"] = flare
    one["disagreements"] = {"holiday": "The verdict hangs on the endpoint."}
    gain = {"mean": -4.0, "q05": -9.0, "q95": 2.0}
    told = {"to_limit": {"gain_days": gain}, "burden_time": gain | {"probability_less": 0.25}}
    one["after"] = {"holiday": {"reference": "on"} | told, "off": {"reference": None, "reason": "a reason"}}
    forecast.attrs |= {"settings": store.as_attribute(settings), "summary": store.as_attribute(every)}
    text = one_line(page.build(lonely, forecast).html.replace("&#34;", '"'))
    rows = re.findall(r'<th scope="row" class="name">(\w+)</th>(?:(?!</tr>).)*<td class="n">([^<]*)</td></tr>', text)
    assert rows[:3] == [("on", "-"), ("holiday", "37 %"), ("off", "-")]
    assert "true burden up by 20 % within 21 days of the first stop" in text
    assert "<li>The verdict hangs on the endpoint.</li>" in text
    assert '<li>From progression on, "holiday" reaches 1.5 times the burden at progression 4 days earlier' in text
    assert 'under "off" nothing can be compared: a reason.</li>' in text


def test_a_forecast_from_before_flares_were_told_still_gives_a_page(report: page.Report) -> None:
    assert "Flare" not in report.html
    assert "From progression on" not in report.html


def test_what_the_fit_says_about_itself_is_on_the_page(report: page.Report) -> None:
    text = one_line(report.html).replace("&#39;", "'")
    for one in report.twin["fit"]["patients"].values():
        assert one["next_measurement"]["sentence"] in text
        assert one["open_questions"]
        assert all(it["measurement"] in text for it in one["open_questions"])
        assert one["residuals"]["sentence"][1:] in text
    assert text.count("Statistics of the series against its replicates") == 2
    assert text.count("values under the floor") == 2
    assert "derived from net_growth_s and turnover_s; not informed: turnover_s" in text
    assert "derived from net_growth_s and decline_s, all informed" in text


def test_many_patients_stand_together_and_few_do_not(report: page.Report) -> None:
    """A cohort of five: the forest plot, the population, who is apart, and who has a clone, the likeliest first."""
    assert "The patients together" not in report.html
    names = ("A", "B", "C", "D", "E")
    many = made_fit(names)
    many.attrs["pooled"] = store.as_attribute(True)
    scores = leaning.names_of(many)
    rng = np.random.default_rng(0)
    law = Law(
        np.array([0.5, -0.5]) + 0.1 * rng.standard_normal((40, 32, 2)),
        np.tile(0.4 * np.eye(2), (40, 32, 1, 1)) * np.exp(0.1 * rng.standard_normal((40, 32, 1, 1))),
        np.tile([2.0, 0.5], (40, 32, 1)),
        np.full((40, 32), 0.2) + 0.01 * rng.standard_normal((40, 32)),
        np.full((40, 32), 0.6) + 0.001 * rng.standard_normal((40, 32)),
    )
    apart = {name: 0.9 if name == "D" else 0.1 for name in names}
    free = {"A": 0.4, "B": 0.9, "C": 0.8, "D": 0.7, "E": 0.2}
    likely = {name: np.tile([[apart[name]], [free[name]]], 32) for name in names}
    frame = Frame(np.isin(scores, ("decline_s", "reversion")), np.where(np.isin(scores, "resistant_0"), -2.6, 0.0))

    def built(likely: dict[str, np.ndarray]) -> str:
        pooled.lean(many, leaning.group(scores, frame, np.full(len(scores), 0.5), law, CHAINS, likely))
        return page.build(many).html

    html = built(likely)
    assert "The patients together" in html
    assert "Rates of 5 patients" in html
    assert "more likely than not these do: D." in html
    said = one_line(html)
    assert "No resistant clone is expected in a share of 60 % (60 % to 60 %)" in said
    assert "more likely than not these have one: E and A." in said
    none = one_line(built({name: np.full((2, 32), 0.9) for name in names}))
    assert "(60 % to 60 %); of no patient here a clone is more likely than not." in none
    assert "under the population" in html
    alone = page.build(made_fit(names)).html
    assert "The patients together" in alone
    assert "more likely than not" not in alone
    assert "resistant clone is expected" not in one_line(alone)


def test_strong_correlations_are_told(lonely: store.DataTree) -> None:
    bound = lonely.copy(deep=True)
    bound["posterior"]["washout_days"] = bound["posterior"]["reversion"] * 200.0
    told = page.build(bound)
    (pair,) = told.twin["fit"]["patients"]["A 1"]["correlations"]
    assert pair["pair"] == ["reversion", "washout_days"]
    assert words.sentence(pair["sentence"]) in told.html
    assert "What the series shows only together" in told.html


def test_a_derived_rate_says_what_it_hangs_on() -> None:
    derived = {"informed": None, "depends_on": ["a", "b"], "against_prior": False}
    known = {"a": {"informed": True}, "b": {"informed": False}}
    assert words.data_say(derived, known) == "derived from a and b; not informed: b"
    assert words.data_say(derived, known | {"b": {"informed": True}}) == "derived from a and b, all informed"
    assert words.data_say(known["b"] | {"against_prior": True}, known) == "not informed, against the prior"


def test_forecast_of_another_fit_is_refused(fit: store.DataTree) -> None:
    other = made_forecast(made_fit(seed=5))
    with pytest.raises(StoreError, match="another fit"):
        page.build(fit, other)
    with pytest.raises(StoreError, match="does not hold"):
        page.build(fit, made_forecast(made_fit(("Z",))))


# ---------------------------------------------------------------- the command


def test_command_writes_page_and_twin(folder: Path) -> None:
    result = run(folder, "fit.nc", "fut.nc", "-o", "r.html", "--json")
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert json.loads((folder / "r.json").read_text()) == told
    assert (folder / "r.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")
    assert told["not_for_clinical_use"] is True
    assert {"fit", "forecast", "settings", "provenance", "observable", "unit", "seed"} <= set(told)
    assert told["fit"]["seconds"] == 1.5
    one = told["fit"]["patients"]["A 1"]
    assert {"max_rhat", "min_ess_bulk", "divergences", "ok", "problems", "rates"} <= set(one)
    assert {"q05", "q50", "q95", "unit", "informed", "against_prior", "reason"} <= set(one["rates"]["reversion"])
    assert {"correlations", "next_measurement", "open_questions", "residuals", "predictive"} <= set(one)
    assert told["fit"]["residuals"]["patients"] == 1
    assert told["forecast"]["patients"]["A 1"]["benefit"]["holiday"]["verdict"] == "benefit"
    assert sorted(path.name for path in folder.iterdir()) == ["fit.nc", "fut.nc", "r.html", "r.json"]


def test_diagnose_echoes_its_seed_and_leaves_with_3_for_a_marked_fit(folder: Path) -> None:
    good = CliRunner().invoke(main, ["diagnose", str(folder / "fit.nc"), "--seed", "7", "--json"])
    assert (good.exit_code, json.loads(good.stdout)["seed"]) == (0, 7)
    store.save(made_fit(("A 1",), stuck=True), folder / "marked.nc")
    marked = CliRunner().invoke(main, ["diagnose", str(folder / "marked.nc")])
    assert marked.exit_code == 3
    assert "walkers hardly moved" in marked.stdout


def test_a_marked_fit_is_warned_of_even_in_quiet(folder: Path) -> None:
    store.save(made_fit(("A 1",), stuck=True), folder / "marked.nc")
    result = run(folder, "marked.nc", "-o", "r.html", "--quiet")
    assert (result.exit_code, result.stdout) == (0, "")
    assert result.stderr.startswith("persist: warning: the posterior of A 1 is marked: 4 of 40 walkers")
    assert result.stderr.count("\n") == 1


def test_existing_output_needs_force(folder: Path) -> None:
    (folder / "r.json").write_text("mine")
    result = run(folder, "fit.nc", "-o", "r.html")
    assert result.exit_code == 2
    assert "--force" in result.stderr
    assert (folder / "r.json").read_text() == "mine"
    assert not (folder / "r.html").exists()
    assert run(folder, "fit.nc", "-o", "r.html", "--force", "--quiet").exit_code == 0
    assert json.loads((folder / "r.json").read_text())["forecast"] is None


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        (("fut.nc", "-o", "r.html"), 'a "fit" is needed'),
        (("fit.nc", "fit.nc", "-o", "r.html"), 'a "forecast" is needed'),
        (("text.nc", "-o", "r.html"), "cannot be read as netCDF"),
        (("absent.nc", "-o", "r.html"), "no such file"),
        (("fit.nc", "-o", "r.json"), "cannot end in .json"),
        (("fit.nc", "-o", "fit.nc", "--force"), "one of the inputs"),
    ],
)
def test_bad_files_leave_with_2_and_nothing_written(folder: Path, arguments: tuple[str, ...], reason: str) -> None:
    (folder / "text.nc").write_text("not netCDF")
    before = sorted(path.name for path in folder.iterdir())
    result = run(folder, *arguments)
    assert result.exit_code == 2
    assert reason in result.stderr
    assert result.stderr.count("\n") == 1
    assert sorted(path.name for path in folder.iterdir()) == before


def test_write_is_whole_or_not_at_all(tmp_path: Path) -> None:
    with pytest.raises(UnicodeEncodeError):
        page.write({tmp_path / "a.html": "good", tmp_path / "a.json": "\ud800"})
    assert list(tmp_path.iterdir()) == []


def test_forecast_of_another_fit_is_refused_by_its_path(folder: Path) -> None:
    store.save(made_forecast(made_fit(("A 1",), seed=5)), folder / "other.nc")
    result = run(folder, "fit.nc", "other.nc", "-o", "r.html")
    assert result.exit_code == 2
    assert f"{folder / 'other.nc'}: the forecast was made from another fit" in result.stderr
    assert not (folder / "r.html").exists()


# ---------------------------------------------------------------- words, paths, densities


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (-0.0312, "−0.0312"),
        (12.44, "12.4"),
        (1985.0, "1985"),
        (0.000012, "1.2×10⁻⁵"),
        (1e8, "10⁸"),
        (-1e-9, "−10⁻⁹"),
        (99.96, "100"),
        (math.inf, "∞"),
        (None, "–"),
    ],
)
def test_numbers_are_said_as_a_reader_says_them(value: float | None, text: str) -> None:
    assert words.number(value) == text


def test_shares_are_not_rounded_to_certainty() -> None:
    assert [words.percent(share) for share in (0.0, 0.004, 0.5, 0.996, 1.0)] == [
        "0 %",
        "< 1 %",
        "50 %",
        "> 99 %",
        "100 %",
    ]
    assert words.probability(0.899) == "89 %"
    assert [words.signed(days) for days in (0.04, -3.25, 152.8)] == ["0", "−3.2", "+153"]


@given(st.lists(st.tuples(st.floats(-500, 500), st.floats(-500, 500)), min_size=1, max_size=30))
def test_shortened_paths_end_where_they_did(points: list[tuple[float, float]]) -> None:
    data = "M " + " \nL ".join(f"{x:f} {y:f}" for x, y in points)
    numbers = [float(n) for n in re.findall(r"-?[\d.]+", inline.path(data))]
    ends = np.reshape(numbers, (-1, 2)).sum(axis=0)
    np.testing.assert_allclose(ends, points[-1], atol=0.051)


@pytest.mark.parametrize("z", [np.zeros(50), np.full(50, FARTHEST), np.linspace(-FARTHEST, FARTHEST, 50)])
def test_a_rate_without_spread_or_at_its_bound_is_drawn(z: np.ndarray) -> None:
    """Scores of draws within the support of a prior are clipped, so these are the worst that a fit can come to."""
    assert "<svg" in against_prior("x", "a rate", z, load_pack("clinical", "psa").entries["kill_r_share"])


def test_density_has_its_area() -> None:
    draws = np.random.default_rng(0).standard_normal(4000)
    edges = np.linspace(-9.0, 9.0, 71)
    height = density(draws, edges)
    assert np.sum(height) * (edges[1] - edges[0]) == pytest.approx(1.0, abs=1e-6)
    normal = np.exp(-0.5 * (0.5 * (edges[1:] + edges[:-1])) ** 2) / math.sqrt(2.0 * math.pi)
    np.testing.assert_allclose(height, normal, atol=0.04)


@pytest.mark.parametrize("name", load_pack("clinical", "psa").entries)
def test_ticks_stand_at_round_values_and_apart(name: str) -> None:
    at, text = ticks(load_pack("clinical", "psa").entries[name], -2.5, 2.5)
    assert 2 <= len(at) <= 6
    assert len(set(text)) == len(text)
    assert np.diff(sorted(at)).min() >= 0.19 * 5.0 - 1e-9
