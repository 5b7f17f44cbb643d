"""What is asked of a calibration: of single patients, or of cohorts with their population."""

from __future__ import annotations

from typing import NamedTuple

from persist.errors import UsageError
from persist.inference.cohort import observable
from persist.inference.model import sampled
from persist.inference.priors import load_pack
from persist.inference.settings import Settings
from persist.validation import virtual
from persist.validation.designs import Design, design_of

RANKS_STEP = 20
"""The number of ranks is a multiple of this, so that the middle 50 % and 90 % of them are whole numbers of ranks."""

ALIKE = "alike"
"""The error that may be planted in cohorts alone: patients half as different as their law says."""

PLANTS = (*virtual.PLANTS, ALIKE)
"""Errors that may be planted."""


class Study(NamedTuple):
    """What is asked of a calibration: how to fit (its seed is that of all), how many ``ranks`` there are (one more than the
    posterior draws that are used), the error that is planted (`PLANTS`), and how many patients a ``cohort`` has (0: a replicate
    is one patient, fitted alone).
    """

    settings: Settings
    ranks: int = 100
    plant: str = "none"
    cohort: int = 0

    @property
    def rank_max(self) -> int:
        """The largest rank, and the number of thinned draws."""
        return self.ranks - 1

    @property
    def design(self) -> Design:
        """The design of the pack."""
        return design_of(self.settings.pack)


def study(settings: Settings, ranks: int = 100, plant: str = "none", cohort: int = 0) -> Study:
    """A `Study` that can be run, with the reference of its design; `UsageError` / `RatesError` for one that cannot."""
    design = design_of(settings.pack)
    sampled(load_pack(settings.pack, observable(design.observable).cells), settings.model)
    if plant not in PLANTS:
        raise UsageError(f'no error is called "{plant}"', where="--plant", remedy=f"choose {', '.join(PLANTS)}")
    if plant == ALIKE and not cohort:
        raise UsageError(f'"{plant}" is an error of a population', where="--plant", remedy="give --cohort N too")
    if ranks < RANKS_STEP or ranks % RANKS_STEP:
        remedy = f"give a multiple of {RANKS_STEP}, such as 100"
        raise UsageError(f"{ranks} ranks have no whole middle 50 % and 90 %", where="--ranks", remedy=remedy)
    draws = settings.chains * settings.draws
    if ranks > draws + 1:
        what = f"{ranks} ranks need {ranks - 1} posterior draws, and {draws} are drawn"
        raise UsageError(what, where="--ranks", remedy="give fewer, or more --draws")
    return Study(settings._replace(reference=design.reference), ranks, plant, cohort)


def short(value: float) -> float:
    """A number as it is kept, to six digits."""
    return float(f"{value:.6g}")
