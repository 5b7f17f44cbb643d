"""One patient's part of a fit, for functions that know neither cohorts nor padding."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest

import fakes
from persist.errors import DataError
from persist.inference.posterior import one_patient
from persist.records.table import read


@pytest.fixture(scope="module")
def both():
    names = ("P01", "P03")
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=names)
    return fakes.posterior(table, {name: fakes.truth(name) for name in names}, chains=4, draws=100)


@pytest.mark.parametrize(("patient", "visits"), [("P01", 37), ("P03", 7)])
def test_what_is_padded_is_cut(both, patient, visits):
    alone = one_patient(both, patient)
    assert dict(alone["log_likelihood"].sizes) == {"chain": 4, "draw": 100, "visit": visits}
    assert dict(alone["posterior"].sizes) == {"chain": 4, "draw": 100}
    assert set(alone["observed_data"].data_vars) == set(alone["posterior_predictive"].data_vars) == {"burden"}
    assert np.isfinite(alone["constant_data"]["day"]).all()


def test_arviz_takes_it(both):
    """Twice with padding: `az.loo` refuses the short series, whose padded visits all weigh alike."""
    alone = one_patient(both, "P03")
    assert np.isfinite(az.loo(alone).elpd)
    assert len(az.summary(alone, var_names=["reversion"])) == 1
    with pytest.raises(ValueError, match="tail"):
        az.loo(both.sel(patient="P03"))


def test_an_unknown_patient_is_refused(both):
    with pytest.raises(DataError, match='no patient "X"'):
        one_patient(both, "X")
