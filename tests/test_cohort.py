"""From ragged series to padded rows: nothing is lost, and the padding changes nothing."""

from __future__ import annotations

import numpy as np
import pytest

from persist.errors import DataError, UsageError
from persist.inference.cohort import case, observable, one_schedule, pad
from persist.inference.curve import follow
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.inference.target import Target, flat_potential, reference
from persist.types import Schedule, Series

EMPTY = Schedule(np.zeros(0), np.zeros(0), np.zeros(0))


def on(*spans: tuple[float, float], dose: float = 1.0) -> Schedule:
    start, stop = np.array(spans, float).T
    return Schedule(start, stop, np.full(len(start), dose))


def series(day, burden, schedules=None, *, kind="psa", censoring=None, name="A") -> Series:
    day = np.asarray(day, float)
    marks = np.zeros(len(day), int) if censoring is None else np.asarray(censoring)
    given = {"drug": on((0.0, np.inf))} if schedules is None else schedules
    return Series(name, kind, "", day, np.asarray(burden, float), marks, given)


def centre(kind: str = "psa") -> dict[str, float]:
    """The medians of the clinical priors."""
    pack = load_pack("clinical", kind)
    entries = pack.every
    return {name: float(quantile(entries[name], np.array(0.5))) for name in sampled(pack, "spr")}


SHORT = series([0, 28, 56, 100], [20.0, 9.0, 4.0, 2.0], {"drug": on((0.0, 60.0))}, censoring=[0, 0, 0, -1])
LONG = series(np.arange(0, 3000, 30.0), np.full(100, 5.0), name="B")


def test_padding_does_not_change_the_density() -> None:
    alone, company = (case(pad(rows, pack="clinical"), 0, counted=False) for rows in ([SHORT], [SHORT, LONG]))
    assert len(alone.length) < len(company.length)
    assert len(alone.value) < len(company.value)
    target = Target("spr", "clinical", "psa", 1.0)
    middle, energy = reference(target, alone).location, flat_potential(target)
    one, other = (float(energy(row, middle)) for row in (alone, company))
    assert one == pytest.approx(other, abs=1e-10)


def test_the_grid_leads_to_every_visit() -> None:
    cohort = pad([SHORT, LONG], pack="clinical")
    for index, one in enumerate((SHORT, LONG)):
        row = case(cohort, index, counted=False)
        ends = np.concatenate([[0.0], np.cumsum(row.length)])
        np.testing.assert_allclose(ends[row.step][row.seen], one.day, atol=1e-9)
        np.testing.assert_allclose(np.cumsum(row.gap)[row.seen], one.day, atol=1e-9)
        assert row.seen.sum() == len(one.day)
    assert cohort.dose[0][np.cumsum(cohort.length[0]) <= 60.0].all()


def test_treatment_before_the_first_visit_builds_exposure_up() -> None:
    values = centre() | {"burden_0": 10.0, "settled_burden": 50.0, "onset_days": 20.0}
    rows = [series([100, 130], [10, 6], {"drug": on((start, np.inf))}) for start in (60.0, 100.0)]
    early, late = (case(pad([row], pack="clinical"), 0, counted=False) for row in rows)
    before, after = (follow(values, row, 1.0) for row in (early, late))
    assert before.exposure[0] == pytest.approx(1 - np.exp(-40 / 20), abs=1e-6)
    assert after.exposure[0] == 0.0
    assert before.level[0] == pytest.approx(np.log(10.0), abs=1e-4)  # the cells are followed from the first visit
    assert before.level[1] < after.level[1]


def test_a_count_of_none_is_less_than_one() -> None:
    cohort = pad([series([0, 7, 14], [100, 0, 3], kind="cells")], pack="in-vitro")
    row = case(cohort, 0, counted=True)
    assert row.censoring[:3].tolist() == [0, -1, 0]
    assert row.value[1] == 0.0
    np.testing.assert_allclose(row.counting[:3], [0.01, 1.0, 1 / 3])
    assert not row.counting[3:].any()


def test_a_full_dish_is_a_lower_limit() -> None:
    cohort = pad([series([0, 3, 6], [40, 99.5, 100], kind="confluence")], pack="in-vitro")
    assert cohort.censoring[0, :3].tolist() == [0, 1, 1]
    np.testing.assert_allclose(np.exp(cohort.log_burden[0, 1:3]), observable("confluence").ceiling)


def test_a_first_value_under_its_limit_starts_at_half_of_it() -> None:
    row = case(pad([series([0, 30], [0.1, 0.5], censoring=[-1, 0])], pack="clinical"), 0, counted=False)
    assert np.exp(row.log_first) == pytest.approx(0.05)
    assert np.exp(row.log_largest) == pytest.approx(0.5)


def test_a_single_visit_can_be_padded() -> None:
    row = case(pad([series([5], [3.0])], pack="clinical"), 0, counted=False)
    assert row.seen.sum() == 1
    assert not row.moving.any()


TWO = series([0, 30], [2, 1], {"one": on((0.0, 10.0)), "other": on((5.0, 20.0), dose=0.5)})


def test_two_drugs_need_a_choice() -> None:
    with pytest.raises(DataError, match=r"2 drugs \(one, other\).*--drug"):
        one_schedule(TWO)
    assert one_schedule(TWO, "other").dose.tolist() == [0.5]


def test_a_drug_that_was_never_given_is_an_error() -> None:
    with pytest.raises(DataError, match=r'"third".*choose one, other'):
        pad([TWO], pack="clinical", drug="third")


@pytest.mark.parametrize("drug", [None, "any"])
def test_no_treatment_at_all_is_an_empty_schedule(drug: str | None) -> None:
    assert len(one_schedule(series([0], [1], {}), drug).start) == 0


def test_an_unknown_observable_cannot_be_fitted() -> None:
    with pytest.raises(UsageError, match=r"mood.*choose.*psa"):
        pad([series([0], [1], kind="mood")], pack="clinical")


@pytest.mark.parametrize(("burden", "seen"), [([20, 2, 0.5, 1, 0.4], 4), ([20, 2, 0.1, 5, 3], 2)])
def test_a_clone_would_show_where_the_tumour_is_smallest(burden: list[float], seen: int) -> None:
    given = {"drug": on((0.0, 60.0), (90.0, 120.0))}
    row = case(pad([series([0, 30, 60, 90, 120], burden, given)], pack="clinical"), 0, counted=False)
    day = 30.0 * seen
    assert (row.sight_days, np.exp(row.sight_log)) == (day, pytest.approx(burden[seen]))
    assert row.sight_on == pytest.approx(60.0 + max(0.0, day - 90.0))
    low = int(np.argmin(burden))
    assert row.low_on == pytest.approx({4: 30.0, 2: 60.0}[low])
    assert row.low_fall == pytest.approx(np.log(burden[{4: 3, 2: 0}[low]] / burden[low]))
    assert row.sight_area == pytest.approx(np.trapezoid(burden[: seen + 1], dx=30.0))
