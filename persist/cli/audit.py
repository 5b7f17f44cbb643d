"""``persist audit``: the fast likelihood against the stochastic model itself, by a particle filter."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import click

from persist.cli.common import emit_json, keep_compiled, progress, use_device, use_float64, warn_marked
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
@device_option
@common_options
def command(
    fit: Path, patients: tuple[str, ...], draws: int, particles: int, device: str, seed: int, as_json: bool, quiet: bool
) -> int:
    """Hold the fast likelihood in FIT.nc against a particle filter over the stochastic model.

    Leaves with code 3 if they differ by half a nat, or a correction of the draws cannot be trusted.
    """
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
    if as_json:
        spent = time.perf_counter() - began
        emit_json(
            {"command": "audit", "fit": fit, "seed": seed, "particles": particles, "seconds": spent, "patients": report}
        )
    elif not quiet:
        print_audit(report)
    if as_json or quiet:
        warn_marked({name: one["problems"] for name, one in report.items()})
    return 0 if all(one["ok"] for one in report.values()) else 3


def print_audit(report: dict[str, Any]) -> None:
    """A line a patient, and what is wrong beneath."""
    click.echo(f"\n{'patient':<12}{'gap, nats':>18}{'k-hat':>8}{'mean field':>12}{'clone law':>11}  verdict")
    for name, one in report.items():
        verdict = "the fast likelihood holds" if one["ok"] else "DO NOT RELY ON THE FAST LIKELIHOOD"
        gap = f"{one['loglik_gap']:+.2f} ± {one['gap_mcse']:.2f}"
        click.echo(
            f"{name:<12}{gap:>18}{one['khat']:>8.2f}{one['mean_field_gap']:>+12.2f}{one['clone_law_gap']:>+11.2f}  {verdict}"
        )
        for problem in one["problems"]:
            click.echo(f"    - {problem}")
