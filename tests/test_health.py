"""Health of a fit: what was planted in the chains is found, and good draws pass; what the data inform."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.special import ndtr

from persist.inference import store
from persist.inference.priors import load_pack, quantile
from persist.validation.chains import LEAST_ROUNDS
from persist.validation.health import examine, rates
from persist.validation.visible import Visible

CHAINS, DRAWS, WALKERS = 4, 1000, 10
DIMS = ("chain", "draw", "patient")


def fit(columns, *, lp=None, diverging: int = 0, prior=None, resistant=None, walker=None, accepted=0.9):
    """A fit of one patient, A, with these draws ``(chains, draws)``, mean shares of R, walkers and their acceptance rates."""
    shape = next(iter(columns.values())).shape
    axes = {"chain": np.arange(shape[0]), "draw": np.arange(shape[1]), "patient": ["A"]}
    divergent = np.zeros(shape, bool)
    divergent.flat[:diverging] = True
    if prior is None:
        prior = {name: np.exp(np.linspace(-2, 2, 50)) for name in columns if name != "birth_s"}
    level = np.random.default_rng(9).standard_normal(shape) if lp is None else lp
    share = np.random.default_rng(8).uniform(0.15, 0.3, shape) if resistant is None else resistant
    wide = {name: (DIMS, values[..., None]) for name, values in columns.items()}
    kept = {"diverging": divergent, "lp": level, "resistant_share": share}
    if walker is not None:
        kept |= {"walker": walker, "acceptance_rate": np.broadcast_to(accepted, shape)}
    groups = {
        "posterior": store.dataset(wide, axes),
        "sample_stats": store.dataset({name: (DIMS, values[..., None]) for name, values in kept.items()}, axes),
        "prior": store.dataset(
            {name: (DIMS, draws[None, :, None]) for name, draws in prior.items()},
            {"patient": ["A"]},
        ),
    }
    return store.tree("fit", groups, {"observable": "psa", "unit": "ng/mL", "settings": {"pack": "clinical"}})


@pytest.fixture
def good() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    return {name: np.exp(rng.standard_normal((CHAINS, DRAWS))) for name in ("net_growth_s", "reversion", "birth_s")}


def slow(rho: float) -> np.ndarray:
    """Chains that forget slowly: autoregressive of correlation ``rho`` from one draw to the next."""
    rng = np.random.default_rng(1)
    path = np.empty((CHAINS, DRAWS))
    path[:, 0] = rng.standard_normal(CHAINS)
    for at in range(1, DRAWS):
        path[:, at] = rho * path[:, at - 1] + np.sqrt(1 - rho**2) * rng.standard_normal(CHAINS)
    return path


def test_good_draws_pass(good) -> None:
    health = examine(fit(good), "A")
    assert health.ok, health.problems
    assert health.chains == CHAINS
    assert health.min_ess_bulk > 3000
    assert health.max_rhat < 1.01


def test_a_drift_that_all_walkers_share_is_found() -> None:
    """Chains and walkers agree, but none has settled: early rounds lie elsewhere than late ones."""
    rng, rounds = np.random.default_rng(4), DRAWS // WALKERS
    number = np.tile(np.repeat(np.arange(WALKERS), rounds), (CHAINS, 1))
    still = rng.standard_normal((CHAINS, WALKERS, rounds))
    for drift, found in ((0.0, False), (1.0, True)):
        path = np.exp(still + np.linspace(0.0, drift, rounds)).reshape(CHAINS, DRAWS)
        health = examine(fit({"reversion": path, "net_growth_s": path}, walker=number), "A")
        assert any("chains disagree" in problem for problem in health.problems) == found


def test_a_chain_apart_is_found_and_named(good) -> None:
    good["reversion"][2] *= np.e
    health = examine(fit(good), "A")
    assert not health.ok
    assert "R-hat of reversion" in health.problems[0]
    assert "--warmup" in health.problems[0]


def test_a_chain_of_another_width_is_found(good) -> None:
    """Same median, four times the spread: only the folded, rank-normalised R-hat sees it."""
    good["reversion"][2] = good["reversion"][2] ** 4
    assert "R-hat of reversion" in examine(fit(good), "A").problems[0]


def test_few_effective_draws_are_found(good) -> None:
    health = examine(fit(good | {"reversion": np.exp(slow(0.9))}), "A")
    assert health.min_ess_bulk < 400
    assert any("few effective draws: ess_bulk of reversion" in problem for problem in health.problems)


def test_divergences_are_counted(good) -> None:
    health = examine(fit(good, diverging=3), "A")
    assert health.divergences == 3
    assert "3 divergent transitions" in health.problems[0]


def test_modes_of_different_height_are_found(good) -> None:
    level = np.random.default_rng(2).standard_normal((CHAINS, DRAWS))
    level[1] -= 6.0
    assert "different heights" in examine(fit(good, lp=level), "A").problems[0]


def test_chains_of_one_height_are_not(good) -> None:
    level = 4.0 * np.random.default_rng(2).standard_normal((CHAINS, DRAWS))
    assert examine(fit(good, lp=level), "A").ok


def test_effective_sizes_count_each_walker_as_a_series_of_its_own() -> None:
    """Draws stand walker after walker: walkers that hardly move are worth little, however unlike each other they are."""
    rng = np.random.default_rng(3)
    place = rng.standard_normal((CHAINS, WALKERS, 1)) + 0.01 * rng.standard_normal((CHAINS, WALKERS, DRAWS // WALKERS))
    still = {"reversion": np.exp(place.reshape(CHAINS, DRAWS))}
    number = np.tile(np.repeat(np.arange(WALKERS), DRAWS // WALKERS), (CHAINS, 1))
    health = examine(fit(still, walker=number), "A")
    assert health.min_ess_bulk < 2 * CHAINS * WALKERS
    mixed = {"reversion": np.exp(rng.permuted(place.ravel()).reshape(CHAINS, DRAWS))}
    assert examine(fit(mixed, walker=number), "A").min_ess_bulk > 3000


def test_draws_of_too_few_rounds_are_judged_by_chain(good) -> None:
    number = np.tile(np.repeat(np.arange(DRAWS // 2), 2), (CHAINS, 1))
    assert LEAST_ROUNDS > 2
    assert examine(fit(good, walker=number), "A").min_ess_bulk == examine(fit(good), "A").min_ess_bulk


@pytest.mark.parametrize(("rate", "found"), [(0.05, True), (0.5, False)])
def test_walkers_that_hardly_moved_are_counted(good, rate: float, found: bool) -> None:
    number = np.tile(np.repeat(np.arange(WALKERS), DRAWS // WALKERS), (CHAINS, 1))
    slow = ((np.arange(CHAINS)[:, None] == 1) & (number == 3)) | ((np.arange(CHAINS)[:, None] == 2) & (number == 0))
    health = examine(fit(good, walker=number, accepted=np.where(slow, rate, 0.9)), "A")
    told = f"2 of {CHAINS * WALKERS} walkers hardly moved"
    assert [told in problem for problem in health.problems] == [True] * found


def test_chains_of_another_composition_are_found(good) -> None:
    share = np.random.default_rng(8).uniform(0.15, 0.3, (CHAINS, DRAWS))
    share[3] += 0.5
    assert "R-hat of resistant_share" in examine(fit(good, resistant=share), "A").problems[0]


def test_draws_that_are_no_numbers_are_not_healthy(good) -> None:
    good["reversion"][0, 5] = np.nan
    assert "reversion never moved or is no number" in examine(fit(good), "A").problems[0]


def test_a_parameter_that_never_moved_is_not_healthy(good) -> None:
    health = examine(fit(good | {"reversion": np.full((CHAINS, DRAWS), 0.1)}), "A")
    assert "reversion never moved" in health.problems[0]


def test_a_derived_rate_that_is_nothing_throughout_is_no_problem(good) -> None:
    """A variant without persisters has a birth rate of persisters of 0."""
    assert examine(fit(good | {"birth_s": np.zeros((CHAINS, DRAWS))}), "A").ok


def test_rates_come_with_unit_and_with_what_the_data_say() -> None:
    """Growth at a third of its prior's width, reversion at all of it; births hang on growth and (were it sampled) turnover."""
    z = np.random.default_rng(4).standard_normal((2, CHAINS, DRAWS))
    entries = load_pack("clinical", "psa").entries
    width = {"net_growth_s": 0.33, "reversion": 1.0, "turnover_s": 1.0}
    draws = {name: quantile(entries[name], ndtr(share * z[int(name == "reversion")])) for name, share in width.items()}
    draws["birth_s"] = draws["net_growth_s"] / (1.0 - draws["turnover_s"])
    rows = rates(fit(draws), "A", Visible(True, True, 1, 1, False, frozenset()))
    assert rows["net_growth_s"]["informed"] is True
    assert rows["net_growth_s"]["contraction"] == pytest.approx(0.67, abs=0.02)
    assert rows["reversion"]["informed"] is False
    assert "of the prior's" in rows["reversion"]["reason"]
    assert rows["birth_s"]["informed"] is None
    assert rows["birth_s"]["depends_on"] == ["net_growth_s", "turnover_s"]
    assert rows["net_growth_s"]["unit"] == "1/day"
    assert rows["reversion"]["q05"] < rows["reversion"]["q50"] < rows["reversion"]["q95"]


@pytest.mark.parametrize(("log_share", "size", "found"), [(-7.0, 1.0, False), (-10.0, 1.0, True), (-10.0, 0.3, False)])
def test_a_clone_of_few_founders_that_was_taken_for_many_is_told(log_share: float, size: float, found: bool) -> None:
    """PSA of 20 is 4e9 cells, a fifth of whose lines live: 3e-7 of them are 240 founders, 3e-10 under one. Where the size of
    the clone is sampled, chance is in the fit.
    """
    rng = np.random.default_rng(2)
    middle = {"burden_0": 20.0, "cells_per_unit": 2e8, "net_growth_s": 0.01, "mutation": 1e-12, "kill_r_share": 0.1}
    columns = {
        name: np.exp(np.log(value) + 0.1 * rng.standard_normal((CHAINS, DRAWS))) for name, value in middle.items()
    }
    columns["decline_s"] = -columns["net_growth_s"]
    columns["turnover_s"] = 0.8 + 0.01 * rng.standard_normal((CHAINS, DRAWS))
    columns["resistant_0"] = 10.0 ** (log_share + 0.5 + 0.1 * rng.standard_normal((CHAINS, DRAWS)))
    sizes = {"clone_size": np.where(rng.uniform(size=(CHAINS, DRAWS)) < 0.5, size, 1.0)} if size != 1.0 else {}
    told = examine(fit(columns | sizes), "A").problems
    assert any("living lines" in one for one in told) is found
