"""Stages of a cohort: the prior of each, where walkers begin under it, and what is left of a stage on disk."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from scipy import stats

import laws
from persist.inference import sample, stages
from persist.inference.clone_free import Frame
from persist.inference.gibbs import PARTS
from persist.inference.population import Law, Population
from persist.inference.sample import CROWD, HALVES, Sample, Stage
from persist.inference.stages import Shelf, Standing, everyone, mixtures, plain
from test_pooling import ERROR, VALUES, members, toy  # noqa: F401
from test_population import density

ALIKE = Frame(np.array([True, True, False]), np.zeros(3))
FRAME = ALIKE._replace(shift=np.array([-1.5, 0.0, -1.0]))
"""One score that is pooled and one that is not are off in patients without a clone."""


def some_laws(rng: np.random.Generator, patients: int, spread: float = 1.0) -> Law:
    """`PARTS` laws of two scores, which differ by patient in mean and shares."""
    root = spread * (np.eye(2) + 0.4 * rng.standard_normal((PARTS, 2, 2)))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(2)
    mean, shares = rng.normal(size=(PARTS, patients, 2)), rng.uniform(0.1, 0.9, (2, PARTS, patients))
    return Law(mean, covariance, rng.normal(size=(PARTS, 2)), *shares)


def of_the_pack(z: np.ndarray, frame: Frame) -> np.ndarray:
    """Density of scores ``(K, 3)`` under the pack's prior, half with a clone and half without, over that of all with one."""
    one, other = (stats.norm.logpdf(z, shift).sum(axis=-1) for shift in (0.0, frame.shift))
    return 0.5 + 0.5 * np.exp(other - one)


@pytest.mark.parametrize("frame", [ALIKE, FRAME], ids=["all alike", "some without a clone"])
def test_the_prior_of_a_stage_is_a_law_and_reaches_everywhere(frame: Frame) -> None:
    """It integrates to 1, on a grid; the first one is the pack's, with a clone and without, and has its share everywhere."""
    some = some_laws(np.random.default_rng(4), 2, spread=0.3)
    prior, axis, beyond = mixtures(some, frame)[1], np.linspace(-12.0, 12.0, 121), np.linspace(-8.0, 8.0, 41)
    total, least = np.zeros(2), []
    for third in beyond:
        z = np.stack([*np.meshgrid(axis, axis), np.full((121, 121), third)], axis=-1).reshape(-1, 3)
        ratio = np.exp([sample._under(z, one) for one in (prior, plain(frame))])
        np.testing.assert_allclose(ratio[1], of_the_pack(z, frame), rtol=1e-9)
        total += (np.exp(stats.norm.logpdf(z).sum(axis=1)) * ratio).sum(axis=1)
        least.append((ratio[0] / ratio[1]).min())
    cell = (axis[1] - axis[0]) ** 2 * (beyond[1] - beyond[0])
    np.testing.assert_allclose(total * cell, 1.0, atol=1e-6)
    assert min(least) == pytest.approx(stages.PLAIN, rel=1e-9)  # far from all laws, and nowhere less
    assert [np.shape(part) for part in plain(frame)] == [np.shape(part) for part in prior]


@pytest.mark.parametrize("frame", [ALIKE, FRAME], ids=["all alike", "some without a clone"])
def test_each_patient_has_the_mixture_of_its_own_laws(frame: Frame) -> None:
    rng = np.random.default_rng(5)
    some, z = some_laws(rng, 3), 2.0 * rng.standard_normal((5, 3))
    some.share[0], some.clone_free[1] = 0.0, 0.0
    pack = np.exp(stats.norm.logpdf(z).sum(axis=1))
    for at, prior in enumerate(mixtures(some, frame)):
        own = [
            Law(some.mean[part, at], some.covariance[part], some.apart[part], some.share[part, at], free[at])
            for part, free in enumerate(some.clone_free)
        ]
        each = np.array([[density(row, law, frame) for row in z] for law in own])
        right = stages.PLAIN * of_the_pack(z, frame) + (1.0 - stages.PLAIN) * each.mean(axis=0) / pack
        np.testing.assert_allclose(sample._under(z, prior), np.log(right), rtol=1e-9, atol=1e-9)


def before(first: float, other: float) -> Sample:
    """Draws of the first half of the walkers, and of the other, about two places each: at and at minus these."""
    point = np.array([first, other])[:, None, None] * np.repeat([-1.0, 1.0], 60)[None, :, None]
    point = np.broadcast_to(point, (HALVES, 120, 3)) + 0.01 * np.arange(120)[None, :, None] / 120
    still = dict.fromkeys(sample.Kept._fields, np.ones((HALVES, 120))) | {"point": point}
    return Sample(sample.Kept(**still), point, np.zeros((HALVES, 120)))


def starts(own: Sample, prior: Population) -> np.ndarray:
    """Where walkers begin, ``(HALVES, walkers)``."""
    walkers = SimpleNamespace(rng=np.random.default_rng(7), at=lambda points: points)
    crowd = sample._from(walkers, own, prior).crowd  # type: ignore[arg-type]
    assert crowd.shape == (CROWD, 3)
    return crowd[:, 0].reshape(HALVES, -1)


def test_walkers_begin_where_the_new_prior_has_its_weight() -> None:
    """Half of the draws at -3, half at 3: under a prior that stands at 3, walkers begin there, under the old one at both. Where
    nearly all have no clone, and are off by -6, they begin at -3.
    """
    shape, off = (PARTS, 1), ALIKE._replace(shift=np.array([-6.0, -6.0, 0.0]))
    law = Law(
        np.full((*shape, 2), 3.0),
        np.tile(np.eye(2), (PARTS, 1, 1)),
        np.zeros((PARTS, 2)),
        np.full(shape, 0.1),
        np.full(shape, 0.999),
    )
    priors = mixtures(law, ALIKE)[0], plain(ALIKE), mixtures(law, off)[0]
    shares = [np.mean(starts(before(3.0, 3.0), prior) > 0.0, axis=1) for prior in priors]
    assert (shares[0] > 0.95).all()
    assert ((shares[1] > 0.3) & (shares[1] < 0.7)).all()
    assert (shares[2] < 0.05).all()


def test_halves_of_the_walkers_stay_apart() -> None:
    """None of the one begins at a draw of the other, as often as there is a stage."""
    found = np.abs(starts(before(1.0, 5.0), plain(ALIKE)))
    assert (found[0] < 2.0).all()
    assert (found[1] > 4.0).all()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
@pytest.mark.parametrize("frame", [ALIKE, FRAME], ids=["all alike", "some without a clone"])
def test_draws_of_each_half_are_those_of_the_posterior(frame: Frame) -> None:
    """In the first stage, under the pack's prior, with a clone and without, and in a later one under a mixture, each weighed
    back to the pack's prior, in which all have a clone.
    """
    member, size = members()[1], 200
    first = sample.drawn(Stage(0, 0, 16, size), member, plain(frame))
    law = some_laws(np.random.default_rng(8), 1)
    later = sample.drawn(Stage(0, 1, 16, size), member, mixtures(law, frame)[0], first)
    certain = 1.0 + ERROR**-2.0
    centre = VALUES[1] * ERROR**-2.0 / certain

    def check(one: Sample, under: np.ndarray, wide: float = 1.0) -> None:
        for half in range(HALVES):
            weight = np.exp(-under[half])
            rounds = weight.reshape(size, -1) / weight.mean()  # of the walkers of a half
            off = ((one.scores[half] - centre) * np.sqrt(certain)).reshape(size, -1, 3)
            for at in range(3):
                laws.check_mean((rounds * off[..., at]).mean(axis=0), 0.0)
                laws.check_mean((rounds * off[..., at] ** 2).mean(axis=0), wide)

    check(first, first.under)
    check(later, later.under)
    laws.must_fail(lambda: check(later, np.zeros_like(later.under)))
    laws.must_fail(lambda: check(first, first.under, 1.3))


def test_what_was_drawn_is_taken_from_the_shelf(tmp_path, monkeypatch) -> None:
    """The same numbers; of another run, of another stage and of another patient it is not taken."""
    stage, begin = Stage(0, 0, 2, 3), Standing([plain(FRAME)] * 2, [])
    fresh, draw = [], stages.drawn
    monkeypatch.setattr(
        stages, "drawn", lambda stage, member, *own: fresh.append(member.patient_id) or draw(stage, member, *own)
    )
    one = everyone(stage, members()[:2], begin, Shelf(tmp_path, "mark"), lambda _: None)
    assert sorted(fresh) == ["patient 0", "patient 1"]
    shelf, heard = Shelf(tmp_path, "mark"), []
    again = everyone(stage, members()[:2], begin, shelf, heard.append)
    assert len(fresh) == 2
    assert heard == [0.5, 1.0]
    assert shelf.earlier > 0.0
    assert shelf.seconds > shelf.earlier
    for mine, theirs in zip(jax.tree.leaves(one), jax.tree.leaves(again), strict=True):
        np.testing.assert_array_equal(mine, theirs)
    assert one[0].kept.energy.shape == (HALVES, 3 * CROWD // HALVES)
    for folder, mark, number, place in ((None, "mark", 0, 0), (tmp_path, "other", 0, 0), (tmp_path, "mark", 1, 0)):
        wanted = stage._replace(number=number)
        assert Shelf(folder, mark).find(wanted, members()[place]) is None
    assert Shelf(tmp_path, "mark").find(stage, members()[2]) is None
    (file,) = [path for path in tmp_path.iterdir() if path == stages._place(tmp_path, stage, members()[1])]
    file.write_bytes(b"broken")
    everyone(stage, members()[:2], begin, Shelf(tmp_path, "mark"), lambda _: None)
    assert fresh[2:] == ["patient 1"]
