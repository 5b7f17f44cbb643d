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
    emit_json,
    keep_compiled,
    plain,
    read_table,
    use_device,
    use_float64,
)
from persist.cli.options import (
    common_options,
    device_option,
    effort_options,
    model_options,
    output_options,
    scheduler_option,
    table_options,
)
from persist.cli.stages import Stages
from persist.errors import DataError, UsageError


@click.command("backtest")
@table_options
@click.option(
    "--landmark",
    default="cycles",
    show_default=True,
    help="cycles (each period on drug from the second on) or after:N.",
)
@model_options
@click.option(
    "--pool/--no-pool",
    default=None,
    help="Learn a population from the patients of other folds.  [default: pool; no-pool with --population]",
)
@effort_options(chains=2, warmup=640, draws=320)
@scheduler_option
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
    population: Path | None,
    pool: bool | None,
    chains: int,
    warmup: int,
    draws: int,
    scheduler: str | None,
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
    if pool and population is not None:
        remedy = "leave one of them out: --pool learns a population, --population uses one"
        raise UsageError("--pool and --population cannot go together", remedy=remedy)
    claim_output(output, force, [burden, treatments, population])
    partial = output.with_name(output.name + ".partial")
    claim_folder(partial)
    table = read_table(burden, treatments, patients, observable, floor, full_dose)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference import leaning, store
    from persist.inference.posterior import patients as patients_of
    from persist.inference.priors import known
    from persist.inference.settings import Settings
    from persist.report import page
    from persist.validation import backtest
    from persist.validation.backtest_table import as_json as told

    settings = Settings(model, known(pack, ranges), drug, chains, warmup, draws, seed, doublings=1)
    plan = backtest.Plan(settings, landmark, population is None and pool is not False)
    others = None if population is None else store.load(population, "fit")
    given = None if others is None else leaning.mixture(leaning.for_others(others, table, settings))
    where = backtest.places(table, plan)
    with Stages(quiet) as bar:
        law = backtest.populations(table, plan, partial, bar.cohort) if given is None else backtest.of_all(given)
        tested, unfit = backtest.judge_model(where, plan, law, partial, bar.landmarks, scheduler)
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
        "population": None if others is None else {"file": population, "patients": patients_of(others)},
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
