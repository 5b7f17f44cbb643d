"""``persist simulate``: trajectories from written rates under a treatment plan."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from persist.cli.common import claim_output, emit_json, keep_compiled, progress, use_device, use_float64
from persist.cli.options import common_options, device_option, output_options
from persist.errors import RatesError

if TYPE_CHECKING:
    from persist.inference.store import DataTree


@click.command("simulate")
@click.option("--rates", type=click.Path(path_type=Path), required=True, metavar="FILE", help="Rates, in TOML.")
@click.option("--plan", required=True, metavar="PLAN", help='The treatment, such as on, or "off 90, on".')
@click.option("--days", type=click.IntRange(1, 100_000), required=True, metavar="N", help="How long, from day 0.")
@click.option(
    "--trajectories", type=click.IntRange(min=1), default=1000, show_default=True, metavar="N", help="How many."
)
@click.option(
    "--engine",
    type=click.Choice(["leap", "ssa", "tau", "mean"]),
    default="leap",
    show_default=True,
    help="leap: right and fast at any size; ssa: exact, few cells; tau: older leap; mean: without chance.",
)
@click.option("--drug", metavar="NAME", help="The drug that is given, where the rates file has several.")
@click.option(
    "--step",
    type=click.FloatRange(0, 1, min_open=True),
    default=None,
    metavar="DAYS",
    help="Longest step of leap and mean.  [default: for leap, from its error; for mean, 0.125]",
)
@click.option(
    "--exact-below",
    type=click.FloatRange(0, 1e7),
    default=0.0,
    show_default=True,
    metavar="N",
    help="leap: populations of up to N cells are followed event by event.",
)
@click.option(
    "--visit-every",
    type=click.FloatRange(1),
    default=28.0,
    show_default=True,
    metavar="DAYS",
    help="Visits at which an adaptive plan looks at the cells.",
)
@click.option(
    "--keep",
    type=click.IntRange(min=1),
    default=1000,
    show_default=True,
    metavar="N",
    help="Trajectories to keep in the file.",
)
@device_option
@output_options
@common_options
def command(
    rates: Path,
    plan: str,
    days: int,
    trajectories: int,
    engine: str,
    drug: str | None,
    step: float | None,
    exact_below: float,
    visit_every: float,
    keep: int,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Simulate cell numbers from the rates in FILE under PLAN, recorded daily."""
    claim_output(output, force, [rates])
    from persist.records.rates import digest, given_drug, read_rates

    given, cells = read_rates(rates, drug)
    drug = given_drug(rates, drug)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.forecast import simulation
    from persist.forecast.order import order
    from persist.inference import store

    options = {"trajectories": trajectories, "engine": engine, "step": step, "keep": keep, "seed": seed}
    options |= {"visit_every": visit_every, "exact_below": exact_below}
    asked = order(plan, days, **options)
    progress("compiling", quiet=quiet)

    def tell(done: int, total: int) -> None:
        progress(f"{done} of {total} trajectories done", quiet=quiet)

    notes = [f"{rates.name}: the drug that is given is {drug}"] if drug is not None else []
    try:
        result = simulation.run(cells, given, asked, sha256=digest(rates), notes=notes, progress=tell)
    except RatesError as error:
        where = ": ".join(filter(None, (rates.name, error.where)))
        raise RatesError(error.what, where=where, remedy=error.remedy) from None
    store.save(result, output)
    if as_json:
        emit_json({"command": "simulate", "output": output, "seed": seed} | _report(result, drug))
    elif not quiet:
        _print(result)
        click.echo(f"\nWritten: {output} (seed {seed})")


def _report(result: DataTree, drug: str | None) -> dict[str, Any]:
    """The JSON: what is known of each state, by day."""
    from persist.inference import store

    summary = result["summary"].to_dataset()
    states = [str(name) for name in summary["state"].values]
    told = {name: result.attrs[name] for name in ("trajectories", "seconds", "engine")}
    told |= {name: result.attrs[name] for name in ("compile_seconds", "wall_seconds", "step_days", "step_error")}
    return told | {
        "plan": store.attribute(result, "settings")["plan"],
        "drug": drug,
        "record_days": summary["day"].values,
        "mean": {name: summary["mean"].sel(state=name).values for name in states},
        "variance": {name: summary["variance"].sel(state=name).values for name in states},
        "extinct": {name: float(summary["extinct"].sel(state=name)) for name in states},
        "all_extinct": float(summary["all_extinct"]),
        "notes": store.attribute(result, "notes"),
    }


def _print(result: DataTree) -> None:
    """A short table: start, middle and end."""
    from persist.inference import store

    summary, about = result["summary"].to_dataset(), result.attrs
    last, states = int(summary["day"][-1]), [str(name) for name in summary["state"].values]
    many = f"{about['trajectories']} trajectories" if about["trajectories"] > 1 else "1 trajectory"
    spent = f"{about['seconds']:.1f} s (compiling {about['compile_seconds']:.1f} s)"
    click.echo(f"Simulated {many} of {last} days by {about['engine']} in {spent}.")
    if about["engine"] == "leap":
        click.echo(
            f"Steps of {about['step_days']:.3g} days: means of over one cell off by an estimated "
            f"{100 * about['step_error']:.1g} %."
        )
    click.echo()
    click.echo(f"{'day':>6}{'dose':>6}" + "".join(f"{name:>24}" for name in (*states, "all")))
    for day in sorted({0, last // 2, last}):
        at = summary.sel(day=day)
        means = [float(at["mean"].sel(state=name)) for name in states]
        spread = [float(at["variance"].sel(state=name)) ** 0.5 for name in states]
        cells = [
            f"{mean:.4g}" + (f" (sd {sd:.2g})" if sd == sd else "") for mean, sd in zip(means, spread, strict=True)
        ]
        click.echo(
            f"{day:>6}{float(at['dose']):>6g}" + "".join(f"{cell:>24}" for cell in (*cells, f"{sum(means):.4g}"))
        )
    if about["engine"] != "mean":
        shares = [f"{name} {100 * float(summary['extinct'].sel(state=name)):.3g} %" for name in states]
        click.echo(
            f"\nNone left at the end: {', '.join(shares)}, of all three {100 * float(summary['all_extinct']):.3g} %"
        )
    for note in store.attribute(result, "notes"):
        click.echo(f"- {note}")
