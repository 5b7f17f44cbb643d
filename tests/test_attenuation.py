"""Attenuation: the kill that fades on drug, in closed form, in every engine, in plans with rules, and from a landmark on."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate

import laws
from persist.dynamics.attenuation import attenuated
from persist.dynamics.checks import Method
from persist.dynamics.moments import mean_field
from persist.dynamics.paths import Course, Lanes
from persist.dynamics.trajectories import simulate, steered, sweep
from persist.errors import UsageError
from persist.forecast import simulation
from persist.forecast.order import order
from persist.treatment.exposure import relax
from persist.treatment.rules import decide, remember
from persist.treatment.schedule import grid, parse_plan, plan_schedule
from persist.types import Cells, Exposure, Grid, Rates

SR = Rates(
    birth_s=0.12, death_s=0.1, kill_s=0.1, birth_r=0.11, death_r=0.1, kill_r=0.002, mutation=1e-4, capacity=5e4,
    onset_days=4.0, washout_days=12.0, attenuation_rate=0.03, recovery_rate=0.05,
)  # fmt: skip
START = Cells(4000.0, 0.0, 20.0)
DAYS = 60
PLAN = "on 30, off 20, dose 0.6"
ENGINES = ("ssa", "tau", "leap")


def steps_of(plan: str, days: float, step: float = 1.0) -> Grid:
    """The grid of a plan, in steps of so many days."""
    return grid(plan_schedule(parse_plan(plan), 0.0, days), np.array([0.0]), start=0.0, stop=days, max_step=step)[0]


def along(rates: Rates, steps: Grid) -> Exposure:
    return attenuated(relax(steps, rates.onset_days, rates.washout_days), rates, steps.length)[0]


def mean(rates: Rates, steps: Grid, cells: Cells = START) -> Cells:
    return jax.jit(lambda: mean_field(cells, rates, steps.length, along(rates, steps)))()


def fine(rates: Rates, steps: Grid) -> np.ndarray:
    """S, R and potency ``(3, n_steps)`` at the ends of steps, by a solver of the equations as they are written."""
    state, level, found = np.array([START.sensitive, START.resistant, 1.0]), 0.0, []
    for days, dose in zip(*steps, strict=True):
        tau = rates.onset_days if dose > level else rates.washout_days

        def slope(t: float, y: np.ndarray, level=level, dose=dose, tau=tau) -> list[float]:
            S, R, a = y
            E = dose + (level - dose) * np.exp(-t / tau)
            g = max(0.0, 1.0 - (S + R) / rates.capacity)
            born = rates.birth_s * g
            return [
                (born * (1.0 - rates.mutation) - rates.death_s - rates.kill_s * a * E) * S,
                (rates.birth_r * g - rates.death_r - rates.kill_r * E) * R + rates.mutation * born * S,
                -rates.attenuation_rate * E * a + rates.recovery_rate * (1.0 - E) * (1.0 - a),
            ]

        state = integrate.solve_ivp(slope, (0.0, days), state, rtol=1e-8, atol=1e-8).y[:, -1]
        level = dose + (level - dose) * np.exp(-days / tau)
        found.append(state)
    return np.array(found).T


@pytest.mark.parametrize("dose", [0.0, 0.4, 1.0])
def test_a_steady_exposure_has_the_closed_form(dose: float) -> None:
    """a goes to rho (1 - E) / k at the pace k = alpha E + rho (1 - E), however the steps are cut."""
    level, days = np.full(5, dose), np.array([0.0, 1e-7, 3.0, 0.0, 40.0])
    exposure, end = attenuated(Exposure(level, level, np.zeros(5)), SR, days, 0.7)
    pace = SR.attenuation_rate * dose + SR.recovery_rate * (1.0 - dose)
    rest, when = SR.recovery_rate * (1.0 - dose) / pace, np.cumsum(days)
    assert end == pytest.approx(rest + (0.7 - rest) * np.exp(-pace * when), rel=1e-12)
    whole = rest + (0.7 - rest) * (np.exp(-pace * when[1]) - np.exp(-pace * when[2])) / pace / 3.0
    assert float(exposure.potency[2]) == pytest.approx(whole, rel=1e-7)


def test_the_mean_is_that_of_the_equations() -> None:
    """At steps of half a day; the error falls with the square of the step, and one of 5 % in the rate is far larger."""
    daily, steps = steps_of(PLAN, DAYS), steps_of(PLAN, DAYS, 0.5)
    S, R, a = fine(SR, daily)

    def gaps(rates: Rates) -> list[np.ndarray]:
        cells, left = mean(rates, steps), attenuated(along(rates, steps), rates, steps.length)[1]
        pairs = ((cells.sensitive, S), (cells.resistant, R), (left, a))
        return [np.abs(np.asarray(got)[1::2] / asked - 1.0).max() for got, asked in pairs]

    assert max(gaps(SR)) < 2e-4
    assert min(gaps(SR._replace(attenuation_rate=1.05 * SR.attenuation_rate))) > 1e-3
    coarse, half = (abs(float(mean(SR, steps_of(PLAN, DAYS, h)).total[-1]) / (S + R)[-1] - 1.0) for h in (5.0, 2.5))
    assert 2.5 < coarse / half < 6.0


@pytest.mark.parametrize("engine", [*ENGINES, "mean"])
def test_no_attenuation_changes_nothing(engine: str) -> None:
    """Neither the plain rate 0, nor a rate of 0 for each path: a stays exactly 1."""
    steps, still = steps_of(PLAN, 20), SR._replace(attenuation_rate=0.0)
    level = relax(steps, still.onset_days, still.washout_days)
    assert attenuated(level, still, steps.length)[0] is level
    many = still._replace(attenuation_rate=jnp.zeros(50), recovery_rate=jnp.full(50, 0.05))
    each = attenuated(level, many, steps.length)[0]
    np.testing.assert_array_equal(each.potency, 1.0)
    if engine == "mean":
        wide = jax.tree.map(lambda part: jnp.broadcast_to(jnp.asarray(part)[:, None], (20, 50)), level)
        pairs = [mean_field(START, many, steps.length, one) for one in (wide, wide._replace(potency=each.potency))]
    else:
        go = {"engine": engine, "trajectories": 50}
        pairs = [
            simulate(jax.random.key(3), START, rates, steps, one, **go) for rates, one in ((still, level), (many, each))
        ]
    for one, other in zip(*pairs, strict=True):
        np.testing.assert_array_equal(one, other)


FEW = Cells(400.0, 0.0, 0.0)
QUICK = Rates(
    birth_s=0.12, death_s=0.1, kill_s=0.4, onset_days=1.0, washout_days=1.0, attenuation_rate=0.12, recovery_rate=0.1
)
"""Kill and its fading within days, so that few events tell 5 % of the rate."""


@pytest.mark.law
@pytest.mark.parametrize("engine", ENGINES)
def test_engines_have_the_mean(engine: str) -> None:
    """S on drug for twelve days by each engine; an attenuation 5 % faster is caught."""
    steps, last = steps_of("on", 12), np.arange(12) == 11
    path = simulate(
        jax.random.key(1), FEW, QUICK, steps, along(QUICK, steps), engine=engine, trajectories=2000, record=last
    )
    seen = np.asarray(path.sensitive)[:, 0]

    def check(rate: float) -> None:
        asked = mean(QUICK._replace(attenuation_rate=rate), steps, FEW).sensitive[-1]
        laws.check_mean(seen, float(asked), what=f"S by {engine}", slack=0.003 * float(asked))

    check(QUICK.attenuation_rate)
    laws.must_fail(lambda: check(1.05 * QUICK.attenuation_rate))


def planned(rates: Rates, steps: Grid, potency: float | None, number: int = 200) -> tuple[Cells, np.ndarray]:
    """Paths of a plan that is decided inside the engine, and their doses."""

    def lanes(members: np.ndarray) -> Lanes:
        memory = remember(parse_plan("adaptive 0.7/1.0").rule, len(members))
        return Lanes(START, rates, 0.0, False, jnp.zeros((1, len(members))), memory, potency)

    ruled = np.zeros(len(steps.length), bool)
    course = Course(np.asarray(steps.dose), ruled, np.full(len(ruled), -1))
    parts = list(
        steered(
            lambda members, lanes, path: path, by_total, jax.random.key(5), lanes, steps, course, Method("leap", 1.0),
            trajectories=number,
        )
    )  # fmt: skip
    return parts[0].cells, parts[0].dose


def by_total(memory, cells, _):
    return decide(memory, cells.total)


def test_a_plan_inside_the_engine_is_the_plan_along_the_grid() -> None:
    """The same paths, number by number: the potency that a path carries itself is that of the grid."""
    steps = steps_of(PLAN, DAYS)
    own, _ = planned(SR, steps, 1.0)
    same = (jax.random.key(5), START, SR, steps, along(SR, steps), Method("leap", 1.0))
    known = next(sweep(lambda _, path: path, *same, trajectories=200))
    for one, other in zip(own, known, strict=True):
        np.testing.assert_allclose(one, other, atol=1.0, rtol=1e-3)
    assert np.mean(np.asarray(own.sensitive) == np.asarray(known.sensitive)) > 0.99


def test_a_rule_knows_that_the_kill_fades() -> None:
    """A rule that never stops the drug gives the paths of the drug throughout; without the fading they are others."""
    simulated = {
        (text, rate): simulation.run(
            FEW, QUICK._replace(attenuation_rate=rate), order(text, 12, trajectories=60, visit_every=3.0, step=1.0)
        )["summary"]["mean"].sel(state="sensitive").values
        for text, rate in (("on", 0.12), ("adaptive 1e-9/1e12 absolute", 0.12), ("on", 0.0))
    }  # fmt: skip
    on, ruled, still = simulated.values()
    np.testing.assert_allclose(ruled, on, rtol=1e-6)
    assert on[-1] > 3.0 * still[-1]


def test_to_go_on_is_to_have_gone_on() -> None:
    """Exposure and potency handed over on day 37 make one run of two; a kill that began afresh would show."""
    steps, cut = steps_of(PLAN, DAYS), 37
    first, later = (Grid(*(part[some] for part in steps)) for some in (slice(0, cut), slice(cut, None)))
    level, end = attenuated(relax(first, SR.onset_days, SR.washout_days), SR, first.length)
    cells = Cells(*(state[-1] for state in mean_field(START, SR, first.length, level)))
    whole = mean(SR, steps)
    reached = relax(steps, SR.onset_days, SR.washout_days).start[cut]

    def on(potency: float) -> Cells:
        exposure = relax(later, SR.onset_days, SR.washout_days, reached)
        return mean_field(cells, SR, later.length, attenuated(exposure, SR, later.length, potency)[0])

    np.testing.assert_allclose(on(end[-1]).total, whole.total[cut:], rtol=1e-12)
    assert np.abs(on(1.0).total / whole.total[cut:] - 1.0).max() > 0.05


def test_a_kill_that_fades_and_is_not_carried_is_refused() -> None:
    steps = steps_of("on", 5)
    level = relax(steps, SR.onset_days, SR.washout_days)
    with pytest.raises(UsageError, match=r"attenuation_rate is 0\.03, and the exposure has no potency"):
        simulate(jax.random.key(0), START, SR, steps, level, trajectories=2)
    with pytest.raises(UsageError, match="no potency"):
        planned(SR, steps, None, 2)


def test_gradients_are_finite_and_right() -> None:
    steps = steps_of(PLAN, DAYS, 5.0)

    def last(rate, recovery, onset):
        rates = SR._replace(attenuation_rate=rate, recovery_rate=recovery, onset_days=onset)
        return jnp.log(mean_field(START, rates, steps.length, along(rates, steps)).total[-1])

    at = (0.03, 0.05, 4.0)
    slopes = jax.jit(jax.grad(last, argnums=(0, 1, 2)))(*at)
    for number, slope in enumerate(slopes):
        up, down = (np.array(at) * (1.0 + sign * 1e-5 * (np.arange(3) == number)) for sign in (1, -1))
        assert slope == pytest.approx(float(last(*up) - last(*down)) / (2e-5 * at[number]), rel=1e-4)
    edge = jax.grad(last, argnums=(0, 1, 2))(0.0, 0.0, 0.0)
    assert np.all(np.isfinite(edge))
