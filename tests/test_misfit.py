"""The script that lets other models make patients: its series are what it says, and its plan is the treatment that follows."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

from persist.treatment.schedule import dose_at, parse_plan, plan_schedule

SCRIPTS = Path(__file__).resolve().parent.parent / "scripts"


@pytest.fixture(scope="module")
def misfit():
    sys.path.insert(0, str(SCRIPTS))
    try:
        import misfit
    finally:
        sys.path.pop(0)
    return misfit


@pytest.mark.parametrize("family", ["lotka-volterra", "piecewise", "attenuation"])
def test_a_family_responds_on_drug_and_comes_back_off_it(misfit, family):
    """Of ten patients, most."""
    series = [misfit.patient(family, number, 0) for number in range(10)]
    course, pause = misfit.COURSE, misfit.PAUSE
    fell = [one.burden[one.day <= course].min() < 0.5 * one.burden[0] for one in series]
    rose = [one.burden[one.day <= course + pause][-1] > one.burden[one.day <= course].min() for one in series]
    assert sum(fell) >= 8
    assert sum(rose) >= 8
    assert all((one.burden >= misfit.FLOOR).all() for one in series)


def test_the_plan_is_the_treatment_that_follows(misfit):
    series = misfit.patient("piecewise", 0, 0)
    landmark = misfit.COURSE + misfit.PAUSE
    later = np.arange(1.0, misfit.HORIZON - 1.0, 7.0)
    planned = dose_at(plan_schedule(parse_plan(misfit.PLAN), landmark, misfit.HORIZON), landmark + later)
    np.testing.assert_array_equal(planned, dose_at(series.schedules["drug"], landmark + later))


def test_only_recorded_days_are_compared(misfit):
    recorded = np.arange(0.0, 10.0)
    np.testing.assert_array_equal(misfit.on_days(recorded, np.array([2.0, 9.0])), [2, 9])
    for day in (2.5, 10.0):
        with pytest.raises(ValueError, match="recorded"):
            misfit.on_days(recorded, np.array([day]))
