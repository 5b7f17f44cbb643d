"""The law of a cohort by Gibbs, given draws of each patient (Lunn et al. 2013, 10.1111/rssc.12007).

In every round each patient takes one of its draws, in proportion to p(z | law) / q(z), q the prior that they were drawn under
(`inference.weights`); then the law is renewed by exact conditional draws (`inference.learned`). A round looks at no likelihood,
so a thousand of them are cheap.

The draws of a patient are finite, and where all lanes took from the same, all would agree on the same error. So the first half
of the lanes takes from the draws of the first half of the walkers alone, the other lanes from the others (`inference.sample`):
the R-hat of laws and patients over chains, which are lanes in order, sees what so many draws err by.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.inference.joining import joined
from persist.inference.population import Law
from persist.inference.weights import Draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.learned import Plain
    from persist.inference.sample import Sample

PARTS = 16
"""Laws that are told, of all that were drawn, for the prior of the next stage."""


class Rounds(NamedTuple):
    """Rounds in which patients join (`inference.joining`), and of draws, every ``thin``-th of which is kept."""

    warmup: int
    rounds: int
    thin: int


class Found(NamedTuple):
    """What rounds came to beside the draws that the population holds: which of its draws each patient took ``(kept, lanes,
    patients)``, the probabilities to be among those apart and without a clone, each ``(lanes, patients)``, how many of a
    patient's draws count for a law on average ``(patients,)``, and `PARTS` of the laws that each patient had, evenly over
    those kept, ``(PARTS, patients, ...)``.
    """

    taken: np.ndarray
    apart: np.ndarray
    free: np.ndarray
    effective: np.ndarray
    some: Law


def gibbs(
    rng: np.random.Generator,
    population: Plain,
    samples: list[Sample],
    rounds: Rounds,
    tell: Callable[[float], None] = lambda _: None,
) -> Found:
    """Rounds of the law, given as many draws of each patient; the number of lanes is even. What is drawn is kept by the
    ``population``. ``tell`` is told the share of the rounds that is done.
    """
    draws, shape = Draws.of(samples, population.frame), population.who.shape
    total, done = max(1, rounds.warmup // shape[1]) * shape[1] + rounds.rounds, 0

    def told(more: int) -> None:
        nonlocal done
        done += more
        tell(done / total)

    taken = joined(rng, population, draws, rounds.warmup, told)
    likely, effective, kept, some = np.zeros((2, *shape)), np.zeros(shape[1]), list[np.ndarray](), list[Law]()
    places = np.linspace(0, rounds.rounds // rounds.thin * shape[0] - 1, PARTS).round().astype(int)
    for number in range(rounds.rounds):
        population.renew(*draws.at(taken))
        each = population.each()
        found = draws.taken(each, rng.uniform(size=shape), population.frame)
        taken = found.place
        if (number + 1) % rounds.thin == 0:
            likely = likely + population.likely(*draws.at(taken))
            effective = effective + found.effective.mean(axis=0, dtype=float)
            population.keep()
            some.append(Law(*(part[places[places // shape[0] == len(kept)] % shape[0]] for part in each)))
            kept.append(taken)
        told(1)
    laws = Law(*(np.concatenate(part) for part in zip(*some, strict=True)))
    apart, free = likely / len(kept)
    return Found(np.stack(kept), apart, free, effective / len(kept), laws)
