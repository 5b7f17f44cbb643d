"""The particle filter against likelihoods that are known, and the audit by it."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
from persist.inference import particles
from persist.inference.cohort import case, pad
from persist.inference.curve import follow
from persist.validation import audit

MANY = 1e15
"""Cells in a unit of burden: so many that chance is nothing."""


def of_five(**changes: float) -> tuple[dict[str, np.ndarray], object]:
    """Draws about the truth of P01 for a short series with a value under a limit."""
    truth = fakes.truth("P01") | {"cells_per_unit": MANY, "wander_sd": 0.3, "noise_sd": 0.2} | changes
    rng = np.random.default_rng(2)
    values = {name: value * np.exp(0.02 * rng.standard_normal(6)) for name, value in truth.items()}
    return values, case(pad([fakes.FIVE_VALUES], pack="clinical"), 0, counted=False)


@pytest.mark.slow
@pytest.mark.ci
def test_without_chance_the_filter_is_the_fast_likelihood() -> None:
    """Fine steps of the leap are the mean field, and the wander is integrated out in both; one value is censored."""
    values, one = of_five()
    exact = particles.log_likelihood(0, "A", values, one, 1.0, 4000)
    fast = [
        float(follow({n: jnp.asarray(v[i]) for n, v in values.items()}, one, 1.0).pointwise.sum()) for i in range(6)
    ]
    np.testing.assert_allclose(exact, fast, atol=0.2)  # of which 0.1 is that of its longer steps
    wrong = particles.log_likelihood(0, "A", values | {"noise_sd": 0.5 * values["noise_sd"]}, one, 1.0, 4000)
    assert np.min(np.abs(wrong - fast)) > 0.3


@pytest.mark.slow
@pytest.mark.ci
def test_what_is_audited_is_what_the_fit_used(monkeypatch) -> None:
    """With the law of the clone, which is nearly the mean field where lines are many, and not where they are few."""
    monkeypatch.setattr(audit, "log_likelihood", lambda *_: np.zeros(30))
    table, told = fakes.Table((fakes.FIVE_VALUES,), (), "x"), {}
    for what, cells in (("many", 1e8), ("few", 100.0)):
        values = fakes.truth("P01") | {"cells_per_unit": cells, "resistant_0": 0.05, "mutation": 1e-9}
        told[what] = audit.as_json(audit.audit(fakes.posterior(table, {"A": values}), "A", draws=30))
        assert told[what]["loglik_gap"] == told[what]["clone_law_gap"]
    off = {what: abs(one["clone_law_gap"] - one["mean_field_gap"]) for what, one in told.items()}
    assert off["many"] < 0.02
    assert off["few"] > 0.05


def test_the_log_of_a_mean_is_put_right(monkeypatch) -> None:
    """Estimates whose logs are normal with variance v, of which the mean is the likelihood: the gap is 0, and without the
    correction v / 2 over the number of filters (3.0 standard errors from it at least).
    """
    rng, v, draws = np.random.default_rng(3), 0.5, 4000
    each = -0.5 * v + np.sqrt(v) * rng.standard_normal((audit.FILTERS, draws))
    rows, nothing, seen = iter(each), np.zeros(draws), []
    monkeypatch.setattr(audit, "log_likelihood", lambda *given: seen.append(given) or next(rows))
    exact, noise = audit._filtered(0, "A", {}, None, 1.0, 1000, None)
    assert [given[5] for given in seen] == [1000 // audit.FILTERS] * audit.FILTERS
    assert len({given[1] for given in seen}) == audit.FILTERS  # each with chance of its own
    assert noise == pytest.approx(np.sqrt(v / audit.FILTERS), rel=0.05)
    found = audit.Audit(nothing, exact, nothing, nothing, nothing, 0.0, noise)
    assert abs(found.gap) < 4.0 * found.gap_mcse
    assert abs(np.mean(nothing - exact)) > 3.0 * found.gap_mcse
    assert found.gap == pytest.approx(np.mean(-exact) - 0.5 * v / audit.FILTERS, abs=0.01)


def test_a_value_beyond_a_limit_leaves_the_error_beyond_it() -> None:
    u = jnp.asarray(np.linspace(0.001, 0.999, 50))
    for limit in (-40.0, -12.0, -2.0, 0.0, 3.0):
        under = np.asarray(particles._beyond(u, jnp.full(50, limit), jnp.asarray(-1)))
        over = np.asarray(particles._beyond(u, jnp.full(50, limit), jnp.asarray(1)))
        assert np.all(np.isfinite(under))
        assert np.all(under <= limit + 1e-9)
        assert np.all(np.isfinite(over))
        assert np.all(over >= limit - 1e-9)


def test_a_single_value_is_weighed_without_a_step() -> None:
    """Nothing moves: the likelihood is that of the fast one, but for the clone's first number."""
    values = {name: np.full(4, value) for name, value in fakes.truth("P01").items()}
    series = fakes.FIVE_VALUES.until(float(fakes.FIVE_VALUES.day[0]))
    one = case(pad([series], pack="clinical"), 0, counted=False)
    found = particles.log_likelihood(0, "A", values, one, 1.0, 200)
    exact = jax.vmap(lambda row: follow(row, one, 1.0).log_likelihood)({k: jnp.asarray(v) for k, v in values.items()})
    np.testing.assert_allclose(found, exact, atol=0.05)
