"""The population of a cohort on its way: where it stands in every lane, what was drawn of it, and what it is to each patient.

`Plain` is one law for all patients; `ByBiomarkers` has effects of biomarkers too. Both are renewed by `gibbs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.inference import population, regression
from persist.inference.covariates import Effects
from persist.inference.population import Law, belong
from persist.inference.regression import Regressed

if TYPE_CHECKING:
    from persist.inference.covariates import Covariates


class Plain:
    """One law for all patients."""

    def __init__(self, rng: np.random.Generator, who: np.ndarray, pooled: np.ndarray) -> None:
        self.rng, self.who, self.pooled = rng, who, pooled
        self.law, self.laws = population.start(len(who), int(pooled.sum())), list[Law]()

    def renew(self, z: np.ndarray) -> None:
        """Draw the law anew, given scores ``(lanes, patients, k)``."""
        self.law = population.renew(self.rng, z, self.law, self.who)

    def likely(self, z: np.ndarray) -> np.ndarray:
        """How likely patients are among those apart, ``(lanes, patients)``."""
        return belong(z, self.law)

    def each(self) -> Law:
        """The law that each patient has: its mean ``(lanes, patients, k)`` and share ``(lanes, patients)`` are its own."""
        mean = np.broadcast_to(self.law.mean[:, None], (*self.who.shape, self.law.mean.shape[1]))
        return self.law._replace(mean=mean, share=np.broadcast_to(self.law.share[:, None], self.who.shape))

    def keep(self) -> None:
        """Keep where it stands as a draw."""
        self.laws.append(self.law)

    def drawn(self) -> Law:
        """The draws, each ``(kept, lanes, ...)``."""
        return Law(*(np.stack(part) for part in zip(*self.laws, strict=True)))

    def effects_drawn(self) -> Effects | None:
        """The draws of the effects of biomarkers, if there are any."""
        return None


class ByBiomarkers(Plain):
    """A law for each patient, by its biomarkers."""

    def __init__(self, rng: np.random.Generator, who: np.ndarray, pooled: np.ndarray, known: Covariates) -> None:
        super().__init__(rng, who, pooled)
        self.known, self.acts = known, known.acts[pooled]
        self.law, self.effects, self.x = regression.begin(len(who), known, pooled)
        self.effects_kept = list[Effects]()

    @property
    def now(self) -> Regressed:
        """Where it stands."""
        return Regressed(self.law, self.effects, self.x)

    def renew(self, z: np.ndarray) -> None:
        """Draw law, effects and missing biomarkers anew, given scores ``(lanes, patients, k)``."""
        found = regression.renew(self.rng, z, self.now, self.known, self.acts, self.who)
        self.law, self.effects, self.x = found

    def likely(self, z: np.ndarray) -> np.ndarray:
        """How likely patients are among those apart, ``(lanes, patients)``."""
        return regression.likely(z, self.now)

    def each(self) -> Law:
        """The law that each patient has: its mean ``(lanes, patients, k)`` and share ``(lanes, patients)`` are its own."""
        return regression.each(self.now)

    def keep(self) -> None:
        """Keep where it stands as a draw."""
        super().keep()
        self.effects_kept.append(self.effects)

    def effects_drawn(self) -> Effects:
        """The draws of the effects of biomarkers, each ``(kept, lanes, ...)``."""
        return Effects(*(np.stack(part) for part in zip(*self.effects_kept, strict=True)))
