"""``persist report``: one self-contained page on a fit and its forecasts, and its JSON twin."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.common import claim_output, emit_json, json_text, keep_compiled, progress, use_float64, warn_marked
from persist.cli.options import common_options, output_options
from persist.errors import UsageError


@click.command("report")
@click.argument("fit", type=click.Path(path_type=Path), metavar="FIT.nc")
@click.argument("forecast", type=click.Path(path_type=Path), metavar="[FUT.nc]", required=False)
@output_options
@common_options
def command(fit: Path, forecast: Path | None, output: Path, force: bool, seed: int, as_json: bool, quiet: bool) -> None:
    """Write one page (HTML) on FIT.nc and, if given, on the forecast FUT.nc made from it, with a JSON twin beside it."""
    beside = _twin_path(output, [fit] if forecast is None else [fit, forecast])
    claim_output(output, force)
    claim_output(beside, force)
    use_float64()
    keep_compiled()
    from persist.inference import store
    from persist.report import page

    posterior = store.load(fit, "fit")
    future = None if forecast is None else store.load(forecast, "forecast")
    progress("drawing the page", quiet=quiet)
    report = page.build(posterior, future, where=str(forecast))
    content = {"command": "report", "output": output, "seed": seed} | report.twin
    text = json_text(content, 1)
    page.write({output: report.html, beside: text + "\n"})
    if as_json:
        emit_json(content)
    elif not quiet:
        _print(report.twin, output, beside)
    warn_marked({name: one["problems"] for name, one in report.twin["fit"]["patients"].items()})


def _twin_path(output: Path, inputs: list[Path]) -> Path:
    """The JSON twin's path: the output's stem with ``.json``; `UsageError` where a file would be written over another."""
    beside = output.with_suffix(".json")
    if beside == output:
        raise UsageError("the page cannot end in .json, where its twin goes", where=str(output), remedy="name it .html")
    taken = {one.resolve() for one in inputs}
    for path in (output, beside):
        if path.resolve() in taken:
            raise UsageError("the output is one of the inputs", where=str(path), remedy="give it another name")
    return beside


def _print(twin: dict[str, Any], output: Path, beside: Path) -> None:
    for name, one in (twin["forecast"] or {"patients": {}})["patients"].items():
        for sentence in one["sentences"].values():
            click.echo(f"patient {name}: {sentence}")
    click.echo(f"Written: {output} and {beside}. Not for clinical use.")
