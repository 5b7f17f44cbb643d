"""``persist merge``: puts the shares of a chunked command together: fits, back-tests, calibrations."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from persist.cli.calibrate import claim_figure, save, tell
from persist.cli.common import claim_output, keep_compiled, use_float64
from persist.cli.fit import conclude
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
) -> int:
    """Put the FILEs that --chunk wrote together into OUT, as one run would have written it: fits (.nc), back-tests or
    calibrations.

    The seed is that of the files. Shares of different runs are refused; what no file has is said. Leaves with code 3 where
    a fit cannot be trusted.
    """
    del seed
    claim_output(output, force, files)
    twice = [str(path) for path in files if files.count(path) > 1]
    if twice:
        raise UsageError("it is named twice", where=twice[0], remedy="give each share once")
    if all(path.suffix == ".nc" for path in files):
        if figure is not None:
            raise UsageError("a fit has no figure of ranks", where="--figure", remedy="leave it out")
        return _fits(output, files, as_json=as_json, quiet=quiet)
    parts = {str(path): read(path) for path in files}
    if all(part.get("command") == "backtest" for part in parts.values()):
        return _backtests(output, parts, as_json=as_json, quiet=quiet)
    claim_figure(figure, output, force)
    from persist.validation.join import join

    result = join(parts)
    save(result, output, figure)
    tell(result, output, figure, as_json=as_json, quiet=quiet)
    return 0


def _backtests(output: Path, parts: dict[str, Any], *, as_json: bool, quiet: bool) -> int:
    """Shares of the landmarks of a back-test."""
    from persist.cli import backtest
    from persist.validation.backtest_shares import join

    content = join(parts) | {"output": output}
    backtest.save(content, output)
    backtest.tell(content, output, as_json=as_json, quiet=quiet)
    return 0


def _fits(output: Path, files: tuple[Path, ...], *, as_json: bool, quiet: bool) -> int:
    """Fits of shares of the patients."""
    use_float64()
    keep_compiled()
    from persist.inference import store
    from persist.inference.gather import gather

    result = gather({str(path): store.load(path, "fit") for path in files})
    about = {"command": "merge", "seed": store.attribute(result, "settings")["seed"]}
    return conclude(result, output, store.attribute(result, "notes"), about=about, as_json=as_json, quiet=quiet)


def read(path: Path) -> dict[str, Any]:
    """The JSON object of a file; `UsageError` where there is none."""
    remedy = "give files that --chunk wrote"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UsageError(f"it cannot be read ({error.strerror})", where=str(path), remedy="check the path") from None
    except ValueError:
        raise UsageError("it is not JSON", where=str(path), remedy=remedy) from None
    if not isinstance(content, dict):
        raise UsageError("it is no JSON object", where=str(path), remedy=remedy)
    return content
