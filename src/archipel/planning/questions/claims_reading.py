"""A claim as tables state it, read and judged: what it says, what was claimed, each reading computed.

Facts and constants of one claim stand under `claims.<slug>`; the form is described at the head of
`tables/claims@2025-08.toml`. What readings name beside constants is in `sheets/claims.toml`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from archipel.planning.formula import formula
from archipel.planning.mistakes import CannotPlan, Impossible, UnitMismatch, UnknownName, nearest
from archipel.planning.quantity import Quantity, Source, Stated, scoped, stated
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.questions.computers import lab_sheet
from archipel.planning.questions.deciding import WORLDS
from archipel.planning.questions.sheet import Sheet
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf, bibliography
from archipel.planning.units import factor, spell, unit

MOSTLY_FINITE = 0.95
"""Share of the worlds in which a reading must be a number."""
KEYS = ("says", "claimed", "compare", "unit", "source", "remark", "decides", "readings", "words")
RULE = Source(
    "archipel-judgement", "share of sampled worlds in which the comparison is true", year=2026
)
LABS = {"h100": "h100", "a100": "a100-80", "b200": "b200"}
PARTS = {
    "lab": "lab.purchase", "accelerators": "lab.accelerators_cost", "servers": "lab.servers_cost",
    "computing": "lab.computing", "running": "lab.running", "electricity": "energy.cost",
    "ownership": "lab.ownership", "hour": "lab.cost_per_hour",
}  # fmt: skip
"""Of a lab, by the names that readings use."""


class Reading(NamedTuple):
    """One way to understand a claim: its formula as `text` and `computed`, over what is claimed, true in how many worlds."""

    words: str
    text: str
    computed: Quantity
    ratio: Quantity
    true: Quantity
    verdict: str


class Claim(NamedTuple):
    """One public claim, judged; `decides` is what would decide one that numbers here cannot."""

    slug: str
    says: str
    source: Source
    comparison: str
    claimed: Quantity | None
    remark: str
    decides: str
    readings: Sequence[Reading] = ()

    @property
    def verdict(self) -> str:
        """Of the claim as a whole."""
        return rule.overall([reading.verdict for reading in self.readings])


class Court:
    """What every claim is judged with: constants, the models of the sheet, the rule, and sampled worlds."""

    def __init__(self, shelf: Shelf) -> None:
        """Read the rule, and build the labs that are talked about.

        Raises:
            Impossible: a rule that would call one claim both true and false.
        """
        self.shelf, self.draws = shelf, Draws(0, WORLDS)
        self.about, self.likely = (
            Draws().centre(shelf[f"claim.rule.{part}"]) for part in ("about", "likely")
        )
        if not 0.5 < self.likely <= 1.0:
            got = f"claim.rule.likely: got {self.likely:g}"
            raise Impossible(f"{got}, expected more than 0.5 and at most 1")
        if self.about < 1.0:
            raise Impossible(f"claim.rule.about: got {self.about:g}, expected 1 or more: a factor")
        shares = {"likely": f"{self.likely:.0%}", "unlikely": f"{1.0 - self.likely:.0%}"}
        labs = {name: part for lab in LABS for name, part in _lab(lab, shelf).items()}
        self.models = Sheet("claims", shelf, shares | {"about": f"{self.about:g}"}, labs)

    def lookup(self, name: str, vintage: str) -> Quantity:
        """The quantity a formula names: of a model, or a constant, of one vintage if it says so.

        Raises:
            UnknownName: neither, with the nearest.
        """
        models = {f"model.{each}": each for each in self.models.known()}
        if name in models:
            return self.models[models[name]]
        if not vintage:
            if name not in self.shelf.entries:
                raise nearest(name, [*self.shelf.entries, *models], "quantity")
            return self.shelf[name]
        found = {entry.figure.vintage: entry for entry in self.shelf.vintages(name)}
        if vintage not in found:
            known = ", ".join(found) or "none"
            raise UnknownName(f"{name} has no vintage {vintage} (known: {known})")
        entry = found[vintage]
        return stated(f"{name}@{vintage}", entry.unit, entry.figure, entry.about)


def _lab(lab: str, shelf: Shelf) -> dict[str, Quantity]:
    """The lab of `plan lab` with its defaults, and the number of accelerators that is talked about."""
    sheet = lab_sheet(LABS[lab], shelf, {"lab.accelerators": shelf["claim.gpus"]})
    year = sheet.reckon("lab.computing / lab.server_life")
    year = year.named("lab.computing_year", "computers written off, a year", "USD/year")
    made = scoped([*map(sheet.__getitem__, PARTS.values()), year], lab)
    return {f"{lab}.{part}": of for part, of in zip([*PARTS, "computing_year"], made, strict=True)}


def slugs(shelf: Shelf) -> list[str]:
    """Every claim there is, in the order of the tables.

    Raises:
        CannotPlan: something under `claims` that is not a claim; says what is missing or misspelt.
    """
    facts = (name.split(".") for name in shelf.facts)
    found = [each[1] for each in facts if each[0] == "claims" and each[2:] == ["says"]]
    for slug in shelf.members("claims"):
        if slug not in found:
            raise CannotPlan(f"claims.{slug}: 'says' is missing, one sentence")
        for key in shelf.members(f"claims.{slug}"):
            if key not in KEYS:
                raise nearest(key, KEYS, f"key of claims.{slug}")
    return found


def claim(slug: str, by: Court) -> Claim:
    """One claim with all its readings."""
    fact, here = by.shelf.fact, f"claims.{slug}"
    comparison = fact(f"{here}.compare", "about")
    if comparison not in rule.COMPARISONS:
        raise nearest(comparison, rule.COMPARISONS, "comparison of a claim")
    claimed, source = _claimed(slug, by)
    made = Claim(
        slug, fact(f"{here}.says"), source, comparison, claimed,
        fact(f"{here}.remark"), fact(f"{here}.decides"),
    )  # fmt: skip
    if claimed is None:
        return made
    keys = by.shelf.members(f"{here}.readings")
    if not keys:
        raise CannotPlan(f"{here}: 'readings' are missing, one formula each")
    return made._replace(readings=[_reading(made, claimed, key, by) for key in keys])


def _claimed(slug: str, by: Court) -> tuple[Quantity | None, Source]:
    """The figure claimed, and who claimed it."""
    name, shelf = f"claims.{slug}.claimed", by.shelf
    text, key = shelf.fact(name), shelf.fact(f"claims.{slug}.source")
    source = bibliography().get(key, Source(key or "none", key or "no source given"))
    if not text and name not in shelf:
        return None, source
    found = formula(text, by.lookup, name) if text else shelf[name]
    figure = found.origin
    if not key and isinstance(figure, Stated):
        source = figure.source
    wanted = shelf.fact(f"claims.{slug}.unit") or spell(found.unit) or "1"
    if not isinstance(figure, Stated):
        return found.named(f"{slug}.claimed", found.about or "as claimed", wanted), source
    scale = factor(found.unit, unit(wanted))  # a converted quantity would only sample its range
    low, high = (None if end is None else end * scale for end in (figure.low, figure.high))
    kept = replace(figure, value=figure.value * scale, low=low, high=high)
    return stated(f"{slug}.claimed", wanted, kept, found.about), source


def _reading(of: Claim, claimed: Quantity, key: str, by: Court) -> Reading:
    where, name = f"claims.{of.slug}.readings.{key}", f"{of.slug}.{key}"
    text = by.shelf.fact(where)
    words = by.shelf.fact(f"claims.{of.slug}.words.{key}", key.replace("-", " "))
    if not text:
        raise CannotPlan(f"{where}: expected a formula in quotes")
    try:
        computed = formula(text, by.lookup, where).named(name, words, spell(claimed.unit) or "1")
    except UnitMismatch as error:
        raise UnitMismatch(f"{where}: {error}") from None
    centre, worlds = by.draws.centre(computed), np.asarray(by.draws.samples(computed), dtype=float)
    finite = np.mean(np.isfinite(worlds))
    if not np.isfinite(centre) or finite < MOSTLY_FINITE:  # nothing compares with none
        raise CannotPlan(
            f"{where}: {text!r} comes out as {centre:g}, finite in {finite:.0%} of the sampled worlds; "
            "expected a number: look for a division by nothing"
        )
    figure, ends = claimed.origin, (0.0, 0.0)
    if of.comparison == "range":
        if not isinstance(figure, Stated) or figure.low is None or figure.high is None:
            raise CannotPlan(f"claims.{of.slug}.claimed: 'range' needs a figure with low and high")
        ends = figure.low, figure.high
    share = rule.share_true(of.comparison, worlds, by.draws.samples(claimed), ends, by.about)
    ratio = (computed / claimed).named(f"{name}.ratio", f"{words}: computed over claimed", "1")
    true = stated(
        f"{name}.true", "percent", Stated(round(100.0 * share), "derived", RULE),
        f"{words}: sampled worlds in which the claim is true",
    )  # fmt: skip
    return Reading(words, text, computed, ratio, true, rule.verdict(share, by.likely))
