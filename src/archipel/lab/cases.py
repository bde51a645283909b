"""One answer under audit: what is known of it, what auditors said, what it came to, and that in words. Pure."""

from dataclasses import dataclass
from enum import Enum

from archipel.records.documents import AcceptedWork
from archipel.records.kinds.audit import Cannot, Difference
from archipel.records.measures import Measured

MAX_REASON = 500
MAX_NAMED = 4
"""Works that a sentence names."""


class Stage(Enum):
    """Where an open case stands.

    FIRST: nobody has looked yet. SEEN: one says it is right, and waits for the draw of the own answer.
    SECOND, THIRD: another unrelated opinion is asked for. APPEAL: the trusted role decides.
    """

    FIRST = "first"
    SEEN = "seen"
    SECOND = "second"
    THIRD = "third"
    APPEAL = "appeal"


class Outcome(Enum):
    """What a case came to.

    VERIFIED: right. SOFT: found wrong by one alone: no pay, and it counts against the node. HARD: two independent
    failures, or a sum over many measured answers (`sums`): the node is believed no more. LAPSED: nobody could tell.
    """

    VERIFIED = "verified"
    SOFT = "soft"
    HARD = "hard"
    LAPSED = "lapsed"


@dataclass(frozen=True, slots=True)
class Committed:
    """An accepted answer, as an audit needs it."""

    party: str
    """The key that answered; whose it is, an operator's or its own, `providers` says."""
    price_micro: int
    """What was paid for it."""
    entry: int
    record: str
    """Digest of the statement that answered."""
    at_ms: int
    took_ms: int
    done: AcceptedWork


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one auditor says."""

    auditor: str
    is_trusted: bool
    work: str
    """The audit."""
    price_micro: int
    says: str
    difference: Difference | None
    cannot: Cannot | None
    measured: Measured | None = None
    """Of an answer in floating point; None: it was recomputed to the bit, or not at all."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """The end of a case; the reason is for people."""

    outcome: Outcome
    reason: str
    at_ms: int
    by_trusted: bool
    is_final: bool = False
    """Nobody may contest it any more."""
    touched: tuple[int, ...] = ()
    """Versions that learned from the answer, or are being made from it."""
    withdrawn: tuple[str, ...] = ()
    """Works of the node that were taken out of batches not yet trained, of any run."""
    taken: tuple[tuple[str, int], ...] = ()
    """Run -> pay that was taken back from whose answer it was."""
    struck: tuple[tuple[str, int], ...] = ()
    """Auditors who said otherwise -> pay that was taken back from each."""
    fined: tuple[tuple[str, int], ...] = ()
    """Of these, what each lost of its stake."""
    slashed_micro: int = 0
    """What its node lost of its stake."""


@dataclass(frozen=True, slots=True)
class Case:
    """One answer under audit."""

    answer: Committed
    opened_at_ms: int
    root: str = ""
    """By which it was drawn."""
    stage: Stage = Stage.FIRST
    opinions: tuple[Opinion, ...] = ()
    tried: tuple[str, ...] = ()
    """Who held an audit of it."""
    holder: str | None = None
    """The audit in somebody's hands."""
    contested: str = ""
    """What its node says against the verdict before."""
    verdict: Verdict | None = None
    before: Verdict | None = None
    """The verdict that was contested."""
    planted: str = ""
    """What auditors should have said, where the answer turned out to be planted: `agree` or `differs`."""

    @property
    def work(self) -> str:
        """The audited work."""
        return self.answer.done.work

    @property
    def wants_strangers(self) -> bool:
        """Whether an unrelated node may be asked now."""
        return self.holder is None and self.stage not in (Stage.SEEN, Stage.APPEAL)

    @property
    def wants_trusted(self) -> bool:
        """Whether the trusted role may be asked now."""
        return self.holder is None and self.stage is not Stage.SEEN


@dataclass(frozen=True, slots=True)
class Said:
    """An opinion that was just accepted, and the answer that brought it."""

    work: str
    """The audited work."""
    opinion: Opinion
    own: Committed


def found_right(case: Case) -> str:
    """What it means that an answer was found right."""
    if any(each.measured is not None for each in case.opinions):
        return "measured, and within what honest answers reach"
    return "recomputed, and equal in every bit"


def sentence(case: Case) -> str:
    """A verdict in words: on whom, on what, why, and what it touched."""
    verdict = case.verdict
    if verdict is None:
        return f"{case.work} of ..{case.answer.party[-12:]}: {case.stage.value}"
    words = f"{verdict.outcome.value}: {case.work} of ..{case.answer.party[-12:]}: {verdict.reason}"
    if case.planted:
        words += f"; planted: whoever looked should have said {case.planted}"
    if verdict.touched:
        made = ", ".join(map(str, verdict.touched))
        words += f"; version {made} was made from it"
    if verdict.withdrawn:
        words += f"; done again: {', '.join(verdict.withdrawn[:MAX_NAMED])}"
        more = len(verdict.withdrawn) - MAX_NAMED
        words += f" and {more} more" if more > 0 else ""
    return words
