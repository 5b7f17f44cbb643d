"""The bundled cohort, fitted for real: do the intervals cover the truth, and do the planted verdicts come out?

Twelve fits: three to five minutes on two cores, so not among the everyday tests.
"""

from __future__ import annotations

import csv

import numpy as np
import pytest

import fakes
from persist.forecast.outcome import ask, forecast
from persist.inference import store
from persist.inference.fit import fit
from persist.inference.settings import Settings
from persist.records.table import read

pytestmark = [pytest.mark.slow, pytest.mark.ci]

RATES = ("net_growth_s", "kill_s", "reversion")
AT_LEAST = 8
"""Of twelve: fewer have a probability of 0.4 % where each 90 % interval covers at its own rate. Seeds are fixed."""


@pytest.fixture(scope="module")
def fitted():
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa")
    return fit(table, Settings())


def everything_true() -> dict[str, dict[str, float]]:
    rows: dict[str, dict[str, float]] = {}
    with (fakes.DATA / "truth.csv").open(encoding="utf-8") as file:
        for row in csv.DictReader(file):
            rows.setdefault(row["patient_id"], {})[row["parameter"]] = float(row["value"])
    return rows


def covered(fitted, name: str, factor: float = 1.0) -> int:
    """Patients whose 90 % interval holds the truth times ``factor``."""
    count = 0
    for patient, truth in everything_true().items():
        low, high = np.quantile(fitted["posterior"][name].sel(patient=patient), (0.05, 0.95))
        count += bool(low <= factor * truth[name] <= high)
    return count


@pytest.mark.parametrize("name", RATES)
def test_intervals_cover_the_truth(fitted, name):
    assert covered(fitted, name) >= AT_LEAST


@pytest.mark.parametrize(("name", "factor"), [("net_growth_s", 1.5), ("kill_s", 1.5), ("reversion", 20.0)])
def test_a_planted_error_is_not_covered(fitted, name, factor):
    """Reversion is mostly the prior's, from one patient's totals: only a large error in it can be seen."""
    assert covered(fitted, name, factor) < AT_LEAST


def test_planted_verdicts_come_out(fitted):
    plans = [line for line in (fakes.DATA / "plans.txt").read_text().splitlines() if line and not line.startswith("#")]
    summary = store.attribute(forecast(fitted, ask(plans, 1080.0)), "summary")
    verdicts = {name: summary[name]["benefit"]["holiday"]["verdict"] for name in ("P01", "P02", "P03")}
    assert verdicts == {"P01": "benefit", "P02": "harm", "P03": "cannot tell"}
