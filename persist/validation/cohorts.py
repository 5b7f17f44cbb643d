"""One replicate of a calibration of cohorts: a population from its prior, patients of it, and ranks of what is true of it.

    m, C, d, w, f  ~  the prior of `inference.population`          z_1 .. z_N, z_next  ~  the law          y_i  ~  patient z_i

The cohort y_1 .. y_N is fitted by `pool`. Ranked is what a law says of all its patients together: mean and standard deviation
of each pooled score, the share w apart and the share f without a clone; and a score of z_next among one patient drawn of each
law, which is what the next patient leans on. m and d by themselves are not ranked: d says nothing where nobody is apart, and
(m, d, w) and (m + d, -d, 1 - w) are the same law of patients. The prior prefers those apart to be the few, so w has a meaning,
and its rank a law; the moments and the next patient stay what they are when the two kinds change places.
"""

from __future__ import annotations

import math
from functools import cache, partial
from typing import TYPE_CHECKING, Any

import numpy as np

from persist import keys
from persist.inference import leaning, store
from persist.inference.clone_free import FREE_0, FREE_1, Frame, shifts
from persist.inference.cohort import observable
from persist.inference.fit import members
from persist.inference.model import sampled
from persist.inference.pooled import pace_of
from persist.inference.pooling import pool
from persist.inference.population import (
    APART_0,
    APART_1,
    CENTRE,
    DISTANCE,
    FREEDOM,
    SCALE,
    Law,
    Population,
    moments,
    populated,
    shared,
    wishart,
)
from persist.inference.priors import at_score, load_pack
from persist.validation.bands import rank
from persist.validation.chains import convergence, problems
from persist.validation.populations import columns
from persist.validation.study import ALIKE, Study, short
from persist.validation.virtual import generator, made, names_of, prior_draw, table_of

if TYPE_CHECKING:
    from persist.inference.pooling import Pooled
    from persist.inference.target import Member
    from persist.validation.virtual import Virtual

POOLED = ("net_growth_s", "decline_s", "noise_sd", "wander_sd")
"""Scores that the calibration pools: fixed, since of a choice that looks at the data, as `pool` makes it otherwise, there is no
law that truths could be drawn from. All variants have them, and the clinical design shows them: the 90 % interval of a patient
alone is 0.61, 0.55, 0.35 and 0.27 narrower than the prior's in the median, so that a fit would choose them by itself.
"""

NEXT = "decline_s"
"""The score of the next patient that is ranked."""

SHARE, FREE, FORESEEN = "share_apart", "share_clone_free", f"{NEXT} of the next patient"

ALIKE_BY = 0.25
"""Share of C that patients are drawn with where that is planted: half of its standard deviations."""


def ranked(asked: Study, number: int) -> dict[str, Any]:
    """What replicate ``number`` of cohorts adds to its row in the file: truth, ranks and contraction by name, health."""
    settings, who = asked.settings, pooled_of(asked)
    law, z = truth(asked, number)
    everyone, censored = patients(asked, number, z[:-1])
    seed = keys.seed_of(settings.seed, "calibrate", str(number), "cohort")
    found = pool(seed, everyone, pace_of(settings), pooled=who)
    drawn = thinned(found.laws, asked.rank_max)
    true, values = quantities(law), quantities(drawn)
    true[FORESEEN] = z[-1:, names_in(asked).index(NEXT)]
    values[FORESEEN] = following(drawn, generator(settings.seed, number, "next"))
    before = usual(len(POOLED))
    return {
        "censored": censored,
        "health": health(asked, found),
        "truth": {name: short(float(value[0])) for name, value in true.items()},
        "ranks": {
            name: rank(float(value[0]), values[name], generator(settings.seed, number, "ties", name))
            for name, value in true.items()
        },
        "contraction": {name: short(1.0 - width(values[name]) / before[name]) for name in values},
    }


def truth(asked: Study, number: int) -> tuple[Law, np.ndarray]:
    """A law of its prior ``(1, k)``, and scores ``(N + 1, n)`` of its patients, of whom the last is not in the cohort."""
    seed = asked.settings.seed
    law = prior_laws(generator(seed, number, "law"), 1, len(POOLED))
    own = law._replace(covariance=ALIKE_BY * law.covariance) if asked.plant == ALIKE else law
    both = Population(*(part[0] for part in populated(own, frame_of(asked))))
    return law, leaning.drawn(generator(seed, number, "patients"), both, asked.cohort + 1)


def patients(asked: Study, number: int, z: np.ndarray) -> tuple[list[Member], int]:
    """The patients of scores ``(N, n)``, simulated and measured, as the sampler reads them; how many values are censored."""
    series = tuple(patient(asked, number, place, row).series for place, row in enumerate(z))
    return members(table_of(series), asked.settings), sum(int(np.sum(one.censoring != 0)) for one in series)


def patient(asked: Study, number: int, place: int, z: np.ndarray) -> Virtual:
    """One patient of scores ``(n,)``, and of burdens from the pack's prior; numbered in the cohort by ``place``."""
    settings, own = asked.settings, f"patient {place}"
    pack = load_pack(settings.pack, observable(asked.design.observable).cells)
    entries = pack.every
    values = prior_draw(generator(settings.seed, number, own, "prior"), settings.pack, settings.model, asked.design)
    values |= {name: float(at_score(entries[name], at)) for name, at in zip(names_in(asked), z, strict=True)}
    names = partial(names_of, settings.seed, number, own)
    return made(f"replicate {number}, {own}", values, names, asked.design, asked.plant)


def names_in(asked: Study) -> tuple[str, ...]:
    """The n scores that patients may share a law of."""
    pack = load_pack(asked.settings.pack, observable(asked.design.observable).cells)
    return shared(sampled(pack, asked.settings.model))


def pooled_of(asked: Study) -> np.ndarray:
    """Which of them have one, ``(n,)``."""
    return np.isin(names_in(asked), POOLED)


def frame_of(asked: Study) -> Frame:
    """What cohorts are told by."""
    pack = load_pack(asked.settings.pack, observable(asked.design.observable).cells)
    return Frame(pooled_of(asked), shifts(names_in(asked), pack))


def prior_laws(rng: np.random.Generator, count: int, size: int) -> Law:
    """Laws of their prior (`inference.population`), each ``(count, ...)``."""
    degrees, scale = np.full(count, size + FREEDOM - 1.0), np.tile(np.eye(size) / SCALE, (count, 1, 1))
    covariance = np.linalg.inv(wishart(rng, degrees, scale))
    mean, apart = CENTRE * rng.standard_normal((count, size)), DISTANCE * rng.standard_normal((count, size))
    return Law(mean, covariance, apart, rng.beta(APART_0, APART_1, count), rng.beta(FREE_0, FREE_1, count))


def quantities(law: Law) -> dict[str, np.ndarray]:
    """What is ranked of laws ``(n, k)``, each ``(n,)``."""
    every = moments(law)
    spread = np.sqrt(np.diagonal(every.covariance, axis1=-2, axis2=-1))
    found = {f"mean of {name}": every.mean[:, at] for at, name in enumerate(POOLED)}
    return (
        found
        | {f"spread of {name}": spread[:, at] for at, name in enumerate(POOLED)}
        | {SHARE: law.share, FREE: law.clone_free}
    )


def following(law: Law, rng: np.random.Generator) -> np.ndarray:
    """The score `NEXT` of one patient of each law ``(n, k)``, ``(n,)``."""
    at = POOLED.index(NEXT)
    among = rng.uniform(size=len(law.share)) < law.share
    own = np.sqrt(law.covariance[:, at, at]) * rng.standard_normal(len(law.share))
    return np.asarray(law.mean[:, at] + among * law.apart[:, at] + own)


def thinned(laws: Law, count: int) -> Law:
    """So many of the laws ``(rounds, lanes, ...)``, evenly over lanes and rounds; each ``(count, ...)``."""
    flat = Law(*(np.swapaxes(part, 0, 1).reshape(-1, *part.shape[2:]) for part in laws))
    take = np.linspace(0, len(flat.share) - 1, count).round().astype(int)
    return Law(*(part[take] for part in flat))


@cache
def usual(size: int, count: int = 4000) -> dict[str, float]:
    """The width that the prior leaves each quantity."""
    rng = np.random.default_rng(0)
    laws = prior_laws(rng, count, size)
    return {name: width(values) for name, values in (quantities(laws) | {FORESEEN: following(laws, rng)}).items()}


def width(values: np.ndarray) -> float:
    """Of the middle 90 %."""
    low, high = np.quantile(values, (0.05, 0.95))
    return float(high - low)


def health(asked: Study, found: Pooled) -> dict[str, Any]:
    """R-hat and effective sizes of means, spreads and the share, and divergent transitions of all patients."""
    chains = asked.settings.chains
    group = leaning.group(names_in(asked), found.frame, found.shown, found.laws, chains)
    walkers = 1 + int(group["lane"].max())
    own = columns(group) | {SHARE: (("chain", "draw"), group["share"].values)}
    judged = convergence(store.dataset(own, {}), walkers)
    said = problems(judged)
    told = {
        "max_rhat": judged.max_rhat,
        "min_ess_bulk": judged.least("ess_bulk"),
        "min_ess_tail": judged.least("ess_tail"),
    }
    plain = {name: short(value) if math.isfinite(value) else None for name, value in told.items()}
    diverging = sum(int(one.diverging.sum()) for one in found.patients)
    return plain | {"divergences": diverging, "ok": not said, "problems": said}
