"""What the rows of `benefit` say: is P(benefit) right, are the verdicts, and what is lost beside one who knows the truth.

    logit P(gain > 0) = a + b logit p            calibration: intercept a and slope b (Cox 1958), 0 and 1 of a right forecast
    Brier skill = 1 - sum (p - y)^2 / sum (base - y)^2          base: the share of each plan that gained
    lost = sum of (gain of who knows - gain of what was chosen) / sum of gains of who knows       over patients, in true means

p is the forecast's share of futures in which a plan fails later than the reference, y whether it did in the one that came.
Intervals draw patients, whose plans hang together, with the calibration fitted and the base rates taken again each time. A
slope under 1 says that p is too sure of itself, one over 1 that it is too timid.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from persist.forecast.choose import choose
from persist.validation.identify import wilson
from persist.validation.scoring import BOUNDS, REPEATS, auc

EDGES = (0.0, 0.05, 0.2, 0.4, 0.6, 0.8, 0.95, 1.0)
"""Ends of the classes of P(benefit) in the table."""
RIDGE, ROUNDS = 1e-3, 25
"""A normal prior of precision `RIDGE` keeps the fit finite where p parts all gains from the rest; rounds of Newton."""


class Told(NamedTuple):
    """Forecasts of all patients and plans, each ``(n,)``: number of the ``patient`` and of the ``plan``, ``probability`` of a
    gain, whether time was ``gained`` or ``lost`` in the future that came, the ``verdict``; and the ``share`` of the truth's
    futures with a gain (NaN: not known).
    """

    patient: np.ndarray
    plan: np.ndarray
    probability: np.ndarray
    gained: np.ndarray
    lost: np.ndarray
    verdict: np.ndarray
    share: np.ndarray


def told(rows: list[dict[str, Any]]) -> Told:
    """Forecasts of the rows that have any."""
    plans = list(rows[0]["plans"])
    flat = [(at, plans.index(plan), one) for at, row in enumerate(rows) for plan, one in row["plans"].items()]
    days = np.array([one["realised"] for *_, one in flat])
    return Told(
        *(np.array([one[place] for one in flat]) for place in (0, 1)),
        np.array([one["probability"] for *_, one in flat]),
        days > 0.0,
        days < 0.0,
        np.array([one["verdict"] for *_, one in flat]),
        np.array([np.nan if one["share"] is None else one["share"] for *_, one in flat]),
    )


def again(patients: int, rng: np.random.Generator, repeats: int = REPEATS) -> np.ndarray:
    """How often each patient is taken: once, and then as the bootstrap draws them ``(1 + repeats, patients)``."""
    drawn = rng.multinomial(patients, np.full(patients, 1.0 / patients), size=repeats)
    return np.concatenate([np.ones((1, patients)), drawn])


def with_ends(values: np.ndarray) -> dict[str, float]:
    """The first of some values, and quantiles of those of the others that are known (NaN: none is)."""
    known = values[1:][~np.isnan(values[1:])]
    low, high = np.quantile(known, BOUNDS) if len(known) else (math.nan, math.nan)
    return {"mean": float(values[0]), "q05": float(low), "q95": float(high)}


def calibration(probability: np.ndarray, outcome: np.ndarray, weight: np.ndarray, futures: int) -> np.ndarray:
    """Intercept and slope ``(m, 2)`` of outcomes ``(n,)``, or their probabilities, for each row of weights ``(m, n)``; p is
    kept half a future of ``futures`` off 0 and 1, nearer to which it cannot be told.
    """
    inside = np.clip(probability, 0.5 / futures, 1.0 - 0.5 / futures)
    x = np.log(inside / (1.0 - inside))
    row = np.stack([np.ones(len(x)), x], axis=1)
    pairs, found = (row[:, :, None] * row[:, None, :]).reshape(-1, 4), np.zeros((len(weight), 2))
    for _ in range(ROUNDS):
        mean = 1.0 / (1.0 + np.exp(np.minimum(-found @ row.T, 700.0)))
        slope = (weight * (outcome - mean)) @ row - RIDGE * found
        bend = ((weight * mean * (1.0 - mean)) @ pairs).reshape(-1, 2, 2) + RIDGE * np.eye(2)
        found = found + np.clip(np.linalg.solve(bend, slope[..., None])[..., 0], -1.0, 1.0)
    return found


def skill(all_of: Told, weight: np.ndarray) -> np.ndarray:
    """Brier score and its skill over the base rate of each plan ``(m, 2)``, for each row of weights ``(m, n)``."""
    of_plan = all_of.plan[:, None] == np.unique(all_of.plan)
    base = (weight * all_of.gained) @ of_plan / np.maximum(weight @ of_plan, 1.0)
    plain = (weight * (base @ of_plan.T.astype(float) - all_of.gained) ** 2).sum(axis=1)
    own = weight @ (all_of.probability - all_of.gained) ** 2
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.stack([own / weight.sum(axis=1), np.where(plain > 0.0, 1.0 - own / plain, np.nan)], axis=1)


def reliability(all_of: Told) -> list[dict[str, Any]]:
    """Of each class of p: how many forecasts, their mean, and the share that gained."""
    place = np.clip(np.digitize(all_of.probability, EDGES) - 1, 0, len(EDGES) - 2)
    found = []
    for at in np.unique(place):
        mine = place == at
        said, came = float(all_of.probability[mine].mean()), float(all_of.gained[mine].mean())
        found.append({"from": EDGES[at], "to": EDGES[at + 1], "n": int(mine.sum()), "mean": said, "gained": came})
    return found


def verdicts(all_of: Told) -> dict[str, dict[str, Any]]:
    """Of each verdict: how often it was given, the shares that gained and lost, the share of what it says that was right, with
    the 90 % interval of independent forecasts (those of one patient are not: rather too narrow), and the mean probability of a
    gain in the truth.
    """
    found = {}
    for verdict, right in (("benefit", all_of.gained), ("harm", all_of.lost), ("cannot tell", None)):
        mine = all_of.verdict == verdict
        row: dict[str, Any] = {"n": int(mine.sum()), "patients": len(np.unique(all_of.patient[mine]))}
        if mine.any():
            row |= {"gained": float(all_of.gained[mine].mean()), "lost": float(all_of.lost[mine].mean())}
            row |= {"share": float(all_of.share[mine].mean())}
        if mine.any() and right is not None:
            low, high = wilson(float(right[mine].mean()), float(mine.sum()), BOUNDS[0])
            row |= {"right": float(right[mine].mean()), "q05": low, "q95": high}
        found[verdict] = row
    return found


def scores(rows: list[dict[str, Any]], futures: int, rng: np.random.Generator) -> dict[str, Any]:
    """All of it, of the rows of one family."""
    all_of, known = told(rows), [row["optimise"] for row in rows if row["optimise"] is not None]
    times = again(len(rows), rng)
    weight = times[:, all_of.patient]
    brier, yes = skill(all_of, weight), all_of.gained
    found: dict[str, Any] = {"patients": len(rows), "forecasts": len(yes), "gained": float(yes.mean())}
    found |= _lines(calibration(all_of.probability, yes.astype(float), weight, futures), "")
    if not np.isnan(all_of.share).any():  # the same without the chance of the one future that came
        found |= _lines(calibration(all_of.probability, all_of.share, weight, futures), "_of_share")
    found |= {"brier": with_ends(brier[:, 0]), "brier_skill": with_ends(brier[:, 1])}
    both = yes.any() and not yes.all()
    found["auc"] = auc(all_of.probability[yes], all_of.probability[~yes]) if both else None
    found |= {"reliability": reliability(all_of), "verdicts": verdicts(all_of)}
    if known:
        found["lost"] = {
            name: {
                oracle: lost(*(np.array([one[part] for one in known]) for part in (oracle, name)), times)
                for oracle in ("oracle", "oracle_at_most")
            }
            for name in ("advised", "best_gain")
        }
    return found


def _lines(of: np.ndarray, name: str) -> dict[str, Any]:
    return {f"{part}{name}": with_ends(of[:, at]) for at, part in enumerate(("intercept", "slope"))}


def lost(oracle: np.ndarray, chosen: np.ndarray, times: np.ndarray) -> dict[str, float]:
    """The share of the gains of who knows the truth that a choice loses, patients ``(n,)`` taken ``times`` ``(m, n)``."""
    whole = times @ oracle
    with np.errstate(divide="ignore", invalid="ignore"):
        return with_ends(np.where(whole > 0.0, times @ (oracle - chosen) / whole, np.nan))


def who_knows(gains: np.ndarray, pools: np.ndarray) -> tuple[float, float, int | None]:
    """Mean gain of who knows the truth and picks the best of all plans ``(n_plans, n_futures, 1)`` and the reference: picked on
    one half of the futures and valued on the other, and the other way round; the same on all of them; and the place of the best
    (None: the reference). The first lacks what a half picks wrongly, the second has the luck of the futures that it was
    picked on: what there is to gain lies between them, on average.
    """
    stay = np.zeros((1, *gains.shape[1:]))
    found = choose(np.concatenate([stay, gains]), np.concatenate([np.ones((2, 1), bool), pools], axis=1))
    assert found is not None  # the reference is open to both halves
    return float(found.honest.mean()), found.naive, found.best - 1 if found.best else None


def table(found: dict[str, Any], say: Callable[[str], None] = print) -> None:
    """A short table of the scores of one family."""
    whole = f"{found['patients']} patients, {found['forecasts']} forecasts"
    say(f"{whole}, {found['gained']:.0%} gained, AUC {found['auc'] or math.nan:.2f}")
    for name in ("slope", "slope_of_share", "intercept", "intercept_of_share", "brier", "brier_skill"):
        if name in found:
            say(f"  {name:<18} {_with_ends(found[name])}")
    for row in found["reliability"]:
        say(f"  P {row['from']:g} to {row['to']:g}: {row['n']:>4} at {row['mean']:.2f}, {row['gained']:.2f} gained")
    for name, row in found["verdicts"].items():
        right = f", right {row['right']:.0%} ({row['q05']:.0%} to {row['q95']:.0%})" if "right" in row else ""
        say(f"  {name:<12} {row['n']:>4} of {row['patients']} patients{right}")
    for name, row in found.get("lost", {}).items():
        ends = " to ".join(_with_ends(row[oracle]) for oracle in ("oracle", "oracle_at_most"))
        say(f"  lost by {name:<10} {ends} of the gain of who knows the truth")


def _with_ends(row: dict[str, float]) -> str:
    return f"{row['mean']:.2f} ({row['q05']:.2f} to {row['q95']:.2f})"
