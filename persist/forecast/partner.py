"""A second drug, beside or after the one that was fitted: what is known of it is what the user says.

No fit knows it, so its kills are given as 90 % ranges, from which every posterior draw gets values of its own: log-normal
between ``LOW..HIGH``, or one number for all. It adds its kills to the deaths of S, P and R (kills of several drugs add) and
does nothing else: it induces no tolerance, and no cell becomes resistant to it. Its lag is the catalogue's where that knows the
drug, else that of the pack of priors.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, NamedTuple

import jax
import numpy as np

from persist import keys
from persist.dynamics.paths import Partner
from persist.errors import UsageError
from persist.inference.drug_priors import follows
from persist.inference.priors import Prior, known, load_pack, quantile

if TYPE_CHECKING:
    from persist.treatment.schedule import Plan

KILLS = ("kill_s", "kill_p", "kill_r")
LAGS = ("onset_days", "washout_days")
EXAMPLE = "kill_s=0.02..0.06, kill_p=0.01..0.04, kill_r=0.02..0.06"


class Effect(NamedTuple):
    """What is said of a second drug: its ``drug`` name and ``ranges`` by rate (1/day, days), low and high ends alike where it
    is one number.
    """

    drug: str
    ranges: dict[str, tuple[float, float]]


def parse_effect(text: str) -> Effect:
    """An `Effect` from its text (as `EXAMPLE`, behind a drug and a colon); `UsageError` for what is none."""
    drug, colon, rest = text.partition(":")
    if not colon or not drug.strip():
        raise _wrong(text, "it names no drug")
    found: dict[str, tuple[float, float]] = {}
    for term in rest.split(","):
        name, ends = _term(term, text)
        if name in found:
            raise _wrong(text, f"{name} is there twice")
        found[name] = ends
    if not any(found.get(name, (0.0, 0.0))[1] > 0.0 for name in KILLS):
        raise _wrong(text, "it kills nothing")
    return Effect(drug.strip(), found)


def _term(term: str, text: str) -> tuple[str, tuple[float, float]]:
    """A rate and the ends of its range."""
    name, equals, ends = (part.strip() for part in term.partition("="))
    if not equals or name not in (*KILLS, *LAGS):
        raise _wrong(text, f'"{term.strip()}" is not one of {", ".join((*KILLS, *LAGS))} with a value')
    low, dots, high = ends.partition("..")
    try:
        pair = float(low), float(high if dots else low)
    except ValueError:
        raise _wrong(text, f'"{ends}" is no number and no range') from None
    if not 0.0 <= pair[0] <= pair[1] < math.inf or (dots and pair[0] <= 0.0):
        raise _wrong(text, f"{name}={ends} is not a range of rates (from a low end over 0 to a higher one)")
    return name, pair


def _wrong(text: str, what: str) -> UsageError:
    return UsageError(
        what, where=f'--partner "{text}"', remedy=f'write DRUG: and its kills, such as --partner "B: {EXAMPLE}"'
    )


def check_partner(plans: tuple[Plan, ...], effect: Effect | None) -> None:
    """`UsageError` where plans have a second drug of which nothing is said, or another one, or where none has one."""
    second = {plan.other.name: plan for plan in plans if plan.other is not None}
    for name, plan in second.items():
        if effect is None or effect.drug.lower() != name.lower():
            what = f"nothing is known of what {name} does: the fit is of the first drug of a plan"
            raise UsageError(
                what, where=f'plan "{plan.text}"', remedy=f'give persist forecast --partner "{name}: {EXAMPLE}"'
            )
    if effect is not None and not second:
        what = f"no plan gives {effect.drug}"
        raise UsageError(what, where="--partner", remedy=f'write --plan "A: on; {effect.drug}: on", A the fitted drug')


def check_names(plans: tuple[Plan, ...]) -> None:
    """`UsageError` where plans name several drugs first, or one of them first and second: the first is the fitted one."""
    first: dict[str, Plan] = {}
    for plan in (plan for plan in plans if plan.drug):
        first.setdefault(plan.drug.lower(), plan)
    second = {plan.other.name.lower() for plan in plans if plan.other is not None}
    odd = [plan for name, plan in first.items() if name in second] or list(first.values())[1:]
    if odd:
        what = (
            f"{odd[0].drug} stands first here and is not the first drug of all plans, which is the one that was fitted"
        )
        raise UsageError(
            what, where=f'plan "{odd[0].text}"', remedy=f"write the fitted drug first: A: off; {odd[0].drug}: on"
        )


def drawn(effect: Effect, pack: str, seed: int, patient: str, draws: int) -> Partner:
    """What each draw ``(n_draws,)`` takes the drug to do."""
    rng = np.random.default_rng(np.asarray(jax.random.key_data(keys.key(seed, patient, "partner"))))
    named = known(pack, follows(effect.drug, pack)[0]) if effect.drug else pack
    entries = load_pack(named, "one").entries
    found = {}
    for name in (*KILLS, *LAGS):
        level = (rng.permutation(draws) + rng.uniform(size=draws)) / draws  # one in each n-th of the law
        low, high = effect.ranges.get(name, (0.0, 0.0))
        if name in effect.ranges or name in KILLS:
            found[name] = np.full(draws, low) if low == high else quantile(_range(low, high), level)
        else:
            found[name] = quantile(entries[name], level)
    return Partner(**found)


def _range(low: float, high: float) -> Prior:
    """The log-normal law with these 5 and 95 % points."""
    return Prior("log-normal", low, high, None, "1/day", "A", "given by the user")


def told(effect: Effect) -> str:
    """A sentence on what is assumed of the drug."""
    parts = ", ".join(
        f"{name} {low:g}" if low == high else f"{name} {low:g} to {high:g}"
        for name, (low, high) in effect.ranges.items()
    )
    rest = "" if all(name in effect.ranges for name in KILLS) else "; other kills 0"
    return (
        f"{effect.drug} was not fitted: what it does is what was given ({parts}{rest}), and none of its resistance or "
        "tolerance is foreseen"
    )
