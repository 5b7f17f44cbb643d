"""What a fit leans on: the population in its file, as the prior of its patients and of the next."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

import fakes
import laws
from persist.errors import StoreError, UsageError
from persist.inference import leaning, pooled, store
from persist.inference.population import COMPONENTS, log_ratio, one_kind
from persist.inference.posterior import one_patient
from persist.inference.priors import at_score, load_pack, moved, quantile, score
from persist.inference.subject import laws as laws_of
from persist.types import Table
from persist.validation import compare

MEAN, COVARIANCE = np.array([0.8, -0.6]), np.array([[0.5, 0.2], [0.2, 0.8]])
POOLED = ("net_growth_s", "decline_s")


def known(names: tuple[str, ...], spread: float = 0.0) -> store.Dataset:
    """A population of two scores whose draws of the mean are spread about `MEAN`."""
    rng = np.random.default_rng(1)
    mean = MEAN + spread * rng.standard_normal((40, 8, 2))
    law = one_kind(mean, np.tile(COVARIANCE, (40, 8, 1, 1)))
    taken = np.array([name in POOLED for name in names])
    return leaning.group(names, taken, np.where(taken, 0.7, 0.1), law, chains=4)


@pytest.fixture(scope="module")
def fit():
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    pooled.lean(made, known(leaning.names_of(made), 0.3))
    return made


def test_it_is_written_and_read_as_it_was(fit, tmp_path) -> None:
    store.save(fit, tmp_path / "fit.nc")
    back = store.load(tmp_path / "fit.nc", "fit")
    group = leaning.population_of(back, "spr", "clinical", "psa")
    assert group["score"].values.tolist() == list(POOLED)
    assert group["mean"].shape == (4, 80, 2)
    np.testing.assert_array_equal(group["mean"], fit[leaning.GROUP]["mean"])


def test_a_population_of_something_else_is_refused(fit) -> None:
    for asked in (("sr", "clinical", "psa"), ("spr", "in-vitro", "psa"), ("spr", "clinical", "volume")):
        with pytest.raises(UsageError, match="the population is of the"):
            leaning.population_of(fit, *asked)
    plain = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")})
    with pytest.raises(StoreError, match="no population"):
        leaning.population_of(plain, "spr", "clinical", "psa")


def test_patients_of_the_population_are_not_counted_twice(fit) -> None:
    from persist.inference.settings import Settings

    with pytest.raises(UsageError, match="patient A is among those"):
        pooled.fit_next(Table((fakes.FIVE_VALUES,), (), ""), Settings(), fit)


def test_the_mixture_has_the_density_of_its_draws(fit) -> None:
    names = leaning.names_of(fit)
    group = known(names, 0.3)
    law = leaning.mixture(group)
    assert law.mean.shape == (2 * COMPONENTS, len(names))
    at = [names.index(name) for name in POOLED]
    z = np.zeros(len(names))
    z[at] = [0.3, -1.0]
    flat = group["mean"].values.reshape(-1, 2)
    take = np.linspace(0, len(flat) - 1, COMPONENTS).round().astype(int)
    dense = np.mean([stats.multivariate_normal.pdf(z[at], mean, COVARIANCE) for mean in flat[take]])
    found = log_ratio(jnp.asarray(z), law._replace(mean=jnp.asarray(law.mean), whiten=jnp.asarray(law.whiten)))
    np.testing.assert_allclose(found, np.log(dense) - stats.norm.logpdf(z[at]).sum(), rtol=1e-9)


@pytest.mark.law
def test_patients_drawn_from_it_have_its_moments(fit) -> None:
    names = leaning.names_of(fit)
    law = leaning.mixture(known(names))
    z = leaning.drawn(np.random.default_rng(2), law, 4000)
    for place, name in enumerate(names):
        at = POOLED.index(name) if name in POOLED else None
        laws.check_mean(z[:, place], 0.0 if at is None else MEAN[at])
        laws.check_variance(z[:, place], 1.0 if at is None else COVARIANCE[at, at])
    off = z[:, [names.index(name) for name in POOLED]] - MEAN
    laws.check_mean(off[:, 0] * off[:, 1], COVARIANCE[0, 1], what="covariance")
    laws.must_fail(lambda: laws.check_mean(off[:, 0] * off[:, 1], 0.0))


def test_the_prior_of_a_patient_is_that_of_the_population(fit) -> None:
    """Laws and draws of the prior, of what is pooled and of what is not."""
    entries, found = load_pack("clinical", "psa").entries, laws_of(fit, "A")
    level = np.array([0.05, 0.5, 0.95])
    for name, at in zip(POOLED, (0, 1), strict=True):
        sd = np.sqrt(COVARIANCE[at, at] + 0.3**2)
        z = np.asarray(score(entries[name], quantile(found[name], level)))
        np.testing.assert_allclose(z, MEAN[at] + sd * stats.norm.ppf(level), atol=0.05)
        drawn = np.asarray(score(entries[name], fit["prior"][name].values.ravel()))
        np.testing.assert_allclose(drawn.mean(), MEAN[at], atol=4.0 * sd / np.sqrt(len(drawn)))
    assert found["turnover_s"] == entries["turnover_s"]


@pytest.mark.parametrize("name", ["net_growth_s", "decline_s", "turnover_s", "birth_p_share"])
def test_a_moved_prior_has_the_scores_that_it_was_moved_to(name) -> None:
    """Log-normal, negative, and logit-normal up to 1 and up to more."""
    prior = load_pack("clinical", "psa").entries[name]
    level = np.array([0.05, 0.3, 0.5, 0.9])
    z = np.asarray(score(prior, quantile(moved(prior, 0.7, 0.4), level)))
    right = 0.7 + 0.4 * stats.norm.ppf(level)
    np.testing.assert_allclose(np.sort(z), np.sort(right), atol=1e-6)


@pytest.mark.parametrize("name", ["net_growth_s", "decline_s", "turnover_s", "birth_p_share"])
def test_scores_far_out_have_values_too(name) -> None:
    """A wide population has patients whose prior probability is no number but 1."""
    prior = load_pack("clinical", "psa").entries[name]
    z = np.array([-9.0, -1.0, 0.0, 2.0, 9.0])
    value = at_score(prior, z)
    assert np.isfinite(value).all()
    np.testing.assert_allclose(np.asarray(score(prior, value)), z, atol=1e-4)


def test_a_wide_population_can_be_leaned_on() -> None:
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    pooled.lean(made, known(leaning.names_of(made), 5.0))
    assert all(np.isfinite(made["prior"][name]).all() for name in POOLED)


def test_one_patient_of_a_cohort_is_taken_out_with_its_population(fit) -> None:
    alone = one_patient(fit, "A")
    assert alone[leaning.GROUP]["mean"].shape == (4, 80, 2)
    assert compare._of_only(fit, ["A"])[leaning.GROUP]["mean"].shape == (4, 80, 2)
