"""``persist check``: read the tables, and print what was read and assumed."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from persist.cli.common import emit_json, read_table
from persist.cli.options import common_options, table_options

if TYPE_CHECKING:
    from persist.types import Schedule, Series, Table

SPECIMEN = ("patient", "day", "marker", "fraction", "counted")
HEADER = ("patient", "values", "first day", "last day", "lowest", "highest", "censored", "on treatment", "days on")


@click.command("check")
@table_options
@common_options
def command(
    burden: Path,
    treatments: Path | None,
    patients: tuple[str, ...],
    observable: str | None,
    floor: Literal["auto", "none"] | tuple[float, ...],
    full_dose: dict[str, float],
    exposure: Path | None,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Read BURDEN (and treatments, exposure), validate them, and print what was read and assumed."""
    table = read_table(burden, treatments, patients, observable, floor, full_dose, exposure=exposure)
    obstacle = no_fit(table.series[0].observable)
    if obstacle:
        table = table._replace(notes=(*table.notes, obstacle))
    if as_json:
        emit_json(_report(table, burden, treatments, seed) | {"can_be_fitted": not obstacle})
    elif not quiet:
        _print(table)


def no_fit(observable: str) -> str:
    """Why a burden of this name cannot be fitted by this version, in a sentence; "" where it can."""
    from persist.dynamics.observe import OBSERVABLES
    from persist.records.burden import UNNAMED

    if observable in OBSERVABLES:
        return ""
    if observable == UNNAMED:
        return "to fit it, say what the burden is by --observable NAME"
    return f"{observable} is read, but cannot be fitted by this version (it fits {', '.join(OBSERVABLES)})"


def episodes(schedules: dict[str, Schedule]) -> list[tuple[float, float]]:
    """Stretches of days on any drug; touching and overlapping segments of all drugs are one."""
    segments = [pair for one in schedules.values() for pair in zip(one.start.tolist(), one.stop.tolist(), strict=True)]
    joined: list[tuple[float, float]] = []
    for start, stop in sorted(segments):
        if joined and start <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], stop))
        else:
            joined.append((start, stop))
    return joined


def _patient(series: Series) -> dict[str, Any]:
    """What the table says of one patient; ``days_on`` within the first to the last value."""
    first, last = float(series.day[0]), float(series.day[-1])
    on = episodes(series.schedules)
    return {
        "values": len(series.day),
        "first_day": first,
        "last_day": last,
        "lowest": float(series.burden.min()),
        "highest": float(series.burden.max()),
        "left_censored": int((series.censoring < 0).sum()),
        "right_censored": int((series.censoring > 0).sum()),
        "on_treatment": [{"start_days": start, "stop_days": stop} for start, stop in on],
        "days_on": sum(max(0.0, min(stop, last) - max(start, first)) for start, stop in on),
        "drugs": sorted(series.schedules),
        "composition": _specimens(series),
        "exposure": [dict(zip(("time_days", "exposure"), row, strict=True)) for row in _levels(series)],
    }


def _levels(series: Series) -> list[tuple[float, float]]:
    """Days and measured exposures of one patient."""
    return list(zip(*(part.tolist() for part in series.levels), strict=True))


def _specimens(series: Series) -> list[dict[str, Any]]:
    """The measured fractions of one patient."""
    from persist.types import MARKERS

    rows = zip(*(part.tolist() for part in series.composition), strict=True)
    return [
        {"time_days": day, "fraction": share, "counted": counted, "marker": MARKERS[marker]}
        for day, share, counted, marker in rows
    ]


def _report(table: Table, burden: Path, treatments: Path | None, seed: int) -> dict[str, Any]:
    return {
        "command": "check",
        "burden": burden,
        "treatments": treatments,
        "sha256": table.sha256,
        "seed": seed,
        "observable": table.series[0].observable,
        "unit": table.series[0].unit,
        "values": sum(len(series.day) for series in table.series),
        "notes": table.notes,
        "patients": {series.patient_id: _patient(series) for series in table.series},
    }


def _print(table: Table) -> None:
    total = sum(len(series.day) for series in table.series)
    name, unit = table.series[0].observable, table.series[0].unit
    click.echo(f"Read {total} values of {name}{f' in {unit}' if unit else ''} from {len(table.series)} patient(s).\n")
    _print_rows([HEADER, *(_cells(series) for series in table.series)])
    specimens = [(series.patient_id, one) for series in table.series for one in _specimens(series)]
    if specimens:
        click.echo("\nComposition:\n")
        _print_rows([SPECIMEN, *(_specimen_cells(patient, one) for patient, one in specimens)])
    click.echo("\nRead and assumed:")
    for note in table.notes:
        click.echo(f"- {note}")
    click.echo(f"- SHA-256 of what was read: {table.sha256}")


def _print_rows(rows: list[tuple[str, ...]]) -> None:
    """Rows in columns, the first aligned to the left."""
    widths = [max(len(cell) for cell in column) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        click.echo("  ".join(cells).rstrip())


def _specimen_cells(patient: str, one: dict[str, Any]) -> tuple[str, ...]:
    numbers = (f"{one[name]:.10g}" for name in ("fraction", "counted"))
    return (patient, f"{one['time_days']:g}", one["marker"], *numbers)


def _cells(series: Series) -> tuple[str, ...]:
    about = _patient(series)
    on = about["on_treatment"]
    open_ended = any(math.isinf(one["stop_days"]) for one in on)
    return (
        series.patient_id,
        str(about["values"]),
        f"{about['first_day']:g}",
        f"{about['last_day']:g}",
        f"{about['lowest']:g}",
        f"{about['highest']:g}",
        str(about["left_censored"] + about["right_censored"]),
        f"{len(on)}x{', goes on' if open_ended else ''}" if on else "never",
        f"{about['days_on']:g}",
    )
