"""The verdict on a parameter: what a posterior that is its prior is called, and what the schedule can show."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from scipy import stats

from laws import check_share, must_fail
from persist.inference.curve import patient
from persist.inference.priors import Prior, load_pack, quantile, score
from persist.types import Schedule, Series
from persist.validation.identify import (
    DOUBT,
    INFORMED,
    PRIOR_WIDTH,
    against_prior,
    contraction,
    hangs_on,
    least_contraction,
    scores,
    verdict,
    wilson,
)
from persist.validation.visible import hidden, visible

PACK = load_pack("clinical", "psa").entries
HALF = Prior("half-normal", 0.0, 1.0, None, "-", "A", "")
CHAINS, DRAWS, FITS = 4, 200, 1500


def series(*segments: tuple[float, float, float], days: float = 300.0) -> Series:
    """A patient seen every 30 days, treated by these (start, stop, dose)."""
    day = np.arange(0.0, days + 1.0, 30.0)
    columns = np.array(segments, float).reshape(-1, 3).T
    schedule = {"drug": Schedule(*columns)} if segments else {}
    return Series("A", "psa", "ng/mL", day, np.ones(len(day)), np.zeros(len(day), int), schedule)


def chains(width: float, rho: float, seed: int = 0) -> np.ndarray:
    """Scores ``(FITS, CHAINS, DRAWS)`` of sd ``width``, each chain autoregressive of correlation ``rho``."""
    rng = np.random.default_rng(seed)
    noise = rng.standard_normal((FITS, CHAINS, DRAWS))
    path = np.empty_like(noise)
    path[..., 0] = noise[..., 0]
    for at in range(1, DRAWS):
        path[..., at] = rho * path[..., at - 1] + np.sqrt(1.0 - rho**2) * noise[..., at]
    return width * path


@pytest.mark.parametrize("name", [*PACK, "half"])
def test_scores_undo_quantiles(name: str) -> None:
    prior = PACK.get(name, HALF)
    level = np.linspace(0.001, 0.999, 31)
    np.testing.assert_allclose(score(prior, quantile(prior, level)), stats.norm.ppf(level), atol=1e-9)


def test_a_share_at_its_bound_has_a_finite_score() -> None:
    assert np.isfinite(scores(PACK["turnover_s"], np.array([0.0, 0.5, 1.0]))).all()


@pytest.mark.parametrize(("width", "asked"), [(0.1, 0.9), (0.5, 0.5), (1.0, 0.0)])
def test_contraction_is_against_the_exact_prior(width: float, asked: float) -> None:
    z = stats.norm.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert pytest.approx(3.2897, abs=1e-4) == PRIOR_WIDTH
    assert contraction(width * z) == pytest.approx(asked, abs=1e-3)


def test_a_share_that_shrinks_near_its_bound_is_seen() -> None:
    """From a prior of 0.5 to 0.97 to 0.95 to 0.97: the log scale would hide that."""
    prior = PACK["turnover_s"]
    z = scores(prior, np.random.default_rng(0).uniform(0.95, 0.97, (4, 500)))
    assert verdict(z, "").informed
    logs = np.log(quantile(prior, np.array([0.05, 0.95])))
    assert abs(np.log(0.97 / 0.95) / np.diff(logs)[0]) < 0.5  # but not the other way about: low shares
    low = scores(prior, np.random.default_rng(0).uniform(0.05, 0.5, (4, 500)))
    assert contraction(low) > -0.3


@pytest.mark.law
@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_parameter_at_its_prior_is_never_called_informed_by_chance(rho: float) -> None:
    """The data say nothing: whatever the chains' autocorrelation, at most 5 % are called informed (seen: none)."""
    called = [verdict(z, "").informed for z in chains(1.0, rho)[:400]]
    check_share(called, 0.0, slack=DOUBT, what="false informed")


@pytest.mark.law
@pytest.mark.parametrize("rho", [0.0, 0.7])
def test_at_the_border_the_error_of_the_draws_seldom_decides(rho: float) -> None:
    """True contraction a little under the border: called informed in at most 5 %; without the limit, in nearly half."""
    every = chains(1.005 * (1.0 - INFORMED), rho)
    check_share([least_contraction(z) >= INFORMED for z in every], 0.0, slack=DOUBT, what="false informed")
    must_fail(lambda: check_share([contraction(z) >= INFORMED for z in every], 0.0, slack=DOUBT))


def test_what_the_data_tell_is_called_informed() -> None:
    every = chains(0.35, 0.5)[:200]
    assert np.mean([verdict(z, "").informed for z in every]) > 0.95


def test_few_draws_are_no_ground_for_a_verdict() -> None:
    few = verdict(chains(0.3, 0.0)[0][:2, :8], "")
    assert not few.informed
    assert "too few effective draws" in few.reason
    assert not verdict(np.zeros((2, 3)), "").informed
    assert not verdict(np.full((2, 100), np.nan), "").informed


def test_wilson_limits_hold_the_share() -> None:
    low, high = wilson(0.05, 100.0, 0.025)
    assert (low, high) == pytest.approx((0.02154, 0.11175), abs=1e-4)  # as in tables for 5 of 100


def test_a_median_beyond_the_prior_is_against_it() -> None:
    assert not against_prior(np.full(10, 2.3))
    assert against_prior(np.full(10, 2.35))
    assert against_prior(np.full(10, -2.35))


SCHEDULES = {
    "none": series(),
    "on": series((0, np.inf, 1)),
    "pause": series((0, 100, 1), (200, np.inf, 1)),
    "late stop": series((0, 300, 1)),
    "lowered": series((0, 100, 1), (100, np.inf, 0.5)),
    "raised": series((0, 100, 0.5), (100, np.inf, 1)),
    "before": series((-200, -100, 1)),
}


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("decline_s", {"on", "pause", "late stop", "lowered", "raised"}),
        ("reversion", {"pause", "lowered"}),
        ("washout_days", {"pause", "lowered"}),
        ("tolerance_power", {"lowered", "raised"}),
        ("secretome_boost", set()),
        ("net_growth_s", set(SCHEDULES)),
    ],
)
def test_what_a_schedule_can_show(name: str, shown: set[str]) -> None:
    assert {key for key, one in SCHEDULES.items() if not hidden(name, visible(one))} == shown


@pytest.mark.parametrize(
    ("markers", "told"), [((), False), (("persister",), False), (("persister", "resistant"), True)]
)
def test_the_secretome_is_seen_by_resistant_cells_alone(markers: tuple[str, ...], told: bool) -> None:
    seen = visible(SCHEDULES["pause"])._replace(markers=frozenset(markers))
    assert (not hidden("secretome_boost", seen)) is told


def test_what_cannot_be_shown_is_not_informed_however_narrow() -> None:
    z = chains(0.1, 0.0)[0]
    assert verdict(z, "").informed
    found = verdict(z, hidden("reversion", visible(SCHEDULES["on"])))
    assert not found.informed
    assert "never stopped" in found.reason
    assert found.contraction > 0.8


def test_periods_and_the_dose_at_the_end() -> None:
    assert visible(SCHEDULES["pause"])[2:5] == (2, 1, True)
    assert visible(SCHEDULES["lowered"])[2:5] == (1, 2, True)
    assert visible(series((0, 100, 1)))[2:5] == (1, 1, False)


def test_derived_rates_hang_on_what_moves_them() -> None:
    """Against differences: each source moves its derived rate, and no other sampled parameter does."""
    middle = {name: float(quantile(prior, np.array(0.5))) for name, prior in PACK.items()} | {"cells_per_unit": 1e8}
    sources = hangs_on(middle, 1.0)
    assert sources["kill_s"] == ("net_growth_s", "decline_s")
    rates = jax.jit(lambda at: patient(at, 1.0).rates)
    still = rates(middle)
    for name in middle:
        moved = rates(middle | {name: 1.01 * middle[name]})
        assert {d for d in sources if getattr(moved, d) != getattr(still, d)} == {
            d for d in sources if name in sources[d]
        }
