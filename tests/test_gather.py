"""Shares of a fit put together are the fit of all; shares of different runs are refused."""

from __future__ import annotations

import numpy as np
import pytest

import fakes
from persist.errors import UsageError
from persist.inference import posterior, store
from persist.inference.gather import gather
from persist.types import Table

SERIES = tuple(
    fakes.FIVE_VALUES._replace(patient_id=name, burden=fakes.FIVE_VALUES.burden * k) for k, name in enumerate("ABC", 1)
)
TRUTH = {one.patient_id: fakes.truth("P01") | {"net_growth_s": 0.01 + 0.001 * k} for k, one in enumerate(SERIES)}


def made(*names: str, sha256: str = "0" * 64, **more: object) -> store.DataTree:
    """A share of the fit of A, B and C, as fit leaves it."""
    table = Table(tuple(one for one in SERIES if one.patient_id in names), (), sha256)
    found = fakes.posterior(table, TRUTH, **more)  # type: ignore[arg-type]
    problems = {name: [f"what is wrong with {name}"] for name in names}
    found.attrs |= {"everyone": store.as_attribute(["A", "B", "C"]), "problems": store.as_attribute(problems)}
    return found


def equal(one: store.DataTree, other: store.DataTree, names: str) -> None:
    """All groups of these patients are the same."""
    assert set(one.children) == set(other.children)
    for group in one.children:
        mine, yours = one[group].to_dataset(), other[group].to_dataset()
        assert set(mine.data_vars) == set(yours.data_vars)
        for name in mine.data_vars:
            for patient in names:
                a, b = (
                    part[name].sel(patient=patient) if "patient" in part[name].dims else part[name]
                    for part in (mine, yours)
                )
                np.testing.assert_array_equal(a, b, err_msg=f"{group}.{name}")


def test_shares_come_together_as_they_were_and_in_order() -> None:
    one, other = made("A", "C"), made("B")
    found = gather({"2.nc": other, "1.nc": one})
    assert posterior.patients(found) == ["A", "B", "C"]
    equal(found, one, "AC")
    equal(found, other, "B")
    assert store.attribute(found, "problems")["C"] == ["what is wrong with C"]
    assert found.attrs["seconds"] == one.attrs["seconds"] + other.attrs["seconds"]
    assert found.attrs["settings"] == one.attrs["settings"]


def test_a_clone_that_died_out_in_every_draw_stays_dead() -> None:
    part = made("A", "B", "C")
    drawn = part["posterior"].to_dataset()
    part["posterior"] = store.DataTree(drawn.assign(clone_size=0.0 * drawn["decline_s"]))
    found = gather({"1.nc": part})["posterior"].to_dataset()
    np.testing.assert_array_equal(found["clone_size"], np.zeros_like(drawn["decline_s"]))


def test_a_fit_of_a_cohort_stays_one() -> None:
    one = made("A", "B", "C")
    assert not store.attribute(gather({"1.nc": one}), "pooled")
    one.attrs["pooled"] = store.as_attribute(True)
    assert store.attribute(gather({"1.nc": one}), "pooled")
    with pytest.raises(UsageError, match="its pooled is not that"):
        gather({"1.nc": one, "2.nc": made("B")})


def test_patients_of_a_share_that_is_not_there_are_said() -> None:
    found = gather({"1.nc": made("A", "C")})
    assert posterior.patients(found) == ["A", "C"]
    assert "no file has patient B" in store.attribute(found, "notes")


def test_one_that_could_not_be_fitted_is_not_missing() -> None:
    part = made("A", "C")
    part.attrs["unfit"] = store.as_attribute({"B": "no starting point"})
    found = gather({"1.nc": part})
    assert store.attribute(found, "unfit") == {"B": "no starting point"}
    assert not any("no file has" in note for note in store.attribute(found, "notes"))


@pytest.mark.parametrize(
    ("other", "said"),
    [
        (lambda: made("B", sha256="1" * 64), "its data is not that of 1.nc"),
        (lambda: made("B", draws=25), "its settings is not that of 1.nc"),
        (lambda: made("A"), "patient A is in another of them too"),
    ],
)
def test_what_does_not_belong_together_is_refused(other, said) -> None:
    with pytest.raises(UsageError, match=said):
        gather({"1.nc": made("A", "C"), "2.nc": other()})
