"""What theory says of plans, regained: by the search itself, by the mean field, and by exact extinction."""

from __future__ import annotations

from typing import Any

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import fakes
import laws
from persist import keys
from persist.dynamics.moments import mean_field
from persist.dynamics.reactions import REACTIONS, per_capita, surroundings
from persist.dynamics.trajectories import simulate
from persist.forecast.candidates import FAMILIES, coarse
from persist.forecast.optimise import told
from persist.forecast.search import Terms, search
from persist.treatment.exposure import relax
from persist.treatment.schedule import grid, parse_plan, plan_schedule
from persist.types import Cells, Exposure, Grid, Rates

DRAWS, HORIZON, LIMIT = 8, 365.0, 3e9
ON = parse_plan("on")
SENSITIVE = {"birth_s": 0.14, "death_s": 0.13, "kill_s": 0.06}


def best(rates: dict[str, float], cells: Cells, families: tuple[str, ...] = tuple(FAMILIES)) -> dict[str, Any]:
    """What the search finds for a tumour of known rates that is on drug, until `LIMIT` cells."""
    who = fakes.tumour(rates, cells, draws=DRAWS, horizon=HORIZON, limit=LIMIT)
    terms = Terms(families, ON, replicates=1)
    return told(search(who, terms), who, terms, float(DRAWS))


# ---------------------------------------------------------------- no return, no gain

PERSISTING = SENSITIVE | {"birth_p": 0.006, "tolerance_drug": 1e-3, "reversion_block": 1.0}


def test_where_nothing_comes_back_no_plan_beats_the_full_dose() -> None:
    """r_0 = 0 and no cost; and with reversion, of the same tumour, a holiday does."""
    cells = Cells(1e8, 9e8, 0.0)
    none = best(PERSISTING, cells)
    assert none["keep_reference"]
    assert max(row["gain_days"]["mean"] for row in none["candidates"]) <= 0.0
    assert min(row["gain_days"]["mean"] for row in none["candidates"]) < 0.0
    back = best(PERSISTING | {"reversion": 0.05}, cells, ("holidays",))
    assert not back["keep_reference"]
    assert back["gain_days"]["mean"] > 50.0


def ends(rates: Rates, cells: Cells, plan: str, days: float = HORIZON) -> float:
    """Cells in all at the end of a plan, by the mean field."""
    steps, _ = grid(plan_schedule(parse_plan(plan), 0.0, days), np.array([days]), start=0.0, stop=days, max_step=0.5)
    more = (0, 1024 - len(steps.length))
    steps = Grid(np.pad(steps.length, more), np.pad(steps.dose, more))  # one size, one program
    path = _field(cells, rates, steps, relax(steps, rates.onset_days, rates.washout_days))
    return float(np.asarray(path.total)[-1])


@jax.jit
def _field(cells: Cells, rates: Rates, steps: Grid, exposure: Exposure) -> Cells:
    return mean_field(cells, rates, steps.length, exposure)


RATE = st.floats(0.0, 1.0)


@settings(deadline=None, max_examples=60)
@given(st.lists(RATE, min_size=7, max_size=7), st.sampled_from(coarse(("cycles", "holidays"), HORIZON)))
def test_no_holiday_helps_without_return_and_without_cost(level: list[float], candidate: Any) -> None:
    """For all rates of the clinic: fewest cells at the end under the drug throughout, if P outgrow S by nothing."""
    net = 0.003 + 0.047 * level[0]
    rates = Rates(
        birth_s=net + 0.1, death_s=0.1, kill_s=0.02 + 0.13 * level[1], tolerance_drug=0.05 * level[2],
        tolerance_base=1e-3 * level[3], birth_p=net * level[4], kill_p=0.01 * level[5], birth_r=0.1 + net, death_r=0.1,
        mutation=1e-6 * level[6],
    )  # fmt: skip
    cells = Cells(1e9, 1e9 * level[5], 1e5 * level[6])
    assert ends(rates, cells, "on") <= ends(rates, cells, candidate.plan.text) * (1.0 + 1e-9)


def test_with_return_the_same_comparison_finds_holidays_that_help() -> None:
    rates = Rates(**PERSISTING, reversion=0.05)
    cells = Cells(1e8, 9e8, 0.0)
    help_ = [
        one for one in coarse(("holidays",), HORIZON) if ends(rates, cells, one.plan.text) < ends(rates, cells, "on")
    ]
    assert help_


# ---------------------------------------------------------------- resistant cells that need the drug


def test_where_resistant_cells_need_the_drug_cycles_beat_it() -> None:
    """Das Thakur et al. 2013, 10.1038/nature11814; without the need, they do not."""
    rates = SENSITIVE | {"birth_r": 0.04, "death_r": 0.03}
    cells = Cells(1e7, 0.0, 1e9)
    addicted = best(rates | {"withdrawal_r": 0.05}, cells, ("cycles",))
    assert not addicted["keep_reference"]
    assert addicted["gain_days"]["mean"] > 100.0
    free = best(rates, cells, ("cycles",))
    assert free["keep_reference"]
    assert free["gain_days"]["mean"] <= 0.0


# ---------------------------------------------------------------- how the dose induces tolerance

PULSES = ("on 7, off 7, repeat", "on 5, off 10, repeat", "on 30, off 15, repeat", "on 15, off 30, repeat")
STEADY = ("dose 0.1", "dose 0.25", "dose 0.5", "dose 0.75")


@pytest.mark.parametrize("reversion", [0.03, 0.1])
def test_induction_in_proportion_asks_for_low_doses_and_switch_like_induction_for_pulses(reversion: float) -> None:
    """Gunnarsson 2025. Drug keeps persisters from returning (phi 1), and the kill is linear in the dose."""
    rates = Rates(
        **SENSITIVE | {"kill_s": 0.1}, birth_p=0.012, tolerance_base=1e-5, tolerance_drug=0.2, reversion=reversion,
        reversion_block=1.0,
    )  # fmt: skip
    cells = Cells(1e9, 1e6, 0.0)

    def fewest(power: float, plans: tuple[str, ...]) -> float:
        return min(ends(rates._replace(tolerance_power=power), cells, plan) for plan in plans)

    for power, better, worse in ((1.0, STEADY, PULSES), (0.01, PULSES, STEADY)):
        assert fewest(power, better) < fewest(power, worse)
        assert fewest(power, better) < 0.5 * fewest(power, ("on",))
    assert fewest(1.0, PULSES) == pytest.approx(fewest(0.01, PULSES))  # full doses induce the same


# ---------------------------------------------------------------- the probability of a cure

FOUNDERS = 300
DOSES = np.array([0.05, 0.1, 0.15, 0.2, 0.4, 0.7, 1.0])
DRIVEN = Rates(
    birth_p=0.05, death_p=0.03, kill_p=0.05, kill_half=0.1, escape_drug=5e-4, birth_r=0.14, death_r=0.1
)  # fmt: skip


def cure(rates: Rates, dose: float) -> float:
    """Exact probability that founders P and all that come of them die out at a constant dose.

    A line of R dies out with d_R / b_R, one of P with the smaller root of b q^2 - (b + d + w) q + d + w d_R / b_R = 0.
    """
    each = per_capita(rates, surroundings(rates, dose, 1.0, 0.0))
    named = {row.name: float(rate) for row, rate in zip(REACTIONS, each, strict=True)}
    born, dies, turns = named["persister division"], named["persister death"], named["escape"]
    lost = named["resistant death"] / named["resistant division"]
    middle = born + dies + turns
    line = (middle - np.sqrt(middle**2 - 4.0 * born * (dies + turns * lost))) / (2.0 * born)
    return float(line**FOUNDERS)


def test_a_cure_is_likeliest_at_a_dose_in_between_where_the_drug_drives_mutation() -> None:
    """Kuosmanen 2021: the kill saturates, the mutability does not; without the drive, more is better."""
    driven = [cure(DRIVEN, dose) for dose in DOSES]
    assert 0 < int(np.argmax(driven)) < len(DOSES) - 1
    assert max(driven) > driven[-1] + 0.1
    steady = DRIVEN._replace(escape_base=DRIVEN.escape_drug, escape_drug=0.0)
    assert np.all(np.diff([cure(steady, dose) for dose in DOSES]) > 0.0)


@pytest.mark.law
def test_the_engine_cures_as_often_as_the_exact_law_says() -> None:
    days, number = 900, 3000
    for dose in (0.2, 0.4, 1.0):
        steps, level = Grid(np.ones(days), np.full(days, dose)), np.full(days, dose)
        end = simulate(
            keys.key(0, "cure", f"{dose:g}"), Cells(0.0, float(FOUNDERS), 0.0), DRIVEN, steps,
            Exposure(level, level, np.zeros(days)), trajectories=number, record=np.arange(days) == days - 1,
        )  # fmt: skip
        cured = np.asarray(end.total)[:, 0] == 0.0
        laws.check_share(cured, cure(DRIVEN, dose), what=f"cured at dose {dose:g}", slack=0.01)
        planted = cure(DRIVEN._replace(escape_drug=1.5 * DRIVEN.escape_drug), dose)
        laws.must_fail(lambda cured=cured, planted=planted: laws.check_share(cured, planted, slack=0.01))
