"""Patients of a fit one by one: sampled by whoever does the work (`inference.crew`), kept, and taken from what was kept.

A patient's draws depend on the seed, the patient's id, the data and the settings only, so a run that was killed goes on from
the finished patients and gives the same numbers as an unbroken one.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from persist import keys
from persist.inference import crew, resume
from persist.inference.crew import Failure
from persist.inference.sampler import Draws, Effort, Report, draw, total_rounds
from persist.inference.settings import Progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from persist.inference.settings import Settings
    from persist.inference.target import Member


def finished(
    settings: Settings,
    everyone: list[Member],
    partial: str | Path | None,
    progress: Callable[[Progress], None] | None,
    scheduler: str | None,
) -> Iterator[tuple[str, Draws | Failure, float]]:
    """Patients as they are finished: name, draws or why there are none, seconds beside sampling; first those that were kept."""
    kept = {one.patient_id: None if partial is None else Kept(Path(partial), settings, one) for one in everyone}
    todo = []
    for one in everyone:
        keep = kept[one.patient_id]
        found = keep.read() if keep else None
        if found is None:
            todo.append(one)
        else:
            yield one.patient_id, found, 0.0
    done = len(everyone) - len(todo)
    watches = [watch(progress, one.patient_id, done + at, len(everyone)) for at, one in enumerate(todo)]
    jobs = [(settings, one) if scheduler else (settings, one, tell) for one, tell in zip(todo, watches, strict=True)]
    began = time.perf_counter()
    for count, (place, found) in enumerate(crew.each(sample, jobs, scheduler), start=1):
        name = todo[place].patient_id
        if scheduler and progress is not None:
            left = (time.perf_counter() - began) / count * (len(todo) - count)
            progress(Progress(name, done + count - 1, len(everyone), 1, 1, left))
        if isinstance(found, Failure):
            yield name, found, 0.0
            continue
        keep = kept[name]
        if keep:
            keep.write(found[0])
        yield name, *found


def sample(settings: Settings, one: Member, tell: Callable[[Report], None] | None = None) -> tuple[Draws, float]:
    """One patient's draws, and the seconds beside sampling, which go into compiling."""
    effort, began = Effort(settings.chains, settings.warmup, settings.draws, settings.doublings), time.perf_counter()
    if tell is not None:
        tell(Report(0, total_rounds(effort)))
    found = draw(keys.key(settings.seed, one.patient_id, "fit"), one.target, effort, one.case, tell)
    return found, time.perf_counter() - began - found.seconds


def watch(
    progress: Callable[[Progress], None] | None, patient_id: str, index: int, patients: int
) -> Callable[[Report], None] | None:
    """A callback for the sampler that adds the patient and the time left, from the speed since the first block ended."""
    if progress is None:
        return None
    marks: list[tuple[float, int]] = []

    def report(at: Report) -> None:
        marks.append((time.perf_counter(), at.done))
        left = None
        if len(marks) > 3:  # the first block is mostly compiling
            pace = (marks[-1][0] - marks[1][0]) / (marks[-1][1] - marks[1][1])
            left = pace * (at.total - at.done + at.total * (patients - index - 1))
        progress(Progress(patient_id, index, patients, at.done, at.total, left))

    return report


class Kept:
    """One patient's finished draws on disk."""

    def __init__(self, folder: Path, settings: Settings, one: Member) -> None:
        self.path, self.fingerprint = (
            resume.named(folder, one.patient_id),
            resume.fingerprint([one], settings),
        )

    def read(self) -> Draws | None:
        """The draws, or None where there are none that these settings and data would give."""
        parts = resume.read(self.path, self.fingerprint)
        if parts is None or "log_evidence" not in parts:
            return None
        values, stats = (resume.under(parts, head) for head in ("value.", "stat."))
        return Draws(values, stats, parts["log_evidence"], float(parts["seconds"]))

    def write(self, draws: Draws) -> None:
        """Keep the draws."""
        columns: dict[str, Any] = {f"value.{name}": value for name, value in draws.values.items()}
        columns |= {f"stat.{name}": value for name, value in draws.stats.items()}
        more = {"log_evidence": draws.log_evidence, "seconds": draws.seconds}
        resume.write(self.path, self.fingerprint, columns | more)
