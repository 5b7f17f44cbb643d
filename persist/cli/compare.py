"""``persist compare``: mechanisms side by side, and what plans would gain under a mixture of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import (
    claim_output,
    emit_json,
    json_text,
    keep_compiled,
    progress,
    use_device,
    use_float64,
    warn_marked,
)
from persist.cli.options import common_options, days, device_option
from persist.errors import UsageError


@click.command("compare")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FIT.nc FIT.nc ...")
@click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient; may be given again.")
@click.option(
    "--draws", type=click.IntRange(min=25), default=1000, show_default=True, help="Posterior draws used of each fit."
)
@click.option(
    "--first",
    type=click.IntRange(min=1),
    metavar="VALUES",
    help="Values that the first cut of leave-future-out knows [a third of the series, at least 8].",
)
@click.option(
    "--ahead", type=click.IntRange(min=1), default=1, show_default=True, help="Values foretold together at each cut."
)
@click.option("--refit", is_flag=True, help="Fit anew at cuts where the importance weights fail (slow).")
@click.option(
    "--plan", "plans", multiple=True, metavar="PLAN", help="Forecast it by the stack; the first is the reference."
)
@click.option("--horizon", type=float, callback=days, metavar="DAYS", help="How far to look, with --plan.")
@click.option(
    "--from", "start", type=float, callback=days, metavar="DAY", help="Day on which the plans start [the last visit]."
)
@click.option("--endpoint", metavar="RULE", help="psa, recist or relative; NAME:any-time judges off drug too.")
@click.option(
    "--visit-every", type=click.FloatRange(min=0, min_open=True), callback=days, metavar="DAYS", help="Between visits."
)
@click.option("--replicates", type=click.IntRange(min=1), default=2, show_default=True, help="Futures of each draw.")
@click.option(
    "--weights", type=click.Choice(["loo", "lfo"]), default="loo", show_default=True, help="What the stack weighs by."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the JSON object here too.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@device_option
@common_options
def command(
    files: tuple[Path, ...],
    patients: tuple[str, ...],
    draws: int,
    first: int | None,
    ahead: int,
    refit: bool,
    plans: tuple[str, ...],
    horizon: float | None,
    start: float | None,
    endpoint: str | None,
    visit_every: float | None,
    replicates: int,
    weights: str,
    output: Path | None,
    force: bool,
    device: str,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Compare fits of several models to the same data by what they foretell, and stack them.

    With --plan and --horizon, also forecast each plan by every model and by their mixture.
    """
    _check_plans(plans, horizon, {"--from": start, "--endpoint": endpoint, "--visit-every": visit_every})
    if output is not None:
        claim_output(output, force, files)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.forecast.outcome import ask
    from persist.inference import store
    from persist.validation.compare import compare
    from persist.validation.same import names

    fits = [store.load(path, "fit") for path in files]
    named = dict(zip(names(files, fits), fits, strict=True))
    question = None
    if plans and horizon is not None:
        seen: dict[str, Any] = {"start": start, "endpoint": endpoint, "visit_every": visit_every}
        question = ask(plans, horizon, draws=draws, replicates=replicates, seed=seed, **seen)
    report = compare(
        named,
        patients=patients,
        question=question,
        progress=lambda line: progress(line, quiet=quiet),
        draws=draws,
        first=first,
        ahead=ahead,
        refit=refit,
        weights=weights,
    )
    about = {"command": "compare", "fits": dict(zip(named, files, strict=True)), "output": output, "seed": seed}
    content = about | report
    if output is not None:
        from persist.report.page import write

        text = json_text(content, 1)
        write({output: text + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        print_report(report)
        click.echo(f"\n{f'Written: {output}. ' if output else ''}Not for clinical use.")
    for name, problems in report["warnings"].items():
        warn_marked({f"{patient} under {name}": found for patient, found in problems.items()})
    for note in [] if quiet else _notes(report):
        click.echo(f"persist: note: {note}", err=True)


def _check_plans(plans: tuple[str, ...], horizon: float | None, more: dict[str, Any]) -> None:
    """`UsageError` for a plan without a horizon, or options of a forecast without a plan."""
    if plans and horizon is None:
        raise UsageError("plans need a horizon", where="--plan", remedy="give --horizon DAYS")
    given = [name for name, value in ({"--horizon": horizon} | more).items() if value is not None]
    if given and not plans:
        raise UsageError("there is no plan to forecast", where=given[0], remedy="give --plan PLAN as well")


def _notes(report: dict[str, Any]) -> list[str]:
    """Notes on the comparison, and those on the forecasts, each once."""
    told = (note for notes in (report["stack"] or {"notes": {}})["notes"].values() for note in notes)
    return list(dict.fromkeys([*report["notes"], *told]))


def print_report(report: dict[str, Any]) -> None:
    """A table of the models for each patient, what it means beneath, and verdicts of the stack."""
    stacks = report["stack"]["patients"] if report["stack"] else {}
    for name, one in report["patients"].items():
        click.echo(f"\npatient {name}, {one['values']} values")
        _print_models(one)
        if name in stacks:
            _print_stack(stacks[name], report["stack"])
    if report["together"]:
        click.echo("\nall patients together")
        _print_models(report["together"])


def _print_models(one: dict[str, Any]) -> None:
    click.echo(f"{'model':<14}{'elpd LOO':>10}{'± se':>7}{'difference':>16}{'weight':>8}{'k-hat':>7}", nl=False)
    click.echo(f"{'elpd LFO':>10}{'difference':>16}{'weight':>8}")
    ranked = sorted(one["models"].items(), key=lambda pair: -pair[1]["elpd_loo"])
    for name, row in ranked:
        click.echo(f"{name:<14}{row['elpd_loo']:>10.1f}{_number(row['se']):>7}", nl=False)
        click.echo(f"{_difference(one, 'loo', name):>16}{row['weight_loo']:>8.2f}", nl=False)
        click.echo(f"{_number(row.get('khat_max'), 2):>7}", nl=False)
        click.echo(f"{_number(row.get('elpd_lfo')):>10}{_difference(one, 'lfo', name):>16}", nl=False)
        click.echo(f"{_number(row.get('weight_lfo'), 2):>8}")
    for sentence in one["sentences"]:
        click.echo(f"  {sentence}")


def _difference(one: dict[str, Any], kind: str, name: str) -> str:
    """Difference to the best and its error; "best" for the best itself."""
    row = (one["differences"][kind] or {}).get(name)
    if row is None or row["best"]:
        return "-" if row is None else "best"
    return f"{row['elpd']:.1f} ± {_number(row['se'])}{' tie' if row['tie'] else ''}"


def _number(value: float | None, digits: int = 1) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _print_stack(one: dict[str, Any], about: dict[str, Any]) -> None:
    """Verdicts of the mixture and of each model."""
    share = ", ".join(f"{name} {weight:.2f}" for name, weight in one["weights"].items())
    click.echo(f"  stack by {about['weights_from']}: {share}")
    for plan, row in one["benefit"].items():
        told = {"stack": row, **{name: own["benefit"][plan] for name, own in one["models"].items()}}
        click.echo(f'  "{plan}" against "{about["reference"]}":')
        for name, found in told.items():
            days_gained = f"{found['gain_days']['mean']:+.0f} days"
            chance = f"P(gain) {found['probability']:.2f}, P(loss) {found['loss']:.2f}"
            click.echo(f"    {name:<14}{days_gained:>12}  {chance}  {found['verdict']}")
        click.echo(f"  {one['sentences'][plan]}")
