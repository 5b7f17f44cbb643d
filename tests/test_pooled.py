"""From a table to the posterior of a cohort: how long it is drawn, and what its file holds."""

from __future__ import annotations

import numpy as np
import pytest

import fakes
from persist.inference import leaning, store
from persist.inference.clone_free import shifts
from persist.inference.pooled import fit_cohort, pace_of
from persist.inference.pooling import Pace
from persist.inference.sample import CROWD
from persist.inference.settings import Settings
from persist.inference.walkers import WALKERS
from persist.types import Table
from persist.validation import health


def test_the_pace_goes_with_what_is_asked() -> None:
    assert pace_of(Settings()) == Pace()
    usual = pace_of(Settings(chains=2))
    assert usual == Pace(lanes=2 * WALKERS)
    more = pace_of(Settings(chains=2, draws=1280))
    assert more == usual._replace(last=2 * usual.last, rounds=2 * usual.rounds)
    longer = pace_of(Settings(chains=2, warmup=1920))
    grown = {name: 2 * getattr(usual, name) for name in ("settle", "stage", "warmup")}
    assert longer == usual._replace(**grown)
    least = pace_of(Settings(chains=1, warmup=1, draws=1))
    assert min(least) >= 1
    assert least.rounds == least.thin


def test_a_patient_has_many_draws_by_default() -> None:
    """Of those that the lanes choose from, as many as are asked of the last stage."""
    assert 6000 <= Pace().last * CROWD <= 8000
    assert Pace().rounds / Pace().thin * WALKERS == Settings().draws


@pytest.mark.slow
@pytest.mark.ci
def test_a_cohort_through_the_whole_pipeline(tmp_path) -> None:
    """Two patients, as little work as it can do: chains and draws as asked, a population that is told and judged."""
    pair = tuple(
        fakes.FIVE_VALUES._replace(patient_id=name, burden=scale * fakes.FIVE_VALUES.burden)
        for name, scale in (("A", 1.0), ("B", 3.0))
    )
    settings, heard = Settings(chains=2, warmup=120, draws=64), []
    fit = fit_cohort(
        Table(pair, (), "0" * 64), settings, partial=tmp_path / "left", progress=lambda what, share: heard.append(what)
    )
    assert fit["posterior"]["decline_s"].sizes == {"patient": 2, "chain": 2, "draw": 64}
    assert np.isfinite(fit["posterior"]["decline_s"]).all()
    group = fit[leaning.GROUP].to_dataset()
    assert group["mean"].shape[:2] == (2, 64)
    assert group["effective"].sizes == {"member": 2}
    assert (group["effective"] >= 1.0).all()
    names = leaning.names_of(fit)
    np.testing.assert_array_equal(group["shift"], shifts(names, leaning.pack_of(fit)))
    assert np.ptp(group["clone_free"].values) > 0.0
    assert group["is_apart"].shape == group["is_clone_free"].shape == (2, 2)
    store.save(fit, tmp_path / "fit.nc")
    found = health.whole(store.load(tmp_path / "fit.nc", "fit"))
    assert list(found["patients"]) == ["A", "B"]
    assert found["population"]["effective"]["least"] == pytest.approx(float(group["effective"].min()))
    for name, row in zip("AB", group["is_clone_free"].values, strict=True):
        assert found["population"]["is_clone_free"][name] == pytest.approx(row.mean())
    assert {"alone", "together"} == set(heard)
    assert len(list((tmp_path / "left").glob("*.npz"))) == 6  # of each patient and stage
