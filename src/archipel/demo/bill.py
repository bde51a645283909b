"""What the run cost, whom it paid, and what a central run would have: from the ledger, and this machine's own clock. Pure.

A central run pays for the same sampling by the hour of a rented processor at a list price; it needs no audits, and
its learner costs what ours does, which neither figure has in it.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from archipel.demo.aftermath import History
from archipel.lab.apply import apply
from archipel.lab.awards import in_force
from archipel.lab.markets import price_of
from archipel.lab.providers import account_of
from archipel.lab.state import LabState
from archipel.market.journal import stake, wallet
from archipel.records.kinds.audit import AuditAnswer
from archipel.records.kinds.rollout import RolloutAnswer
from archipel.records.rounds import BidRevealed, MarketCleared
from archipel.records.statements import Recorded, WorkAnswered

MILLION = 10**6


@dataclass(slots=True)
class Seller:
    """What a node asked, and what became of it."""

    asked_micro: list[int] = field(default_factory=list)
    """Per million tokens, in each round in which it revealed a bid."""
    bought_micro: list[int] = field(default_factory=list)
    """What it was paid for these, in each round in which it was bought."""
    earned_micro: int = 0
    """For accepted answers, before anything was taken back."""
    tokens: int = 0
    """Sampled."""


@dataclass(slots=True)
class Sums:
    """What a run paid, as its ledger is read."""

    sampling_micro: int = 0
    audits_micro: int = 0
    sampling_ms: int = 0
    """As the nodes state it."""
    audits_ms: int = 0
    taken_micro: int = 0
    """Of these, for answers that audits found wrong."""
    rounds: int = 0
    prices_micro: list[int] = field(default_factory=list)
    """Of each round that found one, per million tokens at full quality."""
    sellers: dict[str, Seller] = field(default_factory=dict)
    """By node."""

    @property
    def tokens(self) -> int:
        """Sampled and accepted."""
        return sum(each.tokens for each in self.sellers.values())

    @property
    def paid_micro(self) -> int:
        """In all, less what was taken back."""
        return self.sampling_micro + self.audits_micro - self.taken_micro


@dataclass(frozen=True, slots=True)
class Bill:
    """Of a run."""

    sums: Sums
    processor_s: float
    """Of sampling alone; 0: unknown."""
    central_usd: float
    """What so much time of a processor costs by the hour at the list price; 0: unknown."""
    credit_usd: float

    @property
    def paid_usd(self) -> float:
        """At what a credit is worth here."""
        return self.sums.paid_micro / MILLION * self.credit_usd

    def per_million(self, usd: float) -> float:
        """Of an amount, for a million sampled tokens."""
        return usd * MILLION / max(self.sums.tokens, 1)

    def report(self, names: Mapping[str, str]) -> dict[str, Any]:
        """For machines; nodes by their names."""
        sums = asdict(self.sums)
        sums["sellers"] = {names.get(did, did): each for did, each in sums["sellers"].items()}
        return {
            **sums,
            "tokens": self.sums.tokens,
            "paid_usd": self.paid_usd,
            "central_processor_s": self.processor_s,
            "central_usd": self.central_usd,
            "credit_usd": self.credit_usd,
        }


def settled(history: History, run: str) -> tuple[LabState, Sums]:
    """The lab's state by its ledger alone, and what the run paid on the way."""
    state, sums = LabState(lab=history[0][1].lab), Sums()
    for at_ms, said in history:
        before = _holds(state, said.author)
        state = apply(state, said, at_ms)
        if run in state.runs:
            _count(sums, state, said, run, _holds(state, said.author) - before)
    sums.taken_micro = sums.paid_micro - state.runs[run].paid_micro
    return state, sums


def _holds(state: LabState, did: str) -> int:
    """Micro-credits of whoever this is, its stake included: what an answer brings goes there."""
    account = account_of(state, did)
    return int(state.book.get(wallet(account), 0) + state.book.get(stake(account), 0))


def bill_of(sums: Sums, processor_s: float, hour_usd: float, credit_usd: float) -> Bill:
    """What was paid, beside what the same sampling takes of rented processors.

    processor_s: of the nodes' work processes, sampling and audits together. hour_usd: of one processor.
    """
    share = sums.sampling_ms / max(sums.sampling_ms + sums.audits_ms, 1)
    sampling_s = processor_s * share
    return Bill(sums, sampling_s, sampling_s / 3600 * hour_usd, credit_usd)


def _count(sums: Sums, state: LabState, said: Recorded, run: str, paid_micro: int) -> None:
    """One more statement; paid_micro: what its author has by it."""
    match said:
        case WorkAnswered() if not said.work.startswith(f"{run}."):
            return
        case WorkAnswered(answer=RolloutAnswer() as answer) if paid_micro:
            seller = sums.sellers.setdefault(said.author, Seller())
            seller.earned_micro += paid_micro
            seller.tokens += answer.num_tokens
            sums.sampling_micro += paid_micro
            sums.sampling_ms += answer.busy_ms
        case WorkAnswered(answer=AuditAnswer() as answer) if paid_micro:
            sums.sellers.setdefault(said.author, Seller()).earned_micro += paid_micro
            sums.audits_micro += paid_micro
            sums.audits_ms += answer.busy_ms
        case BidRevealed() if said.run == run:
            asked = sums.sellers.setdefault(said.author, Seller()).asked_micro
            asked.append(said.bid.price_micro)
        case MarketCleared() if said.run == run:
            _cleared(sums, state, run)


def _cleared(sums: Sums, state: LabState, run: str) -> None:
    sums.rounds += 1
    last = in_force(state, state.runs[run])
    if last is None:
        return
    sums.prices_micro.append(last.price_micro)
    for award in last.awards.values():
        sums.sellers.setdefault(award.seller, Seller()).bought_micro.append(price_of(award))
