"""A second drug: its words, what it is taken to do, its kill on the engine, and plans that give it beside, between or after
the first.
"""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import fakes
import laws
from persist.cli.main import main
from persist.dynamics.attenuation import mean_exposure
from persist.dynamics.checks import Method
from persist.dynamics.paths import Course, Lanes, Partner
from persist.dynamics.trajectories import steered
from persist.errors import ScheduleError, UsageError
from persist.forecast import beyond
from persist.forecast.endpoints import RULES, judge
from persist.forecast.optimise import wanted
from persist.forecast.order import order
from persist.forecast.outcome import ask, forecast
from persist.forecast.partner import drawn, parse_effect
from persist.forecast.visits import Scale
from persist.forecast.watch import watch
from persist.inference import store
from persist.records.table import read
from persist.report.patient import _never_judged
from persist.treatment.grammar import parse_plan
from persist.types import Cells, Exposure, Grid, Rates

STRONG = "B: kill_s=0.3, kill_p=0.3, kill_r=0.3, onset_days=1, washout_days=1"
SWITCH = "A: until progression: on, then off; B: until progression: off, then on"


def test_each_drug_has_its_plan() -> None:
    both = parse_plan("both=A: on; B: off 90, on")
    assert (both.name, both.text, both.drug) == ("both", "A: on; B: off 90, on", "A")
    assert both.other is not None
    assert both.other.name == both.other.drug == "B"
    assert [piece.days for piece in both.other.pieces] == [90.0, np.inf]
    switch = parse_plan(SWITCH)
    assert switch.then is not None
    assert switch.other is not None
    assert switch.other.then is not None
    assert [one.pieces[0].dose for one in (switch, switch.then, switch.other, switch.other.then)] == [
        1.0,
        0.0,
        0.0,
        1.0,
    ]
    alone = parse_plan("drug x: adaptive 0.5/1.0")
    assert (alone.drug, alone.other, alone.rule is not None) == ("drug x", None, True)


@pytest.mark.parametrize(
    ("text", "said", "column"),
    [
        ("A: on; B: on; C: on", "a third drug", 13),
        ("A: on; off", "two plans do not name two drugs", 8),
        ("A: on; a: off", "two plans do not name two drugs", 8),
        ("A: on; B: adaptive 0.5/1.0", "an adaptive plan of a second drug (B)", 8),
        ("A: until progression: on, then off; B: on", "one of two drugs waits for progression", 37),
        (": on", 'no drug before ":"', 1),
        ("A: B: on", '":" has no place here', 5),
        ("off 90: on", '"off 90" before ":" is no drug', 7),
        ("untilx: on", '"untilx" before ":" is no drug', 7),
        ("A: on; B: of", 'unknown word "of"', 11),
    ],
)
def test_what_is_no_plan_of_two_drugs_is_said_at_its_column(text: str, said: str, column: int) -> None:
    with pytest.raises(ScheduleError) as caught:
        parse_plan(text)
    assert said in str(caught.value)
    assert f"column {column}" in str(caught.value)


def test_what_a_second_drug_does_is_read_from_its_words() -> None:
    found = parse_effect(" drug B : kill_s=0.02..0.06, kill_r = 0.03,onset_days=2 ")
    assert found.drug == "drug B"
    assert found.ranges == {"kill_s": (0.02, 0.06), "kill_r": (0.03, 0.03), "onset_days": (2.0, 2.0)}
    for wrong in ("kill_s=1", "B: kill_q=1", "B: kill_s=", "B: kill_s=0", "B: kill_s=0.2..0.1", "B: kill_s=0..1", "B:",
                  "B: kill_s=1, kill_s=2", "B: kill_s=-1", "B: kill_s=nan", "B: onset_days=3"):  # fmt: skip
        with pytest.raises(UsageError, match="--partner"):
            parse_effect(wrong)


def test_draws_cover_the_range_and_lags_come_from_the_catalogue() -> None:
    effect = parse_effect("venetoclax: kill_s=0.02..0.06, kill_r=0.03")
    partner = drawn(effect, "clinical", 0, "P1", 400)
    np.testing.assert_allclose(np.quantile(partner.kill_s, (0.05, 0.95)), (0.02, 0.06), rtol=0.02)
    assert set(partner.kill_r) == {0.03}
    assert set(partner.kill_p) == {0.0}
    other = drawn(effect._replace(drug="unheard of"), "clinical", 0, "P1", 400)
    assert np.median(other.washout_days) != np.median(partner.washout_days)
    assert abs(np.corrcoef(partner.kill_s, partner.onset_days)[0, 1]) < 0.2


def unasked(memory, cells, seen):
    return memory


@pytest.mark.law
@pytest.mark.parametrize("engine", ["ssa", "leap"])
def test_its_kill_is_a_death_by_its_own_exposure(engine: str) -> None:
    """Cells that only die, of the second drug, given from day 3 to 8 and lagging: how many are left is binomial."""
    number, start, dose = 20_000, (30.0, 20.0, 10.0), np.r_[np.zeros(3), np.ones(5), np.zeros(7)]
    partner = Partner(0.05, 0.1, 0.2, 2.0, 3.0)

    def lanes(members: np.ndarray) -> Lanes:
        count = len(members)
        memory = watch(Scale(np.zeros(count), 1.0, False), (judge(RULES["psa"], (count,), 4),), before=False)
        seen = jnp.zeros((1, count))
        return Lanes(Cells(*start), Rates(kill_s=0.9), 0.0, False, seen, memory, None, partner)

    none = np.zeros(15)
    parts = list(steered(
        lambda members, lanes, path: (np.stack([np.asarray(one)[:, -1] for one in path.cells]), np.asarray(path.course)),
        unasked, jax.random.key(3), lanes, Grid(np.ones(15), none),
        Course(none, none.astype(bool), np.full(15, -1), dose), Method(engine, 0.25), trajectories=number,
    ))  # fmt: skip
    left = np.concatenate([cells for cells, _ in parts], axis=1)
    np.testing.assert_array_equal(parts[0][1][0], [0, 0, *[1] * 5, *[0] * 8])  # one course of treatment, by this drug
    level, area = 0.0, 0.0
    for target in dose:
        step = Exposure(level, target, 2.0 if target > level else 3.0)
        area += float(mean_exposure(step, 1.0))
        level = target + (level - target) * np.exp(-1.0 / step.days)

    def check(area: float) -> None:
        for state, (count, kill) in enumerate(zip(start, partner[:3], strict=True)):
            expected = stats.binom(int(count), np.exp(-kill * area))
            laws.check_mean(left[state], expected.mean(), what=f"cells of state {state}")

    check(area)
    laws.must_fail(lambda: check(1.05 * area))
    laws.must_fail(lambda: check(float(dose.sum())))  # without its lag


@pytest.fixture(scope="module")
def planted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P02",))
    return fakes.posterior(table, {"P02": fakes.truth("P02")})


PLANS = (
    "on",
    "stop=until progression: on, then off",
    f"switch={SWITCH}",
    "between=A: off 120, on; B: on 60, off",
    "idle=A: on; B: off",
)


@pytest.fixture(scope="module")
def told(planted):
    made = forecast(
        planted, ask(PLANS, 420.0, draws=40, replicates=2, visit_every=28.0, start=1100.0, partner=parse_effect(STRONG))
    )
    return made, store.attribute(made, "summary")["P02"], made["endpoints"].to_dataset().sel(patient="P02")


def test_a_second_drug_that_is_never_given_changes_nothing(planted, told) -> None:
    _, _, ends = told
    alone = forecast(planted, ask(("on",), 420.0, draws=40, replicates=2, visit_every=28.0, start=1100.0))[
        "endpoints"
    ].to_dataset()
    for name in ("time_to_progression", "burden_time"):
        np.testing.assert_allclose(ends[name].sel(plan="idle"), ends[name].sel(plan="on"), rtol=1e-12)
    weak = parse_effect("B: kill_s=1e-9")  # asks for no shorter steps
    question = ask(
        ("on", "A: on; B: on 60, off"), 420.0, draws=40, replicates=2, visit_every=28.0, start=1100.0, partner=weak
    )
    beside = forecast(planted, question)["endpoints"].to_dataset().sel(patient="P02", plan="on")
    for name in ("time_to_progression", "burden_time"):
        np.testing.assert_array_equal(beside[name], alone[name].sel(patient="P02", plan="on"))


def test_half_a_day_of_it_is_half_a_day(planted) -> None:
    """A day at a kill of 0.5 a day leaves e^-0.5 of all cells, half a day e^-0.25."""
    plans = ("off", "A: off; B: on 1, off", "A: off; B: on 0.5, off")
    effect = parse_effect("B: kill_s=0.5, kill_p=0.5, kill_r=0.5, onset_days=0, washout_days=0")
    made = forecast(planted, ask(plans, 28.0, draws=20, replicates=1, partner=effect))
    area = made["endpoints"].to_dataset()["burden_time"].sel(patient="P02").values.mean(axis=(1, 2))
    np.testing.assert_allclose(np.log(area[1:] / area[0]), [-0.5, -0.25], atol=0.05)


def test_a_switch_is_the_same_up_to_progression_and_better_from_there(told) -> None:
    _, one, ends = told
    seen = ends["seen"].values
    np.testing.assert_array_equal(seen[1], seen[2])
    assert np.isfinite(seen[1]).any()
    after = one["after"]["switch"]
    assert after["reference"] == "on"
    half = np.quantile(seen[1], 0.5)  # who progresses early has the longest to gain from a drug that kills all
    early = np.isfinite(seen[1]) & (seen[1] <= half)
    area = (
        ends["burden_time_after"].sel(plan="switch").values[early],
        ends["burden_time_after"].sel(plan="stop").values[early],
    )
    assert np.mean(area[0] < area[1]) > 0.9
    assert one["plans"]["switch"]["days_on_drug"] == one["plans"]["stop"]["days_on_drug"]  # of the drug that was fitted


def test_a_drug_between_lowers_the_burden_that_a_rechallenge_meets(told) -> None:
    made, one, ends = told
    area = ends["burden_time"].sel(plan="between").values.mean()
    assert area < ends["burden_time"].sel(plan="on").values.mean()
    assert (ends["restarted"].sel(plan="between") == 120.0).all()
    notes = store.attribute(made, "notes")
    assert any(note.startswith("B was not fitted: what it does is what was given (kill_s 0.3") for note in notes)
    assert store.attribute(made, "settings")["partner"]["drug"] == "B"
    assert one["plans"]["between"]["rechallenge"]["restarts"] == 1.0


@pytest.mark.parametrize(
    ("plans", "effect", "said"),
    [
        (("on", "A: on; B: on"), None, "nothing is known of what B does"),
        (("on", "A: on; C: on"), STRONG, "nothing is known of what C does"),
        (("on", "off"), STRONG, "no plan gives B"),
        (("A: on", "B: on", "A: on; B: on"), STRONG, "B stands first here"),
        (("A: on", "C: on"), None, "C stands first here"),
    ],
)
def test_plans_and_what_is_known_of_the_second_drug_go_together(plans, effect, said) -> None:
    with pytest.raises(UsageError, match=said):
        ask(plans, 100.0, partner=None if effect is None else parse_effect(effect))


def test_the_first_drug_is_the_one_that_was_fitted(planted) -> None:
    named = planted.copy()
    named.attrs = dict(planted.attrs)
    settings = store.attribute(planted, "settings") | {"drug": "A"}
    named.attrs["settings"] = store.as_attribute(settings)
    made = forecast(named, ask(("a: on",), 60.0, draws=10, replicates=1))
    assert store.attribute(made, "summary")["P02"]["plans"]["a: on"]["days_on_drug"] == 60.0
    with pytest.raises(UsageError, match="the drug 'B' was not fitted, but 'A'"):
        forecast(named, ask(("B: on; A: off",), 60.0, draws=10, replicates=1, partner=parse_effect("A: kill_s=0.1")))


def test_a_simulation_and_a_search_are_of_one_drug() -> None:
    with pytest.raises(UsageError, match="a simulation is of one drug"):
        order("A: on; B: off", 10)
    for reference in ("A: on; B: off", "A: on"):
        with pytest.raises(UsageError, match="a search is of one drug"):
            wanted(100.0, reference=reference)


def test_a_page_does_not_call_unjudged_what_the_second_drug_makes_judged(planted) -> None:
    made = forecast(planted, ask(("on", "A: off; B: on"), 420.0, draws=10, replicates=1, partner=parse_effect(STRONG)))
    one, asked = store.attribute(made, "summary")["P02"], store.attribute(made, "settings")
    assert one["plans"]["A: off; B: on"]["days_on_drug"] == 0.0
    assert one["plans"]["A: off; B: on"]["judged"]
    assert not _never_judged(one, "A: off; B: on", asked)


def test_why_nothing_is_compared_after_progression_is_said_of_two_drugs_too(planted) -> None:
    made = forecast(planted, ask((SWITCH,), 60.0, draws=10, replicates=1, partner=parse_effect(STRONG)))
    said = beyond.sentences(store.attribute(made, "summary")["P02"]["after"], store.attribute(made, "settings"))
    assert len(said) == 1
    assert "nothing can be compared" in said[0]


def test_the_command_takes_it_and_says_what_is_wrong(tmp_path, planted) -> None:
    store.save(planted, tmp_path / "fit.nc")
    words = ["forecast", str(tmp_path / "fit.nc"), "--plan", "on", "--plan", f"switch={SWITCH}", "--horizon", "90",
             "--draws", "4", "--replicates", "1", "-o", str(tmp_path / "f.nc")]  # fmt: skip
    wrong = CliRunner().invoke(main, words)
    assert wrong.exit_code == 2
    assert 'give persist forecast --partner "B: kill_s=' in wrong.stderr
    right = CliRunner().invoke(main, [*words, "--partner", STRONG])
    assert right.exit_code == 0, right.output
    assert "B was not fitted" in right.stderr
