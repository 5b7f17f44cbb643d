"""The search for the best plan of one patient: a coarse grid of each family, then a finer one about the best of it.

    utility = min(T, H) - w (days on drug)        days; H the horizon, w the days that a day on drug is worth

Every plan meets the same chance as the reference (`futures.run`), and its gain is taken draw by draw and future by future. Each
half of the draws has its own finer plans, about the one that is best on that half, so that the other half knows nothing of
them (`choose`).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.forecast import decide
from persist.forecast.candidates import coarse, finer
from persist.forecast.choose import choose, halves
from persist.forecast.futures import run
from persist.forecast.limits import Limits, broken, unseen
from persist.forecast.summary import VISITS_NEEDED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from persist.forecast.candidates import Candidate
    from persist.forecast.choose import Choice
    from persist.forecast.endpoints import Rule
    from persist.forecast.landmark import Landmark, Look
    from persist.forecast.under import Futures
    from persist.treatment.schedule import Plan
    from persist.types import Schedule


class Subject(NamedTuple):
    """Whose futures are played: patient's ``name``, landmark, treatment so far, when they are seen, and the rule."""

    name: str
    at: Landmark
    history: Schedule
    look: Look
    rule: Rule


class Terms(NamedTuple):
    """What is looked for: ``families``, the ``reference`` plan, the ``limits``, the ``weight`` of a day on drug (days), futures
    of each draw, seed.
    """

    families: tuple[str, ...]
    reference: Plan
    limits: Limits = Limits()
    weight: float = 0.0
    replicates: int = 2
    seed: int = 0


class Played(NamedTuple):
    """A candidate with its gains over the reference ``(n_draws, n_replicates)``, mean days on drug, why it is ``refused``
    ("": it is not), and which halves of the draws may choose it.
    """

    candidate: Candidate
    gains: np.ndarray
    days_on: float
    refused: str
    halves: tuple[bool, bool]


class Found(NamedTuple):
    """All candidates as played, those with the fewest days on drug first; the futures of the ``reference``, and the limit that
    it breaks itself ("": none).
    """

    played: list[Played]
    reference: Futures
    broken: str

    def among(self, family: str | None = None) -> Choice | None:
        """The choice among the candidates that are not refused, of all families or of one; of equals, what comes first."""
        if not self.played:
            return None
        may = np.array([not one.refused and family in (None, one.candidate.family) for one in self.played])
        pools = np.array([one.halves for one in self.played]).T & may
        return choose(np.stack([one.gains for one in self.played]), pools, reference=not self.broken)


def search(who: Subject, terms: Terms, progress: Callable[[int, int], None] | None = None) -> Found:
    """All candidates of the ``terms``, played; ``progress(done, total)`` counts plans, the finer ones as they are found."""
    grid = coarse(terms.families, who.look.horizon)
    reference, rough = play(who, terms, grid, progress)
    rough = [one._replace(halves=(True, True)) for one in rough]
    more: dict[str, tuple[Candidate, list[bool]]] = {}
    for side, best in enumerate(_best(rough)):
        for one in [] if best is None else finer(best, who.look.horizon):
            more.setdefault(one.plan.text, (one, [False, False]))[1][side] = True
    for one in grid:
        more.pop(one.plan.text, None)
    fine: list[Played] = []
    if more:
        later = None if progress is None else _after(progress, len(grid) + 1)
        _, fine = play(who, terms, [one for one, _ in more.values()], later)
    fine = [one._replace(halves=(first, other)) for one, (_, (first, other)) in zip(fine, more.values(), strict=True)]
    return Found(_sparing([*rough, *fine]), reference, broken(terms.limits, reference, who.look.horizon))


def play(
    who: Subject, terms: Terms, candidates: Sequence[Candidate], progress: Callable[[int, int], None] | None = None
) -> tuple[Futures, list[Played]]:
    """Futures of the reference, and the candidates beside it on the same chance; open to no half yet."""
    plans = [terms.reference, *(one.plan for one in candidates)]
    futures = run(terms.seed, who.name, who.at, who.history, plans, who.look, who.rule, terms.replicates)
    reference = next(futures)
    played = []
    for number, (one, future) in enumerate(zip(candidates, futures, strict=True), start=1):
        if progress is not None:
            progress(number, len(plans))
        gains = gain(future, reference, who.look.horizon, terms.weight)
        refused = _refused(who, terms, future, reference)
        played.append(Played(one, gains, future.days_on_drug, refused, (False, False)))
    return reference, played


def gain(plan: Futures, reference: Futures, horizon: float, weight: float) -> np.ndarray:
    """Utility of a plan less that of the reference, future by future ``(n_draws, n_replicates)``, days."""
    later = decide.gain(plan.time_to_progression, reference.time_to_progression, horizon)
    return np.asarray(later - weight * (plan.on - reference.on))


def judged(who: Subject, reference: Futures) -> bool:
    """Whether progression under the reference is judged at all, so that others can be compared with it."""
    return who.rule.any_time or reference.visits_on_drug >= VISITS_NEEDED


def _refused(who: Subject, terms: Terms, future: Futures, reference: Futures) -> str:
    if not judged(who, reference):
        return "the reference is not judged"
    why = broken(terms.limits, future, who.look.horizon)
    return why or ("" if who.rule.any_time else unseen(future, reference))


def _best(rough: list[Played]) -> list[Candidate | None]:
    """The best of the coarse grid on each half of the draws."""
    may = [one for one in _sparing(rough) if not one.refused]
    if not may:
        return [None, None]
    means = np.stack([one.gains.mean(axis=1) for one in may])
    return [may[int(means[:, side].mean(axis=1).argmax())].candidate for side in halves(means.shape[1])]


def _sparing(played: list[Played]) -> list[Played]:
    """Those with the fewest days on drug first, so that of equals the one that needs less is chosen."""
    return sorted(played, key=lambda one: one.days_on)


def _after(progress: Callable[[int, int], None], before: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(before + done, before + total)
