"""The nouns that every room shares.

All are immutable NamedTuples. Those made of arrays (`Cells`, `Rates`, `Exposure`, `Grid`) are JAX pytrees and may carry
any leading batch shape ``(...)``; those of the tables (`Schedule`, `Series`, `Cohort`) are NumPy and are checked where
they are built from rows. Units: days, cells (counts), 1/day, dose and exposure as a fraction of the full dose (0..1).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np


class Cells(NamedTuple):
    """Cell numbers by state, each ``(...)``."""

    sensitive: Any
    persister: Any
    resistant: Any

    @property
    def total(self) -> Any:
        """N = S + P + R, ``(...)``."""
        return self.sensitive + self.persister + self.resistant


class Rates(NamedTuple):
    """Reaction constants of one drug, each ``(...)``; units in `RATE_UNITS`, meaning in `dynamics.reactions`."""

    birth_s: Any = 0.0
    death_s: Any = 0.0
    kill_s: Any = 0.0
    birth_p: Any = 0.0
    death_p: Any = 0.0
    kill_p: Any = 0.0
    birth_r: Any = 0.0
    death_r: Any = 0.0
    kill_r: Any = 0.0
    withdrawal_r: Any = 0.0
    stimulation_r: Any = 0.0
    tolerance_base: Any = 0.0
    tolerance_drug: Any = 0.0
    tolerance_power: Any = 1.0
    reversion: Any = 0.0
    reversion_block: Any = 0.0
    mutation: Any = 0.0
    escape_base: Any = 0.0
    escape_drug: Any = 0.0
    seeding: Any = 0.0
    secretome_boost: Any = 0.0
    secretome_half: Any = 0.0
    secretome_block: Any = 0.0
    secretome_protect: Any = 0.0
    capacity: Any = np.inf
    kill_half: Any = np.inf
    effect_half: Any = np.inf
    onset_days: Any = 0.0
    washout_days: Any = 0.0
    attenuation_rate: Any = 0.0
    recovery_rate: Any = 0.0


RATE_UNITS: dict[str, str] = {
    **dict.fromkeys(Rates._fields, "1/day"),
    **dict.fromkeys(("tolerance_power", "reversion_block"), "-"),
    **dict.fromkeys(("secretome_boost", "secretome_block", "secretome_protect"), "-"),
    "mutation": "per division",
    "seeding": "cells/day",
    "secretome_half": "cells/day",
    "capacity": "cells",
    "kill_half": "dose",
    "effect_half": "dose",
    "onset_days": "days",
    "washout_days": "days",
}


class Grid(NamedTuple):
    """Consecutive steps of time, aligned to dose changes and to the days to be seen; each ``(n_steps,)``.

    ``length`` in days (0 = padding, a step that does nothing), ``dose`` the dose in force (0..1).
    """

    length: Any
    dose: Any


class Exposure(NamedTuple):
    """Exposure along a grid: within each step E(t) = target + (start - target) exp(-t / days); each ``(n_steps, ...)``.

    ``start`` and ``target`` in 0..1, ``days`` the time constant (0 = immediate); ``potency`` the share of the kill of S that
    is left in a step (`dynamics.attenuation`). Where the kill does not fade it is None: no leaf of the pytree.
    """

    start: Any
    target: Any
    days: Any
    potency: Any = None


class Known(NamedTuple):
    """What is known of the exposure along a grid because it was measured: at the ``start`` and at the ``end`` of each step that
    lies between two values, and the level ``measured`` right at its end, each ``(n_steps,)``, NaN where nothing is known; the
    ``weight`` (n_steps,) of that level, and the level ``first`` () where the grid begins.
    """

    start: Any
    end: Any
    measured: Any
    weight: Any
    first: Any


class Schedule(NamedTuple):
    """Treatment of one drug: ``dose`` (0..1) from ``start`` to ``stop`` (days; inf = goes on); each ``(n_segments,)``.

    Segments are sorted and do not overlap; between them the dose is 0.
    """

    start: np.ndarray
    stop: np.ndarray
    dose: np.ndarray


MARKERS = ("persister", "resistant")
"""What a measured fraction may be of: marker-positive persisters, or resistant alleles."""


class Composition(NamedTuple):
    """Measured fractions of a patient's cells, sorted by day, each ``(n_specimens,)``.

    ``share`` 0..1 of the ``counted`` cells or alleles that were looked at showed the ``marker`` (its place in `MARKERS`).
    """

    day: np.ndarray
    share: np.ndarray
    counted: np.ndarray
    marker: np.ndarray


NO_COMPOSITION = Composition(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0, np.int64))
"""Of a patient without measured fractions."""


class Levels(NamedTuple):
    """Measured exposures of a patient, sorted by day: ``level`` 0..1 on each ``day``, ``(n_levels,)``."""

    day: np.ndarray
    level: np.ndarray


NO_LEVELS = Levels(np.zeros(0), np.zeros(0))
"""Of a patient whose exposure was not measured."""


class Doubt(NamedTuple):
    """Where the steps of a grid lie in the gap of a doubtful stop, as shares of it: ``begin`` and ``end`` ``(n_steps,)``; both
    under 0 for a step in none (`treatment.doubt`).
    """

    begin: Any
    end: Any


class Series(NamedTuple):
    """One patient as measured: ragged, sorted by day.

    ``day`` and ``burden`` are ``(n_visits,)``; ``censoring`` is -1 where the burden is an upper limit (left-censored),
    1 where it is a lower limit (right-censored), 0 where it was measured. ``schedules`` holds one `Schedule` a drug;
    ``composition`` the fractions that were measured beside the burden, none before its first value; ``levels`` the exposures.
    """

    patient_id: str
    observable: str
    unit: str
    day: np.ndarray
    burden: np.ndarray
    censoring: np.ndarray
    schedules: dict[str, Schedule]
    composition: Composition = NO_COMPOSITION
    levels: Levels = NO_LEVELS

    def until(self, day: float) -> Series:
        """The same patient as measured up to and on ``day``; the schedules stay as they are."""
        seen, counted, exposed = (one.day <= day for one in (self, self.composition, self.levels))
        return self._replace(
            day=self.day[seen],
            burden=self.burden[seen],
            censoring=self.censoring[seen],
            composition=Composition(*(part[counted] for part in self.composition)),
            levels=Levels(*(part[exposed] for part in self.levels)),
        )


class Biomarkers(NamedTuple):
    """What was measured of patients before their first burden: ``value`` ``(n_patients, n_names)``, NaN where nothing was."""

    names: tuple[str, ...]
    patients: tuple[str, ...]
    value: np.ndarray

    def rows(self, patients: Sequence[str]) -> np.ndarray:
        """Values ``(n, n_names)`` of these patients; NaN of one who is not here."""
        place = {name: at for at, name in enumerate(self.patients)}
        none = np.full(len(self.names), np.nan)
        found = [self.value[place[name]] if name in place else none for name in patients]
        return np.reshape(np.array(found, float), (len(patients), len(self.names)))


class Table(NamedTuple):
    """What a reader returns: the series it found and, in plain sentences, everything that it noticed or assumed; the
    ``biomarkers`` of its patients, where a table of them was given.
    """

    series: tuple[Series, ...]
    notes: tuple[str, ...]
    sha256: str
    biomarkers: Biomarkers | None = None


class Specimens(NamedTuple):
    """Measured fractions as the model reads them, padded, each ``(..., n_specimens)``: positives (not always whole), cells or
    alleles counted, marker (its place in `MARKERS`), the number of steps that lead up to each, and the mask of real ones.
    """

    positive: Any
    counted: Any
    marker: Any
    step: Any
    seen: Any


class Cohort(NamedTuple):
    """Series of several patients padded to common (bucketed) sizes, so that one compile serves many cohorts.

    ``day, log_burden, censoring`` ``(n_patients, n_visits)``, ``seen`` the mask of real visits; ``length, dose``
    ``(n_patients, n_steps)`` a `Grid`, ``moving`` False on the steps before the first visit (the exposure builds up,
    the cells are not followed yet), ``step`` ``(n_patients, n_visits)`` the number of steps that lead up to a visit,
    ``sight`` ``(n_patients,)`` the visit at which a growing clone would show first; ``specimens`` are measured fractions;
    ``course`` measured exposures ``(n_patients, n_steps)``, and ``doubt`` where steps lie in the gaps of doubtful stops, None
    where no patient has any.
    """

    patient_id: tuple[str, ...]
    day: np.ndarray
    log_burden: np.ndarray
    censoring: np.ndarray
    seen: np.ndarray
    length: np.ndarray
    dose: np.ndarray
    moving: np.ndarray
    step: np.ndarray
    sight: np.ndarray
    specimens: Specimens
    course: Known | None = None
    doubt: Doubt | None = None


class Status(NamedTuple):
    """An outcome with its sentence: ``code`` 0 good, 3 ran but cannot be trusted; ``sentence`` is what the user reads."""

    code: int
    sentence: str
