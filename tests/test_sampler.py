"""A whole run of the sampler on laws that are known: from the reference to named draws, with what is told of them."""

from __future__ import annotations

from itertools import pairwise

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import digamma, polygamma

import laws
from persist.inference import sampler
from persist.inference.sampler import THIN, Draws, Effort, Report, draw, total_rounds
from persist.inference.target import ReferenceLaw
from persist.inference.walkers import WALKERS, Crowd, Stride, Walkers

ABOUT = ReferenceLaw(np.array([1.0, 0.0, 0.0]), np.array([4.0, 2.0, 3.0]))
SHAPE = 2.0
WIDTH = np.array([0.1, 2.0])


def bent(factor: jax.Array, x: jax.Array) -> jax.Array:
    """A narrow and a wide normal coordinate, and the log of a gamma variable that the wide one moves."""
    third = x[2] - 0.5 * x[1]
    return factor * (0.5 * jnp.sum((x[:2] / WIDTH) ** 2) + jnp.exp(third) - SHAPE * third)


@pytest.fixture
def known(monkeypatch: pytest.MonkeyPatch) -> None:
    """The sampler with a known law in place of a patient's."""
    monkeypatch.setattr(sampler, "flat_potential", lambda _: bent)
    monkeypatch.setattr(sampler, "ready", lambda case: case)
    monkeypatch.setattr(sampler, "across", lambda _: None)
    monkeypatch.setattr(sampler, "reference", lambda *_: ABOUT)
    monkeypatch.setattr(sampler, "_named", lambda *given: dict(zip("abc", np.moveaxis(given[-1], -1, 0), strict=True)))


def run(effort: Effort, seed: int = 0, heard: list[Report] | None = None) -> Draws:
    tell = None if heard is None else heard.append
    return draw(jax.random.key(seed), None, effort, jnp.ones(()), tell)  # type: ignore[arg-type]


def check(found: Draws, chains: int) -> None:
    """The last point of every walker, all independent: two normal coordinates, and the log gamma less its tilt."""
    last = {name: value.reshape(chains * WALKERS, -1)[:, -1] for name, value in found.values.items()}
    for name, width in zip("ab", WIDTH, strict=True):
        laws.check_mean(last[name] / width, 0.0, what=name)
        laws.check_variance(last[name] / width, 1.0, what=name)
    third = last["c"] - 0.5 * last["b"]
    laws.check_mean(third, digamma(SHAPE), what="log gamma")
    laws.check_variance(third, float(polygamma(1, SHAPE)), what="log gamma")


@pytest.mark.law
@pytest.mark.usefixtures("known")
def test_draws_are_of_the_law(monkeypatch) -> None:
    """From a reference that is far too wide; planted: an acceptance that takes errors of H too lightly."""
    effort = Effort(128, 640, 64)
    check(run(effort), 128)
    right = Walkers._each

    def light(*given):
        before, after, error, level = right(*given)
        return before, after, np.where(error < 5.0, 0.0, error), level

    monkeypatch.setattr(Walkers, "_each", light)
    monkeypatch.setattr(sampler, "warm", lambda walkers, crowd, stride, *_: (crowd, stride._replace(step=1.2), []))
    laws.must_fail(lambda: check(run(effort), 128))


@pytest.mark.usefixtures("known")
def test_what_is_told_of_the_draws() -> None:
    heard: list[Report] = []
    effort = Effort(2, 100, 100)
    found = run(effort, heard=heard)
    shape = (2, 7 * WALKERS)  # rounded up to whole rounds
    assert {value.shape for value in (*found.values.values(), *found.stats.values())} == {shape}
    number = np.repeat(np.arange(WALKERS), 7)
    np.testing.assert_array_equal(found.stats["walker"], np.tile(number, (2, 1)))
    points = np.stack([found.values[name] for name in "abc"], axis=-1)
    lp = -np.asarray(jax.vmap(jax.vmap(lambda x: bent(jnp.ones(()), x)))(points))
    np.testing.assert_allclose(found.stats["lp"], lp, rtol=1e-10)
    assert np.all(found.stats["energy"] >= -lp.max())
    assert np.all((found.stats["acceptance_rate"] >= 0.0) & (found.stats["acceptance_rate"] <= 1.0))
    assert found.stats["diverging"].dtype == bool
    assert not found.stats["diverging"].any()
    assert np.all(found.stats["n_steps"] >= 1)
    assert len(set(found.stats["step_size"].ravel())) == 1
    assert found.log_evidence.shape == (2,)
    assert found.seconds > 0.0
    done = [one.done for one in heard]
    assert {one.total for one in heard} == {total_rounds(effort)}
    assert (done[-1], max(done)) == (total_rounds(effort), total_rounds(effort))
    back = [before - after for before, after in pairwise(done) if after < before]
    assert (
        len(back) <= effort.doublings
    )  # once for each time that draws did not pass, by the half of them that is thinned away
    assert all(gap <= THIN * 4 for gap in back)


@pytest.mark.usefixtures("known")
def test_a_seed_has_its_draws() -> None:
    one, again, other = (run(Effort(2, 64, 64), seed) for seed in (0, 0, 1))
    for name in "abc":
        np.testing.assert_array_equal(one.values[name], again.values[name])
        assert not np.array_equal(one.values[name], other.values[name])


@pytest.mark.parametrize(
    ("asked", "rounds"), [((960, 640), (60, 40)), ((50, 50), (4, 4)), ((1, 1), (1, 1)), ((160, 161), (10, 11))]
)
def test_effort_is_rounded_up_to_whole_rounds(asked: tuple[int, int], rounds: tuple[int, int]) -> None:
    assert Effort(4, *asked).rounds == rounds


def test_points_stand_walker_after_walker() -> None:
    lane, at = np.meshgrid(np.arange(2 * WALKERS), np.arange(5))
    chains = sampler._by_chain(np.stack([lane, at], axis=-1), 2)
    assert chains.shape == (2, 5 * WALKERS, 2)
    np.testing.assert_array_equal(chains[1, :, 0], WALKERS + np.repeat(np.arange(WALKERS), 5))
    np.testing.assert_array_equal(chains[1, :, 1], np.tile(np.arange(5), WALKERS))


def kept(step: float, rounds: int, doublings: int = 3, warmup: int = 1) -> tuple[sampler._Kept, int]:
    """What is kept of walkers that begin in the law, and how many trajectories there were."""
    many = Walkers(1, bent, jnp.ones(()), ABOUT, 4 * WALKERS)
    rng = np.random.default_rng(2)
    wide = WIDTH[1] * rng.standard_normal(many.lanes)
    third = np.log(rng.gamma(SHAPE, size=many.lanes)) + 0.5 * wide
    point = np.column_stack([WIDTH[0] * rng.standard_normal(many.lanes), wide, third])
    moves: list[int] = []
    right = many.move

    def move(*given):
        moves.append(1)
        return right(*given)

    many.move = move  # type: ignore[method-assign]
    stride = Stride(np.diag([WIDTH[0], WIDTH[1], 1.0]), step, 6.0 * step)
    crowd = Crowd(point, np.zeros(many.lanes), np.zeros(many.lanes))
    return sampler._enough(
        many, crowd, stride, Effort(4, warmup * WALKERS, rounds * WALKERS, doublings), lambda _: None
    ), len(moves)


def test_draws_that_pass_are_all_that_is_drawn() -> None:
    found, moves = kept(0.4, 40)
    assert (len(found.point), moves) == (40, THIN * 40)


@pytest.mark.parametrize("doublings", [0, 1, 3])
def test_draws_that_do_not_pass_are_doubled_and_thinned(doublings: int) -> None:
    """Walkers that creep: as often as is allowed, and no more draws than were asked for."""
    found, moves = kept(0.002, 8, doublings)
    assert (len(found.point), moves) == (8, THIN * 8 * 2**doublings)
    assert not sampler._passed(found.point, 4)


def test_walkers_that_are_mostly_refused_are_warmed_up_again() -> None:
    """Steps that are too large for the law: dropped with all that they drew. Planted: no second warm-up, which never passes."""
    found, moves = kept(3.0, 40, doublings=1, warmup=60)
    assert moves == THIN * 40 + 60 + 2 * THIN * 40
    assert found.accept.mean() > 0.8
    assert found.step.max() == found.step.min() < 1.0
    assert sampler._passed(found.point, 4)
    assert not sampler._passed(kept(3.0, 40, doublings=0)[0].point, 4)
