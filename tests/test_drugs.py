"""The drug catalogue: its rules and what breaks them, what follows for priors, the command."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from click.testing import CliRunner, Result

from persist.cli.main import main
from persist.inference import store
from persist.inference.drug_priors import follows, pack_for
from persist.inference.priors import load_pack
from persist.treatment import catalogue
from persist.treatment.catalogue_checks import LISTS, MARKS, STATES, faults
from persist.treatment.grammar import parse_plan
from persist.treatment.schedule import plan_schedule

CONTRACT = (
    *(
        "name",
        "aliases",
        "class",
        "targets",
        "half_life",
        "effect_half_life",
        "dosing",
        "toxicity",
        "reversible",
        "genetic",
    ),
    *("partners", "biomarkers", "sources", "marks"),
)
NAMED = (
    *(
        "venetoclax",
        "navitoclax",
        "ABT-737",
        "AZD4320",
        "S64315",
        "AMG-176",
        "DT2216",
        "LCL161",
        "xevinapant",
        "birinapant",
    ),
    *("tolinapant", "dulanermin", "mapatumumab", "conatumumab", "ABBV-621", "INBRX-109", "TAS266", "FLIP inhibitor"),
    *("vemurafenib", "osimertinib", "cetuximab", "abiraterone", "olaparib", "doxorubicin", "PI3K/AKT inhibitor"),
    *("sotorasib", "crizotinib", "androgen_deprivation", "HDAC inhibitor", "KDM5 inhibitor"),
)


CONTENT = catalogue.read()


def run(*words: str) -> Result:
    return CliRunner().invoke(main, ["drugs", *words])


def told(*words: str) -> dict[str, Any]:
    result = run(*words, "--json")
    assert result.exit_code == 0
    found: dict[str, Any] = json.loads(result.stdout)
    return found


def numbers(value: Any, holder: Any = None) -> Iterator[Any]:
    """The table that each number stands in directly; None for a number that stands in none."""
    if isinstance(value, dict):
        for one in value.values():
            yield from numbers(one, value)
    elif isinstance(value, list):
        for one in value:
            yield from numbers(one)
    elif isinstance(value, (int, float)) and not isinstance(value, bool):
        yield holder


def test_every_number_has_a_source_and_a_mark() -> None:
    content = CONTENT
    holders = list(numbers(content))
    assert len(holders) > 20
    for holder in holders:
        assert holder is not None
        assert holder["mark"] in MARKS
        assert content["sources"][holder["source"]]["cite"]
    assert faults(content) == []


def test_words_with_numbers_are_facts_too() -> None:
    """A number may hide in a sentence: every text of a class or an agent stands in a table with mark and source."""
    for part in ("class", "agent"):
        for one in CONTENT[part].values():
            for key in LISTS:
                assert all({"mark", "source"} <= set(fact) for fact in one.get(key, []))


def _set(path: str, value: Any) -> Callable[[dict[str, Any]], None]:
    def plant(content: dict[str, Any]) -> None:
        *way, last = path.split("/")
        at: Any = content
        for step in way:
            at = at[int(step)] if isinstance(at, list) else at[step]
        at[last] = value

    return plant


BAD = {
    "a bare half-life": (_set("agent/venetoclax/half_life", 26), "neither a table"),
    "a half-life without a mark": (
        _set("agent/venetoclax/half_life", {"value": 26, "unit": "hours", "source": "ours"}),
        "no evidence mark",
    ),
    "a half-life without a source": (
        _set("agent/venetoclax/half_life", {"value": 26, "unit": "hours", "mark": "V"}),
        "no source",
    ),
    "a source that nobody listed": (_set("agent/venetoclax/half_life/source", "smith-2020"), "no source"),
    "a mark that is none": (_set("agent/venetoclax/half_life/mark", "X"), "no evidence mark"),
    "an assumption called read": (_set("agent/venetoclax/half_life/source", "ours"), "mark A or D"),
    "a number in a new key": (_set("agent/venetoclax/potency", 0.01), "unknown key potency"),
    "a number among targets": (_set("agent/venetoclax/targets", ["BCL-2", 7]), "no source of their own"),
    "a text without a source": (_set("agent/venetoclax/toxicity", ["lysis in 6 %"]), "neither a table"),
    "a table without its unit": (_set("agent/venetoclax/half_life/unit", "weeks"), "hours or days"),
    "a time of nothing": (_set("agent/venetoclax/half_life/value", 0), "over 0"),
    "ends that cross": (_set("agent/dulanermin/half_life/low", 3), "low is over high"),
    "a plan that is none": (_set("agent/navitoclax/dosing/0/plan", "on 3"), "does not say what follows"),
    "a state that is none": (_set("class/bcl-2-inhibitor/reversible/0/state", "Q"), "no such state"),
    "a genetic route to P": (_set("class/bcl-2-inhibitor/genetic/0/state", "P"), "no such state"),
    "a speed that is none": (_set("class/bcl-2-inhibitor/reversible/0/speed", "soon"), "no such time-scale"),
    "a reading without a mark": (_set("class/bcl-2-inhibitor/reversible/0/reading", ""), "reading"),
    "a partner that is not here": (_set("agent/venetoclax/partners/0/with", "aspirin"), 'called "aspirin"'),
    "a class that is not here": (_set("agent/venetoclax/class", "pills"), "no class"),
    "a class that says nothing of toxicity": (
        lambda content: content["class"]["bcl-2-inhibitor"].pop("toxicity"),
        "lacks toxicity",
    ),
    "a name twice": (_set("agent/navitoclax/aliases", ["abt 199"]), "a name of venetoclax too"),
}


@pytest.mark.parametrize("name", BAD)
def test_planted_faults_are_found(name: str) -> None:
    plant, words = BAD[name]
    content = copy.deepcopy(CONTENT)
    plant(content)
    assert any(words in fault for fault in faults(content)), faults(content)


def test_the_catalogue_has_what_was_asked_for() -> None:
    content = catalogue.catalogue()
    used = {one["class"] for one in content["agent"].values()}
    assert used == set(content["class"])
    assert len(used) >= 25
    assert all(catalogue.find(name) for name in NAMED)
    for entry in catalogue.entries():
        assert set(CONTRACT) <= set(entry)
        assert all(route["state"] in STATES for route in entry["reversible"])
        assert all(route["state"] == "R" for route in entry["genetic"])
    speeds = {route["speed"] for entry in catalogue.entries() for route in entry["reversible"]}
    assert speeds == set(content["time_scales"]) == {"fast", "intermediate", "slow"}


def test_cross_resistance_and_the_work_alone() -> None:
    routes = {route["text"][:9]: route for route in catalogue.entry("venetoclax")["genetic"]}
    assert "mcl-1-inhibitor" in routes["BAX G179E"]["also_resists"]
    assert "mcl-1-inhibitor" not in routes["BCL-2 G10"]["also_resists"]
    assert any("F104L" in route["text"] for route in catalogue.entry("venetoclax")["genetic"])
    alone = {name: catalogue.entry(name)["alone"] for name in ("venetoclax", "dulanermin", "mapatumumab", "ABT-737")}
    assert alone == {"venetoclax": True, "dulanermin": False, "mapatumumab": False, "ABT-737": None}


PLANS = [
    (entry["name"], dose["name"], dose["plan"])
    for entry in catalogue.entries()
    for dose in entry["dosing"]
    if "plan" in dose
]


@pytest.mark.parametrize(("agent", "name", "plan"), PLANS)
def test_every_plan_is_of_the_grammar(agent: str, name: str, plan: str) -> None:
    read = parse_plan(f"{name.replace(',', '')}={plan}")
    assert read.text == plan
    assert len(plan_schedule(read, 0.0, 365.0).start) >= 1


def test_the_ramp_is_that_of_the_label() -> None:
    ramp = next(dose for dose in catalogue.entry("venetoclax")["dosing"] if "plan" in dose)
    assert [400.0 * piece.dose for piece in parse_plan(ramp["plan"]).pieces] == pytest.approx([20, 50, 100, 200, 400])


def test_lags_follow_from_half_lives() -> None:
    """tau = T / log 2: half of it at least by a half-life in plasma, twice at most by one of the effect."""
    found = catalogue.lags(catalogue.entry("navitoclax"))
    assert found["washout_days"].low == pytest.approx(8.9 / 24 / math.log(2) / 2)
    assert found["washout_days"].high is None
    assert found["onset_days"].low == found["washout_days"].low
    assert "onset_days" not in catalogue.lags(catalogue.entry("mapatumumab"))  # an infusion is there at once
    effect = catalogue.lags(catalogue.entry("LCL161"))["washout_days"]
    assert (effect.low, effect.high) == (None, pytest.approx(7 / math.log(2) * 2))
    assert catalogue.lags(catalogue.entry("dulanermin"))["washout_days"].low == catalogue.SHORTEST_DAYS
    assert catalogue.lags(catalogue.entry("ABT-737")) == {}


@pytest.mark.parametrize("mark", ["M", "A"])
def test_what_is_remembered_or_assumed_bounds_no_prior(mark: str) -> None:
    entry = copy.deepcopy(catalogue.entry("venetoclax"))
    entry["half_life"]["mark"] = mark
    assert catalogue.lags(entry) == {}


def test_every_range_makes_a_prior() -> None:
    own = load_pack("clinical", "one").entries
    for agent in catalogue.catalogue()["agent"]:
        ranges, sentences = follows(agent, "clinical")
        assert len(ranges) == len(sentences)
        for one in ranges:
            name = one.partition("=")[0]
            prior = load_pack(f"clinical+{one}", "one").entries[name]
            assert 0 < prior.low < prior.high
            assert own[name] != prior


def test_a_fit_to_a_drug_takes_its_ranges() -> None:
    name, notes = pack_for("ABT-199", "clinical", (), None)
    assert name == "clinical+washout_days=0.781..90+onset_days=0.781..30"
    assert len(notes) == 2
    assert all("drug catalogue" in note and "venetoclax-guide" in note and "--prior" in note for note in notes)


def test_what_the_user_says_goes_before_the_catalogue() -> None:
    given = ("washout_days=3..9",)
    name, notes = pack_for("venetoclax", "clinical", given, None)
    assert name == "clinical+washout_days=3..9+onset_days=0.781..30"
    assert len(notes) == 1


@pytest.mark.parametrize("drug", [None, "drug", "chemo", "androgen_deprivation", "AZD5991"])
def test_where_nothing_is_known_the_pack_stays(drug: str | None) -> None:
    assert pack_for(drug, "clinical", (), None) == ("clinical", [])


def test_half_lives_of_patients_say_nothing_of_a_dish() -> None:
    assert pack_for("doxorubicin", "in-vitro", (), None) == ("in-vitro", [])


def test_a_fit_leans_on_a_population_of_its_own_pack() -> None:
    with_drug = pack_for("venetoclax", "clinical", (), None)[0]
    assert pack_for("venetoclax", "clinical", (), "clinical") == ("clinical", [])
    assert pack_for("venetoclax", "clinical", (), with_drug)[0] == with_drug


@pytest.mark.parametrize(
    ("drug", "more", "pack", "said"),
    [
        ("navitoclax", (), "clinical+washout_days=0.267..90+onset_days=0.267..30", 2),
        ("navitoclax", ("--prior", "onset_days=1..4"), "clinical+onset_days=1..4+washout_days=0.267..90", 1),
        ("chemo", (), "clinical", 0),
        (None, (), "clinical", 0),
    ],
)
def test_the_command_fits_under_them_and_says_so(
    drug: str | None, more: tuple[str, ...], pack: str, said: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    burden, doses = tmp_path / "b.csv", tmp_path / "t.csv"
    burden.write_text("patient_id,time_days,burden\nA,0,10\nA,28,5\nA,56,4\n")
    doses.write_text(f"patient_id,start_days,stop_days,drug,dose\nA,0,,{drug or 'navitoclax'},1\n")
    seen: dict[str, Any] = {}

    def fitted(table: Any, settings: Any, **how: Any) -> SimpleNamespace:
        seen.update(settings=settings, table=table)
        return SimpleNamespace(attrs={"notes": store.as_attribute(list(table.notes))})

    def concluded(result: Any, output: Path, notes: tuple[str, ...], **how: Any) -> int:
        seen.update(notes=notes)
        return 0

    monkeypatch.setattr("persist.inference.fit.fit", fitted)
    monkeypatch.setattr("persist.cli.fit.conclude", concluded)
    monkeypatch.setattr("persist.cli.fit.keep_compiled", lambda: None)
    words = ["fit", str(burden), "--treatments", str(doses), "--observable", "psa", "-o", str(tmp_path / "f.nc"), *more]
    assert CliRunner().invoke(main, [*words, *(["--drug", drug] if drug else [])]).exit_code == 0
    assert seen["settings"].pack == pack
    assert sum("drug catalogue" in note for note in seen["notes"]) == said


def test_the_page_counts_right() -> None:
    page = (Path(__file__).parent.parent / "docs" / "drugs.md").read_text(encoding="utf-8")
    content = catalogue.catalogue()
    assert f"{len(content['class'])} classes of cancer drugs and {len(content['agent'])} agents" in page


def test_json_keeps_its_contract() -> None:
    found = told()
    assert len(found["drugs"]) == len(catalogue.catalogue()["agent"])
    for one in found["drugs"]:
        assert set(CONTRACT) <= set(one)
        assert all(isinstance(one[key], list) for key in ("aliases", "targets", *LISTS, "sources"))
        assert one["half_life"] == "unknown" or {"unit", "mark", "source", "of"} <= set(one["half_life"])
    navitoclax = told("abt-263")["drugs"][0]
    assert (navitoclax["name"], navitoclax["half_life"]["value"]) == ("navitoclax", 8.9)
    assert {one["name"] for one in told("--class", "MCL-1 inhibitor")["drugs"]} > {"S64315", "AMG-176"}


def test_an_entry_is_told_with_its_sources() -> None:
    result = run("VENETOCLAX")
    assert result.exit_code == 0
    for words in (
        "ABT-199",
        "26 hours [V, venetoclax-guide]",
        "tumour lysis",
        "G101V",
        "BAX G179E",
        "Blombery",
        "clinical use",
    ):
        assert words in result.stdout
    assert run("venetoclax", "--quiet").stdout == ""


def test_the_list_has_a_line_an_agent() -> None:
    lines = run().stdout.splitlines()
    for name, one in catalogue.catalogue()["agent"].items():
        assert any(line.startswith(f"  {name} ") for line in lines)
        assert any(line.startswith(f"{one['class']}: ") for line in lines)


@pytest.mark.parametrize(
    ("words", "parts"),
    [
        (("venetoclx",), ('did you mean "venetoclax"?', "NAME")),
        (("aspirin",), ('no drug is called "aspirin";',)),
        (("--class", "bcl2"), ('did you mean "bcl-2-inhibitor"?', "--class")),
        (("venetoclax", "--class", "taxane"), ("is not of the class taxane",)),
    ],
)
def test_what_is_not_there_is_one_line(words: tuple[str, ...], parts: tuple[str, ...]) -> None:
    result = run(*words)
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.count("\n") == 1
    assert all(part in result.stderr for part in parts)
