"""The population of a pooled fit is judged as a patient is, and told in words."""

from __future__ import annotations

import numpy as np
import pytest

import fakes
from persist.cli.diagnose import print_health
from persist.inference import leaning, pooled
from persist.inference.population import Law
from persist.types import Table
from persist.validation import health, populations

MEAN, COVARIANCE = np.array([0.8, -0.6]), np.array([[0.5, 0.2], [0.2, 0.8]])
ROUNDS, LANES, CHAINS = 40, 32, 4


def leaning_on(mean: np.ndarray, covariance: np.ndarray):
    """A fit whose population has these draws ``(rounds, lanes, ...)`` of two scores."""
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=CHAINS)
    names = leaning.names_of(made)
    taken = np.isin(names, ("net_growth_s", "decline_s"))
    pooled.lean(made, leaning.group(names, taken, np.where(taken, 0.7, 0.1), Law(mean, covariance), chains=CHAINS))
    return made


def draws(drift: float = 0.0, apart: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Good draws; with a ``drift`` of the mean that all lanes share, and lanes of the last chain ``apart``."""
    rng = np.random.default_rng(0)
    mean = MEAN + 0.3 * rng.standard_normal((ROUNDS, LANES, 2))
    mean[..., 0] += np.linspace(0.0, drift, ROUNDS)[:, None]
    mean[:, -LANES // CHAINS :, 1] += apart
    return mean, COVARIANCE * np.exp(0.2 * rng.standard_normal((ROUNDS, LANES, 1, 1)))


def test_good_draws_pass_and_are_told() -> None:
    found = populations.examine(leaning_on(*draws()))
    assert found is not None
    assert found["ok"], found["problems"]
    assert found["min_ess_bulk"] > 800
    for name, mean, variance in zip(("net_growth_s", "decline_s"), MEAN, np.diag(COVARIANCE), strict=True):
        one = found["scores"][name]
        assert one["mean"]["q50"] == pytest.approx(mean, abs=0.05)
        assert one["spread"]["q05"] < np.sqrt(variance) < one["spread"]["q95"]


@pytest.mark.parametrize("planted", [{"drift": 1.0}, {"apart": 0.5}])
def test_draws_that_have_not_settled_are_found(planted) -> None:
    found = populations.examine(leaning_on(*draws(**planted)))
    assert found is not None
    assert any("chains disagree: R-hat of mean of" in problem for problem in found["problems"])


def test_few_draws_are_found() -> None:
    """Lanes that keep their place for ten rounds."""
    mean, covariance = draws()
    slow = np.repeat(mean[::10], 10, axis=0)
    found = populations.examine(leaning_on(slow, covariance))
    assert found is not None
    assert any("few effective draws" in problem for problem in found["problems"])


def test_a_plain_fit_has_none() -> None:
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")})
    assert populations.examine(made) is None


def test_it_stands_beneath_the_patients(capsys) -> None:
    made = leaning_on(*draws(drift=1.0))
    found = health.whole(made)
    print_health(found["patients"], found["population"])
    lines = capsys.readouterr().out.splitlines()
    at = next(number for number, line in enumerate(lines) if line.startswith("population"))
    assert "CANNOT BE TRUSTED YET" in lines[at]
    assert "chains disagree" in lines[at + 1]
