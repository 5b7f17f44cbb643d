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
    of each draw, seed, and the share of visits that are ``missed``.
    """

    families: tuple[str, ...]
    reference: Plan
    limits: Limits = Limits()
    weight: float = 0.0
    replicates: int = 2
    seed: int = 0
    missed: float = 0.0


class Played(NamedTuple):
    """A candidate with its gains over the reference ``(n_draws, n_replicates)``, mean days on drug, why it is ``refused`` by
    all draws ("": it is not), which halves of the draws it is ``allowed`` by, and which of them it is open to (``halves``).

    A half that chooses looks at the limits in its own draws alone: a limit that hangs together with the gain would otherwise
    let those that value have a say in what is chosen.
    """

    candidate: Candidate
    gains: np.ndarray
    days_on: float
    refused: str
    allowed: tuple[bool, bool]
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
        own = np.array([family in (None, one.candidate.family) for one in self.played])
        pools = np.array([np.logical_and(one.halves, one.allowed) for one in self.played]).T & own
        may = np.array([not one.refused for one in self.played])
        return choose(np.stack([one.gains for one in self.played]), pools, may=may, reference=not self.broken)


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
    how = (terms.replicates, terms.missed)
    futures = run(terms.seed, who.name, who.at, who.history, plans, who.look, who.rule, *how)
    reference = next(futures)
    played = []
    for number, (one, future) in enumerate(zip(candidates, futures, strict=True), start=1):
        if progress is not None:
            progress(number, len(plans))
        gains = gain(future, reference, who.look.horizon, terms.weight)
        refused, *by_half = (_refused(who, terms, future, reference, rows) for rows in (None, *halves(len(gains))))
        allowed = (not by_half[0], not by_half[1])
        played.append(Played(one, gains, future.days_on_drug, refused, allowed, (False, False)))
    return reference, played


def gain(plan: Futures, reference: Futures, horizon: float, weight: float) -> np.ndarray:
    """Utility of a plan less that of the reference, future by future ``(n_draws, n_replicates)``, days."""
    later = decide.gain(plan.time_to_progression, reference.time_to_progression, horizon)
    return np.asarray(later - weight * (plan.on - reference.on))


def judged(who: Subject, reference: Futures) -> bool:
    """Whether progression under the reference is judged at all, so that others can be compared with it."""
    return who.rule.any_time or reference.visits_on_drug >= VISITS_NEEDED


def _refused(who: Subject, terms: Terms, future: Futures, reference: Futures, rows: np.ndarray | None = None) -> str:
    """Why a plan may not be chosen, by some draws or all; whether it is judged at all is asked of all."""
    if not judged(who, reference):
        return "the reference is not judged"
    why = broken(terms.limits, future, who.look.horizon, rows)
    return why or ("" if who.rule.any_time else unseen(future, reference))


def _best(rough: list[Played]) -> list[Candidate | None]:
    """The best of the coarse grid on each half of the draws, of those that it allows."""
    found: list[Candidate | None] = []
    for place in (0, 1):
        may = [one for one in _sparing(rough) if one.allowed[place]]
        means = [float(one.gains[halves(len(one.gains))[place]].mean()) for one in may]
        found.append(may[int(np.argmax(means))].candidate if may else None)
    return found


def _sparing(played: list[Played]) -> list[Played]:
    """Those with the fewest days on drug first, so that of equals the one that needs less is chosen."""
    return sorted(played, key=lambda one: one.days_on)


def _after(progress: Callable[[int, int], None], before: int) -> Callable[[int, int], None]:
    return lambda done, total: progress(before + done, before + total)
