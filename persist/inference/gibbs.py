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

from persist.inference.population import Law
from persist.inference.weights import Draws

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.learned import Plain
    from persist.inference.sample import Sample

PARTS = 16
"""Laws that are told, of all that were drawn, for the prior of the next stage."""


class Rounds(NamedTuple):
    """Rounds of warm-up, and of draws, every ``thin``-th of which is kept."""

    warmup: int
    rounds: int
    thin: int


class Found(NamedTuple):
    """What rounds came to beside the draws that the population holds: which of its draws each patient took ``(kept, lanes,
    patients)``, the probability to be among those apart ``(lanes, patients)``, how many of a patient's draws count for a law on
    average ``(patients,)``, and `PARTS` of the laws that each patient had ``(PARTS, patients, ...)``, evenly over those kept.
    """

    taken: np.ndarray
    apart: np.ndarray
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
    draws, shape = Draws.of(samples, population.pooled), population.who.shape
    taken = rng.integers(0, draws.z.shape[2], shape)
    apart, effective, kept, some = np.zeros(shape), np.zeros(shape[1]), list[np.ndarray](), list[Law]()
    told = np.linspace(0, rounds.rounds // rounds.thin * shape[0] - 1, PARTS).round().astype(int)
    for number in range(-rounds.warmup, rounds.rounds):
        population.renew(draws.at(taken))
        each = population.each()
        taken, many = draws.taken(each, rng.uniform(size=shape))
        if number >= 0 and (number + 1) % rounds.thin == 0:
            apart, effective = apart + population.likely(draws.at(taken)), effective + many
            population.keep()
            some.append(Law(*(part[told[told // shape[0] == len(kept)] % shape[0]] for part in each)))
            kept.append(taken)
        tell((number + 1 + rounds.warmup) / (rounds.warmup + rounds.rounds))
    laws = Law(*(np.concatenate(part) for part in zip(*some, strict=True)))
    return Found(np.stack(kept), apart / len(kept), effective / len(kept), laws)
