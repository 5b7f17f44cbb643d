"""``persist diagnose``: whether a posterior can be trusted, and which parameters the data inform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import common_options, emit_json, warn_marked


@click.command("diagnose")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@common_options
def command(fit: Path, seed: int, as_json: bool, quiet: bool) -> int:
    """Judge the posterior in FIT.nc; leaves with code 3 if it cannot be trusted."""
    from persist.inference import store
    from persist.validation import health

    result = store.load(fit, "fit")
    report = health.as_json(result)
    if as_json:
        about = {"command": "diagnose", "fit": fit, "seed": seed, "seconds": result.attrs["seconds"]}
        emit_json(about | {"patients": report})
    elif not quiet:
        print_health(report)
        print_rates(report)
    if as_json or quiet:
        warn_marked({name: one["problems"] for name, one in report.items()})
    return 0 if all(one["ok"] for one in report.values()) else 3


def print_health(report: dict[str, Any]) -> None:
    """A line a patient, and what is wrong beneath."""
    click.echo(f"\n{'patient':<12}{'R-hat':>8}{'ESS bulk':>10}{'ESS tail':>10}{'divergent':>11}  verdict")
    for name, one in report.items():
        verdict = "can be used" if one["ok"] else "CANNOT BE TRUSTED YET"
        sizes = f"{one['min_ess_bulk']:>10.0f}{one['min_ess_tail']:>10.0f}{one['divergences']:>11d}"
        click.echo(f"{name:<12}{one['max_rhat']:>8.3f}{sizes}  {verdict}")
        for problem in one["problems"]:
            click.echo(f"    - {problem}")


def print_rates(report: dict[str, Any]) -> None:
    """Every parameter with its 90 % interval; those that the data do not inform are said to be the prior's."""
    for name, one in report.items():
        click.echo(f"\npatient {name}\n{'parameter':<18}{'5 %':>11}{'50 %':>11}{'95 %':>11}  unit")
        for rate, row in one["rates"].items():
            told = {True: "informed by the data", False: "mostly the prior", None: "derived"}[row["informed"]]
            told += ", AGAINST THE PRIOR" if row["against_prior"] else ""
            numbers = "".join(f"{row[level]:>11.3g}" for level in ("q05", "q50", "q95"))
            click.echo(f"{rate:<18}{numbers}  {row['unit']:<26} {told}")
