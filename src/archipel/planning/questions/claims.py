"""`plan claims`: public claims about such labs, computed under each reading, with a verdict and sources.

Claims and readings are lines in tables (`tables/claims@*.toml`, or a person's own); what readings need
beyond arithmetic is in `claims_models`; the rule that decides is in `claims_verdict`.
"""

from collections import Counter
from collections.abc import Sequence

import numpy as np

from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Bars, Cell, Chart, Lines, Plan, Series, Table
from archipel.planning.quantity import Quantity
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.questions.claims_reading import (
    Claim,
    Court,
    claim,
    court,
    slugs,
)
from archipel.planning.requests.claims import ClaimsRequest
from archipel.planning.requests.option import as_dict
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
def plan(request: ClaimsRequest, shelf: Shelf) -> Plan:
    """Every claim, or those asked for in full."""
    wanted = _wanted(request, shelf)
    by = court(shelf)
    claims = [claim(slug, by) for slug in wanted]
    full = bool(request.claim)
    return Plan(
        question="claims",
        title=_title(claims, full=full),
        answers=_answers(claims),
        tables=(
            _claims_table(claims),
            *_readings(claims, most=None if full or request.all else READINGS_LISTED),
            *(_as_claimed(claims) if full else ()),
        ),
        charts=_charts(claims, full=full),
        remarks=(*_rule_words(by), *_remarks(claims, full=full)),
        verdict=_verdict(claims),
        request=as_dict(request),
    )


def _wanted(request: ClaimsRequest, shelf: Shelf) -> list[str]:
    known = slugs(shelf)
    words = [word.strip() for word in request.claim.split(",") if word.strip()]
    if request.claim and not words:
        raise CannotPlan(f"--claim: got {request.claim!r}, expected one of {', '.join(known)}")
    folded = {slug.casefold(): slug for slug in known}
    for word in words:
        if word.casefold() not in folded:
            raise nearest(word, known, "claim")
    return list(dict.fromkeys(folded[word.casefold()] for word in words)) or known


def _title(claims: Sequence[Claim], *, full: bool) -> str:
    if full and len(claims) == 1:
        return f"“{claims[0].says}” ({_who(claims[0])}): {claims[0].verdict}"
    count = sum(len(each.readings) for each in claims)
    return f"{len(claims)} public claims about AI laboratories, {count} readings"


def _who(of: Claim) -> str:
    """Who made a claim, in a few words."""
    name = of.source.authors or of.source.title
    return f"{name}, {of.source.year}" if of.source.year else name


def _cited(of: Claim) -> str:
    """The key into the bibliography, or what a person's own table says."""
    return of.source.title if of.source.key == "own" else of.source.key


def _answers(claims: Sequence[Claim]) -> tuple[Quantity, ...]:
    """The readings of a single claim, or the first reading of the first claims."""
    if len(claims) == 1:
        return tuple(each.computed for each in claims[0].readings[:ANSWERS_OF_ONE])
    first = [each.readings[0].computed for each in claims if each.readings]
    return tuple(first[:MOST_ANSWERS])


def _claims_table(claims: Sequence[Claim]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in claims:
        best: Cell = each.readings[0].computed if each.readings else "no number"
        hold = sum(reading.verdict == rule.HOLDS for reading in each.readings)
        tally = f"{hold} of {len(each.readings)}" if each.readings else "none"
        rows.append((each.slug, each.verdict, tally, each.says, best, _cited(each)))
    columns = ("claim", "verdict", "hold", "it says", "first reading", "made in")
    return Table("Claims", columns, tuple(rows))


def _readings(claims: Sequence[Claim], most: int | None) -> tuple[Table, ...]:
    """The readings of each claim, at most so many of it."""
    rows: list[tuple[Cell, ...]] = [
        (
            reading.computed.name,
            reading.words,
            reading.computed,
            reading.ratio,
            reading.true,
            _only(each, reading.verdict),
        )
        for each in claims
        for reading in each.readings[:most]
    ]
    columns = ("reading", "what it assumes", "computed", "over claimed", "true in", "verdict")
    return (Table("Readings", columns, tuple(rows)),) if rows else ()


def _only(of: Claim, verdict: str) -> str:
    """Says so where a claim holds under one reading alone."""
    counted = Counter(reading.verdict for reading in of.readings)
    alone = counted[rule.HOLDS] == 1 and counted[rule.FAILS] > 0
    return "holds, only so read" if verdict == rule.HOLDS and alone else verdict


def _as_claimed(claims: Sequence[Claim]) -> tuple[Table, ...]:
    """Who claimed what, how each reading is computed, and where its numbers come from."""
    rows = [
        (reading.computed.name, reading.text, ", ".join(reading.sources))
        for each in claims
        for reading in each.readings
    ]
    who: list[tuple[Cell, ...]] = [
        (each.slug, each.claimed or "no number", each.comparison, _who(each), each.source.title,
         each.source.url or "no address")
        for each in claims
    ]  # fmt: skip
    columns = ("claim", "claimed", "compared", "by", "in", "address")
    grounds = Table("How it is computed", ("reading", "formula", "sources"), tuple(rows))
    return (Table("As claimed", columns, tuple(who)), *((grounds,) if rows else ()))


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
        for name, found in points.items()
        if found
    ]
    return Lines(
        "Every reading of every claim",
        "computed over claimed",
        "",
        tuple(series),
        log_x=True,
        mark_x=((1.0, "as claimed"),),
        rows=tuple(each.slug for each in claims),
    )


def _charts(claims: Sequence[Claim], *, full: bool) -> tuple[Chart, ...]:
    """All readings on one axis, or a panel with intervals for each claim asked for."""
    if not full:
        return (_every_reading([each for each in claims if each.readings]),)
    made = []
    for each in claims:
        parts = [(part.words, part.ratio) for part in each.readings]
        shown = tuple(part for part in parts if 0 < Draws().centre(part[1]) < np.inf)
        if shown:
            sizes = [Draws().centre(ratio) for _, ratio in shown]
            made.append(
                Bars(f"{each.slug}: over claimed", shown, "", log=max(sizes) > BROAD * min(sizes))
            )
    return tuple(made)


def _rule_words(by: Court) -> tuple[str, ...]:
    return (
        f"A reading holds if the claim is true in {by.likely:.0%} of the sampled worlds or more, fails at "
        f"{1.0 - by.likely:.0%} or fewer, and is undecided between; “about” allows a factor of {by.about:g}.",
        "A claim depends on the reading if some readings hold and others fail: then ask which one was meant.",
        "Thresholds of claims without a number are ours (grade: assumed); change them with --set.",
    )


def _remarks(claims: Sequence[Claim], *, full: bool) -> tuple[str, ...]:
    found = []
    for each in claims:
        if each.decides:
            found.append(f"{each.slug}: no number here decides it; {each.decides} would.")
        if each.remark and full:
            found.append(f"{each.slug}: {each.remark}")
    return (
        *found,
        *(
            ()
            if full
            else (
                "All readings: --all. Readings, caveats, formulas, sources of one: --claim NAME.",
            )
        ),
    )


def _verdict(claims: Sequence[Claim]) -> str:
    if len(claims) == 1:
        return f"{claims[0].slug}: {claims[0].verdict}."
    counted = Counter(each.verdict for each in claims)
    order = (rule.HOLDS, rule.DEPENDS, rule.FAILS, rule.OPEN, rule.NO_NUMBER)
    words = {
        rule.HOLDS: "hold", rule.DEPENDS: "depend on the reading", rule.FAILS: "do not hold",
        rule.OPEN: "undecided", rule.NO_NUMBER: "beyond any number here",
    }  # fmt: skip
    told = ", ".join(f"{counted[kind]} {words[kind]}" for kind in order if counted[kind])
    return f"Of {len(claims)} claims: {told}."
