"""Landmarks: where the futures of a patient start, when they are looked at, and by which rule they are judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import jax.numpy as jnp
import numpy as np

from persist.dynamics.batches import bucket
from persist.dynamics.observe import root
from persist.forecast.endpoints import response_of
from persist.forecast.reply import RESPONSE_DAYS
from persist.inference.curve import patient, trace_curves, without_size
from persist.types import Cells, Rates

if TYPE_CHECKING:
    from jax.typing import ArrayLike

    from persist.dynamics.observe import Observable
    from persist.dynamics.paths import Partner
    from persist.forecast.endpoints import Response, Rule
    from persist.inference.cohort import Case


class Landmark(NamedTuple):
    """Where futures start, one entry a draw ``(n_draws,)``: constants, cells, exposure, wander, scale and noise; ``day``
    is the last visit up to the landmark and ``burden`` its value, ``counted`` as of `Observable`, ``nadir`` the lowest
    burden since the last restart if on drug then (else None); ``potency`` what is left of the kill (None: it does not fade).
    """

    day: float
    rates: Rates
    cells: Cells
    exposure: np.ndarray
    wander_mean: np.ndarray
    wander_root: np.ndarray
    log_unit: np.ndarray
    values: dict[str, np.ndarray]
    power: float
    counted: bool
    burden: float
    nadir: float | None
    potency: np.ndarray | None = None


class Look(NamedTuple):
    """When futures are seen: plan start and horizon (days), spacing of visits and of the plotted record (days)."""

    start: float
    horizon: float
    visit_every: float
    record_every: float = 7.0

    @property
    def spacing(self) -> tuple[tuple[float, float], tuple[float, float]]:
        """First day after the start and days between, of the visits and of the record."""
        return (self.visit_every, self.visit_every), (0.0, self.record_every)


class Patient(NamedTuple):
    """What the futures of one patient have in common; ``before``: on drug up to the landmark; ``missed``: the probability that
    a visit does not take place; ``limit``: that of the burden after progression, over what it was then;
    ``others``: rules of progression that are judged beside; ``within``: days in which a response to a restart counts;
    ``partner``: what each draw takes a second drug to do (None: no plan has one); ``treated``: on drug ever before.
    """

    seed: int
    name: str
    at: Landmark
    look: Look
    rule: Rule
    replicates: int
    before: bool
    missed: float = 0.0
    limit: float = 1.5
    others: tuple[Rule, ...] = ()
    within: float = RESPONSE_DAYS
    partner: Partner | None = None
    treated: bool = True

    @property
    def response(self) -> Response:
        """When a burden has responded, by the rule that decides."""
        return response_of(self.rule)

    @property
    def paths(self) -> int:
        """How many are followed."""
        return len(np.asarray(self.at.cells.sensitive)) * self.replicates


def landmark(
    values: dict[str, np.ndarray], case: Case, seen: tuple[float, float], kind: Observable, nadir: float | None
) -> Landmark:
    """State of every draw at the last visit of ``case`` (cut at the landmark before); ``values`` each ``(n_draws,)``,
    ``seen`` the day of that visit and the burden then.
    """
    count = len(next(iter(values.values())))
    filled = {
        name: jnp.asarray(np.pad(value, (0, bucket(count) - count), mode="edge")) for name, value in values.items()
    }
    curve, start = trace_curves(filled, case, kind.power), patient(without_size(filled), kind.power)
    last = int(np.flatnonzero(np.asarray(case.seen))[-1])

    def own(value: ArrayLike) -> np.ndarray:
        return np.broadcast_to(np.asarray(value, float), (bucket(count),))[:count]

    return Landmark(
        day=seen[0],
        rates=Rates(*map(own, start.rates)),
        cells=Cells(*(own(np.asarray(state)[:, last]) for state in curve.cells)),
        exposure=own(np.asarray(curve.exposure)[:, last]),
        wander_mean=np.stack([own(curve.wander.mean), own(curve.wander.slope)], axis=1),
        wander_root=_root(*map(own, (curve.wander.variance, curve.wander.shared, curve.wander.slope_variance))),
        log_unit=own(start.log_cells_per_unit),
        values=values,
        power=kind.power,
        counted=kind.counted,
        burden=seen[1],
        nadir=nadir,
        potency=None if curve.potency is None else own(np.asarray(curve.potency)[:, last]),
    )


def _root(variance: np.ndarray, shared: np.ndarray, steep: np.ndarray) -> np.ndarray:
    """Root ``(n_draws, 2, 2)`` of the covariance of the wander and its slope."""
    covariance = jnp.asarray([[variance, shared], [shared, steep]])
    return np.moveaxis(np.asarray(root(covariance)), -1, 0)
