"""Stages of a cohort: the prior of each, where walkers begin under it, and what is left of a stage on disk."""

from __future__ import annotations

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import laws
from persist.inference import population, sample, stages
from persist.inference.gibbs import PARTS
from persist.inference.population import Law, Population
from persist.inference.sample import CROWD, HALVES, Sample, Stage
from persist.inference.stages import Shelf, Standing, everyone, mixtures, plain
from test_pooling import ERROR, VALUES, members, toy  # noqa: F401

POOLED = np.array([True, True, False])


def some_laws(rng: np.random.Generator, patients: int) -> Law:
    """`PARTS` laws of two scores, which differ by patient in mean and share."""
    root = np.eye(2) + 0.4 * rng.standard_normal((PARTS, 2, 2))
    covariance = root @ np.swapaxes(root, 1, 2) + 0.1 * np.eye(2)
    mean, share = rng.normal(size=(PARTS, patients, 2)), rng.uniform(0.1, 0.9, (PARTS, patients))
    return Law(mean, covariance, rng.normal(size=(PARTS, 2)), share)


def test_the_prior_of_a_stage_is_a_law_and_reaches_everywhere() -> None:
    """It integrates to 1, on a grid of the two pooled scores; the first one is the pack's."""
    prior = mixtures(some_laws(np.random.default_rng(4), 2), POOLED)[1]
    axis = np.linspace(-12.0, 12.0, 241)
    z = np.stack([*np.meshgrid(axis, axis), np.full((241, 241), 0.7)], axis=-1).reshape(-1, 3)
    pack = np.exp(-0.5 * (z[:, :2] ** 2).sum(axis=1)) / (2.0 * np.pi)
    ratio = np.exp(sample._under(z, prior))
    assert np.sum(pack * ratio) * (axis[1] - axis[0]) ** 2 == pytest.approx(1.0, abs=1e-6)
    assert ratio.min() >= stages.PLAIN * (1.0 - 1e-9)
    np.testing.assert_allclose(sample._under(z[::97], plain(3)), 0.0, atol=1e-9)
    assert [np.shape(part) for part in plain(3)] == [np.shape(part) for part in prior]


def test_each_patient_has_the_mixture_of_its_own_laws() -> None:
    rng = np.random.default_rng(5)
    some, z = some_laws(rng, 3), 2.0 * rng.standard_normal((5, 3))
    for at, prior in enumerate(mixtures(some, POOLED)):
        each = np.stack([log_density_of(z[:, :2], some, part, at) for part in range(PARTS)])
        right = stages.PLAIN + (1.0 - stages.PLAIN) * np.exp(each).mean(axis=0)
        np.testing.assert_allclose(sample._under(z, prior), np.log(right), rtol=1e-9, atol=1e-9)


def log_density_of(z: np.ndarray, some: Law, part: int, patient: int) -> np.ndarray:
    """Of a law over the pack's prior, by the program's own density of a population of one."""
    one = Law(
        some.mean[part, None, patient], some.covariance[part, None], some.apart[part, None], some.share[part, [patient]]
    )
    law = Population(*(jnp.asarray(own[0]) for own in population.populated(one, np.ones(2, bool))))
    return np.asarray(jax.vmap(population.log_ratio, in_axes=(0, None))(jnp.asarray(z), law))


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
    """Half of the draws at -3, half at 3: under a prior that stands at 3, walkers begin there, under the old one at both."""
    shape = (PARTS, 1)
    law = Law(np.full((*shape, 2), 3.0), np.tile(np.eye(2), (PARTS, 1, 1)), np.zeros((PARTS, 2)), np.full(shape, 0.1))
    shares = [np.mean(starts(before(3.0, 3.0), prior) > 0.0, axis=1) for prior in (mixtures(law, POOLED)[0], plain(3))]
    assert (shares[0] > 0.95).all()
    assert ((shares[1] > 0.3) & (shares[1] < 0.7)).all()


def test_halves_of_the_walkers_stay_apart() -> None:
    """None of the one begins at a draw of the other, as often as there is a stage."""
    found = np.abs(starts(before(1.0, 5.0), plain(3)))
    assert (found[0] < 2.0).all()
    assert (found[1] > 4.0).all()


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.law
def test_draws_of_each_half_are_those_of_the_posterior() -> None:
    """In the first stage, under the pack's prior, and in a later one under a mixture, weighed back to the pack's prior."""
    member, size = members()[1], 200
    first = sample.drawn(Stage(0, 0, 16, size), member, plain(3))
    law = some_laws(np.random.default_rng(8), 1)
    later = sample.drawn(Stage(0, 1, 16, size), member, mixtures(law, POOLED)[0], first)
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
    stage, begin = Stage(0, 0, 2, 3), Standing([plain(3)] * 2, [])
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
