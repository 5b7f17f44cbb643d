"""A cohort in stages: against exact conjugate draws of the same law, far from the prior too, and over again after a stop."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laws
from persist.inference import population, sample, stages
from persist.inference.population import Law, Population
from persist.inference.stages import Pace, mixture, staged
from persist.inference.target import ReferenceLaw
from persist.inference.weights import features, log_ratio
from test_pooling import ERROR, VALUES, exact, members, potential, thinned, told

POOLED = np.array([True, True, False])
QUICK = Pace(lanes=8, stage=10, warmup=20, rounds=80, thin=10)


@pytest.fixture(autouse=True)
def toy(monkeypatch) -> None:
    """Patients whose posterior is known in place of the model's."""
    monkeypatch.setattr(sample, "flat_potential", lambda _: potential)
    monkeypatch.setattr(sample, "scored", lambda _: lambda _case, point: point)
    monkeypatch.setattr(sample, "reference", lambda *_: ReferenceLaw(np.zeros(3), np.full(3, 2.0)))
    monkeypatch.setattr(stages.resume, "fingerprint", lambda members, *more: repr((members, more)))


def some_laws(rng: np.random.Generator, lanes: int) -> Law:
    root = np.eye(2) + 0.4 * rng.standard_normal((lanes, 2, 2))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(2)
    return Law(rng.normal(size=(lanes, 2)), covariance, rng.normal(size=(lanes, 2)), rng.uniform(0.1, 0.9, lanes))


def test_draws_under_laws_are_those_of_the_population() -> None:
    rng = np.random.default_rng(3)
    law, z = population.populated(some_laws(rng, 5), POOLED), 2.0 * rng.standard_normal((7, 3))
    found = log_ratio(features(z[:, :2]), law, np.array([0, 1]))
    for lane in range(5):
        mine = Population(*(jnp.asarray(part[lane]) for part in law))
        right = [float(population.log_ratio(jnp.asarray(row), mine)) for row in z]
        np.testing.assert_allclose(found[:, lane], right, rtol=1e-9, atol=1e-9)


def test_the_prior_of_a_stage_is_a_law_and_reaches_everywhere() -> None:
    """It integrates to 1, on a grid of the two pooled scores; without laws it is the pack's."""
    rng = np.random.default_rng(4)
    drawn = some_laws(rng, 12)
    prior = mixture(Law(*(part.reshape(3, 4, *part.shape[1:]) for part in drawn)), POOLED)
    axis = np.linspace(-12.0, 12.0, 481)
    z = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    pack = np.exp(-0.5 * (z**2).sum(axis=1)) / (2.0 * np.pi)
    one = Population(*(np.asarray(part)[None] for part in prior))
    ratio = np.exp(log_ratio(features(z), one, np.array([0, 1]))[:, 0])
    assert np.sum(pack * ratio) * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-6)
    assert ratio.min() >= stages.PLAIN * (1.0 - 1e-9)
    plain = Population(*(np.asarray(part)[None] for part in mixture(None, POOLED)))
    np.testing.assert_allclose(log_ratio(features(z[::97]), plain, np.array([0, 1])), 0.0, atol=1e-9)


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_the_law_is_that_of_exact_draws() -> None:
    found = staged(0, members(), Pace(lanes=16, stage=40, warmup=100, rounds=1500, thin=5), POOLED)
    mine = thinned(np.moveaxis(told(found.laws), 0, 1))
    right, wrong = thinned(exact()), thinned(exact(error=1.6 * ERROR))
    for j in range(5):
        laws.check_same(mine[:, j], right[:, j])
    laws.must_fail(lambda: [laws.check_same(mine[:, j], wrong[:, j]) for j in range(5)])
    assert found.effective.min() > 0.5 * sample.CROWD * 24


def test_stages_come_to_a_cohort_far_from_the_prior() -> None:
    """All about 4 and alike: under the pack's prior few draws count for the law, in the last stage most of them do."""
    values = np.random.default_rng(5).normal([4.0, 0.0, 0.0], [0.2, 1.0, 3.0], (6, 3))
    pace = QUICK._replace(stage=20, rounds=200)
    found = staged(0, members(values), pace, POOLED)
    draws = sample.CROWD * (pace.stage - round(sample.SETTLE * pace.stage))
    assert found.effective.min() > 0.3 * draws
    only = pytest.MonkeyPatch()
    only.setattr(stages, "STAGES", 1)
    assert staged(0, members(values), pace, POOLED).effective.min() < 0.7 * found.effective.min()
    only.undo()


def test_walkers_begin_where_the_new_prior_has_its_weight() -> None:
    """Half of the draws at -3, half at 3: under a prior that stands at 3, walkers begin there, under the old one at both."""
    point = np.concatenate([np.full((60, 3), -3.0), np.full((60, 3), 3.0)]) + 0.01 * np.arange(120)[:, None] / 120
    still = dict.fromkeys(sample.Kept._fields, np.ones(120)) | {"point": point}
    law = Law(np.full((1, 1, 2), 3.0), np.eye(2)[None, None], np.zeros((1, 1, 2)), np.full((1, 1), 0.1))
    at, shares = np.array([0, 1]), []
    for prior in (mixture(law, POOLED), mixture(None, POOLED)):
        before = sample.Sample(sample.Kept(**still), point, np.zeros(120))
        walkers = SimpleNamespace(rng=np.random.default_rng(7), at=lambda points: points)
        shares.append(np.mean(sample._from(walkers, before, sample.Stage(0, 1, prior, at, 10)).crowd[:, 0] > 0.0))
    assert shares[0] > 0.95
    assert 0.3 < shares[1] < 0.7


@pytest.mark.law
def test_patients_take_their_draws_by_their_weight() -> None:
    rng = np.random.default_rng(6)
    law, under = rng.normal(size=5), rng.normal(size=5)
    taken, many = stages._choose(np.tile(law[:, None], 4000), under, rng.uniform(size=4000))
    share = np.exp(law - under) / np.exp(law - under).sum()
    for draw in range(5):
        laws.check_share(taken == draw, share[draw])
    other = np.exp(law) / np.exp(law).sum()  # as if all had been drawn under the pack's prior
    laws.must_fail(lambda: [laws.check_share(taken == draw, other[draw]) for draw in range(5)])
    assert many == pytest.approx(1.0 / np.sum(share**2))


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch) -> None:
    def stop(what: str, share: float) -> None:
        if what == "together" and share > 0.6:
            raise KeyboardInterrupt

    whole = staged(0, members(), QUICK, POOLED)
    with pytest.raises(KeyboardInterrupt):
        staged(0, members(), QUICK, POOLED, folder=tmp_path, progress=stop)
    done, fresh, draw = len(list(tmp_path.glob("*.npz"))), [], stages.drawn
    monkeypatch.setattr(stages, "drawn", lambda stage, *own: fresh.append(stage.number) or draw(stage, *own))
    again = staged(0, members(), QUICK, POOLED, folder=tmp_path)
    assert done > 0
    assert len(fresh) == stages.STAGES * len(members()) - done  # what was there is not drawn again
    for one, other in zip(jax.tree.leaves(whole[:4]), jax.tree.leaves(again[:4]), strict=True):
        np.testing.assert_array_equal(one, other)
    other = staged(1, members(), QUICK, POOLED, folder=tmp_path)
    assert not np.array_equal(other.laws.mean, whole.laws.mean)


def test_a_lane_does_not_know_whom_it_leaves_out() -> None:
    """The second half of the lanes does not count the first patient, who is then another, far away: the draws of the laws are
    of the same others, so those lanes stay near where they were.
    """
    counted = np.ones((QUICK.lanes, 6), bool)
    counted[4:, 0] = False
    values = VALUES + np.where(np.arange(6)[:, None] == 0, 30.0, 0.0)
    one, other = (staged(0, members(those), QUICK, POOLED, counted=counted) for those in (VALUES, values))
    spread, another = (np.log(found.laws.covariance[..., 0, 0]).mean(axis=0) for found in (one, other))
    assert abs(another[4:].mean() - spread[4:].mean()) < 1.0 < another[:4].mean() - spread[:4].mean()


def test_what_is_kept_is_every_so_manieth_round() -> None:
    found = staged(0, members(), QUICK, POOLED)
    assert found.laws.mean.shape == (8, 8, 2)
    assert found.apart.shape == (8, 6)
    assert [one.point.shape for one in found.patients] == [(8, 8, 3)] * 6
