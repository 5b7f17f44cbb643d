"""Published trials and series of drug schedules, as questions to a model that never saw them (`retrodiction.py`).

Every entry was written down before the first run and is not to be changed in the light of one. What a publication does not say,
or we do not remember surely, is marked [A] (assumed) or [M] (remembered) beside it.
"""

from __future__ import annotations

from typing import NamedTuple

CYCLES = "off 21, on 35, " * 24
"""Three weeks off and five on, for almost four years."""


class Trial(NamedTuple):
    """One question: patients ``observable`` with a ``first`` burden, seen ``every`` so many days, under ``plans`` (first the
    reference) for ``horizon`` days, judged by ``rule``; who of them is ``eligible`` (a name of `retrodiction.ELIGIBLE`) and
    what is ``asked``; ``size`` of the arms (of a rate: of the series); the published ``truth``, a hazard ratio or a share, and
    its ``source``. ``limit``: the burden that ends the time after progression, over that then.
    """

    name: str
    observable: str
    first: float
    every: float
    plans: tuple[str, ...]
    horizon: float
    rule: str
    eligible: str
    asked: str
    size: tuple[int, ...]
    truth: float
    source: str
    limit: float = 1.2


PSA, SLD = "psa", "sld"

SCHEDULES: tuple[Trial, ...] = (
    Trial(  # scans every 8 weeks, at the ends of the times on drug; randomised after 8 weeks without progression
        "S1320, BRAF/MEK in melanoma", SLD, 80.0, 56.0, ("on", f"on 56, {CYCLES}on"), 1400.0, "recist:any-time",
        "no progression by day 56", "hazard ratio", (105, 101), 1.36, "Algazi 2020, 10.1038/s41591-020-1060-8",
    ),
    Trial(  # 8 months on, a pause to 10 ng/mL; stopped again under 4 instead of after 8 months [A]; castration resistance
        "PR.7, androgen deprivation, no metastases", PSA, 8.0, 61.0, ("on", "on 244, adaptive 4/10 absolute"), 2555.0, "psa",
        "stopped when the rule began", "hazard ratio", (696, 690), 1.02, "Crook 2012, 10.1056/NEJMoa1201546",
    ),
    Trial(  # 7 months of induction to 4 ng/mL, a pause to 20; castration resistance
        "SWOG 9346, androgen deprivation, metastases", PSA, 40.0, 30.0, ("on", "on 210, adaptive 4/20 absolute"), 2555.0, "psa",
        "stopped when the rule began", "hazard ratio", (765, 770), 1.09, "Hussain 2013, 10.1056/NEJMoa1212299",
    ),
    Trial(  # stopped at half of the first PSA, given again from it on; 14.3 months over 33.5, as the ratio of medians
        "adaptive abiraterone", PSA, 20.0, 28.0, ("on", "adaptive 0.5/1.0"), 2555.0, "psa",
        "ever stopped", "hazard ratio", (16, 17), 14.3 / 33.5, "Zhang 2022, 10.7554/eLife.76284",
    ),
)  # fmt: skip
"""Sign of the log of the hazard ratio; neutral where it lies within 0.1 of 0."""

BEYOND: tuple[Trial, ...] = (
    Trial(  # chemotherapy in both arms is left out; until 20 % over the diameters at progression
        "IMPRESS, gefitinib beyond progression", SLD, 80.0, 42.0,
        ("until progression: on, then off", "until progression: on, then on"), 1400.0, "recist",
        "progressed", "hazard ratio after progression", (132, 133), 0.86, "Soria 2015, 10.1016/S1470-2045(15)00121-7",
    ),
)  # fmt: skip

RATES: tuple[Trial, ...] = (
    Trial(  # first line of 6 months or more, second line of 4 or more: 6 [A], the drugs of that are left out
        "CRICKET, cetuximab again", SLD, 80.0, 56.0, ("until progression: on, then off 182, on",), 1400.0, "recist",
        "progressed after 6 months", "response", (28,), 0.21, "Cremolini 2019, 10.1001/jamaoncol.2018.5080",
    ),
    Trial(  # 10.5 months between, the drugs of that time are left out
        "anti-EGFR again after progression", SLD, 80.0, 56.0, ("until progression: on, then off 320, on",), 1400.0, "recist",
        "progressed", "response", (17,), 0.18, "Karani 2020, 10.3332/ecancer.2020.1069",
    ),
    Trial(  # stopped for another reason after 6 months [A]
        "anti-EGFR again after a stop for another reason", SLD, 80.0, 56.0, ("on 182, off 320, on",), 1000.0, "recist",
        "no progression by day 182", "response", (51,), 0.52, "Karani 2020, 10.3332/ecancer.2020.1069",
    ),
    Trial(  # 7.7 months between [M], the immunotherapy of that time is left out
        "BRAF inhibitor again", SLD, 80.0, 56.0, ("until progression: on, then off 234, on",), 1400.0, "recist",
        "progressed", "response", (83,), 0.37, "Valpione 2018, 10.1016/j.ejca.2017.12.007",
    ),
    Trial(  # stopped after progression; there it was hospital or death, here 20 % of the diameters within 21 days
        "flare after an EGFR inhibitor", SLD, 80.0, 56.0, ("until progression: on, then off",), 1400.0, "recist",
        "progressed", "flare", (61,), 0.23, "Chaft 2011, 10.1158/1078-0432.CCR-11-1468",
    ),
)  # fmt: skip
"""Shares, right within 15 points."""
