"""Held-out scores against those of a model whose posteriors are known, and stacking by them."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference.left_out import Terms
from persist.validation.held_out import first_cut, khat_limit, leave_future_out, leave_one_out, smoothed
from persist.validation.standings import standard_error, standings, words

DRAWS, PRIOR = 4000, 3.0
RNG = np.random.default_rng(11)
VALUES = RNG.normal(0.7, 1.0, 24)
"""Independent values about an unknown mean with a wide normal prior."""


def posterior(values: np.ndarray) -> tuple[float, float]:
    """Mean and sd of the unknown mean."""
    variance = 1.0 / (1.0 / PRIOR**2 + len(values))
    return variance * values.sum(), np.sqrt(variance)


def terms_under(mean: np.ndarray) -> np.ndarray:
    return np.asarray(stats.norm.logpdf(VALUES, mean[:, None], 1.0))


def predictive(known: np.ndarray, new: np.ndarray) -> float:
    """log p(new | known), values one after the other."""
    total = 0.0
    for value in new:
        mean, sd = posterior(known)
        total += float(stats.norm.logpdf(value, mean, np.hypot(sd, 1.0)))
        known = np.append(known, value)
    return total


@pytest.fixture(scope="module")
def terms() -> Terms:
    each = terms_under(np.random.default_rng(1).normal(*posterior(VALUES), DRAWS))
    return Terms(each, each, float(DRAWS))


def test_leave_one_out_is_the_known_predictive(terms: Terms) -> None:
    found = leave_one_out(terms)
    want = [predictive(np.delete(VALUES, i), VALUES[i : i + 1]) for i in range(len(VALUES))]
    np.testing.assert_allclose(found.elpd, want, atol=0.02)
    assert found.holds.all()
    assert found.limit == khat_limit(DRAWS) == 0.7


@pytest.mark.parametrize("ahead", [1, 3])
def test_leave_future_out_is_the_known_predictive_where_it_says_so(terms: Terms, ahead: int) -> None:
    found = leave_future_out(terms, 2, ahead)
    cuts = range(2, len(VALUES) - ahead + 1)
    want = np.array([predictive(VALUES[:cut], VALUES[cut : cut + ahead]) for cut in cuts])
    assert len(found.elpd) == len(cuts)
    np.testing.assert_allclose(found.elpd[found.holds], want[found.holds], atol=0.1)
    assert found.holds[-8:].all()
    assert found.khat[0] > found.limit  # two values of 24: the full posterior is far too narrow


def test_where_the_weights_fail_a_new_fit_takes_over(terms: Terms) -> None:
    asked = []

    def refit(cut: int) -> Terms:
        asked.append(cut)
        each = terms_under(np.random.default_rng(cut).normal(*posterior(VALUES[:cut]), DRAWS))
        return Terms(each, each, float(DRAWS))

    found = leave_future_out(terms, 2, 1, refit)
    assert found.holds.all()
    assert found.refitted == tuple(sorted(asked))
    assert 0 < len(asked) < 10
    want = [predictive(VALUES[:cut], VALUES[cut : cut + 1]) for cut in range(2, len(VALUES))]
    np.testing.assert_allclose(found.elpd, want, atol=0.1)


def test_a_series_that_is_too_short_has_no_cuts(terms: Terms) -> None:
    assert len(leave_future_out(terms, len(VALUES), 1).elpd) == 0
    assert [first_cut(size) for size in (7, 24, 25, 79)] == [8, 8, 9, 27]


def test_weights_rise_with_their_ratio() -> None:
    ratio = np.random.default_rng(0).normal(size=500)
    weight, khat = smoothed(ratio, 1.0)
    assert np.corrcoef(weight, ratio)[0, 1] > 0.999
    assert np.exp(weight).sum() == pytest.approx(1.0)
    assert khat < 0.5
    same, none = smoothed(np.full(500, 3.0), 1.0)
    np.testing.assert_allclose(same, -np.log(500))
    assert none == 0.0


@pytest.mark.law
def test_the_mean_of_leave_one_out_is_that_of_the_predictive() -> None:
    """Over data drawn from the model itself; a posterior that is 5 % off in its mean's distance from 0 is seen."""

    def off(shift: float) -> list[float]:
        rng, found = np.random.default_rng(4), []
        for _ in range(60):
            values = rng.normal(20.0, 1.0, 12)
            mean, sd = posterior(values)
            each = stats.norm.logpdf(values, (1.0 + shift) * mean + sd * rng.standard_normal(500)[:, None], 1.0)
            want = [predictive(np.delete(values, i), values[i : i + 1]) for i in range(12)]
            found.append(float((leave_one_out(Terms(each, each, 500.0)).elpd - want).sum()))
        return found

    laws.check_mean(off(0.0), 0.0, slack=0.02)
    laws.must_fail(lambda: laws.check_mean(off(0.05), 0.0, slack=0.02))


def scores(**by: float) -> dict[str, np.ndarray]:
    """Scores of 40 values: shared chance, and what each model is worse by."""
    rng = np.random.default_rng(2)
    shared = rng.normal(-1.0, 0.5, 40)
    return {name: shared - worse + 0.2 * rng.standard_normal(40) for name, worse in by.items()}


def test_the_better_gets_the_weight_and_the_words() -> None:
    found = standings(scores(spr=0.0, sr=1.0))
    assert found["spr"].weight > 0.95
    assert sum(one.weight for one in found.values()) == pytest.approx(1.0)
    assert found["sr"].difference == pytest.approx(-40.0, abs=6.0)
    assert not found["sr"].tie
    assert words(found, "x").startswith("spr foretells x best; sr is worse by ")


def test_a_difference_within_two_errors_is_a_tie() -> None:
    found = standings(scores(spr=0.0, sp=0.02))
    worse = next(one for one in found.values() if one.difference < 0.0)
    assert worse.tie
    assert -worse.difference <= 2.0 * worse.difference_se
    assert words(found, "x").endswith(" nats behind: a tie.")


def test_a_mixture_that_is_better_than_each_is_found() -> None:
    """Each foretells its half of the values: half the weight each, though their sums tie."""
    half = np.where(np.arange(40) < 20, 0.0, -3.0)
    found = standings({"a": half, "b": half[::-1]})
    assert found["a"].weight == pytest.approx(0.5, abs=0.01)
    assert found["b"].tie


def test_densities_that_are_too_small_for_a_number_weigh_alike() -> None:
    found, deep = (standings({name: row - low for name, row in scores(a=0.0, b=0.3).items()}) for low in (0.0, 900.0))
    assert deep["a"].weight == pytest.approx(found["a"].weight, abs=1e-3)


def test_values_of_one_patient_hang_together() -> None:
    """Ten patients whose values all share one surplus: the error is that of ten sums, not of a hundred values."""
    patient = np.repeat(np.arange(10), 10)
    surplus = np.random.default_rng(6).normal(size=10)[patient]
    alone, together = standard_error(surplus), standard_error(surplus, patient)
    assert together == pytest.approx(np.sqrt(10) * alone, rel=0.1)
    assert standard_error(surplus, overlap=4) == pytest.approx(2.0 * alone)
    assert standard_error(surplus[:4]) is None
    assert standings({"a": surplus[:4], "b": surplus[:4] - 9.0})["b"].tie


@pytest.mark.parametrize("spread", [0.0, 1e-12, 1e-5])
def test_weights_that_are_all_alike_are_good_ones(spread: float) -> None:
    weight, khat = smoothed(spread * np.linspace(0.0, 1.0, 25), 1.0)
    assert khat == 0.0
    np.testing.assert_allclose(np.exp(weight).sum(), 1.0)
