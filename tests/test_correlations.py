"""Pairs that a series shows only together: strong ones are told, with the two stories the right way round."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import spearmanr

from persist.inference.model import sampled
from persist.inference.priors import load_pack
from persist.validation.correlations import EXTREMES, PAIRS, correlations, rank_correlation


def draws(correlation: float, size: int = 1000, *, names=("reversion", "washout_days")) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    z = rng.standard_normal((2, 2, size))
    z[1] = correlation * z[0] + np.sqrt(1.0 - correlation**2) * z[1]
    return dict(zip(names, np.exp(z), strict=True))


def test_rank_correlation_is_spearmans() -> None:
    one = draws(0.6)
    want = spearmanr(*(part.ravel() for part in one.values())).statistic
    assert rank_correlation(*one.values()) == pytest.approx(want, abs=1e-12)


def test_the_two_stories_follow_the_sign() -> None:
    (less,), (more,) = correlations(draws(-0.8)), correlations(draws(0.8))
    assert less["value"] < -0.7
    assert "a slow return of persisters with a slow fading of the drug" in less["sentence"]
    assert "a fast return of persisters with a fast fading of the drug" in less["sentence"]
    assert "a slow return of persisters with a fast fading of the drug" in more["sentence"]
    assert "rank correlation -0.7" in less["sentence"]


def test_weak_or_doubtful_pairs_and_others_are_not_told() -> None:
    assert correlations(draws(0.4)) == []
    assert correlations(draws(0.8, size=5)) == []
    assert correlations(draws(0.9, names=("reversion", "turnover_s"))) == []
    still = draws(0.9) | {"washout_days": np.ones((2, 1000))}
    assert correlations(still) == []


def test_the_strongest_comes_first() -> None:
    both = draws(0.6) | draws(0.95, names=("resistant_0", "cost_r"))
    assert [row["pair"][0] for row in correlations(both)] == ["resistant_0", "reversion"]


def test_every_pair_has_its_words_and_its_parameters() -> None:
    names = set(sampled(load_pack("clinical", "psa"), "spr-shed", doubtful=True))
    assert {name for pair in PAIRS for name in pair} <= set(EXTREMES) & names
