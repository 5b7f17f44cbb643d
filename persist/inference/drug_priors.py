"""What the drug catalogue says of a drug, as ranges of priors: the lags of its exposure in patients."""

from __future__ import annotations

from persist.inference.priors import base_of, known, load_pack
from persist.treatment.catalogue import entry, find, lags

OF_PATIENTS = "clinical"
"""The pack that half-lives of the catalogue speak to: they were measured in patients, not in a dish."""


def follows(drug: str, pack: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Ranges ``ENTRY=LOW..HIGH`` that follow from a drug's entry for this pack, and a sentence on each.

    An end that the entry does not bound is the pack's own. Nothing follows for a drug that the catalogue has not, for
    another pack than that of patients, or where the two ends would cross.
    """
    agent = find(drug)
    if agent is None or base_of(pack) != OF_PATIENTS:
        return (), ()
    found = []
    for name, bounds in lags(entry(agent)).items():
        own = load_pack(pack, "one").entries[name]
        low, high = bounds.low or own.low, bounds.high or own.high
        if low < high:
            end = f"{low:.3g}..{high:.3g}"
            found.append((f"{name}={end}", f"{name} of {drug}: {end} days by the drug catalogue ({bounds.why})"))
    return tuple(one for one, _ in found), tuple(told for _, told in found)


def pack_for(drug: str | None, pack: str, ranges: tuple[str, ...], learned: str | None) -> tuple[str, list[str]]:
    """The name of the pack of a fit to this drug, and what is said of it.

    ``ranges`` given by the user go before the catalogue. ``learned`` is the pack of the population that the fit leans on
    (None: of none): one that knows nothing of the drug is taken as it is, since both must be one.
    """
    asked = known(pack, ranges)
    if drug is None or learned == asked:
        return asked, []
    given = {one.partition("=")[0] for one in ranges}
    kept = [pair for pair in zip(*follows(drug, pack), strict=True) if pair[0].partition("=")[0] not in given]
    told = [f"{sentence}; --prior sets another" for _, sentence in kept]
    return known(pack, (*ranges, *(one for one, _ in kept))), told
