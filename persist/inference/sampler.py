"""Posterior draws of one patient: starts found, chains warmed up together, draws named.

The programs depend only on the padded sizes, so all patients of a size share them, and a patient's numbers do not depend on
who else is fitted.
"""

from __future__ import annotations

import time
from functools import partial
from typing import TYPE_CHECKING, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.flatten_util import ravel_pytree
from numpyro.infer.util import ParamInfo

from persist.inference.curve import resistant_share, trace_curves
from persist.inference.model import sampled
from persist.inference.priors import load_pack
from persist.inference.rounds import Rounds
from persist.inference.starts import LANES, coordinates, find_starts
from persist.inference.target import named, slopes

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.inference.cohort import Case
    from persist.inference.rounds import Effort, Report
    from persist.inference.target import Target


class Draws(NamedTuple):
    """Posterior draws ``(chains, draws)`` by name, what the sampler reported of them, where the search for starts ended
    (energy and mean share of R over the visits, each ``(ends,)``, best first), and the run time in seconds, without
    compiling.
    """

    values: dict[str, np.ndarray]
    stats: dict[str, np.ndarray]
    start_energy: np.ndarray
    start_resistant: np.ndarray
    seconds: float


def draw(
    key: Array, target: Target, effort: Effort, case: Case, progress: Callable[[Report], None] | None = None
) -> Draws:
    """Posterior draws of one patient; ``warmup`` and ``draws`` are rounded up to whole blocks of `BLOCK`.

    ``progress`` is called after every block.
    """
    name_of = named(target)
    pack = load_pack(target.pack, target.cells)
    location, scale = coordinates(pack, sampled(pack, target.variant), case)
    flat, unflatten = ravel_pytree(location)
    slope = partial(slopes(target), case)
    search, run = jax.random.split(key)
    jax.block_until_ready(slope(_lanes(np.asarray(flat)[None])))  # type: ignore[no-untyped-call]  # compiles
    began = time.perf_counter()
    found = find_starts(search, slope, np.asarray(flat), np.asarray(ravel_pytree(scale)[0]), effort.chains)
    energy, bend = (part[: effort.chains] for part in slope(_lanes(found.point)))
    start = ParamInfo(jax.vmap(unflatten)(jnp.asarray(found.point)), energy, jax.vmap(unflatten)(bend))
    searched = time.perf_counter() - began
    rounds = Rounds(run, target, effort, case, progress)
    kept = rounds.draw(rounds.warm(start, found.spread))
    z, *stats = jax.tree.map(lambda *parts: np.concatenate(parts, axis=1), *kept)
    values = {name: np.asarray(value) for name, value in name_of(case, z).items()}
    ends = name_of(case, jax.tree.map(lambda leaf: leaf[None], jax.vmap(unflatten)(jnp.asarray(found.end))))
    shares = _resistant({name: leaf[0] for name, leaf in ends.items()}, case, target.power)
    return Draws(
        values, _named_stats(stats, rounds.step_size), found.energy, np.asarray(shares), searched + rounds.seconds()
    )


@jax.jit
def _resistant(values: dict[str, Array], case: Case, power: float) -> Array:
    """Mean share of R over the visits under each set of parameters ``(n,)``; ``(n,)``."""
    return resistant_share(trace_curves(values, case, power), case)


def _lanes(points: np.ndarray) -> Array:
    """Points padded to `LANES` rows."""
    return jnp.asarray(np.pad(points, ((0, LANES - len(points)), (0, 0)), mode="edge"))


def _named_stats(stats: list[np.ndarray], step_size: float) -> dict[str, np.ndarray]:
    """Sampler statistics under ArviZ's names, each ``(chains, draws)``."""
    potential, energy, steps, accept, diverging = stats
    return {
        "lp": -potential,
        "energy": energy,
        "n_steps": steps,
        "acceptance_rate": accept,
        "diverging": diverging,
        "step_size": np.full(potential.shape, step_size),
    }
