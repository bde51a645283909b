"""Sums over the audits of a node in a run whose answers are judged by measure; the fold's own `proofs.sequential`. Pure.

Each closed case adds to every test of the run what `records.measures` says; a sum never falls below nothing, and one
that reaches what accuses is a hard verdict. Law: integers alone; where auditors disagree an audit is not odd; of a sum
that no second party confirms, what one auditor told alone, with all of its keys, accuses nobody: the sum has to be
reached without it (`Measures.apart`), so a liar among auditors takes nothing from the bound of an honest node. In openings
of before its part is at most half of what accuses.
"""

from collections.abc import Callable
from dataclasses import dataclass

from archipel.lab.cases import Case, Opinion
from archipel.records.changed import changed
from archipel.records.measures import Measured, Measures, SumTest, is_odd_to_all

SHARE = 2
"""So many auditors accuse together at least, where nobody confirms what one has measured: in openings of before."""


@dataclass(frozen=True, slots=True)
class Sum:
    """Of one node in one test."""

    micro: int = 0
    """Millionths of a nat since it was nothing last."""
    audits: int = 0
    by_auditor: tuple[tuple[str, int], ...] = ()
    """What each auditing party alone has added since then, less what it took away."""


NOTHING = Sum()
Sums = tuple[Sum, ...]
"""One for each test of the run, in its order."""


@dataclass(frozen=True, slots=True)
class Weighed:
    """What one more audit came to."""

    sums: Sums
    """Nothing, where all are nothing."""
    accuses: int | None
    """The first test whose sum is reached."""


def told_of(case: Case) -> list[Opinion]:
    """Opinions with measures by which the case is decided: the trusted role's, or all."""
    measured = [each for each in case.opinions if each.measured is not None]
    return [each for each in measured if each.is_trusted] or measured


def weighed(measures: Measures, before: Sums, case: Case, account: Callable[[str], str]) -> Weighed:
    """The sums of a party after a case over an answer of its; account: key -> the party that it belongs to."""
    told = told_of(case)
    found = [each.measured for each in told if each.measured is not None]
    before = before or (NOTHING,) * len(measures.tests)
    if not found:
        return Weighed(before if any(each.micro for each in before) else (), None)
    alone = account(told[0].auditor) if len(told) == 1 and not told[0].is_trusted else ""
    after = tuple(
        _after(
            test,
            each,
            alone,
            is_odd_to_all(test, found, measures.limits),
            1 if measures.apart else SHARE,
        )
        for test, each in zip(measures.tests, before, strict=True)
    )
    pairs = zip(measures.tests, after, strict=True)
    reached = [
        at
        for at, (test, each) in enumerate(pairs)
        if _told_by_others(each, measures) >= test.accuses_micro
    ]
    return Weighed(
        after if any(each.micro for each in after) else (), reached[0] if reached else None
    )


def _told_by_others(found: Sum, measures: Measures) -> int:
    """Of a sum what is left without the auditor who told the most of it alone.

    It is no more than the sum of all others alone would be: where that falls to nothing, so does this.
    """
    most = max((part for _, part in found.by_auditor), default=0) if measures.apart else 0
    return found.micro - most


def told_by(found: Sums, did: str, operator: str) -> Sums:
    """The same sums, where what one key told alone is another party's."""
    return tuple(changed(each, by_auditor=_joint(each.by_auditor, did, operator)) for each in found)


def _joint(
    parts: tuple[tuple[str, int], ...], did: str, operator: str
) -> tuple[tuple[str, int], ...]:
    told = dict(parts)
    own = told.pop(did, 0)
    if own:
        told[operator] = told.get(operator, 0) + own
    return tuple(sorted(told.items()))


def greater(one: Sums, other: Sums) -> Sums:
    """Of two sums in each test the one that speaks more against whom it is about."""
    if not one or not other:
        return one or other
    return tuple(max(pair, key=lambda each: each.micro) for pair in zip(one, other, strict=True))


def _after(test: SumTest, before: Sum, alone: str, is_odd: bool, share: int = SHARE) -> Sum:
    """alone: the auditor whom nobody confirms; empty: several, or the trusted role. share: its part is one of so many."""
    weight = test.odd_micro if is_odd else test.even_micro
    told = dict(before.by_auditor)
    if alone:
        own = told.get(alone, 0)
        if weight > 0:
            weight = min(weight, max(0, -(-test.accuses_micro // share) - own))
        told[alone] = max(0, own + weight)
    micro = max(0, before.micro + weight)
    if not micro:
        return NOTHING
    kept = tuple(sorted((name, part) for name, part in told.items() if part))
    return Sum(micro, before.audits + 1, kept)


def is_confirmed(measures: Measures, case: Case) -> bool:
    """Whether the trusted role finds the answer odd whose audit completed a sum."""
    found = [each.measured for each in case.opinions if each.is_trusted and each.measured]
    return any(is_odd_to_all(test, found, measures.limits) for test in measures.tests)


def reason(measures: Measures, sums: Sums, at: int, own: str) -> str:
    """Why a sum accuses; `own`: what the last audit found."""
    test, found = measures.tests[at], sums[at]
    what = "an answer beyond a limit" if test.figure is None else f"more {test.figure} than usual"
    return (
        f"{what} too often in {found.audits} audits: {found.micro / 1e6:.1f} nats where "
        f"{test.accuses_micro / 1e6:.1f} accuse; the last: {own}"
    )


def are_apart(one: Measured, other: Measured, measures: Measures) -> bool:
    """Whether two auditors measured what no two honest ones would of the same answer."""
    return any(
        abs(one.figures.get(name, 0) - other.figures.get(name, 0)) > most
        for name, most in measures.limits.items()
    )
