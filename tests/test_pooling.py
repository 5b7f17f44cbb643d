"""A cohort drawn together: against exact conjugate draws of the same law, over again after a stop, and fold by fold."""

from __future__ import annotations

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size

import laws
from persist.inference import mover as module
from persist.inference import pooling
from persist.inference.learned import Plain
from persist.inference.pooling import Pace, pool
from persist.inference.population import Law, Population, belong, log_ratio, moments, renew, start
from persist.inference.target import Member, ReferenceLaw, Target

ERROR = np.array([0.4, 0.8, 3.0])
"""Of what is measured of each score: the third is hardly seen."""

VALUES = np.random.default_rng(1).normal([0.8, -0.5, 0.0], [0.9, 1.1, 3.2], (6, 3))


TARGET = Target("spr", "clinical", "psa", 1.0, False)


class Seen(NamedTuple):
    """A patient of whom scores are measured with a normal error."""

    value: np.ndarray


def potential(case: Seen, point: jax.Array, law: Population) -> jax.Array:
    """Minus the log posterior density of the scores, which are the coordinates."""
    off = (point - case.value) / ERROR
    return 0.5 * jnp.sum(off**2) + 0.5 * jnp.sum(point**2) - log_ratio(point, law)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Patients whose posterior is known in place of the model's."""
    monkeypatch.setattr(module, "flat_potential", lambda _: potential)
    monkeypatch.setattr(module, "scored", lambda _: lambda _case, point: point)
    weigh = lambda case, _, z: -0.5 * (((np.asarray(z) - case.value) / ERROR) ** 2).sum(axis=-1)  # noqa: E731
    monkeypatch.setattr(module, "weighed", lambda _: weigh)
    monkeypatch.setattr(module, "relocated", lambda _: lambda _case, _point, z: z)
    monkeypatch.setattr(module, "reference", lambda *_: ReferenceLaw(np.zeros(3), np.full(3, 2.0)))
    monkeypatch.setattr(pooling.resume, "fingerprint", lambda members, *more: repr((members, more)))


def members(values: np.ndarray = VALUES) -> list[Member]:
    return [Member(f"patient {number}", TARGET, Seen(value)) for number, value in enumerate(values)]


def exact(lanes: int = 32, rounds: int = 1500, error: np.ndarray = ERROR) -> np.ndarray:
    """What is compared (see `told`) by Gibbs with exact draws of the patients' scores, ``(lanes, rounds, ...)``."""
    rng, size = np.random.default_rng(2), 2
    z, law, rows = np.tile(VALUES[:, :size], (lanes, 1, 1)), start(lanes, size), []
    certain = np.diag(error[:size] ** -2.0)
    for _ in range(rounds):
        law = renew(rng, z, law, np.ones((lanes, len(VALUES)), bool))
        wide = law._replace(covariance=law.covariance + np.diag(error[:size] ** 2))  # of values, errors among them
        among = rng.uniform(size=z.shape[:2]) < belong(np.tile(VALUES[:, :size], (lanes, 1, 1)), wide)
        middle = law.mean[:, None] + among[..., None] * law.apart[:, None]
        precision = np.linalg.inv(law.covariance)
        total = np.linalg.inv(precision + certain)
        pull = np.einsum("lij,lpj->lpi", precision, middle) + VALUES[None, :, :size] @ certain
        root = np.linalg.cholesky(total)
        z = np.einsum("lij,lpj->lpi", total, pull) + np.einsum("lij,lpj->lpi", root, rng.standard_normal(z.shape))
        rows.append(told(law))
    return np.moveaxis(np.array(rows[100:]), 0, 1)


def told(law: Law) -> np.ndarray:
    """Of all patients together: both means, both log variances and the covariance, ``(..., 5)``."""
    mean, covariance = moments(law)
    variance = np.log(np.diagonal(covariance, axis1=-2, axis2=-1))
    return np.concatenate([mean, variance, covariance[..., 0, 1, None]], axis=-1)


def thinned(rows: np.ndarray) -> np.ndarray:
    """About independent rows ``(n, 5)`` of series ``(lanes, rounds, 5)``: as many as they count for."""
    least = min(effective_sample_size(rows[..., j]) for j in range(rows.shape[-1]))
    every = max(1, int(np.ceil(rows.shape[0] * rows.shape[1] / least)))
    return rows[:, ::every].reshape(-1, rows.shape[-1])


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_the_law_is_that_of_exact_draws() -> None:
    found = pool(0, members(), Pace(lanes=32, alone=40, warmup=60, rounds=600, thin=5))
    assert found.pooled.tolist() == [True, True, False]
    mine = thinned(np.moveaxis(told(found.laws), 0, 1))
    right, wrong = thinned(exact()), thinned(exact(error=1.6 * ERROR))
    for j in range(5):
        laws.check_same(mine[:, j], right[:, j])
    laws.must_fail(lambda: [laws.check_same(mine[:, j], wrong[:, j]) for j in range(5)])


@pytest.mark.parametrize("at", [0.3, 0.7], ids=["in the warm-up, before a turn", "later"])
def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, at: float) -> None:
    pace = Pace(lanes=32, alone=8, warmup=30, rounds=50, thin=5)

    def stop(what: str, share: float) -> None:
        if what == "together" and share > at:
            raise KeyboardInterrupt

    whole = pool(0, members(), pace)
    with pytest.raises(KeyboardInterrupt):
        pool(0, members(), pace, folder=tmp_path, progress=stop)
    heard = []
    again = pool(0, members(), pace, folder=tmp_path, progress=lambda what, share: heard.append((what, share)))
    assert min(share for what, share in heard if what == "together") > at - 0.25
    for one, other in zip(jax.tree.leaves(whole[:5]), jax.tree.leaves(again[:5]), strict=True):
        np.testing.assert_array_equal(one, other)
    other = pool(1, members(), pace, folder=tmp_path)
    assert not np.array_equal(other.laws.mean, whole.laws.mean)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_a_lane_does_not_know_whom_it_leaves_out() -> None:
    """Two folds: the second half of the lanes does not count the first patient, who is then another, far away."""
    pace, counted = Pace(lanes=64, alone=8, warmup=20, rounds=20, thin=5), np.ones((64, 6), bool)
    counted[32:, 0] = False
    values = VALUES + np.where(np.arange(6)[:, None] == 0, 30.0, 0.0)
    one, other = (pool(0, members(those), pace, counted=counted) for those in (VALUES, values))
    spread, another = (np.log(found.laws.covariance[-1, :, 0, 0]) for found in (one, other))
    laws.check_same(spread[32:], another[32:])
    laws.must_fail(lambda: laws.check_same(spread[:32], another[:32]))


def test_kept_rounds_are_every_fifth() -> None:
    found = pool(0, members(), Pace(lanes=32, alone=8, warmup=10, rounds=20, thin=5))
    assert found.laws.mean.shape == (20, 32, 2)
    assert found.apart.shape == (32, 6)
    assert len(found.patients) == 6
    assert found.patients[0].point.shape == (4, 32, 3)
    accept = found.patients[0].accept
    assert np.all((accept >= 0.0) & (accept <= 1.0))
    assert accept.mean() > 0.6


def test_laws_turn_to_what_was_seen_and_learn_anew(monkeypatch) -> None:
    """At a half and at three quarters of the warm-up; from the first draw on neither axes nor sizes change."""
    seen: list[tuple[int, np.ndarray, np.ndarray, float]] = []
    move = Plain.take_along

    def watched(self: Plain, z, weigh, learn: float):
        found = move(self, z, weigh, learn)
        seen.append((len(seen) - 20, *self.moves, learn))
        return found

    monkeypatch.setattr(Plain, "take_along", watched)
    pool(0, members(), Pace(lanes=32, alone=8, warmup=20, rounds=4, thin=2))
    axes = [axes for _, axes, _, _ in seen]
    changed = [
        number for (number, *_), one, before in zip(seen[1:], axes[1:], axes, strict=False) if (one != before).any()
    ]
    assert changed == [-9, -4]
    learn = {number: learn for number, _, _, learn in seen}
    assert learn[-20] == learn[-9] == learn[-4] > learn[-10] > 0.0
    for number, _, size, learn_now in seen[20:]:
        assert number >= 0
        assert learn_now == 0.0
        np.testing.assert_array_equal(size, seen[19][2])
