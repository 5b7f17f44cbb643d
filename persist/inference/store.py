"""Result files: xarray DataTrees in netCDF with ArviZ's groups and their provenance; the one door to arviz and xarray.

Groups of a posterior file: ``posterior`` and ``sample_stats`` (chain, draw, patient), ``prior`` (chain, draw, patient),
``log_likelihood`` and ``posterior_predictive`` (chain, draw, patient, visit), ``observed_data`` (patient, visit) and
``constant_data`` (patient, segment). Attributes of the root: ``persist_kind``, ``persist_schema``, ``provenance`` and
``settings`` (JSON).
"""

from __future__ import annotations

import json
import os
import shlex
import sys
import tempfile
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from xarray import Dataset as Dataset
from xarray import DataTree as DataTree
from xarray import open_datatree

from persist.errors import StoreError

if TYPE_CHECKING:
    from collections.abc import Mapping

SCHEMA = 2
GROUPS = {
    "fit": ("posterior", "sample_stats", "prior", "observed_data", "constant_data", "fitted"),
    "forecast": ("futures",),
}
"""Groups without which a file of a kind cannot be used."""
ENGINE: Literal["h5netcdf"] = "h5netcdf"
_PACKAGES = ("numpy", "jax", "numpyro", "arviz", "xarray")


def provenance(seed: int, sha256: str) -> dict[str, Any]:
    """What a result was made of: seed, SHA-256 of the data, versions, command line, time (UTC)."""
    return {
        "seed": seed,
        "data_sha256": sha256,
        "versions": {"persist": own_version(), **{name: _version(name) for name in _PACKAGES}},
        "command": _command(),
        "made": datetime.now(UTC).isoformat(timespec="seconds"),
    }


def _command() -> str:
    """The command line, where this is one."""
    ours = sys.argv[0].endswith(("persist", "__main__.py"))
    return shlex.join(["persist", *sys.argv[1:]]) if ours else "Python"


def own_version() -> str:
    """The installed version of this program ("unknown" where it was not installed)."""
    return _version("persist-oncology")


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "unknown"


def tree(kind: str, groups: dict[str, Dataset], attrs: dict[str, Any]) -> DataTree:
    """A result of this program: its groups, and root attributes (what is not text or number is kept as JSON)."""
    root = DataTree.from_dict({f"/{name}": data for name, data in groups.items()})
    root.attrs = {"persist_kind": kind, "persist_schema": SCHEMA, **{k: as_attribute(v) for k, v in attrs.items()}}
    return root


def as_attribute(value: Any) -> Any:
    """A value as an attribute holds it: text and numbers as they are, the rest as JSON."""
    return value if isinstance(value, (str, int, float)) else json.dumps(value)


def attribute(result: DataTree, name: str) -> Any:
    """A root attribute that was kept as JSON; `StoreError` where it is missing."""
    if name not in result.attrs:
        raise StoreError(f'the file has no "{name}"', remedy="it was not written by persist; make it again")
    return json.loads(result.attrs[name])


def save(result: DataTree, path: str | Path) -> None:
    """Write whole or not at all: into a temporary file beside ``path``, then renamed over it."""
    target = Path(path)
    encoding: Any = {
        f"/{name}": {v: {"zlib": True, "complevel": 4} for v, d in node.data_vars.items() if d.dtype.kind in "fi"}
        for name, node in result.children.items()
    }
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    try:
        result.to_netcdf(temporary, engine=ENGINE, encoding=encoding)
        os.chmod(temporary, 0o644)
        os.replace(temporary, target)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise


def load(path: str | Path, kind: str | None = None) -> DataTree:
    """Read a result file into memory. ``kind`` ("fit", "forecast" ...) is required if given.

    Raises `StoreError` for a file that is missing, damaged, not ours, of another kind, or of another schema version.
    """
    name = str(path)
    if not Path(path).is_file():
        raise StoreError("there is no such file", where=name, remedy="check the path")
    try:
        with open_datatree(path, engine=ENGINE) as opened:
            result = opened.load()
    except Exception as fault:
        reason = f"it cannot be read as netCDF ({type(fault).__name__})"
        raise StoreError(reason, where=name, remedy="give a file that persist wrote, or make it again") from fault
    _check(result, name, kind)
    return result


def _check(result: DataTree, name: str, kind: str | None) -> None:
    found = result.attrs.get("persist_kind")
    if found is None:
        raise StoreError(
            "it is a netCDF file, but not one of persist's", where=name, remedy="give the output of persist"
        )
    schema = result.attrs.get("persist_schema", 0)
    if not isinstance(schema, (int, np.integer)):
        raise StoreError(f"its schema version is no number: {schema!r}", where=name, remedy="make it again")
    if schema != SCHEMA:
        remedy = "make it again with this version" if schema < SCHEMA else "use the version of persist that wrote it"
        raise StoreError(f"it has schema version {schema}, this program reads {SCHEMA}", where=name, remedy=remedy)
    if kind is not None and found != kind:
        raise StoreError(f'it holds a "{found}", a "{kind}" is needed', where=name, remedy=f"give the output of {kind}")
    missing = [group for group in GROUPS.get(str(found), ()) if group not in result.children]
    if missing:
        raise StoreError(f"it lacks the group {missing[0]}", where=name, remedy="it is damaged; make it again")


def dataset(columns: Mapping[str, tuple[Any, Any]], coords: Mapping[str, Any]) -> Dataset:
    """A group from ``{name: (dims, array)}`` and its coordinates."""
    return Dataset(dict(columns), coords=dict(coords))
