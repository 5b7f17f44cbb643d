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
from persist.cli.options import common_options, days, device_option, missed_option, stack, start_option
from persist.errors import UsageError


def _all_days(context: click.Context, parameter: click.Parameter, values: tuple[float, ...]) -> tuple[float, ...]:
    for value in values:
        days(context, parameter, value)
        if not value > 0.0:
            raise UsageError(f"{value:g} days after the last value", where="--next", remedy="give a number over 0")
    return values


_LIMITS = stack(
    click.option("--max-on", type=float, metavar="FRACTION", help="The most of the horizon on drug, 0 to 1."),
    click.option(
        "--max-flare", type=float, metavar="P", help="The largest probability of a flare after the first stop, 0 to 1."
    ),
    click.option("--max-days-on", type=float, callback=days, metavar="DAYS", help="The most days on drug."),
    click.option(
        "--weight-drug",
        type=float,
        default=0.0,
        show_default=True,
        metavar="W",
        help="What a day on drug costs, in days without failure.",
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
@click.option(
    "--next",
    "after",
    type=float,
    multiple=True,
    callback=_all_days,
    metavar="DAYS",
    help="Tell what one more value, so many days after the last, is worth to the choice; may be given again.",
)
@click.option("--draws", type=click.IntRange(min=4), default=200, show_default=True, help="Posterior draws used.")
@click.option("--replicates", type=click.IntRange(min=1), default=2, show_default=True, help="Futures of each draw.")
@start_option
@missed_option
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the JSON object here too.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@device_option
@common_options
def command(
    fit: Path,
    horizon: float,
    patients: tuple[str, ...],
    families: tuple[str, ...],
    reference: str,
    max_on: float | None,
    max_flare: float | None,
    max_days_on: float | None,
    weight_drug: float,
    endpoint: str | None,
    visit_every: float | None,
    after: tuple[float, ...],
    draws: int,
    replicates: int,
    device: str,
    start: float | None,
    missed_visits: float,
    output: Path | None,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Look for the best plan of each patient of FIT.nc, by the whole posterior; chosen on one half of the draws and valued
    on the other, and the other way round. Writes JSON.
    """
    if output is not None:
        claim_output(output, force, [fit])
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.forecast.further import ahead_of
    from persist.forecast.limits import Limits
    from persist.forecast.optimise import grids, optimise, wanted
    from persist.inference import store
    from persist.report import page

    asked = wanted(
        horizon,
        families=families,
        reference=reference,
        limits=Limits(max_on, max_days_on, max_flare),
        weight_drug=weight_drug,
        endpoint=endpoint,
        visit_every=visit_every,
        start=start,
        missed_visits=missed_visits,
        draws=draws,
        replicates=replicates,
        seed=seed,
    )
    posterior = store.load(fit, "fit")

    def tell(patient: str, done: int, total: int) -> None:
        progress(f"patient {patient}: plan {done} of {total}", quiet=quiet)

    found = optimise(posterior, asked, patients, tell)
    for name, rows in ahead_of(posterior, asked, list(found["patients"]), after, tell).items():
        found["patients"][name]["next"] = rows
    problems = store.attribute(posterior, "problems") if "problems" in posterior.attrs else {}
    warnings = {name: said for name, said in problems.items() if name in found["patients"]}
    content: dict[str, Any] = {"command": "optimise", "output": output, "seed": seed} | found
    content["warnings"] = warnings
    content["settings"] = {
        "horizon": horizon,
        "reference": asked.terms.reference.text,
        "families": {name: one for name, one in grids().items() if name in asked.terms.families},
        "limits": {"max_on": max_on, "max_days_on": max_days_on, "max_flare": max_flare},
        "weight_drug": weight_drug,
        "endpoint": endpoint,
        "visit_every": visit_every,
        "from": start,
        "missed_visits": missed_visits,
        "next": after,
        "draws": draws,
        "replicates": replicates,
    }
    content["provenance"] = store.provenance(seed, str(store.attribute(posterior, "provenance")["data_sha256"]))
    if output is not None:
        page.write({output: json_text(content) + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        for name, one in found["patients"].items():
            _print(name, one)
        click.echo(f"\n{f'Written: {output}. ' if output else ''}Seed {seed}. Not for clinical use.")
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
    if "next" in one:
        _print_next(one["next"])


def _print_next(rows: list[dict[str, Any]]) -> None:
    """A line a day: what a value of each kind is worth then."""
    click.echo("  what one more value is worth to the choice of a plan on that day, in days of gain (error):")
    click.echo(f"{'  day':<10}{'burden':>16}{'resistant share':>18}{'persister share':>18}{'at most':>10}")
    for row in rows:
        cells = "".join(
            f"{_worth(row[kind]):>{wide}}" for kind, wide in (("burden", 16), ("resistant", 18), ("persister", 18))
        )
        most = "-" if row["perfect_at_most"] is None else f"{row['perfect_at_most']:.1f}"
        click.echo(f"  {row['day']:<8g}{cells}{most:>10}")
    if any(one and one["rough"] for row in rows for one in row.values() if isinstance(one, dict)):
        click.echo("  ~ few draws bear on such a value: take more --draws")


def _worth(one: dict[str, Any] | None) -> str:
    return "-" if one is None else f"{'~' if one['rough'] else ''}{one['mean']:.1f} ({one['mcse']:.1f})"


def _until(rule: dict[str, Any]) -> str:
    """What ends the days that are counted."""
    if rule["name"] == "limit":
        return f"the burden reaches {rule['rise_absolute']:g}"
    return f"progression by the rule {rule['name']}, {'on drug or off' if rule['any_time'] else 'judged on drug only'}"


def _why(one: dict[str, Any], family: str) -> str:
    """The commonest reason for which the candidates of a family are refused."""
    reasons = [row["refused"] for row in one["candidates"] if row["family"] == family and row["refused"]]
    return max(reasons, key=reasons.count) if reasons else "it has no plan within the horizon"
