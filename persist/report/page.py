"""The page: one self-contained HTML document on a fit and its forecasts, and its JSON twin.

Everything comes from the two result files; text that a user gave is escaped by the template. No scripts, no links out.
"""

from __future__ import annotations

import json
import os
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from jinja2 import Environment, StrictUndefined

from persist.dynamics.observe import OBSERVABLES
from persist.errors import StoreError
from persist.inference import posterior, store
from persist.inference.priors import load_pack
from persist.inference.subject import laws
from persist.report import cohort, plots, words
from persist.report.patient import Sources, section
from persist.report.read import futures, history
from persist.validation import chains, health

_ATTRIBUTES = ("summary", "settings", "provenance")


class Report(NamedTuple):
    """The page as HTML, and what it says as plain data for JSON."""

    html: str
    twin: dict[str, Any]


def build(fit: store.DataTree, forecast: store.DataTree | None = None, *, where: str = "the forecast") -> Report:
    """The report on a fit, and on a forecast that was made from it; `StoreError`, which names ``where`` the forecast
    was read, for a forecast of another fit.
    """
    if forecast is not None:
        belongs(fit, forecast, where)
    content = twin(fit, forecast)
    return Report(_render(fit, forecast, content), content)


def belongs(fit: store.DataTree, forecast: store.DataTree, where: str) -> None:
    """`StoreError` unless ``forecast`` was made from ``fit``: the provenance that it carries is the fit's."""
    patients = set(posterior.patients(fit))
    strangers = sorted(set(store.attribute(forecast, "summary")) - patients)
    if strangers:
        what = f"the forecast is of {words.joined(strangers)}, whom the fit does not hold"
    elif store.attribute(forecast, "fit") != store.attribute(fit, "provenance"):
        what = "the forecast was made from another fit"
    else:
        return
    raise StoreError(what, where=where, remedy="make it again from this fit with persist forecast")


def twin(fit: store.DataTree, forecast: store.DataTree | None = None) -> dict[str, Any]:
    """What the page says, under the names of the JSON of `diagnose` and `forecast`."""
    told = {name: None if forecast is None else store.attribute(forecast, name) for name in _ATTRIBUTES}
    return {
        "not_for_clinical_use": True,
        "observable": str(fit.attrs["observable"]),
        "unit": str(fit.attrs["unit"]),
        "fit": {"seconds": float(fit.attrs.get("seconds", np.nan))} | health.whole(fit),
        "forecast": None if forecast is None else {"patients": told["summary"]},
        "settings": {"fit": store.attribute(fit, "settings"), "forecast": told["settings"]},
        "provenance": {"fit": store.attribute(fit, "provenance"), "forecast": told["provenance"]},
        "notes": store.attribute(fit, "notes"),
    }


def _render(fit: store.DataTree, forecast: store.DataTree | None, content: dict[str, Any]) -> str:
    """The template, filled."""
    sections = []
    for index, series in enumerate(posterior.series(fit), start=1):
        name = series.patient_id
        asked = content["settings"]["forecast"]
        known = asked is not None and name in content["forecast"]["patients"]
        story = history(fit, series, asked["patients"][name]["start"] if known else None)
        coming = futures(forecast, name) if forecast is not None and known else []
        draws = fit["posterior"].to_dataset().sel(patient=name)
        sections.append(section(index, Sources(story, coming, draws, laws(fit, name), content)))
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    filters = (
        words.number,
        words.percent,
        words.probability,
        words.signed,
        words.days,
        words.informed,
        words.sentence,
        readable,
    )
    environment.filters |= {one.__name__: one for one in filters}
    template = environment.from_string(files("persist.report").joinpath("page.html").read_text(encoding="utf-8"))
    marked = [one["name"] for one in sections if not one["health"]["ok"]]
    first = posterior.series(fit)[0]
    limits = {"rhat": chains.MAX_RHAT, "bulk": chains.MIN_ESS, "tail": chains.MIN_TAIL}
    variant = store.attribute(fit, "settings")["model"]
    text = {"models": words.model(variant), "joined": words.joined, "burden": plots.axis_name(first), "limits": limits}
    sources = (*words.SOURCES, *_prior_sources(fit))
    together = cohort.section(fit, content["fit"])
    return template.render(content, cohort=together, patients=sections, marked=marked, sources=sources, **text)


def _prior_sources(fit: store.DataTree) -> list[str]:
    """Where the priors come from: each source with the parameters that rest on it and the mark of its evidence."""
    pack = load_pack(store.attribute(fit, "settings")["pack"], OBSERVABLES[fit.attrs["observable"]].cells)
    entries = pack.every
    found: dict[str, list[str]] = {}
    for name in fit["prior"].data_vars:
        if name in entries:
            entry = entries[str(name)]
            found.setdefault(f"{entry.source} [{entry.mark}]", []).append(str(name))
    return [f"Prior of {words.joined(names)}: {source}" for source, names in found.items()]


def readable(value: Any) -> str:
    """A setting as text: what is not a word or a number as JSON."""
    return str(value) if isinstance(value, (str, int, float)) else json.dumps(value, ensure_ascii=False)


def write(texts: dict[Path, str]) -> None:
    """Write all files or none: each into a temporary file beside it first, then renamed one after the other."""
    ready: list[tuple[str, Path]] = []
    try:
        for target, text in texts.items():
            handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
            ready.append((temporary, target))
            with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
                file.write(text)
            os.chmod(temporary, 0o644)
        for temporary, target in ready:
            os.replace(temporary, target)
    except BaseException:
        for temporary, _ in ready:
            Path(temporary).unlink(missing_ok=True)
        raise
