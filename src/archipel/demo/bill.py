"""What the run cost, whom it paid, and what a central run would have: from the ledger, and this machine's own clock. Pure.

A central run pays for the same sampling by the hour of a rented processor at a list price; it needs no audits, and
its learner costs what ours does, which neither figure has in it.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from archipel.demo.aftermath import History
from archipel.lab.apply import apply
from archipel.lab.state import LabState
from archipel.records.kinds.audit import AuditAnswer
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.statements import WorkAnswered

MILLION = 10**6


@dataclass(frozen=True, slots=True)
class Payment:
    """For one accepted answer."""

    node: str
    kind: str
    micro: int
    tokens: int
    """Sampled by it."""


@dataclass(frozen=True, slots=True)
class Bill:
    """Of a run, in micro-credits."""

    sampling_micro: int
    audits_micro: int
    tokens: int
    processor_s: float
    """Of sampling alone; 0: unknown."""
    central_usd: float
    """What so much time of a processor costs by the hour at the list price; 0: unknown."""
    credit_usd: float

    @property
    def paid_micro(self) -> int:
        """In all."""
        return self.sampling_micro + self.audits_micro

    @property
    def paid_usd(self) -> float:
        """At what a credit is worth here."""
        return self.paid_micro / MILLION * self.credit_usd

    @property
    def usd_per_million(self) -> float:
        """For a million sampled tokens, audits in it."""
        return self.paid_usd * MILLION / max(self.tokens, 1)


def settled(history: History, run: str) -> tuple[LabState, tuple[Payment, ...]]:
    """The lab's state by its ledger alone, and what was paid for each answer to the run when it was accepted."""
    state, payments = LabState(lab=history[0][1].lab), list[Payment]()
    for at_ms, said in history:
        before = state.runs[run].paid_micro if run in state.runs else 0
        state = apply(state, said, at_ms)
        if isinstance(said, WorkAnswered) and run in state.runs:
            micro = state.runs[run].paid_micro - before
            answer = said.answer
            tokens = answer.num_tokens if isinstance(answer, RolloutAnswer) else 0
            payments.append(Payment(said.author, answer.kind, micro, tokens))
    return state, tuple(payments)


def bill_of(
    payments: Sequence[Payment],
    history: History,
    processor_s: float,
    prices: tuple[float, float],
) -> Bill:
    """What was paid, beside what the same sampling takes of rented processors.

    processor_s: of the nodes' work processes, sampling and audits together. prices: USD of a processor's hour, and of a
    credit.
    """
    hour_usd, credit_usd = prices
    sampling, audits = (_busy_ms(history, kind) for kind in (RolloutAnswer, AuditAnswer))
    share = sampling / max(sampling + audits, 1)
    audited = sum(each.micro for each in payments if each.kind == "audit")
    return Bill(
        sampling_micro=sum(each.micro for each in payments) - audited,
        audits_micro=audited,
        tokens=sum(each.tokens for each in payments),
        processor_s=processor_s * share,
        central_usd=processor_s * share / 3600 * hour_usd,
        credit_usd=credit_usd,
    )


def earned_by(payments: Sequence[Payment]) -> Mapping[str, tuple[int, int]]:
    """Node -> (micro-credits, sampled tokens), before anything was taken back."""
    earned: dict[str, tuple[int, int]] = {}
    for each in payments:
        micro, tokens = earned.get(each.node, (0, 0))
        earned[each.node] = micro + each.micro, tokens + each.tokens
    return earned


def _busy_ms(history: History, kind: type[RolloutAnswer | AuditAnswer]) -> int:
    answers = (said.answer for _, said in history if isinstance(said, WorkAnswered))
    return sum(answer.busy_ms for answer in answers if isinstance(answer, kind))
