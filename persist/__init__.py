"""persist: drug-tolerant persisters, resistance and drug holidays; simulate, fit and forecast burden under treatment.

The public names are found when they are first asked for, so that ``import persist`` costs nothing: no NumPy, no JAX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persist.dynamics.trajectories import simulate
    from persist.errors import PersistError
    from persist.forecast.optimise import optimise, wanted
    from persist.forecast.outcome import ask
    from persist.forecast.outcome import forecast as forecast_plans
    from persist.inference.fit import fit
    from persist.inference.posterior import one_patient
    from persist.inference.settings import Settings
    from persist.inference.store import load, save
    from persist.records.table import read
    from persist.types import Cells, Cohort, Rates, Schedule, Series
    from persist.validation.calibrate import calibrate
    from persist.validation.compare import compare
    from persist.validation.health import as_json as diagnose
    from persist.validation.study import study

__version__ = "0.1.0"

# Where each public name lives, and what it is called there; a new one is added here, to `__all__`, and above for type
# checkers. They mirror the commands; `forecast` and `report` are also names of rooms, so these verbs carry their object.
_HOMES = {
    "Cells": ("persist.types", "Cells"),
    "Cohort": ("persist.types", "Cohort"),
    "PersistError": ("persist.errors", "PersistError"),
    "Rates": ("persist.types", "Rates"),
    "Schedule": ("persist.types", "Schedule"),
    "Series": ("persist.types", "Series"),
    "Settings": ("persist.inference.settings", "Settings"),
    "ask": ("persist.forecast.outcome", "ask"),
    "calibrate": ("persist.validation.calibrate", "calibrate"),
    "compare": ("persist.validation.compare", "compare"),
    "diagnose": ("persist.validation.health", "as_json"),
    "fit": ("persist.inference.fit", "fit"),
    "forecast_plans": ("persist.forecast.outcome", "forecast"),
    "load": ("persist.inference.store", "load"),
    "optimise": ("persist.forecast.optimise", "optimise"),
    "one_patient": ("persist.inference.posterior", "one_patient"),
    "read": ("persist.records.table", "read"),
    "save": ("persist.inference.store", "save"),
    "simulate": ("persist.dynamics.trajectories", "simulate"),
    "study": ("persist.validation.study", "study"),
    "wanted": ("persist.forecast.optimise", "wanted"),
}

__all__ = [
    "Cells",
    "Cohort",
    "PersistError",
    "Rates",
    "Schedule",
    "Series",
    "Settings",
    "__version__",
    "ask",
    "calibrate",
    "compare",
    "diagnose",
    "fit",
    "forecast_plans",
    "load",
    "one_patient",
    "optimise",
    "read",
    "save",
    "simulate",
    "study",
    "wanted",
]


def __getattr__(name: str) -> Any:
    """A public name, imported from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'persist' has no attribute {name!r}")
    module, there = _HOMES[name]
    value = getattr(import_module(module), there)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
