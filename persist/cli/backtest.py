"""``persist backtest``: forecasts at landmarks of patients that were not seen, scored beside plain baselines."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any, Literal

import click

from persist.cli.common import (
    claim_folder,
    claim_output,
    emit_json,
    json_text,
    keep_compiled,
    read_json,
    read_table,
    use_device,
    use_float64,
)
from persist.cli.options import (
    beside_option,
    chunk_option,
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
@beside_option
@effort_options(chains=2, warmup=640, draws=320)
@chunk_option
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
    exposure: Path | None,
    landmark: str,
    model: str,
    pack: str,
    ranges: tuple[str, ...],
    drug: str | None,
    exact_stops: bool,
    population: Path | None,
    pool: bool | None,
    beside: dict[str, Path],
    chains: int,
    warmup: int,
    draws: int,
    chunk: tuple[int, int],
    scheduler: str | None,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Forecast what was measured after each landmark of the patients in BURDEN from what was known there, and score it.

    A variant of the model is a back-test of its own, put into this table by --beside: without pooling (--no-pool), without
    persisters (--model sr), without process noise (--prior wander_sd=1e-6..1e-5), or two populations without chance
    (all three).

    A run that was stopped goes on from what is kept in OUTPUT.partial/.
    """
    if pool and population is not None:
        remedy = "leave one of them out: --pool learns a population, --population uses one"
        raise UsageError("--pool and --population cannot go together", remedy=remedy)
    if beside and chunk != (1, 1):
        remedy = "give it to persist merge, which puts the shares together"
        raise UsageError("a share has no table that others can stand in", where="--beside", remedy=remedy)
    claim_output(output, force, [burden, treatments, exposure, population, *beside.values()])
    partial = output.with_name(output.name + ".partial")
    claim_folder(partial)
    others = others_of(beside)
    table = read_table(burden, treatments, patients, observable, floor, full_dose, exposure=exposure)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference import leaning, store
    from persist.inference.posterior import patients as patients_of
    from persist.inference.priors import known
    from persist.inference.settings import Settings
    from persist.validation import backtest
    from persist.validation import beside as side
    from persist.validation.backtest_shares import share
    from persist.validation.backtest_table import as_json as told
    from persist.validation.backtest_table import values
    from persist.validation.baselines import RULES

    settings = Settings(
        model, known(pack, ranges), drug, chains, warmup, draws, seed, doublings=1, exact_stops=exact_stops
    )
    plan = backtest.Plan(settings, landmark, population is None and pool is not False)
    earlier = None if population is None else store.load(population, "fit")
    leaned = None if earlier is None else leaning.for_others(earlier, table, settings)
    given = None if leaned is None else leaning.mixture(leaned)
    every = backtest.places(table, plan)
    side.check(others, RULES, table.sha256)
    for other in others.values():
        side.matched(other, values(every))
    numbers = list(range(len(every)))[chunk[0] - 1 :: chunk[1]]
    if not numbers:
        what = f"{len(every)} landmarks have no {chunk[1]} shares"
        raise UsageError(what, where="--chunk", remedy="give fewer shares")
    with Stages(quiet) as bar:
        law = backtest.populations(table, plan, partial, bar.cohort) if given is None else backtest.of_all(given)
        mine = [every[number] for number in numbers]
        again = backtest.replays(every)
        replays = [again[number] for number in numbers]
        tested, unfit = backtest.judge_model(mine, plan, law, partial, bar.landmarks, scheduler, replays)
    if not tested:
        raise DataError("no landmark can be fitted", where="landmarks", remedy=next(iter(unfit.values())))
    numbers = [number for number in numbers if backtest.label(every[number]) not in unfit]
    rules = backtest.judge_rules(every, seed)
    rules = {name: [scores[number] for number in numbers] for name, scores in rules.items()}
    about: dict[str, Any] = {
        "command": "backtest",
        "output": output,
        "seed": seed,
        "patients": len({one.place.name for one in tested}),
        "landmarks": len(tested),
        "settings": plan._asdict() | {"settings": plan.settings._asdict()},
        "provenance": store.provenance(seed, table.sha256),
        "notes": (*table.notes, *(() if leaned is None else leaning.assumed(leaned, None))),
        "unfit": unfit,
        "population": None if earlier is None else {"file": population, "patients": patients_of(earlier)},
    }
    if chunk == (1, 1):
        content = with_others(about | {"missing": 0} | told(tested, rules, seed), others)
    else:
        content = about | {"of": chunk[1], "all": len(every), "share": share(numbers, tested, rules)}
    save(content, output)
    shutil.rmtree(partial, ignore_errors=True)
    tell(content, output, as_json=as_json, quiet=quiet)
    return 0


def others_of(files: dict[str, Path]) -> dict[str, Any]:
    """Back-tests that are to stand beside one, by name (`validation.beside.Other`)."""
    from persist.validation.beside import Other

    remedy = "give files that persist backtest wrote"
    return {name: Other(str(path), read_json(path, remedy)) for name, path in files.items()}


def with_others(content: dict[str, Any], others: dict[str, Any]) -> dict[str, Any]:
    """A finished back-test, and others in its table where there are any."""
    from persist.validation.beside import beside

    return beside(content, others) if others else content


def save(content: dict[str, Any], output: Path) -> None:
    """Write a back-test or a share of one, whole or not at all."""
    from persist.report import page

    page.write({output: json_text(content) + "\n"})


def tell(content: dict[str, Any], output: Path, *, as_json: bool, quiet: bool) -> None:
    """Say on standard output what was found."""
    if as_json:
        emit_json(content)
        return
    for label, why in content["unfit"].items():
        click.echo(f"persist: warning: landmark {label} could not be fitted: {why}", err=True)
    if quiet:
        return
    if "share" in content:
        click.echo(f"{content['landmarks']} of {content['all']} landmarks; put the shares together by persist merge")
    else:
        if content["missing"]:
            click.echo(f"{content['missing']} landmarks are in no file")
        _print(content)
    click.echo(f"\nWritten: {output} (seed {content['seed']})")


def _print(content: dict[str, Any]) -> None:
    """The model, the baselines and the pool of model and replay, a line each."""
    from persist.validation.backtest_table import BOTH

    spans = list(content["model"]["crps"])
    click.echo(
        f"{content['landmarks']} landmarks of {content['patients']} patients; CRPS of the log burden by days ahead"
    )
    wide = max(18, *(len(name) + 1 for name in content["baselines"]))
    head = f"{spans[0]:>9}{spans[1]:>9}{'log score':>11}{'90 % holds':>12}{'model less it (90 %)':>26}"
    click.echo(f"{'':<{wide}}{head}")
    pooled = content.get("with_repeat")
    both = {} if pooled is None else {BOTH: pooled}
    for name, one in {"model": content["model"], **content["baselines"], **both}.items():
        numbers = [one["crps"][span] for span in spans]
        shown = "".join(f"{'-' if value is None else format(value, '.3f'):>9}" for value in numbers)
        gap = content["difference"].get(name)
        less = "" if gap is None else f"{gap['mean']:+.3f} ({gap['q05']:+.3f} to {gap['q95']:+.3f})"
        click.echo(f"{name:<{wide}}{shown}{one['log_score']:>11.2f}{one['coverage']['90']:>12.0%}{less:>26}".rstrip())
    if pooled is not None:
        gap = pooled["difference"]
        click.echo(f"{BOTH}, less repeat: {gap['mean']:+.3f} ({gap['q05']:+.3f} to {gap['q95']:+.3f})")
    told = content["model"]["event"]
    if told["brier_skill"] is not None and told["auc"] is not None:
        click.echo(
            f"the next period fails ({told['failed']} of {told['periods']}): Brier skill {told['brier_skill']:.2f} "
            f"({told['brier_skill_interval'][0]:.2f} to {told['brier_skill_interval'][1]:.2f}), AUC {told['auc']:.2f} "
            f"({told['auc_interval'][0]:.2f} to {told['auc_interval'][1]:.2f})"
        )
