"""Forecasts that a model has to beat: what was last, what is usual, the cycle before over again, curves fitted to the past.

Each gives log burdens; a normal law about them has, horizon by horizon, the spread of the errors that the same rule makes at
the landmarks of other patients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from persist.validation.cuts import HORIZONS, periods
from persist.validation.scoring import Forecast, about

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

    from persist.validation.cuts import Cut

STEP = 7.0
"""Days of a step of the curves that are integrated."""

LEAST_SPREAD = 0.05
"""Of a forecast, in the log burden."""


def _past(cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Days and log burdens up to the landmark."""
    return cut.series.day, np.log(np.maximum(cut.series.burden, np.exp(cut.floor.min())))


def last_value(cut: Cut) -> np.ndarray:
    """The last value, for ever."""
    return np.full(len(cut.days), _past(cut)[1][-1])


def mean_of_past(cut: Cut) -> np.ndarray:
    """The mean of the log burdens so far."""
    return np.full(len(cut.days), _past(cut)[1].mean())


def repeat(cut: Cut) -> np.ndarray:
    """The previous cycle over again: aligned at its start while on drug, and at its stop while off; held at its ends."""
    day, value = _past(cut)
    found = last_value(cut)
    for place, at in enumerate(cut.days):
        begin, on = _phase(cut, at)
        earlier = [edge for edge in _edges(cut, on) if edge < cut.day - 1e-6]
        if not earlier:
            continue
        same = (day >= earlier[-1]) & (day <= _end(cut, earlier[-1], on))
        if same.any():
            found[place] = np.interp(at - begin, day[same] - earlier[-1], value[same])
    return found


def _phase(cut: Cut, at: float) -> tuple[float, bool]:
    """The last start or stop of a period before a day (the landmark, if none is), and whether the day is on drug."""
    begin, on = cut.day, False
    for start, stop in periods(cut.given):
        for edge, after in ((start, True), (stop, False)):
            if edge < at - 1e-6 or (edge <= at and after):
                begin, on = edge, after
    return max(begin, 0.0), on


def _edges(cut: Cut, on: bool) -> list[float]:
    """Starts of all times on drug, or off it."""
    return [start if on else stop for start, stop in periods(cut.given)]


def _end(cut: Cut, edge: float, on: bool) -> float:
    """When the time that begins at ``edge`` ends, or the landmark."""
    later = [other for other in _edges(cut, not on) if other > edge + 1e-6]
    return min([*later, cut.day])


def _doses(cut: Cut) -> tuple[np.ndarray, np.ndarray]:
    """Weekly days from the first value on, and the share of each week on drug."""
    first = float(cut.series.day[0])
    edge = np.arange(first, max(cut.days[-1], cut.day) + 2.0 * STEP, STEP)
    on = np.zeros(len(edge) - 1)
    for start, stop in periods(cut.given):
        on += np.clip(np.minimum(stop, edge[1:]) - np.maximum(start, edge[:-1]), 0.0, None) / STEP
    return edge, on


def _gompertz(free: Array, on: Array, first: Array) -> Array:
    """Log burden at the ends of the steps: dy/dt = b (K - y) - k E."""
    pace, top, kill = jnp.exp(free[0]), first + free[1], jnp.exp(free[2])

    def step(y: Array, dose: Array) -> tuple[Array, Array]:
        rest = top - kill * dose / pace
        y = rest + (y - rest) * jnp.exp(-pace * STEP)
        return y, y

    return jnp.append(free[3] + first, jax.lax.scan(step, free[3] + first, on)[1])


def _biexponential(free: Array, on: Array, first: Array) -> Array:
    """Log burden of two parts, both growing off drug; on it one falls and the other goes on growing."""
    grow, fall, other = jnp.exp(free[0]), jnp.exp(free[1]), jnp.exp(free[2])

    def step(pair: Array, dose: Array) -> tuple[Array, Array]:
        rates = jnp.stack([grow * (1.0 - dose) - fall * dose, grow * (1.0 - dose) + other * dose])
        pair = pair + rates * STEP
        return pair, jax.nn.logsumexp(pair)

    start = jnp.stack([jnp.zeros(()), free[4]]) + first + free[3]
    return jnp.append(jax.nn.logsumexp(start), jax.lax.scan(step, start, on)[1])


_GUESS = {
    _gompertz: (np.array([np.log(0.005), 2.0, np.log(0.05), 0.0]), np.array([1.0, 2.0, 1.0, 0.5])),
    _biexponential: (
        np.array([np.log(0.01), np.log(0.03), np.log(0.002), 0.0, -4.0]),
        np.array([0.7, 0.7, 1.0, 0.5, 2.0]),
    ),
}
"""Where each curve's parameters usually lie, and how far from there."""

_SCALE, _STARTS, _STEPS = 0.3, 8, 400


def fitted(curve: Callable[..., Array]) -> Callable[[Cut], np.ndarray]:
    """The rule that fits a curve to the past by least squares, held near usual values, and goes on along it."""
    centre, width = _GUESS[curve]

    @jax.jit
    def best(start: Array, day: Array, value: Array, real: Array, edge: Array, on: Array) -> tuple[Array, Array]:
        def loss(z: Array) -> Array:
            path = curve(centre + width * z, on, value[0])
            off = (jnp.interp(day, edge, path) - value) / _SCALE
            return 0.5 * jnp.sum(jnp.where(real, jnp.log1p(off**2 / 4.0) * 2.5, 0.0)) + 0.5 * jnp.sum(z**2)

        slope = jax.grad(loss)

        def step(state: tuple[Array, Array, Array], k: Array) -> tuple[tuple[Array, Array, Array], None]:
            z, mean, square = state
            now = jnp.nan_to_num(slope(z))
            mean, square = 0.9 * mean + 0.1 * now, 0.99 * square + 0.01 * now**2
            rate = 0.1 * (1.0 - k / _STEPS)
            return (
                z - rate * (mean / (1.0 - 0.9 ** (k + 1.0))) / (jnp.sqrt(square / (1.0 - 0.99 ** (k + 1.0))) + 1e-8),
                mean,
                square,
            ), None

        still = jnp.zeros_like(start)
        (z, _, _), _ = jax.lax.scan(step, (start, still, still), jnp.arange(_STEPS, dtype=float))
        return loss(z), curve(centre + width * z, on, value[0])

    many = jax.jit(jax.vmap(best, in_axes=(0, None, None, None, None, None)))

    def rule(cut: Cut) -> np.ndarray:
        day, value = _past(cut)
        edge, on = _doses(cut)
        more, steps = -len(day) % 32, -len(on) % 64
        real = np.arange(len(day) + more) < len(day)
        day, value = (np.pad(part, (0, more), mode="edge") for part in (day, value))
        edge = np.append(edge, edge[-1] + STEP * np.arange(1, steps + 1))
        starts = np.random.default_rng(0).standard_normal((_STARTS, len(centre)))
        loss, path = many(starts, day, value, real, edge, np.pad(on, (0, steps)))
        chosen = int(np.nanargmin(np.asarray(loss)))
        found: np.ndarray = np.interp(cut.days, edge, np.asarray(path)[chosen])
        return found

    return rule


RULES: dict[str, Callable[[Cut], np.ndarray]] = {
    "last value": last_value,
    "mean of the past": mean_of_past,
    "repeat": repeat,
    "biexponential": fitted(_biexponential),
    "Gompertz": fitted(_gompertz),
}
"""The rules by name."""

REPLAY = "repeat"
"""The rule with which the model is pooled too: what mechanism and memory know together."""


def forecasts(name: str, cuts: list[Cut], fold: np.ndarray) -> list[Forecast]:
    """Forecasts of a rule at all cuts; the spread at each is from cuts of other folds ``(n_cuts,)``."""
    points = [RULES[name](cut) for cut in cuts]
    found = []
    for place, cut in enumerate(cuts):
        others = [k for k in range(len(cuts)) if fold[k] != fold[place]]
        after = np.concatenate([cuts[k].after for k in others]) if others else np.zeros(0)
        off = np.concatenate([_off(points[k], cuts[k]) for k in others]) if others else np.zeros(0)
        sd = np.full(len(cut.days), LEAST_SPREAD)
        for low, high in HORIZONS:
            inside, mine = (after > low) & (after <= high), (cut.after > low) & (cut.after <= high)
            wide = np.sqrt(np.mean(off[inside] ** 2)) if inside.any() else 1.0
            sd[mine] = max(wide, LEAST_SPREAD)
        sd[cut.after > HORIZONS[-1][1]] = sd[cut.scored][-1]
        found.append(about(points[place], sd))
    return found


def _off(point: np.ndarray, cut: Cut) -> np.ndarray:
    """Errors of a rule, both sides raised to the floor."""
    return np.asarray(np.maximum(point, cut.floor) - cut.value)
