"""One patient of a cohort: its walkers, one to a lane, each with its lane's population for a prior."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from persist import keys
from persist.inference import resume
from persist.inference.inverse import relocated, weighed
from persist.inference.population import populated, start
from persist.inference.sampler import ACCEPT, CAUTION, FIRST, LEAST, Effort, Kept, one_round, warm
from persist.inference.target import Member, flat_potential, reference, scored
from persist.inference.tempering import adapted, temper
from persist.inference.walkers import WALKERS, Crowd, Stride, Walkers, root_of_metric

if TYPE_CHECKING:
    from persist.inference.population import Population
    from persist.inference.walkers import Moved


def turns(warmup: int) -> tuple[int, int]:
    """How many rounds before the end of the warm-up the metrics of the patients and the moves of the law turn to what was seen
    since: after a half and after three quarters of it.
    """
    return warmup // 2, warmup // 4


def since_turn(number: int, warmup: int) -> int:
    """How many rounds of the warm-up ended between the last turn, or its start, and round ``number`` (under 0)."""
    begun = [-warmup, *(1 - before for before in turns(warmup))]
    return number - max(at for at in begun if at <= number)


class Mover:
    """The walkers of one patient, one a lane."""

    def __init__(self, seed: int, member: Member, lanes: int) -> None:
        target, case, self.name = member.target, member.case, member.patient_id
        self.case, self.scored, self.chance = case, scored(target), target.chance
        self.weighed, self.relocated = weighed(target), relocated(target)
        size = int(self.scored(case, jnp.zeros((lanes, len(reference(target, case).location)))).shape[1])
        nothing = populated(start(lanes, 0), np.zeros(size, bool))
        own = keys.seed_of(seed, member.patient_id, "pool")
        self.walkers = Walkers(own, flat_potential(target), case, reference(target, case), lanes, (nothing,))
        self.past: list[np.ndarray] = []
        self.since: list[Kept] = []
        self.rows: list[Kept] = []

    def begin(self, rounds: int) -> np.ndarray:
        """Lead the walkers to the patient's own posterior, under the pack's prior; shares of the variance of each score that
        its data take away, ``(n,)``, from the later half of the ``rounds``.
        """
        began = temper(self.walkers)
        effort = Effort(self.walkers.lanes // WALKERS, rounds * WALKERS, 0)
        self.crowd, self.stride, past = warm(self.walkers, began.crowd, began.stride, effort, lambda _: None)
        z = np.stack([self.scores_at(point) for point in past[len(past) // 2 :]])
        return np.asarray(1.0 - np.minimum(z.var(axis=(0, 1)), 1.0))

    def state(self) -> dict[str, Any]:
        """All that decides what comes next, as arrays."""
        found: dict[str, Any] = {f"crowd.{name}": part for name, part in self.crowd._asdict().items()}
        found |= {f"stride.{name}": part for name, part in self.stride._asdict().items()}
        found |= {"random": random_state(self.walkers.rng), "leaps": self.walkers.leaps}
        found |= {"past": np.stack(self.past)} if self.past else {}
        for head, rows in (("since", self.since), ("rows", self.rows)):
            for name in Kept._fields if rows else ():
                found[f"{head}.{name}"] = np.stack([getattr(row, name) for row in rows])
        return found

    def restore(self, kept: dict[str, np.ndarray]) -> None:
        """Stand where another stood when this was its `state`."""
        self.crowd = Crowd(**resume.under(kept, "crowd."))
        stride = resume.under(kept, "stride.")
        self.stride = Stride(stride["root"], float(stride["step"]), float(stride["time"]))
        self.walkers.rng.bit_generator.state = json.loads(str(kept["random"]))
        self.walkers.leaps, self.past = int(kept["leaps"]), list(kept.get("past", ()))
        self.since, self.rows = (_rows(resume.under(kept, head)) for head in ("since.", "rows."))

    def scores_at(self, point: np.ndarray) -> np.ndarray:
        """Scores ``(lanes, n)`` of points ``(lanes, ...)``."""
        return np.asarray(self.scored(self.case, jnp.asarray(point)))

    @property
    def scores(self) -> np.ndarray:
        """Where the walkers are, as scores ``(lanes, n)``."""
        return self.scores_at(self.crowd.point)

    def weigh(self, z: np.ndarray) -> np.ndarray:
        """Log-likelihood of the series ``(lanes,)`` where the walkers are, but with the scores ``z`` (lanes, n)."""
        return np.asarray(self.weighed(self.case, jnp.asarray(self.crowd.point), jnp.asarray(z)))

    def take_along(self, z: np.ndarray) -> None:
        """Bring the walkers to scores ``(lanes, n)``; their energies are found by the next trajectory. Scores that no point has
        weigh nothing (`weigh`), so only a walker that stays can have them: by rounding, where coordinates end.
        """
        point = np.asarray(self.relocated(self.case, jnp.asarray(self.crowd.point), jnp.asarray(z)))
        there = np.isfinite(point).all(axis=1, keepdims=True)
        self.crowd = self.crowd._replace(point=np.where(there, point, self.crowd.point))

    def go(self, laws: Population, number: int, warmup: int, thin: int) -> None:
        """One trajectory under populations of the lanes; before round 0 the stride adapts, later it is fixed."""
        self.walkers.own = (laws,)
        if number < 0:
            self.crowd, moved = self.walkers.move(self.crowd, self.stride)
            self._adapt(moved, number, warmup)
            return
        self.crowd, row = one_round(self.walkers, self.crowd, self.stride, 1)
        self.since.append(row)
        if len(self.since) == thin:
            self.rows.append(_last_of(self.since))
            self.since = []

    def kept(self) -> Kept:
        """All rounds that were kept."""
        return Kept(*(np.concatenate(part) for part in zip(*self.rows, strict=True)))

    def _adapt(self, moved: Moved, number: int, warmup: int) -> None:
        """The step size all along, the metric after a half and after three quarters of the warm-up."""
        self.past.append(self.crowd.point)
        self.stride = adapted(self.stride, moved, ACCEPT, max(LEAST, FIRST / (1.0 + 0.2 * (warmup + number))))
        if -number in turns(warmup):
            self.stride = self.stride._replace(root=root_of_metric(np.stack(self.past[len(self.past) // 2 :])))
        if number == -1:
            self.stride = self.stride._replace(step=CAUTION * self.stride.step)
            self.past = []


def _last_of(rows: list[Kept]) -> Kept:
    """The last of some rounds, with what the trajectories of all of them did."""
    every = Kept(*(np.stack(part) for part in zip(*rows, strict=True)))
    mean = {name: getattr(every, name).mean(axis=0) for name in ("accept", "lost")}
    return rows[-1]._replace(diverging=every.diverging.any(axis=0), leaps=every.leaps.sum(axis=0), **mean)


def _rows(parts: dict[str, np.ndarray]) -> list[Kept]:
    """Rows of arrays that were stacked."""
    return [Kept(*row) for row in zip(*(parts[name] for name in Kept._fields), strict=True)] if parts else []


def random_state(rng: np.random.Generator) -> str:
    """Where random numbers stand, as text."""
    return json.dumps(rng.bit_generator.state)
