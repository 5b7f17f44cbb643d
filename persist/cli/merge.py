"""``persist merge``: puts the shares of a chunked command together."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from persist.cli.calibrate import claim_figure, save, tell
from persist.cli.common import claim_output
from persist.cli.options import common_options
from persist.errors import UsageError


@click.command("merge")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE ...")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the ranks too: .svg or .png.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@common_options
def command(
    output: Path, files: tuple[Path, ...], figure: Path | None, force: bool, seed: int, as_json: bool, quiet: bool
) -> None:
    """Put the FILEs that `persist calibrate --chunk` wrote together into OUT, as one run would have written it.

    The seed is that of the files. Shares of different runs are refused; replicates that no file has are said.
    """
    del seed
    claim_output(output, force, files)
    claim_figure(figure, output, force)
    parts = {}
    for path in files:
        if str(path) in parts:
            raise UsageError("it is named twice", where=str(path), remedy="give each share once")
        parts[str(path)] = read(path)
    from persist.validation.join import join

    result = join(parts)
    save(result, output, figure)
    tell(result, output, figure, as_json=as_json, quiet=quiet)


def read(path: Path) -> dict[str, Any]:
    """The JSON object of a file; `UsageError` where there is none."""
    remedy = "give files that persist calibrate --chunk wrote"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"it cannot be read ({error.strerror})", where=str(path), remedy="check the path") from None
    except ValueError:
        raise UsageError("it is not JSON", where=str(path), remedy=remedy) from None
    if not isinstance(content, dict):
        raise UsageError("it is no JSON object", where=str(path), remedy=remedy)
    return content
