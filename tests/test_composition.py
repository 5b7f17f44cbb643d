"""Measured fractions: their law and its density, where they stand on the grid, what they weigh, and that nothing else moves."""

from __future__ import annotations

import arviz as az
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import xarray as xr
from scipy import stats

import fakes
import laws
from persist import keys
from persist.dynamics.observe import ASSAYS, BLUNDER, counted_share, positive_share
from persist.errors import DataError
from persist.inference import cohort, composition, one_by_one, particles, posterior, store
from persist.inference import fit as fitting
from persist.inference.cohort import case, pad
from persist.inference.curve import follow
from persist.inference.target import Target, by_site, problem, reference
from persist.types import MARKERS, Cells, Composition, Specimens, Table

P, R = MARKERS.index("persister"), MARKERS.index("resistant")
ON_VISITS = Composition(
    np.array([0.0, 30.0, 30.0, 200.0]),
    np.array([0.0, 0.004, 0.0, 0.3]),
    np.array([500.0, 1000.0, 3400.0, 250.0]),
    np.array([P, P, R, R]),
)
COUNTED = fakes.FIVE_VALUES._replace(composition=ON_VISITS)
"""The short series with fractions on days of visits, so that the steps of its grid are those without."""


def one_case(series):
    return case(pad([series], pack="clinical"), 0, counted=False)


def truth(**changes: float) -> dict:
    return {name: jnp.asarray(value) for name, value in (fakes.truth("P01") | changes).items()}


def asked(cells: Cells, found: Composition) -> np.ndarray:
    """The log-likelihood of fractions of whole counts, by SciPy, from cells on their days."""
    each = []
    for place, (share, counted, marker) in enumerate(zip(*found[1:], strict=True)):
        state = (cells.persister, cells.resistant)[marker][place] / cells.total[place]
        one = ASSAYS[MARKERS[marker]]
        q = one.sensitivity * state + (1 - one.specificity) * (1 - state)
        q = (1 - BLUNDER) * q + BLUNDER * (1 - q)
        k, phi = np.rint(share * counted), one.concentration
        each.append(stats.betabinom.logpmf(k, counted, q * phi, (1 - q) * phi))
    return np.array(each)


# ---------------------------------------------------------------- the density


@pytest.mark.parametrize("share", [1e-6, 0.02, 0.5, 1.0 - 1e-6])
@pytest.mark.parametrize("concentration", [3.0, 500.0])
def test_the_density_is_the_beta_binomial_and_sums_to_one(share: float, concentration: float) -> None:
    k = np.arange(61.0)
    found = np.asarray(composition.log_density(k, 60.0, share, concentration))
    assert np.exp(found).sum() == pytest.approx(1.0, abs=1e-7)
    want = stats.betabinom.logpmf(k, 60, share * concentration, (1 - share) * concentration)
    np.testing.assert_allclose(found, want, atol=1e-7)


def test_a_share_that_was_rounded_lies_between_its_counts() -> None:
    found = np.asarray(composition.log_density(np.array([4.0, 4.5, 5.0]), 60.0, 0.4, 100.0))
    assert found[0] < found[1] < found[2]


def test_gradients_are_finite_where_no_or_all_cells_are_marked() -> None:
    cells = np.array([[1e9, 0, 0], [0, 1e9, 0], [0, 0, 1e9], [0, 0, 0], [1e9, 1e-30, 1e-30]])
    rows = [(k, m, of) for k in (0.0, 1e6) for m in (P, R) for of in cells]
    positive, marker = (np.array([row[place] for row in rows]) for place in (0, 1))
    many = Cells(*(jnp.asarray(column) for column in np.array([row[2] for row in rows]).T))
    of = Specimens(positive, np.full(len(rows), 1e6), marker, np.zeros(len(rows), int), np.ones(len(rows), bool))
    value, slope = jax.value_and_grad(lambda at: composition.log_likelihood(of, at).sum())(many)
    assert np.isfinite(value)
    assert np.isfinite(np.array(slope)).all()


# ---------------------------------------------------------------- the law of what is drawn


@pytest.mark.law
@pytest.mark.parametrize("marker", [P, R])
def test_drawn_counts_have_the_stated_law(marker: int) -> None:
    counted, shares = 40, (0.2, 0.35)
    cells = Cells(*(jnp.full(20_000, share * 1e9) for share in (1 - sum(shares), *shares)))
    drawn = np.rint(np.asarray(counted_share(keys.key(7, MARKERS[marker]), cells, marker, counted)) * counted)
    one = ASSAYS[MARKERS[marker]]

    def law(sensitivity: float) -> np.ndarray:
        q = sensitivity * shares[marker] + (1 - one.specificity) * (1 - shares[marker])
        return stats.betabinom.pmf(np.arange(counted + 1), counted, q * one.concentration, (1 - q) * one.concentration)

    laws.check_distribution(drawn, law(one.sensitivity), what=MARKERS[marker])
    laws.must_fail(lambda: laws.check_distribution(drawn, law(0.95 * one.sensitivity)))


@pytest.mark.law
def test_where_there_is_none_the_false_positives_are_counted() -> None:
    cells = Cells(jnp.full(200_000, 1e9), jnp.zeros(200_000), jnp.zeros(200_000))
    drawn = np.asarray(counted_share(keys.key(7, "none"), cells, P, 1000.0))
    false = float(positive_share(Cells(1e9, 0.0, 0.0), P))
    assert false == pytest.approx(1.0 - ASSAYS["persister"].specificity, rel=0.01)
    laws.check_mean(drawn, false, what="false positives")
    laws.must_fail(lambda: laws.check_mean(drawn, 1.05 * false))


# ---------------------------------------------------------------- on the grid


def test_the_grid_leads_to_every_fraction() -> None:
    """Between the visits, on a change of dose, and after the last visit."""
    day = np.array([0.0, 11.0, 160.0, 207.0])
    found = Composition(day, np.full(4, 0.25), np.full(4, 80.0), np.array([P, P, R, P]))
    row = one_case(fakes.FIVE_VALUES._replace(composition=found))
    ends = np.concatenate([[0.0], np.cumsum(row.length)])
    np.testing.assert_allclose(ends[row.specimens.step][row.specimens.seen], day, atol=1e-9)
    np.testing.assert_allclose(ends[row.step][row.seen], fakes.FIVE_VALUES.day, atol=1e-9)
    np.testing.assert_array_equal(row.specimens.positive[row.specimens.seen], 20.0)
    np.testing.assert_array_equal(row.specimens.marker[row.specimens.seen], found.marker)


def test_fractions_are_padded_so_that_one_program_serves_all() -> None:
    many = Composition(np.arange(17.0), np.zeros(17), np.ones(17), np.zeros(17, int))
    sizes = [
        one_case(series).specimens.seen.shape
        for series in (fakes.FIVE_VALUES, COUNTED, fakes.FIVE_VALUES._replace(composition=many))
    ]
    assert sizes == [(16,), (16,), (32,)]
    together = pad([fakes.FIVE_VALUES, COUNTED], pack="clinical")
    assert together.specimens.seen.sum(axis=1).tolist() == [0, 4]


def test_a_fraction_before_the_first_burden_is_refused() -> None:
    early = Composition(np.array([-3.0]), np.array([0.1]), np.array([10.0]), np.array([P]))
    with pytest.raises(DataError, match=r"patient A.*day -3, before the first burden on day 0.*leave it out"):
        pad([fakes.FIVE_VALUES._replace(composition=early)], pack="clinical")


def test_a_series_is_cut_with_its_composition() -> None:
    cut = COUNTED.until(30.0)
    assert cut.day.tolist() == [0.0, 30.0]
    assert cut.composition.day.tolist() == [0.0, 30.0, 30.0]
    assert [len(part) for part in (cut.burden, cut.censoring, *cut.composition)] == [2, 2, 3, 3, 3, 3]
    assert COUNTED.until(1e9).composition.day.tolist() == ON_VISITS.day.tolist()


# ---------------------------------------------------------------- what they weigh


def test_a_fraction_weighs_what_the_closed_form_says_and_a_burden_what_it_did() -> None:
    values = truth(persister_0=0.01, resistant_0=0.02)
    with_it, without = (follow(values, one_case(series), 1.0) for series in (COUNTED, fakes.FIVE_VALUES))
    np.testing.assert_array_equal(with_it.pointwise, without.pointwise)
    np.testing.assert_array_equal(without.composition, 0.0)
    assert float(without.log_likelihood) == float(without.pointwise.sum())
    visit = np.searchsorted(fakes.FIVE_VALUES.day, ON_VISITS.day)
    want = asked(Cells(*(np.asarray(state)[visit] for state in without.cells)), ON_VISITS)
    np.testing.assert_allclose(with_it.composition[:4], want, atol=1e-6)
    np.testing.assert_array_equal(with_it.composition[4:], 0.0)


@pytest.mark.slow
@pytest.mark.ci
def test_the_density_of_a_fit_changes_by_the_closed_form() -> None:
    target = Target("spr", "clinical", "psa", 1.0)
    energy, constrain = problem(target)
    plain, row = one_case(fakes.FIVE_VALUES), one_case(COUNTED)
    middle = by_site(target, jnp.asarray(reference(target, plain).location))
    curve = follow(constrain(plain, middle), plain, 1.0)
    visit = np.searchsorted(fakes.FIVE_VALUES.day, ON_VISITS.day)
    want = asked(Cells(*(np.asarray(state)[visit] for state in curve.cells)), ON_VISITS).sum()
    gained = float(energy(plain)(middle)) - float(energy(row)(middle))
    assert gained == pytest.approx(want, abs=1e-6)
    assert abs(want) > 1.0
    bare = plain._replace(specimens=Specimens(*(part[:0] for part in plain.specimens)))
    assert float(energy(plain)(middle)) == pytest.approx(float(energy(bare)(middle)), abs=1e-10)


@pytest.mark.slow
@pytest.mark.ci
def test_the_particle_filter_weighs_by_fractions(monkeypatch) -> None:
    """Without chance (so many cells) it is the fast likelihood, both in steps of a day; fractions stand on, between and after
    the visits.
    """
    monkeypatch.setitem(cohort.MAX_STEP_DAYS, "clinical", 1.0)
    found = Composition(
        np.array([30.0, 60.0, 120.0, 210.0]), np.array([0.1, 0.4, 0.1, 0.1]), np.full(4, 200.0), np.array([P, P, R, R])
    )
    values = truth(cells_per_unit=1e15, persister_0=0.01, resistant_0=0.02, wander_sd=0.3, noise_sd=0.2)
    draws = {name: np.full(4, float(value)) for name, value in values.items()}
    row = one_case(fakes.FIVE_VALUES._replace(composition=found))
    fast = follow(values, row, 1.0)
    exact = particles.log_likelihood(0, "A", draws, row, 1.0, 1000)
    np.testing.assert_allclose(exact, float(fast.log_likelihood), atol=0.15)
    assert min(-np.asarray(fast.composition)[:4]) > 1.0  # each of the four would be missed


# ---------------------------------------------------------------- in the file of a fit


@pytest.fixture(scope="module")
def made():
    other = fakes.FIVE_VALUES._replace(patient_id="B")
    return fakes.posterior(
        Table((COUNTED, other), ("a note",), "0" * 64),
        {name: fakes.truth("P01") for name in "AB"},
        chains=4,
    )


def test_a_fit_keeps_its_fractions_there_and_back(made, tmp_path) -> None:
    store.save(made, tmp_path / "fit.nc")
    back = store.load(tmp_path / "fit.nc", "fit")
    xr.testing.assert_identical(back, made)
    mine, other = (series.composition for series in posterior.series(back))
    for part, want in zip(mine, ON_VISITS, strict=True):
        np.testing.assert_array_equal(part, want)
    assert len(other.day) == 0
    assert back["constant_data"]["fraction_marker"].sel(patient="A").values.tolist() == [
        MARKERS[m] for m in (P, P, R, R)
    ]
    each = back["log_likelihood"]["fraction"]
    assert each.dims == ("chain", "draw", "patient", "specimen")
    assert (each.sel(patient="A") < 0.0).all()
    assert (each.sel(patient="B") == 0.0).all()
    notes = store.attribute(back, "notes")
    assert notes[0] == "a note"
    assert sum("sensitivity" in note and "assumptions" in note for note in notes) == 2


def test_finished_draws_under_other_fractions_are_not_taken(tmp_path) -> None:
    other = COUNTED._replace(composition=ON_VISITS._replace(share=np.array([0.0, 0.004, 0.0, 0.31])))
    settings = fitting.Settings()
    marks = {
        one_by_one.Kept(tmp_path, settings, fitting.members(Table((series,), (), ""), settings)[0]).fingerprint
        for series in (fakes.FIVE_VALUES, COUNTED, other)
    }
    assert len(marks) == 3


def test_one_patient_is_for_functions_of_the_burden(made) -> None:
    alone = posterior.one_patient(made, "A")
    assert np.isfinite(az.loo(alone).elpd)
    np.testing.assert_array_equal(alone["constant_data"]["fraction"], ON_VISITS.share)


def test_a_fit_without_fractions_has_no_word_of_them() -> None:
    plain = fakes.posterior(Table((fakes.FIVE_VALUES,), (), "0" * 64), {"A": fakes.truth("P01")})
    names = {str(name) for group in plain.children.values() for name in (*group.data_vars, *group.dims)}
    assert not {name for name in names if "fraction" in name or name == "specimen"}
    assert store.attribute(plain, "notes") == []
    assert len(posterior.series(plain)[0].composition.day) == 0


def test_the_page_shows_what_was_counted() -> None:
    from persist.report.plots import past
    from persist.report.read import History

    shares = np.tile(np.array([[0.5], [0.3], [0.2]]), 5)
    burden = np.tile(fakes.FIVE_VALUES.burden, (5, 1))
    for series, shown in ((COUNTED, True), (fakes.FIVE_VALUES, False)):
        story = History(series, series.schedules["drug"], burden, shares, burden[:2], None)
        assert ("persister, counted" in past("x", "a figure", story)) is shown
