"""Effective draws a second of a fit, beside those of the plain approach to the same patients.

    python scripts/benchmark_fit.py                              prints the table (half an hour on two cores)
    python scripts/benchmark_fit.py -o docs/benchmark_fit.json   writes the numbers, and the table beside them (.md)

The fit is `persist.fit` with its defaults. The plain approach is what one would write down first: every parameter a NumPyro
sample site with its prior, the mean field in steps of a week, and NumPyro's NUTS as it comes (target acceptance 0.8, diagonal
metric), here from medians of the prior and with its chains beside each other on all cores.

Each is judged by the smallest bulk effective sample size of the sampled parameters, over the seconds that it ran. Compiling is
told apart. Effective sizes count each walker, or each chain of NUTS, as a series of its own. Over patients the ratio is told by
its geometric mean, also over those alone whose chains agree in both. The patients are P04-P12, whose rates were drawn from the
priors (the first draws that respond, have two courses and settle high enough: `scripts/make_demo_data.py`).
"""

from __future__ import annotations

import json
import os
import platform
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import arviz as az
import click
import jax
import jax.numpy as jnp
import numpy as np
import numpyro
from numpyro.infer import NUTS, init_to_median

import persist
from persist.dynamics.observe import OBSERVABLES
from persist.inference import store
from persist.inference.cohort import Case, case, one_schedule, pad
from persist.inference.curve import follow
from persist.inference.model import sampled
from persist.inference.priors import Pack, distribution, load_pack, log_normal
from persist.inference.walkers import WALKERS
from persist.treatment.schedule import grid
from persist.types import Series, Table

ROOT = Path(__file__).resolve().parent.parent
PACK, OBSERVABLE = "clinical", "psa"
WEEK = 7.0
CHAINS = 4
PATIENTS = tuple(f"P{number:02}" for number in range(4, 13))
OURS = (click.IntRange(WALKERS), click.IntRange(4 * WALKERS))
THEIRS = (click.IntRange(1), click.IntRange(4))
"""Least warm-up and draws of a chain: effective sizes need four of each series."""


class Effort(NamedTuple):
    """Warm-up and kept draws of a chain."""

    warmup: int
    draws: int


def by_week(series: Series) -> Case:
    """The patient with steps of at most a week from the first visit on, between visits and changes of dose."""
    schedule = one_schedule(series)
    steps, index = grid(schedule, series.day, start=series.day[0], stop=series.day[-1], max_step=WEEK)
    usual = case(pad([series], pack=PACK), 0, counted=False)
    places = np.pad(index, (0, len(usual.step) - len(index)), mode="edge")
    moving = np.ones(len(steps.length), bool)
    return usual._replace(length=np.asarray(steps.length), dose=np.asarray(steps.dose), moving=moving, step=places)


def plain(one: Case, pack: Pack, power: float) -> None:
    """The model as one would write it down first: each parameter by its prior, the series by the mean field."""
    entries = pack.every
    unit = {"settled_burden": one.log_largest, "burden_0": one.log_first}
    values = {}
    for name in sampled(pack, "spr"):
        prior = entries[name]
        law = log_normal(prior, np.exp(unit[name])) if name in unit else distribution(prior)
        values[name] = numpyro.sample(name, law)
    numpyro.factor("series", jnp.sum(follow(values, one, power).pointwise))


def of_nuts(series: Series, effort: Effort, seed: int) -> dict[str, Any]:
    """Draws of the plain approach: its chains as `numpyro.infer.MCMC` would run them, compiled before the clock starts."""
    kind = OBSERVABLES[OBSERVABLE]
    given = (by_week(series), load_pack(PACK, kind.cells), kind.power)
    kernel = NUTS(plain, init_strategy=init_to_median)
    began = time.perf_counter()
    starts = [
        kernel.init(key, effort.warmup, None, given, {}) for key in jax.random.split(jax.random.key(seed), CHAINS)
    ]

    def step(state: Any, _: None) -> tuple[Any, Any]:
        after = kernel.sample(state, given, {})
        return after, (after.z, after.diverging, after.num_steps)

    def chain(state: Any) -> Any:
        warm = jax.lax.fori_loop(0, effort.warmup, lambda _, at: step(at, None)[0], state)
        return jax.lax.scan(step, warm, None, length=effort.draws)[1]

    run = jax.jit(chain).lower(starts[0]).compile()
    started = time.perf_counter()
    with ThreadPoolExecutor(os.cpu_count()) as threads:
        kept = list(threads.map(lambda state: jax.tree.map(np.asarray, run(state)), starts))
    spent = time.perf_counter() - started
    z, diverging, leaps = jax.tree.map(lambda *rows: np.stack(rows), *kept)
    named = jax.vmap(jax.vmap(kernel.postprocess_fn(given, {})))(z)
    values = {name: np.asarray(named[name]) for name in sampled(given[1], "spr")}
    told = {"seconds": spent, "compile_seconds": started - began, "divergent": int(diverging.sum())}
    return told | _judged(values, 1, spent) | effort._asdict() | {"gradients": int(leaps.sum())}


def of_fit(series: Series, table: Table, effort: Effort, seed: int) -> dict[str, Any]:
    """Draws of `persist.fit`."""
    settings = persist.Settings(chains=CHAINS, warmup=effort.warmup, draws=effort.draws, seed=seed)
    fit = persist.fit(table, settings)
    drawn = fit["posterior"].to_dataset().sel(patient=series.patient_id)
    stats = fit["sample_stats"].to_dataset().sel(patient=series.patient_id)
    values = {str(name): drawn[name].values for name in fit["prior"].to_dataset().data_vars}
    spent = float(fit.attrs["seconds"])
    told = {"seconds": spent, "compile_seconds": float(fit.attrs["compile_seconds"])}
    told |= {"divergent": int(stats["diverging"].sum())} | _judged(values, WALKERS, spent) | effort._asdict()
    return told | {"log_evidence": fit["constant_data"]["log_evidence"].sel(patient=series.patient_id).values.tolist()}


def _judged(values: dict[str, np.ndarray], walkers: int, seconds: float) -> dict[str, Any]:
    """R-hat over chains; the smallest effective size, of which parameter, and how many a second."""
    rows = {name: draws.reshape(CHAINS * walkers, -1) for name, draws in values.items()}
    rhat, sizes = (
        az.summary(_tree(drawn), kind="diagnostics", round_to="none").astype(float) for drawn in (values, rows)
    )
    least = float(sizes["ess_bulk"].min())
    return {
        "max_rhat": float(rhat["r_hat"].max()),
        "min_ess_bulk": least,
        "parameter": str(sizes["ess_bulk"].idxmin()),
        "ess_per_second": least / seconds,
    }


def _tree(values: dict[str, np.ndarray]) -> Any:
    return store.dataset({name: (("chain", "draw"), draws) for name, draws in values.items()}, {})


PAGE = """# Effective draws a second of a fit

Simulated patients (of `data/`, {values} values each), fitted by `persist.fit` with the `spr` model, and by the plain
approach: the named parameters as NumPyro sample sites, the mean field in steps of a week, NumPyro's NUTS as it comes ({chains}
chains beside each other on {cores} cores, from medians of the prior). All in one run of the script, one after the other.

| patient | | seconds | compile s | smallest bulk ESS | of | ESS a second | R-hat | divergent | warm-up, draws | times |
|---|---|---|---|---|---|---|---|---|---|---|
{rows}

**{ratio:.1f} times** as many effective draws a second (geometric mean; from {least:.1f} to {most:.1f}). Where R-hat is over
1.01 the chains do not agree, and their effective size says little; of the {agreed} patients without, {agreeing}.

Seed {seed}, jax {jax}, numpyro {numpyro}, {machine}.

Repeat: `.venv/bin/python scripts/benchmark_fit.py -o docs/benchmark_fit.json` (nothing else should run).
"""


def mean_ratio(ratios: list[float]) -> float:
    """Their geometric mean."""
    return float(np.exp(np.mean(np.log(ratios))))


def written(found: dict[str, Any]) -> str:
    """The page: what was measured, and the table."""
    patients = found["patients"]
    rows = [
        line
        for name, one in patients.items()
        for line in (_row(name, "persist", one["fit"], f"{one['ratio']:.1f}"), _row("", "plain NUTS", one["plain"], ""))
    ]
    ratios = [one["ratio"] for one in patients.values()]
    sound = [
        one["ratio"] for one in patients.values() if max(one[kind]["max_rhat"] for kind in ("fit", "plain")) <= 1.01
    ]
    agreeing = f"{mean_ratio(sound):.1f} times" if sound else "nothing can be said"
    values = " or ".join(sorted({str(one["values"]) for one in patients.values()}))
    return PAGE.format(
        rows="\n".join(rows),
        least=min(ratios),
        most=max(ratios),
        values=values,
        agreed=len(sound),
        agreeing=agreeing,
        **found,
    )


def _row(patient: str, name: str, one: dict[str, Any], times: str) -> str:
    cells = [
        patient,
        name,
        f"{one['seconds']:.1f}",
        f"{one['compile_seconds']:.0f}",
        f"{one['min_ess_bulk']:.0f}",
        f"`{one['parameter']}`",
        f"{one['ess_per_second']:.2f}",
        f"{one['max_rhat']:.3f}",
        str(one["divergent"]),
        f"{one['warmup']}, {one['draws']}",
        times,
    ]
    return f"| {' | '.join(cells)} |"


@click.command()
@click.option(
    "--patient", "patients", default=PATIENTS, multiple=True, show_default=True, help="Of the bundled series."
)
@click.option("--fit", "ours", type=OURS, default=(960, 640), show_default=True, help="Warm-up and draws of the fit.")
@click.option("--plain", "theirs", type=THEIRS, default=(500, 500), show_default=True, help="Those of NUTS.")
@click.option("--seed", default=0, show_default=True)
@click.option(
    "-o", "output", type=click.Path(path_type=Path, dir_okay=False), help="Numbers as JSON; the table beside."
)
def main(
    patients: tuple[str, ...], ours: tuple[int, int], theirs: tuple[int, int], seed: int, output: Path | None
) -> None:
    """Measure effective draws a second."""
    jax.config.update("jax_enable_x64", True)
    data, rows = ROOT / "data", {}
    for patient in patients:
        table = persist.read(data / "burden.csv", data / "treatments.csv", observable=OBSERVABLE, patients=(patient,))
        series = table.series[0]
        fit, plainly = of_fit(series, table, Effort(*ours), seed), of_nuts(series, Effort(*theirs), seed)
        ratio = fit["ess_per_second"] / plainly["ess_per_second"]
        rows[patient] = {"values": len(series.day), "fit": fit, "plain": plainly, "ratio": ratio}
        click.echo(f"{patient}: {ratio:.1f} times", err=True)
    about = {"seed": seed, "chains": CHAINS, "cores": os.cpu_count(), "machine": platform.machine()}
    about |= {"jax": jax.__version__, "numpyro": numpyro.__version__}
    found = about | {"ratio": mean_ratio([row["ratio"] for row in rows.values()]), "patients": rows}
    page = written(found)
    click.echo(page)
    if output is not None:
        output.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
        output.with_suffix(".md").write_text(page, encoding="utf-8")


if __name__ == "__main__":
    main()
