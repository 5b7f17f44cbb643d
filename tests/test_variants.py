"""Model variants from the rates to the forecast: what each samples, what it leaves alone, and what it hands on."""

from __future__ import annotations

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import fakes
import laws
from persist.dynamics.clones import along
from persist.dynamics.moments import mean_field
from persist.dynamics.observe import OBSERVABLES
from persist.dynamics.trajectories import simulate
from persist.errors import UsageError
from persist.forecast import ahead, futures
from persist.forecast.endpoints import RULES, judge, rule_for
from persist.forecast.landmark import Landmark, Look, landmark
from persist.forecast.outcome import ask, forecast
from persist.forecast.visits import Chance, Scale
from persist.forecast.watch import Visit, look, watch
from persist.inference import cohort, particles, store
from persist.inference.cohort import Case, case, pad
from persist.inference.curve import derive, follow, patient, trace_curves
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import load_pack, quantile
from persist.inference.target import Target, flat_potential, reference
from persist.report import page
from persist.treatment.exposure import relax
from persist.treatment.schedule import parse_plan
from persist.types import Cells, Grid, Rates, Schedule, Table
from persist.validation import health

NEW = ("spr-tis", "spr-shed", "attenuation")
SERIES = fakes.FIVE_VALUES
ON_OFF = Schedule(np.array([0.0, 130.0]), np.array([90.0, 400.0]), np.ones(2))
"""On drug, a holiday of 40 days, and on drug again."""
SURE = {"cells_per_unit": 1e13, "wander_sd": 1e-6, "noise_sd": 1e-3, "attenuation_rate": 0.02, "recovery_rate": 0.03}
"""So many cells that chance is nothing, and no wander."""


def seen_on(day: np.ndarray) -> Case:
    """A patient on the schedule `ON_OFF`, seen on these days."""
    one = SERIES._replace(
        day=day, burden=np.full(len(day), 5.0), censoring=np.zeros(len(day), int), schedules={"drug": ON_OFF}
    )
    return case(pad([one], pack="clinical"), 0, counted=False)


curve = jax.jit(follow, static_argnums=2)


def level(values: dict[str, float], one: Case) -> np.ndarray:
    """The log burden at the visits."""
    real = {name: jnp.asarray(value) for name, value in values.items()}
    return np.asarray(curve(real, one, 1.0).level)[np.asarray(one.seen)]


@pytest.mark.slow
@pytest.mark.ci
@pytest.mark.parametrize("variant", [*NEW, *(pytest.param(old, marks=pytest.mark.slow) for old in ("spr", "sr", "sp"))])
def test_the_posterior_is_finite_where_the_prior_lies(variant: str) -> None:
    target = Target(variant, "clinical", "psa", 1.0)
    one = case(pad([SERIES], pack="clinical"), 0, counted=False)
    about = reference(target, one)
    points = about.location + about.scale * np.random.default_rng(1).standard_normal((16, len(about.location)))
    energy = flat_potential(target)
    for part in jax.jit(jax.vmap(jax.value_and_grad(lambda at: energy(one, at))))(jnp.asarray(points)):
        assert np.all(np.isfinite(part))


def test_without_a_boost_the_secretome_is_not_heard() -> None:
    """The curve of `spr`, but for steps cut finer; with a boost it is another."""
    one, values = seen_on(np.arange(0.0, 301.0, 4.0)), fakes.of_variant("spr-tis")
    spr = level({name: value for name, value in values.items() if not name.startswith("secretome")}, one)
    assert level(values | {"secretome_boost": 0.0}, one) == pytest.approx(spr, abs=5e-3)
    assert np.abs(level(values | {"secretome_boost": 1.0}, one) - spr).max() > 0.05


def test_without_attenuation_it_is_sr() -> None:
    one, values = seen_on(np.arange(0.0, 301.0, 20.0)), fakes.of_variant("attenuation")
    sr = level({name: values[name] for name in sampled(load_pack("clinical", "psa"), "sr")}, one)
    assert level(values | {"attenuation_rate": 0.0}, one) == pytest.approx(sr, abs=1e-12)
    assert np.abs(level(values, one) - sr).max() > 0.5


def test_where_persisters_shed_as_much_as_others_it_is_spr() -> None:
    one, values = seen_on(np.arange(0.0, 301.0, 20.0)), fakes.of_variant("spr-shed")
    spr = level({name: values[name] for name in sampled(load_pack("clinical", "psa"), "spr")}, one)
    assert level(values | {"shed_p": 1.0, "effect_half": np.inf}, one) == pytest.approx(spr, abs=1e-12)
    assert np.abs(level(values | {"shed_p": 0.1}, one) - spr).max() > 0.5


def test_the_first_burden_is_what_its_cells_shed() -> None:
    """The curve begins at burden_0, and the cells are those of `spr` over the share of them that is seen."""
    values = fakes.of_variant("spr-shed") | {"persister_0": 0.3, "shed_p": 0.2}
    assert level(values, seen_on(np.array([0.0, 20.0])))[0] == pytest.approx(np.log(values["burden_0"]), abs=1e-5)
    start, all_seen = patient(values, 1.0), patient(values | {"shed_p": 1.0}, 1.0)
    assert float(start.cells.total / all_seen.cells.total) == pytest.approx(1.0 / (1.0 - 0.3 * 0.8))


def test_the_flux_at_half_signal_is_a_share_of_the_first() -> None:
    values = fakes.of_variant("spr-tis")
    start = patient(values, 1.0)
    first = float(start.rates.kill_s * start.cells.sensitive)
    assert float(start.rates.secretome_half) == pytest.approx(values["secretome_share"] * first)
    assert float(derive(values, 1.0)["secretome_half"]) == pytest.approx(values["secretome_share"] * first)
    for variant in ("spr", "sr", "sp", "attenuation"):
        assert "secretome_half" not in derive(fakes.of_variant(variant), 1.0)


def test_the_secretome_at_the_steps_of_a_fit(monkeypatch) -> None:
    """A month's steps against those of half a day, for prior draws; seen: median 0.2 %, 95th percentile 3 %, worst 7 %."""
    rng, pack, day = np.random.default_rng(0), load_pack("clinical", "psa"), np.arange(0.0, 301.0, 30.0)
    entries = pack.every
    drawn = {name: quantile(entries[name], rng.uniform(1e-6, 1 - 1e-6, 64)) for name in sampled(pack, "spr-tis")}
    drawn["settled_burden"] = np.maximum(drawn["settled_burden"], drawn["burden_0"])

    def found(step: float) -> np.ndarray:
        monkeypatch.setitem(cohort.MAX_STEP_DAYS, "clinical", step)
        return np.asarray(trace_curves(drawn, seen_on(day), 1.0).level)[:, : len(day)]

    off = np.abs(found(30.0) - found(0.5)).max(axis=1)
    assert np.median(off) < 0.01
    assert np.quantile(off, 0.95) < 0.06


LOUD = Rates(
    birth_s=0.11, death_s=0.1, kill_s=0.08, birth_r=0.13, death_r=0.12, kill_r=0.01, secretome_boost=0.4,
    secretome_half=1e4, onset_days=3.0, washout_days=3.0,
)  # fmt: skip
"""A clone that the drug shrinks, but for the signal of the S that it kills."""


@pytest.mark.law
def test_the_law_of_the_clone_hears_the_secretome() -> None:
    """So many clones die out as its law says with the signal along the path of S; without it too many would."""
    steps, number = Grid(np.ones(60), np.ones(60)), 20_000
    level, founders = relax(steps, LOUD.onset_days, LOUD.washout_days), 8.0
    drawn = np.random.default_rng(2).poisson(founders, number).astype(float)
    start, last = Cells(1e6, 0.0, founders), np.arange(60) == 59
    key = jax.random.key(7)
    path = simulate(key, start._replace(resistant=drawn), LOUD, steps, level, record=last, max_step=1.0)
    gone, end = np.asarray(path.resistant)[:, 0] == 0, np.asarray(path.resistant)[:, 0].mean()

    def none(rates: Rates) -> float:
        law = along(start, mean_field(start, rates, steps.length, level), rates, jnp.asarray(steps.length), level)
        return float(np.exp(law.log_none))

    laws.check_share(gone, none(LOUD), what="no clone", slack=2e-3)
    laws.must_fail(lambda: laws.check_share(gone, none(LOUD._replace(secretome_boost=0.36)), slack=2e-3))
    assert end == pytest.approx(float(mean_field(start, LOUD, steps.length, level).resistant[-1]), rel=0.05)


@pytest.mark.slow
@pytest.mark.ci
def test_the_particle_filter_honours_the_fading_kill() -> None:
    values = fakes.of_variant("attenuation") | {"cells_per_unit": 1e15, "wander_sd": 0.3, "noise_sd": 0.2}
    one = case(pad([SERIES], pack="clinical"), 0, counted=False)
    row = {name: np.array([value]) for name, value in values.items()}
    fast = float(follow({name: jnp.asarray(value) for name, value in values.items()}, one, 1.0).pointwise.sum())
    assert particles.log_likelihood(0, "A", row, one, 1.0, 2000)[0] == pytest.approx(fast, abs=0.25)
    never = particles.log_likelihood(0, "A", row | {"attenuation_rate": np.zeros(1)}, one, 1.0, 2000)[0]
    assert abs(never - fast) > 1.0


@pytest.mark.slow
@pytest.mark.ci
def test_the_particle_filter_sees_what_is_shed() -> None:
    values = fakes.of_variant("spr-shed") | {"cells_per_unit": 1e15, "wander_sd": 0.3, "noise_sd": 0.2, "shed_p": 0.05}
    values |= {"tolerance_drug": 0.01, "reversion_block": 0.99}
    one = case(pad([SERIES], pack="clinical"), 0, counted=False)
    row = {name: np.array([value]) for name, value in values.items()}
    fast = float(follow({name: jnp.asarray(value) for name, value in values.items()}, one, 1.0).pointwise.sum())
    assert particles.log_likelihood(0, "A", row, one, 1.0, 2000)[0] == pytest.approx(fast, abs=0.25)
    all_seen = particles.log_likelihood(0, "A", row | {"shed_p": np.ones(1)}, one, 1.0, 2000)[0]
    assert abs(all_seen - fast) > 1.0


def test_a_forecast_shows_what_is_shed() -> None:
    """From a landmark off drug on: the curve of one long fit; of the cells themselves it would be another."""
    values = fakes.of_variant("spr-shed") | SURE | {"shed_p": 0.05, "tolerance_drug": 0.02, "reversion": 0.02}
    row = {name: np.full(8, value) for name, value in values.items()}
    at = landmark(row, seen_on(np.array([0.0, 40.0, 85.0])), (85.0, 5.0), OBSERVABLES["psa"], 5.0)
    look, plan, rule = Look(85.0, 200.0, 20.0, 20.0), parse_plan("on 5, off 40, on"), rule_for("psa", None)
    later = np.arange(85.0, 286.0, 20.0)
    whole = level(values, seen_on(np.append([0.0, 40.0], later)))[2:]

    def gap(mark: Landmark) -> float:
        one = next(futures.run(0, "A", mark, ON_OFF, [plan], look, rule, 1))
        return float(np.abs(np.log(one.burden[:, 2]) - whole).max())

    assert gap(at) < 0.03  # the effect goes within one step of 20 days
    assert gap(at._replace(values=at.values | {"shed_p": np.ones(8)})) > 0.5
    given = Schedule(np.array([0.0, 130.0]), np.array([90.0, 400.0]), np.ones(2))
    path = ahead.ahead(0, "A", at, given, later[1:])
    np.testing.assert_allclose(np.median(path.level, axis=0), whole[1:], atol=0.03)


def test_a_rule_looks_at_what_is_shed() -> None:
    """Half of 100 cells are P and shed a tenth: 55 are seen, so a rule that stops under 60 stops, which all 100 would not."""
    scale = Scale(np.zeros(2), 1.0, False, np.array([0.1, 1.0]))
    still = Visit(Chance(*(np.zeros(2) for _ in range(3))), np.zeros(2, bool), 0.0, 1.0, True, True, False)
    rule = parse_plan("adaptive 60/90 absolute").rule
    cells = Cells(np.full(2, 40.0), np.full(2, 50.0), np.full(2, 10.0))
    seen = look(watch(scale, (judge(RULES["psa"], (2,), 1),), rule), cells, still)
    np.testing.assert_array_equal(np.asarray(seen.given(1.0, True, 0.0)), [0.0, 1.0])


def test_a_forecast_goes_on_from_the_potency_reached() -> None:
    """Landmark on day 85, the rest of the drug, the holiday and the restart: the curve of one long fit."""
    values = fakes.of_variant("attenuation") | SURE
    row = {name: np.full(8, value) for name, value in values.items()}
    at = landmark(row, seen_on(np.array([0.0, 40.0, 85.0])), (85.0, 5.0), OBSERVABLES["psa"], 5.0)
    look, plan, rule = Look(85.0, 200.0, 20.0, 20.0), parse_plan("on 5, off 40, on"), rule_for("psa", None)
    later = np.arange(85.0, 286.0, 20.0)
    whole = level(values, seen_on(np.append([0.0, 40.0], later)))[2:]

    def gap(mark: Landmark) -> float:
        one = next(futures.run(0, "A", mark, ON_OFF, [plan], look, rule, 1))
        return float(np.abs(np.log(one.burden[:, 2]) - whole).max())

    assert 0.1 < at.potency[0] < 0.5
    assert gap(at) < 0.03  # the effect goes within one step of 20 days
    assert gap(at._replace(potency=np.ones(8))) > 0.1


@pytest.fixture(scope="module", params=NEW)
def made(request):
    table = Table((SERIES._replace(patient_id="P01"),), (), "x")
    values = {"P01": fakes.of_variant(request.param)}
    return request.param, fakes.posterior(table, values, chains=2, draws=50, model=request.param)


@pytest.mark.slow
@pytest.mark.ci
def test_the_names_go_through_the_files(made, tmp_path) -> None:
    """Posterior, prior, JSON, forecast (also by a rule) and page of a fit of each variant."""
    variant, fit = made
    own = {
        "spr-tis": {"secretome_boost", "secretome_share"},
        "spr-shed": {"shed_p", "effect_half"},
        "attenuation": {"attenuation_rate", "recovery_rate"},
    }
    store.save(fit, tmp_path / "fit.nc")
    fit = store.load(tmp_path / "fit.nc", "fit")
    mine, others = own[variant], set.union(*own.values()) - own[variant]
    for group in ("posterior", "prior"):
        assert mine <= set(fit[group].data_vars)
        assert not others & set(fit[group].data_vars)
    assert ("secretome_half" in fit["posterior"]) == (variant == "spr-tis")
    assert ("persister_0" in fit["posterior"]) == (variant != "attenuation")
    rates = health.as_json(fit)["P01"]["rates"]
    assert mine <= set(rates)
    assert all(rates[name]["unit"] for name in mine)
    future = forecast(fit, ask(("on", "pause=off 60, on", "adaptive 0.5/1.0"), 120.0, draws=10, replicates=1))
    assert set(store.attribute(future, "summary")["P01"]["benefit"]) == {"pause", "adaptive 0.5/1.0"}
    text = page.build(fit, future).html
    assert all(f"<code>{name}</code>" in text for name in mine)
    assert f"This fit is of the variant {variant}" in text
    json.dumps(store.attribute(future, "summary"))


def test_no_variant_samples_what_it_has_not() -> None:
    pack = load_pack("clinical", "psa")
    new = {"secretome_boost", "secretome_share", "attenuation_rate", "recovery_rate", "shed_p", "effect_half"}
    assert {name: new & set(sampled(pack, name)) for name in VARIANTS} == {
        "spr": set(),
        "sr": set(),
        "sp": set(),
        "spr-tis": {"secretome_boost", "secretome_share"},
        "spr-shed": {"shed_p", "effect_half"},
        "attenuation": {"attenuation_rate", "recovery_rate"},
    }


@pytest.mark.parametrize(("pack", "kind"), [("clinical", "volume"), ("clinical", "diameter"), ("in-vitro", "one")])
def test_what_is_no_marker_is_shed_by_none(pack: str, kind: str) -> None:
    assert not {"shed_p", "effect_half"} & set(load_pack(pack, kind).entries)
    with pytest.raises(UsageError, match="for a marker that cells shed"):
        sampled(load_pack(pack, kind), "spr-shed")
