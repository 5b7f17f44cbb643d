"""Patients without a resistant clone: a population of two humps in where resistance begins.

Of some tumours a clone comes back within years, of others none ever shows. One wide law of R(0) foresees resistance in all of
them, a narrow one in none. So a share f of a cohort is taken to have no clone: of what seeds one (`SEEDS`: those there at the
start, and mutation) such a patient has `FAINT` of what it would have otherwise. On scores that is a shift by a known vector s:

    z_i - e_i s  ~  the law of the cohort (`inference.population`),    e_i ~ Bernoulli(f),    f ~ Beta(FREE_0, FREE_1)

A seed whose range is given with the fit is known of the patient, and not shifted.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.inference.priors import GIVEN

if TYPE_CHECKING:
    from persist.inference.priors import Pack

SEEDS = ("resistant_0", "mutation")
"""What resistant cells come from: those that are there at the start, and divisions (and persisters, by the escape, which is a
multiple of it)."""

FAINT = 1e-4
"""What a patient without a clone has of them. At the medians of the clinical pack that leaves one cell in thirty million, which
takes five years to show."""

FREE_0, FREE_1 = 2.0, 2.0
"""Of the prior of the share without a clone: 14 to 86 % in 90 %."""


class Frame(NamedTuple):
    """What a cohort is told by: which of n scores have a law that is learned (``pooled``, (n,)), and by how much scores of
    patients without a clone are off (``shift``, (n,)).
    """

    pooled: np.ndarray
    shift: np.ndarray

    @property
    def learned(self) -> np.ndarray:
        """The shift of the k scores that are pooled, ``(k,)``."""
        return np.asarray(self.shift[self.pooled])


def shifts(names: tuple[str, ...], pack: Pack) -> np.ndarray:
    """The vector s of the scores ``names`` (n,)."""
    entries = pack.every
    seeds = [name in SEEDS and entries[name].source != GIVEN for name in names]
    found = [np.log(FAINT) / entries[name].scale if seed else 0.0 for name, seed in zip(names, seeds, strict=True)]
    return np.array(found, float)


def rest(scores: np.ndarray, frame: Frame) -> np.ndarray:
    """Log ratio ``(...)`` of having no clone to having one, of what scores ``(..., n)`` that are not pooled say of it."""
    off = np.where(frame.pooled, 0.0, frame.shift)
    return np.asarray(scores @ off - 0.5 * off @ off)


def share(rng: np.random.Generator, free: np.ndarray, counted: np.ndarray) -> np.ndarray:
    """A draw ``(lanes,)`` of f, given who is ``free`` and who is ``counted`` (lanes, patients)."""
    return np.asarray(rng.beta(FREE_0 + (free & counted).sum(axis=1), FREE_1 + (~free & counted).sum(axis=1)))
