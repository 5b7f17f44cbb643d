"""persist: drug-tolerant persisters, resistance and drug holidays; simulate, fit and forecast burden under treatment.

The public names are found when they are first asked for, so that ``import persist`` costs nothing: no NumPy, no JAX.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from persist.errors import PersistError
    from persist.records.table import read
    from persist.types import Cells, Cohort, Rates, Schedule, Series

__version__ = "0.1.0"

# Where each public name lives; a new one is added here, to `__all__`, and above for type checkers.
_HOMES = {
    "Cells": "persist.types",
    "Cohort": "persist.types",
    "PersistError": "persist.errors",
    "Rates": "persist.types",
    "Schedule": "persist.types",
    "Series": "persist.types",
    "read": "persist.records.table",
}

__all__ = ["Cells", "Cohort", "PersistError", "Rates", "Schedule", "Series", "__version__", "read"]


def __getattr__(name: str) -> Any:
    """A public name, imported from its home on first use (PEP 562)."""
    if name not in _HOMES:
        raise AttributeError(f"module 'persist' has no attribute {name!r}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
