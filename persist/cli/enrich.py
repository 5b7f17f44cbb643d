"""``persist enrich``: what selecting patients by a biomarker would gain, by the population of a pooled fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import claim_output, emit_json, json_text, keep_compiled, use_device, use_float64
from persist.cli.options import common_options, days, device_option, output_options
from persist.errors import UsageError

USUAL = {"sld": 30.0, "diameter": 30.0}
"""Falls that count as a response by the rules of the clinic (RECIST), in per cent; of other observables 50 (PSA50)."""


def _response(context: click.Context, parameter: click.Parameter, value: str | None) -> float | None:
    """A fall in per cent, written 50, 50% or -50%."""
    if value is None:
        return None
    try:
        fall = abs(float(value.strip().removesuffix("%")))
    except ValueError:
        fall = 0.0
    if not 0.0 < fall < 100.0:
        remedy = "write how far the burden must fall, such as 50% or 30%"
        raise UsageError(f"{value!r} is no fall of a burden", where="--response", remedy=remedy)
    return fall


@click.command("enrich")
@click.argument("population", type=click.Path(path_type=Path), metavar="POP.nc")
@click.option("--biomarker", required=True, metavar="NAME", help="The biomarker that patients would be selected by.")
@click.option(
    "--response",
    callback=_response,
    metavar="FALL",
    help="How far the burden must fall from day 0 at its best, such as 50%.  [default: 30% of sld and diameter, else 50%]",
)
@click.option(
    "--days",
    "within",
    type=click.FloatRange(min=1),
    default=365.0,
    show_default=True,
    callback=days,
    metavar="DAYS",
    help="Within how many days.",
)
@click.option(
    "--harm",
    type=click.FloatRange(min=0),
    default=0.25,
    show_default=True,
    help="Harm of a treatment without response, in responses: 0.25 treats five for one response.",
)
@click.option(
    "--cost", type=click.FloatRange(min=0), default=0.0, show_default=True, help="Cost of a test, in responses."
)
@click.option("--draws", type=click.IntRange(min=10), default=100, show_default=True, help="Draws of the population.")
@click.option("--patients", type=click.IntRange(min=50), default=200, show_default=True, help="Patients of each draw.")
@device_option
@output_options
@common_options
def command(
    population: Path,
    biomarker: str,
    response: float | None,
    within: float,
    harm: float,
    cost: float,
    draws: int,
    patients: int,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw patients from the population in POP.nc, treat all with the full dose, and tell by cut-offs of a biomarker who
    responds, how many must be treated and tested for a response, and what the test is worth.
    """
    claim_output(output, force, [population])
    use_device(device)
    use_float64()
    keep_compiled()
    from persist import keys
    from persist.forecast.enrich import Price, enriched
    from persist.forecast.recruits import recruits
    from persist.inference import store
    from persist.report import page
    from persist.validation.populations import examine

    fit = store.load(population, "fit")
    fall = response if response is not None else USUAL.get(str(fit.attrs["observable"]), 50.0)
    found = recruits(fit, biomarker, within, draws, patients, keys.seed_of(seed, "enrich", biomarker))
    told = enriched(found.biomarker, found.burden <= 1.0 - fall / 100.0, Price(harm, cost))
    content: dict[str, Any] = {
        "command": "enrich",
        "output": output,
        "seed": seed,
        "biomarker": biomarker,
        "response": {"fall": fall / 100.0, "days": within},
        "price": {"harm": harm, "cost": cost},
        "laws": len(found.biomarker),
        "patients": found.biomarker.size,
        "provenance": store.provenance(seed, str(store.attribute(fit, "provenance")["data_sha256"])),
    }
    content |= told
    page.write({output: json_text(content) + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        _print(content)
        click.echo(f"\nWritten: {output} (seed {seed}). Not for clinical use.")
    leaned = examine(fit) or {"problems": ()}
    for problem in leaned["problems"]:
        click.echo(f"persist: warning: {problem}", err=True)


def _print(content: dict[str, Any]) -> None:
    """A line a cut-off."""
    rate, asked, price = content["rate"], content["response"], content["price"]
    click.echo(
        f"response: the burden falls by {asked['fall']:.0%} or more within {asked['days']:g} days on the full dose; of all "
        f"{rate['mean']:.0%} ({rate['q05']:.0%} to {rate['q95']:.0%})"
    )
    click.echo(
        f"selected: {content['biomarker']} {'at or over' if content['direction'] == 'high' else 'at or under'} the cut-off; "
        f"a treatment without response weighs {price['harm']:g} responses, a test {price['cost']:g}"
    )
    heads = ("selected", "respond", "(90 %)", "others", "treat", "test", "over all", "over none", "value")
    click.echo(f"\n{'cut-off':>10}" + "".join(f"{head:>12}" for head in heads))
    for row in content["rows"]:
        one, others = row["rate"], row["rate_of_others"]["mean"]
        cells = [
            f"{row['selected']['mean']:.0%}",
            _share(one["mean"]),
            f"{_share(one['q05'])}-{_share(one['q95'])}",
            _share(others),
        ]
        cells += [_number(row[name]["mean"]) for name in ("treated_for_one", "tested_for_one")]
        cells += [f"{row[name]['mean']:+.3f}" for name in ("over_treating_all", "over_treating_none")]
        click.echo(f"{row['cut']:>10.4g}" + "".join(f"{cell:>12}" for cell in (*cells, f"{row['value']:+.3f}")))


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.0%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.1f}"
