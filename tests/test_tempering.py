"""Tempering on laws that are known: modes get their masses, the evidence is right, and each chain keeps its walkers."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laws
from persist.errors import FitError
from persist.inference import tempering as module
from persist.inference.target import ReferenceLaw
from persist.inference.tempering import ACCEPT, FIRST_STEP, LEARN, TIME, Tempered, adapted, temper
from persist.inference.walkers import WALKERS, Crowd, Moved, Stride, Walkers

CHAINS = 256
PLACE, WIDTH, MASS = np.array([-6.0, 6.0]), np.array([1.0, 0.5]), np.array([0.8, 0.2])
"""Two modes: twelve standard deviations of the wider one apart, the narrow one with the smaller mass."""
BROAD = ReferenceLaw(np.zeros(2), np.full(2, 6.0))
SCALE, SHIFT = np.array([0.5, 2.0, 1.0]), np.array([1.0, -1.0, 0.0])
UNIT = ReferenceLaw(np.zeros(3), np.full(3, 2.0))


def modes(_: jax.Array, x: jax.Array) -> jax.Array:
    """Two modes along the first coordinate; the second is standard normal. The density integrates to 1."""
    log = jnp.log(MASS) - 0.5 * ((x[0] - PLACE) / WIDTH) ** 2 - jnp.log(WIDTH * jnp.sqrt(2.0 * jnp.pi))
    return -jax.scipy.special.logsumexp(log) + 0.5 * x[1] ** 2 + 0.5 * jnp.log(2.0 * jnp.pi)


def normal(factor: jax.Array, x: jax.Array) -> jax.Array:
    """Independent normal coordinates; the density integrates to ``factor``."""
    return (
        0.5 * jnp.sum(((x - SHIFT) / SCALE) ** 2) + jnp.sum(jnp.log(SCALE * jnp.sqrt(2.0 * jnp.pi))) - jnp.log(factor)
    )


def nowhere(_: jax.Array, x: jax.Array) -> jax.Array:
    return jnp.sum(x) * jnp.nan


def led(energy, case, reference: ReferenceLaw, chains: int = CHAINS, seed: int = 1) -> Tempered:
    return temper(Walkers(seed, energy, jnp.asarray(case), reference, chains * WALKERS))


def shares(point: np.ndarray) -> np.ndarray:
    """Share of each chain's walkers in the first mode ``(chains,)``."""
    return np.mean(point[:, 0].reshape(-1, WALKERS) < 0.0, axis=1)


@pytest.fixture(scope="module")
def weighed() -> Tempered:
    return led(modes, 0.0, BROAD)


def check_masses(found: Tempered) -> None:
    """Unbiased is a chain's evidence times its share in a mode, over all chains: weighted so, the share is the mass."""
    weight = np.exp(found.log_evidence - found.log_evidence.max())
    laws.check_mean(weight / weight.mean() * (shares(found.crowd.point) - MASS[0]), 0.0, what="mass of the first mode")


@pytest.mark.law
def test_two_modes_get_their_masses(weighed: Tempered) -> None:
    check_masses(weighed)
    narrow = weighed.crowd.point[:, 0] > 0.0
    for mode, of_it in enumerate((~narrow, narrow)):
        z = (weighed.crowd.point[of_it, 0] - PLACE[mode]) / WIDTH[mode]
        assert abs(z.mean()) < 0.1
        assert abs(z.std() - 1.0) < 0.1
    assert 0 < narrow.sum() < len(narrow)


@pytest.mark.law
def test_a_chain_by_itself_is_nearly_right_too(weighed: Tempered) -> None:
    """Of 16 walkers the share is a little biased, as ratios are: less than 0.03."""
    laws.check_mean(shares(weighed.crowd.point), MASS[0], what="share of walkers", slack=0.03)
    laws.must_fail(lambda: laws.check_mean(shares(weighed.crowd.point), 0.65, slack=0.03))


@pytest.mark.law
def test_chains_that_start_half_in_each_mode_stay_there() -> None:
    """Planted: the same trajectories without tempering. Nobody crosses, and the same check sees it."""
    many = Walkers(2, modes, jnp.zeros(()), BROAD, CHAINS * WALKERS)
    rng, mode = np.random.default_rng(3), np.arange(many.lanes) % 2
    point = np.column_stack(
        [PLACE[mode] + WIDTH[mode] * rng.standard_normal(len(mode)), rng.standard_normal(len(mode))]
    )
    crowd = Crowd(point, np.zeros(len(mode)), np.zeros(len(mode)))
    for _ in range(20):
        crowd, _ = many.move(crowd, Stride(np.eye(2), 0.5, TIME))
    np.testing.assert_array_equal(crowd.point[:, 0] > 0.0, mode == 1)
    laws.must_fail(lambda: check_masses(Tempered(crowd, Stride(np.eye(2), 0.5, TIME), np.zeros(CHAINS))))


@pytest.mark.law
@pytest.mark.parametrize(("energy", "case", "reference", "size"), [(modes, 0.0, BROAD, 1.0), (normal, 3.7, UNIT, 3.7)])
def test_the_evidence_is_unbiased(energy, case: float, reference: ReferenceLaw, size: float) -> None:
    found = np.exp(led(energy, case, reference, seed=4).log_evidence)
    laws.check_mean(found, size, what="evidence")
    laws.must_fail(lambda: laws.check_mean(1.5 * found, size))


def test_chains_tell_by_their_spread_how_well_the_evidence_is_known() -> None:
    """Where the target is the reference there is nothing to lead through: one step, and no error at all."""
    scale = jnp.sum(jnp.log(UNIT.scale * np.sqrt(2.0 * np.pi)))
    heard: list[float] = []

    def as_reference(_: jax.Array, x: jax.Array) -> jax.Array:
        return 0.5 * jnp.sum((x / UNIT.scale) ** 2) + scale

    found = temper(Walkers(5, as_reference, jnp.zeros(()), UNIT, 2 * WALKERS), heard.append)
    np.testing.assert_allclose(found.log_evidence, 0.0, atol=1e-12)
    assert heard == [1.0]
    assert np.std(led(normal, 3.7, UNIT, 8).log_evidence) > 0.0


def test_a_seed_has_its_numbers() -> None:
    one, again, other = (led(normal, 1.0, UNIT, 3, seed) for seed in (6, 6, 7))
    for mine, yours in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(mine, yours)
    assert not np.array_equal(one.crowd.point, other.crowd.point)


def test_the_way_is_told_and_ends_at_the_posterior() -> None:
    heard: list[float] = []
    temper(Walkers(8, normal, jnp.ones(()), UNIT, 2 * WALKERS), heard.append)
    assert heard == sorted(heard)
    assert len(heard) > 1
    assert heard[-1] == pytest.approx(1.0)


def test_without_a_finite_density_the_remedy_is_told() -> None:
    with pytest.raises(FitError) as caught:
        led(nowhere, 0.0, UNIT, 2)
    assert "no starting point has a finite posterior density" in str(caught.value)
    assert "persist check" in caught.value.remedy
    assert "--pack" in caught.value.remedy


# ---------------------------------------------------------------- the parts


def labelled(chains: int) -> Crowd:
    """Walkers whose point tells their number."""
    number = np.arange(chains * WALKERS, dtype=float)
    return Crowd(number[:, None], number, -number)


def test_each_chain_keeps_walkers_of_its_own() -> None:
    """However the weights differ between chains, and whole, with all that is known of them."""
    rng, chains = np.random.default_rng(9), 5
    log_weight = 4.0 * rng.standard_normal(chains * WALKERS) + np.repeat([0.0, 300.0, -900.0, 3.0, 0.0], WALKERS)
    found = module._resampled(rng, labelled(chains), log_weight, chains)
    np.testing.assert_array_equal(found.point[:, 0] // WALKERS, np.repeat(np.arange(chains), WALKERS))
    np.testing.assert_array_equal(found.energy, found.point[:, 0])
    np.testing.assert_array_equal(found.reference, -found.point[:, 0])


@pytest.mark.law
def test_walkers_are_kept_in_proportion_to_their_weights() -> None:
    """Systematic: each as often as its share of 16 says, rounded up or down, and right on average."""
    chains = 4000
    weight = np.random.default_rng(10).gamma(0.5, size=WALKERS)
    asked = WALKERS * weight / weight.sum()

    def copies(log_weight: np.ndarray) -> np.ndarray:
        crowd = module._resampled(np.random.default_rng(11), labelled(chains), np.tile(log_weight, chains), chains)
        rows = crowd.point[:, 0].reshape(chains, WALKERS) % WALKERS
        return np.array([np.bincount(row.astype(int), minlength=WALKERS) for row in rows])

    kept = copies(np.log(weight))
    assert np.all((kept == np.floor(asked)) | (kept == np.ceil(asked)))
    heaviest = int(np.argmax(asked))
    laws.check_mean(kept[:, heaviest], asked[heaviest], what="copies of the heaviest")
    for walker in np.argsort(asked)[:4]:
        laws.check_share(kept[:, walker] > 0, asked[walker], what="a light walker is kept")
    tilted = copies(0.9 * np.log(weight))[:, heaviest]
    laws.must_fail(lambda: laws.check_mean(tilted, asked[heaviest]))


def test_a_walker_without_weight_is_not_kept() -> None:
    log_weight = np.full(WALKERS, -np.inf)
    log_weight[5] = -1e9
    found = module._resampled(np.random.default_rng(12), labelled(1), log_weight, 1)
    np.testing.assert_array_equal(found.point[:, 0], 5.0)


def test_a_step_of_beta_leaves_half_of_the_walkers() -> None:
    gap = np.array([[10.0], [30.0], [20.0]]) * np.random.default_rng(13).standard_normal((3, WALKERS))
    more = module._further(gap, 1.0)
    weight = np.exp(-more * (gap - gap.min(axis=1, keepdims=True)))
    left = weight.sum(axis=1) ** 2 / (weight**2).sum(axis=1) / WALKERS
    assert left.min() == pytest.approx(0.5, rel=1e-6)
    assert left.max() > 0.6
    assert module._further(gap, 0.5 * more) == 0.5 * more
    assert module._further(0.01 * gap, 0.7) == 0.7


def told(accept: np.ndarray, common: np.ndarray | None = None) -> Moved:
    everyone = np.ones(len(accept), bool)
    return Moved(accept, ~everyone, everyone if common is None else common, accept)


def test_the_step_follows_the_acceptance_of_all_but_the_worst_tenth() -> None:
    stride = Stride(np.eye(2), FIRST_STEP, TIME)
    most = np.full(100, 0.95)

    def step(accept: np.ndarray, common: np.ndarray | None = None) -> float:
        return adapted(stride, told(accept, common), ACCEPT, LEARN).step

    assert step(most) == pytest.approx(FIRST_STEP * np.exp(LEARN * (0.95 - ACCEPT)))
    few, many = (np.where(np.arange(100) < count, 0.0, most) for count in (10, 30))
    assert step(few) == pytest.approx(step(most), rel=1e-12)
    assert step(many) < FIRST_STEP
    careful = np.arange(100) >= 40
    assert step(np.where(careful, most, 1.0), careful) == pytest.approx(step(most), rel=1e-12)
    assert step(most, np.zeros(100, bool)) == FIRST_STEP


def test_the_slowest_may_count() -> None:
    """Three of 32 walkers stand still: passed over, the step may grow; counted, it shrinks as their mean says."""
    accept = np.append(np.zeros(3), np.full(29, 0.85))
    stride, moved = Stride(np.eye(2), 0.5, 1.0), Moved(accept, accept == 0.0, np.ones(32, bool), accept)
    usual, careful = (adapted(stride, moved, ACCEPT, LEARN, slowest=count).step for count in (False, True))
    assert careful < 0.5 < usual
    assert careful == pytest.approx(0.5 * np.exp(LEARN * (accept.mean() - ACCEPT)))


@pytest.mark.parametrize("first", [0.05, 5.0], ids=["from below", "from above"])
def test_adaptation_comes_to_the_acceptance_it_aims_at(first: float) -> None:
    many = Walkers(14, normal, jnp.ones(()), UNIT, 16 * WALKERS)
    crowd, stride, judged = many.start(), Stride(np.diag(SCALE), first, TIME), []
    for number in range(120):
        crowd, moved = many.move(crowd, stride)
        stride = adapted(stride, moved, ACCEPT, LEARN)
        if number >= 60:
            rate = np.sort(moved.accept[moved.common])
            judged.append(rate[len(rate) // 10 :].mean())
    assert np.mean(judged) == pytest.approx(ACCEPT, abs=0.05)
    assert 0.5 < stride.step < 3.0
