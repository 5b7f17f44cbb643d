"""Bands for ranks: the probability with which right ranks stay inside is the one that is told; wrong ones leave."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

import laws
from persist.validation import bands


def paths(rng: np.random.Generator, samples: int, number: int, rank_max: int, bend: float = 1.0) -> np.ndarray:
    """Counts ``(samples, rank_max)`` of ranks that are uniform, or pulled to one side by ``bend``."""
    ranks = np.floor((rank_max + 1) * rng.uniform(size=(samples, number)) ** bend).astype(int)
    seen = np.stack([np.bincount(row, minlength=rank_max + 1) for row in ranks])
    return np.cumsum(seen, axis=1)[:, :rank_max]


def stays(seen: np.ndarray, limits: bands.Band) -> np.ndarray:
    return np.all((limits.lower <= seen) & (seen <= limits.upper), axis=1)


@pytest.mark.law
@pytest.mark.parametrize(
    ("number", "rank_max", "asked"), [(60, 19, 0.95), (200, 99, 0.95), (200, 99, 0.998), (7, 4, 0.5)]
)
def test_right_ranks_stay_inside_as_often_as_is_told(number: int, rank_max: int, asked: float) -> None:
    limits = bands.band(number, rank_max, asked)
    assert limits.inside >= asked
    kept = stays(paths(np.random.default_rng(1), 10_000, number, rank_max), limits)
    laws.check_share(kept, limits.inside, what="inside the band")
    bent = stays(paths(np.random.default_rng(2), 10_000, number, rank_max, bend=1.3), limits)
    laws.must_fail(lambda: laws.check_share(bent, limits.inside, what="inside the band"))


@pytest.mark.law
def test_the_family_stays_inside_together() -> None:
    """Of five quantities of one posterior, dependent or not, all stay inside at least as often as is asked."""
    each, rng = bands.level(5), np.random.default_rng(3)
    limits = bands.band(40, 19, each)
    alone = np.stack([stays(paths(rng, 4000, 40, 19), limits) for _ in range(5)]).all(axis=0)
    laws.check_share(alone, limits.inside**5, what="five that do not depend on each other")
    assert bands.FAMILY <= 1.0 - 5 * (1.0 - limits.inside) <= limits.inside**5
    same = stays(paths(rng, 4000, 40, 19), limits)
    laws.check_share(same, limits.inside, what="five that are one")


def test_the_band_is_the_narrowest_of_its_kind() -> None:
    """The next smaller one, whose points each hold with a little less, would be left too often."""
    found = bands.band(80, 19, 0.95)
    tighter = bands._between(bands._tails(80, 19), (1.0 - found.pointwise) * (1.0 + 1e-6))
    assert bands.inside(*tighter, 80) < 0.95 <= found.inside


@pytest.mark.law
def test_it_is_the_band_of_the_paper() -> None:
    """The level of each point that the paper's simulation finds, here by ArviZ, is a quantile of 16000 simulated series: ranks
    leave a band of that level with a probability that is a beta variable about 5 %. False alarm 1e-6; twin: the level of 90 %.
    """
    from arviz_stats.ecdf_utils import simulate_confidence_bands

    points, runs = np.arange(1, 100) / 100, 16_000
    least, most = stats.beta(0.05 * runs, 0.95 * runs).ppf([5e-7, 1.0 - 5e-7])

    def left(prob: float) -> float:
        level = simulate_confidence_bands(200, 1, points, prob, runs, np.random.default_rng(4))
        return 1.0 - bands.inside(*bands._between(bands._tails(200, 99), 1.0 - level), 200)

    assert least < left(0.95) < most
    assert left(0.9) > most


def test_one_rank_says_nothing_and_two_a_little() -> None:
    """Two ranks of 100 that are both the lowest have a chance of 1e-4."""
    each = bands.level(30)
    assert all(bands.fits(np.array([one]), 99, each) for one in (0, 50, 99))
    assert bands.fits(np.array([0, 40]), 99, each)
    assert not bands.fits(np.zeros(2, int), 99, each)


def test_counts_are_of_ranks_up_to_each() -> None:
    np.testing.assert_array_equal(bands.counts(np.array([0, 0, 2, 3, 4]), 4), [2, 2, 3, 4])


@pytest.mark.parametrize("shift", [0.0, 0.6])
def test_a_shift_in_one_quantity_of_many_is_found(shift: float) -> None:
    """Truths that lie six tenths of a posterior sd to one side, in 200 replicates of 30 quantities."""
    rng = np.random.default_rng(5)
    truth, draws = rng.normal(shift, 1.0, 200), rng.normal(size=(200, 99))
    assert bands.fits((draws < truth[:, None]).sum(axis=1), 99, bands.level(30)) == (shift == 0.0)
