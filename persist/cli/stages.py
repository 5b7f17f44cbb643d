"""Progress of work that has stages, on standard error and only where that is a terminal: what is done, share, time left."""

from __future__ import annotations

import sys
from typing import Any


class Stages:
    """A bar that begins anew with each stage."""

    def __init__(self, quiet: bool) -> None:
        self.bar: Any = None
        self.shown, self.stage = not quiet and sys.stderr.isatty(), ""

    def __enter__(self) -> Stages:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def cohort(self, what: str, share: float) -> None:
        """A cohort: its patients alone, then as a cohort, in stages (`inference.pooling`)."""
        self.show(what, {"alone": "patients alone", "together": "the cohort"}[what], share)

    def landmarks(self, done: int, total: int) -> None:
        """Landmarks of a back-test."""
        self.show("landmarks", f"landmark {done} of {total}", done / total)

    def show(self, stage: str, text: str, share: float) -> None:
        """Draw the bar: the ``stage``, what it says, and the share of it that is done."""
        if not self.shown:
            return
        from tqdm import tqdm

        if self.bar is None:
            self.bar = tqdm(total=100, file=sys.stderr, bar_format="{l_bar}{bar}| [{elapsed}<{remaining}]")
        if stage != self.stage:
            self.stage = stage
            self.bar.reset(total=100)
        self.bar.n = round(100 * share, 1)
        self.bar.set_description(text)
