"""What a run that was stopped leaves behind: arrays on disk, marked by a fingerprint of all that decides them.

Files are written whole or not at all; those that are damaged, or were made from something else, are as if they were not there.
"""

from __future__ import annotations

import hashlib
import json
import os
import zipfile
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jax
import numpy as np

from persist.inference.priors import load_pack
from persist.inference.store import own_version

if TYPE_CHECKING:
    from persist.inference.target import Member


DRAWS = ("treatment", "dynamics", "inference")
"""Rooms whose source decides draws."""


@cache
def source(rooms: tuple[str, ...] = DRAWS) -> str:
    """A digest of the source of some rooms: what another version of it left behind is not taken."""
    package = Path(__file__).resolve().parent.parent
    files = [path for room in rooms for path in sorted((package / room).glob("*.[pt]*"))]
    digest = hashlib.sha256()
    for path in (*files, package / "types.py", package / "keys.py"):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def fingerprint(everyone: list[Member], *settings: Any) -> str:
    """A mark of some patients' data, their priors, the settings, and the program."""
    digest = hashlib.sha256(json.dumps([own_version(), source(), jax.__version__, settings]).encode())
    for one in everyone:
        priors = repr(load_pack(one.target.pack, one.target.cells))
        digest.update(json.dumps([one.patient_id, one.target, priors]).encode())
        for part in jax.tree.leaves(one.case):
            digest.update(np.ascontiguousarray(part).tobytes())
    return digest.hexdigest()


def named(folder: Path, name: str) -> Path:
    """Where what is called so (a patient's id, which may be any text) is kept."""
    return folder / f"{hashlib.sha256(name.encode()).hexdigest()[:16]}.npz"


def read(path: Path, mark: str) -> dict[str, np.ndarray] | None:
    """The arrays of a file, or None where there is none that is whole and has this mark."""
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as kept:
            return {name: kept[name] for name in kept.files} if str(kept["fingerprint"]) == mark else None
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile):
        return None


def write(path: Path, mark: str, columns: dict[str, Any]) -> None:
    """Write arrays by name, whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp.npz")
    np.savez(temporary, fingerprint=mark, **columns)
    os.replace(temporary, path)


def under(parts: dict[str, np.ndarray], head: str) -> dict[str, np.ndarray]:
    """Those of the arrays whose names begin with ``head``, without it."""
    return {name[len(head) :]: value for name, value in parts.items() if name.startswith(head)}
