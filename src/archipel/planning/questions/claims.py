"""`plan claims`: public claims about such labs, computed under each reading, with a verdict and sources.

Claims and readings are lines in tables (`tables/claims@*.toml`, or a person's own); what readings need beyond
constants is in `sheets/claims.toml`; the rule that decides is in `claims_verdict`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Bars, Cell, Chart, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity, Source, Stated, ancestry
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.questions.claims_reading import Claim, Court, claim, slugs
from archipel.planning.requests.option import Request, as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

ANSWERS_OF_ONE = 8
MOST_ANSWERS = 5
"""In the list of all claims; the first readings of the first claims."""
READINGS_LISTED = 3
"""Of each claim in the list of all: the table's most telling come first."""
ONLY = "holds, only so read"
"""Of a reading under which alone a claim holds."""
OF_MANY = {
    rule.HOLDS: "hold",
    rule.DEPENDS: "depend on the reading",
    rule.FAILS: "do not hold",
    rule.OPEN: "undecided",
    rule.NO_NUMBER: "beyond any number here",
}
BROAD = 30.0
"""From this ratio between readings on, a logarithmic axis shows more."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """Every claim, or those asked for in full."""
    wanted, by, full = _wanted(request.claim, shelf), Court(shelf), bool(request.claim)
    claims = [claim(slug, by) for slug in wanted]
    shown = None if full or request.all else READINGS_LISTED
    return Plan(
        question="claims",
        title=_title(claims, full=full),
        answers=_answers(claims),
        tables=lambda: _tables(claims, shown, full=full),
        charts=lambda: _charts(claims) if full else (_every_reading(claims),),
        remarks=lambda: (*by.models.remarks(), *_remarks(claims, full=full)),
        verdict=_verdict(claims),
        request=as_dict(request),
    )


def _wanted(asked: str, shelf: Shelf) -> list[str]:
    known = slugs(shelf)
    words = [word.strip() for word in asked.split(",") if word.strip()]
    if asked and not words:
        raise CannotPlan(f"--claim: got {asked!r}, expected one of {', '.join(known)}")
    folded = {slug.casefold(): slug for slug in known}
    for word in words:
        if word.casefold() not in folded:
            raise nearest(word, known, "claim")
    return list(dict.fromkeys(folded[word.casefold()] for word in words)) or known


def _title(claims: Sequence[Claim], *, full: bool) -> str:
    if full and len(claims) == 1:
        return f"“{claims[0].says}” ({_who(claims[0].source)}): {claims[0].verdict}"
    count = sum(len(each.readings) for each in claims)
    return f"{len(claims)} public claims about AI laboratories, {count} readings"


def _answers(claims: Sequence[Claim]) -> tuple[Quantity, ...]:
    """The readings of a single claim, or the first reading of the first claims."""
    if len(claims) == 1:
        return tuple(each.computed for each in claims[0].readings[:ANSWERS_OF_ONE])
    return tuple(each.readings[0].computed for each in claims if each.readings)[:MOST_ANSWERS]


def _tables(claims: Sequence[Claim], most: int | None, *, full: bool) -> tuple[Table, ...]:
    """The claims and at most so many readings of each; in full also by whom, how and from what."""
    found: dict[str, tuple[str, list[tuple[Cell, ...]]]] = {
        "Claims": ("claim, verdict, hold, it says, first reading, made in", []),
        "Readings": ("reading, what it assumes, computed, over claimed, true in, verdict", []),
        "As claimed": ("claim, claimed, compared, by, in, address", []),
        "How it is computed": ("reading, formula, sources", []),
    }
    judged, shown, who, how = (rows for _, rows in found.values())
    for of in claims:
        verdicts, by = [each.verdict for each in of.readings], of.source
        hold = verdicts.count(rule.HOLDS)
        tally = f"{hold} of {len(verdicts)}" if verdicts else "none"
        first: Cell = of.readings[0].computed if verdicts else "no number"
        cited = by.title if by.key == "own" else by.key
        judged.append((of.slug, of.verdict, tally, of.says, first, cited))
        alone = hold == 1 and rule.FAILS in verdicts
        for each in of.readings[:most]:
            said = ONLY if alone and each.verdict == rule.HOLDS else each.verdict
            name = each.computed.name
            shown.append((name, each.words, each.computed, each.ratio, each.true, said))
        if full:
            claimed: Cell = of.claimed or "no number"
            address = by.url or "no address"
            who.append((of.slug, claimed, of.comparison, _who(by), by.title, address))
            how += [(e.computed.name, e.text, _sources(e.computed)) for e in of.readings]
    heads = ((title, columns.split(", "), rows) for title, (columns, rows) in found.items())
    return tuple(Table(title, tuple(names), tuple(rows)) for title, names, rows in heads if rows)


def _who(by: Source) -> str:
    """Who made a claim, in a few words."""
    name = by.authors or by.title
    return f"{name}, {by.year}" if by.year else name


def _sources(of: Quantity) -> str:
    """The keys of every source below it."""
    figures = [each.origin for each in ancestry([of])]
    found = {figure.source.key for figure in figures if isinstance(figure, Stated)}
    return ", ".join(sorted(found - {"number", "archipel-judgement"}))


def _every_reading(claims: Sequence[Claim]) -> Lines:
    """One point for each reading, one row for each claim, on one logarithmic axis."""
    claims = [each for each in claims if each.readings]
    points: dict[str, list[tuple[float, float]]] = {rule.HOLDS: [], rule.FAILS: [], rule.OPEN: []}
    for row, each in enumerate(claims, 1):
        for reading in each.readings:
            ratio = Draws().centre(reading.ratio)
            if 0 < ratio < np.inf:
                points[reading.verdict].append((ratio, float(row)))
    series = [
        Series(name, [x for x, _ in found], [y for _, y in found], style="points")
        for name, found in points.items() if found
    ]  # fmt: skip
    return Lines(
        "Every reading of every claim", "computed over claimed", "", tuple(series), log_x=True,
        mark_x=((1.0, "as claimed"),), rows=tuple(each.slug for each in claims),
    )  # fmt: skip


def _charts(claims: Sequence[Claim]) -> tuple[Chart, ...]:
    """A panel with intervals for each claim asked for."""
    made = []
    for each in claims:
        centres = [(part, Draws().centre(part.ratio)) for part in each.readings]
        shown = [(part, size) for part, size in centres if 0 < size < np.inf]
        if shown:
            sizes = [size for _, size in shown]
            bars = tuple((part.words, part.ratio) for part, _ in shown)
            broad = max(sizes) > BROAD * min(sizes)
            made.append(Bars(f"{each.slug}: over claimed", bars, "", log=broad))
    return tuple(made)


def _remarks(claims: Sequence[Claim], *, full: bool) -> list[str]:
    found = []
    for each in claims:
        if each.decides:
            found.append(f"{each.slug}: no number here decides it; {each.decides} would.")
        if each.remark and full:
            found.append(f"{each.slug}: {each.remark}")
    more = "All readings: --all. Readings, caveats, formulas, sources of one: --claim NAME."
    return found if full else [*found, more]


def _verdict(claims: Sequence[Claim]) -> str:
    if len(claims) == 1:
        return f"{claims[0].slug}: {claims[0].verdict}."
    counted = Counter(each.verdict for each in claims)
    told = (f"{counted[kind]} {words}" for kind, words in OF_MANY.items() if counted[kind])
    return f"Of {len(claims)} claims: {', '.join(told)}."
