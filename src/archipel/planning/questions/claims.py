"""`plan claims`: public claims about such labs, computed under each reading, with a verdict and sources.

Claims and readings are lines in tables (`tables/claims@*.toml`, or a person's own); what readings need
beyond arithmetic is in `claims_models`; the rule that decides is in `claims_verdict`.
"""

from collections import Counter
from collections.abc import Sequence

from archipel.planning.mistakes import CannotPlan, nearest
from archipel.planning.plan import Bars, Cell, Plan, Table
from archipel.planning.quantity import Quantity
from archipel.planning.questions import claims_verdict as rule
from archipel.planning.questions.claims_reading import (
    Claim,
    Court,
    claim,
    court,
    known_then,
    slugs,
)
from archipel.planning.requests.claims import ClaimsRequest
from archipel.planning.requests.option import as_dict
from archipel.planning.sampling import Draws
from archipel.planning.tables import Shelf

MOST_ANSWERS = 8
BARS_IN_CHART = 15
"""More do not fit one panel."""


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
            _readings_table(claims),
            *(_grounds(claims) if full else ()),
        ),
        charts=_charts(claims),
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
    chosen = list(dict.fromkeys(folded[word.casefold()] for word in words)) or known
    made = [slug for slug in chosen if known_then(slug, shelf)]
    if not made:
        raise CannotPlan(f"--as-of {shelf.as_of}: {', '.join(chosen)} had not been claimed by then")
    return made


def _title(claims: Sequence[Claim], *, full: bool) -> str:
    if full and len(claims) == 1:
        return f"“{claims[0].says}” ({_who(claims[0])}): {claims[0].verdict}"
    count = sum(len(each.readings) for each in claims)
    return f"{len(claims)} public claims about AI laboratories, {count} readings"


def _who(of: Claim) -> str:
    """Who made a claim, in a few words."""
    name = of.source.authors or of.source.title
    return f"{name}, {of.source.year}" if of.source.year else name


def _answers(claims: Sequence[Claim]) -> tuple[Quantity, ...]:
    """The readings of a single claim, or the first reading of the first claims."""
    if len(claims) == 1:
        return tuple(each.computed for each in claims[0].readings[:MOST_ANSWERS])
    first = [each.readings[0].computed for each in claims if each.readings]
    return tuple(first[:MOST_ANSWERS])


def _claims_table(claims: Sequence[Claim]) -> Table:
    rows: list[tuple[Cell, ...]] = []
    for each in claims:
        best: Cell = each.readings[0].computed if each.readings else "no number"
        rows.append((each.slug, each.verdict, each.says, best, each.source.key))
    columns = ("claim", "verdict", "it says", "first reading", "made in")
    return Table("Claims", columns, tuple(rows))


def _readings_table(claims: Sequence[Claim]) -> Table:
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
        for reading in each.readings
    ]
    columns = ("reading", "what it assumes", "computed", "over claimed", "true in", "verdict")
    return Table("Readings", columns, tuple(rows))


def _only(of: Claim, verdict: str) -> str:
    """Says so where a claim holds under one reading alone."""
    counted = Counter(reading.verdict for reading in of.readings)
    alone = counted[rule.HOLDS] == 1 and counted[rule.FAILS] > 0
    return "holds, only so read" if verdict == rule.HOLDS and alone else verdict


def _grounds(claims: Sequence[Claim]) -> tuple[Table, ...]:
    """How each reading is computed and where its numbers come from."""
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
    return (
        Table("As claimed", columns, tuple(who)),
        Table("How it is computed", ("reading", "formula", "sources"), tuple(rows)),
    )


def _charts(claims: Sequence[Claim]) -> tuple[Bars, ...]:
    """Computed over claimed, on a logarithmic axis, some claims to a panel."""
    panels: list[list[Claim]] = []
    room = 0
    for each in claims:
        if not panels or room + len(each.readings) > BARS_IN_CHART:
            panels.append([])
            room = 0
        panels[-1].append(each)
        room += len(each.readings)
    charts = []
    for panel in panels:
        parts = [
            (f"{each.slug}: {reading.key}", reading.ratio)
            for each in panel
            for reading in each.readings
            if Draws().centre(reading.ratio) > 0
        ]
        if parts:
            names = panel[0].slug if len(panel) == 1 else f"{panel[0].slug} to {panel[-1].slug}"
            charts.append(
                Bars(f"Computed over claimed (1: as claimed), {names}", tuple(parts), "1", log=True)
            )
    return tuple(charts)


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
        *(() if full else ("Caveats, formulas and sources of one claim: --claim NAME.",)),
    )


def _verdict(claims: Sequence[Claim]) -> str:
    if len(claims) == 1:
        return f"{claims[0].slug}: {claims[0].verdict}."
    counted = Counter(each.verdict for each in claims)
    order = (rule.HOLDS, rule.DEPENDS, rule.FAILS, rule.OPEN, rule.NO_NUMBER)
    words = {
        rule.HOLDS: "hold", rule.DEPENDS: "depend on the reading", rule.FAILS: "do not hold",
        rule.OPEN: "are undecided", rule.NO_NUMBER: "cannot be decided by any number here",
    }  # fmt: skip
    told = ", ".join(f"{counted[kind]} {words[kind]}" for kind in order if counted[kind])
    return f"Of {len(claims)} claims {told}."
