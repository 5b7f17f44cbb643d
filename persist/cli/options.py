"""Options that several commands take, as decorators. No NumPy and no JAX at import."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import click

from persist.errors import UsageError

type Command = Callable[..., Any]


def stack(*decorators: Callable[[Command], Command]) -> Callable[[Command], Command]:
    """Options as one decorator, in the order in which the help lists them."""

    def decorate(command: Command) -> Command:
        for decorator in reversed(decorators):
            command = decorator(command)
        return command

    return decorate


def _floor(
    context: click.Context, parameter: click.Parameter, value: str
) -> Literal["auto", "none"] | tuple[float, ...]:
    if value == "auto":
        return "auto"
    if value == "none":
        return "none"
    try:
        return tuple(float(part) for part in value.split(","))
    except ValueError:
        raise click.BadParameter(f"{value!r} is not auto, none or numbers such as 0.02,0.1,0.2") from None


def _full_dose(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, float]:
    found: dict[str, float] = {}
    for value in values:
        drug, _, amount = value.rpartition("=")
        try:
            number = float(amount)
        except ValueError:
            number = math.nan
        if not drug or not (math.isfinite(number) and number > 0):
            raise click.BadParameter(f"{value!r} is not DRUG=AMOUNT with an amount over 0")
        if drug in found:
            raise click.BadParameter(f"{drug!r} is given twice")
        found[drug] = number
    return found


_PATH = click.Path(path_type=Path)

MOST_DAYS = 100_000.0
"""Days that anything may be followed for: longer than a life."""

MOST_SEED = 2**63 - 1
"""The largest seed: what the random keys and the files hold."""

common_options = stack(
    click.option(
        "--seed", type=click.IntRange(0, MOST_SEED), default=0, show_default=True, help="Seed of all randomness."
    ),
    click.option("--json", "as_json", is_flag=True, help="One JSON object on standard output, nothing else there."),
    click.option(
        "--quiet", is_flag=True, help="Print nothing but errors, warnings of a marked fit, and what --json asks for."
    ),
)
"""Adds the arguments ``seed: int, as_json: bool, quiet: bool``."""

missed_option = click.option(
    "--missed-visits",
    type=float,
    default=0.0,
    show_default=True,
    metavar="SHARE",
    help="Probability that a visit is missed: neither a rule nor the endpoint sees it.",
)
"""Adds the argument ``missed_visits: float``."""

output_options = stack(
    click.option("-o", "--output", type=_PATH, required=True, metavar="FILE", help="The file to write."),
    click.option("--force", is_flag=True, help="Replace the output if it exists."),
)
"""Adds the arguments ``output: Path, force: bool``; call `claim_output` on them before any work."""


def _chunk(context: click.Context, parameter: click.Parameter, value: str | None) -> tuple[int, int]:
    if value is None:
        return 1, 1
    place, _, of = value.partition("/")
    if not (place.isdecimal() and of.isdecimal() and 1 <= int(place) <= int(of)):
        remedy = "write i/n with 1 <= i <= n, such as 1/4"
        raise UsageError(f"{value!r} is no share of the work", where="--chunk", remedy=remedy)
    return int(place), int(of)


chunk_option = click.option(
    "--chunk", callback=_chunk, metavar="I/N", help="Only this share of the work; put together by persist merge."
)
"""Adds the argument ``chunk: tuple[int, int]``, place and number of shares; (1, 1) is all of the work."""


def _beside(context: click.Context, parameter: click.Parameter, values: tuple[str, ...]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for value in values:
        name, _, file = value.partition("=")
        remedy = 'write NAME=FILE, such as --beside "no pooling=alone.json"'
        if not name.strip() or not file:
            raise UsageError(f"{value!r} names no file", where="--beside", remedy=remedy)
        if name in found:
            raise UsageError(f'"{name}" is named twice', where="--beside", remedy="give each its own name")
        found[name] = Path(file)
    return found


beside_option = click.option(
    "--beside",
    multiple=True,
    callback=_beside,
    metavar="NAME=FILE",
    help="Put another finished back-test of the same data and landmarks into the table, by this name: the same model "
    "without pooling, say (may be repeated).",
)
"""Adds the argument ``beside: dict[str, Path]``, files by name."""

scheduler_option = click.option(
    "--scheduler",
    metavar="ADDRESS",
    help="Work on the Dask cluster of this scheduler (tcp://HOST:8786), or on workers of our own (local).",
)
"""Adds the argument ``scheduler: str | None``."""

biomarkers_option = click.option(
    "--biomarkers",
    type=_PATH,
    metavar="FILE",
    help="Table of biomarkers before the first burden, for --pool and --population.",
)
"""Adds the argument ``biomarkers: Path | None``."""

device_option = click.option(
    "--device", type=click.Choice(["cpu", "gpu"]), default="cpu", show_default=True, help="Where to compute."
)
"""Adds the argument ``device: str``; call `use_device` on it before any array."""

table_options = stack(
    click.argument("burden", type=_PATH, metavar="BURDEN"),
    click.option("--treatments", type=_PATH, metavar="FILE", help="Table of treatments; without it nobody is treated."),
    click.option("--patient", "patients", multiple=True, metavar="ID", help="Only this patient (may be repeated)."),
    click.option("--observable", metavar="NAME", help="What the burden is: psa, volume, sld, cells, fraction, ..."),
    click.option(
        "--floor",
        default="auto",
        show_default=True,
        callback=_floor,
        metavar="auto|none|V,V,...",
        help="Values that are assay floors, so left-censored.",
    ),
    click.option(
        "--full-dose", multiple=True, callback=_full_dose, metavar="DRUG=AMOUNT", help="The amount that is dose 1."
    ),
    click.option(
        "--exposure",
        type=_PATH,
        metavar="FILE",
        help="Table of measured exposures (0 to 1), in place of the drug's lag.",
    ),
)
"""Adds ``burden, treatments, patients, observable, floor, full_dose, exposure``, the arguments of `read_table`."""

model_options = stack(
    click.option(
        "--model",
        default="spr",
        show_default=True,
        help="Model variant: spr, sr (no persisters), sp (no clone), spr-tis (dying cells speed up resistant ones), "
        "spr-shed (psa: persisters shed less of the marker, and the effect outlasts the drug), "
        "attenuation (no persisters; the kill fades on drug and recovers off it).",
    ),
    click.option("--pack", default="clinical", show_default=True, help="Priors: clinical or in-vitro."),
    click.option(
        "--prior",
        "ranges",
        multiple=True,
        metavar="ENTRY=LOW..HIGH",
        help="What is known of a parameter: the range that holds it with 90 % (may be repeated).",
    ),
    click.option("--drug", metavar="NAME", help="The drug to fit, where the treatments name several."),
    click.option(
        "--exact-stops",
        is_flag=True,
        help="Take every recorded stop as it is, also long after the value before it (persist check names such stops).",
    ),
    click.option(
        "--population",
        type=_PATH,
        metavar="POP.nc",
        help="A pooled fit of other patients, whose population is the prior of these.",
    ),
)
"""Adds ``model, pack, ranges, drug, population``: what is fitted, under which prior."""


def effort_options(chains: int, warmup: int, draws: int) -> Callable[[Command], Command]:
    """Adds ``chains, warmup, draws``, with these defaults."""
    return stack(
        click.option("--chains", type=click.IntRange(min=2, max=16), default=chains, show_default=True, help="Chains."),
        click.option(
            "--warmup", type=click.IntRange(min=50), default=warmup, show_default=True, help="Warm-up points a chain."
        ),
        click.option(
            "--draws", type=click.IntRange(min=50), default=draws, show_default=True, help="Kept draws a chain."
        ),
    )


def days(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Callback of an option in days; `UsageError` for nan, infinity and more than `MOST_DAYS`."""
    if value is not None and not abs(value) <= MOST_DAYS:
        remedy = f"give a plain number, at most {MOST_DAYS:.0f}"
        raise UsageError(f"{value:g} is not a number of days", where=parameter.opts[0], remedy=remedy)
    return value


start_option = click.option(
    "--from", "start", type=float, callback=days, metavar="DAY", help="Day on which the plans start [the last visit]."
)
"""Adds the argument ``start: float | None``."""
