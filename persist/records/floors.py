"""Assay floors: values that say "not more than this", found by one stated rule and read as left-censored.

An assay that cannot see below 0.2 writes 0.2, again and again while the true value moves underneath. Taking such values
as measured makes the deepest responses look flat, and resistance is then foreseen that never comes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import groupby, pairwise

LEAST_COUNT = 3
LEAST_SHARE = 0.01
RUN = 3
MOST_LOWER = 0.25
PILE = 2
NO_ASSAY = frozenset({"cells", "fraction", "confluence", "sld", "diameter"})
RULE = (
    f"a value that makes up at least {LEAST_SHARE:.0%} of the file's (and {LEAST_COUNT}), stands {RUN} times or more "
    f"in a row in some patient, is the lowest value of some patient, is there at least {PILE} times as often as the "
    f"next higher value, and has a lower one just before or after it at most {MOST_LOWER:.0%} of the times"
)


def find_floors(series: Iterable[Sequence[float]]) -> dict[float, int]:
    """Assay floors among the values of many patients, each sequence in order of time; floor -> number of values.

    A value v is a floor where all five hold: it occurs max(3, 1 % of all values) times; at least three times in a row
    in one patient; it is the lowest value of a patient who has higher ones too; it is there twice as often as the next
    higher value of the file; and at most a quarter of its occurrences have a lower value just before or after (a value
    passed through on the way down has one most of the time). Zeros and values already marked as censored are not to be
    handed in.
    """
    count: Counter[float] = Counter()
    lower: Counter[float] = Counter()
    repeated: set[float] = set()
    lowest: set[float] = set()
    for values in series:
        count.update(values)
        lower.update(_beside_a_lower(values))
        repeated.update(value for value, run in groupby(values) if len(list(run)) >= RUN)
        if values and min(values) < max(values):
            lowest.add(min(values))
    least = max(LEAST_COUNT, LEAST_SHARE * count.total())
    above = dict(pairwise(sorted(count)))
    return {
        value: count[value]
        for value in sorted(repeated & lowest)
        if count[value] >= max(least, PILE * count[above[value]]) and lower[value] <= MOST_LOWER * count[value]
    }


def _beside_a_lower(values: Sequence[float]) -> list[float]:
    """The occurrences (one entry each) that have a lower value just before or just after them."""
    below = [False] * len(values)
    for index, (one, two) in enumerate(pairwise(values)):
        below[index] |= two < one
        below[index + 1] |= one < two
    return [value for value, is_below in zip(values, below, strict=True) if is_below]
