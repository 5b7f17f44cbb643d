"""How a step of the leap is divided: exact means of S and P however long the step, and the step chosen from its error."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from scipy.linalg import expm

from laws import check_mean, check_same, must_fail
from persist.dynamics import sampling, stepsize
from persist.dynamics.branching import expected_step
from persist.dynamics.moments import mean_field
from persist.dynamics.reactions import REACTIONS, Reaction
from persist.dynamics.splitting import FAR, grouped, mean_exact
from persist.dynamics.trajectories import simulate
from persist.errors import RatesError
from persist.types import Cells, Exposure, Grid, Rates

SPR = Rates(
    birth_s=0.10, death_s=0.02, kill_s=0.25, birth_p=0.01, death_p=0.01, birth_r=0.08, death_r=0.02,
    tolerance_base=1e-4, tolerance_drug=0.02, reversion=0.05, reversion_block=0.96, mutation=1e-6, escape_base=1e-6,
    capacity=1e10,
)  # fmt: skip
HALF = Cells(5e9, 5e6, 0.0)
NETS = st.floats(-3.0, 3.0)
SWITCHING = st.one_of(st.just(0.0), st.floats(1e-12, 1e6))


@settings(deadline=None, max_examples=200)
@example(0.02, 0.0, 0.02, 0.0)
@example(-0.2, 0.01, 0.02, 0.002)
@example(0.1, -20.0, 0.02, 0.0)
@example(3.0, -300.0, 100.0, 0.0)
@example(50.0, -50.0, 1.0, 0.0)
@given(NETS, NETS, SWITCHING, SWITCHING)
def test_growth_and_switching_put_together_are_the_matrix_exponential(
    own_s: float, own_p: float, there: float, back: float
) -> None:
    growth, moving = (np.asarray(part)[:, 0] for part in _exact(own_s, own_p, there, back))
    assert np.all((moving >= 0) & (moving <= 1))
    assert np.all(np.abs(growth - [own_s, own_p]) <= FAR)
    switch = np.array([[1 - moving[0], moving[1]], [moving[0], 1 - moving[1]]])
    made = np.exp(growth / 2)[:, None] * switch * np.exp(growth / 2)
    if near(made, expm(np.array([[own_s - there, back], [there, own_p - back]]))):
        return
    np.testing.assert_allclose(growth, [own_s, own_p], rtol=1e-12, atol=1e-12)  # too far from the rates: plain Strang
    assert near(switch, expm(np.array([[-there, back], [there, -back]])))
    assert abs(own_s - own_p) * max(there, back) > FAR / 2


def near(made: np.ndarray, asked: np.ndarray) -> bool:
    return np.allclose(made, asked, rtol=1e-6, atol=1e-7 * np.abs(asked).max())


_compiled = jax.jit(mean_exact)


def _exact(*rates: float) -> tuple[jax.Array, jax.Array]:
    growth, moving = _compiled(*(jnp.full(1, rate, float) for rate in rates))
    return growth, moving


@pytest.mark.parametrize("rates", [(-1e4, 0.0, 1e3, 0.0), (0.1, 0.0, 1e12, 1e12), (1e3, -1e3, 0.0, 0.0)])
def test_extreme_rates_of_a_step_stay_numbers(rates: tuple[float, ...]) -> None:
    growth, moving = _exact(*rates)
    assert np.all(np.isfinite(growth))
    assert np.all((np.asarray(moving) >= 0) & (np.asarray(moving) <= 1))


def test_two_days_in_one_step_have_the_exact_mean_of_s_and_p() -> None:
    level, rates = Exposure(0.4, 0.4, 0.0), SPR._replace(capacity=np.inf, kill_s=0.5, tolerance_drug=0.3)
    drift = np.array([[0.08 - 0.2 - 1e-4 - 0.12, 0.05 * (1 - 0.96 * 0.4)], [1e-4 + 0.12, -0.05 * (1 - 0.96 * 0.4)]])
    rates = rates._replace(mutation=0.0)
    after = jax.jit(expected_step)(jnp.array([[1e6], [2e5], [0.0]]), rates, level, 2.0, 1)
    np.testing.assert_allclose(after[:2, 0], expm(2 * drift) @ [1e6, 2e5], rtol=1e-12)


@pytest.mark.law
@pytest.mark.parametrize("kill_p", [5.0, 20.0])
def test_variance_where_tolerant_cells_die_at_once(kill_p: float) -> None:
    """Growth of S and P far apart: the pair with the exact mean would move nearly all of S and let it grow back."""
    grid, level = Grid(np.ones(2), np.ones(2)), Exposure(np.ones(2), np.ones(2), np.zeros(2))
    rates = Rates(birth_s=0.12, death_s=0.02, tolerance_drug=0.02, kill_p=kill_p)
    go = partial(simulate, jax.random.key(5), Cells(1000.0, 0.0, 0.0), rates, grid, level, trajectories=4000)
    leap, exact = (np.asarray(go(engine=engine).sensitive)[:, -1] for engine in ("leap", "ssa"))
    check_same(leap, exact, what="mean S", slack=0.002 * exact.mean())
    check_same((leap - leap.mean()) ** 2, (exact - exact.mean()) ** 2, what="variance S", slack=0.03 * exact.var())
    must_fail(
        lambda: check_same(1.5 * (leap - leap.mean()) ** 2, (exact - exact.mean()) ** 2, slack=0.03 * exact.var())
    )


def test_fast_division_takes_short_leaps() -> None:
    """A line of cells that would outgrow the walk of one draw."""
    grid, level = Grid(np.ones(1), np.ones(1)), Exposure(np.ones(1), np.ones(1), np.zeros(1))
    go = partial(simulate, jax.random.key(5), Cells(0.0, 0.0, 1.0), grid=grid, exposure=level, trajectories=20_000)
    for max_step in (None, 1.0):
        seen = np.asarray(go(rates=Rates(birth_r=8.0), max_step=max_step).resistant)[:, 0]
        check_mean(seen, np.exp(8.0))
    must_fail(lambda: check_mean(0.9 * seen, np.exp(8.0)))
    with pytest.raises(RatesError, match="divisions a day are too many"):
        go(rates=Rates(birth_r=1e4))


def along(days: int) -> tuple[Grid, Exposure]:
    dose = np.array([1.0] * (days // 2) + [0.0] * (days - days // 2))
    return Grid(np.ones(days), dose), Exposure(dose, dose, np.zeros(days))


def test_the_error_of_a_step_is_known() -> None:
    """The error that is told against the mean field's own, of second order in the step."""
    grid, level = along(120)
    truth = jax.jit(mean_field)(HALF, SPR, np.full(1920, 1 / 16), jax.tree.map(lambda part: np.repeat(part, 16), level))
    for substeps in (1, 2, 4):
        state, worst = jnp.array(HALF, float)[:, None], 0.0
        for day in range(120):
            here = Exposure(level.start[day], level.target[day], 0.0)
            state = _one_day(state, here, substeps)
            asked = np.array([float(path[16 * day + 15]) for path in truth])
            worst = max(worst, float(np.max(np.abs(np.asarray(state)[:, 0] - asked) / np.maximum(asked, 1.0))))
        assert stepsize.error(HALF, SPR, grid, level, substeps) == pytest.approx(worst, rel=0.25)


_one_day = jax.jit(lambda state, level, substeps: expected_step(state, SPR, level, 1.0, substeps))


def test_the_step_is_the_longest_within_the_bound() -> None:
    grid, level = along(120)
    found = {bound: stepsize.choose(HALF, SPR, grid, level, bound) for bound in (1e-2, 1e-3, 1e-4, 1e-5)}
    assert [step.substeps for step in found.values()] == [1, 1, 4, 16]
    for bound, step in found.items():
        assert step.error <= bound
        assert step.days == 1.0 / step.substeps
        assert step.substeps == 1 or stepsize.error(HALF, SPR, grid, level, step.substeps // 2) > bound


def test_the_worst_of_many_rates_decides() -> None:
    grid, level = along(40)
    lagging = SPR._replace(kill_s=np.array([0.25, 3.0]))
    quick = jax.tree.map(lambda part: np.tile(np.asarray(part)[:, None], (1, 2)), level)
    assert stepsize.choose(HALF, lagging, grid, quick).substeps > stepsize.choose(HALF, SPR, grid, level).substeps


def test_each_trajectory_has_the_step_that_it_needs_alone() -> None:
    """Along two grids of different lengths: the worse of the two decides, and no other trajectory does."""
    kill, both = np.array([0.25, 3.0, 0.25, 12.0]), [along(40), along(25)]
    wide = Rates(*(np.full(4, rate) for rate in SPR._replace(kill_s=0.0)))._replace(kill_s=kill)

    def filled(parts: list[np.ndarray], grid: np.ndarray) -> np.ndarray:
        return np.stack([np.pad(part, (0, 40 - len(part))) for part in parts])[grid].T

    def ways(grid: np.ndarray, one: np.ndarray) -> stepsize.Ways:
        level = Exposure(*(filled([np.asarray(each[1][field]) for each in both], grid) for field in range(3)))
        mine = jax.tree.map(lambda part: part[one], (Cells(*(np.full(4, count) for count in HALF)), wide))
        return stepsize.Ways(*mine, filled([each[0].length for each in both], grid), level)

    found = stepsize.each(ways, wide, [each[0].length for each in both])
    for place, kill_s in enumerate(kill):
        rates, most = SPR._replace(kill_s=kill_s), int(found.substeps[place])
        assert most == max(stepsize.choose(HALF, rates, *each).substeps for each in both)
        worst = max(stepsize.error(HALF, rates, *each, most) for each in both)
        assert found.error[place] == pytest.approx(worst, rel=1e-6)
    assert len(set(found.substeps)) == 3
    assert found.finest == stepsize.Step(max(found.substeps), 1.0 / max(found.substeps), max(found.error))


def test_where_no_step_will_do_the_error_is_told() -> None:
    grid = Grid(np.ones(10), np.ones(10))
    spiky = Exposure(np.zeros(10), np.ones(10), np.full(10, 1e-4))
    step = stepsize.choose(HALF, SPR._replace(kill_s=50.0), grid, spiky)
    assert step.substeps == stepsize.MOST_SUBSTEPS
    assert step.error > stepsize.BOUND


def test_a_reaction_without_a_law_is_refused() -> None:
    pair = Reaction("pairing", (2, 0, 0), 0, "", "1/day", lambda rates, around: rates.birth_s)
    with pytest.raises(ValueError, match="no law for the reaction 'pairing'"):
        grouped((*REACTIONS, pair))


def test_logarithms() -> None:
    x = np.concatenate([10.0 ** np.linspace(-299, 299, 999), 1 + 10.0 ** np.linspace(-15, 0, 99)])
    np.testing.assert_allclose(jax.jit(sampling.log)(jnp.asarray(x)), np.log(x), rtol=1e-15, atol=1e-13)
    y = np.concatenate([-(10.0 ** np.linspace(-12, -0.01, 99)), 10.0 ** np.linspace(-12, 8, 99)])
    np.testing.assert_allclose(jax.jit(sampling.log1p)(jnp.asarray(y)), np.log1p(y), rtol=1e-4, atol=1e-12)
