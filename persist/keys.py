"""Random keys by name.

A key is made from the seed and the names of what it is for (patient, plan, draw), never from an order or a batch size,
so results do not depend on how the work was cut into chunks, on the engine that ran it, or on who else was in the
cohort.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import jax
import numpy as np

if TYPE_CHECKING:
    from jax import Array
    from jax.typing import ArrayLike

MOMENT = 2.0**-24
"""Days (about 5 ms) that are told apart when something is numbered by the day on which it happens."""


def key(seed: int, *names: str) -> Array:
    """The key of a named thing: ``key(0, "019", "fit")``; the same names give the same key on every machine."""
    digest = hashlib.sha256("\x1f".join(names).encode()).digest()
    root = jax.random.key(seed)
    for word in range(2):
        root = jax.random.fold_in(root, int.from_bytes(digest[4 * word : 4 * word + 4], "little"))
    return root


def seed_of(seed: int, *names: str) -> int:
    """A seed of NumPy's for a named thing."""
    return int(np.asarray(jax.random.bits(key(seed, *names), dtype=np.uint32)))


def numbered(root: Array, numbers: Array) -> Array:
    """Keys of numbered things (draws, replicates) under one named key: shape of ``numbers``."""
    flat = jax.vmap(lambda number: jax.random.fold_in(root, number))(numbers.reshape(-1))
    return flat.reshape(numbers.shape)


def moments(days: ArrayLike) -> np.ndarray:
    """Numbers of days, int64 ``(...)``: what happens on a day has them, whatever else happens before."""
    return np.rint(np.asarray(days, float) / MOMENT).astype(np.int64)
