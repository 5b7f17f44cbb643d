"""The object of a comparison: scores of several models by patient and over all patients, in numbers and in sentences.

Leave-future-out is over those cuts at which the weights hold in every model, so that all are judged by the same values; what
share of all cuts that is, is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from persist.validation.standings import Standing, standings, words

if TYPE_CHECKING:
    from collections.abc import Mapping

    from persist.validation.held_out import Scores

KINDS = ("loo", "lfo")
"""The ways of holding out."""
MOSTLY = 0.5
"""If the weights hold at a smaller share of the cuts, leave-future-out is said to be unreliable."""


class Held(NamedTuple):
    """Scores of one patient under one model, by leave-one-out and leave-future-out."""

    loo: Scores
    lfo: Scores


def _common(held: Mapping[str, Held]) -> np.ndarray:
    """The cuts at which the weights hold in every model, ``(n_cuts,)``."""
    return np.all([one.lfo.holds for one in held.values()], axis=0)


def _standings(held: Mapping[str, Held], overlap: int) -> dict[str, dict[str, Standing]]:
    """By leave-one-out, and by leave-future-out if there are cuts that hold."""
    common = _common(held)
    found = {"loo": standings({name: one.loo.elpd for name, one in held.items()})}
    if common.any():
        found["lfo"] = standings({name: one.lfo.elpd[common] for name, one in held.items()}, overlap=overlap)
    return found


def patient(held: Mapping[str, Held], first: int, ahead: int) -> dict[str, Any]:
    """One patient of the object; the first cut of leave-future-out knows ``first`` values, each foretells ``ahead``."""
    ranked, common = _standings(held, ahead), _common(held)
    share = float(common.mean()) if len(common) else 0.0
    values = len(next(iter(held.values())).loo.elpd)
    return {
        "values": values,
        "models": {name: _model(one, ranked, name) for name, one in held.items()},
        "differences": _differences(ranked),
        "lfo": {
            "first": first,
            "ahead": ahead,
            "cuts": len(common),
            "held": int(common.sum()),
            "held_share": share,
            "reliable": share >= MOSTLY,
        },
        "sentences": [*_loo_words(held, ranked["loo"]), _lfo_words(ranked.get("lfo"), common)],
    }


def _model(one: Held, ranked: Mapping[str, Mapping[str, Standing]], name: str) -> dict[str, Any]:
    loo, lfo = ranked["loo"][name], ranked.get("lfo", {}).get(name)
    return {
        "elpd_loo": loo.elpd,
        "se": loo.se,
        "weight_loo": loo.weight,
        "khat_max": float(one.loo.khat.max()),
        "khat_bad": int((~one.loo.holds).sum()),
        "khat_limit": one.loo.limit,
        "elpd_lfo": None if lfo is None else lfo.elpd,
        "se_lfo": None if lfo is None else lfo.se,
        "weight_lfo": None if lfo is None else lfo.weight,
        "khat_lfo": [float(value) for value in one.lfo.khat],
        "held_lfo": float(one.lfo.holds.mean()) if len(one.lfo.khat) else 0.0,
        "refitted": list(one.lfo.refitted),
    }


def _differences(ranked: Mapping[str, Mapping[str, Standing]]) -> dict[str, Any]:
    """Of each model to the best, by the way of holding out; null where there is none."""
    told = {
        kind: {
            name: {"elpd": one.difference, "se": one.difference_se, "tie": one.tie, "best": one.difference == 0.0}
            for name, one in found.items()
        }
        for kind, found in ranked.items()
    }
    return {kind: told.get(kind) for kind in KINDS}


def _loo_words(held: Mapping[str, Held], found: Mapping[str, Standing]) -> list[str]:
    bad = {name: int((~one.loo.holds).sum()) for name, one in held.items() if not one.loo.holds.all()}
    limit = next(iter(held.values())).loo.limit
    doubt = ", ".join(f"{count} of {len(held[name].loo.khat)} for {name}" for name, count in bad.items())
    return [
        words(found, "single left-out values"),
        *([f"Its importance weights fail (k-hat over {limit:.2f}) at {doubt}: mind these values."] if bad else []),
    ]


def _lfo_words(found: Mapping[str, Standing] | None, common: np.ndarray) -> str:
    if not len(common):
        return "The series is too short to leave its future out (--first)."
    if found is None:
        return f"Leave-future-out fails at all {len(common)} cuts: no model can be judged by it without --refit."
    told = f"Leave-future-out holds at {int(common.sum())} of {len(common)} cuts. There: {words(found, 'what follows')}"
    if common.mean() < MOSTLY:
        told += " At the other cuts the weights fail in some model, so this is unreliable; --refit fits anew there."
    return told


def together(held: Mapping[str, Mapping[str, Held]], ahead: int) -> dict[str, Any]:
    """All patients at once, value by value; errors of differences are at least those of the patients' sums."""
    models = list(next(iter(held.values())))
    kept = {patient: _common(mine) for patient, mine in held.items()}
    parts = {
        "loo": {(name, who): mine[name].loo.elpd for who, mine in held.items() for name in models},
        "lfo": {(name, who): mine[name].lfo.elpd[kept[who]] for who, mine in held.items() for name in models},
    }
    ranked = {}
    for kind, scores in parts.items():
        whose = np.concatenate([np.full(len(scores[models[0], who]), place) for place, who in enumerate(held)])
        if len(whose):
            joined = {name: np.concatenate([scores[name, who] for who in held]) for name in models}
            ranked[kind] = standings(joined, whose, ahead if kind == "lfo" else 1)
    rows = {
        name: {
            key: getattr(found[name], part)
            for kind, found in ranked.items()
            for key, part in (
                (f"elpd_{kind}", "elpd"),
                ("se" if kind == "loo" else "se_lfo", "se"),
                (f"weight_{kind}", "weight"),
            )
        }
        for name in models
    }
    sentence = words(ranked["loo"], f"single left-out values of all {len(held)} patients")
    return {"models": rows, "differences": _differences(ranked), "sentences": [sentence]}
