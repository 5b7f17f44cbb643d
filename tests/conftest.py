"""Every test runs in float64 with strict rank promotion; real data are read from beside the checkout or skipped."""

from __future__ import annotations

import os
from pathlib import Path

import jax
import pytest

jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("PERSIST_SHARED_DATA", ROOT.parent / "shared" / "data"))


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Folder of the real data sets, which are not part of the repository."""
    if not SHARED.is_dir():
        pytest.skip(f"real data sets not found at {SHARED} (set PERSIST_SHARED_DATA to their folder)")
    return SHARED
