"""What a series leaves open, and which measurement would help the decision most.

The decision is a pause: give the drug at full dose, or stop for `PAUSE` months and then go on. What it hangs on is

    G = log burden after a year on drug - log burden after a year with the pause,      by the mean field, of each posterior draw

(over 0: the pause pays). A measurement to come is a vector x of what it would show, known for each draw, plus an error of known
variance V. To first order it removes the share

    value = c' (C + V)^-1 c / var(g),     g the normal scores of G,  c = cov(x, g),  C = cov(x)       over the draws

of the variance of g (the preposterior analysis of Raiffa & Schlaifer 1961, linear as in Goldstein & Wooff 2007,
10.1002/9780470065662). What needs a change of treatment is ranked too, but not proposed before what needs none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from jax.scipy.special import ndtri

from persist.dynamics.observe import NOISE_SCALE, NOISE_WEIGHT, correlation
from persist.inference import posterior, store
from persist.inference.cohort import case, observable, one_schedule, pad
from persist.inference.curve import trace_curves
from persist.inference.priors import base_of
from persist.inference.subject import subject
from persist.records.stops import doubtful
from persist.treatment.schedule import splice
from persist.types import Schedule
from persist.validation.gate import MONTH_DAYS
from persist.validation.visible import Visible, visible

if TYPE_CHECKING:
    from collections.abc import Callable

    from persist.types import Series

DRAWS = 400
PAUSE, HORIZON = 3.0, 12.0
WEEKS = (0.5, 1.0, 1.5)
"""Months after a change of dose at which frequent values are taken."""
LOOKS = (*WEEKS, 2.0, PAUSE, *(PAUSE + week for week in WEEKS), 6.0, 9.0, HORIZON)
"""Months after the last visit at which both futures are looked at."""
SEEN_SHARE, SHARE_ERROR, LEVEL_ERROR = 1e-3, 0.3, 0.2
"""A smaller share of marked cells is not told from none; errors of the log of a share, and of the log of a time constant."""
LITTLE = 0.1
"""A measurement of less value would hardly change what is known of the decision."""


class Foresight(NamedTuple):
    """Of every draw: its parameters ``values`` ``(n,)``, the ``shares`` of S, P, R at the last visit ``(n, 3)``, and the log
    burden at `LOOKS` after it, ``on`` drug and under the ``pause`` ``(n, len(LOOKS))``, less that at the last visit; days of a
    ``month``.
    """

    values: dict[str, np.ndarray]
    shares: np.ndarray
    on: np.ndarray
    pause: np.ndarray
    month: float

    @property
    def gain(self) -> np.ndarray:
        """G ``(n,)``."""
        return np.asarray(self.on[:, -1] - self.pause[:, -1])


class Measurement(NamedTuple):
    """``what`` it is, the parameters it ``informs`` and what is ``open`` without it, whether a design ``lacks`` it, whether it
    ``changes`` the treatment, and what it would show of each draw ``(n, k)`` with the variance of its errors ``(k,)``; None
    for an experiment that is not one on the patient, which is named and not ranked.
    """

    what: str
    informs: tuple[str, ...]
    open: str
    lacks: Callable[[Visible], bool]
    changes: Callable[[Visible], bool]
    shows: Callable[[Foresight], tuple[np.ndarray, np.ndarray]] | None


def _share(state: int) -> Callable[[Foresight], tuple[np.ndarray, np.ndarray]]:
    def shows(at: Foresight) -> tuple[np.ndarray, np.ndarray]:
        return np.log(at.shares[:, [state]] + SEEN_SHARE), np.array([SHARE_ERROR**2])

    return shows


def _exposure(at: Foresight) -> tuple[np.ndarray, np.ndarray]:
    names = [name for name in ("onset_days", "washout_days") if name in at.values]
    return np.log(np.stack([at.values[name] for name in names], axis=1)), np.full(len(names), LEVEL_ERROR**2)


def _burdens(plan: str, after: float) -> Callable[[Foresight], tuple[np.ndarray, np.ndarray]]:
    """Values at `WEEKS` after a month of a plan, against the one then; their errors are those of the series."""

    def shows(at: Foresight) -> tuple[np.ndarray, np.ndarray]:
        path = np.concatenate([np.zeros((len(at.on), 1)), getattr(at, plan)], axis=1)
        month = np.array([0.0, *LOOKS])
        base = path[:, [int(np.flatnonzero(month == after)[0])]]
        later = path[:, [int(np.flatnonzero(month == after + week)[0]) for week in WEEKS]]
        error, drift, days = (float(np.median(at.values[name])) for name in ("noise_sd", "wander_sd", "wander_days"))
        noise = error**2 * float(NOISE_WEIGHT @ NOISE_SCALE**2)
        drifted = drift**2 * (1.0 - correlation(at.month * np.array(WEEKS), days))
        return later - base, 2.0 * (noise + drifted)  # of both values

    return shows


MEASUREMENTS: dict[str, Measurement] = {
    "resistant fraction": Measurement(
        "the fraction of a resistance allele in ctDNA",
        ("resistant_0", "mutation", "cost_r", "kill_r_share"),
        "how many resistant cells there were, how fast new ones arise and what resistance costs them",
        lambda seen: "resistant" not in seen.markers,
        lambda _: False,
        _share(2),
    ),
    "persister fraction": Measurement(
        "the fraction of cells that carry a marker of persisters",
        ("tolerance_base", "tolerance_drug", "reversion", "persister_0"),
        "how often cells become persisters, and how fast they return",
        lambda seen: "persister" not in seen.markers,
        lambda _: False,
        _share(1),
    ),
    "exposure": Measurement(
        "the exposure itself (drug level; testosterone for androgen deprivation)",
        ("onset_days", "washout_days"),
        "whether a slow regrowth off drug is slow reversion or a drug that fades slowly",
        lambda seen: not seen.exposure,
        lambda _: False,
        _exposure,
    ),
    "weeks on drug": Measurement(
        "frequent values in the first 4 to 6 weeks on drug",
        ("decline_s", "onset_days"),
        "how fast the drug works and sensitive cells decline",
        lambda seen: not seen.on_now,
        lambda _: True,
        _burdens("on", 0.0),
    ),
    "weeks off drug": Measurement(
        "frequent values in the first weeks off drug",
        ("net_growth_s", "reversion", "washout_days", "effect_half"),
        "how the tumour regrows when the drug is away",
        lambda _: True,
        lambda seen: seen.on_now,
        _burdens("pause", 0.0),
    ),
    "rechallenge": Measurement(
        "a second period on the drug (rechallenge)",
        ("persister_0", "resistant_0", "reversion"),
        "whether persisters or resistant cells carry what is left",
        lambda seen: seen.periods < 2,
        lambda _: True,
        _burdens("pause", PAUSE),
    ),
    "co-culture": Measurement(
        "co-cultures of sensitive and resistant cells at several ratios, with and without the drug, counted apart",
        ("secretome_boost", "secretome_share"),
        "whether dying cells feed the resistant ones, and how much",
        lambda _: True,
        lambda _: False,
        None,
    ),
}
"""After the table of what each measurement informs (the README's "Limits")."""


def open_questions(rates: dict[str, Any], seen: Visible) -> list[dict[str, Any]]:
    """What the series leaves open: the question, its parameters that are not informed, the measurement that would tell."""
    found = []
    for one in MEASUREMENTS.values():
        missing = _missing(one, rates)
        if missing and one.lacks(seen):
            found.append({"question": one.open, "parameters": missing, "measurement": one.what})
    return found


def _missing(one: Measurement, rates: dict[str, Any]) -> list[str]:
    return [name for name in one.informs if rates.get(name, {}).get("informed") is False]


def next_measurement(fit: store.DataTree, patient: str, rates: dict[str, Any]) -> dict[str, Any]:
    """One patient's `next_measurement` object: the ranking by value, the one proposed and its sentence."""
    series = subject(fit, patient).series
    ahead = foresee(fit, patient)
    return propose(ahead, visible(series), rates)


def propose(ahead: Foresight, seen: Visible, rates: dict[str, Any]) -> dict[str, Any]:
    """The measurement of most value that needs no change of treatment (or, where all do, the best), in a sentence."""
    ranking: list[dict[str, Any]] = []
    for name, one in MEASUREMENTS.items():
        missing = _missing(one, rates)
        if missing and one.lacks(seen) and one.shows is not None:
            row = {"measurement": name, "value": value(*one.shows(ahead), ahead.gain), "parameters": missing}
            ranking.append(row | {"changes_treatment": one.changes(seen)})
    ranking.sort(key=lambda row: (row["changes_treatment"], -row["value"]))
    best = ranking[0] if ranking else None
    chosen = {"measurement": None, "value": None, "parameters": []} if best is None else best
    told = {key: chosen[key] for key in ("measurement", "value", "parameters")}
    elsewhere = [one.what for one in MEASUREMENTS.values() if one.shows is None and _missing(one, rates)]
    said = sentence(best, ranking)
    if best is None and elsewhere:
        said = f"no measurement on the patient would tell what is open; {elsewhere[0]}, would"
    return told | {"sentence": said, "ranking": ranking}


def sentence(best: dict[str, Any] | None, ranking: list[dict[str, Any]]) -> str:
    """What to measure next, how much of the doubt about a pause it would take away, and whether a change of treatment would
    show more.
    """
    if best is None:
        return "no measurement of the list is missing: what it would inform is informed"
    what, names = MEASUREMENTS[best["measurement"]].what, ", ".join(best["parameters"])
    share = f"{best['value']:.0%} of the variance in what a pause of {PAUSE:.0f} months would gain (it informs {names})"
    top = max(ranking, key=lambda row: row["value"])
    plain = "" if best["changes_treatment"] else " of those that need no change of treatment"
    more = ""
    if top["value"] >= max(LITTLE, best["value"] + LITTLE):
        other = MEASUREMENTS[top["measurement"]].what
        more = f"; {other}, which needs a change of treatment, would take away {top['value']:.0%}"
    if best["value"] < LITTLE:
        none = "no measurement without a change of treatment" if more else "no measurement"
        return f"{none} would tell much about a pause; the best, {what}, would take away about {share}{more}"
    return f"{what} would help most{plain}: it would take away about {share}{more}"


def value(shown: np.ndarray, error: np.ndarray, gain: np.ndarray) -> float:
    """Share of the variance of the gain's scores that what is shown ``(n, k)``, with errors of variance ``(k,)``, removes."""
    ranks = np.argsort(np.argsort(gain))
    target = np.asarray(ndtri((ranks + 0.5) / len(ranks)))
    if not (np.ptp(gain) > 0.0 and np.isfinite(shown).all()):
        return 0.0
    off = shown - shown.mean(axis=0)
    cross = off.T @ (target - target.mean()) / len(target)
    spread = off.T @ off / len(target) + np.diag(error)
    return float(np.clip(cross @ np.linalg.solve(spread, cross) / np.var(target), 0.0, 1.0))


def foresee(fit: store.DataTree, patient: str) -> Foresight:
    """Both futures of a patient under draws of the fit, by the mean field."""
    settings, series = store.attribute(fit, "settings"), subject(fit, patient).series
    values = posterior.thinned(fit, patient, DRAWS)
    month = MONTH_DAYS[base_of(settings["pack"])]
    on, shares = _ahead(values, series, 0.0, month, settings["pack"])
    pause, _ = _ahead(values, series, PAUSE, month, settings["pack"])
    return Foresight(values, shares, on, pause, month)


def _ahead(
    values: dict[str, np.ndarray], series: Series, pause: float, month: float, pack: str
) -> tuple[np.ndarray, np.ndarray]:
    """Log burden at `LOOKS` after the last visit less that at it, on full drug again after ``pause`` months; shares at it."""
    last, visits, more = float(series.day[-1]), len(series.day), len(LOOKS)
    planned = Schedule(np.array([last + pause * month]), np.array([np.inf]), np.ones(1))
    longer = series.until(last)._replace(
        day=np.append(series.day, last + month * np.array(LOOKS)),
        burden=np.append(
            series.burden, np.full(more, series.burden[-1])
        ),  # to have a place; its likelihood is not used
        censoring=np.append(series.censoring, np.zeros(more, series.censoring.dtype)),
        schedules={"drug": splice(one_schedule(series), planned, last)},
    )
    kind = observable(series.observable)
    padded = pad([longer], pack=pack, gaps=[doubtful(series, one_schedule(series))])  # a plan makes no stop doubtful
    curve = trace_curves(values, case(padded, 0, counted=kind.counted), kind.power)
    level = np.asarray(curve.level)[:, : visits + more]
    cells = np.stack([np.asarray(state)[:, visits - 1] for state in curve.cells], axis=-1)
    return level[:, visits:] - level[:, [visits - 1]], cells / np.maximum(cells.sum(axis=-1, keepdims=True), 1e-6)
