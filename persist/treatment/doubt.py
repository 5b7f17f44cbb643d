"""A stop that may have come earlier than recorded: the drug was given until a share of the gap that the stop may lie in.

    dose on a step = recorded dose x share of the step that lies before a + u (b - a),   a to b the gap, u in 0 to 1

u = 1 is the recorded stop. Within a step the dose is its average, so exposures change smoothly with u.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from persist.types import Doubt

if TYPE_CHECKING:
    from jax import Array

STOP = "stop_share"
"""The name of u among a patient's parameters; of several doubtful stops of one patient, it is the share of each gap."""

NO_GAPS = np.zeros((0, 2))
"""Of a patient of whom no stop is doubtful."""

SURE = Doubt(-2.0, -1.0)
"""Of a step in no gap: all of it lies before the stop, whatever u is."""

LONGEST = 7.0
"""Days of a step within a gap, at most. In one of three weeks the averaged dose errs by 0.1 in the log burden."""


def marks(gaps: np.ndarray) -> np.ndarray:
    """Days ``(n_marks,)`` at which steps shall end, so that gaps ``(n, 2)`` are of short ones."""
    parts = [np.linspace(begin, end, int(np.ceil((end - begin) / LONGEST)) + 1) for begin, end in gaps]
    return np.concatenate([*parts, np.zeros(0)])


def along(gaps: np.ndarray, node: np.ndarray) -> Doubt:
    """Where in its gap each step begins and ends, for steps that end at each ``node`` but the first; gaps ``(n, 2)``."""
    begin, end = (np.full(len(node) - 1, at) for at in SURE)
    for first, last in gaps:
        inside = (node[:-1] >= first - _CLOSE) & (node[1:] <= last + _CLOSE) & (np.diff(node) > 0.0)
        begin, end = (
            np.where(inside, (at - first) / (last - first), sure) for at, sure in ((node[:-1], begin), (node[1:], end))
        )
    return Doubt(begin, end)


def dosed(dose: Any, doubt: Doubt, share: Any) -> Array:
    """Doses ``(n_steps, ...)`` under a ``share`` ``(...)``."""
    wide = (slice(None), *(None,) * jnp.ndim(share))
    begin, end = (jnp.asarray(at)[wide] for at in doubt)
    given: Array = jnp.asarray(dose)[wide] * jnp.clip((jnp.asarray(share)[None] - begin) / (end - begin), 0.0, 1.0)
    return given


_CLOSE = 1e-6
"""Days that are one."""
