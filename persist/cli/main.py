"""The ``persist`` command: a group that imports a subcommand only when it is run, and the shell around errors.

Exit codes: 0 good, 1 internal fault, 2 bad usage or bad data, 3 ran but diagnostics fail, 130 interrupted. A command
returns None for 0, or its exit code.
"""

from __future__ import annotations

import os
import sys
import traceback
from collections.abc import Sequence
from importlib import import_module
from typing import Any, NoReturn

import click

from persist import __version__
from persist.errors import PersistError

# name -> (module, the object in it, the line of `persist --help`); in the order of the data's way
COMMANDS: dict[str, tuple[str, str, str]] = {
    "check": ("persist.cli.check", "command", "Read tables, validate them, and print what was read and assumed."),
    "simulate": ("persist.cli.simulate", "command", "Simulate cell numbers from rates under a treatment plan."),
    "fit": ("persist.cli.fit", "command", "Fit patients' burden; writes the posterior."),
    "diagnose": ("persist.cli.diagnose", "command", "Judge a fit: convergence, and which rates the data inform."),
    "audit": ("persist.cli.audit", "command", "Hold the fast likelihood against the stochastic model."),
    "forecast": ("persist.cli.forecast", "command", "Forecast a fitted patient under treatment plans."),
    "optimise": ("persist.cli.optimise", "command", "Look for the best plan of a fitted patient, and its honest gain."),
    "enrich": ("persist.cli.enrich", "command", "Tell what selecting patients by a biomarker would gain."),
    "compare": ("persist.cli.compare", "command", "Compare models by what their fits foretell, and stack them."),
    "backtest": ("persist.cli.backtest", "command", "Forecast patients who were not seen, and score it."),
    "calibrate": ("persist.cli.calibrate", "command", "Calibrate the whole pipeline on simulated patients."),
    "merge": ("persist.cli.merge", "command", "Put shares of the work together, and back-tests side by side."),
    "report": ("persist.cli.report", "command", "Write one self-contained page on a fit and its forecasts."),
    "drugs": ("persist.cli.drugs", "command", "Tell what is known of a drug, with its sources."),
    "doctor": ("persist.cli.doctor", "command", "Show versions, devices, precision and memory, and check itself."),
}


class LazyGroup(click.Group):
    """A group whose subcommands are listed from `COMMANDS` and imported when they are run."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All names, in the order of `COMMANDS`."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one subcommand."""
        if cmd_name not in COMMANDS:
            return None
        module, name, _ = COMMANDS[cmd_name]
        command = getattr(import_module(module), name)
        assert isinstance(command, click.Command)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The subcommand that ``args`` begin with, under its public name."""
        _, command, rest = super().resolve_command(ctx, args)
        return args[0], command, rest

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, line) for name, (_, _, line) in COMMANDS.items()])

    def invoke(self, ctx: click.Context) -> Any:
        """Run the subcommand; an interruption is handed on without the empty line that click would print."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interruption:
            raise click.Abort from interruption

    def main(
        self,
        args: Sequence[str] | None = None,
        prog_name: str | None = None,
        complete_var: str | None = None,
        standalone_mode: bool = True,
        **extra: Any,
    ) -> Any:
        """Run, and turn whatever is raised into one line on standard error and an exit code."""
        if not standalone_mode:
            return super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        try:
            code = super().main(args, prog_name, complete_var, standalone_mode=False, **extra)
        except (Exception, KeyboardInterrupt) as error:
            leave(error)
        sys.exit(code if isinstance(code, int) else 0)


def leave(error: BaseException) -> NoReturn:
    """Print ``persist: error: ...`` in one line and exit with the code that belongs to the error."""
    if isinstance(error, (click.Abort, KeyboardInterrupt)):
        line, code = "interrupted", 130
    elif isinstance(error, PersistError):
        line, code = f"error: {error}", error.exit_code
    elif isinstance(error, click.ClickException):
        line, code = f"error: {_usage(error)}", 2
    else:
        what = f"{type(error).__name__}: {error}"
        line, code = f"error: internal fault, {what}; please report it (PERSIST_DEBUG=1 shows the traceback)", 1
    if os.environ.get("PERSIST_DEBUG") == "1":
        traceback.print_exception(error, file=sys.stderr)
    one_line = "".join(sign if sign.isprintable() else "?" for sign in " ".join(line.split()))
    click.echo(f"persist: {one_line}", err=True)
    sys.exit(code)


def _usage(error: click.ClickException) -> str:
    message = error.format_message().rstrip()
    context = getattr(error, "ctx", None)
    if context is None:
        return message
    return f"{message.rstrip('.')}; see {context.command_path} --help"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]}, no_args_is_help=False)
@click.version_option(__version__, prog_name="persist", message="%(prog)s %(version)s")
def main() -> None:
    """Drug-tolerant persisters, resistance and drug holidays: from burden under treatment to forecasts with doubt.

    The way of the data: check, fit, diagnose, forecast, report. A research tool, not a medical device.
    """
