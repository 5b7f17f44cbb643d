"""The law of a cohort by Gibbs over draws of its patients: what so many draws err by is seen, and what is told of rounds."""

from __future__ import annotations

import numpy as np
import pytest

from persist.inference import leaning, store
from persist.inference.clone_free import Frame
from persist.inference.gibbs import PARTS, Found, Rounds, gibbs
from persist.inference.learned import Plain
from persist.inference.sample import HALVES, Sample
from persist.inference.weights import Draws
from persist.validation.chains import MAX_RHAT, convergence
from persist.validation.populations import columns

NAMES = ("net_growth_s", "decline_s", "noise_sd")
FRAME = Frame(np.array([True, True, False]), np.zeros(3))
"""Nobody is off: of patients without a clone, see `test_clone_free`."""

ERROR = np.array([0.4, 0.8, 3.0])
"""Of what is measured of each score."""

LANES, CHAINS, PATIENTS = 32, 4, 20


def samples(draws: int, *, alike: bool = False) -> list[Sample]:
    """Exact draws ``(HALVES, draws, 3)`` of patients of whom scores are measured, under the pack's prior; of both halves
    ``alike``.
    """
    rng = np.random.default_rng(1)
    values = rng.normal([0.8, -0.5, 0.0], [0.9, 1.1, 3.2], (PATIENTS, 1, 1, 3))
    certain = 1.0 + ERROR**-2.0
    z = values * ERROR**-2.0 / certain + rng.standard_normal((PATIENTS, HALVES, draws, 3)) / np.sqrt(certain)
    z = z[:, [0, 0]] if alike else z
    return [Sample(None, own, np.zeros((HALVES, draws))) for own in z]  # type: ignore[arg-type]


def drawn(own: list[Sample], rounds: Rounds, lanes: int = LANES) -> tuple[Plain, Found]:
    rng = np.random.default_rng(2)
    population = Plain(rng, np.ones((lanes, len(own)), bool), FRAME)
    return population, gibbs(rng, population, own, rounds)


def worst_rhat(own: list[Sample]) -> tuple[float, float]:
    """Of laws, as those of a fit are judged, and of patients: the scores that each lane took."""
    population, found = drawn(own, Rounds(50, 400, 10))
    group = leaning.group(NAMES, FRAME, np.ones(3), population.drawn(), CHAINS)
    walkers, draws = 1 + int(group["lane"].max()), Draws.of(own, FRAME)
    z = np.stack([draws.at(taken)[0] for taken in found.taken])  # (kept, lanes, patients, 2)
    by_chain = np.moveaxis(z.reshape(len(z), CHAINS, walkers, -1), 0, 2).reshape(CHAINS, walkers * len(z), -1)
    patients = {str(at): (("chain", "draw"), by_chain[..., at]) for at in range(by_chain.shape[-1])}
    each = (columns(group), patients)
    one, other = (convergence(store.dataset(columns, {}), walkers).max_rhat for columns in each)
    return one, other


def test_what_few_draws_err_by_is_seen() -> None:
    """Lanes of the one half have other draws than those of the other: of few, laws and patients disagree. If all lanes took
    from the same draws, their laws would agree, on the same error.
    """
    of_laws, of_patients = worst_rhat(samples(8))
    assert of_laws > 1.0 + 2.0 * (MAX_RHAT - 1.0)
    assert of_patients > 1.0 + 2.0 * (MAX_RHAT - 1.0)
    assert worst_rhat(samples(8, alike=True))[0] < MAX_RHAT
    of_laws, of_patients = worst_rhat(samples(1000))
    assert of_laws < MAX_RHAT
    assert of_patients < MAX_RHAT


def test_a_population_of_few_draws_is_that_far_off() -> None:
    """Between the halves, means of the laws lie farther apart the fewer draws there are."""
    gap = []
    for draws in (8, 1000):
        means = drawn(samples(draws), Rounds(50, 400, 10))[0].drawn().mean
        first, other = np.split(means, 2, axis=1)
        gap.append(np.abs(first.mean(axis=(0, 1)) - other.mean(axis=(0, 1))).max() / means.std())
    assert gap[0] > 3.0 * gap[1]


@pytest.mark.parametrize("rounds", [Rounds(2, 20, 20), Rounds(2, 60, 20), Rounds(0, 25, 10)])
def test_what_is_kept_and_told_of_rounds(rounds: Rounds) -> None:
    heard: list[float] = []
    rng, own = np.random.default_rng(3), samples(40)
    population = Plain(rng, np.ones((8, PATIENTS), bool), FRAME)
    found = gibbs(rng, population, own, rounds, heard.append)
    kept, laws = rounds.rounds // rounds.thin, population.drawn()
    assert laws.mean.shape == (kept, 8, 2)
    assert found.taken.shape == (kept, 8, PATIENTS)
    assert found.apart.shape == (8, PATIENTS)
    assert ((found.apart >= 0.0) & (found.apart <= 1.0)).all()
    np.testing.assert_allclose(found.free, np.tile(laws.clone_free.mean(axis=0)[:, None], PATIENTS), rtol=1e-9)
    assert ((found.effective >= 1.0) & (found.effective <= 40.0)).all()
    assert len(heard) == max(1, rounds.warmup // PATIENTS) * PATIENTS + rounds.rounds  # one or more for each who joins
    assert heard == sorted(heard)
    assert heard[-1] == 1.0
    flat = laws.mean.reshape(-1, 2)  # laws for the next stage: evenly, first and last among them
    assert found.some.mean.shape == (PARTS, PATIENTS, 2)
    np.testing.assert_array_equal(found.some.mean[0, 0], flat[0])
    np.testing.assert_array_equal(found.some.mean[-1, 0], flat[-1])
    for part, all_of_it in ((found.some.share, laws.share), (found.some.clone_free, laws.clone_free)):
        assert part.shape == (PARTS, PATIENTS)
        np.testing.assert_array_equal(part[[0, -1], 3], all_of_it.ravel()[[0, -1]])
    places = [int(np.flatnonzero((flat == row).all(axis=1))[0]) for row in found.some.mean[:, 3]]
    assert np.ptp(np.diff(places)) <= 1
