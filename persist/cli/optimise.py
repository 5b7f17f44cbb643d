"""``persist optimise``: the best plan of each fitted patient, what it honestly gains, and whether to keep to the reference."""

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
from persist.cli.options import common_options, days, device_option, output_options, stack

_LIMITS = stack(
    click.option("--max-on", type=float, metavar="FRACTION", help="The most of the horizon on drug, 0 to 1."),
    click.option("--max-days-on", type=float, callback=days, metavar="DAYS", help="The most days on drug."),
    click.option(
        "--weight-drug",
        type=float,
        default=0.0,
        show_default=True,
        metavar="W",
        help="What a day on drug costs, in days without progression.",
    ),
)


@click.command("optimise")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@click.option("--horizon", type=float, required=True, callback=days, metavar="DAYS", help="How far to look.")
@click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient; may be given again.")
@click.option(
    "--family",
    "families",
    multiple=True,
    metavar="NAME",
    help="cycles (on A, off B), holidays (off D, on), adaptive (thresholds) or doses; may be given again [all].",
)
@click.option("--reference", default="on", show_default=True, metavar="PLAN", help="The plan that others must beat.")
@_LIMITS
@click.option(
    "--endpoint",
    metavar="RULE",
    help="limit:BURDEN, reached on drug or off [25 % over the largest burden so far], or a rule of forecast, such as "
    "psa:any-time.",
)
@click.option(
    "--visit-every", type=click.FloatRange(min=0, min_open=True), callback=days, metavar="DAYS", help="Visit spacing."
)
@click.option("--draws", type=click.IntRange(min=4), default=500, show_default=True, help="Posterior draws used.")
@click.option("--replicates", type=click.IntRange(min=1), default=2, show_default=True, help="Futures of each draw.")
@device_option
@output_options
@common_options
def command(
    fit: Path,
    horizon: float,
    patients: tuple[str, ...],
    families: tuple[str, ...],
    reference: str,
    max_on: float | None,
    max_days_on: float | None,
    weight_drug: float,
    endpoint: str | None,
    visit_every: float | None,
    draws: int,
    replicates: int,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look for the best plan of each patient of FIT.nc, by the whole posterior; chosen on one half of the draws and valued
    on the other, and the other way round. Writes JSON.
    """
    claim_output(output, force, [fit])
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.forecast.limits import Limits
    from persist.forecast.optimise import grids, optimise, wanted
    from persist.inference import store
    from persist.report import page

    asked = wanted(
        horizon,
        families=families,
        reference=reference,
        limits=Limits(max_on, max_days_on),
        weight_drug=weight_drug,
        endpoint=endpoint,
        visit_every=visit_every,
        draws=draws,
        replicates=replicates,
        seed=seed,
    )
    posterior = store.load(fit, "fit")

    def tell(patient: str, done: int, total: int) -> None:
        progress(f"patient {patient}: plan {done} of {total}", quiet=quiet)

    found = optimise(posterior, asked, patients, tell)
    problems = store.attribute(posterior, "problems") if "problems" in posterior.attrs else {}
    warnings = {name: said for name, said in problems.items() if name in found["patients"]}
    content: dict[str, Any] = {"command": "optimise", "output": output, "seed": seed} | found
    content["warnings"] = warnings
    content["settings"] = {
        "horizon": horizon,
        "reference": asked.terms.reference.text,
        "families": {name: one for name, one in grids().items() if name in asked.terms.families},
        "limits": {"max_on": max_on, "max_days_on": max_days_on},
        "weight_drug": weight_drug,
        "endpoint": endpoint,
        "visit_every": visit_every,
        "draws": draws,
        "replicates": replicates,
    }
    content["provenance"] = store.provenance(seed, str(store.attribute(posterior, "provenance")["data_sha256"]))
    page.write({output: json_text(content) + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        for name, one in found["patients"].items():
            _print(name, one)
        click.echo(f"\nWritten: {output} (seed {seed}). Not for clinical use.")
    warn_marked(warnings)
    for note in [] if quiet else found["notes"]:
        click.echo(f"persist: note: {note}", err=True)


def _print(name: str, one: dict[str, Any]) -> None:
    """The best of each family, and the verdict."""
    click.echo(f'\npatient {name}: days gained over "{one["reference"]["plan"]}"')
    click.echo(f"until {_until(one['endpoint'])}, at most the horizon")
    click.echo(f"{'family':<10}{'best plan':<26}{'honest':>8}{'error':>8}{'naive':>8}{'regret':>8}{'days on':>9}")
    for family, row in one["families"].items():
        if row["plan"] is None:
            click.echo(f"{family:<10}none may be chosen: {_why(one, family)}")
            continue
        gain = row["gain_days"]
        numbers = (gain["mean"], gain["mcse"], gain["naive"], row["regret_days"])
        cells = "".join(f"{value:>8.1f}" for value in numbers)
        click.echo(f"{family:<10}{row['plan']:<26}{cells}{row['days_on_drug']:>9.0f}")
    click.echo(f"  {one['reason']}.")


def _until(rule: dict[str, Any]) -> str:
    """What ends the days that are counted."""
    if rule["name"] == "limit":
        return f"the burden reaches {rule['rise_absolute']:g}"
    return f"progression by the rule {rule['name']}, {'on drug or off' if rule['any_time'] else 'judged on drug only'}"


def _why(one: dict[str, Any], family: str) -> str:
    """The commonest reason for which the candidates of a family are refused."""
    reasons = [row["refused"] for row in one["candidates"] if row["family"] == family and row["refused"]]
    return max(reasons, key=reasons.count) if reasons else "it has no plan within the horizon"
