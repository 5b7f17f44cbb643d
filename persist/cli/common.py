"""What the commands share: reading a table, claiming an output, JSON, precision. No NumPy and no JAX at import."""

from __future__ import annotations

import json
import math
import os
import sys
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from persist.errors import UsageError

if TYPE_CHECKING:
    from persist.types import Table


def read_table(
    burden: Path,
    treatments: Path | None,
    patients: tuple[str, ...],
    observable: str | None,
    floor: Literal["auto", "none"] | tuple[float, ...],
    full_dose: Mapping[str, float],
    min_values: int = 2,
    biomarkers: Path | None = None,
    exposure: Path | None = None,
) -> Table:
    """`persist.records.table.read` with the arguments of `table_options`; what is assumed of markers goes with its notes."""
    from persist.records.table import read

    table = read(
        burden,
        treatments,
        observable=observable,
        patients=patients,
        floor=floor,
        full_dose=full_dose,
        min_values=min_values,
        biomarkers_path=biomarkers,
        exposure_path=exposure,
    )
    if not any(len(series.composition.day) or len(series.levels.day) for series in table.series):
        return table
    from persist.inference import composition, levels

    return table._replace(notes=(*table.notes, *composition.assumed(table.series), *levels.assumed(table)))


def read_json(path: Path, remedy: str) -> dict[str, Any]:
    """The JSON object of a file; `UsageError`, with this remedy, where there is none."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"it cannot be read ({error.strerror})", where=str(path), remedy="check the path") from None
    except ValueError:
        raise UsageError("it is not JSON", where=str(path), remedy=remedy) from None
    if not isinstance(content, dict):
        raise UsageError("it is no JSON object", where=str(path), remedy=remedy)
    return content


def claim_output(path: Path, force: bool, inputs: Sequence[Path | None] = ()) -> None:
    """`UsageError` unless ``path`` can be written: a folder that is there and open to us, no file unless ``force``, and
    none of the ``inputs`` or anything but a regular file ever. A link stands for the file that it leads to.
    """
    try:
        _judge_output(path, force, inputs)
        _try_to_write(_target(path))
    except OSError as error:
        raise _unwritable(path, error) from None


def claim_folder(path: Path) -> None:
    """`UsageError` unless ``path`` is a folder that is open to us, or one can be made there; none is left behind."""
    try:
        if not path.exists():
            path.mkdir()
            path.rmdir()
        elif not (path.is_dir() and os.access(path, os.W_OK | os.X_OK)):
            what = "a folder for partial results is needed here, and this is none that can be written to"
            raise UsageError(what, where=str(path), remedy="move it away, or name another output")
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> UsageError:
    what = f"it cannot be written ({error.strerror or error})"
    return UsageError(what, where=str(path), remedy="choose another name or folder")


def _target(path: Path) -> Path:
    """The file that is written: where a link leads to, else ``path`` itself."""
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def _try_to_write(target: Path) -> None:
    """Make and remove a temporary file beside ``target``, as its writer will; `OSError` where that fails."""
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    os.close(handle)
    os.unlink(temporary)


def _judge_output(path: Path, force: bool, inputs: Sequence[Path | None]) -> None:
    """`UsageError` by what is there already."""
    if path.exists() and any(one is not None and one.exists() and one.samefile(path) for one in inputs):
        raise UsageError("the output is one of the inputs", where=str(path), remedy="give it another name")
    target = _target(path)
    folder = target.parent
    if not folder.is_dir():
        raise UsageError(f"there is no folder {str(folder)!r} to write to", where=str(path), remedy="make it first")
    if not os.access(folder, os.W_OK | os.X_OK):
        what = f"the folder {str(folder)!r} cannot be written to"
        raise UsageError(what, where=str(path), remedy="choose another folder")
    if path.is_dir():
        raise UsageError("the output is a folder", where=str(path), remedy="name a file")
    if os.path.lexists(target) and not target.is_file():
        raise UsageError("the output is no regular file", where=str(path), remedy="give it another name")
    if path.exists() and not force:
        raise UsageError("the file exists", where=str(path), remedy="use --force to replace it, or another name")


def use_float64() -> None:
    """Switch JAX to float64, which cell numbers and clocks need; called inside commands, before any array."""
    import jax

    jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def use_device(name: str) -> None:
    """Run JAX on ``cpu`` or ``gpu``; `UsageError` where there is no GPU, never a silent CPU."""
    import jax

    if name == "cpu":
        jax.config.update("jax_platforms", "cpu")  # type: ignore[no-untyped-call]
        return
    try:
        jax.config.update("jax_default_device", jax.devices("gpu")[0])  # type: ignore[no-untyped-call]
    except RuntimeError:
        raise UsageError("there is no GPU that JAX can use", where="--device gpu", remedy="use --device cpu") from None


def keep_compiled() -> None:
    """Keep compiled programs in the user's cache folder, so that the next run starts at once; never an error."""
    import jax
    import platformdirs

    folder = Path(platformdirs.user_cache_dir("persist")) / f"compiled-jax-{jax.__version__}-{_processor()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError:
        return
    jax.config.update("jax_compilation_cache_dir", str(folder))  # type: ignore[no-untyped-call]
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)  # type: ignore[no-untyped-call]


def _processor() -> str:
    """A short mark of the kind of processor, since compiled programs do not move between kinds."""
    import hashlib
    import platform

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="ascii", errors="replace").splitlines()
        kind = "".join(sorted({line for line in lines if line.startswith(("flags", "Features", "model name"))}))
    except OSError:
        kind = platform.processor() + platform.machine()
    return hashlib.sha256(kind.encode()).hexdigest()[:12]


def plain(value: Any) -> Any:
    """The same as JSON knows it: arrays to lists, tuples to lists, paths to text, nan and infinity to None."""
    if hasattr(value, "tolist"):
        value = value.tolist()
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(key): plain(one) for key, one in value.items()}
    if isinstance(value, (list, tuple, set, frozenset)):
        return [plain(one) for one in value]
    return str(value) if isinstance(value, Path) else value


def emit_json(content: Mapping[str, Any]) -> None:
    """Print one JSON object on standard output."""
    click.echo(json_text(content))


def json_text(content: Mapping[str, Any], indent: int | None = None) -> str:
    """One JSON object as text: in one line, or indented for a reader."""
    return json.dumps(plain(content), allow_nan=False, ensure_ascii=False, indent=indent)


def warn_marked(problems: Mapping[str, Sequence[str]]) -> None:
    """A line on standard error for each marked posterior, patient -> problems; said even where --quiet is asked for."""
    for patient, found in problems.items():
        if found:
            click.echo(f"persist: warning: the posterior of {patient} is marked: {'; '.join(found)}", err=True)


def progress(line: str, *, quiet: bool = False) -> None:
    """A line of progress: to standard error, and only where that is a terminal."""
    if not quiet and sys.stderr.isatty():
        click.echo(line, err=True)
