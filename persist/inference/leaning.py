"""What a fit leans on besides the pack: its group ``population``, draws of the mean and covariance of the scores of a cohort.

The group is written by a pooled fit (`inference.pooled`), whose patients have it as their prior, and copied into the fits of
patients who come after. So a file by itself tells the prior of its patients.

Of a cohort with biomarkers the group holds the effects too, and the scale that biomarkers count in; those of the patients of
the file stand in the group ``biomarkers``, in their own units, NaN where they are missing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from persist import keys
from persist.errors import StoreError, UsageError
from persist.inference import store
from persist.inference.clone_free import Frame
from persist.inference.cohort import observable
from persist.inference.covariates import Effects, Scale, at, completed, standardised
from persist.inference.covariates import moments as with_effects
from persist.inference.model import sampled
from persist.inference.population import KINDS, UNKNOWN, Law, Moments, Population, blend, moments, shared, shares
from persist.inference.posterior import patients
from persist.inference.priors import load_pack, score
from persist.types import Biomarkers

if TYPE_CHECKING:
    from collections.abc import Sequence

    from persist.inference.priors import Pack
    from persist.inference.settings import Settings
    from persist.types import Table

GROUP, MARKERS = "population", "biomarkers"

EFFECTS = {"slope": ("score", "biomarker"), "toward": ("biomarker",), "intercept": (), "scale": ()}
EFFECTS |= {"spread": ("biomarker", "other_biomarker")}
"""Parts of `covariates.Effects` that a file holds, and their dimensions after chain and draw."""


def pack_of(fit: store.DataTree) -> Pack:
    """The pack of a fit, for what it observed."""
    return load_pack(store.attribute(fit, "settings")["pack"], observable(str(fit.attrs["observable"])).cells)


def names_of(fit: store.DataTree) -> tuple[str, ...]:
    """The n scores that patients of a fit may share a law of, in order."""
    return shared(sampled(pack_of(fit), store.attribute(fit, "settings")["model"]))


def group(
    names: tuple[str, ...],
    frame: Frame,
    shown: np.ndarray,
    laws: Law,
    chains: int,
    likely: dict[str, np.ndarray] | None = None,
    biomarkers: tuple[Scale, Effects] | None = None,
    effective: np.ndarray | None = None,
) -> store.Dataset:
    """The group of laws ``(rounds, lanes, ...)`` of those of the scores ``names`` (n,) that the ``frame`` pools, with how far
    the patients' own data show each of all, and of every patient how ``likely`` it is to be apart and to have no clone, by lane
    ``(2, lanes)``; draws are lane after lane. ``biomarkers``: the scale that they count in, and draws of their effects
    ``(rounds, lanes, ...)``. ``effective``: how many draws of each of those patients count for a law.
    """

    def by_chain(rows: np.ndarray) -> np.ndarray:
        own = rows.reshape(len(rows), chains, -1, *rows.shape[2:])
        return np.moveaxis(own, 0, 2).reshape(chains, -1, *rows.shape[2:])

    kept, members = Law(*(by_chain(part) for part in laws)), likely or {}
    own = [name for name, taken in zip(names, frame.pooled, strict=True) if taken]
    draws = {"chain": np.arange(chains), "draw": np.arange(kept.mean.shape[1])}
    shares = np.array([row.reshape(2, chains, -1).mean(axis=2) for row in members.values()]).reshape(-1, 2, chains)
    known = store.dataset(
        {
            "mean": (("chain", "draw", "score"), kept.mean),
            "covariance": (("chain", "draw", "score", "other"), kept.covariance),
            "apart": (("chain", "draw", "score"), kept.apart),
            "share": (("chain", "draw"), kept.share),
            "clone_free": (("chain", "draw"), kept.clone_free),
            "lane": (("draw",), np.repeat(np.arange(kept.mean.shape[1] // len(laws.mean)), len(laws.mean))),
            "shown": (("parameter",), shown),
            "shift": (("parameter",), frame.shift),
            "is_apart": (("member", "chain"), shares[:, 0]),
            "is_clone_free": (("member", "chain"), shares[:, 1]),
        },
        draws | {"score": own, "other": own, "parameter": list(names), "member": list(members)},
    )
    if effective is not None:
        known = known.assign(effective=(("member",), effective))
    if biomarkers is None:
        return known
    scale, effects = biomarkers
    columns: dict[str, Any] = {name: (("biomarker",), getattr(scale, name)) for name in ("centre", "sd")}
    columns |= {name: (("chain", "draw", *dims), by_chain(getattr(effects, name))) for name, dims in EFFECTS.items()}
    return known.assign(columns).assign_coords(biomarker=list(scale.names), other_biomarker=list(scale.names))


def law_of(known: store.Dataset) -> Law:
    """The draws of the law that a group holds, each ``(chains, draws, ...)``: m, C, d of `covariates`, and shares of all."""
    return Law(*(known[name].values for name in Law._fields))


def frame_of(known: store.Dataset) -> Frame:
    """Which scores a group has laws of, and by how much those of patients without a clone are off."""
    return Frame(np.isin(known["parameter"].values, known["score"].values), known["shift"].values)


def scale_of(known: store.Dataset) -> Scale | None:
    """The biomarkers that a group knows, and how they are standardised; None for a population without."""
    if "slope" not in known:
        return None
    return Scale(tuple(map(str, known["biomarker"].values)), known["centre"].values, known["sd"].values)


def effects_of(known: store.Dataset) -> Effects:
    """The draws of the effects of biomarkers that a group holds, each ``(chains, draws, ...)``; local scales are not kept."""
    parts = {name: known[name].values for name in EFFECTS}
    return Effects(local=np.ones((*parts["scale"].shape, 1, 1)), **parts)


def everyone(known: store.Dataset) -> Moments:
    """Mean and covariance of all patients together, by draw ``(chains, draws, ...)``."""
    return moments(law_of(known)) if scale_of(known) is None else with_effects(law_of(known), effects_of(known))


def given(known: store.Dataset, patient: str = "", biomarkers: Biomarkers | None = None) -> Law:
    """The draws of the law of a patient with these biomarkers, each ``(chains, draws, ...)``: what is missing of them is drawn
    anew from its law for each, given the others. By the name of the patient, so that it is the same whenever it is asked.

    Raises `UsageError` for a biomarker that the population does not know.
    """
    scale = scale_of(known)
    if scale is None:
        standardised(Scale((), np.zeros(0), np.ones(0)), biomarkers, [patient])
        return law_of(known)
    value, seen = standardised(scale, biomarkers, [patient])
    effects = effects_of(known)
    rng = np.random.default_rng(keys.seed_of(0, patient, MARKERS))
    shape = effects.toward.shape
    rest = (np.zeros(shape), np.broadcast_to(value[0], shape), np.broadcast_to(seen[0], shape))
    return at(law_of(known), effects, completed(rng, np.linalg.inv(effects.spread), *rest))


def assumed(known: store.Dataset, biomarkers: Biomarkers | None) -> tuple[str, ...]:
    """What is assumed of patients of whom no table of biomarkers is given, in sentences."""
    scale = scale_of(known)
    if scale is None or biomarkers is not None:
        return ()
    return (f"the population knows biomarkers ({', '.join(scale.names)}), and none are given: they are averaged over",)


def markers(table: Biomarkers, patients: Sequence[str]) -> store.Dataset:
    """The group ``biomarkers`` of these patients."""
    coords = {"patient": list(patients), "biomarker": list(table.names)}
    return store.dataset({"value": (("patient", "biomarker"), table.rows(patients))}, coords)


def markers_of(fit: store.DataTree) -> Biomarkers | None:
    """The biomarkers of the patients of a fit, if it has any."""
    if MARKERS not in fit.children:
        return None
    group = fit[MARKERS].to_dataset()
    return Biomarkers(tuple(map(str, group["biomarker"].values)), tuple(patients(fit)), group["value"].values)


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


def mixture(known: store.Dataset, patient: str = "", biomarkers: Biomarkers | None = None) -> Population:
    """The prior of the next patient over the n scores (`population.blend`), given what is known of the biomarkers."""
    return blend(given(known, patient, biomarkers), frame_of(known))


def prior_of(fit: store.DataTree, patient: str) -> Population:
    """The law of scores that a patient of a fit had as its prior; `UNKNOWN` where that is the pack's alone."""
    if GROUP not in fit.children:
        return UNKNOWN
    return mixture(fit[GROUP].to_dataset(), patient, markers_of(fit))


def belonging(fit: store.DataTree, patient: str) -> tuple[float, float]:
    """How likely a patient of a fit is one of those apart, and one without a clone, given its draws: the mean over these of
    what each has of the mixture that is its prior, by kind (`population.KINDS`).
    """
    law, drawn = prior_of(fit, patient), fit["posterior"].to_dataset().sel(patient=patient)
    entries = pack_of(fit).every
    z = np.stack([np.asarray(score(entries[name], drawn[name].values.ravel())) for name in names_of(fit)], axis=-1)
    by_kind = shares(z, law).reshape(len(z), -1, KINDS).sum(axis=1).mean(axis=0)
    return float(by_kind[1] + by_kind[3]), float(by_kind[2] + by_kind[3])


def marginals(
    known: store.Dataset, patient: str = "", biomarkers: Biomarkers | None = None, *, with_clone: bool = False
) -> dict[str, tuple[float, float]]:
    """Mean and standard deviation of each score of the next patient that the cohort tells of, those without a clone among them,
    or of one ``with_clone``; given what is known of the biomarkers.
    """
    law, frame = given(known, patient, biomarkers), frame_of(known)
    found, names = moments(law), np.asarray(known["parameter"].values)
    free = (0.0 if with_clone else 1.0) * law.clone_free[..., None]
    middle, within = free * frame.shift, 1.0 + free * (1.0 - free) * frame.shift**2
    middle[..., frame.pooled] += found.mean
    within[..., frame.pooled] += np.diagonal(found.covariance, axis1=-2, axis2=-1) - 1.0
    mean, variance = middle.mean(axis=(0, 1)), within.mean(axis=(0, 1)) + middle.var(axis=(0, 1))
    told = np.flatnonzero(frame.pooled | (frame.shift != 0.0))
    return {str(names[place]): (float(mean[place]), float(np.sqrt(variance[place]))) for place in told}


def drawn(rng: np.random.Generator, law: Population, count: int) -> np.ndarray:
    """Scores ``(count, n)`` of patients of a population."""
    component = rng.choice(len(law.mean), size=count, p=np.exp(law.log_weight))
    z = rng.standard_normal((count, law.mean.shape[1]))
    return np.asarray(law.mean[component] + np.linalg.solve(law.whiten[component], z[..., None])[..., 0])
