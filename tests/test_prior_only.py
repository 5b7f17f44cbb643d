"""The whole sampler against a law that is known: of a patient who was never seen it must return the priors."""

from __future__ import annotations

import jax
import numpy as np
import pytest
from numpyro.diagnostics import effective_sample_size
from scipy import stats

import fakes
import laws
from persist.inference import coordinates, target
from persist.inference.cohort import case, pad
from persist.inference.model import sampled
from persist.inference.priors import load_pack, score
from persist.inference.sampler import Effort, draw
from persist.inference.target import Target
from persist.inference.walkers import WALKERS

TARGET = Target("spr", "clinical", "psa", 1.0)
EFFORT = Effort(4, 640, 1280)


def scores() -> dict[str, np.ndarray]:
    """Draws of every parameter on the scale on which its prior is standard normal, thinned until they are about independent.

    Each walker is a series of its own, and all have forgotten whom they were copied from in tempering.
    """
    one = case(pad([fakes.FIVE_VALUES], pack="clinical"), 0, counted=False)
    unseen = one._replace(seen=np.zeros_like(one.seen))
    found = draw(jax.random.key(0), TARGET, EFFORT, unseen).values
    pack = load_pack("clinical", "psa")
    entries = pack.every
    unit = {"settled_burden": np.exp(one.log_largest), "burden_0": np.exp(one.log_first)}
    result = {}
    for name in sampled(pack, "spr"):
        z = score(entries[name], found[name] / unit.get(name, 1.0)).reshape(EFFORT.chains * WALKERS, -1)
        every = max(1, int(np.ceil(1.5 * z.size / float(effective_sample_size(z)))))
        result[name] = z[:, ::every].ravel()
    return result


def check(found: dict[str, np.ndarray]) -> None:
    """Shares below three quantiles of the prior, and the number of draws: 75 checks with a false alarm of 1e-5 together."""
    for name, z in found.items():
        assert len(z) > 300, f"{name} mixes too slowly to be checked"
        for level in (0.1, 0.5, 0.9):
            laws.check_share(z < stats.norm.ppf(level), level, what=f"{name} below its {level:g} quantile", alarm=1e-7)


def forget() -> None:
    """Programs of the right density must not serve the wrong one."""
    for made in (target.problem, target.named, target.flat_potential):
        made.cache_clear()


@pytest.mark.slow
@pytest.mark.ci
def test_an_unseen_patient_has_the_priors() -> None:
    check(scores())


@pytest.mark.slow
@pytest.mark.ci
def test_a_wrong_density_is_seen(monkeypatch) -> None:
    """Planted: the coordinates' density without the stretch of sight."""
    right = coordinates.unstretch
    forget()
    monkeypatch.setattr(coordinates, "unstretch", lambda u: (right(u)[0], 0.0))
    try:
        found = scores()
    finally:
        forget()
    laws.must_fail(lambda: check(found))
