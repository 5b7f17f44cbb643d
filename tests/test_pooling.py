"""A cohort in stages: against exact conjugate draws of the same law, far from the prior, over again after a stop, by fold."""

from __future__ import annotations

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from scipy import stats

import laws
from persist.errors import DataError
from persist.inference import pooling, sample, stages
from persist.inference.clone_free import FREE_0, FREE_1, Frame, shifts
from persist.inference.model import sampled
from persist.inference.pooling import STAGES, Pace, pool
from persist.inference.population import UNKNOWN, Law, belong, log_ratio, moments, renew, shared, start
from persist.inference.priors import load_pack
from persist.inference.sample import HALVES, Sample
from persist.inference.target import Member, ReferenceLaw, Target

ERROR = np.array([0.4, 0.8, 3.0])
"""Of what is measured of each score: the third is hardly seen."""

VALUES = np.random.default_rng(1).normal([0.8, -0.5, 0.0], [0.9, 1.1, 3.2], (6, 3))


TARGET = Target("spr", "clinical", "psa", 1.0, False)

OFF = np.array([-2.0, 0.0, -4.0])
"""By how much scores of patients without a clone are off, where some are: one that is pooled, and one that is not."""

of_the_model = pooling._frame


class Seen(NamedTuple):
    """A patient of whom scores are measured with a normal error."""

    value: np.ndarray
    population: Any = UNKNOWN


def potential(case: Seen, point: jax.Array) -> jax.Array:
    """Minus the log posterior density of the scores, which are the coordinates."""
    off = (point - case.value) / ERROR
    return 0.5 * jnp.sum(off**2) + 0.5 * jnp.sum(point**2) - log_ratio(point, case.population)


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Patients whose posterior is known in place of the model's, and none of whom is off."""
    monkeypatch.setattr(sample, "flat_potential", lambda _: potential)
    monkeypatch.setattr(sample, "across", lambda _: None)
    monkeypatch.setattr(sample, "scored", lambda _: lambda _case, point: point)
    monkeypatch.setattr(sample, "reference", lambda *_: ReferenceLaw(np.zeros(3), np.full(3, 2.0)))
    shifted(monkeypatch, np.zeros(3))
    monkeypatch.setattr(pooling.resume, "fingerprint", lambda members, *more: repr((members, more)))


def shifted(monkeypatch: pytest.MonkeyPatch, shift: np.ndarray) -> None:
    """Patients without a clone are off by a ``shift`` (3,)."""
    monkeypatch.setattr(pooling, "_frame", lambda _: Frame(np.zeros(3, bool), shift))


QUICK = Pace(lanes=8, settle=4, stage=6, last=8, warmup=20, rounds=80, thin=10)


def members(values: np.ndarray = VALUES) -> list[Member]:
    return [Member(f"patient {number}", TARGET, Seen(value)) for number, value in enumerate(values)]


def exact(shift: np.ndarray, lanes: int = 32, rounds: int = 1500, error: np.ndarray = ERROR) -> np.ndarray:
    """What is compared (see `told`) by Gibbs with exact draws of the patients' scores, ``(lanes, rounds, ...)``: drawn as if
    all had a clone, of values that are less the shift in those who have none.
    """
    rng, size, everyone = np.random.default_rng(2), 2, np.ones((lanes, len(VALUES)), bool)
    z, law, rows = np.tile(VALUES[:, :size], (lanes, 1, 1)), start(lanes, size), []
    certain = np.diag(error[:size] ** -2.0)
    rest = log_normal(VALUES[:, size:] - shift[size:], 1.0 + error[size:] ** 2)
    rest = rest - log_normal(VALUES[:, size:], 1.0 + error[size:] ** 2)
    for _ in range(rounds):
        law = renew(rng, z, law, everyone)
        wide = law._replace(covariance=law.covariance + np.diag(error[:size] ** 2))  # of values, errors among them
        odds = np.log(law.clone_free / (1.0 - law.clone_free))[:, None] + rest
        odds = odds + of_values(VALUES[:, :size] - shift[:size], wide) - of_values(VALUES[:, :size], wide)
        free = rng.uniform(size=everyone.shape) < 1.0 / (1.0 + np.exp(-odds))
        value = VALUES[:, :size] - free[..., None] * shift[:size]
        among = rng.uniform(size=everyone.shape) < belong(value, wide)
        middle = law.mean[:, None] + among[..., None] * law.apart[:, None]
        precision = np.linalg.inv(law.covariance)
        total = np.linalg.inv(precision + certain)
        pull = np.einsum("lij,lpj->lpi", precision, middle) + value @ certain
        root = np.linalg.cholesky(total)
        z = np.einsum("lij,lpj->lpi", total, pull) + np.einsum("lij,lpj->lpi", root, rng.standard_normal(z.shape))
        share = rng.beta(FREE_0 + free.sum(axis=1), FREE_1 + (~free).sum(axis=1))
        law = law._replace(clone_free=share)
        rows.append(told(law))
    return np.moveaxis(np.array(rows[100:]), 0, 1)


def log_normal(off: np.ndarray, variance: np.ndarray) -> np.ndarray:
    """Log density of independent scores, up to a constant."""
    return -0.5 * (off**2 / variance).sum(axis=-1)


def of_values(value: np.ndarray, law: Law) -> np.ndarray:
    """Log density ``(lanes, patients)`` of values ``(patients, k)`` under most and those apart together, up to a constant."""
    precision, shares = np.linalg.inv(law.covariance), np.log([1.0 - law.share, law.share])
    off = value - np.stack([law.mean, law.mean + law.apart])[:, :, None]
    return np.logaddexp.reduce(shares[..., None] - 0.5 * np.einsum("clpi,lij,clpj->clp", off, precision, off))


def told(law: Law) -> np.ndarray:
    """Of all patients together: both means, both log variances, the covariance and the share without a clone, ``(..., 6)``."""
    mean, covariance = moments(law)
    variance = np.log(np.diagonal(covariance, axis1=-2, axis2=-1))
    return np.concatenate([mean, variance, covariance[..., 0, 1, None], law.clone_free[..., None]], axis=-1)


def thinned(rows: np.ndarray) -> np.ndarray:
    """About independent rows ``(n, ...)`` of series ``(lanes, rounds, ...)``: as many as they count for."""
    least = min(effective_sample_size(rows[..., j]) for j in range(rows.shape[-1]))
    every = max(1, int(np.ceil(rows.shape[0] * rows.shape[1] / least)))
    return rows[:, ::every].reshape(-1, rows.shape[-1])


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
@pytest.mark.parametrize("shift", [np.zeros(3), OFF], ids=["all alike", "some without a clone"])
def test_the_law_is_that_of_exact_draws(shift, monkeypatch) -> None:
    shifted(monkeypatch, shift)
    found = pool(0, members(), Pace(lanes=16, warmup=100, rounds=1500, thin=5))
    assert found.frame.pooled.tolist() == [True, True, False]
    mine = thinned(np.moveaxis(told(found.laws), 0, 1))
    right, wrong = thinned(exact(shift)), thinned(exact(shift, error=1.6 * ERROR))
    for j in range(6):
        laws.check_same(mine[:, j], right[:, j])
    laws.must_fail(lambda: [laws.check_same(mine[:, j], wrong[:, j]) for j in range(5)])
    if shift.any():  # one of the two that are off says as little as if it were not
        for less in (OFF * [0.0, 1.0, 1.0], OFF * [1.0, 1.0, 0.0]):
            other = thinned(exact(less))
            laws.must_fail(lambda other=other: laws.check_same(mine[:, 5], other[:, 5]))
    assert found.effective is not None
    assert found.effective.min() > 0.3 * draws_of_a_half(Pace())


def draws_of_a_half(pace: Pace) -> int:
    """Draws of a patient in the last stage that a lane may take."""
    return pace.last * sample.CROWD // sample.HALVES


def test_stages_come_to_a_cohort_far_from_the_prior(monkeypatch) -> None:
    """All about 4 and alike: under the pack's prior few draws count for the law, in the last stage many of them do."""
    values = np.random.default_rng(5).normal([4.0, 0.0, 0.0], [0.2, 1.0, 3.0], (6, 3))
    pace = QUICK._replace(settle=8, stage=12, last=12, rounds=200)
    found = pool(0, members(values), pace, pooled=np.array([True, True, False]))
    assert found.effective is not None
    assert found.effective.min() > 0.3 * draws_of_a_half(pace)
    monkeypatch.setattr(pooling, "STAGES", 1)
    one = pool(0, members(values), pace, pooled=np.array([True, True, False]))
    assert one.effective is not None
    assert one.effective.min() < 0.7 * found.effective.min()


def test_a_stopped_run_goes_on_to_the_same_numbers(tmp_path, monkeypatch) -> None:
    def stop(what: str, share: float) -> None:
        if what == "together" and share > 0.6:
            raise KeyboardInterrupt

    whole = pool(0, members(), QUICK)
    with pytest.raises(KeyboardInterrupt):
        pool(0, members(), QUICK, folder=tmp_path, progress=stop)
    done, fresh, draw = len(list(tmp_path.glob("*.npz"))), [], stages.drawn
    monkeypatch.setattr(stages, "drawn", lambda stage, *own: fresh.append(stage.number) or draw(stage, *own))
    again = pool(0, members(), QUICK, folder=tmp_path)
    assert done > len(members())
    assert len(fresh) == STAGES * len(members()) - done  # what was there is not drawn again
    for one, other in zip(
        jax.tree.leaves(whole._replace(seconds=0)), jax.tree.leaves(again._replace(seconds=0)), strict=True
    ):
        np.testing.assert_array_equal(one, other)
    other = pool(1, members(), QUICK, folder=tmp_path)
    assert len(fresh) == 2 * STAGES * len(members()) - done  # of another seed nothing is there
    assert not np.array_equal(other.laws.mean, whole.laws.mean)


def test_progress_is_told_from_its_beginning_to_its_end() -> None:
    heard: list[tuple[str, float]] = []
    pool(0, members()[:2], QUICK, progress=lambda what, share: heard.append((what, share)))
    names = [what for what, _ in heard]
    assert names == sorted(names)  # patients alone first
    for what in ("alone", "together"):
        shares = [share for name, share in heard if name == what]
        assert shares == sorted(shares)
        assert 0.0 < shares[0] < 0.5
        assert shares[-1] == pytest.approx(1.0)


def test_a_lane_does_not_know_whom_it_leaves_out() -> None:
    """The second half of the lanes does not count the first patient, who is then another, far away: the draws of the laws are
    of the same others, so those lanes stay near where they were.
    """
    counted, pooled = np.ones((QUICK.lanes, 6), bool), np.array([True, True, False])
    counted[4:, 0] = False
    values = VALUES + np.where(np.arange(6)[:, None] == 0, 30.0, 0.0)
    one, other = (pool(0, members(those), QUICK, pooled=pooled, counted=counted) for those in (VALUES, values))
    spread, another = (np.log(found.laws.covariance[..., 0, 0]).mean(axis=0) for found in (one, other))
    assert abs(another[4:].mean() - spread[4:].mean()) < 1.0 < another[:4].mean() - spread[:4].mean()


def test_what_is_kept_is_every_so_manieth_round_and_a_draw_of_the_half() -> None:
    """Each lane's points are among those that its half of the walkers has left."""
    found = pool(0, members(), QUICK)
    assert found.laws.mean.shape == (8, 8, 2)
    assert found.apart.shape == found.free.shape == (8, 6)
    np.testing.assert_allclose(found.free, np.tile(found.laws.clone_free.mean(axis=0)[:, None], 6), rtol=1e-9)
    assert found.effective is not None
    assert found.effective.shape == (6,)
    for one in found.patients:
        assert one.point.shape == (8, 8, 3)
        assert one.accept.shape == (8, 8)
        assert np.all((one.accept >= 0.0) & (one.accept <= 1.0))
        first, other = one.point[:, :4].reshape(-1, 3), one.point[:, 4:].reshape(-1, 3)
        assert not (first[:, None] == other[None]).all(axis=-1).any()


def test_what_the_data_show_is_pooled() -> None:
    """The third score is hardly measured: it keeps the pack's prior; where none is shown there is no population."""
    found = pool(0, members(), QUICK)
    assert found.frame.pooled.tolist() == [True, True, False]
    certain = 1.0 - 1.0 / (1.0 + ERROR**-2.0)
    np.testing.assert_allclose(found.shown, certain, atol=0.15)
    hidden = pytest.MonkeyPatch()
    hidden.setattr(pooling, "SHOWN", 0.99)
    with pytest.raises(DataError, match="show no parameter"):
        pool(0, members(), QUICK)
    hidden.undo()


def test_what_the_data_show_is_told_as_if_all_had_a_clone() -> None:
    """Draws are made with a clone and without, half and half; under the pack's prior alone their variance is that of a normal
    law, and would be told too large if they counted alike.
    """
    rng, error = np.random.default_rng(3), 1.0
    certain = 1.0 + error**-2.0
    without = rng.uniform(size=(HALVES, 50_000, 1)) < 0.5  # of a value halfway
    z = np.where(without, OFF, 0.0) / certain + 0.5 * OFF * error**-2.0 / certain
    z = z + rng.standard_normal(z.shape) / np.sqrt(certain)
    ratio = (stats.norm.logpdf(z, OFF) - stats.norm.logpdf(z)).sum(axis=-1)
    one = Sample(None, z, np.logaddexp(np.log(0.5), np.log(0.5) + ratio))  # type: ignore[arg-type]
    np.testing.assert_allclose(pooling._shown([one, one]), 1.0 - 1.0 / certain, atol=0.02)
    alike = pooling._shown([one._replace(under=np.zeros(ratio.shape))])
    assert (alike[OFF != 0.0] < 0.3).all()


def test_the_frame_is_that_of_the_scores_that_patients_share() -> None:
    """None is pooled before any is drawn from; what seeds a clone is off."""
    frame = of_the_model(members()[0])
    pack = load_pack("clinical", "psa")
    names = shared(sampled(pack, "spr"))
    assert frame.pooled.tolist() == [False] * len(names)
    np.testing.assert_array_equal(frame.shift, shifts(names, pack))
