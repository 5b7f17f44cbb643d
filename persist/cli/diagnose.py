"""``persist diagnose``: whether a posterior can be trusted, and which parameters the data inform."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import emit_json, keep_compiled, use_float64, warn_marked
from persist.cli.options import common_options


@click.command("diagnose")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@common_options
def command(fit: Path, seed: int, as_json: bool, quiet: bool) -> int:
    """Judge the posterior in FIT.nc; leaves with code 3 if it cannot be trusted."""
    use_float64()
    keep_compiled()
    from persist.inference import store
    from persist.validation import health

    result = store.load(fit, "fit")
    found = health.whole(result)
    report = found["patients"]
    if as_json:
        about = {"command": "diagnose", "fit": fit, "seed": seed, "seconds": result.attrs["seconds"]}
        emit_json(about | found)
    elif not quiet:
        print_health(report, found["population"])
        print_rates(report)
        print_pooled(found["residuals"])
    if as_json or quiet:
        warn_marked({name: one["problems"] for name, one in report.items()})
    return 0 if all(one["ok"] for one in report.values()) else 3


def print_health(report: dict[str, Any], population: dict[str, Any] | None = None) -> None:
    """A line a patient, and one of the population if there is one; what is wrong beneath."""
    click.echo(f"\n{'patient':<12}{'R-hat':>8}{'ESS bulk':>10}{'ESS tail':>10}{'divergent':>11}  verdict")
    rows = list(report.items()) + ([] if population is None else [("population", population)])
    for name, one in rows:
        verdict = "can be used" if one["ok"] else "CANNOT BE TRUSTED YET"
        divergent = f"{one['divergences']:>11d}" if "divergences" in one else f"{'':>11}"
        sizes = f"{one['min_ess_bulk']:>10.0f}{one['min_ess_tail']:>10.0f}{divergent}"
        click.echo(f"{name:<12}{one['max_rhat']:>8.3f}{sizes}  {verdict}")
        for problem in one["problems"]:
            if one is population or population is None or problem not in population["problems"]:
                click.echo(f"    - {problem}")
    if population is not None and population["effects"] is not None:
        from persist.validation.effects import sentences

        for sentence in sentences(population["effects"]):
            click.echo(f"  - {sentence}")


def print_rates(report: dict[str, Any]) -> None:
    """Every parameter with its 90 % interval and what the data say of it; then what the fit says about itself."""
    for name, one in report.items():
        click.echo(f"\npatient {name}\n{'parameter':<18}{'5 %':>11}{'50 %':>11}{'95 %':>11}  unit")
        for rate, row in one["rates"].items():
            numbers = "".join(f"{row[level]:>11.3g}" for level in ("q05", "q50", "q95"))
            click.echo(f"{rate:<18}{numbers}  {row['unit']:<26} {_told(row)}")
        print_sentences(one)


def _told(row: dict[str, Any]) -> str:
    """What the data say of one parameter."""
    if row["informed"] is None:
        return f"derived from {', '.join(row['depends_on'])}" if row["depends_on"] else "derived"
    told = "informed by the data" if row["informed"] else f"mostly the prior: {row['reason']}"
    return told + (", AGAINST THE PRIOR" if row["against_prior"] else "")


def print_sentences(one: dict[str, Any]) -> None:
    """What is confused with what, what to measure next, what the errors and the replicates say."""
    rare = [name for name, row in one["predictive"]["statistics"].items() if row["rare"]]
    said = [pair["sentence"] for pair in one["correlations"]]
    said += [one["next_measurement"]["sentence"], one["residuals"]["sentence"]]
    said += [f"the model seldom makes a series with such a {name.replace('_', ' ')}" for name in rare]
    inside = one["predictive"]["coverage"]["90"]
    said += [] if inside is None else [f"{inside:.0%} of the measured values lie in 90 % of the replicated ones"]
    for sentence in said:
        click.echo(f"  - {sentence}")


def print_pooled(found: dict[str, Any]) -> None:
    """The errors of all patients together, where there are several."""
    if found["patients"] > 1 and found["autocorrelation"] is not None:
        click.echo(
            f"\nall {found['patients']} patients: autocorrelation of the errors {found['autocorrelation']:+.2f} "
            f"± {found['standard_error']:.2f} (by chance p = {found['p_value']:.2g}), {found['flagged']} flagged"
        )
