"""Whole fits, short ones: a patient's numbers are its own, and a broken run goes on as if it had not been broken."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import jax
import numpy as np
import pytest

from persist.errors import DataError, FitError, PrecisionError, UsageError
from persist.inference import fit as fitting
from persist.inference import one_by_one, posterior, store
from persist.inference.curve import DERIVED
from persist.inference.fate import SIZE
from persist.inference.fit import fit
from persist.inference.model import sampled
from persist.inference.priors import load_pack, quantile
from persist.inference.sampler import Draws
from persist.inference.settings import Settings
from persist.inference.walkers import WALKERS
from persist.types import Schedule, Series, Table

SHORT = Settings(chains=2, warmup=160, draws=160, doublings=0)
SHAPE = (SHORT.chains, SHORT.draws)
OWN = ("posterior", "sample_stats", "log_likelihood", "posterior_predictive", "prior", "fitted", "constant_data")
"""Groups of a fit whose numbers belong to one patient."""


def simulated(name: str, decline: float) -> Series:
    """A patient who answers by ``decline`` a day, grows off drug, and answers again."""
    day = np.arange(0.0, 200.0, 14.0)
    on = np.minimum(day, 84.0) + np.maximum(day - 140.0, 0.0)
    error = 0.08 * np.random.default_rng(len(name)).standard_normal(len(day))
    burden = 12.0 * np.exp(-decline * on + 0.012 * (day - on) + error)
    schedule = Schedule(np.array([0.0, 140.0]), np.array([84.0, np.inf]), np.ones(2))
    return Series(name, "psa", "ng/mL", day, burden, np.zeros(len(day), int), {"drug": schedule})


A, B = simulated("A", 0.03), simulated("BB", 0.015)


def table(*series: Series) -> Table:
    return Table(series, (), "-".join(one.patient_id for one in series))


def same(one, other, patient: str) -> None:
    """All numbers of a patient are exactly the same in two fits."""
    for group in OWN:
        mine, yours = (tree[group].to_dataset().sel(patient=patient) for tree in (one, other))
        assert set(mine.data_vars) == set(yours.data_vars)
        for name in mine.data_vars:
            np.testing.assert_array_equal(mine[name], yours[name], err_msg=f"{group}.{name}")


@pytest.fixture(scope="module")
def both():
    return fit(table(A, B), SHORT)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with A's finished draws (the medians of the priors, made up) as a run of `SHORT` would leave it."""
    where, pack = tmp_path_factory.mktemp("partial"), load_pack("clinical", "psa")
    entries = pack.every
    values = {name: quantile(entries[name], np.full(SHAPE, 0.5)) for name in sampled(pack, "spr")}
    stats = dict.fromkeys(
        ("lp", "energy", "n_steps", "acceptance_rate", "step_size", "lost", "walker"), np.zeros(SHAPE)
    )
    draws = Draws(values, stats | {"diverging": np.zeros(SHAPE, bool)}, np.array([-50.0, -51.0]), 1.0)
    one_by_one.Kept(where, SHORT, fitting.members(table(A), SHORT)[0]).write(draws)
    return where, draws


def never(*_args, **_rest):
    raise AssertionError("sampled again")


def test_finished_patients_are_taken_from_the_folder(folder, monkeypatch) -> None:
    monkeypatch.setattr(one_by_one, "draw", never)
    where, draws = folder
    found = fit(table(A), SHORT, partial=where)
    np.testing.assert_array_equal(found["posterior"]["decline_s"][..., 0], draws.values["decline_s"])
    assert found["sample_stats"]["diverging"].dtype == bool
    np.testing.assert_array_equal(found["constant_data"]["log_evidence"].sel(patient="A"), draws.log_evidence)
    assert found.attrs["seconds"] == 1.0


OTHER = [
    (A, SHORT._replace(seed=1)),
    (A, SHORT._replace(draws=320)),
    (A, SHORT._replace(doublings=1)),
    (A, SHORT._replace(model="sr")),
    (A._replace(burden=A.burden * 1.01), SHORT),
    (A._replace(censoring=np.append(A.censoring[:-1], -1)), SHORT),
    (A._replace(schedules={"drug": Schedule(np.zeros(1), np.array([84.0]), np.ones(1))}), SHORT),
    (A._replace(patient_id="C"), SHORT),
]
KINDS = ("seed", "draws", "doublings", "model", "burden", "censoring", "treatment", "patient")


@pytest.mark.parametrize(("series", "settings"), OTHER, ids=KINDS)
def test_draws_of_another_run_are_not_taken(folder, monkeypatch, series, settings) -> None:
    monkeypatch.setattr(one_by_one, "draw", never)
    with pytest.raises(AssertionError, match="sampled again"):
        fit(table(series), settings, partial=folder[0])


def test_draws_under_other_priors_are_not_taken(folder, monkeypatch) -> None:
    pack = load_pack("clinical", "psa")
    changed = pack._replace(entries=pack.entries | {"reversion": pack.entries["reversion"]._replace(high=0.4)})
    monkeypatch.setattr(one_by_one, "draw", never)
    monkeypatch.setattr(one_by_one.resume, "load_pack", lambda *_: changed)
    with pytest.raises(AssertionError, match="sampled again"):
        fit(table(A), SHORT, partial=folder[0])


def test_draws_of_other_code_are_not_taken(folder, monkeypatch) -> None:
    monkeypatch.setattr(one_by_one, "draw", never)
    monkeypatch.setattr(one_by_one.resume, "source", lambda: "another")
    with pytest.raises(AssertionError, match="sampled again"):
        fit(table(A), SHORT, partial=folder[0])


@pytest.mark.parametrize("spoil", ["empty", "cut", "text", "flipped"])
def test_a_damaged_file_is_not_taken(folder, monkeypatch, tmp_path, spoil: str) -> None:
    kept = next(folder[0].glob("*.npz"))
    whole = kept.read_bytes()
    middle = len(whole) // 2
    damaged = {
        "empty": b"",
        "cut": whole[:middle],
        "text": b"patient_id,day\n",
        "flipped": whole[:middle] + bytes(255 - byte for byte in whole[middle : middle + 64]) + whole[middle + 64 :],
    }[spoil]
    (tmp_path / kept.name).write_bytes(damaged)
    monkeypatch.setattr(one_by_one, "draw", never)
    with pytest.raises(AssertionError, match="sampled again"):
        fit(table(A), SHORT, partial=tmp_path)


def test_a_patient_that_cannot_be_fitted_is_named_and_the_others_are_fitted(folder, monkeypatch) -> None:
    """A's draws are kept, BB has no density anywhere."""

    def nowhere(*_args, **_rest):
        raise FitError("no starting point", where="starts", remedy="look at the values")

    monkeypatch.setattr(one_by_one, "draw", nowhere)
    found = fit(table(B, A), SHORT, partial=folder[0])
    assert posterior.patients(found) == ["A"]
    assert store.attribute(found, "unfit") == {"BB": "no starting point"}
    assert store.attribute(found, "everyone") == ["BB", "A"]
    with pytest.raises(FitError, match="patient BB: starts: no starting point; look at the values"):
        fit(table(B), SHORT)


def test_a_share_has_its_patients_and_knows_of_the_others(folder, monkeypatch) -> None:
    monkeypatch.setattr(one_by_one, "draw", never)
    found = fit(table(B, A), SHORT, partial=folder[0], chunk=(2, 2))
    assert posterior.patients(found) == ["A"]
    assert store.attribute(found, "everyone") == ["BB", "A"]
    with pytest.raises(UsageError, match="2 patients have no 3 shares"):
        fit(table(B, A), SHORT, chunk=(3, 3))


def test_the_clone_has_a_size_in_all_patients_of_a_file_or_in_none() -> None:
    """Where it is no matter of chance it is as large as expected."""
    plain = Draws({"decline_s": np.full(SHAPE, -0.03)}, {}, np.zeros(2), 1.0)
    sized = plain._replace(values=plain.values | {SIZE: np.full(SHAPE, 0.4)})
    assert fitting._alike([plain, plain]) == [plain, plain]
    one, other = fitting._alike([plain, sized])
    np.testing.assert_array_equal(one.values[SIZE], np.ones(SHAPE))
    np.testing.assert_array_equal(other.values[SIZE], sized.values[SIZE])
    assert list(one.values) == [SIZE, "decline_s"]


def test_what_cannot_be_fitted_is_said_before_sampling(monkeypatch) -> None:
    monkeypatch.setattr(one_by_one, "draw", never)
    with pytest.raises(UsageError, match=r'no model is called "magic"'):
        fit(table(A), SHORT._replace(model="magic"))
    with pytest.raises(DataError, match="never given"):
        fit(table(A), SHORT._replace(drug="other"))
    with jax.enable_x64(False), pytest.raises(PrecisionError):
        fit(table(A), SHORT)


@pytest.mark.slow
@pytest.mark.ci
def test_a_fit_has_all_its_numbers(both) -> None:
    names = set(sampled(load_pack("clinical", "psa"), "spr")) | set(DERIVED)  # of so many cells, the clone is no chance
    names = set(sampled(load_pack("clinical", "psa"), "spr")) | set(DERIVED)
    assert set(both["posterior"].data_vars) == names
    assert both["posterior"].sizes == {"chain": 2, "draw": 160, "patient": 2}
    assert all(np.isfinite(both["posterior"][name]).all() for name in names)
    assert set(store.GROUPS["fit"]) <= set(both.children)
    stats = both["sample_stats"].to_dataset()
    for name in ("lp", "energy", "n_steps", "acceptance_rate", "step_size", "lost", "walker", "diverging"):
        assert np.isfinite(stats[name]).all()
    assert (stats["walker"] == np.repeat(np.arange(WALKERS), 160 // WALKERS)[None, :, None]).all()
    assert np.isfinite(both["constant_data"]["log_evidence"]).all()
    assert both["constant_data"]["log_evidence"].sizes == {"patient": 2, "chain": 2}


@pytest.mark.slow
@pytest.mark.ci
def test_neither_company_nor_order_changes_a_patient(both, tmp_path) -> None:
    """The fit of one leaves its draws; a second run in another order takes those and makes the other's again."""
    alone = fit(table(A), SHORT, partial=tmp_path)
    same(both, alone, "A")
    swapped = fit(table(B, A), SHORT, partial=tmp_path)
    same(both, swapped, "A")
    same(both, swapped, "BB")


PROGRAM = """
import sys, jax
jax.config.update("jax_enable_x64", True)
import test_fit
from persist.inference import store
from persist.inference.fit import fit
store.save(fit(test_fit.table(test_fit.A, test_fit.B), test_fit.SHORT, partial=sys.argv[1]), sys.argv[2])
"""


DEVICES = """
from persist.inference import walkers
print(len({at for _, (_, at, *_) in walkers._PROGRAMS}))
"""


@pytest.mark.slow
@pytest.mark.ci
def test_two_devices_share_the_patients_and_give_the_same_numbers(both, tmp_path) -> None:
    here = Path(__file__).resolve().parent
    paths = os.pathsep.join([str(here), str(here.parent)])
    flags = {"XLA_FLAGS": "--xla_force_host_platform_device_count=2", "PYTHONPATH": paths}
    out = tmp_path / "fit.nc"
    command = [sys.executable, "-c", PROGRAM + DEVICES, str(tmp_path / "partial"), str(out)]
    run = subprocess.run(command, env=os.environ | flags, check=True, timeout=600, capture_output=True, text=True)
    assert run.stdout.split() == ["2"]
    shared = store.load(out, "fit")
    same(both, shared, "A")
    same(both, shared, "BB")


@pytest.mark.slow
@pytest.mark.ci
def test_dask_workers_give_the_same_numbers(both) -> None:
    """They begin with JAX as it comes, in float32."""
    pytest.importorskip("distributed", reason="the extra dask is not installed")
    found = fit(table(A, B), SHORT, scheduler="local")
    same(both, found, "A")
    same(both, found, "BB")


@pytest.mark.slow
@pytest.mark.ci
def test_a_killed_run_goes_on_as_if_it_had_not_been(both, tmp_path) -> None:
    here = Path(__file__).resolve().parent
    where, out = tmp_path / "partial", tmp_path / "fit.nc"
    cache = {"JAX_COMPILATION_CACHE_DIR": str(tmp_path / "cache"), "JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0"}
    paths = os.pathsep.join([str(here), str(here.parent)])
    command = [sys.executable, "-c", PROGRAM, str(where), str(out)]
    run = subprocess.Popen(command, env=os.environ | cache | {"PYTHONPATH": paths})
    until = time.monotonic() + 300.0
    while not list(where.glob("*[0-9a-f].npz")):
        assert run.poll() is None, "the run ended before its first patient was kept"
        assert time.monotonic() < until
        time.sleep(0.02)
    run.send_signal(signal.SIGKILL)
    run.wait()
    assert not out.exists()
    kept = [path for path in where.iterdir() if not path.name.endswith(".tmp.npz")]
    assert len(kept) == 1
    before = kept[0].stat().st_mtime_ns
    subprocess.run(command, env=os.environ | cache | {"PYTHONPATH": paths}, check=True, timeout=300)
    assert kept[0].stat().st_mtime_ns == before
    resumed = store.load(out, "fit")
    same(both, resumed, "A")
    same(both, resumed, "BB")


def test_a_fit_works_where_arviz_was_imported_first() -> None:
    """ArviZ leaves a lazy stand-in for numpyro; parts imported through it alone come incomplete."""
    told = "import arviz, persist; persist.fit; import numpyro.distributions as d; print(hasattr(d, 'distribution'))"
    run = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "True"
