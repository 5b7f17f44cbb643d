"""Priors from `priors.toml`: what is sampled, how it is distributed, and where that comes from.

Each entry gives a 90 % range; `distribution` turns it into a NumPyro distribution. `Pack` is a whole set by name
(``clinical`` for patients, ``in-vitro`` for cell lines, never mixed).
"""

from __future__ import annotations

import re
import tomllib
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, NamedTuple

import jax.numpy as jnp
import numpy as np
import numpyro.distributions as dist
from jax.scipy.special import ndtr, ndtri
from numpyro.distributions import transforms

from persist.errors import RatesError

if TYPE_CHECKING:
    from collections.abc import Callable

    from jax import Array

_Z95 = 1.6448536269514722
_HALF_MEDIAN, _HALF_LOG_SD = 0.6744897501960817, float(np.pi / np.sqrt(8.0))


class Prior(NamedTuple):
    """One entry: 90 % of the mass in ``low..high`` (of ``-x`` for negative-log-normal; below ``high`` for half-normal),
    ``centre`` the median or None.
    """

    kind: str
    low: float
    high: float
    centre: float | None
    unit: str
    mark: str
    source: str
    lower: float = 0.0
    upper: float = 1.0

    @property
    def location(self) -> float:
        """Median on the scale on which the prior is normal (half-normal: of log x, on which the sampler moves)."""
        if self.kind == "half-normal":
            return float(np.log(_HALF_MEDIAN * self.spread))
        if self.centre is not None:
            return float(self._link(self.centre))
        return float(self._link(self.low) + self._link(self.high)) / 2.0

    @property
    def scale(self) -> float:
        """Standard deviation on the scale on which the prior is normal (half-normal: of log x)."""
        if self.kind == "half-normal":
            return _HALF_LOG_SD
        return float(self._link(self.high) - self._link(self.low)) / (2.0 * _Z95)

    @property
    def spread(self) -> float:
        """Standard deviation of the normal whose halves a half-normal lays together."""
        return self.high / _Z95

    def _link(self, value: float) -> float:
        if self.kind == "logit-normal":
            return float(np.log((value - self.lower) / (self.upper - value)))
        return float(np.log(value - self.lower) if self.kind == "log-normal" else np.log(value))


class Pack(NamedTuple):
    """The priors of one fit: ``entries`` by parameter name; ``cells_per_unit`` None where a burden is a count of cells."""

    name: str
    entries: dict[str, Prior]
    cells_per_unit: Prior | None

    @property
    def every(self) -> dict[str, Prior]:
        """All entries, that of the cells behind a unit of burden among them where there is one."""
        return self.entries | ({} if self.cells_per_unit is None else {"cells_per_unit": self.cells_per_unit})


SHEDDING = ("psa",)
"""Burdens that are a marker which cells shed, of which persisters may shed less."""

OF_SHEDDING = ("shed_p", "effect_half")
"""Entries for such burdens alone."""

GIVEN = "given with the fit"
"""The source of an entry whose range the user knows."""

KINDS = ("log-normal", "logit-normal", "negative-log-normal", "half-normal")


def base(prior: Prior) -> Any:
    """The law of an entry on the scale on which it is normal: of log (x - lower) or of the logit."""
    return dist.Normal(prior.location, prior.scale)


def distribution(prior: Prior) -> Any:
    """The NumPyro distribution of an entry."""
    if prior.kind == "half-normal":
        return dist.HalfNormal(prior.spread)
    if prior.kind == "log-normal":
        return log_normal(prior)
    if prior.kind == "logit-normal":
        stretch = transforms.AffineTransform(
            prior.lower, prior.upper - prior.lower, domain=dist.constraints.unit_interval
        )
        return dist.TransformedDistribution(base(prior), [transforms.SigmoidTransform(), stretch])
    return dist.TransformedDistribution(
        base(prior),
        [transforms.ExpTransform(), transforms.AffineTransform(0.0, -1.0, domain=dist.constraints.positive)],
    )


def log_normal(prior: Prior, unit: Any = 1.0) -> Any:
    """The law of ``unit`` times a log-normal entry, whose values lie above ``lower``."""
    if prior.lower == 0.0:
        return dist.LogNormal(prior.location + jnp.log(unit), prior.scale)
    shift = transforms.AffineTransform(prior.lower * unit, unit, domain=dist.constraints.positive)
    return dist.TransformedDistribution(base(prior), [transforms.ExpTransform(), shift])


def moved(prior: Prior, mean: float, sd: float) -> Prior:
    """The entry whose score under ``prior`` is normal with this mean and standard deviation; a half-normal one stays."""
    if prior.kind == "half-normal":
        return prior
    mean = -mean if prior.kind == "negative-log-normal" else mean  # its score rises as its size falls
    low, centre, high = (
        float(_unlink(prior, prior.location + prior.scale * (mean + sd * z))) for z in (-_Z95, 0.0, _Z95)
    )
    return prior._replace(low=low, centre=centre, high=high)


def _unlink(prior: Prior, normal: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
    """Values of the scale on which a prior is normal on its own (of a negative one, its size)."""
    if prior.kind == "logit-normal":
        return prior.lower + (prior.upper - prior.lower) / (1.0 + exp(-normal))
    return prior.lower + exp(normal) if prior.kind == "log-normal" else exp(normal)


def quantile(prior: Prior, probability: np.ndarray) -> np.ndarray:
    """Quantiles of an entry: closed form, so that prior bands need no sampling."""
    from statistics import NormalDist

    share = np.asarray(probability, float)
    if prior.kind == "half-normal":
        return np.array([prior.spread * NormalDist().inv_cdf(0.5 + p / 2.0) for p in share.ravel()]).reshape(
            share.shape
        )
    if prior.kind == "negative-log-normal":
        share = 1.0 - share
    z = np.array([NormalDist().inv_cdf(p) for p in share.ravel()]).reshape(share.shape)
    value: np.ndarray = _unlink(prior, prior.location + prior.scale * z)
    return -value if prior.kind == "negative-log-normal" else value


def at_score(prior: Prior, z: Any, exp: Callable[[Any], Any] = np.exp) -> Any:
    """Values ``(...)`` that have the scores ``z``, however far out; the inverse of `score`. Not for a half-normal entry.
    ``exp``: NumPy's, or JAX's for arrays of its own.
    """
    negative = prior.kind == "negative-log-normal"
    value = _unlink(prior, prior.location + prior.scale * (-z if negative else z), exp)
    return -value if negative else value


def score(prior: Prior, value: Any) -> Array:
    """Where values lie on the scale on which the prior is standard normal, same shape; the inverse of `quantile`."""
    x = jnp.asarray(value, float)
    if prior.kind == "half-normal":
        return -ndtri(2.0 * ndtr(-x / prior.spread))
    if prior.kind == "negative-log-normal":
        return (prior.location - jnp.log(-x)) / prior.scale
    inside = jnp.log(jnp.maximum(x - prior.lower, 1e-300))
    if prior.kind == "logit-normal":
        inside = inside - jnp.log(prior.upper - x)
    return (inside - prior.location) / prior.scale


@cache
def _file() -> dict[str, Any]:
    return tomllib.loads(files("persist.inference").joinpath("priors.toml").read_text(encoding="utf-8"))


def packs() -> tuple[str, ...]:
    """Names of the packs in the file."""
    return tuple(name for name in _file() if name not in ("schema", "cells_per_unit", "diameter"))


def base_of(name: str) -> str:
    """The pack of the file that a pack is or begins with: "clinical" of "clinical+resistant_0=1e-9..1e-7"."""
    return _parts_of(name)[0]


def _parts_of(name: str) -> list[str]:
    return re.split(r"\+(?=[a-z_][a-z_0-9]*=)", name)


def known(base: str, ranges: tuple[str, ...]) -> str:
    """The name of a pack in which the 90 % ranges of some entries are what is known of this patient or line, each
    ``ENTRY=LOW..HIGH`` in the entry's own unit.
    """
    return "+".join((base, *ranges))


def load_pack(name: str, cells_entry: str) -> Pack:
    """The pack of this name, with the scale of what is measured (``cells_entry`` of `dynamics.observe.Observable`).

    Raises `RatesError` for a pack that the file has not, and for ranges (see `known`) that make no prior.
    """
    base = base_of(name)
    if base not in packs():
        raise RatesError(f'no prior pack is called "{base}"', where="--pack", remedy=f"choose {' or '.join(packs())}")
    rows = _file()[base] | (_file()["diameter"] if cells_entry == "diameter" else {})
    if cells_entry not in SHEDDING:
        rows = {key: row for key, row in rows.items() if key not in OF_SHEDDING}
    if cells_entry != "one":
        rows = rows | {"cells_per_unit": _file()["cells_per_unit"][cells_entry]}
    for change in _parts_of(name)[1:]:
        rows = rows | _narrowed(rows, change)
    entries = {key: _entry(key, row) for key, row in rows.items()}
    return Pack(base, entries, entries.pop("cells_per_unit", None))


def _narrowed(rows: dict[str, Any], change: str) -> dict[str, Any]:
    """The row that one ``ENTRY=LOW..HIGH`` makes of its entry; `RatesError` where it makes none."""
    entry, _, text = change.partition("=")
    remedy = "give ENTRY=LOW..HIGH, such as resistant_0=1e-9..1e-7"
    if entry not in rows:
        raise RatesError(
            f'no prior is called "{entry}"', where="--prior", remedy=f"{remedy}; entries: {', '.join(rows)}"
        )
    try:
        low, high = (float(part) for part in text.split(".."))
        if rows[entry]["kind"] == "negative-log-normal" and high < 0.0:
            low, high = -high, -low
    except ValueError:
        raise RatesError(f'"{change}" is no range', where="--prior", remedy=remedy) from None
    row = {key: value for key, value in rows[entry].items() if key != "centre"}
    least, most = row.get("lower", 0.0), row.get("upper", 1.0) if row["kind"] == "logit-normal" else np.inf
    if not least < low < high < most or (row["kind"] == "half-normal"):
        what = f"{entry} cannot lie in {low:g} to {high:g}"
        raise RatesError(what, where="--prior", remedy=f"give a low and a high end between {least:g} and {most:g}")
    return {entry: row | {"low": low, "high": high, "mark": "A", "source": GIVEN}}


def _entry(name: str, row: dict[str, Any]) -> Prior:
    """One row of the file, checked."""
    missing = [key for key in ("kind", "low", "high", "unit", "mark", "source") if key not in row]
    if missing or row["kind"] not in KINDS:
        fault = f"lacks {', '.join(missing)}" if missing else f'has the unknown kind "{row["kind"]}"'
        raise RatesError(f"the prior {name} {fault}", where="priors.toml", remedy=f"kinds: {', '.join(KINDS)}")
    if not row["low"] < row["high"]:
        raise RatesError(f"the prior {name} has low {row['low']} not under high {row['high']}", where="priors.toml")
    centre = row.get("centre")
    return Prior(
        row["kind"],
        float(row["low"]),
        float(row["high"]),
        None if centre is None else float(centre),
        row["unit"],
        row["mark"],
        row["source"],
        float(row.get("lower", 0.0)),
        float(row.get("upper", 1.0)),
    )
