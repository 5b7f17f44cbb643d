"""Calibration of a population: laws from their prior, patients of them, and ranks that a right fit leaves even."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from click.testing import CliRunner
from scipy import stats

import laws
from persist.cli.main import main
from persist.inference import clone_free, pooling, population, sample
from persist.inference.clone_free import Frame
from persist.inference.fit import Settings
from persist.inference.pooling import Pace, Pooled, pool
from persist.inference.population import Law, belong, log_ratio, renew, start
from persist.inference.priors import load_pack
from persist.inference.target import Member, ReferenceLaw, Target
from persist.validation import bands, calibrate, cohorts
from persist.validation.cohorts import FORESEEN, FREE, POOLED, SHARE
from persist.validation.study import study
from persist.validation.virtual import generator

TINY = Settings(chains=2, warmup=50, draws=50)
ERROR = np.array([0.3, 0.4, 0.5, 0.6])
"""Of what is measured of each pooled score."""
SEED, SEED_ERROR = "resistant_0", 0.8
"""A score that is not pooled, off in patients without a clone, and the error of what is measured of it."""
NAMES = [f"{what} of {name}" for what in ("mean", "spread") for name in POOLED] + [SHARE, FREE, FORESEEN]


# ---------------------------------------------------------------- truths


@pytest.mark.law
def test_laws_are_of_their_prior() -> None:
    """That of `inference.population`, by its densities; a spread drawn too small is seen."""
    found = cohorts.prior_laws(np.random.default_rng(1), 4000, 4)

    def check(law: Law) -> None:
        laws.check_mean(law.share, population.APART_0 / (population.APART_0 + population.APART_1))
        for at in range(4):
            laws.check_variance(law.mean[:, at], population.CENTRE**2)
            laws.check_variance(law.apart[:, at], population.DISTANCE**2)
            edge = stats.invgamma.ppf(0.3, population.FREEDOM / 2.0, scale=population.SCALE / 2.0)
            laws.check_share(law.covariance[:, at, at] < edge, 0.3, what="variance under its 30 % point")
            laws.check_mean(law.covariance[:, at, 0] * (at != 0), 0.0)
        for share in (0.05, 0.3, 0.95):
            edge = stats.beta.ppf(share, clone_free.FREE_0, clone_free.FREE_1)
            laws.check_share(law.clone_free < edge, share, what=f"share without a clone under its {share:.0%} point")

    check(found)
    laws.must_fail(lambda: check(found._replace(covariance=0.9 * found.covariance)))
    laws.must_fail(lambda: check(found._replace(clone_free=found.share)))


@pytest.mark.law
def test_patients_are_of_their_law_and_else_of_the_pack() -> None:
    """Scores less the mean of the law, over the spread that its moments have; of what is not pooled, those are of the pack's
    prior, with a clone or without.
    """
    asked = study(TINY, cohort=8)
    at, names = np.flatnonzero(cohorts.pooled_of(asked)), cohorts.names_in(asked)
    assert tuple(np.array(names)[at]) == POOLED
    frame = cohorts.frame_of(asked)
    seeds = [names.index(name) for name in ("mutation", SEED)]
    np.testing.assert_array_equal(frame.pooled, cohorts.pooled_of(asked))
    np.testing.assert_array_equal(np.flatnonzero(frame.shift), seeds)

    def off(plant: str = "none", factor: float = 1.0) -> np.ndarray:
        one, found, by = asked._replace(plant=plant), [], factor * frame.shift[seeds]
        for number in range(250):
            law, z = cohorts.truth(one, number)
            assert z.shape == (9, len(cohorts.names_in(asked)))
            about = cohorts.moments(law)
            spread = np.sqrt(np.diagonal(about.covariance[0]))
            free = law.clone_free[0]
            off_by = (z[:2, seeds] - free * by) / np.sqrt(1.0 + free * (1.0 - free) * by**2)
            found.append(np.concatenate([(z[:2, at] - about.mean[0]) / spread, z[:2, 1:2], off_by], axis=1))
        return np.concatenate(found)

    def check(off: np.ndarray) -> None:
        for j in range(7):
            laws.check_mean(off[:, j], 0.0)
            laws.check_variance(off[:, j], 1.0)

    check(off())
    laws.must_fail(lambda: check(off("alike")))
    laws.must_fail(lambda: check(off(factor=0.8)))


def test_a_patient_has_the_scores_that_it_was_given() -> None:
    asked = study(TINY, cohort=2)
    _, z = cohorts.truth(asked, 3)
    everyone, censored = cohorts.patients(asked, 3, z[:2])
    assert [one.patient_id for one in everyone] == ["replicate 3, patient 0", "replicate 3, patient 1"]
    assert 0 <= censored <= 54
    assert float(np.exp(everyone[0].case.log_first)) == pytest.approx(asked.design.reference.first)
    again, _ = cohorts.patients(asked, 3, z[1:2])  # patient 0 of these is another than of those
    assert not np.array_equal(again[0].case.value, everyone[0].case.value)
    same, _ = cohorts.patients(asked, 3, z[:1])
    np.testing.assert_array_equal(same[0].case.value, everyone[0].case.value)


# ---------------------------------------------------------------- ranks of a toy


class Toy:
    """Patients of whom each pooled score is measured with a normal error, and `SEED`, fitted by Gibbs with exact draws, all
    replicates side by side: ``lanes`` of each, of which the laws of a few late rounds are kept. Planted: a ``factor`` of how
    far off those without a clone are taken to be.
    """

    def __init__(self, asked: Any, count: int, factor: float, lanes: int = 12) -> None:
        at, rng = np.flatnonzero(cohorts.pooled_of(asked)), np.random.default_rng(5)
        every = np.stack([cohorts.truth(asked, number)[1][:-1] for number in range(count)])
        z, seed = every[..., at], cohorts.names_in(asked).index(SEED)
        self.value = np.repeat(z + ERROR * rng.standard_normal(z.shape), lanes, axis=0)
        seen = np.repeat(every[..., seed] + SEED_ERROR * rng.standard_normal(z.shape[:2]), lanes, axis=0)
        kinds = [stats.norm.pdf(seen, by, np.hypot(1.0, SEED_ERROR)) for by in (0.0, factor * self.off(asked))]
        self.odds = kinds[1] / kinds[0]
        self.count, self.lanes, self.laws = count, lanes, self.gibbs(rng)

    @staticmethod
    def off(asked: Any) -> float:
        """By how much `SEED` is off, by its words: log of what is left, over the standard deviation of the log of the entry."""
        entry = load_pack("clinical", "psa").entries[SEED]
        return float(np.log(clone_free.FAINT) / entry.scale)

    def gibbs(self, rng: np.random.Generator, rounds: tuple[int, ...] = (36, 48, 60, 72, 84)) -> list[Law]:
        """Rounds of the law and of the patients, each given all others."""
        law, z, kept = start(len(self.value), len(POOLED)), self.value, []
        everyone = np.ones(self.value.shape[:2], bool)
        certain = np.diag(ERROR**-2.0)
        for number in range(1, rounds[-1] + 1):
            law = renew(rng, z, law, everyone)
            wide = law._replace(covariance=law.covariance + np.diag(ERROR**2))
            among = rng.uniform(size=everyone.shape) < belong(self.value, wide)
            middle = law.mean[:, None] + among[..., None] * law.apart[:, None]
            precision = np.linalg.inv(law.covariance)
            total = np.linalg.inv(precision + certain)
            pull = np.einsum("lij,lpj->lpi", precision, middle) + self.value @ certain
            noise = np.einsum("lij,lpj->lpi", np.linalg.cholesky(total), rng.standard_normal(z.shape))
            z = np.einsum("lij,lpj->lpi", total, pull) + noise
            odds = self.odds * (law.clone_free / (1.0 - law.clone_free))[:, None]
            free = (rng.uniform(size=everyone.shape) < odds / (1.0 + odds)).sum(axis=1)
            share = rng.beta(clone_free.FREE_0 + free, clone_free.FREE_1 + everyone.shape[1] - free)
            law = law._replace(clone_free=share)
            kept += [law] if number in rounds else []
        return kept

    def of(self, number: int) -> Law:
        """Laws ``(rounds, lanes, ...)`` of a replicate."""
        mine = slice(number * self.lanes, (number + 1) * self.lanes)
        return Law(*(np.stack([getattr(law, name)[mine] for law in self.laws]) for name in Law._fields))


def pooled_as(pooled: np.ndarray, law: Law, patients: tuple[sample.Kept, ...] = ()) -> Pooled:
    """What `pool` gives, with these laws."""
    frame = Frame(pooled, np.zeros(len(pooled)))
    return Pooled(frame, 0.5 * pooled, law, np.zeros(0), np.zeros(0), patients, 0.0)


WELL = {"max_rhat": 1.0, "min_ess_bulk": 500.0, "min_ess_tail": 400.0, "divergences": 0, "ok": True, "problems": []}


def calibrated(
    monkeypatch: pytest.MonkeyPatch, plant: str = "none", scale: float = 1.0, factor: float = 1.0, count: int = 150
) -> dict[str, Any]:
    """A calibration of toys; ``scale`` of the prior's SCALE and a ``factor`` of how far off those without a clone are, are
    planted in the fit alone.
    """
    asked = study(TINY, 60, plant, cohort=6)
    monkeypatch.setattr(population, "SCALE", scale * population.SCALE)
    toy, numbers = Toy(asked, count, factor), iter(range(count))
    monkeypatch.undo()
    monkeypatch.setattr(cohorts, "patients", lambda *_: ([], 0))
    monkeypatch.setattr(cohorts, "pool", lambda *_, pooled: pooled_as(pooled, toy.of(next(numbers))))
    monkeypatch.setattr(cohorts, "health", lambda *_: WELL)
    return calibrate.calibrate(asked, count)


def check_even(found: dict[str, Any]) -> None:
    """All ranks stay in bands that they leave with `laws.ALARM` together, if all are right."""
    each = bands.level(len(found["parameters"]), 1.0 - laws.ALARM)
    for name, one in found["parameters"].items():
        ranks = np.array(one["ranks"])
        if not bands.fits(ranks, found["rank_max"], each):
            raise laws.LawBrokenError(name, 0.0, one["farthest"], 0.0, laws.ALARM)


@pytest.mark.law
def test_ranks_are_even_and_errors_of_the_population_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted: a prior of half the variance in the fit, and patients without a clone taken to be farther off than they are; and
    patients more alike than their law, found by the bands of the program.
    """
    right = calibrated(monkeypatch)
    check_even(right)
    assert list(right["parameters"]) == NAMES
    assert right["cohort"] == {"patients": 6, "pooled": list(POOLED)}
    narrower = calibrated(monkeypatch, scale=0.5)
    laws.must_fail(lambda: check_even(narrower))
    out = [name for name, one in narrower["parameters"].items() if not one["ecdf_ok"]]
    assert set(out) >= {f"spread of {name}" for name in POOLED}
    farther = calibrated(monkeypatch, factor=2.0)
    laws.must_fail(lambda: check_even(farther))
    assert [name for name, one in farther["parameters"].items() if not one["ecdf_ok"]] == [FREE]
    alike = calibrated(monkeypatch, plant="alike")
    assert not alike["all_ok"]
    assert sum(not alike["parameters"][f"spread of {name}"]["ecdf_ok"] for name in POOLED) >= 2


def test_a_cohort_tells_of_its_law_as_much_as_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six patients, each well measured, take away a third of what is open of means and spreads and of how many have no clone,
    and little of the rest.
    """
    found = calibrated(monkeypatch, count=20)["parameters"]
    for name in POOLED:
        assert found[f"mean of {name}"]["contraction"]["q50"] > 0.15
    assert found[FREE]["contraction"]["q50"] > 0.15
    assert abs(found[SHARE]["contraction"]["q50"]) < 0.3


def test_laws_are_thinned_over_lanes_and_rounds() -> None:
    mean = np.arange(12.0).reshape(3, 4, 1)
    law = Law(mean, np.ones((3, 4, 1, 1)), np.zeros((3, 4, 1)), np.zeros((3, 4)), mean[..., 0])
    assert cohorts.thinned(law, 12).mean[:, 0].tolist() == [0, 4, 8, 1, 5, 9, 2, 6, 10, 3, 7, 11]
    np.testing.assert_array_equal(cohorts.thinned(law, 12).clone_free, cohorts.thinned(law, 12).mean[:, 0])
    assert cohorts.thinned(law, 4).covariance.shape == (4, 1, 1)


def test_the_health_of_a_cohort_is_that_of_its_laws() -> None:
    """Means and shares that have not settled are found, and the transitions of all patients are counted."""
    asked, rng = study(TINY, 60, cohort=2), np.random.default_rng(2)
    whole = cohorts.prior_laws(rng, 40 * 32, 4)
    law = Law(*(part.reshape(40, 32, *part.shape[1:]) for part in whole))
    one = sample.Kept(*(np.zeros((2, 3)) for _ in sample.Kept._fields))._replace(diverging=np.ones((2, 3), bool))
    pooled = pooled_as(cohorts.pooled_of(asked), law, (one, one))._replace(frame=cohorts.frame_of(asked))
    found = cohorts.health(asked, pooled)
    assert found["ok"], found["problems"]
    assert found["divergences"] == 12
    drifts = law._replace(mean=law.mean + np.linspace(0.0, 2.0, 40)[:, None, None])
    assert "chains disagree" in cohorts.health(asked, pooled._replace(laws=drifts))["problems"][0]
    drifts = law._replace(clone_free=law.clone_free * np.linspace(0.5, 1.0, 40)[:, None])
    said = cohorts.health(asked, pooled._replace(laws=drifts))["problems"][0]
    assert "chains disagree: R-hat of share without a clone" in said


# ---------------------------------------------------------------- what pool is asked


def test_a_study_says_which_scores_are_pooled(monkeypatch: pytest.MonkeyPatch) -> None:
    """The cohort's own choice looks at the data; the study's does not, and the fit is told."""
    heard: dict[str, Any] = {}
    law = cohorts.prior_laws(np.random.default_rng(1), 96, 4)

    def listen(seed: int, everyone: list[Member], pace: Pace, *, pooled: np.ndarray) -> Pooled:
        heard.update(seed=seed, pace=pace, pooled=pooled)
        return pooled_as(pooled, Law(*(part.reshape(3, 32, *part.shape[1:]) for part in law)))

    monkeypatch.setattr(cohorts, "pool", listen)
    monkeypatch.setattr(cohorts, "patients", lambda *_: ([], 7))
    monkeypatch.setattr(cohorts, "health", lambda *_: WELL)
    asked = study(TINY, 20, cohort=3)
    found = cohorts.ranked(asked, 0)
    assert heard["pooled"].sum() == 4
    assert heard["pace"].lanes == 32
    assert list(found["ranks"]) == NAMES == list(found["truth"])
    assert all(0 <= value <= 19 for value in found["ranks"].values())
    assert found["censored"] == 7
    first = heard["seed"]
    cohorts.ranked(asked, 1)
    assert heard["seed"] != first


def test_words_of_a_calibration_of_cohorts(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    row = {"wall_seconds": 1.0, "censored": 0, "health": WELL, "truth": {SHARE: 0.1}, "contraction": {SHARE: 0.2}}
    monkeypatch.setattr(calibrate, "replicate", lambda _, number: row | {"replicate": number, "ranks": {SHARE: number}})
    words = [
        "calibrate",
        "--cohort",
        "5",
        "--replicates",
        "3",
        "--chains",
        "2",
        "--draws",
        "50",
        "-o",
        str(tmp_path / "o.json"),
    ]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 0, done.stderr
    assert "3 replicates of cohorts of 5, ranks 0 to 99" in done.stdout
    assert json.loads((tmp_path / "o.json").read_text())["cohort"]["patients"] == 5


# ---------------------------------------------------------------- slow


FIVE = np.insert(ERROR, 2, SEED_ERROR)
"""Errors of the pooled scores, and of `SEED`, which is between them."""


class Seen(NamedTuple):
    """A patient of whom scores are measured with a normal error."""

    value: np.ndarray
    population: Any = population.UNKNOWN


def potential(case: Seen, point: jax.Array) -> jax.Array:
    """Minus the log posterior density of the scores, which are the coordinates."""
    off = (point - case.value) / FIVE
    return 0.5 * jnp.sum(off**2) + 0.5 * jnp.sum(point**2) - log_ratio(point, case.population)


@pytest.mark.slow
@pytest.mark.law
def test_ranks_of_cohorts_drawn_by_pool_itself_are_even(monkeypatch: pytest.MonkeyPatch) -> None:
    """The same toy, but the patients moved by trajectories and the law drawn given their draws, as in a fit."""
    monkeypatch.setattr(sample, "flat_potential", lambda _: potential)
    monkeypatch.setattr(sample, "across", lambda _: None)
    monkeypatch.setattr(sample, "scored", lambda _: lambda _case, point: point)
    monkeypatch.setattr(sample, "reference", lambda *_: ReferenceLaw(np.zeros(5), np.full(5, 2.0)))
    monkeypatch.setattr("persist.inference.resume.fingerprint", lambda members, *more: repr((members, more)))
    asked = study(TINY._replace(warmup=480, draws=160), 60, cohort=5)
    at = np.flatnonzero(np.isin(cohorts.names_in(asked), (*POOLED, SEED)))
    shift = cohorts.frame_of(asked).shift[at]
    assert np.flatnonzero(shift).tolist() == [2]
    monkeypatch.setattr(pooling, "_frame", lambda _: Frame(np.zeros(5, bool), shift))

    def patients(asked: Any, number: int, z: np.ndarray) -> tuple[list[Member], int]:
        noise = generator(0, number, "toy").standard_normal((len(z), 5))
        values = z[:, at] + FIVE * noise
        target = Target("spr", "clinical", "psa", 1.0, False)
        return [Member(f"{number} {place}", target, Seen(value)) for place, value in enumerate(values)], 0

    def five(seed: int, everyone: list[Member], pace: Pace, *, pooled: np.ndarray) -> Pooled:
        return pool(seed, everyone, pace._replace(warmup=60), pooled=pooled[at])

    monkeypatch.setattr(cohorts, "patients", patients)
    monkeypatch.setattr(cohorts, "pool", five)
    monkeypatch.setattr(cohorts, "health", lambda *_: WELL)
    check_even(calibrate.calibrate(asked, 60))


@pytest.mark.slow
def test_a_cohort_through_the_whole_pipeline(tmp_path) -> None:
    """Two patients, as little work as it can do: all ranks, and the same from a share."""
    asked = study(TINY, 20, cohort=2)
    whole = calibrate.calibrate(asked, 1, partial=tmp_path)
    assert list(whole["parameters"]) == NAMES
    assert whole["replicates"] == 1, whole["unfit"]
    assert whole["runs"][0]["health"]["min_ess_bulk"] > 0.0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["000000.json"]
    assert calibrate.calibrate(asked, 1, partial=tmp_path) == whole
