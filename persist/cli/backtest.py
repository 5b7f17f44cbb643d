"""``persist backtest``: forecasts at landmarks of patients that were not seen, scored beside plain baselines."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any, Literal

import click

from persist.cli.common import (
    claim_folder,
    claim_output,
    common_options,
    device_option,
    emit_json,
    keep_compiled,
    output_options,
    plain,
    read_table,
    table_options,
    use_device,
    use_float64,
)
from persist.cli.stages import Stages
from persist.errors import DataError


@click.command("backtest")
@table_options
@click.option(
    "--landmark",
    default="cycles",
    show_default=True,
    help="cycles (each period on drug from the second on) or after:N.",
)
@click.option("--model", default="spr", show_default=True, help="Model variant.")
@click.option("--pack", default="clinical", show_default=True, help="Priors: clinical or in-vitro.")
@click.option("--prior", "ranges", multiple=True, metavar="ENTRY=LOW..HIGH", help="As of fit.")
@click.option("--drug", metavar="NAME", help="The drug to fit, where the treatments name several.")
@click.option(
    "--pool/--no-pool", default=True, show_default=True, help="Learn a population from the patients of other folds."
)
@click.option(
    "--chains", type=click.IntRange(min=2, max=16), default=2, show_default=True, help="Chains of a landmark's fit."
)
@click.option("--warmup", type=click.IntRange(min=50), default=640, show_default=True, help="Warm-up points a chain.")
@click.option("--draws", type=click.IntRange(min=50), default=320, show_default=True, help="Kept draws a chain.")
@device_option
@output_options
@common_options
def command(
    burden: Path,
    treatments: Path | None,
    patients: tuple[str, ...],
    observable: str | None,
    floor: Literal["auto", "none"] | tuple[float, ...],
    full_dose: dict[str, float],
    landmark: str,
    model: str,
    pack: str,
    ranges: tuple[str, ...],
    drug: str | None,
    pool: bool,
    chains: int,
    warmup: int,
    draws: int,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Forecast what was measured after each landmark of the patients in BURDEN from what was known there, and score it.

    A run that was stopped goes on from what is kept in OUTPUT.partial/.
    """
    claim_output(output, force, [burden, treatments])
    partial = output.with_name(output.name + ".partial")
    claim_folder(partial)
    table = read_table(burden, treatments, patients, observable, floor, full_dose)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference import store
    from persist.inference.fit import Settings
    from persist.inference.priors import known
    from persist.report import page
    from persist.validation import backtest
    from persist.validation.backtest_table import as_json as told

    plan = backtest.Plan(
        Settings(model, known(pack, ranges), drug, chains, warmup, draws, seed, doublings=1), landmark, pool
    )
    where = backtest.places(table, plan)
    with Stages(quiet) as bar:
        law = backtest.populations(table, plan, partial, bar.cohort)
        tested, unfit = backtest.judge_model(where, plan, law, partial, bar.landmarks)
    if not tested:
        raise DataError("no landmark can be fitted", where="landmarks", remedy=next(iter(unfit.values())))
    where = [one.place for one in tested]
    content: dict[str, Any] = {
        "command": "backtest",
        "output": output,
        "seed": seed,
        "patients": len({place.name for place in where}),
        "landmarks": len(where),
        "settings": plan._asdict() | {"settings": plan.settings._asdict()},
        "provenance": store.provenance(seed, table.sha256),
        "notes": table.notes,
        "unfit": unfit,
    } | told(tested, backtest.judge_rules(where, seed), seed)
    page.write({output: json.dumps(plain(content), allow_nan=False, ensure_ascii=False) + "\n"})
    shutil.rmtree(partial, ignore_errors=True)
    if as_json:
        emit_json(content)
    elif not quiet:
        _print(content)
        click.echo(f"\nWritten: {output} (seed {seed})")
    return 0


def _print(content: dict[str, Any]) -> None:
    """The model and the baselines, a line each."""
    spans = list(content["model"]["crps"])
    click.echo(
        f"{content['landmarks']} landmarks of {content['patients']} patients; CRPS of the log burden by days ahead"
    )
    click.echo(f"{'':<18}{spans[0]:>9}{spans[1]:>9}{'log score':>11}{'90 % holds':>12}")
    for name, one in {"model": content["model"], **content["baselines"]}.items():
        numbers = [one["crps"][span] for span in spans]
        shown = "".join(f"{'-' if value is None else format(value, '.3f'):>9}" for value in numbers)
        click.echo(f"{name:<18}{shown}{one['log_score']:>11.2f}{one['coverage']['90']:>12.0%}")
    told = content["model"]["event"]
    if told["brier_skill"] is not None and told["auc"] is not None:
        click.echo(
            f"the next period fails ({told['failed']} of {told['periods']}): Brier skill {told['brier_skill']:.2f} "
            f"({told['brier_skill_interval'][0]:.2f} to {told['brier_skill_interval'][1]:.2f}), AUC {told['auc']:.2f} "
            f"({told['auc_interval'][0]:.2f} to {told['auc_interval'][1]:.2f})"
        )
