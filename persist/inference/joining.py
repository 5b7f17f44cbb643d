"""The first rounds of a law: patients join the cohort one after the other, and lanes are weighed by what each of them tells.

A law of two kinds of patients has modes: another few may be those apart, or the many. Rounds of Gibbs do not go from one to the
other, so lanes would stay wherever they began, in shares that nobody decided. Here all lanes begin with laws of their prior. A
patient i who joins weighs them, by

    p(y_i | law) ~ mean over the draws of i of p(z | law) / q(z)

and lanes are drawn anew in proportion, then moved by rounds of Gibbs with those who have joined (Chopin 2002,
10.1093/biomet/89.3.539). While few have joined there are no modes yet, and when they part, each has as many lanes as it weighs.

Lanes are drawn anew among those of their own cohort and half, `TOGETHER` at most: so what few lanes err by in weighing modes is
seen by R-hat. A fold of a back-test has three lanes of each half: those weigh modes roughly. Missing
biomarkers of a patient who has not joined are drawn as if it had: with them weights are a little off.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.inference.tempering import EFFECTIVE
from persist.inference.walkers import WALKERS
from persist.inference.weights import half_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.inference.learned import Plain
    from persist.inference.weights import Draws

TOGETHER = WALKERS
"""Lanes that are drawn anew among each other, at most: those of a chain."""


def joined(
    rng: np.random.Generator, population: Plain, draws: Draws, rounds: int, tell: Callable[[int], None]
) -> np.ndarray:
    """The draws that patients take ``(lanes, patients)`` after all of them have joined the ``population``, in an order of
    chance, with ``rounds`` of the law in all, one after each patient at least. ``tell`` is told of every round.
    """
    who, patients = population.who, population.who.shape[1]
    taken, among, log_weight = rng.integers(0, draws.z.shape[2], who.shape), groups(who), np.zeros(len(who))
    population.who = np.zeros_like(who)
    for _ in range(population.TO_PRIOR):
        population.renew(*draws.at(taken))  # with nobody in it
    order = rng.permutation(patients)
    for place in order:
        evidence = draws.taken(population.each(), rng.uniform(size=who.shape), population.frame).evidence
        log_weight = log_weight + np.where(who[:, place], evidence[:, place], 0.0)
        population.who = population.who | (who & (np.arange(patients) == place))
        lanes, log_weight = drawn_anew(rng, log_weight, among, last=place == order[-1])
        population.take(lanes)
        for _ in range(max(1, rounds // patients)):
            taken = draws.taken(population.each(), rng.uniform(size=who.shape), population.frame).place
            population.renew(*draws.at(taken))
            tell(1)
    return taken


def groups(who: np.ndarray) -> np.ndarray:
    """The group of each lane ``(lanes,)``, by number: lanes of one cohort, as ``who`` (lanes, patients) has it, and of one
    half, in order, `TOGETHER` at most.
    """
    same = np.unique(np.column_stack([half_of(len(who)), who]), axis=0, return_inverse=True)[1].ravel()
    before = np.array([np.sum(same[:at] == own) for at, own in enumerate(same)])
    return np.asarray(np.unique(np.column_stack([same, before // TOGETHER]), axis=0, return_inverse=True)[1].ravel())


def drawn_anew(
    rng: np.random.Generator, log_weight: np.ndarray, among: np.ndarray, *, last: bool
) -> tuple[np.ndarray, np.ndarray]:
    """Which lane each becomes, and the weight that it has then, ``(lanes,)``, from the ``log_weight`` of all: systematic
    resampling of each group of which fewer than `EFFECTIVE` count, or for the ``last`` time; the others stay.
    """
    lanes, left = np.arange(len(among)), log_weight.copy()
    for group in range(among.max() + 1):
        own = np.flatnonzero(among == group)
        weight = np.exp(log_weight[own] - log_weight[own].max())
        if last or weight.sum() ** 2 / (weight**2).sum() < EFFECTIVE * len(own):
            comb = (np.arange(len(own)) + rng.uniform()) / len(own) * weight.sum()
            lanes[own] = own[np.minimum(np.searchsorted(np.cumsum(weight), comb), len(own) - 1)]
            left[own] = 0.0
    return lanes, left
