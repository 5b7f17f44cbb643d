"""Finished replicates on disk: each in a file of its own, written whole or not at all, taken up again by the same command.

A file carries a fingerprint of all that decides its numbers (seed, settings, design, versions, source); one of another run is
not taken. How many replicates were asked for, and which share of them, decides nothing.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from pathlib import Path
from typing import Any

from persist.inference import resume

ROOMS = ("records", "treatment", "dynamics", "inference", "forecast", "validation")
"""The rooms whose source decides the numbers."""


def source() -> str:
    """A digest of the source that decides the numbers."""
    return resume.source(ROOMS)[:16]


class Finished:
    """The finished replicates of one run in a ``folder``, marked by what it was asked (``about``, plain data)."""

    def __init__(self, folder: Path, about: dict[str, Any]) -> None:
        self.folder = folder
        self.fingerprint = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()

    def read(self, number: int) -> dict[str, Any] | None:
        """One replicate, or None where there is none, it is damaged, or it is of another run."""
        try:
            kept = json.loads(self._path(number).read_text(encoding="utf-8"))
            found: dict[str, Any] = kept["found"]
            return found if kept["fingerprint"] == self.fingerprint and found["replicate"] == number else None
        except (OSError, ValueError, KeyError, TypeError):
            return None

    def write(self, number: int, found: dict[str, Any]) -> None:
        """Keep one replicate."""
        self.folder.mkdir(parents=True, exist_ok=True)
        text = json.dumps({"fingerprint": self.fingerprint, "found": found}, allow_nan=False)
        handle, temporary = tempfile.mkstemp(dir=self.folder, suffix=".tmp")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(text)
            os.replace(temporary, self._path(number))
        except BaseException:
            Path(temporary).unlink(missing_ok=True)
            raise

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}.json"
