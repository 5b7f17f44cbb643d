"""``persist merge``: puts shares of the work together (fits, back-tests, calibrations), and back-tests side by side."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from persist.cli.calibrate import claim_figure, save, tell
from persist.cli.common import claim_output, keep_compiled, read_json, use_float64
from persist.cli.fit import conclude
from persist.cli.options import beside_option, common_options
from persist.errors import UsageError

CHUNKS = "give files that --chunk wrote"
"""The remedy for other files."""


@click.command("merge")
@click.argument("output", type=click.Path(path_type=Path), metavar="OUT")
@click.argument("files", type=click.Path(path_type=Path), nargs=-1, required=True, metavar="FILE ...")
@click.option("--figure", type=click.Path(path_type=Path), metavar="FILE", help="Draw the ranks too: .svg or .png.")
@beside_option
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@common_options
def command(
    output: Path,
    files: tuple[Path, ...],
    figure: Path | None,
    beside: dict[str, Path],
    force: bool,
    seed: int,
    as_json: bool,
    quiet: bool,
) -> int:
    """Put the FILEs that --chunk wrote together into OUT, as one run would have written it: fits (.nc), back-tests or
    calibrations. With --beside, FILE may be one whole back-test, and others are put into its table.

    The seed is that of the files. Shares of different runs are refused; what no file has is said. Leaves with code 3 where
    a fit cannot be trusted.
    """
    del seed
    claim_output(output, force, [*files, *beside.values()])
    twice = [str(path) for path in files if files.count(path) > 1]
    if twice:
        raise UsageError("it is named twice", where=twice[0], remedy="give each share once")
    fits = all(path.suffix == ".nc" for path in files)
    parts = {} if fits else {str(path): read_json(path, CHUNKS) for path in files}
    tables = not fits and all(part.get("command") == "backtest" for part in parts.values())
    if beside and not tables:
        what = "only a back-test has a table that others can stand in"
        raise UsageError(what, where="--beside", remedy="leave it out, or give files of persist backtest")
    if fits:
        if figure is not None:
            raise UsageError("a fit has no figure of ranks", where="--figure", remedy="leave it out")
        return _fits(output, files, as_json=as_json, quiet=quiet)
    if tables:
        return _backtests(output, parts, beside, as_json=as_json, quiet=quiet)
    claim_figure(figure, output, force)
    from persist.validation.join import join

    result = join(parts)
    save(result, output, figure)
    tell(result, output, figure, as_json=as_json, quiet=quiet)
    return 0


def _backtests(output: Path, parts: dict[str, Any], beside: dict[str, Path], *, as_json: bool, quiet: bool) -> int:
    """Shares of the landmarks of a back-test, or a whole one, and what is to stand beside it."""
    from persist.cli import backtest
    from persist.validation.backtest_shares import join

    (first, *more), others = parts.values(), backtest.others_of(beside)
    whole = bool(beside) and not more and "share" not in first
    content = backtest.with_others((first if whole else join(parts)) | {"output": output}, others)
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
