"""``persist calibrate``: simulation-based calibration of the whole pipeline."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from persist.cli.common import (
    claim_folder,
    claim_output,
    emit_json,
    json_text,
    keep_compiled,
    progress,
    use_device,
    use_float64,
)
from persist.cli.options import chunk_option, common_options, device_option, output_options
from persist.errors import UsageError

if TYPE_CHECKING:
    from persist.validation.calibrate import Progress

FIGURES = (".svg", ".png")


@click.command("calibrate")
@click.option(
    "--replicates", type=click.IntRange(min=1), required=True, metavar="R", help="Simulated patients, or cohorts."
)
@click.option(
    "--cohort",
    type=click.IntRange(min=2),
    default=None,
    metavar="N",
    help="Calibrate the population: each replicate is a cohort of N patients, fitted together.",
)
@chunk_option
@click.option("--model", default="spr", show_default=True, help="Model variant, as of fit.")
@click.option("--pack", default="clinical", show_default=True, help="Priors: clinical or in-vitro.")
@click.option("--chains", type=click.IntRange(min=2, max=16), metavar="N", help="Chains.  [default: as of fit]")
@click.option("--warmup", type=click.IntRange(min=50), metavar="N", help="Warm-up draws.  [default: as of fit]")
@click.option("--draws", type=click.IntRange(min=50), metavar="N", help="Kept draws a chain.  [default: as of fit]")
@click.option(
    "--doublings",
    type=click.IntRange(0, 6),
    metavar="N",
    help="How often sampling may be doubled.  [default: as of fit]",
)
@click.option("--ranks", type=int, default=100, show_default=True, help="Ranks: one more than the draws compared.")
@click.option(
    "--plant",
    type=click.Choice(["none", "uncensored", "noisier", "alike"]),
    default="none",
    show_default=True,
    help="Plant an error that must be found: floors taken as values, errors twice as large as said, or (with --cohort) "
    "patients half as different as their law says.",
)
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the ranks too: .svg or .png.")
@device_option
@output_options
@common_options
def command(
    replicates: int,
    cohort: int | None,
    chunk: tuple[int, int],
    model: str,
    pack: str,
    chains: int | None,
    warmup: int | None,
    draws: int | None,
    doublings: int | None,
    ranks: int,
    plant: str,
    figure: Path | None,
    device: str,
    output: Path,
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> None:
    """Draw patients from the priors, simulate and fit them, and see whether truth and posterior are of one law. With --cohort,
    draw populations from their prior and patients of each, fit these together, and see it of the population.

    A run that was stopped goes on from the finished replicates, kept in OUTPUT.partial/. Leaves with code 0 whatever
    it finds.
    """
    claim_output(output, force)
    claim_figure(figure, output, force)
    partial = output.with_name(output.name + ".partial")
    claim_folder(partial)
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference.settings import Settings
    from persist.validation import calibrate
    from persist.validation.study import study

    usual = Settings()
    effort = (chains or usual.chains, warmup or usual.warmup, draws or usual.draws)
    more = usual.doublings if doublings is None else doublings
    asked = study(Settings(model, pack, None, *effort, seed, doublings=more), ranks, plant, cohort or 0)
    result = calibrate.calibrate(asked, replicates, calibrate.Chunk(*chunk), partial=partial, progress=teller(quiet))
    save(result, output, figure)
    shutil.rmtree(partial, ignore_errors=True)
    tell(result, output, figure, as_json=as_json, quiet=quiet)


def teller(quiet: bool) -> Any:
    """A callback that says how far a calibration is."""

    def say(at: Progress) -> None:
        left = "" if at.seconds_left is None else f", about {clock(at.seconds_left)} left"
        progress(f"{at.done} of {at.total} replicates done{left}", quiet=quiet)

    return say


def clock(seconds: float) -> str:
    """Seconds as h:mm:ss."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}"


def claim_figure(figure: Path | None, output: Path, force: bool) -> None:
    """`UsageError` unless the figure can be written beside the output."""
    if figure is None:
        return
    if figure.suffix.lower() not in FIGURES:
        remedy = f"name it {' or '.join(FIGURES)}"
        raise UsageError("a figure of this kind cannot be drawn", where=str(figure), remedy=remedy)
    if figure.resolve() == output.resolve():
        raise UsageError("the figure is the output", where=str(figure), remedy="give it another name")
    claim_output(figure, force)


def save(result: dict[str, Any], output: Path, figure: Path | None) -> None:
    """Write the JSON, and the figure where one is wanted; each whole or not at all."""
    from persist.report import page

    page.write({output: json_text(result) + "\n"})
    if figure is not None and result["replicates"]:
        from persist.report import calibration

        calibration.save(result, figure)


def tell(result: dict[str, Any], output: Path, figure: Path | None, *, as_json: bool, quiet: bool) -> None:
    """What was found, as JSON or in words; what is missing is said in any case."""
    if as_json:
        emit_json({"output": output, "figure": figure} | result)
    elif not quiet:
        _print(result)
        click.echo(f"\nWritten: {output}{f' and {figure}' if figure else ''} (seed {result['seed']})")
    lost = result["missing"] if result["chunk"] is None else []
    if lost:
        some = ", ".join(str(number) for number in lost[:8]) + (", ..." if len(lost) > 8 else "")
        click.echo(f"persist: warning: {len(lost)} of {result['asked']} replicates are missing: {some}", err=True)


def _print(result: dict[str, Any]) -> None:
    """A line a quantity, and what to know of the fits."""
    number, fits = result["replicates"], result["fits"]
    planted = "" if result["plant"] == "none" else f", with a planted error ({result['plant']})"
    of = "" if result["cohort"] is None else f" of cohorts of {result['cohort']['patients']}"
    click.echo(f"{number} replicates{of}, ranks 0 to {result['rank_max']}{planted}")
    click.echo(f"\n{'quantity':<30}{'50 % holds':>11}{'90 %':>7}{'off uniform':>13}{'contraction':>13}  ranks")
    for name, one in result["parameters"].items():
        shrunk = "" if one["contraction"] is None else f"{one['contraction']['q50']:.2f}"
        shares = f"{one['coverage']['50']:>11.2f}{one['coverage']['90']:>7.2f}{one['farthest']:>+13.3f}"
        click.echo(f"{name:<30}{shares}{shrunk:>13}  {'as they should be' if one['ecdf_ok'] else 'OUTSIDE THE BAND'}")
    if number:
        outside = sum(not one["ecdf_ok"] for one in result["parameters"].values())
        verdict = "all ranks stay in their bands" if result["all_ok"] else f"outside their bands: {outside}"
        alarm = 100.0 * (1.0 - result["band"]["family"])
        click.echo(f"\n{verdict} (chance of a false alarm anywhere: at most {alarm:.3g} %)")
        click.echo(
            f"fits: {fits['marked']} of {number} marked, {fits['divergent']} with divergent transitions, "
            f"{fits['few_draws']} with fewer effective draws than are ranked"
        )
    if (errors := result["residuals"]) is not None:
        click.echo(
            f"one-step errors: correlation of neighbours {errors['mean']:+.3f} ± {errors['standard_error']:.3f}, "
            f"{errors['flagged']} of {errors['series']} flagged"
        )
    for one in result["unfit"]:
        click.echo(f"- replicate {one['replicate']} has no ranks: {one['reason']}")
