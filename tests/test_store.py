"""Result files: what goes in comes out, whole or not at all, and a wrong file is answered with a sentence."""

from __future__ import annotations

import arviz as az
import numpy as np
import pytest
import xarray as xr

import fakes
from persist.errors import StoreError
from persist.inference import store
from persist.inference.posterior import patients, series, thinned
from persist.records.table import read


@pytest.fixture(scope="module")
def table():
    return read(fakes.DATA / "burden.csv", fakes.DATA / "treatments.csv", observable="psa", patients=("P01", "P03"))


@pytest.fixture(scope="module")
def planted(table):
    return fakes.posterior(table, {name: fakes.truth(name) for name in ("P01", "P03")})


@pytest.fixture(scope="module")
def kept(planted, tmp_path_factory):
    path = tmp_path_factory.mktemp("store") / "fit.nc"
    store.save(planted, path)
    return path


def small(kind: str = "forecast"):
    """A result with no more than its kind must have."""
    groups = {
        group: store.dataset({name: (("n",), np.arange(3.0)) for name in store.VARIABLES[group]}, {"n": [0, 1, 2]})
        for group in store.GROUPS[kind]
    }
    about = {name: {} for name in store.ATTRIBUTES[kind]}
    return store.tree(kind, groups, about | {"settings": {"a": [1, None]}, "seconds": 2.5})


def test_what_goes_in_comes_out(planted, kept) -> None:
    xr.testing.assert_identical(store.load(kept, "fit"), planted)


def test_attributes_come_back_as_they_were(tmp_path) -> None:
    store.save(small(), tmp_path / "x.nc")
    back = store.load(tmp_path / "x.nc", "forecast")
    assert store.attribute(back, "settings") == {"a": [1, None]}
    assert back.attrs["seconds"] == 2.5
    with pytest.raises(StoreError, match="notes"):
        store.attribute(back, "notes")


def test_a_fit_holds_the_series_it_was_made_from(table, kept) -> None:
    fit = store.load(kept, "fit")
    assert patients(fit) == ["P01", "P03"]
    for back, one in zip(series(fit), table.series, strict=True):
        np.testing.assert_array_equal(back.day, one.day)
        np.testing.assert_array_equal(back.burden, one.burden)
        np.testing.assert_array_equal(back.censoring, one.censoring)
        for given, asked in zip(*(next(iter(s.schedules.values())) for s in (back, one)), strict=True):
            np.testing.assert_array_equal(given, asked)


def test_thinned_draws_come_from_all_chains(kept) -> None:
    fit = store.load(kept, "fit")
    values = fit["posterior"].to_dataset().sel(patient="P03")
    few, all_draws = thinned(fit, "P03", 10), thinned(fit, "P03", 10_000)
    assert {len(draws) for draws in few.values()} == {10}
    assert "birth_s" not in few  # derived rates follow from the sampled ones
    np.testing.assert_array_equal(all_draws["decline_s"], values["decline_s"].values.ravel())
    halves = [np.isin(few["decline_s"], values["decline_s"].sel(chain=chain).values).sum() for chain in (0, 1)]
    assert halves == [5, 5]


def test_a_clone_that_died_out_in_every_draw_stays_dead(kept) -> None:
    """Its size is dropped only where it is no matter of chance (1 throughout): without it R would be its mean."""
    fit = store.load(kept, "fit")
    values = fit["posterior"].to_dataset()
    for size, told in ((0.0, True), (1.0, False)):
        fit["posterior"] = values.assign(clone_size=values["decline_s"] * 0.0 + size)
        assert ("clone_size" in thinned(fit, "P03", 10)) is told


def test_arviz_reads_a_fit(kept) -> None:
    summary = az.summary(store.load(kept, "fit"), var_names=["net_growth_s", "decline_s"], kind="diagnostics")
    assert len(summary) == 4
    assert {"ess_bulk", "r_hat"} <= set(summary.columns)


def test_a_file_says_what_it_was_made_of(kept, table) -> None:
    made = store.attribute(store.load(kept), "provenance")
    assert made["data_sha256"] == table.sha256
    assert {"persist", "jax", "numpyro"} <= set(made["versions"])


def test_a_write_that_fails_leaves_what_was_there(monkeypatch, tmp_path) -> None:
    path = tmp_path / "fit.nc"
    path.write_text("before")

    def half(self, where, **_):
        with open(where, "w", encoding="utf-8") as file:
            file.write("half")
        raise OSError("disk full")

    monkeypatch.setattr(xr.DataTree, "to_netcdf", half)
    with pytest.raises(OSError, match="disk full"):
        store.save(small(), path)
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_is_written_over_as_a_whole(tmp_path) -> None:
    path = tmp_path / "x.nc"
    path.write_text("before")
    store.save(small(), path)
    assert store.load(path).attrs["persist_kind"] == "forecast"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_stays_and_the_file_it_leads_to_is_written(tmp_path) -> None:
    link, target = tmp_path / "link.nc", tmp_path / "there" / "x.nc"
    target.parent.mkdir()
    link.symlink_to(target)
    store.save(small(), link)
    assert link.is_symlink()
    assert list(target.parent.iterdir()) == [target]
    assert store.load(target).attrs["persist_kind"] == "forecast"


def refused(path, kind=None) -> str:
    with pytest.raises(StoreError) as caught:
        store.load(path, kind)
    assert caught.value.where == str(path)
    assert caught.value.remedy
    return str(caught.value)


def test_a_missing_file(tmp_path) -> None:
    assert "no such file" in refused(tmp_path / "none.nc")


def test_a_file_that_is_no_netcdf(tmp_path) -> None:
    path = tmp_path / "table.nc"
    path.write_text("patient_id,day\n")
    assert "cannot be read as netCDF" in refused(path)


def test_a_file_cut_short(kept, tmp_path) -> None:
    path = tmp_path / "cut.nc"
    path.write_bytes(kept.read_bytes()[: kept.stat().st_size // 2])
    assert "cannot be read as netCDF" in refused(path)


def test_a_netcdf_of_another_program(tmp_path) -> None:
    path = tmp_path / "weather.nc"
    xr.Dataset({"rain": ("day", [1.0])}).to_netcdf(path, engine=store.ENGINE)
    assert "not one of persist's" in refused(path)


@pytest.mark.parametrize(("schema", "remedy"), [(0, "make it again"), (99, "use the version of persist")])
def test_another_schema(tmp_path, schema: int, remedy: str) -> None:
    path, made = tmp_path / "x.nc", small()
    made.attrs["persist_schema"] = schema
    store.save(made, path)
    assert remedy in refused(path)


def test_a_schema_that_is_no_number(tmp_path) -> None:
    path, made = tmp_path / "x.nc", small()
    made.attrs["persist_schema"] = "one"
    store.save(made, path)
    assert "no number" in refused(path)


def test_another_kind(tmp_path) -> None:
    path = tmp_path / "x.nc"
    store.save(small(), path)
    assert 'it holds a "forecast", a "fit" is needed' in refused(path, "fit")


def test_a_parameter_that_is_missing(planted, tmp_path) -> None:
    made = planted.copy()
    del made["posterior"]["decline_s"]
    store.save(made, tmp_path / "x.nc")
    assert "posterior lacks decline_s" in refused(tmp_path / "x.nc", "fit")


def test_an_attribute_that_is_no_json() -> None:
    made = small()
    made.attrs["settings"] = "{"
    with pytest.raises(StoreError, match="settings"):
        store.attribute(made, "settings")


def test_a_group_that_is_missing(tmp_path) -> None:
    path, made = tmp_path / "x.nc", small()
    last = store.GROUPS["forecast"][-1]
    store.save(made.filter(lambda node: node.name != last), path)
    assert f"lacks the group {last}" in refused(path)
