"""One replicate of a calibration: a virtual patient through the whole pipeline, and the rank of its truth; or a cohort of them
(`validation.cohorts`).

Of parameters, the truth is ranked among posterior draws. Of what is to come (time to progression under two plans, days gained
by a holiday), one random future of the true cells is ranked among one random future of each posterior draw: if all is right,
truth and draws come from one law, so the ranks are uniform (Talts et al. 2018, arXiv:1804.06788; for quantities that depend on
the data too: Modrák et al. 2023, 10.1214/23-BA1404). Draws are thinned, evenly over all chains; ties are broken at random.
"""

from __future__ import annotations

import math
import time
from typing import TYPE_CHECKING, Any

import jax.numpy as jnp
import numpy as np

from persist.errors import FitError, RatesError
from persist.forecast import decide
from persist.forecast.endpoints import rule_for
from persist.forecast.futures import run as futures
from persist.forecast.landmark import Landmark, Look, landmark
from persist.forecast.outcome import ask, forecast, nadir
from persist.inference import posterior, store
from persist.inference.cohort import case, observable, pad
from persist.inference.curve import trace_curves
from persist.inference.fate import SIZE
from persist.inference.fit import fit
from persist.inference.subject import laws
from persist.types import Cells
from persist.validation import cohorts
from persist.validation.bands import rank
from persist.validation.health import examine
from persist.validation.identify import contraction, scores
from persist.validation.residuals import residuals
from persist.validation.study import short
from persist.validation.virtual import Virtual, generator, virtual

if TYPE_CHECKING:
    from persist.validation.study import Study

TIME_ON, TIME_HOLIDAY, GAIN = "time_to_progression_on", "time_to_progression_holiday", "gain_days_holiday"
LIKELIHOOD = "log_likelihood"
DERIVED = (TIME_ON, TIME_HOLIDAY, GAIN, LIKELIHOOD)
"""What is ranked beside the parameters: three in days, by the horizon, and how likely the series is by the mean field. A
posterior that is but the prior passes by all parameters; by this it does not.
"""


def replicate(asked: Study, number: int) -> dict[str, Any]:
    """Replicate ``number`` as it stands in the file: ranks, contraction and truth by name, health and seconds; or, where a
    patient cannot be simulated or fitted, the reason as ``unfit``.
    """
    began = time.perf_counter()
    try:
        found = cohorts.ranked(asked, number) if asked.cohort else _ranked(asked, number)
    except (FitError, RatesError) as error:
        return {"replicate": number, "wall_seconds": time.perf_counter() - began, "unfit": str(error)}
    return {"replicate": number, "wall_seconds": time.perf_counter() - began} | found


def _ranked(asked: Study, number: int) -> dict[str, Any]:
    settings = asked.settings
    one = virtual(settings.seed, number, settings.pack, settings.model, asked.design, asked.plant)
    result = fit(one.table, settings)
    values = posterior.thinned(result, one.series.patient_id, asked.rank_max)
    drawn = {name: (value, values[name]) for name, value in one.values.items()}
    coming = _coming(asked, one, result) | {LIKELIHOOD: _likely(one, values, settings.pack)}
    ranks = {
        name: rank(value, draws, generator(settings.seed, number, "ties", name))
        for name, (value, draws) in (drawn | coming).items()
    }
    patient = one.series.patient_id
    after, before = result["posterior"].to_dataset().sel(patient=patient), laws(result, patient)
    return {
        "compile_seconds": float(result.attrs["compile_seconds"]),
        "censored": int(np.sum(one.series.censoring != 0)),
        "health": _health(result, patient),
        "residuals": _residuals(result, patient),
        "truth": {name: short(value) for name, (value, _) in (drawn | coming).items()},
        "ranks": ranks,
        "contraction": {name: short(contraction(scores(before[name], after[name].values))) for name in drawn},
    }


def _likely(one: Virtual, values: dict[str, np.ndarray], pack: str) -> tuple[float, np.ndarray]:
    """Log-likelihood of the series by the mean field, under the truth and under each thinned draw."""
    kind = observable(one.series.observable)
    rows = {name: jnp.asarray(np.append(value, values[name])) for name, value in one.values.items()}
    found = trace_curves(rows, case(pad([one.series], pack=pack), 0, counted=kind.counted), kind.power).log_likelihood
    return float(found[0]), np.asarray(found[1:])


def _coming(asked: Study, one: Virtual, result: store.DataTree) -> dict[str, tuple[float, np.ndarray]]:
    """Time to progression under both plans and the gain, by the horizon: of the truth, and of each thinned draw."""
    design, patient = asked.design, one.series.patient_id
    question = ask(
        [f"on={design.plan}", f"holiday={design.holiday}"],
        design.horizon,
        draws=asked.rank_max,
        replicates=1,
        seed=asked.settings.seed,
    )
    made = forecast(result, question)
    look = Look(**store.attribute(made, "settings")["patients"][patient])
    times = made["endpoints"].to_dataset()["time_to_progression"].sel(patient=patient).values[..., 0]
    true = futures(
        asked.settings.seed,
        f"{patient} truth",
        where_truth_stands(one, asked.settings.pack),
        design.schedule,
        question.plans,
        look,
        rule_for(design.observable),
        1,
    )
    truth = np.stack([future.time_to_progression[:, 0] for future in true])
    (on, holiday), (true_on, true_holiday) = (np.minimum(part, design.horizon) for part in (times, truth))
    return {
        TIME_ON: (float(true_on[0]), on),
        TIME_HOLIDAY: (float(true_holiday[0]), holiday),
        GAIN: (
            float(decide.gain(true_holiday, true_on, design.horizon)[0]),
            decide.gain(holiday, on, design.horizon),
        ),
    }


def where_truth_stands(one: Virtual, pack: str) -> Landmark:
    """The landmark of the truth itself: its cells, exposure and wander at the last visit, of which nothing is unknown."""
    series, kind = one.series, observable(one.series.observable)
    seen = float(series.day[-1]), float(series.burden[-1])
    lowest = nadir(series, series.schedules["drug"], seen[0])
    values = {name: np.array([value]) for name, value in one.values.items()}
    at = landmark(values, case(pad([series], pack=pack), 0, counted=kind.counted), seen, kind, lowest)
    known = values | {"noise_sd": np.array([one.noise_sd]), SIZE: np.ones(1)}  # R is counted, not the mean of a Poisson
    cells = Cells(*(np.asarray(state, float) for state in one.cells))
    return at._replace(cells=cells, wander_mean=one.wander[None], wander_root=np.zeros((1, 2, 2)), values=known)


def _residuals(result: store.DataTree, patient: str) -> dict[str, Any]:
    """Correlation of neighbouring one-step errors of the fit, its p-value, and whether it is flagged: what is usual of series
    from the model itself, once a curve has been fitted to them.
    """
    found = residuals(result, patient)
    told = {"autocorrelation": found.autocorrelation, "p_value": found.p_value}
    plain = {name: short(value) if math.isfinite(value) else None for name, value in told.items()}
    return plain | {"flagged": found.flagged}


def _health(result: store.DataTree, patient: str) -> dict[str, Any]:
    """What `diagnose` says of the fit."""
    found = examine(result, patient)
    told = {name: getattr(found, name) for name in ("max_rhat", "min_ess_bulk", "min_ess_tail")}
    plain = {name: short(value) if math.isfinite(value) else None for name, value in told.items()}
    return plain | {"divergences": found.divergences, "ok": found.ok, "problems": list(found.problems)}
