"""Words of the page: numbers as a reader says them, what each parameter is, what totals alone cannot tell."""

from __future__ import annotations

import math
from typing import Any

_RAISED = str.maketrans("-0123456789", "⁻⁰¹²³⁴⁵⁶⁷⁸⁹")

MEANING: dict[str, str] = {
    "net_growth_s": "net growth of sensitive cells without drug",
    "turnover_s": "deaths per birth of sensitive cells",
    "decline_s": "net growth of sensitive cells on full drug (below 0: decline)",
    "tolerance_base": "sensitive cells that turn into persisters without drug",
    "tolerance_drug": "sensitive cells that turn into persisters because of full drug",
    "reversion": "persisters that turn back into sensitive cells without drug",
    "reversion_block": "share of that return which full drug blocks",
    "birth_p_share": "births of persisters",
    "death_p": "deaths of persisters",
    "mutation": "resistant cells made by dividing sensitive cells",
    "escape_fold": "how much more often persisters on drug turn resistant",
    "resistant_0": "share of resistant cells at the first visit",
    "persister_0": "share of persisters at the first visit",
    "cost_r": "growth that resistance costs",
    "kill_p_share": "how far the drug kills persisters",
    "kill_r_share": "how far the drug kills resistant cells",
    "settled_burden": "burden at which an untreated tumour stops growing",
    "onset_days": "time in which the effect of the drug builds up",
    "washout_days": "time in which the effect of the drug fades",
    "secretome_boost": "how much faster resistant cells divide at the full signal of dying sensitive cells",
    "secretome_share": "share of the first flux of dying cells at which that signal is half",
    "attenuation_rate": "pace at which the kill of sensitive cells fades on full drug",
    "recovery_rate": "pace at which that kill recovers off drug",
    "effect_half": "exposure that has half of the greatest effect there could be, over that of the full dose",
    "shed_p": "what a persister sheds of the marker, over what a sensitive cell does",
    "noise_sd": "error of one measurement",
    "wander_sd": "size of the slow wander around the curve",
    "wander_days": "time in which that wander is forgotten",
    "burden_0": "burden at the first visit",
    "cells_per_unit": "cells behind one unit of burden",
    "clone_size": "resistant cells over what these rates let expect, by chance (0: they died out)",
    "stop_share": "how much of the gap before a doubtful stop was still on drug (1: stopped when recorded)",
    "birth_s": "births of sensitive cells",
    "death_s": "deaths of sensitive cells",
    "kill_s": "kill of sensitive cells by full drug",
    "birth_p": "births of persisters",
    "kill_p": "kill of persisters by full drug",
    "birth_r": "births of resistant cells",
    "death_r": "deaths of resistant cells",
    "kill_r": "kill of resistant cells by full drug",
    "escape_drug": "resistant cells made by persisters on full drug",
    "capacity": "cells at which births stop",
    "secretome_half": "flux of dying cells at which their signal is half",
}
"""What a parameter is, in a line."""

SHOWN = (
    *("tolerance_base", "tolerance_drug", "reversion", "washout_days"),
    *("net_growth_s", "decline_s", "persister_0", "resistant_0"),
    *("mutation", "cost_r", "noise_sd", "wander_sd"),
)
"""The parameters that get a figure: switching first."""

STATISTICS = {
    "lowest_value": "lowest value",
    "largest_step": "largest step between visits, as a factor",
    "last_value": "last value",
    "under_floor": "values under the floor",
}
"""Statistics of a series (`validation.predictive`) as a reader calls them."""


def number(value: float | None) -> str:
    """Three significant digits at most: 0.031, 12.4, 1985; powers of ten under 0.001 and from 100 000 on."""
    if value is None or math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    if value == 0.0:
        return "0"
    size = abs(value)
    if 1e-3 <= size < 99999.5:
        digits = 0 if size >= 99.95 else max(0, 2 - math.floor(math.log10(size)))
        text = f"{value:.{digits}f}"
        text = text.rstrip("0").rstrip(".") if "." in text else text
    else:
        mantissa, exponent = f"{value:.1e}".split("e")
        power = "10" + str(int(exponent)).translate(_RAISED)
        head = mantissa.removesuffix(".0")
        text = power if head == "1" else f"−{power}" if head == "-1" else f"{head}×{power}"
    return text.replace("-", "−")


def percent(share: float | None) -> str:
    """A share as per cent: whole, but never rounded to 0 or 100 where it is neither."""
    if share is None:
        return "–"
    if 0.0 < share < 0.01:
        return "< 1 %"
    if 0.99 < share < 1.0:
        return "> 99 %"
    return f"{100.0 * share:.0f} %"


def probability(share: float | None) -> str:
    """A probability as per cent, rounded down: one that misses a threshold is never printed as having reached it."""
    return "–" if share is None else f"{math.floor(100.0 * share + 1e-9)} %"


def flare(found: dict[str, Any] | None) -> str:
    """The probability of a flare after a stop; a dash where the plan never stops the drug, or not in time to be followed."""
    return "-" if found is None or found["probability"] is None else percent(found["probability"])


def response(found: dict[str, Any] | None) -> str:
    """The probability of a response to a restart; a dash where the plan never restarts the drug, or not in time."""
    return flare(found)


def days(value: float | None, horizon: float) -> str:
    """Days as whole numbers; what is not reached lies beyond the horizon."""
    return f"> {horizon:.0f}" if value is None else f"{value:.0f}".replace("-", "−")


def signed(value: float | None) -> str:
    """A gain in days: whole with its sign, one decimal under 10."""
    if value is None:
        return "–"
    text = f"{value:+.1f}".removesuffix(".0") if abs(value) < 9.95 else f"{value:+.0f}"
    return "0" if text in ("+0", "-0") else text.replace("-", "−")


def joined(names: list[str]) -> str:
    """a, b and c."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def informed(known: bool | None) -> str:
    """What a mark of `validation.identify` says."""
    return {True: "informed", False: "not informed", None: "derived"}[known]


def data_say(row: dict[str, Any], rates: dict[str, Any]) -> str:
    """What the data say of a parameter: its verdict, or what a derived one hangs on and which of that is not informed."""
    if row["informed"] is not None or not row["depends_on"]:
        return informed(row["informed"]) + (", against the prior" if row["against_prior"] else "")
    open_ones = [name for name in row["depends_on"] if not rates[name]["informed"]]
    told = f"; not informed: {joined(open_ones)}" if open_ones else ", all informed"
    return f"derived from {joined(row['depends_on'])}{told}"


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    return f"{text[:1].upper()}{text[1:]}."


def outlook(plan: str, ends: dict[str, Any], horizon: float) -> str:
    """What is expected under one plan, in a sentence: for a forecast without a plan to compare."""
    times = [days(ends["time_to_progression"][level], horizon) for level in ("q05", "q50", "q95")]
    return (
        f'Under "{plan}" the probability of progression within {horizon:.0f} days is '
        f"{percent(ends['progressed_by_horizon'])} (median time {times[1]} days, 90 % of futures: {times[0]} to {times[2]})."
    )


MODEL = (
    "Three kinds of cells: S (sensitive), P (persisters, which tolerate the drug for a while and may turn back) and R "
    "(resistant for good). The burden measured follows their sum.",
    "S divide, die and are killed by the drug; under the drug some turn into P; P turn back into S, mostly when the drug "
    "is away; R arise by mutation of S and, more often, of P on drug.",
    "The drug builds up and fades with a time constant of its own; growth slows as the tumour fills its room.",
    "A fit finds all rates that agree with the series and with what was known before (the prior). It allows for error of "
    "measurement, values under the limit of the assay, and a slow wander around the curve.",
    "A forecast carries draws of that fit on as whole cells by chance, under each plan with the same random numbers, and "
    "judges progression on measured values at visits.",
)
"""The model in five lines."""

VARIANT = {
    "sr": "This fit is of the variant sr: there are no P.",
    "sp": "This fit is of the variant sp: there are no R.",
    "spr-tis": "This fit is of the variant spr-tis: S that the drug kills send a signal by which R divide faster.",
    "spr-shed": "This fit is of the variant spr-shed: P shed less of the measured marker than S and R do, so that turning "
    "into P and back moves the burden by itself; and the drug acts by an effect that saturates, and so outlasts it.",
    "attenuation": "This fit is of the variant attenuation: there are no P; the kill of S fades with time on drug and "
    "recovers off it.",
}
"""What a model variant changes in that."""


def model(variant: str) -> tuple[str, ...]:
    """The lines of a model variant."""
    return (*MODEL, VARIANT[variant]) if variant in VARIANT else MODEL


SOURCES = (
    "Wu and others 2019, doi 10.3934/mbe.2019176: what of such models can be identified from PSA.",
    "Johnson 2020: forecasts of regimens not yet seen, from totals and from composition.",
    "Bozic and others 2013, doi 10.7554/eLife.00747: rates of birth, death and mutation in patients.",
    "Vehtari and others 2021, doi 10.1214/20-BA1221: R-hat and effective sample sizes.",
)
"""What the page leans on, beside the sources of the priors."""
