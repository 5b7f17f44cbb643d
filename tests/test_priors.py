"""The priors file: ranges hold what they say, both readings of an entry agree, and each pack passes its gate."""

from __future__ import annotations

import jax
import numpy as np
import pytest

import laws
from persist import keys
from persist.errors import RatesError
from persist.inference import priors
from persist.inference.model import VARIANTS, sampled
from persist.inference.priors import distribution, known, load_pack, log_normal, packs, quantile
from persist.validation.gate import gate

SCALES = ("psa", "volume", "diameter", "other", "one")


def entries() -> dict[str, priors.Prior]:
    """Every entry of the file by pack and name."""
    found = {}
    for pack in packs():
        for scale in SCALES:
            loaded = load_pack(pack, scale)
            found |= {f"{pack}.{name}": prior for name, prior in loaded.entries.items() if scale == "psa"}
            found |= {f"{pack}.{scale}.{name}": p for name, p in loaded.entries.items() if scale == "diameter"}
            if loaded.cells_per_unit is not None:
                found[f"cells.{scale}"] = loaded.cells_per_unit
    return found


ENTRIES = entries()
every_entry = pytest.mark.parametrize("prior", ENTRIES.values(), ids=ENTRIES)


@every_entry
def test_nine_tenths_lie_in_the_range(prior: priors.Prior) -> None:
    """A centre shifts the range on the scale on which the prior is symmetric, and keeps its width."""
    if prior.kind == "half-normal":
        assert quantile(prior, np.array(0.9)) == pytest.approx(prior.high)
        return
    ends = np.sort(np.abs(quantile(prior, np.array([0.05, 0.95]))))
    if prior.centre is None:
        assert ends == pytest.approx([prior.low, prior.high], rel=1e-9)
    width = [prior._link(high) - prior._link(low) for low, high in ((prior.low, prior.high), ends)]
    assert width[1] == pytest.approx(width[0], rel=1e-9)


@every_entry
def test_the_centre_is_the_median(prior: priors.Prior) -> None:
    middle = abs(float(quantile(prior, np.array(0.5))))
    assert prior.low < middle < prior.high
    if prior.centre is not None:
        assert middle == pytest.approx(prior.centre, rel=1e-9)


@pytest.mark.law
@every_entry
def test_both_readings_of_an_entry_are_one_law(prior: priors.Prior) -> None:
    """Draws of `distribution` lie below `quantile` as often as they should."""
    drawn = np.asarray(distribution(prior).sample(keys.key(3, prior.kind), (40_000,)))
    for share in (0.05, 0.3, 0.5, 0.95):
        laws.check_share(drawn <= quantile(prior, np.array(share)), share, what=f"draws under the {share:.0%} quantile")
    wrong = quantile(prior, np.array(0.5 + 0.05))
    laws.must_fail(lambda: laws.check_share(drawn <= wrong, 0.5))


@pytest.mark.parametrize(("pack", "scale"), [("clinical", "psa"), ("clinical", "diameter"), ("in-vitro", "one")])
def test_a_tumour_settles_above_a_share_of_what_was_seen(pack: str, scale: str) -> None:
    """The bound moves with the unit, and the law above it is that of the file."""
    prior = load_pack(pack, scale).entries["settled_burden"]
    law = log_normal(prior, 50.0)
    levels = np.array([0.01, 0.05, 0.5, 0.95, 0.99])
    assert 0.0 < prior.lower < prior.low
    at = np.asarray(quantile(prior, levels))
    assert np.all(at > prior.lower)
    np.testing.assert_allclose(law.cdf(50.0 * at), levels, atol=1e-9)
    np.testing.assert_allclose(distribution(prior).cdf(at), levels, atol=1e-9)
    np.testing.assert_allclose(law.log_prob(50.0 * at), distribution(prior).log_prob(at) - np.log(50.0), atol=1e-9)
    assert not bool(law.support(50.0 * prior.lower * 0.999))
    assert bool(law.support(50.0 * prior.lower * 1.001))


@every_entry
def test_an_entry_says_where_it_comes_from(prior: priors.Prior) -> None:
    assert prior.source
    assert prior.unit
    assert prior.mark in "VDMA"


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_samples_what_it_needs(variant: str) -> None:
    names = sampled(load_pack("clinical", "psa"), variant)
    assert {"net_growth_s", "turnover_s", "decline_s", "burden_0", "settled_burden", "cells_per_unit"} <= set(names)
    assert not set(names) & set(VARIANTS[variant])


def test_counts_have_no_scale_to_sample() -> None:
    assert load_pack("in-vitro", "one").cells_per_unit is None


def test_diameters_have_priors_of_their_own() -> None:
    assert load_pack("clinical", "diameter").entries["wander_sd"] != load_pack("clinical", "psa").entries["wander_sd"]


GOOD = {"kind": "log-normal", "low": 1.0, "high": 2.0, "unit": "-", "mark": "A", "source": "assumed"}


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (GOOD | {"kind": "uniform"}, "uniform"),
        ({name: value for name, value in GOOD.items() if name != "low"}, "lacks low"),
        (GOOD | {"low": 2.0}, "not under high"),
    ],
)
def test_a_wrong_entry_is_named(row: dict, word: str) -> None:
    with pytest.raises(RatesError, match=f"net_growth_s.*{word}") as caught:
        priors._entry("net_growth_s", row)
    assert caught.value.where == "priors.toml"


def test_an_unknown_pack_is_answered_with_those_there_are() -> None:
    with pytest.raises(RatesError, match=r"mice.*choose clinical or in-vitro"):
        load_pack("mice", "psa")


@pytest.fixture(scope="module")
def judged():
    return {name: gate(load_pack(name, "one")) for name in packs()}


@pytest.mark.parametrize("name", packs())
def test_every_pack_passes_its_gate(judged, name: str) -> None:
    assert judged[name].ok, judged[name].problems


@pytest.mark.parametrize("name", packs())
def test_the_rival_of_persisters_passes_the_gate_too(name: str) -> None:
    """A kill that fades makes patients as likely as persisters do; one that fades within days does not."""
    pack = load_pack(name, "one")
    found = gate(pack, 2000, variant="attenuation")
    assert found.ok, found.problems
    fast = pack.entries["attenuation_rate"]._replace(low=3.0, high=9.0)
    assert not gate(pack._replace(entries=pack.entries | {"attenuation_rate": fast}), 2000, variant="attenuation").ok


def test_persisters_that_shed_little_pass_the_gate_too() -> None:
    """Of the marker, not of the cells; were nearly all S soon to turn silent, the marker would not fall as it does."""
    pack = load_pack("clinical", "psa")
    found = gate(pack, 2000, variant="spr-shed")
    assert found.ok, found.problems
    silent = pack.entries["tolerance_base"]._replace(low=0.3, high=1.0)
    assert not gate(pack._replace(entries=pack.entries | {"tolerance_base": silent}), 2000, variant="spr-shed").ok


@pytest.mark.parametrize(
    ("entry", "change", "word"),
    [
        ("decline_s", {"low": 0.001, "high": 0.007, "centre": 0.003}, "nadir in time"),
        ("resistant_0", {"low": 1e-12, "high": 1e-9}, "nadir in time"),
        ("net_growth_s", {"low": 1e-4, "high": 2e-3, "centre": 5e-4}, "nadir in time"),
        ("birth_p_share", {"kind": "log-normal", "low": 20.0, "high": 30.0}, "nadir in time"),
    ],
)
def test_a_spoiled_pack_is_rejected(entry: str, change: dict, word: str) -> None:
    pack = load_pack("clinical", "psa")
    spoiled = pack.entries | {entry: pack.entries[entry]._replace(**change)}
    found = gate(pack._replace(entries=spoiled))
    assert any(word in problem for problem in found.problems)


def test_a_gate_is_the_same_each_time(judged) -> None:
    assert gate(load_pack("clinical", "psa")) == judged["clinical"]


def test_packs_need_double_precision() -> None:
    from persist.errors import PrecisionError

    with jax.enable_x64(False), pytest.raises(PrecisionError):
        gate(load_pack("clinical", "psa"))


def test_what_is_known_of_a_line_narrows_its_prior() -> None:
    usual, told = (load_pack(name, "psa") for name in ("clinical", known("clinical", ("mutation=1e-08..1e+0",))))
    assert told.name == "clinical"
    assert (told.entries["mutation"].low, told.entries["mutation"].high) == (1e-8, 1.0)
    assert told.entries["mutation"].source == "given with the fit"
    assert {name for name, prior in told.entries.items() if prior != usual.entries[name]} == {"mutation"}
    scaled = load_pack("clinical+cells_per_unit=1e7..1e8+resistant_0=1e-9..1e-7", "psa")
    assert scaled.cells_per_unit is not None
    assert scaled.cells_per_unit.high == 1e8
    assert float(quantile(scaled.entries["resistant_0"], np.array([0.95]))[0]) == pytest.approx(1e-7, rel=1e-6)


@pytest.mark.parametrize(
    "change", ["speed=1..2", "resistant_0=0.1..2", "resistant_0=3", "mutation=2..1", "settled_burden=0.1..3"]
)
def test_ranges_that_make_no_prior_are_refused(change: str) -> None:
    with pytest.raises(RatesError, match="--prior"):
        load_pack(f"clinical+{change}", "psa")
