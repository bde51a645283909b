"""A claim as tables state it, read and judged: what it says, what was claimed, each reading computed.

Facts and constants of one claim stand under `claims.<slug>`; the form is described at the head of
`tables/claims@2025-08.toml`.
"""

from dataclasses import dataclass, replace

import numpy as np

from archipel.planning.formula import formula
from archipel.planning.mistakes import CannotPlan, Impossible, UnitMismatch, UnknownName, nearest
from archipel.planning.quantity import Quantity, Source, Stated, ancestry, stated
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.questions.claims_models import Models
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf, bibliography
from archipel.planning.units import factor, spell, unit

MOSTLY_FINITE = 0.95
"""Share of the worlds in which a reading must be a number."""
WORLDS = 2000
"""Sampled for a verdict: a share is then known to about one percent."""
KEYS = (
    "says", "claimed", "compare", "unit", "source", "remark", "decides", "readings", "words",
)  # fmt: skip
RULE = Source(
    "archipel-judgement", "share of sampled worlds in which the comparison is true", year=2026
)


@dataclass(frozen=True)
class Reading:
    """One way to understand a claim, computed."""

    key: str
    words: str
    text: str
    """The formula as the table has it."""
    computed: Quantity
    ratio: Quantity
    """Computed over claimed."""
    true: Quantity
    """Share of sampled worlds in which the claim is true."""
    verdict: str

    @property
    def sources(self) -> list[str]:
        """The keys of every source below it."""
        figures = [each.origin for each in ancestry([self.computed])]
        return sorted(
            {f.source.key for f in figures if isinstance(f, Stated)}
            - {"number", "archipel-judgement"}
        )


@dataclass(frozen=True)
class Claim:
    """One public claim, judged."""

    slug: str
    says: str
    source: Source
    comparison: str
    claimed: Quantity | None
    readings: tuple[Reading, ...]
    remark: str
    decides: str
    """What would decide a claim that numbers here cannot."""

    @property
    def verdict(self) -> str:
        """Of the claim as a whole."""
        return rule.overall([reading.verdict for reading in self.readings])


@dataclass
class Court:
    """What every claim is judged with."""

    shelf: Shelf
    models: Models
    draws: Draws
    about: float
    likely: float

    def lookup(self, name: str, vintage: str) -> Quantity:
        """The quantity a formula names: computed, or a constant, of one vintage if it says so.

        Raises:
            UnknownName: neither, with the nearest.
        """
        if name in self.models:
            return self.models[name]
        if not vintage:
            if name not in self.shelf.entries:
                raise nearest(name, [*self.shelf.entries, *self.models.names()], "quantity")
            return self.shelf[name]
        found = {entry.figure.vintage: entry for entry in self.shelf.vintages(name)}
        if vintage not in found:
            known = ", ".join(found) or "none"
            raise UnknownName(f"{name} has no vintage {vintage} (known: {known})")
        entry = found[vintage]
        return stated(f"{name}@{vintage}", entry.unit, entry.figure, entry.about)


def court(shelf: Shelf) -> Court:
    """The rule and the sampled worlds.

    Raises:
        Impossible: a rule that would call one claim both true and false.
    """
    about = Draws().centre(shelf["claim.rule.about"])
    likely = Draws().centre(shelf["claim.rule.likely"])
    if not 0.5 < likely <= 1.0:
        raise Impossible(f"claim.rule.likely: got {likely:g}, expected more than 0.5 and at most 1")
    if about < 1.0:
        raise Impossible(f"claim.rule.about: got {about:g}, expected 1 or more: a factor")
    return Court(shelf, Models(shelf), Draws(0, WORLDS), about, likely)


def slugs(shelf: Shelf) -> list[str]:
    """Every claim there is, in the order of the tables.

    Raises:
        CannotPlan: something under `claims` that is not a claim; says what is missing or misspelt.
    """
    found = {
        name.split(".")[1]: None
        for name in shelf.facts
        if name.startswith("claims.") and name.endswith(".says")
    }
    for slug in shelf.members("claims"):
        if slug not in found:
            raise CannotPlan(f"claims.{slug}: 'says' is missing, one sentence")
        for key in shelf.members(f"claims.{slug}"):
            if key not in KEYS:
                raise nearest(key, KEYS, f"key of claims.{slug}")
    return list(found)


def claim(slug: str, by: Court) -> Claim:
    """One claim with all its readings."""
    fact, here = by.shelf.fact, f"claims.{slug}"
    comparison = rule.check_comparison(fact(f"{here}.compare", "about"))
    claimed, source = _claimed(slug, by)
    made = Claim(
        slug, fact(f"{here}.says"), source, comparison, claimed, (),
        fact(f"{here}.remark"), fact(f"{here}.decides"),
    )  # fmt: skip
    if claimed is None:
        return made
    keys = by.shelf.members(f"{here}.readings")
    if not keys:
        raise CannotPlan(f"{here}: 'readings' are missing, one formula each")
    return replace(made, readings=tuple(_reading(made, claimed, key, by) for key in keys))


def _claimed(slug: str, by: Court) -> tuple[Quantity | None, Source]:
    """The figure claimed, and who claimed it."""
    name = f"claims.{slug}.claimed"
    text, found = by.shelf.fact(name), None
    if text:
        found = formula(text, by.lookup, name)
    elif name in by.shelf:
        found = by.shelf[name]
    key = by.shelf.fact(f"claims.{slug}.source")
    source = bibliography().get(key, Source(key or "none", key or "no source given"))
    if found is None:
        return None, source
    if not key and isinstance(found.origin, Stated):
        source = found.origin.source
    wanted = by.shelf.fact(f"claims.{slug}.unit") or spell(found.unit) or "1"
    ends = found.origin
    shown = found.named(f"{slug}.claimed", found.about or "as claimed", wanted)
    if isinstance(
        ends, Stated
    ):  # keep the claimed range, which a converted quantity would only sample
        scale = factor(found.unit, unit(wanted))
        low, high = (None if end is None else end * scale for end in (ends.low, ends.high))
        kept = replace(ends, value=ends.value * scale, low=low, high=high)
        shown = stated(f"{slug}.claimed", wanted, kept, found.about)
    return shown, source


def _reading(of: Claim, claimed: Quantity, key: str, by: Court) -> Reading:
    where = f"claims.{of.slug}.readings.{key}"
    text = by.shelf.fact(where)
    words = by.shelf.fact(f"claims.{of.slug}.words.{key}", key.replace("-", " "))
    if not text:
        raise CannotPlan(f"{where}: expected a formula in quotes")
    try:
        found = formula(text, by.lookup, where)
        computed = found.named(f"{of.slug}.{key}", words, spell(claimed.unit) or "1")
    except UnitMismatch as error:
        raise UnitMismatch(f"{where}: {error}") from None
    _check_number(where, text, computed, by)
    ratio = (computed / claimed).named(
        f"{of.slug}.{key}.ratio", f"{words}: computed over claimed", "1"
    )
    share = _share(of, claimed, computed, by)
    true = stated(
        f"{of.slug}.{key}.true", "percent", Stated(round(100.0 * share), "derived", RULE),
        f"{words}: sampled worlds in which the claim is true",
    )  # fmt: skip
    return Reading(key, words, text, computed, ratio, true, rule.verdict(share, by.likely))


def _check_number(where: str, text: str, computed: Quantity, by: Court) -> None:
    """A reading must come out as a number, at its centre and in most worlds: nothing compares with none."""
    centre = by.draws.centre(computed)
    finite = np.mean(np.isfinite(np.asarray(by.draws.samples(computed), dtype=float)))
    if not np.isfinite(centre) or finite < MOSTLY_FINITE:
        raise CannotPlan(
            f"{where}: {text!r} comes out as {centre:g}, finite in {finite:.0%} of the sampled worlds; "
            "expected a number: look for a division by nothing"
        )


def _share(of: Claim, claimed: Quantity, computed: Quantity, by: Court) -> float:
    figure, ends = claimed.origin, (0.0, 0.0)
    if of.comparison == "range":
        if not isinstance(figure, Stated) or figure.low is None or figure.high is None:
            raise CannotPlan(f"claims.{of.slug}.claimed: 'range' needs a figure with low and high")
        ends = figure.low, figure.high
    worlds = by.draws.samples(computed)
    return rule.share_true(of.comparison, worlds, by.draws.samples(claimed), ends, by.about)
