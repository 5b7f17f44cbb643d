"""The population of a cohort on its way: where it stands in every lane, what was drawn of it, and what it is to each patient.

`Plain` is one law for all patients; `ByBiomarkers` has effects of biomarkers too. Both are renewed and moved by `pooling`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.inference import interweave, population, regression, resume, tilting
from persist.inference.covariates import Effects
from persist.inference.population import Law, belong, populated
from persist.inference.regression import Regressed

if TYPE_CHECKING:
    from persist.inference.covariates import Covariates
    from persist.inference.interweave import Likelihood
    from persist.inference.population import Population


class Plain:
    """One law for all patients."""

    def __init__(self, rng: np.random.Generator, who: np.ndarray, pooled: np.ndarray) -> None:
        size = int(pooled.sum())
        self.rng, self.who, self.pooled = rng, who, pooled
        self.law, self.moves, self.laws = population.start(len(who), size), interweave.first(size), list[Law]()
        self.past = list[np.ndarray]()

    def renew(self, z: np.ndarray) -> None:
        """Draw the law anew, given scores ``(lanes, patients, k)``."""
        self.law = population.renew(self.rng, z, self.law, self.who)

    def take_along(self, z: np.ndarray, weigh: Likelihood, learn: float) -> np.ndarray:
        """Move the law together with its patients; where their scores are then."""
        state = interweave.State(self.law, z, weigh(z))
        state, self.moves = interweave.interweave(self.rng, state, self.who, weigh, self.moves, learn)
        self.law = state.law
        self._remember(learn)
        return state.z

    def _remember(self, learn: float) -> None:
        """Where the law stands, as long as its moves learn."""
        self.past = [*self.past, interweave.places(self.law)] if learn else []

    def turn(self) -> None:
        """Move from now on along the principal axes of where the law was in the later half of the rounds since it began."""
        if len(self.past) > 1 and self.past[0].size:
            self.moves = interweave.turned(np.concatenate(self.past[len(self.past) // 2 :]))

    def likely(self, z: np.ndarray) -> np.ndarray:
        """How likely patients are among those apart, ``(lanes, patients)``."""
        return belong(z, self.law)

    def priors(self) -> list[Population]:
        """What the population is to each patient."""
        return [populated(self.law, self.pooled)] * self.who.shape[1]

    def keep(self) -> None:
        """Keep where it stands as a draw."""
        self.laws.append(self.law)

    def drawn(self) -> Law:
        """The draws, each ``(rounds, lanes, ...)``."""
        return Law(*(np.stack(part) for part in zip(*self.laws, strict=True)))

    def effects_drawn(self) -> Effects | None:
        """The draws of the effects of biomarkers, if there are any."""
        return None

    def state(self) -> dict[str, Any]:
        """All that decides what comes next and what was drawn, as arrays by name."""
        columns: dict[str, Any] = _named("moves", self.moves) | _named("law", self.law)
        columns |= {"past": np.stack(self.past)} if self.past else {}
        return columns | (_named("laws", self.drawn()) if self.laws else {})

    def restore(self, kept: dict[str, np.ndarray]) -> None:
        """Stand where another stood when this was its `state`."""
        self.moves, self.law = interweave.Moves(**resume.under(kept, "moves.")), Law(**resume.under(kept, "law."))
        self.past = list(kept.get("past", ()))
        every = resume.under(kept, "laws.")
        self.laws = [Law(*row) for row in zip(*(every[name] for name in Law._fields), strict=True)] if every else []


class ByBiomarkers(Plain):
    """A law for each patient, by its biomarkers."""

    def __init__(self, rng: np.random.Generator, who: np.ndarray, pooled: np.ndarray, known: Covariates) -> None:
        super().__init__(rng, who, pooled)
        self.known, self.acts = known, known.acts[pooled]
        self.law, self.effects, self.x = regression.begin(len(who), known, pooled)
        (self.moves, self.slope_size), self.effects_kept = tilting.first(int(pooled.sum())), list[Effects]()

    @property
    def now(self) -> Regressed:
        """Where it stands."""
        return Regressed(self.law, self.effects, self.x)

    def renew(self, z: np.ndarray) -> None:
        """Draw law, effects and missing biomarkers anew, given scores ``(lanes, patients, k)``."""
        found = regression.renew(self.rng, z, self.now, self.known, self.acts, self.who)
        self.law, self.effects, self.x = found

    def take_along(self, z: np.ndarray, weigh: Likelihood, learn: float) -> np.ndarray:
        """Move law and slopes together with the patients; where their scores are then."""
        paces = tilting.Paces(self.moves, self.slope_size)
        z, found, paces = tilting.together(self.rng, z, self.now, self.acts, self.who, weigh, paces, learn)
        (self.law, self.effects, self.x), (self.moves, self.slope_size) = found, paces
        self._remember(learn)
        return z

    def likely(self, z: np.ndarray) -> np.ndarray:
        """How likely patients are among those apart, ``(lanes, patients)``."""
        return regression.likely(z, self.now)

    def priors(self) -> list[Population]:
        """What the population is to each patient."""
        return regression.priors(self.now, self.pooled)

    def keep(self) -> None:
        """Keep where it stands as a draw."""
        super().keep()
        self.effects_kept.append(self.effects)

    def effects_drawn(self) -> Effects:
        """The draws of the effects of biomarkers, each ``(rounds, lanes, ...)``."""
        return Effects(*(np.stack(part) for part in zip(*self.effects_kept, strict=True)))

    def state(self) -> dict[str, Any]:
        """All that decides what comes next and what was drawn, as arrays by name."""
        columns = super().state() | _named("effect", self.effects) | {"x": self.x, "slopes": self.slope_size}
        return columns | (_named("effects", self.effects_drawn()) if self.effects_kept else {})

    def restore(self, kept: dict[str, np.ndarray]) -> None:
        """Stand where another stood when this was its `state`."""
        super().restore(kept)
        self.effects, self.x, self.slope_size = Effects(**resume.under(kept, "effect.")), kept["x"], kept["slopes"]
        every = resume.under(kept, "effects.")
        rows = zip(*(every[name] for name in Effects._fields), strict=True) if every else ()
        self.effects_kept = [Effects(*row) for row in rows]


def _named(head: str, parts: Law | Effects | interweave.Moves) -> dict[str, np.ndarray]:
    return {f"{head}.{name}": part for name, part in parts._asdict().items()}
