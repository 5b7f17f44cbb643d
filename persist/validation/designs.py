"""Designs: how the simulated patients of a calibration are treated, seen and asked about.

The prior of the pack gives the tumour; a design gives all else. Burdens count in units of a reference that is fixed before
there is a series, for the draw and for the fit alike (`inference.cohort.Reference`). Every series begins near its reference,
fifty times the assay's floor, so none lies under the floor throughout, and none is left out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.errors import UsageError
from persist.inference.cohort import Reference
from persist.inference.priors import base_of
from persist.treatment.schedule import parse_plan, plan_schedule

if TYPE_CHECKING:
    from persist.types import Schedule

FLOOR_SHARE = 0.02
"""The assay's floor over the first burden of the reference."""


class Design(NamedTuple):
    """Treatment ``given`` up to the last visit, visits every ``visit_every`` days until ``last``; ``reference`` burdens and
    the assay's ``floor`` in the ``unit`` of the ``observable``; from the last visit on, ``plan`` and ``holiday`` are looked at
    for ``horizon`` days.
    """

    observable: str
    unit: str
    given: str
    visit_every: float
    last: float
    reference: Reference
    floor: float
    plan: str
    holiday: str
    horizon: float

    @property
    def day(self) -> np.ndarray:
        """Days of the visits, ``(n_visits,)``."""
        return np.arange(0.0, self.last + 1e-6, self.visit_every)

    @property
    def schedule(self) -> Schedule:
        """The treatment given."""
        return plan_schedule(parse_plan(self.given), 0.0, self.last)


DESIGNS: dict[str, Design] = {
    "clinical": Design(
        observable="psa",
        unit="ng/mL",
        given="on 224, off 140, repeat",
        visit_every=28.0,
        last=728.0,
        reference=Reference(20.0, 40.0),
        floor=20.0 * FLOOR_SHARE,
        plan="on",
        holiday="off 90, on",
        horizon=720.0,
    ),
    "in-vitro": Design(
        observable="cells",
        unit="",
        given="on 8, off 5, repeat",
        visit_every=1.0,
        last=26.0,
        reference=Reference(1e5, 2e5),
        floor=1e5 * FLOOR_SHARE,
        plan="on",
        holiday="off 3, on",
        horizon=25.0,
    ),
}
"""The design of each pack of priors: two cycles of drug and pause, 27 visits."""


def design_of(pack: str) -> Design:
    """The design of a pack; `UsageError` for a pack without one."""
    base = base_of(pack)
    if base not in DESIGNS:
        raise UsageError(f'there is no design for the pack "{pack}"', where="--pack", remedy=f"choose {_known()}")
    return DESIGNS[base]


def _known() -> str:
    return " or ".join(DESIGNS)


def as_json(design: Design) -> dict[str, Any]:
    """A design as it stands in the file."""
    return design._asdict() | {"reference": design.reference._asdict(), "visits": len(design.day)}
