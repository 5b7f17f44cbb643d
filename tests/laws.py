"""Statistical checks: each has a stated chance of a false alarm, and says what was asked, what was seen and the limit.

A law is checked by one of the functions here, with fixed seeds; its power twin runs the same check on a planted error
and must see it (`must_fail`). ``alarm`` is the probability that a right program fails the check, 1e-6 by default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy import stats

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import ArrayLike

ALARM = 1e-6


class LawBrokenError(AssertionError):
    """A statistic is further from its law than chance allows."""

    def __init__(self, what: str, asked: float, seen: float, tolerance: float, alarm: float) -> None:
        super().__init__(
            f"{what}: asked {asked:.6g}, seen {seen:.6g}, tolerance {tolerance:.3g} (false alarm {alarm:.0e})"
        )


def _within(what: str, asked: float, seen: float, error: float, alarm: float, slack: float = 0.0) -> None:
    """``|seen - asked| <= z error + slack``, z the normal quantile of the alarm."""
    tolerance = float(stats.norm.isf(alarm / 2) * error + slack)
    if not abs(seen - asked) <= tolerance:
        raise LawBrokenError(what, asked, seen, tolerance, alarm)


def check_mean(sample: ArrayLike, mean: float, *, what: str = "mean", alarm: float = ALARM, slack: float = 0.0) -> None:
    """The mean of a sample ``(n,)`` against its law, by the sample's standard error; ``slack`` is a bias allowed."""
    values = np.asarray(sample, float)
    _within(what, mean, float(values.mean()), float(values.std(ddof=1)) / np.sqrt(len(values)), alarm, slack)


def check_at_least(sample: ArrayLike, least: float, *, what: str = "mean", alarm: float = ALARM) -> None:
    """The mean of a sample ``(n,)`` is ``least`` or more, as far as its standard error can tell."""
    values = np.asarray(sample, float)
    tolerance = float(stats.norm.isf(alarm) * values.std(ddof=1) / np.sqrt(len(values)))
    if not values.mean() >= least - tolerance:
        raise LawBrokenError(f"{what}: at least", least, float(values.mean()), tolerance, alarm)


def check_variance(
    sample: ArrayLike, variance: float, *, what: str = "variance", alarm: float = ALARM, slack: float = 0.0
) -> None:
    """The variance of a sample ``(n,)`` against its law, by the fourth moment of the sample."""
    values = np.asarray(sample, float)
    off = (values - values.mean()) ** 2
    _within(what, variance, float(values.var(ddof=1)), float(off.std(ddof=1)) / np.sqrt(len(values)), alarm, slack)


def check_same(
    one: ArrayLike, other: ArrayLike, *, what: str = "mean", alarm: float = ALARM, slack: float = 0.0
) -> None:
    """The means of two independent samples against each other; ``slack`` is a bias allowed."""
    a, b = np.asarray(one, float), np.asarray(other, float)
    error = float(np.sqrt(a.var(ddof=1) / len(a) + b.var(ddof=1) / len(b)))
    _within(what, float(b.mean()), float(a.mean()), error, alarm, slack)


def check_share(
    sample: ArrayLike, share: float, *, what: str = "share", alarm: float = ALARM, slack: float = 0.0
) -> None:
    """The share of True in a sample ``(n,)`` against its probability, by the binomial law; ``slack`` is a bias allowed."""
    hits = np.asarray(sample, bool)
    count, size = int(hits.sum()), len(hits)
    low = stats.binom.ppf(alarm / 2, size, max(share - slack, 0.0))
    high = stats.binom.isf(alarm / 2, size, min(share + slack, 1.0))
    if not low <= count <= high:
        raise LawBrokenError(what, share, count / size, float(high - low) / 2 / size, alarm)


def check_distribution(
    sample: ArrayLike, pmf: ArrayLike, *, what: str = "distribution", alarm: float = ALARM, least: float = 25.0
) -> None:
    """Counts ``(n,)`` against the probabilities ``(k,)`` of 0, 1, 2 ...: chi-square over cells of ``least`` expected.

    What lies beyond the listed probabilities is one more cell.
    """
    counts = np.asarray(sample)
    probability = np.append(pmf, max(0.0, 1.0 - float(np.sum(pmf))))
    expected = len(counts) * probability
    seen = np.bincount(np.minimum(counts, len(probability) - 1).astype(int), minlength=len(probability))
    before = np.concatenate([[0.0], np.cumsum(expected)[:-1]])
    cell = np.minimum(before // least, (len(counts) - least / 2) // least).astype(int)
    asked = np.bincount(cell, expected)
    found = np.bincount(cell, seen)
    kept = asked > 0
    if found[~kept].any():
        raise LawBrokenError(f"{what}: impossible counts", 0.0, float(found[~kept].sum()), 0.0, alarm)
    statistic = float(((found[kept] - asked[kept]) ** 2 / asked[kept]).sum())
    limit = float(stats.chi2.isf(alarm, max(int(kept.sum()) - 1, 1)))
    if statistic > limit:
        raise LawBrokenError(f"{what}: chi-square", float(kept.sum() - 1), statistic, limit, alarm)


def must_fail(check: Callable[[], None]) -> None:
    """The power twin: the check of a planted error must raise `LawBrokenError`."""
    try:
        check()
    except LawBrokenError:
        return
    raise AssertionError("a planted error was not caught: the check has no power")
