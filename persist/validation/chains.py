"""Whether chains agree and how much their draws are worth: R-hat and effective sizes of any columns of draws.

Both are the rank-normalised ones (Vehtari et al. 2021, 10.1214/20-BA1221), by ArviZ. A chain is a set of walkers that were led
to the posterior apart from those of other chains: R-hat compares such sets, and early with late rounds of all walkers;
effective sizes count each walker as a series of its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import arviz as az
import numpy as np

if TYPE_CHECKING:
    import xarray as xr

MAX_RHAT, MIN_ESS, MIN_TAIL = 1.01, 400.0, 200.0
"""For the tails, at the 5 % and 95 % quantiles, 200 put their Monte-Carlo error at about a tenth of the spread."""
LEAST_ROUNDS = 4
"""Draws of a walker from which its autocorrelation can be told."""


class Convergence(NamedTuple):
    """By column: R-hat, and a frame of effective sizes, ``ess_bulk`` and ``ess_tail``."""

    rhat: Any
    sizes: Any

    @property
    def max_rhat(self) -> float:
        """The largest R-hat."""
        return float(self.rhat.max())

    def least(self, kind: str) -> float:
        """The smallest effective size of a ``kind``."""
        return float(self.sizes[kind].min())


def convergence(columns: xr.Dataset, walkers: int) -> Convergence:
    """Of columns of draws ``(chain, draw)``, walker after walker of so many in a chain."""
    orders = (columns, _by_round(columns, walkers))
    rhats = [az.summary(rows, kind="diagnostics", round_to="none")["r_hat"].astype(float) for rows in orders]
    alone = az.summary(_by_walker(columns, walkers), kind="diagnostics", round_to="none")
    return Convergence(np.maximum(*rhats), alone[["ess_bulk", "ess_tail"]].astype(float))


LONGER, MORE = "run longer with --warmup and --draws, or suspect more than one mode", "use --draws"


def problems(found: Convergence, longer: str = LONGER, more: str = MORE) -> list[str]:
    """What is wrong, each with its number and the remedy: to run ``longer``, to keep ``more`` draws."""
    told, rhat = [], found.rhat
    if not found.max_rhat <= MAX_RHAT:
        told.append(f"chains disagree: R-hat of {rhat.idxmax()} is {rhat.max():.3f} (over {MAX_RHAT}); {longer}")
    for kind, least in (("ess_bulk", MIN_ESS), ("ess_tail", MIN_TAIL)):
        low = found.sizes[kind]
        if not low.min() >= least:
            told.append(f"few effective draws: {kind} of {low.idxmin()} is {low.min():.0f} (under {least:.0f}); {more}")
    return told


def _by_walker(columns: xr.Dataset, walkers: int) -> xr.Dataset:
    """The same draws with every walker as a chain: draws of one walker follow each other, those of two do not."""
    rounds = columns.sizes["draw"] // walkers
    if rounds < LEAST_ROUNDS:
        return columns
    rows = {name: draws.values.reshape(-1, rounds) for name, draws in columns.data_vars.items()}
    return columns.__class__({name: (("chain", "draw"), draws) for name, draws in rows.items()})


def _by_round(columns: xr.Dataset, walkers: int) -> xr.Dataset:
    """The same draws with all walkers of a chain round after round: R-hat splits them into early and late."""
    size = columns.sizes["chain"]
    rows = {
        name: np.swapaxes(draws.values.reshape(size, walkers, -1), 1, 2).reshape(size, -1)
        for name, draws in columns.data_vars.items()
    }
    return columns.__class__({name: (("chain", "draw"), draws) for name, draws in rows.items()})
