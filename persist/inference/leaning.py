"""What a fit leans on besides the pack: its group ``population``, draws of the mean and covariance of the scores of a cohort.

The group is written by a pooled fit (`inference.pooled`), whose patients have it as their prior, and copied into the fits of
patients who come after. So a file by itself tells the prior of its patients.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from persist.errors import StoreError, UsageError
from persist.inference import store
from persist.inference.cohort import observable
from persist.inference.model import sampled
from persist.inference.population import Law, Population, blend, moments, shared
from persist.inference.posterior import patients
from persist.inference.priors import load_pack

if TYPE_CHECKING:
    from persist.inference.priors import Pack
    from persist.inference.settings import Settings
    from persist.types import Table

GROUP = "population"


def pack_of(fit: store.DataTree) -> Pack:
    """The pack of a fit, for what it observed."""
    return load_pack(store.attribute(fit, "settings")["pack"], observable(str(fit.attrs["observable"])).cells)


def names_of(fit: store.DataTree) -> tuple[str, ...]:
    """The n scores that patients of a fit may share a law of, in order."""
    return shared(sampled(pack_of(fit), store.attribute(fit, "settings")["model"]))


def group(
    names: tuple[str, ...],
    pooled: np.ndarray,
    shown: np.ndarray,
    laws: Law,
    chains: int,
    apart: dict[str, np.ndarray] | None = None,
) -> store.Dataset:
    """The group of laws ``(rounds, lanes, ...)`` of those of the scores ``names`` (n,) that are ``pooled`` (n,), with how far
    the patients' own data show each of all, and of every patient by lane the probability to be ``apart``; draws are lane after
    lane.
    """

    def by_chain(rows: np.ndarray) -> np.ndarray:
        own = rows.reshape(len(rows), chains, -1, *rows.shape[2:])
        return np.moveaxis(own, 0, 2).reshape(chains, -1, *rows.shape[2:])

    kept, members = Law(*(by_chain(part) for part in laws)), apart or {}
    own = [name for name, taken in zip(names, pooled, strict=True) if taken]
    draws = {"chain": np.arange(chains), "draw": np.arange(kept.mean.shape[1])}
    likely = [np.mean(row.reshape(chains, -1), axis=1) for row in members.values()]
    return store.dataset(
        {
            "mean": (("chain", "draw", "score"), kept.mean),
            "covariance": (("chain", "draw", "score", "other"), kept.covariance),
            "apart": (("chain", "draw", "score"), kept.apart),
            "share": (("chain", "draw"), kept.share),
            "lane": (("draw",), np.repeat(np.arange(kept.mean.shape[1] // len(laws.mean)), len(laws.mean))),
            "shown": (("parameter",), shown),
            "is_apart": (("member", "chain"), np.array(likely).reshape(len(members), chains)),
        },
        draws | {"score": own, "other": own, "parameter": list(names), "member": list(members)},
    )


def law_of(known: store.Dataset) -> Law:
    """The draws of the law that a group holds, each ``(chains, draws, ...)``."""
    return Law(*(known[name].values for name in Law._fields))


def population_of(fit: store.DataTree, model: str, pack: str, kind: str) -> store.Dataset:
    """The group ``population`` of a file, for a fit with this model, pack and observable.

    Raises `StoreError` for a file without one, `UsageError` where it is of another model, pack or observable.
    """
    if GROUP not in fit.children:
        raise StoreError("it holds no population", remedy="give a file of `persist fit --pool`")
    made = store.attribute(fit, "settings") | {"observable": str(fit.attrs["observable"])}
    for name, asked in (("model", model), ("pack", pack), ("observable", kind)):
        if made.get(name) != asked:
            what = f'the population is of the {name} "{made.get(name)}", the fit of "{asked}"'
            raise UsageError(what, where="--population", remedy=f"fit with --{name} {made.get(name)}")
    return fit[GROUP].to_dataset()


def for_others(earlier: store.DataTree, table: Table, settings: Settings) -> store.Dataset:
    """The group ``population`` of an ``earlier`` pooled fit, for patients who were not in it.

    Raises `UsageError` where one of them was, by the id, and as `population_of` does.
    """
    twice = sorted({one.patient_id for one in table.series} & set(patients(earlier)))
    if twice:
        what = f"patient {twice[0]} is among those that the population was learned from"
        raise UsageError(what, where="--population", remedy="choose others by --patient: data must not count twice")
    return population_of(earlier, settings.model, settings.pack, table.series[0].observable)


def mixture(known: store.Dataset) -> Population:
    """The prior of the next patient over the n scores (`population.blend`)."""
    return blend(law_of(known), np.isin(known["parameter"].values, known["score"].values))


def marginals(known: store.Dataset) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each pooled score of the next patient."""
    found, names = moments(law_of(known)), known["score"].values
    variance = np.diagonal(found.covariance, axis1=-2, axis2=-1).mean(axis=(0, 1)) + found.mean.var(axis=(0, 1))
    middle = found.mean.mean(axis=(0, 1))
    return {str(name): (float(middle[at]), float(np.sqrt(variance[at]))) for at, name in enumerate(names)}


def drawn(rng: np.random.Generator, law: Population, count: int) -> np.ndarray:
    """Scores ``(count, n)`` of patients of a population."""
    component = rng.choice(len(law.mean), size=count, p=np.exp(law.log_weight))
    z = rng.standard_normal((count, law.mean.shape[1]))
    return np.asarray(law.mean[component] + np.linalg.solve(law.whiten[component], z[..., None])[..., 0])
