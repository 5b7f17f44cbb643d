"""What a run is asked for, and what no engine can be right about, refused at the door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from persist.dynamics.paths import ENGINES
from persist.dynamics.reactions import REACTIONS, propensities
from persist.dynamics.tau_leap import FEW
from persist.errors import PrecisionError, RatesError, UsageError
from persist.types import Cells, Exposure, Grid, Rates

if TYPE_CHECKING:
    from persist.dynamics.reactions import Reactions

SHARES = ("mutation", "reversion_block", "secretome_block", "secretome_protect")
"""Rates that are shares: above 1 they would make other rates negative."""

ENDLESS = ("capacity", "kill_half", "effect_half")
"""Rates that may be infinite."""

MOST_EVENTS = 1e9
"""Events of one trajectory, at the pace of its start, beyond which following each of them is refused."""

MOST_CELLS = 1e7
"""Cells at the start beyond which the exact engine is refused: it would take every event of each of them."""


MOST_LEAPS = 10_000
"""Leaps in one step of the grid beyond which a step is refused as a mistake."""


class Method(NamedTuple):
    """How cells are carried on: ``engine``, of `ENGINES`; the leap takes steps of at most ``max_step`` days (None: as
    `stepsize.choose` finds for the trajectories of one call; name it where several calls are to agree) and follows
    populations of up to ``exact_below`` cells event by event; the other engines choose their own steps.
    """

    engine: str = "leap"
    max_step: float | None = None
    exact_below: float = 0.0
    table: Reactions = REACTIONS


def check(cells: Cells, rates: Rates, grid: Grid, method: Method) -> None:
    """Refuses what no engine can be right about."""
    engine, max_step = method.engine, method.max_step
    if not np.all(np.isfinite(np.asarray(grid.length, float)) & (np.asarray(grid.length, float) >= 0)):
        raise UsageError("a step of the grid has no finite length", remedy="give steps of 0 days or more")
    if not jax.config.jax_enable_x64:
        raise PrecisionError("JAX is in float32", remedy='call jax.config.update("jax_enable_x64", True) first')
    if engine not in ENGINES:
        raise UsageError(f"no engine named {engine!r}", remedy=f"choose one of {', '.join(ENGINES)}")
    if max_step is not None and not max_step > 0:
        raise UsageError(f"max_step is {max_step} days", remedy="give a step above 0")
    longest = float(np.max(np.asarray(grid.length, float), initial=0.0))
    if engine == "leap" and max_step is not None and longest > MOST_LEAPS * max_step:
        raise UsageError(
            f"max_step is {max_step:g} days, more than {MOST_LEAPS} leaps in a step of the grid",
            remedy=f"give {longest / MOST_LEAPS:.2g} or more",
        )
    for name, value in (*zip(Rates._fields, rates, strict=True), *zip(Cells._fields, cells, strict=True)):
        values = np.asarray(value, float)
        good = (values >= 0) & (np.isfinite(values) | (name in ENDLESS))
        if not np.all(good):
            raise RatesError(
                f"{name} is {values[~good].flat[0]}", remedy="rates and cell numbers are finite, and 0 or more"
            )
    for name in SHARES:
        highest = float(np.max(np.asarray(getattr(rates, name), float)))
        if highest > 1:
            raise RatesError(f"{name} is {highest}", remedy="it is a share, from 0 to 1")
    if not np.all(np.isfinite(np.asarray(cells.total))):
        raise RatesError("the number of cells is infinite", remedy="give a finite number of cells to start from")
    _check_events(cells, rates, grid, method)
    most = float(np.max(np.asarray(cells.total, float)))
    if engine == "ssa" and most > MOST_CELLS:
        raise UsageError(f"{most:.3g} cells are too many for the exact engine", remedy="use the engine leap")


def check_potency(rates: Rates, potency: Any) -> None:
    """Refuses rates whose kill fades where nothing says how far it has (`dynamics.attenuation`)."""
    highest = float(np.max(np.asarray(rates.attenuation_rate, float)))
    if highest > 0 and potency is None:
        raise UsageError(
            f"attenuation_rate is {highest:g}, and the exposure has no potency",
            remedy="give it one with dynamics.attenuation.attenuated, or set the rate to 0",
        )


def _check_events(cells: Cells, rates: Rates, grid: Grid, method: Method) -> None:
    """Refuses what would be followed event by event without end: all cells by ``ssa``, a few cells of a state by ``tau``, those
    of small populations by the hybrid.
    """
    engine = method.engine
    if engine == "leap" and method.exact_below <= 0:
        return
    few = FEW if engine == "tau" else method.exact_below
    followed = cells if engine == "ssa" else Cells(few, few, few)
    pace = max(float(np.max(np.asarray(propensities(followed, rates, dose)).sum(axis=-1))) for dose in (0.0, 1.0))
    events = pace * float(np.sum(np.asarray(grid.length, float)))
    if events > MOST_EVENTS:
        name = "hybrid" if engine == "leap" else engine
        what = f"about {events:.1g} events are too many for the engine {name}, which follows each"
        raise UsageError(what, remedy="use the engine leap" + ", exact_below=0" * (engine == "leap"))


def count(cells: Cells, rates: Rates, exposure: Exposure | None, trajectories: int | None) -> int:
    """How many trajectories, from whatever has their number; UsageError where this is in doubt."""
    found = {int(jnp.shape(part)[0]) for part in (*cells, *rates) if jnp.ndim(part)}
    found |= {int(jnp.shape(part)[1]) for part in jax.tree.leaves(exposure) if jnp.ndim(part) == 2}
    found |= set() if trajectories is None else {trajectories}
    if found and min(found) < 1:
        raise UsageError(f"{min(found) or 'no'} trajectories asked for", remedy="ask for 1 or more")
    if len(found) != 1:
        asked = " and ".join(map(str, sorted(found))) or "no number"
        raise UsageError(
            f"{asked} of trajectories asked for",
            remedy="give cells, rates and exposure the same number, or trajectories=",
        )
    return found.pop()
