"""Result files: xarray DataTrees in netCDF with ArviZ's groups and their provenance; the one door to arviz and xarray.

Groups of a posterior file: ``posterior`` and ``sample_stats`` (chain, draw, patient), ``prior`` (chain, draw, patient),
``log_likelihood`` and ``posterior_predictive`` (chain, draw, patient, visit), ``observed_data`` (patient, visit) and
``constant_data`` (patient, segment). A fit with measured fractions has more (`inference.fractions`); one that leans on a
population has ``population`` (chain, draw, score; `inference.leaning`), and ``biomarkers`` where any are known. Attributes of
the root: ``persist_kind``, ``persist_schema``, and as JSON ``provenance``, ``settings``, ``notes``, ``everyone`` (patients of
the table), ``unfit`` and ``problems`` (reasons by patient), ``pooled`` (whether its population was learned here).
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

SCHEMA = 7
GROUPS = {
    "fit": (
        "posterior",
        "sample_stats",
        "prior",
        "posterior_predictive",
        "observed_data",
        "constant_data",
        "fitted",
    ),
    "forecast": ("futures",),
}
"""Groups without which a file of a kind cannot be used."""
VARIABLES = {
    "sample_stats": ("lp", "diverging", "resistant_share"),
    "posterior_predictive": ("burden",),
    "observed_data": ("day", "burden", "censoring"),
    "constant_data": ("start", "stop", "dose", "log_evidence"),
    "fitted": ("burden", "shares"),
    "futures": ("day", "burden", "shares", "dose"),
}
"""Variables without which a group cannot be used."""
ATTRIBUTES = {
    "fit": ("observable", "unit", "seconds", "settings", "provenance", "notes"),
    "forecast": ("settings", "summary", "provenance", "fit"),
}
"""Root attributes without which a file of a kind cannot be used."""
_OBJECTS = ("settings", "provenance", "summary", "fit")
"""Attributes that hold a JSON object."""
SECONDS = ("seconds", "compile_seconds", "wall_seconds")
"""Attributes of a fit: run time without compiling, what compiling took, and both with all else."""
_DAMAGED = "it is damaged; make it again"
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
    plain = isinstance(value, (str, int, float)) and not isinstance(value, bool)
    return value if plain else json.dumps(value)


def attribute(result: DataTree, name: str) -> Any:
    """A root attribute that was kept as JSON; `StoreError` where it is missing or is none."""
    if name not in result.attrs:
        raise StoreError(f'the file has no "{name}"', remedy="it was not written by persist; make it again")
    try:
        return json.loads(result.attrs[name])
    except (TypeError, ValueError):
        raise StoreError(f'its "{name}" cannot be read (not JSON)', remedy=_DAMAGED) from None


def save(result: DataTree, path: str | Path) -> None:
    """Write whole or not at all: into a temporary file beside ``path``, then renamed over it; a link stays, and the file
    that it leads to is written.
    """
    target = Path(os.path.realpath(path)) if Path(path).is_symlink() else Path(path)
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
    fault = _damage(result, str(found))
    if fault:
        raise StoreError(fault, where=name, remedy=_DAMAGED)


def _damage(result: DataTree, kind: str) -> str:
    """The first thing that a file of this kind lacks, in words; "" where it is whole."""
    for group in GROUPS.get(kind, ()):
        if group not in result.children:
            return f"it lacks the group {group}"
        for name in _needed(result, group):
            if name not in result[group].data_vars:
                return f"its group {group} lacks {name}"
    if kind == "fit" and not result["prior"].data_vars:
        return "its group prior is empty"
    for name in ATTRIBUTES.get(kind, ()):
        if fault := _attribute_damage(result, name):
            return fault
    return 'its "settings" name no pack' if kind == "fit" and "pack" not in attribute(result, "settings") else ""


def _needed(result: DataTree, group: str) -> tuple[str, ...]:
    """Names that a group must hold; the posterior holds every sampled parameter, which are those of the prior."""
    if group == "posterior" and "prior" in result.children:
        return tuple(str(name) for name in result["prior"].data_vars)
    return VARIABLES.get(group, ())


def _attribute_damage(result: DataTree, name: str) -> str:
    if name not in result.attrs:
        return f'it lacks the attribute "{name}"'
    if name == "seconds" and not isinstance(result.attrs[name], (int, float, np.number)):
        return f'its "{name}" is no number'
    if name not in (*_OBJECTS, "notes"):
        return ""
    try:
        value = attribute(result, name)
    except StoreError as error:
        return error.what
    return "" if isinstance(value, dict if name in _OBJECTS else list) else f'its "{name}" is of another kind'


def dataset(columns: Mapping[str, tuple[Any, Any]], coords: Mapping[str, Any]) -> Dataset:
    """A group from ``{name: (dims, array)}`` and its coordinates."""
    return Dataset(dict(columns), coords=dict(coords))
