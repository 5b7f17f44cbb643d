"""Steps across a ditch: humps come to weigh what they do, a law stays as it is, and both seeds fade alike on the way."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

import fakes
import laws
from persist.inference import coordinates, sample, sampler, update
from persist.inference.across import FAR, across, stepped
from persist.inference.clone_free import FAINT, Frame
from persist.inference.cohort import Case
from persist.inference.fit import members
from persist.inference.pooling import names_of
from persist.inference.settings import Settings
from persist.inference.stages import plain
from persist.inference.target import Member, ReferenceLaw, Target, named_at, order, reference
from persist.inference.walkers import Stride, Walkers
from persist.records.table import read

HUMPS = ((0.7, -8.0, 1.5), (0.3, 1.0, 1.0))
"""Share, middle and width in the log x: one that never shows, and one that shows a little."""
PLACE, LANES, MOVES = 1, 4096, 25
ABOUT = ReferenceLaw(np.zeros(2), np.array([1.0, 6.0]))

Step = Callable[[np.random.Generator, np.ndarray], tuple[np.ndarray, np.ndarray]]


def humps(_: jax.Array, point: jax.Array) -> jax.Array:
    """Minus the log density, in u, of a standard normal coordinate and one of `HUMPS`."""
    x, falls = coordinates.unstretch(point[PLACE])
    each = [jnp.log(share / width) - 0.5 * ((x - middle) / width) ** 2 for share, middle, width in HUMPS]
    return 0.5 * point[0] ** 2 - jax.nn.logsumexp(jnp.stack(each)) - falls


def drawn(rng: np.random.Generator, shown: np.ndarray) -> np.ndarray:
    """Exact points, of which those ``shown`` are of the second hump."""
    middle, width = (np.where(shown, HUMPS[1][at], HUMPS[0][at]) for at in (1, 2))
    u, _ = coordinates.stretched(jnp.asarray(middle + width * rng.standard_normal(len(shown))))
    return np.column_stack([rng.standard_normal(len(shown)), np.asarray(u)])


def after(step: Step | None, shown: np.ndarray, beta: float = 1.0) -> np.ndarray:
    """The log x of walkers after some trajectories at inverse temperature ``beta``, from exact points of either hump."""
    many = Walkers(3, humps, jnp.zeros(()), ABOUT, len(shown), step)
    crowd = many.at(drawn(np.random.default_rng(4), shown))
    for _ in range(MOVES):
        crowd, _ = many.move(crowd, Stride(np.eye(2), 0.3, 0.9), beta)
    return np.asarray(coordinates.unstretch(jnp.asarray(crowd.point[:, PLACE]))[0])


def heedless(rng: np.random.Generator, point: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A step that knows nothing of volume."""
    there, grown = stepped(PLACE, rng, point)
    return there, np.zeros_like(grown)


@pytest.mark.law
def test_humps_come_to_weigh_what_they_do() -> None:
    """From a walker in ten on the right, where three should be; without steps, or with none heeding volume, they do not."""
    few = np.arange(LANES) % 10 == 0

    def check(step: Step | None) -> None:
        x = after(step, few)
        laws.check_mean((x > -3.0).astype(float), sum(s * norm.sf(-3.0, m, w) for s, m, w in HUMPS), slack=0.01)

    check(partial(stepped, PLACE))
    laws.must_fail(lambda: check(None))
    laws.must_fail(lambda: check(heedless))


@pytest.mark.law
def test_steps_leave_a_law_as_it_is() -> None:
    shown = np.random.default_rng(5).uniform(size=LANES) < HUMPS[1][0]
    edges = np.arange(-12.0, 4.0)
    below = sum(share * norm.cdf(edges, middle, width) for share, middle, width in HUMPS)

    def check(step: Step) -> None:
        laws.check_distribution(np.digitize(after(step, shown), edges), np.diff(below, prepend=0.0))

    check(partial(stepped, PLACE))
    laws.must_fail(lambda: check(heedless))


@pytest.mark.law
def test_steps_are_right_on_the_way_from_the_reference() -> None:
    """Half-way, the law is of both energies: the share on the right against the integral over u."""
    u = np.linspace(-60.0, 40.0, 20_001)

    def right(beta: float) -> float:
        points = jnp.column_stack([jnp.zeros_like(u), u])
        level = np.asarray(jax.vmap(lambda at: humps(jnp.zeros(()), at))(points))
        density = np.exp(-beta * level - 0.5 * (1.0 - beta) * (u / ABOUT.scale[PLACE]) ** 2)
        x = np.asarray(coordinates.unstretch(jnp.asarray(u))[0])
        return float(density[x > -3.0].sum() / density.sum())

    shown = np.random.default_rng(9).uniform(size=LANES) < 0.5
    found = (after(partial(stepped, PLACE), shown, 0.4) > -3.0).astype(float)
    laws.check_mean(found, right(0.4), slack=0.005)
    laws.must_fail(lambda: laws.check_mean(found, right(1.0), slack=0.005))


def test_volume_is_that_of_the_way() -> None:
    """By small differences, and one coordinate alone moves, as often either way."""
    points = np.random.default_rng(6).normal(0.0, 4.0, (400, 3))
    there, grown = stepped(1, np.random.default_rng(7), points)
    near, _ = stepped(1, np.random.default_rng(7), points + np.array([0.0, 1e-6, 0.0]))
    np.testing.assert_allclose(np.exp(grown), (near - there)[:, 1] / 1e-6, rtol=1e-4)
    np.testing.assert_array_equal(there[:, [0, 2]], points[:, [0, 2]])
    assert 140 < np.sum(there[:, 1] > points[:, 1]) < 260


@pytest.mark.parametrize("variant", ["spr", "sr", "sp", "attenuation"])
def test_a_target_has_the_step_where_it_has_a_clone(variant: str) -> None:
    target = Target(variant, "clinical", "psa", 1.0)
    found = across(target)
    assert (found is None) == (variant == "sp")
    if found is not None:
        assert order(target)[found.args[0]] == "resistant_seen"  # type: ignore[attr-defined]


@pytest.mark.parametrize("room", [sampler, sample, update], ids=lambda room: room.__name__)
def test_all_who_move_walkers_give_them_the_step(room, monkeypatch: pytest.MonkeyPatch) -> None:
    """What each room asks for is what its walkers get."""
    heard: list[object] = []

    class Heard(Exception):  # noqa: N818 - no error: it ends the run here
        """Raised where walkers are made."""

    def walkers(*given: object) -> None:
        heard.extend(given)
        raise Heard

    one, mark = patient(), object()
    monkeypatch.setattr(room, "Walkers", walkers)
    monkeypatch.setattr(room, "across", lambda target: mark if target == one.target else None)
    monkeypatch.setattr(update, "_weighed", lambda *_: (np.zeros((64, 1)), np.zeros(64)))
    effort, none = sampler.Effort(4, 16, 16), np.zeros(len(names_of(one)))
    runs = {
        sampler: lambda: sampler.draw(jax.random.key(0), one.target, effort, one.case),
        sample: lambda: sample.drawn(sample.Stage(0, 0, 1, 1), one, plain(Frame(none > 0.0, none))),
        update: lambda: update.update(jax.random.key(0), {}, one, one, effort),
    }
    with pytest.raises(Heard):
        runs[room]()
    assert mark in heard


def patient() -> Member:
    table = read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01",))
    return members(table, Settings(model="spr"))[0]


def test_both_seeds_fade_alike_on_the_way(monkeypatch: pytest.MonkeyPatch) -> None:
    """And nothing else moves: a step of `FAR` is what having no clone makes."""
    one = patient()
    law = reference(one.target, one.case)
    points = law.location + 0.3 * law.scale * np.random.default_rng(8).standard_normal((6, len(law.location)))

    class Down:
        """Numbers by which all go down, all as far."""

        uniform = staticmethod(lambda size: np.zeros(size))
        normal = staticmethod(lambda far, _, size: np.full(size, far))

    step = across(one.target)
    assert step is not None
    there, _ = step(Down(), points)  # type: ignore[arg-type]
    before, now = (_named(one.target, one.case, at) for at in (points, there))
    for name, was in before.items():
        if name == "clone_size":  # its law hangs on how many founders there are
            continue
        faint = name in ("resistant_0", "mutation")
        # a share of up to 1 is told by its part -log(1 - value) (`inference.coordinates`)
        one_part, other = (-np.log1p(-at) if name == "resistant_0" else at for at in (now[name], was))
        np.testing.assert_allclose(one_part, other * (FAINT if faint else 1.0), rtol=1e-6)
    assert np.exp(-FAR) == pytest.approx(FAINT)


def _named(target: Target, case: Case, points: np.ndarray) -> dict[str, np.ndarray]:
    found = jax.vmap(partial(named_at, target, case))(jnp.asarray(points))
    return {name: np.asarray(value) for name, value in found.items()}
