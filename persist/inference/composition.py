"""The likelihood of measured fractions: marker-positive persisters and resistant alleles, counted beside the burden.

    positives ~ BetaBinomial(counted, q phi, (1 - q) phi),   q = sensitivity p + (1 - specificity) (1 - p),   p = P/N or R/N

    log p(k) = log C(n, k) + log B(k + q phi, n - k + (1 - q) phi) - log B(q phi, (1 - q) phi)

with the gamma function for the factorials, since a share that was rounded gives no whole k. Sensitivity, specificity and the
concentration phi are those of the assay (`dynamics.observe.ASSAYS`) and fixed: a few fractions of one patient cannot tell a
marker that misses cells from fewer such cells, so to sample them would give their prior back, in more dimensions.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.scipy.special import betaln, gammaln

from persist.dynamics.observe import ASSAYS, assay, positive_share
from persist.errors import DataError
from persist.types import MARKERS, Specimens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from jax import Array

    from persist.types import Cells, Series

_BUCKET = 16
"""Padded sizes are multiples of this, none included: so patients with and without fractions share one compiled program."""


def specimens(table: Sequence[Series], steps: Sequence[np.ndarray]) -> Specimens:
    """Those of several patients, padded to one size ``(n_patients, n_specimens)``; ``steps`` lead up to each on its grid."""
    most = max(len(one.composition.day) for one in table)
    size = max(_BUCKET, -(-most // _BUCKET) * _BUCKET)

    def padded(rows: Sequence[np.ndarray], fill: float) -> np.ndarray:
        return np.stack([np.pad(row, (0, size - len(row)), constant_values=fill) for row in rows])

    found = [one.composition for one in table]
    return Specimens(
        positive=padded([np.asarray(one.share * one.counted, float) for one in found], 0.0),
        counted=padded([np.asarray(one.counted, float) for one in found], 1.0),
        marker=padded([np.asarray(one.marker, np.int64) for one in found], 0),
        step=padded([np.asarray(step, np.int64) for step in steps], 0),
        seen=padded([np.ones(len(one.day), bool) for one in found], False),
    )


def check(series: Series) -> None:
    """`DataError` for a fraction before the first burden, from which on the cells are followed."""
    early = series.composition.day[series.composition.day < series.day[0]]
    if len(early):
        what = f"a fraction was measured on day {early[0]:g}, before the first burden on day {series.day[0]:g}"
        raise DataError(what, where=f"patient {series.patient_id}", remedy="leave it out, or add a burden of that day")


def log_likelihood(of: Specimens, cells: Cells) -> Array:
    """Of each specimen given the ``cells`` on its day, both ``(n_specimens,)``, or of one given cells ``(...)``; padded ones
    count 0.
    """

    def counted() -> Array:
        concentration = assay(of.marker).concentration
        return log_density(of.positive, of.counted, positive_share(cells, of.marker), concentration)

    # A branch and not a mask, so that a patient without fractions is spared the gamma functions.
    each = jax.lax.cond(jnp.any(of.seen), counted, lambda: jnp.zeros(jnp.shape(cells.total)))
    return jnp.where(of.seen, each, 0.0)


def log_density(positive: Any, counted: Any, share: Any, concentration: Any) -> Array:
    """Beta-binomial log density of ``positive`` among ``counted`` (real numbers), mean ``share`` (0..1), ``(...)``."""
    one, other = share * concentration, (1.0 - share) * concentration
    rest = counted - positive
    ways = gammaln(counted + 1.0) - gammaln(positive + 1.0) - gammaln(rest + 1.0)
    density: Array = ways + betaln(positive + one, rest + other) - betaln(one, other)
    return density


def assumed(table: Sequence[Series]) -> list[str]:
    """What is assumed of each marker that was measured in some of these series, in sentences."""
    used = {MARKERS[place] for series in table for place in series.composition.marker}
    return [
        f"fractions of marker {name}: sensitivity {one.sensitivity:g}, specificity {one.specificity:g}, beta-binomial "
        f"with concentration {one.concentration:g} (assumptions)"
        for name, one in ASSAYS.items()
        if name in used
    ]
