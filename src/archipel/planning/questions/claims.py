"""`plan claims`: public claims about such labs, computed under each reading, with a verdict and sources.

Claims and readings are lines in tables (`tables/claims@*.toml`, or a person's own); what readings need beyond
constants is in `sheets/claims.toml`; the rule that decides is in `claims_verdict`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Bars, Chart, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity
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
BROAD = 30.0
"""From this ratio between readings on, a logarithmic axis shows more."""


@np.errstate(divide="ignore", invalid="ignore", over="ignore")  # as in sampled worlds
def plan(request: Request, shelf: Shelf) -> Plan:
    """Every claim, or those asked for in full."""
    wanted, by, full = _wanted(request.claim, shelf), Court(shelf), bool(request.claim)
    claims = [claim(slug, by) for slug in wanted]
    return Plan(
        question="claims",
        title=_title(claims, full=full),
        answers=_answers(claims),
        tables=_tables(claims, None if full or request.all else READINGS_LISTED, full=full),
        charts=_charts(claims) if full else (_every_reading([e for e in claims if e.readings]),),
        remarks=(*by.models.remarks(), *_remarks(claims, full=full)),
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
        return f"“{claims[0].says}” ({claims[0].who}): {claims[0].verdict}"
    count = sum(len(each.readings) for each in claims)
    return f"{len(claims)} public claims about AI laboratories, {count} readings"


def _answers(claims: Sequence[Claim]) -> tuple[Quantity, ...]:
    """The readings of a single claim, or the first reading of the first claims."""
    if len(claims) == 1:
        return tuple(each.computed for each in claims[0].readings[:ANSWERS_OF_ONE])
    return tuple(each.readings[0].computed for each in claims if each.readings)[:MOST_ANSWERS]


def _tables(claims: Sequence[Claim], most: int | None, *, full: bool) -> tuple[Table, ...]:
    """The claims and at most so many readings of each; in full also by whom, how and from what."""
    judged = [
        (e.slug, e.verdict, e.tally, e.says, e.readings[0].computed if e.readings else "no number", e.cited)
        for e in claims
    ]  # fmt: skip
    found = [
        Table(
            "Claims",
            ("claim", "verdict", "hold", "it says", "first reading", "made in"),
            tuple(judged),
        )
    ]
    readings = [
        (r.computed.name, r.words, r.computed, r.ratio, r.true, e.said(r.verdict))
        for e in claims for r in e.readings[:most]
    ]  # fmt: skip
    columns = ("reading", "what it assumes", "computed", "over claimed", "true in", "verdict")
    found.append(Table("Readings", columns, tuple(readings)))
    if full:
        who = [
            (e.slug, e.claimed or "no number", e.comparison, e.who, e.source.title, e.source.url or "no address")
            for e in claims
        ]  # fmt: skip
        how = [(r.computed.name, r.text, ", ".join(r.sources)) for e in claims for r in e.readings]
        found.append(
            Table("As claimed", ("claim", "claimed", "compared", "by", "in", "address"), tuple(who))
        )
        found.append(Table("How it is computed", ("reading", "formula", "sources"), tuple(how)))
    return tuple(table for table in found if table.rows)


def _every_reading(claims: Sequence[Claim]) -> Lines:
    """One point for each reading, one row for each claim, on one logarithmic axis."""
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
    told = (f"{counted[kind]} {words}" for kind, words in rule.OF_MANY.items() if counted[kind])
    return f"Of {len(claims)} claims: {', '.join(told)}."
