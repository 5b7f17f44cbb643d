"""``persist fit``: from the tables to a posterior."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import click

from persist.cli.common import (
    claim_folder,
    claim_output,
    emit_json,
    keep_compiled,
    read_table,
    use_device,
    use_float64,
    warn_marked,
)
from persist.cli.diagnose import print_health
from persist.cli.options import (
    biomarkers_option,
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
from persist.errors import UsageError

if TYPE_CHECKING:
    from persist.inference.settings import Progress
    from persist.types import Table


@click.command("fit")
@table_options
@model_options
@click.option(
    "--pool/--no-pool", help="Fit the patients as a cohort, which learns how they are spread.  [default: no-pool]"
)
@biomarkers_option
@effort_options(chains=4, warmup=960, draws=640)
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
    model: str,
    pack: str,
    ranges: tuple[str, ...],
    drug: str | None,
    exact_stops: bool,
    population: Path | None,
    pool: bool,
    biomarkers: Path | None,
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
    """Fit every patient in BURDEN, on their own or as a cohort, and write the posterior.

    A run that was stopped goes on from the finished patients, kept in OUTPUT.partial/. A patient that cannot be fitted
    is named, and the others are. Leaves with code 3 if so, or if a posterior cannot be trusted; the file is written.
    """
    if pool and population is not None:
        remedy = "leave one of them out: --pool learns a population, --population uses one"
        raise UsageError("--pool and --population cannot go together", remedy=remedy)
    if pool and (scheduler is not None or chunk != (1, 1)):
        what = "a cohort is drawn together, in one process"
        raise UsageError(what, where="--pool", remedy="leave --chunk and --scheduler out, or fit without --pool")
    leans = pool or population is not None
    if biomarkers is not None and not leans:
        what = "biomarkers say something of a patient only beside other patients"
        raise UsageError(what, where="--biomarkers", remedy="add --pool, or --population POP.nc, or leave it out")
    claim_output(output, force, [burden, treatments, exposure, population, biomarkers])
    partial = output.with_name(output.name + ".partial")
    claim_folder(partial)
    least = 1 if leans else 2
    table = read_table(burden, treatments, patients, observable, floor, full_dose, least, biomarkers, exposure)
    table = table._replace(notes=(*table.notes, *_left_out(table, drug)))
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference import leaning, store
    from persist.inference.drug_priors import pack_for
    from persist.inference.fit import fit
    from persist.inference.pooled import fit_cohort, fit_next
    from persist.inference.settings import Settings

    earlier = None if population is None else store.load(population, "fit")
    learned = None if earlier is None else store.attribute(earlier, "settings").get("pack")
    priors, said = pack_for(drug, pack, ranges, learned)
    table = table._replace(notes=(*table.notes, *said))
    settings = Settings(model, priors, drug, chains, warmup, draws, seed, exact_stops=exact_stops)
    how: dict[str, Any] = {"partial": partial, "scheduler": scheduler, "chunk": chunk}
    with Stages(quiet) as stages, _Bar(quiet) as bar:
        if pool:
            result = fit_cohort(table, settings, partial=partial, progress=stages.cohort)
        elif earlier is not None:
            result = fit_next(table, settings, earlier, progress=bar.show, **how)
        else:
            result = fit(table, settings, progress=bar.show, **how)
    more = () if earlier is None else leaning.assumed(result[leaning.GROUP].to_dataset(), table.biomarkers)
    notes = tuple(dict.fromkeys((*store.attribute(result, "notes"), *more)))
    code = conclude(result, output, notes, about={"command": "fit", "seed": seed}, as_json=as_json, quiet=quiet)
    shutil.rmtree(partial, ignore_errors=True)
    return code


def conclude(
    result: Any, output: Path, notes: Sequence[str], *, about: dict[str, Any], as_json: bool, quiet: bool
) -> int:
    """Judge a fit, write it with its problems, and tell of it; the exit code."""
    from persist.inference import store
    from persist.validation import health

    found = health.whole(result)
    report, population = found["patients"], found["population"]
    marked = {name: one["problems"] for name, one in report.items()}
    unfit = store.attribute(result, "unfit")
    result.attrs["problems"] = store.as_attribute(marked)
    store.save(result, output)
    if as_json:
        told = about | {"output": output} | {name: result.attrs[name] for name in store.SECONDS}
        emit_json(told | {"patients": report, "unfit": unfit, "population": population, "notes": notes})
    elif not quiet:
        for note in notes:
            click.echo(f"- {note}")
        print_health(report, population)
        click.echo(f"\nWritten: {output} (seed {about['seed']})")
    for name, why in unfit.items():
        click.echo(f"persist: warning: patient {name} could not be fitted and is not in the file: {why}", err=True)
    if as_json or quiet:
        warn_marked(marked)
    return 3 if unfit or any(marked.values()) else 0


def _left_out(table: Table, drug: str | None) -> list[str]:
    """A sentence for each drug of a patient that is not the one to fit; `UsageError` for a drug where none was given."""
    if drug is None:
        return []
    if not any(series.schedules for series in table.series):
        what = f"no patient was given {drug!r}, nor any other drug"
        raise UsageError(what, where="--drug", remedy="give the doses by --treatments FILE, or leave --drug out")
    return [
        f"drug {other} of patient {series.patient_id} is left out of the model"
        for series in table.series
        for other in series.schedules
        if other != drug
    ]


class _Bar:
    """Progress on standard error, only where that is a terminal: patient, iterations, time left."""

    def __init__(self, quiet: bool) -> None:
        self.bar: Any = None
        self.shown = not quiet and sys.stderr.isatty()

    def __enter__(self) -> _Bar:
        return self

    def __exit__(self, *_: object) -> None:
        if self.bar is not None:
            self.bar.close()

    def show(self, at: Progress) -> None:
        """Draw the bar anew: all iterations of all patients."""
        if not self.shown:
            return
        from tqdm import tqdm

        if self.bar is None:
            layout = "{l_bar}{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
            self.bar = tqdm(total=at.total * at.patients, file=sys.stderr, bar_format=layout)
        self.bar.n = at.number * at.total + at.done
        self.bar.set_description(f"patient {at.patient_id} ({at.number + 1} of {at.patients})")
        first = "compiling" if at.done == 0 and at.number == 0 else ""
        left = first if at.seconds_left is None else f"about {_clock(at.seconds_left)} left"
        self.bar.set_postfix_str(left, refresh=True)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
