"""Moves of a population with its patients leave the joint law as it is, and go farther than rounds of patients do."""

from __future__ import annotations

import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size

import laws
from persist.inference import interweave as module
from persist.inference.interweave import Moves, State, first, interweave, places, turned
from persist.inference.population import CENTRE, Law, renew
from test_population import LANES, PATIENTS, SIZE, check, joint, patients_of

ERROR = np.array([0.5, 1.0, 2.0])


def weigh_at(values: np.ndarray):
    """The log-likelihood of scores of which ``values`` (lanes, patients, k) were measured."""
    return lambda z: -0.5 * (((z - values) / ERROR) ** 2).sum(axis=-1)


def moved(moves: Moves | None = None, rounds: int = 4) -> Law:
    """Laws, patients and their data from the prior; the law moved with its patients; then data anew from the patients, and
    patients from the law: the joint law stays, so the prior of the law does.
    """
    rng = np.random.default_rng(1)
    law, z = joint(rng)
    counted, sizes = np.ones((LANES, PATIENTS), bool), moves or first(SIZE)
    for _ in range(rounds):
        weigh = weigh_at(z + ERROR * rng.standard_normal(z.shape))
        state, sizes = interweave(rng, State(law, z, weigh(z)), counted, weigh, sizes, 0.0)
        law = renew(rng, state.z, state.law, counted)
        z = patients_of(rng, law)
    return law


@pytest.mark.law
def test_moves_leave_the_joint_law_as_it_is() -> None:
    check(moved())


@pytest.mark.law
@pytest.mark.parametrize("wrong", ["prior", "mean", "jacobian"])
def test_a_forgotten_term_would_be_seen(wrong: str, monkeypatch) -> None:
    right, of_prior = module._carried, module._log_prior

    def carried(state, shift, stretch, counted):
        law, z, gain = right(state, shift, stretch, counted)
        if wrong == "mean":
            return law, z, gain + 0.5 * (law.mean**2 - state.law.mean**2).sum(axis=1) / CENTRE**2
        return law, z, gain - (SIZE + 2) * stretch.sum(axis=1)

    if wrong == "prior":
        monkeypatch.setattr(module, "_log_prior", lambda law: 0.0 * of_prior(law))
    else:
        monkeypatch.setattr(module, "_carried", carried)
    laws.must_fail(lambda: check(moved()))


def test_axes_turn_to_what_was_seen() -> None:
    """A mean that goes with the spread of another score becomes one axis; a place that did not move keeps a length."""
    rng = np.random.default_rng(6)
    past = rng.standard_normal((4000, 4)) * (1.0, 0.1, 0.3, 0.0)
    past[:, 3] = 0.5 * past[:, 0]
    axes = turned(past).axes
    long = axes[-1] / np.linalg.norm(axes[-1])
    np.testing.assert_allclose(np.abs(long), np.array([1.0, 0.0, 0.0, 0.5]) / np.sqrt(1.25), atol=0.02)
    np.testing.assert_allclose(
        np.sort(np.linalg.norm(axes, axis=1)), (module.LEAST, 0.1, 0.3, np.sqrt(1.25)), rtol=0.05
    )


@pytest.mark.law
def test_moves_along_turned_axes_leave_the_joint_law_too() -> None:
    mixed = np.random.default_rng(7).standard_normal((2 * SIZE, 2 * SIZE))
    check(moved(Moves(0.2 * mixed, np.ones(2 * SIZE))))


def test_who_is_not_counted_stays() -> None:
    rng = np.random.default_rng(2)
    law, z = joint(rng)
    counted = np.ones((LANES, PATIENTS), bool)
    counted[:, -1] = False
    weigh = weigh_at(z)
    state, _ = interweave(rng, State(law, z, weigh(z)), counted, weigh, first(SIZE), 0.0)
    np.testing.assert_array_equal(state.z[:, -1], z[:, -1])
    assert not np.array_equal(state.z[:, 0], z[:, 0])
    np.testing.assert_allclose(state.likelihood, weigh(state.z), atol=1e-9)


def test_sizes_learn() -> None:
    """Of scores that are measured well moves become small, of others they grow."""
    rng = np.random.default_rng(3)
    law, z = joint(rng)
    values = np.array([0.02, 1.0, 50.0])
    counted, sizes = np.ones((LANES, PATIENTS), bool), first(SIZE)
    weigh = lambda at: -0.5 * (((at - z) / values) ** 2).sum(axis=-1)  # noqa: E731
    state = State(law, z, weigh(z))
    for _ in range(30):
        state, sizes = interweave(rng, state, counted, weigh, sizes, 0.5)
    assert sizes.size[0] < 0.05 < sizes.size[1] < sizes.size[2]


def test_they_go_farther_than_rounds_alone() -> None:
    """Thirty patients who each tell little: the mean of the population forgets many times as fast."""

    def effective(with_moves: bool) -> float:
        rng, lanes, patients = np.random.default_rng(4), 16, 30
        values = np.random.default_rng(5).normal(0.5, 3.0, (1, patients, 1)) * np.ones((lanes, 1, 1))
        error, kept = 3.0, []
        law = Law(
            np.zeros((lanes, 1)), np.tile(0.1 * np.eye(1), (lanes, 1, 1)), np.zeros((lanes, 1)), np.full(lanes, 0.1)
        )
        counted, sizes = np.ones((lanes, patients), bool), first(1)
        z = np.zeros((lanes, patients, 1))
        for number in range(400):
            law = renew(rng, z, law, counted)
            weigh = lambda at: -0.5 * (((at - values) / error) ** 2).sum(axis=-1)  # noqa: E731
            if with_moves:
                state, sizes = interweave(rng, State(law, z, weigh(z)), counted, weigh, sizes, 0.3 / (1 + number))
                law, z = state.law, state.z
            precision = 1.0 / law.covariance[:, :, 0] + error**-2
            centre = (law.mean / law.covariance[:, :, 0])[:, None] + values / error**2
            z = centre / precision[:, None] + rng.standard_normal(z.shape) / np.sqrt(precision)[:, None]
            kept.append(law.mean[:, 0])
        return float(effective_sample_size(np.array(kept[50:]).T))

    assert effective(True) > 4.0 * effective(False)


def test_turned_moves_go_farther_where_scores_hang_together() -> None:
    """Two scores of which the data show the sum alone: along axes that follow it means forget faster than one by one."""

    def effective(turns: bool) -> float:
        rng, lanes, patients = np.random.default_rng(8), 32, 20
        seen = np.random.default_rng(9).normal(0.0, 0.5, (1, patients)) * np.ones((lanes, 1))
        weigh = lambda at: -0.5 * ((at.sum(axis=-1) - seen) / 0.05) ** 2  # noqa: E731
        law = Law(
            np.zeros((lanes, 2)), np.tile(0.2 * np.eye(2), (lanes, 1, 1)), np.zeros((lanes, 2)), np.full(lanes, 0.1)
        )
        z = np.repeat(0.5 * seen[..., None], 2, axis=-1)
        state, moves, counted = State(law, z, weigh(z)), first(2), np.ones((lanes, patients), bool)
        past, kept = [], []
        for number in range(600):
            state, moves = interweave(rng, state, counted, weigh, moves, 0.5 / (1 + 0.1 * (number % 150)))
            past.append(places(state.law))
            if turns and number in (150, 300):
                moves = turned(np.concatenate(past[len(past) // 2 :]))
            kept.append(state.law.mean[:, 0] - state.law.mean[:, 1])
        return float(effective_sample_size(np.array(kept[400:]).T))

    assert effective(True) > 3.0 * effective(False)
