"""The population of a cohort on its way: where it stands in every lane, what was drawn of it, and what it is to each patient.

`Plain` is one law for all patients; `ByBiomarkers` has effects of biomarkers too. Both are renewed by `gibbs`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.inference import clone_free, population, regression
from persist.inference.covariates import Effects
from persist.inference.population import Law, belong
from persist.inference.regression import Regressed

if TYPE_CHECKING:
    from persist.inference.clone_free import Frame
    from persist.inference.covariates import Covariates


class Plain:
    """One law for all patients. ``TO_PRIOR`` rounds with nobody in the cohort lead to the prior from anywhere."""

    TO_PRIOR = 1

    def __init__(self, rng: np.random.Generator, who: np.ndarray, frame: Frame) -> None:
        self.rng, self.who, self.frame = rng, who, frame
        self.law, self.laws = population.start(len(who), int(frame.pooled.sum())), list[Law]()

    def renew(self, z: np.ndarray, more: np.ndarray) -> None:
        """Draw the law anew, given scores ``(lanes, patients, k)``, and what the others say of having no clone
        (`clone_free.rest`), ``more`` (lanes, patients). In this order: who has none; all of `_law`, as if each had one; the
        share that has none.
        """
        free = self.rng.uniform(size=self.who.shape) < population.cloneless(z, more, self.each(), self.frame)
        self._law(z - free[..., None] * self.frame.learned)
        self.law = self.law._replace(clone_free=clone_free.share(self.rng, free, self.who))

    def _law(self, z: np.ndarray) -> None:
        """Draw all but the share without a clone."""
        self.law = population.renew(self.rng, z, self.law, self.who)

    def likely(self, z: np.ndarray, more: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """How likely patients are among those apart, and without a clone, each ``(lanes, patients)``."""
        free = population.cloneless(z, more, self.each(), self.frame)
        return (1.0 - free) * self._apart(z) + free * self._apart(z - self.frame.learned), free

    def _apart(self, z: np.ndarray) -> np.ndarray:
        """How likely patients with a clone are among those apart."""
        return belong(z, self.law)

    def each(self) -> Law:
        """The law that each patient has: mean ``(lanes, patients, k)`` and shares ``(lanes, patients)`` are its own."""
        mean = np.broadcast_to(self.law.mean[:, None], (*self.who.shape, self.law.mean.shape[1]))
        return self.law._replace(
            mean=mean, share=self._of_each(self.law.share), clone_free=self._of_each(self.law.clone_free)
        )

    def _of_each(self, one: np.ndarray) -> np.ndarray:
        """The same of all patients of a lane."""
        return np.broadcast_to(one[:, None], self.who.shape)

    def take(self, lanes: np.ndarray) -> None:
        """Every lane becomes another one, ``(lanes,)``."""
        self.law = Law(*(part[lanes] for part in self.law))

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

    TO_PRIOR = 100  # scales of the horseshoe hang on the effects, and go slowly

    def __init__(self, rng: np.random.Generator, who: np.ndarray, frame: Frame, known: Covariates) -> None:
        super().__init__(rng, who, frame)
        self.known, self.acts = known, known.acts[frame.pooled]
        self.law, self.effects, self.x = regression.begin(len(who), known, frame.pooled)
        self.effects_kept = list[Effects]()

    @property
    def now(self) -> Regressed:
        """Where it stands."""
        return Regressed(self.law, self.effects, self.x)

    def _law(self, z: np.ndarray) -> None:
        """Draw law, effects and missing biomarkers."""
        found = regression.renew(self.rng, z, self.now, self.known, self.acts, self.who)
        self.law, self.effects, self.x = found

    def _apart(self, z: np.ndarray) -> np.ndarray:
        """How likely patients with a clone are among those apart."""
        return regression.likely(z, self.now)

    def each(self) -> Law:
        """The law that each patient has: mean ``(lanes, patients, k)`` and shares ``(lanes, patients)`` are its own."""
        return regression.each(self.now)._replace(clone_free=self._of_each(self.law.clone_free))

    def take(self, lanes: np.ndarray) -> None:
        """Every lane becomes another one, ``(lanes,)``."""
        super().take(lanes)
        self.effects, self.x = Effects(*(part[lanes] for part in self.effects)), self.x[lanes]

    def keep(self) -> None:
        """Keep where it stands as a draw."""
        super().keep()
        self.effects_kept.append(self.effects)

    def effects_drawn(self) -> Effects:
        """The draws of the effects of biomarkers, each ``(kept, lanes, ...)``."""
        return Effects(*(np.stack(part) for part in zip(*self.effects_kept, strict=True)))
