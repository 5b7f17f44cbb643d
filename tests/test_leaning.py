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
from persist.inference.clone_free import Frame
from persist.inference.population import COMPONENTS, KINDS, log_ratio, one_kind
from persist.inference.posterior import one_patient
from persist.inference.priors import at_score, load_pack, moved, quantile, score
from persist.inference.subject import laws as laws_of
from persist.types import Table
from persist.validation import compare

MEAN, COVARIANCE = np.array([0.8, -0.6]), np.array([[0.5, 0.2], [0.2, 0.8]])
POOLED = ("net_growth_s", "decline_s")
OFF = {"decline_s": -1.5, "mutation": 2.0}
"""By how much two scores of patients without a clone are off, where some are: one that is pooled, and one that is not."""

MEMBERS = {"A": np.linspace(0.0, 1.0, 16).reshape(2, 8) ** 2, "B": np.full((2, 8), 0.25)}
"""How likely two patients are apart, and without a clone, by lane."""


def known(
    names: tuple[str, ...],
    spread: float = 0.0,
    off: dict[str, float] | None = None,
    free: float = 0.4,
    along: float = 0.0,
    rounds: int = 40,
) -> store.Dataset:
    """A population of two scores whose draws of the mean are spread about `MEAN`. About a share ``free`` of the patients has no
    clone, more where the mean of the second score is higher, ``along`` with it; they are ``off`` by so much.
    """
    rng = np.random.default_rng(1)
    about = rng.standard_normal((rounds, 8, 2))
    law = one_kind(MEAN + spread * about, np.tile(COVARIANCE, (rounds, 8, 1, 1)))
    law = law._replace(clone_free=free + along * np.tanh(about[..., 1]))
    taken = np.array([name in POOLED for name in names])
    frame = Frame(taken, np.array([(off or {}).get(name, 0.0) for name in names]))
    return leaning.group(names, frame, np.where(taken, 0.7, 0.1), law, 4, MEMBERS)


@pytest.fixture(scope="module")
def fit():
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    pooled.lean(made, known(leaning.names_of(made), 0.3))
    return made


@pytest.fixture(scope="module")
def names(fit) -> tuple[str, ...]:
    return leaning.names_of(fit)


def test_it_is_written_and_read_as_it_was(fit, tmp_path) -> None:
    store.save(fit, tmp_path / "fit.nc")
    back = store.load(tmp_path / "fit.nc", "fit")
    group = leaning.population_of(back, "spr", "clinical", "psa")
    assert group["score"].values.tolist() == list(POOLED)
    assert group["mean"].shape == (4, 80, 2)
    np.testing.assert_array_equal(group["mean"], fit[leaning.GROUP]["mean"])


def test_who_has_no_clone_is_written_and_read_as_it_was(names, tmp_path) -> None:
    """Lane after lane within a chain, as all draws; of every patient by chain."""
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    group = known(names, 0.3, OFF, along=0.2)
    pooled.lean(made, group)
    store.save(made, tmp_path / "fit.nc")
    back = leaning.population_of(store.load(tmp_path / "fit.nc", "fit"), "spr", "clinical", "psa")
    frame = leaning.frame_of(back)
    assert [name for name, taken in zip(names, frame.pooled, strict=True) if taken] == list(POOLED)
    assert {name: off for name, off in zip(names, frame.shift, strict=True) if off} == OFF
    second = (back["mean"].values[..., 1] - MEAN[1]) / 0.3
    np.testing.assert_allclose(back["clone_free"], 0.4 + 0.2 * np.tanh(second), rtol=1e-9)
    np.testing.assert_array_equal(leaning.law_of(back).clone_free, group["clone_free"])
    assert back["member"].values.tolist() == ["A", "B"]
    for at, part in enumerate(("is_apart", "is_clone_free")):
        by_chain = [[MEMBERS[name][at, 2 * chain : 2 * chain + 2].mean() for chain in range(4)] for name in "AB"]
        np.testing.assert_allclose(back[part], by_chain, rtol=1e-12)


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


def responders(names: tuple[str, ...]) -> store.Dataset:
    """A population of one law, in which 30 % are apart and 40 % have no clone."""
    group = known(names, 0.0, OFF)
    return group.assign(apart=group["apart"] + np.array([2.0, -2.5]), share=group["share"] + 0.3)


def at_scores(made: store.DataTree, z: dict[str, np.ndarray]) -> store.DataTree:
    """The fit with draws ``(chains, draws)`` of the patient that have these scores."""
    entries, posterior = leaning.pack_of(made).every, made["posterior"].to_dataset().copy(deep=True)
    for name, column in z.items():
        posterior[name].loc[{"patient": "A"}] = np.asarray(at_score(entries[name], column))
    made["posterior"] = store.DataTree(posterior)
    return made


@pytest.mark.law
def test_how_likely_a_new_patient_is_apart_and_without_a_clone(names) -> None:
    """Patients of the population are so as often as it says; where the draws are, Bayes' formula tells."""
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    pooled.lean(made, responders(names))
    shape = tuple(made["posterior"].sizes[part] for part in ("chain", "draw"))
    law = leaning.prior_of(made, "A")
    z = leaning.drawn(np.random.default_rng(3), law, int(np.prod(shape)))
    columns = {name: column.reshape(shape) for name, column in zip(names, z.T, strict=True)}
    apart, free = leaning.belonging(at_scores(made, columns), "A")
    error = np.sqrt(0.25 / np.prod(shape))
    assert abs(apart - 0.3) < 5.0 * error
    assert abs(free - 0.4) < 5.0 * error
    here = {name: np.full(shape, value) for name, value in zip(names, np.zeros(len(names)), strict=True)}
    here |= {name: np.full(shape, MEAN[at] + (1.5, -2.0)[at]) for at, name in enumerate(POOLED)}
    off, toward, shift = np.array([1.5, -2.0]), np.array([2.0, -2.5]), np.array([0.0, OFF["decline_s"]])
    parts = {
        (k, e): (0.3 if k else 0.7)
        * (0.4 if e else 0.6)
        * stats.multivariate_normal.pdf(off, k * toward + e * shift, COVARIANCE)
        * stats.norm.pdf(e * OFF["mutation"])
        for k in (0, 1)
        for e in (0, 1)
    }
    found = leaning.belonging(at_scores(made, here), "A")
    total = sum(parts.values())
    assert found[0] == pytest.approx((parts[1, 0] + parts[1, 1]) / total, rel=1e-6)
    assert found[1] == pytest.approx((parts[0, 1] + parts[1, 1]) / total, rel=1e-6)


@pytest.mark.parametrize("off", [{}, OFF], ids=["all alike", "some without a clone"])
def test_the_mixture_has_the_density_of_its_draws(names, off) -> None:
    group = known(names, 0.3, off, along=0.3)
    law = leaning.mixture(group)
    assert law.mean.shape == (KINDS * COMPONENTS, len(names))
    at = [names.index(name) for name in POOLED]
    z, shift = np.zeros(len(names)), np.array([off.get(name, 0.0) for name in names])
    z[at], z[names.index("mutation")] = [0.3, -1.0], 0.7
    means, free = group["mean"].values.reshape(-1, 2), group["clone_free"].values.ravel()
    take = np.linspace(0, len(means) - 1, COMPONENTS).round().astype(int)
    rest = np.delete(np.arange(len(names)), at)
    kinds = [
        stats.norm.pdf((z - by)[rest]).prod()
        * np.array([stats.multivariate_normal.pdf((z - by)[at], mean, COVARIANCE) for mean in means[take]])
        for by in (np.zeros(len(names)), shift)
    ]
    dense = np.mean((1.0 - free[take]) * kinds[0] + free[take] * kinds[1])
    found = log_ratio(jnp.asarray(z), law._replace(mean=jnp.asarray(law.mean), whiten=jnp.asarray(law.whiten)))
    np.testing.assert_allclose(found, np.log(dense) - stats.norm.logpdf(z).sum(), rtol=1e-9)


@pytest.mark.law
def test_patients_drawn_from_it_have_its_moments(names) -> None:
    law = leaning.mixture(known(names))
    z = leaning.drawn(np.random.default_rng(2), law, 4000)
    for place, name in enumerate(names):
        at = POOLED.index(name) if name in POOLED else None
        laws.check_mean(z[:, place], 0.0 if at is None else MEAN[at])
        laws.check_variance(z[:, place], 1.0 if at is None else COVARIANCE[at, at])
    off = z[:, [names.index(name) for name in POOLED]] - MEAN
    laws.check_mean(off[:, 0] * off[:, 1], COVARIANCE[0, 1], what="covariance")
    laws.must_fail(lambda: laws.check_mean(off[:, 0] * off[:, 1], 0.0))


@pytest.mark.law
@pytest.mark.parametrize("along", [0.0, 0.35])
def test_marginals_are_those_of_many_patients(names, along: float) -> None:
    """Some without a clone among them. Their share may go along with the mean from draw to draw: where it is larger, those with
    a clone are farther off to the other side.
    """
    group = known(names, 0.6, OFF, along=along, rounds=COMPONENTS // 8)  # so many that the mixture has them all
    z = leaning.drawn(np.random.default_rng(4), leaning.mixture(group), 200_000)
    found = leaning.marginals(group)
    assert list(found) == [name for name in names if name in POOLED or name in OFF]

    def check(found: dict[str, tuple[float, float]], name: str) -> None:
        mean, sd = found[name]
        laws.check_mean(z[:, names.index(name)], mean, what=f"mean of {name}")
        laws.check_variance(z[:, names.index(name)], sd**2, what=f"variance of {name}")

    for name in found:
        check(found, name)
    plain = leaning.marginals(known(names, 0.6, along=along, rounds=COMPONENTS // 8))
    assert list(plain) == list(POOLED)
    check(plain, "net_growth_s")
    laws.must_fail(lambda: check(plain, "decline_s"))
    laws.must_fail(lambda: check({"mutation": (0.0, 1.0)}, "mutation"))
    cloned = leaning.marginals(group, with_clone=True)  # against which a patient's own draws are judged
    assert list(cloned) == list(found)
    assert cloned["mutation"] == (0.0, 1.0)
    assert cloned["decline_s"][1] < found["decline_s"][1]


def test_the_prior_of_a_patient_is_that_of_the_population(fit) -> None:
    """Laws and draws of the prior, of what is pooled and of what is not; draws are of the laws that the mixture takes."""
    entries, found = load_pack("clinical", "psa").entries, laws_of(fit, "A")
    means = fit[leaning.GROUP]["mean"].values.reshape(-1, 2)
    middle = means[np.linspace(0, len(means) - 1, COMPONENTS).round().astype(int)].mean(axis=0)
    level = np.array([0.05, 0.5, 0.95])
    for name, at in zip(POOLED, (0, 1), strict=True):
        sd = np.sqrt(COVARIANCE[at, at] + 0.3**2)
        z = np.asarray(score(entries[name], quantile(found[name], level)))
        np.testing.assert_allclose(z, MEAN[at] + sd * stats.norm.ppf(level), atol=0.05)
        drawn = np.asarray(score(entries[name], fit["prior"][name].values.ravel()))
        np.testing.assert_allclose(drawn.mean(), middle[at], atol=4.0 * sd / np.sqrt(len(drawn)))
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


def test_what_seeds_a_clone_is_judged_against_those_who_have_one() -> None:
    """Not against a law as wide as both humps: there, a patient of whom the hump alone is known would seem to be informed."""
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    group = known(leaning.names_of(made), 0.6, OFF)
    pooled.lean(made, group)
    entries = load_pack("clinical", "psa").every
    assert leaning.marginals(group)["mutation"][1] == pytest.approx(np.sqrt(1.0 + 0.4 * 0.6 * OFF["mutation"] ** 2))
    assert laws_of(made, "A")["mutation"].scale == pytest.approx(entries["mutation"].scale)
    assert laws_of(made, "A")["mutation"].location == pytest.approx(entries["mutation"].location)


def test_a_wide_population_can_be_leaned_on() -> None:
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=4)
    pooled.lean(made, known(leaning.names_of(made), 5.0))
    assert all(np.isfinite(made["prior"][name]).all() for name in POOLED)


def test_one_patient_of_a_cohort_is_taken_out_with_its_population(fit) -> None:
    alone = one_patient(fit, "A")
    assert alone[leaning.GROUP]["mean"].shape == (4, 80, 2)
    assert compare._of_only(fit, ["A"])[leaning.GROUP]["mean"].shape == (4, 80, 2)
