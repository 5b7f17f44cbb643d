"""``persist forecast``: futures of fitted patients under treatment plans, and what each plan would gain."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import claim_output, emit_json, keep_compiled, progress, use_device, use_float64, warn_marked
from persist.cli.options import common_options, days, device_option, missed_option, output_options, start_option


@click.command("forecast")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@click.option(
    "--plan",
    "plans",
    multiple=True,
    metavar="PLAN",
    help='Such as on, "holiday=off 90, on" or "A: on; B: off 90, on" (may be repeated).',
)
@click.option(
    "--plans",
    "table",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="Table of more plans, after those of --plan: plan, start_days, stop_days, dose.",
)
@click.option("--horizon", type=float, required=True, callback=days, metavar="DAYS", help="How far to look.")
@start_option
@click.option(
    "--endpoint",
    "endpoints",
    multiple=True,
    metavar="RULE",
    help="psa, recist or relative; NAME:any-time judges off drug too. May be repeated: the first decides.",
)
@click.option(
    "--visit-every",
    type=click.FloatRange(min=0, min_open=True),
    callback=days,
    metavar="DAYS",
    help="Spacing of visits.",
)
@missed_option
@click.option(
    "--burden-limit",
    type=float,
    default=1.5,
    show_default=True,
    metavar="FACTOR",
    help="Limit of the burden after progression, over what it was then.",
)
@click.option(
    "--partner",
    metavar="EFFECT",
    help='What a second drug of the plans does: "B: kill_s=0.02..0.06, kill_p=..., kill_r=..." (1/day, 90 % ranges).',
)
@click.option(
    "--response-days",
    type=click.FloatRange(min=1),
    callback=days,
    default=168.0,
    show_default=True,
    metavar="DAYS",
    help="A response to the drug given again counts within so many days.",
)
@click.option("--draws", type=click.IntRange(min=2), default=500, show_default=True, help="Posterior draws used.")
@click.option("--replicates", type=click.IntRange(min=1), default=2, show_default=True, help="Futures of each draw.")
@device_option
@output_options
@common_options
def command(
    fit: Path,
    plans: tuple[str, ...],
    table: Path | None,
    horizon: float,
    start: float | None,
    endpoints: tuple[str, ...],
    visit_every: float | None,
    missed_visits: float,
    burden_limit: float,
    partner: str | None,
    response_days: float,
    draws: int,
    replicates: int,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Forecast the patients of FIT.nc under each plan; the first plan is the reference of the others."""
    claim_output(output, force, [fit, table])
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.forecast.outcome import ask, forecast
    from persist.forecast.partner import parse_effect
    from persist.inference import store

    question = ask(
        plans,
        horizon,
        table,
        start=start,
        endpoint=endpoints[0] if endpoints else None,
        beside=endpoints[1:],
        visit_every=visit_every,
        missed_visits=missed_visits,
        burden_limit=burden_limit,
        response_days=response_days,
        partner=None if partner is None else parse_effect(partner),
        draws=draws,
        replicates=replicates,
        seed=seed,
    )
    posterior = store.load(fit, "fit")

    def tell(patient: str, done: int, total: int) -> None:
        number = len(question.plans)
        progress(f"patient {patient}: plan {done % number + 1} of {number} ({done} of {total} done)", quiet=quiet)

    result = forecast(posterior, question, tell)
    store.save(result, output)
    summary, warnings = store.attribute(result, "summary"), store.attribute(result, "warnings")
    if as_json:
        content = {"command": "forecast", "output": output, "seed": seed, "patients": summary, "warnings": warnings}
        content["notes"] = store.attribute(result, "notes")
        emit_json(content | {"settings": store.attribute(result, "settings")})
    elif not quiet:
        _print(summary, store.attribute(result, "settings"))
        click.echo(f"\nWritten: {output} (seed {seed}). Not for clinical use.")
    warn_marked(warnings)
    for note in [] if quiet else store.attribute(result, "notes"):
        click.echo(f"persist: note: {note}", err=True)


def _print(summary: dict[str, Any], settings: dict[str, Any]) -> None:
    from persist.forecast import beyond, rechallenge

    horizon = settings["horizon"]
    for name, one in summary.items():
        click.echo(f"\npatient {name}")
        click.echo(
            f"{'plan':<24}{'progressed':>12}{'time 5 %':>10}{'50 %':>8}{'95 %':>8}{'days on':>9}{'flare':>8}{'response':>10}"
        )
        for plan, row in one["plans"].items():
            times = (row["time_to_progression"][level] for level in ("q05", "q50", "q95"))
            cells = [f">{horizon:g}" if time is None else f"{time:.0f}" for time in times]
            rest = f"{row['days_on_drug']:>9.0f}{_probable(row['flare']):>8}{_probable(row['rechallenge']):>10}"
            if not row["judged"]:
                click.echo(f"{plan:<24}{'not judged: too few visits on drug':>38}{rest}")
                continue
            share = f"{100 * row['progressed_by_horizon']:.0f} %"
            click.echo(f"{plan:<24}{share:>12}{cells[0]:>10}{cells[1]:>8}{cells[2]:>8}{rest}")
        if any(row["flare"] for row in one["plans"].values()):
            click.echo(
                "  flare: true burden up by 20 % within 21 days of the first stop, of the futures that stop in time"
            )
        if any(row["rechallenge"] for row in one["plans"].values()):
            click.echo(f"  response: {rechallenge.rule_in_words(settings['response'])}")
        for sentence in (*one["sentences"].values(), *rechallenge.sentences(one["plans"])):
            click.echo(f"  {sentence}")
        _print_rules(one)
        for sentence in beyond.sentences(one["after"], settings):
            click.echo(f"  {sentence}")


def _print_rules(one: dict[str, Any]) -> None:
    """Verdicts by each rule of progression, where there are several."""
    for rule, told in one["endpoints"].items():
        for plan, row in told["benefit"].items():
            gained = (
                f"{row['gain_days']['mean']:+.0f} days, P(gain) {row['probability']:.2f}, P(loss) {row['loss']:.2f}"
            )
            click.echo(f'  by {rule}: "{plan}" {gained}: {row["verdict"]}')
    for sentence in one["disagreements"].values():
        click.echo(f"  {sentence}")


def _probable(found: dict[str, Any] | None) -> str:
    """The probability of a flare or a response as per cent; "-" where there is no stop or restart, or not in time to follow."""
    return "-" if found is None or found["probability"] is None else f"{100 * found['probability']:.0f} %"
