"""How to fit, and where a fit is."""

from __future__ import annotations

from typing import NamedTuple

from persist.inference import store
from persist.inference.cohort import Reference


class Settings(NamedTuple):
    """How to fit: model variant, prior pack, drug (None: the only one), chains, warm-up and draws per chain, seed.

    ``reference``: the burdens that the priors of `burden_0` and `settled_burden` count in (None: the series' own).
    ``exact_stops``: every recorded stop is when the drug was stopped; else some are doubtful (`records.stops`).
    ``doublings``: how often sampling may be doubled where chains disagree or give few effective draws.
    """

    model: str = "spr"
    pack: str = "clinical"
    drug: str | None = None
    chains: int = 4
    warmup: int = 960
    draws: int = 640
    seed: int = 0
    reference: Reference | None = None
    doublings: int = 4
    exact_stops: bool = False


class Progress(NamedTuple):
    """Where a fit is: patient ``number`` (from 0) of ``patients``, iterations ``done`` of ``total``, seconds left or None."""

    patient_id: str
    number: int
    patients: int
    done: int
    total: int
    seconds_left: float | None


def made_with(fit: store.DataTree) -> Settings:
    """The settings of a fit, as its file holds them."""
    kept = store.attribute(fit, "settings")
    found = Settings(**{name: value for name, value in kept.items() if name in Settings._fields})
    return found._replace(reference=None if found.reference is None else Reference(*found.reference))
