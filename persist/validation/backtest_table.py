"""What a back-test says: averages of the scores with their intervals, the model beside every baseline, and all rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist.validation.baselines import REPLAY
from persist.validation.cuts import HORIZONS, fails
from persist.validation.scoring import BOUNDS, COVERED, REPEATS, bootstrap, brier

if TYPE_CHECKING:
    from persist.validation.backtest import Judged, Place
    from persist.validation.scoring import Score

type Columns = dict[str, np.ndarray]

SPANS = tuple(f"{low:g}-{high:g}" for low, high in HORIZONS)
"""Names of the horizons."""

BOTH = "model with repeat"
"""What the table calls the pool of the model and the previous cycle over again."""


def as_json(tested: list[Judged], rules: dict[str, list[Score]], seed: int) -> dict[str, Any]:
    """``model``, ``baselines``, ``difference`` (model less it: under 0 the model is better), ``rows``, and ``with_repeat``:
    the pool of the model and of the previous cycle over again (`Judged.both`), with its own difference to that cycle.
    """
    where = [one.place for one in tested]
    scores = [one.score for one in tested]
    own, others = columns(where, scores), {name: columns(where, theirs) for name, theirs in rules.items()}
    return {
        "model": summary(own, seed) | {"event": event(tested, seed)},
        "with_repeat": _with_repeat(tested, others, seed),
        "baselines": {name: summary(every, seed) for name, every in others.items()},
        "difference": {name: difference(own, every, seed) for name, every in others.items()},
        "fits": fits(tested),
        "rows": rows(where, scores),
    }


def _with_repeat(tested: list[Judged], others: dict[str, Columns], seed: int) -> dict[str, Any] | None:
    """Of the pool of model and replay the averages, and the difference to the replay; None where they were not pooled. Whether
    the next period fails is not told: draws of the replay go up and down together.
    """
    both = [one.both for one in tested if one.both is not None]
    if len(both) < len(tested) or REPLAY not in others:
        return None
    every = columns([one.place for one in tested], both)
    return summary(every, seed) | {"difference": difference(every, others[REPLAY], seed)}


def fits(tested: list[Judged]) -> dict[str, Any]:
    """How the fits of the landmarks went: the worst R-hat, how many lie over 1.05, how many have divergent transitions."""
    worst = np.array([one.max_rhat for one in tested])
    diverging = sum(one.divergences > 0 for one in tested)
    return {"max_rhat": float(worst.max()), "over_1.05": int((worst > 1.05).sum()), "divergent": diverging}


def columns(where: list[Place], scores: list[Score]) -> Columns:
    """All scored values in one column each: patient, days after the landmark, and the scores."""
    after = [place.cut.after[place.cut.scored] for place in where]
    names = [np.full(len(days), place.name) for place, days in zip(where, after, strict=True)]
    found = {"patient": np.concatenate(names), "after": np.concatenate(after)}
    for name in ("crps", "log_score", "pit", "median", "held"):
        found[name] = np.concatenate([getattr(one, name) for one in scores])
    return found


def summary(every: Columns, seed: int) -> dict[str, Any]:
    """Averages of one way to forecast, the CRPS by horizon with its interval."""
    spans = {name: _in(every["after"], span) for name, span in zip(SPANS, HORIZONS, strict=True)}
    rng = np.random.default_rng(seed)
    by_span = {name: bootstrap(every["patient"][use], every["crps"][use], rng) for name, use in spans.items()}
    held = [bootstrap(every["patient"], every["held"][:, k].astype(float), rng) for k in range(len(COVERED))]
    logs = bootstrap(every["patient"], every["log_score"], rng)
    return {
        "crps": {name: one["mean"] for name, one in by_span.items()},
        "crps_interval": {name: [one["q05"], one["q95"]] for name, one in by_span.items()},
        "log_score": logs["mean"],
        "log_score_interval": [logs["q05"], logs["q95"]],
        "coverage": {str(share): one["mean"] for share, one in zip(COVERED, held, strict=True)},
        "coverage_interval": {str(share): [one["q05"], one["q95"]] for share, one in zip(COVERED, held, strict=True)},
        "values": {name: int(use.sum()) for name, use in spans.items()},
    }


def _in(after: np.ndarray, span: tuple[float, float]) -> np.ndarray:
    return np.asarray((after > span[0]) & (after <= span[1]))


def difference(mine: Columns, theirs: Columns, seed: int) -> dict[str, Any]:
    """CRPS of the model less that of another way, value by value: mean and interval, over all and by horizon, and the share of
    the other's that the model saves.
    """
    rng = np.random.default_rng(seed)
    gap = mine["crps"] - theirs["crps"]
    found = bootstrap(mine["patient"], gap, rng)
    for name, span in zip(SPANS, HORIZONS, strict=True):
        use = _in(mine["after"], span)
        one = bootstrap(mine["patient"][use], gap[use], rng)
        better = -float(gap[use].mean() / theirs["crps"][use].mean()) if use.any() else None
        found[name] = one | {"saved": better}
    return found


def event(tested: list[Judged], seed: int) -> dict[str, Any]:
    """The next period on drug fails: how well the model's probability tells, with intervals by patients."""
    judged = [one for one in tested if np.isfinite(one.fails)]
    happened = np.array([float(fails(one.place.cut.value[one.place.cut.period])) for one in judged])
    said = np.array([one.fails for one in judged])
    fold = np.array([one.place.fold for one in judged])
    base = np.array([happened[fold != mine].mean() if (fold != mine).any() else np.nan for mine in fold])
    names, place = np.unique([one.place.name for one in judged], return_inverse=True)
    found: dict[str, Any] = dict(brier(said, happened, base)) | {"periods": len(judged), "failed": int(happened.sum())}
    rng, seen = np.random.default_rng(seed), []
    for _ in range(REPEATS if len(judged) else 0):
        taken = np.concatenate([np.flatnonzero(place == k) for k in rng.integers(len(names), size=len(names))])
        seen.append(brier(said[taken], happened[taken], base[taken]))
    for name in ("brier", "brier_skill", "auc", "balanced_accuracy"):
        drawn = [value for one in seen if (value := one[name]) is not None]
        found[f"{name}_interval"] = [float(edge) for edge in np.quantile(drawn, BOUNDS)] if drawn else None
    return found


def rows(where: list[Place], scores: list[Score]) -> list[dict[str, Any]]:
    """One object for each value that is scored."""
    found = [
        {"median": float(np.exp(median)), "crps": float(crps), "log_score": float(log_score), "pit": float(pit)}
        for one in scores
        for median, crps, log_score, pit in zip(one.median, one.crps, one.log_score, one.pit, strict=True)
    ]
    return [value | told for value, told in zip(values(where), found, strict=True)]


def values(where: list[Place]) -> list[dict[str, Any]]:
    """Every value that is scored: whose, from which landmark, on which day, what it was; under the ``floor`` no difference
    counts.
    """
    return [
        {
            "patient_id": place.name,
            "landmark": float(place.cut.day),
            "time_days": float(place.cut.days[at]),
            "observed": float(np.exp(place.cut.value[at])),
            "floor": float(np.exp(place.cut.floor[at])),
        }
        for place in where
        for at in np.flatnonzero(place.cut.scored)
    ]
