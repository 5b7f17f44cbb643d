"""A population with biomarkers in a file: as the prior of its patients and of the next, and what is said of its effects."""

from __future__ import annotations

import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import fakes
import laws
from persist.cli.main import main
from persist.errors import UsageError
from persist.inference import gather, leaning, pooled, store
from persist.inference.clone_free import Frame
from persist.inference.covariates import Effects, Scale
from persist.inference.population import Law, log_ratio
from persist.inference.subject import laws as laws_of
from persist.report import page
from persist.types import Biomarkers, Table
from persist.validation import effects, populations

POOLED = ("net_growth_s", "decline_s")
SCALE = Scale(("FLIP <b>", "TNF"), np.array([10.0, 0.5]), np.array([2.0, 0.5]))
SPREAD = np.array([[1.0, 0.6], [0.6, 1.0]])
MEAN, APART = np.array([0.8, -0.6]), np.array([0.0, -2.0])
SLOPE, TOWARD, INTERCEPT = np.array([[0.0, 0.0], [0.7, 0.0]]), np.array([0.0, 0.8]), -0.9
FREE, OFF = 0.3, {"decline_s": -1.5, "mutation": 2.0}
"""The share of patients without a clone, and by how much two of their scores are off, where they are: one that is pooled, and
one that is not.
"""
ROUNDS, LANES, CHAINS = 40, 32, 4


def known(names: tuple[str, ...], noise: float = 0.02, off: dict[str, float] | None = None) -> store.Dataset:
    """A population of two scores; FLIP acts on the second of them, TNF on standing apart."""
    rng, shape = np.random.default_rng(1), (ROUNDS, LANES)
    near = lambda part: part + noise * rng.standard_normal((*shape, *np.shape(part)))  # noqa: E731
    shares = np.full(shape, 0.2), near(FREE)
    law = Law(near(MEAN), np.tile(0.25 * np.eye(2), (*shape, 1, 1)), near(APART), *shares)
    slope = np.where([[False, False], [True, True]], near(SLOPE), 0.0)
    more = Effects(
        slope, near(TOWARD), near(INTERCEPT), np.ones((*shape, 3, 2)), np.ones(shape), np.tile(SPREAD, (*shape, 1, 1))
    )
    taken = np.isin(names, POOLED)
    frame = Frame(taken, np.array([(off or {}).get(name, 0.0) for name in names]))
    return leaning.group(names, frame, np.where(taken, 0.7, 0.1), law, CHAINS, None, (SCALE, more))


def plain():
    made = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")}, chains=CHAINS)
    made.attrs["pooled"] = store.as_attribute(True)
    return made


def of(value: list[float]) -> Biomarkers:
    return Biomarkers(SCALE.names, ("A",), np.array([value]))


@pytest.fixture(scope="module")
def fit():
    made = plain()
    pooled.lean(made, known(leaning.names_of(made)), of([14.0, np.nan]))
    return made


def test_it_is_written_and_read_as_it_was(fit, tmp_path) -> None:
    store.save(fit, tmp_path / "fit.nc")
    back = store.load(tmp_path / "fit.nc", "fit")
    group = leaning.population_of(back, "spr", "clinical", "psa")
    assert leaning.scale_of(group).names == SCALE.names
    np.testing.assert_array_equal(group["slope"], fit[leaning.GROUP]["slope"])
    assert leaning.markers_of(back).names == SCALE.names
    np.testing.assert_array_equal(leaning.markers_of(back).value, [[14.0, np.nan]])


def test_the_law_of_a_patient_is_that_of_its_biomarkers(fit) -> None:
    """Two standard deviations of FLIP up: 1.4 more of the second score; one of TNF: 46 % are apart. Some have no clone."""
    names, markers = leaning.names_of(fit), Biomarkers(SCALE.names, ("Z",), np.array([[14.0, 1.0]]))
    share = stats.norm.cdf(INTERCEPT + 0.8)
    for off in ({}, OFF):
        group = known(names, noise=0.0, off=off)
        law = leaning.given(group, "Z", markers)
        np.testing.assert_allclose(law.mean[0, 0], MEAN + np.array([0.0, 1.4]))
        np.testing.assert_allclose(law.share[0, 0], share)
        np.testing.assert_array_equal(law.clone_free, np.full((CHAINS, ROUNDS * LANES // CHAINS), FREE))
        found, between = leaning.marginals(group, "Z", markers), FREE * (1.0 - FREE)
        by = off.get("decline_s", 0.0)
        assert found["decline_s"][0] == pytest.approx(-0.6 + 1.4 - 2.0 * share + FREE * by)
        assert found["decline_s"][1] == pytest.approx(np.sqrt(0.25 + 4.0 * share * (1.0 - share) + between * by**2))
        assert found["net_growth_s"] == pytest.approx((0.8, 0.5))
        assert found.get("mutation") == (pytest.approx((FREE * 2.0, np.sqrt(1.0 + between * 4.0))) if off else None)


@pytest.mark.law
def test_what_is_missing_is_averaged_over_given_what_is_known(fit) -> None:
    """TNF of a patient with FLIP two deviations up: a mean of 1.2 and a spread of 0.8; without any, the law of all."""
    group = known(leaning.names_of(fit), noise=0.0)
    law = leaning.given(group, "Z", Biomarkers(SCALE.names, ("Z",), np.array([[14.0, np.nan]])))
    np.testing.assert_allclose(law.mean, np.broadcast_to(MEAN + np.array([0.0, 1.4]), law.mean.shape))
    toward = (stats.norm.ppf(law.share.ravel()) - INTERCEPT) / 0.8
    laws.check_mean(toward, 1.2)
    laws.check_variance(toward, 1.0 - 0.36)
    laws.must_fail(lambda: laws.check_mean(toward, 0.0))
    alone = leaning.given(group, "Z", None)
    laws.check_mean((alone.mean[..., 1].ravel() - MEAN[1]) / 0.7, 0.0)
    laws.check_variance((alone.mean[..., 1].ravel() - MEAN[1]) / 0.7, 1.0)
    laws.check_mean(alone.share.ravel(), stats.norm.cdf(INTERCEPT / np.sqrt(1.0 + 0.64)))


@pytest.mark.parametrize("off", [{}, OFF], ids=["all alike", "some without a clone"])
def test_the_mixture_has_the_density_of_that_law(fit, off) -> None:
    names = leaning.names_of(fit)
    group = known(names, noise=0.0, off=off)
    law = leaning.mixture(group, "Z", Biomarkers(SCALE.names, ("Z",), np.array([[14.0, 1.0]])))
    z = np.random.default_rng(3).standard_normal(len(names))
    at, share = [names.index(name) for name in POOLED], stats.norm.cdf(INTERCEPT + 0.8)
    middle, shift = MEAN + np.array([0.0, 1.4]), np.array([off.get(name, 0.0) for name in names])
    dense = 0.0
    for without, apart in np.ndindex(2, 2):
        own, weight = z - without * shift, (1.0 - FREE, FREE)[without] * (1.0 - share, share)[apart]
        pooled_ones = stats.multivariate_normal.pdf(own[at], middle + apart * APART, 0.25 * np.eye(2))
        dense += weight * pooled_ones * np.delete(stats.norm.pdf(own), at).prod()
    right = np.log(dense) - stats.norm.logpdf(z).sum()
    np.testing.assert_allclose(log_ratio(jnp.asarray(z), law), right, rtol=1e-9)


def test_an_unknown_biomarker_is_refused(fit) -> None:
    group = known(leaning.names_of(fit))
    with pytest.raises(UsageError, match="knows no biomarker 'XIAP'"):
        leaning.mixture(group, "A", Biomarkers(("XIAP",), ("A",), np.ones((1, 1))))
    assert "(FLIP <b>, TNF), and none are given" in leaning.assumed(group, None)[0]
    assert leaning.assumed(group, of([1.0, 1.0])) == ()


def test_the_prior_of_a_patient_is_that_of_its_biomarkers(fit) -> None:
    """Laws and draws of the prior go up by what FLIP does, less what TNF, which goes with it, makes of those apart."""
    without = plain()
    pooled.lean(without, known(leaning.names_of(without)), of([10.0, 0.5]))
    high, low = (laws_of(one, "A")["decline_s"] for one in (fit, without))
    assert abs(high.location - low.location) > 0.3 * low.scale
    assert fit["prior"]["decline_s"].values.mean() != without["prior"]["decline_s"].values.mean()


def test_effects_are_judged_and_told(fit) -> None:
    found = populations.examine(fit)
    assert found["ok"], found["problems"]
    rows = {(row["biomarker"], row["on"]): row for row in found["effects"]}
    assert {on for _, on in rows} == {"decline_s", effects.APART}
    flip = rows["FLIP <b>", "decline_s"]
    assert flip["q05"] < 0.7 < flip["q95"]
    assert flip["clear"]
    assert flip["probability"] == 1.0
    assert not rows["TNF", "decline_s"]["clear"]
    said = effects.sentences(found["effects"])
    assert said[0].startswith("more TNF goes with standing apart more often: standing apart +0.80")
    assert said[1].startswith("more FLIP <b> goes with a slower fall on drug: decline_s +0.70")
    assert len(said) == 2
    every = leaning.everyone(fit[leaning.GROUP].to_dataset())
    spread = found["scores"]["decline_s"]["spread"]["q50"]
    assert spread == pytest.approx(np.median(np.sqrt(every.covariance[..., 1, 1])))
    assert spread > np.sqrt(0.25 + 0.49)


def test_an_effect_that_has_not_settled_is_found(fit) -> None:
    group = known(leaning.names_of(fit))
    drift = np.repeat(np.linspace(0.0, 0.3, ROUNDS)[None], LANES // CHAINS, axis=0).ravel()
    group["slope"].values[..., 1, 0] += drift
    made = plain()
    pooled.lean(made, group)
    found = populations.examine(made)
    assert any("R-hat of effect of FLIP <b> on decline_s" in problem for problem in found["problems"])


def test_nothing_clear_is_said_plainly(fit) -> None:
    rows = [{**row, "clear": False} for row in populations.examine(fit)["effects"]]
    assert effects.sentences(rows) == [
        "the biomarkers (FLIP <b>, TNF) say nothing clear: the 90 % interval of every effect holds 0"
    ]
    assert effects.sentences(None) == []


@pytest.mark.slow
@pytest.mark.ci
def test_the_page_shows_them_with_their_names_escaped() -> None:
    three = tuple(fakes.FIVE_VALUES._replace(patient_id=name) for name in "ABC")
    made = fakes.posterior(Table(three, (), "0" * 64), dict.fromkeys("ABC", fakes.truth("P01")), chains=CHAINS)
    made.attrs["pooled"] = store.as_attribute(True)
    pooled.lean(made, known(leaning.names_of(made)), of([14.0, 1.0]))
    html = page.build(made).html
    assert "What the biomarkers say" in html
    assert "More FLIP &lt;b&gt; goes with a slower fall on drug" in html
    assert "FLIP <b>" not in html


def test_shares_that_are_put_together_keep_their_biomarkers(fit) -> None:
    """Of each patient as its file has them; who is in a file without any has none."""
    found = gather._markers(["B", "A"], {"A": fit, "B": plain()})
    assert found.patients == ("B", "A")
    np.testing.assert_array_equal(found.rows(["A", "B"]), [[14.0, np.nan], [np.nan, np.nan]])
    assert gather._markers(["B"], {"B": plain()}) is None


def test_the_command_refuses_a_biomarker_that_the_population_does_not_know(fit, tmp_path) -> None:
    store.save(fit, tmp_path / "pop.nc")
    (tmp_path / "b.csv").write_text("patient_id,time_days,burden,observable\nQ,0,10,psa\nQ,28,5,psa\n")
    (tmp_path / "m.csv").write_text("patient_id,time_days,name,value\nQ,,TNFa,1\n")
    words = ["fit", str(tmp_path / "b.csv"), "--population", str(tmp_path / "pop.nc"), "-o", str(tmp_path / "o.nc")]
    told = CliRunner().invoke(main, [*words, "--biomarkers", str(tmp_path / "m.csv")])
    assert told.exit_code == 2
    assert (
        "--biomarkers: the population knows no biomarker 'TNFa' (did you mean 'TNF'?); leave its rows out"
        in told.stderr
    )
    assert told.stderr.count("\n") == 1
