"""``persist audit``: the fast likelihood against the stochastic model itself, by a particle filter."""

from __future__ import annotations

import time
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
from persist.cli.options import common_options, device_option


@click.command("audit")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient; may be given again.")
@click.option(
    "--draws", type=click.IntRange(1), default=50, show_default=True, help="Posterior draws that are looked at."
)
@click.option(
    "--particles", type=click.IntRange(1), default=1000, show_default=True, help="Of each draw, in four filters."
)
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Write the JSON object here too.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@device_option
@common_options
def command(
    fit: Path,
    patients: tuple[str, ...],
    draws: int,
    particles: int,
    output: Path | None,
    force: bool,
    device: str,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Hold the fast likelihood in FIT.nc against a particle filter over the stochastic model, and correct the draws by it.

    Leaves with code 3 if they differ by half a nat or that cannot be told, or if the correction fails.
    """
    if output is not None:
        claim_output(output, force, [fit])
    use_device(device)
    use_float64()
    keep_compiled()
    from persist.inference import store
    from persist.inference.posterior import one_patient
    from persist.inference.posterior import patients as all_of
    from persist.validation import audit

    result, began, report = store.load(fit, "fit"), time.perf_counter(), {}
    for name in patients:
        one_patient(result, name)
    chosen = [name for name in all_of(result) if not patients or name in patients]
    for number, name in enumerate(chosen):
        head = f"patient {name} ({number + 1} of {len(chosen)})"

        def tell(done: int, total: int, head: str = head) -> None:
            progress(f"{head}: {done} of {total} values", quiet=quiet)

        found = audit.audit(result, name, draws=draws, particles=particles, seed=seed, progress=tell)
        report[name] = audit.as_json(found)
    spent = time.perf_counter() - began
    content = {"command": "audit", "fit": fit, "output": output, "seed": seed, "particles": particles, "seconds": spent}
    content["patients"] = report
    if output is not None:
        from persist.report.page import write

        write({output: json_text(content, 1) + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        print_audit(report)
        click.echo(f"\n{f'Written: {output}. ' if output else ''}Not for clinical use.")
    if as_json or quiet:
        warn_marked({name: one["problems"] for name, one in report.items()})
    return 0 if all(one["ok"] for one in report.values()) else 3


def print_audit(report: dict[str, Any]) -> None:
    """A line a patient, and what is wrong beneath; then the rates of those whose correction holds."""
    heads = f"{'gap, nats':>18}{'k-hat':>8}{'count as':>10}{'mean field':>12}{'clone law':>11}"
    click.echo(f"\n{'patient':<12}{heads}  verdict")
    for name, one in report.items():
        gap, count = f"{one['loglik_gap']:+.2f} ± {one['gap_mcse']:.2f}", f"{one['ess']:.0f}/{one['draws']}"
        others = f"{one['mean_field_gap']:>+12.2f}{one['clone_law_gap']:>+11.2f}"
        click.echo(f"{name:<12}{gap:>18}{one['khat']:>8.2f}{count:>10}{others}  {one['verdict']}")
        for problem in one["problems"]:
            click.echo(f"    - {problem}")
    for name, one in report.items():
        if one["correction"]["ok"]:
            print_corrected(name, one)
        else:
            click.echo(f"\npatient {name}: no corrected rates, since {one['correction']['reason']}")


def print_corrected(name: str, one: dict[str, Any]) -> None:
    """Quantiles of every sampled rate, as fitted and as corrected."""
    of = f"of {one['draws']} draws, which count as {one['ess']:.0f} when corrected"
    click.echo(f"\npatient {name}, {of}\n{'':<18}{'as fitted':>33}{'corrected':>35}")
    heads = "".join(f"{head:>11}" for head in ("5 %", "50 %", "95 %"))
    click.echo(f"{'parameter':<18}{heads}  {heads}  unit")
    for rate, row in one["rates"].items():
        numbers = ["".join(f"{value:>11.3g}" for value in row[which].values()) for which in ("fitted", "corrected")]
        click.echo(f"{rate:<18}{numbers[0]}  {numbers[1]}  {row['unit']}")
