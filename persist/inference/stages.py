"""The stages in which a cohort is drawn from: the prior of each, and every patient under it.

At first the prior is the pack's. Where the laws that the draws under it tell have gone far from it, few of those draws count.
So every patient is drawn from again, under a mixture of laws that were found for it, and of the pack's prior, which bounds the
weights. Where a law depends on biomarkers, or fills in those that are missing, each patient has a mixture of its own.
"""

from __future__ import annotations

import os
import time
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from persist.inference import resume
from persist.inference.gibbs import PARTS
from persist.inference.population import KINDS, Law, Population, populated
from persist.inference.sample import Sample, Stage, drawn, scores_of
from persist.inference.sampler import Kept
from persist.inference.weights import NOTHING

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from persist.inference.clone_free import Frame
    from persist.inference.target import Member

PLAIN = 0.1
"""Share of the pack's own prior in that of a stage."""


class Shelf:
    """Where a run keeps finished draws of patients (nowhere without a ``folder``), by a ``mark`` of all that decides them; and
    how long it has run, earlier runs that left something here among it.
    """

    def __init__(self, folder: Path | None, mark: str) -> None:
        self.folder, self.mark, self.earlier, self.began = folder, mark, 0.0, time.perf_counter()

    @property
    def seconds(self) -> float:
        """So far."""
        return self.earlier + time.perf_counter() - self.began

    def find(self, stage: Stage, member: Member) -> dict[str, np.ndarray] | None:
        """What an earlier run left of a patient and a stage."""
        left = None if self.folder is None else resume.read(_place(self.folder, stage, member), self.mark)
        if left is not None:
            self.earlier = max(self.earlier, float(left["seconds"]))
        return left

    def keep(self, stage: Stage, member: Member, sample: Sample) -> None:
        """Write what cannot be had again from the rest: scores can."""
        if self.folder is not None:
            columns = sample.kept._asdict() | {"under": sample.under, "seconds": self.seconds}
            resume.write(_place(self.folder, stage, member), self.mark, columns)


def _place(folder: Path, stage: Stage, member: Member) -> Path:
    return resume.named(folder, f"{member.patient_id}, stage {stage.number}")


class Standing(NamedTuple):
    """Where a stage begins: the prior of each patient, and its draws of the stage before (none before the first)."""

    priors: list[Population]
    samples: list[Sample]


def plain(frame: Frame) -> Population:
    """The pack's prior, with a clone and without, as a mixture with as many parts as those of later stages: of other numbers
    programs would have to be compiled anew.
    """
    size, parts = len(frame.shift), KINDS * PARTS + 2
    log_weight = np.append(np.full(parts - 2, NOTHING), np.log((0.5, 0.5)))
    mean = np.zeros((parts, size))
    mean[-1] = frame.shift
    return Population(mean, np.tile(np.eye(size), (parts, 1, 1)), log_weight)


def mixtures(some: Law, frame: Frame) -> list[Population]:
    """For each patient the mixture of its laws ``(PARTS, patients, ...)`` (`gibbs.Found`), all alike, and of the pack's prior,
    with a clone and without, which has the share `PLAIN`.
    """
    found = []
    for at in range(some.share.shape[1]):
        own = {name: getattr(some, name)[:, at] for name in ("mean", "share", "clone_free")}
        each = populated(some._replace(**own), frame)
        mean, whiten, log_weight = plain(frame)
        mean[:-2], whiten[:-2] = each.mean.reshape(mean[:-2].shape), each.whiten.reshape(whiten[:-2].shape)
        log_weight[:-2] = np.maximum(each.log_weight.ravel(), NOTHING) + np.log((1.0 - PLAIN) / PARTS)
        log_weight[-2:] += np.log(PLAIN)
        found.append(Population(mean, whiten, log_weight))
    return found


def everyone(
    stage: Stage, members: list[Member], before: Standing, shelf: Shelf, tell: Callable[[float], None]
) -> list[Sample]:
    """Draws of all patients, side by side on all cores, or what an earlier run left of them. ``tell`` is told the share of them
    that is done.
    """
    left = [shelf.find(stage, member) for member in members]

    def work(at: int) -> Sample:
        member, there = members[at], left[at]
        if there is not None:
            kept = Kept(**{name: there[name] for name in Kept._fields})
            return Sample(kept, scores_of(member, kept), there["under"])
        found = drawn(stage, member, before.priors[at], before.samples[at] if before.samples else None)
        shelf.keep(stage, member, found)
        return found

    found = []
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        for one in threads.map(work, range(len(members))):
            found.append(one)
            tell(len(found) / len(members))
    return found
