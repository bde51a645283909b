"""A run heard out of its ledger, entry by entry: who said what, where it stands, and what was paid.

Law: told every entry of a fold in order, it believes nothing that the fold does not.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any, Literal

from archipel.lab.entry import Entry
from archipel.lab.run_story import RunStory
from archipel.market.journal import Move, Posting, held
from archipel.records.canonical import canonical_json
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.membership import KeyRevoked
from archipel.records.statements import NodeJoined, RunOpened, SnapshotTaken, WorkAnswered
from archipel.records.withdrawal import ContributionWithdrawn


@dataclass(slots=True)
class Answered:
    """An accepted answer to a work of the run."""

    author: str
    index: int
    at_ms: int


@dataclass(frozen=True, slots=True)
class TakenBack:
    """A contribution that is no longer given, or a key whose operator took its word back."""

    what: Literal["data", "party", "key", "revoked key"]
    name: str
    """Digest, or did:key."""
    author: str
    reason: str
    entry: int
    at_ms: int


@dataclass(slots=True)
class Hearing:
    """Of one run; `hear` is told every entry in order, `post` every movement of credits before the entry that made it."""

    name: str
    story: RunStory = field(init=False)
    size: int = 0
    """Entries heard."""
    last_ms: int = 0
    opened: Answered | None = None
    answered: dict[str, Answered] = field(default_factory=dict)
    """Work -> who answered it, and where in the ledger."""
    published: list[Answered] = field(default_factory=list)
    """One for each version."""
    examined: list[Answered] = field(default_factory=list)
    """One for each evaluation, in the order of the story."""
    kinds: dict[str, str] = field(default_factory=dict)
    """Work -> its kind."""
    software: dict[str, str] = field(default_factory=dict)
    """Node -> what it last said that it runs."""
    micro: Counter[str] = field(default_factory=Counter)
    """Wallet -> what the run paid into it, less what it took back."""
    taken_back: list[TakenBack] = field(default_factory=list)
    """Withdrawals of the run, and keys that were revoked, in the order of the ledger."""
    _posted: list[Posting] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.story = RunStory(self.name)

    def post(self, posting: Posting) -> None:
        """A movement of credits (`market.journal.listening`)."""
        self._posted.append(posting)

    def hear(self, entry: Entry) -> None:
        """The next entry."""
        said, place = entry.statement, Answered(entry.statement.author, self.size, entry.at_ms)
        versions, exams = len(self.story.updates), len(self.story.exams)
        self.story.hear(said)
        if isinstance(said, RunOpened) and said.run == self.name:
            self.opened = place
        elif isinstance(said, NodeJoined):
            self.software[said.author] = said.capabilities.software
        elif isinstance(said, WorkAnswered) and _run_of(said.work) == self.name:
            self.answered[said.work], self.kinds[said.work] = place, said.answer.kind
        elif isinstance(said, KeyRevoked) or (
            isinstance(said, ContributionWithdrawn) and said.run == self.name
        ):
            self.taken_back.append(_taken_back(said, place))
        self.published += [place] * (len(self.story.updates) - versions)
        self.examined += [place] * (len(self.story.exams) - exams)
        self._pay(said)
        self.size, self.last_ms = self.size + 1, entry.at_ms

    def _pay(self, said: Any) -> None:
        if isinstance(said, SnapshotTaken):
            self._posted.clear()  # whoever compares it folds the entries before it once more
        work = getattr(said, "work", None)
        about = _run_of(work) if isinstance(work, str) else getattr(said, "run", None)
        for each in self._posted:
            is_pay = each.move is Move.PAY and each.source == held(self.name)
            if is_pay or (each.move is Move.RESTORE and about == self.name):
                self.micro[each.target] += each.micro
            elif each.move is Move.CLAWBACK and about == self.name:
                self.micro[each.source.removeprefix("stake:")] -= each.micro
        self._posted.clear()


def rollouts_file(heard: Hearing) -> bytes:
    """Every result that stands, in the order of the works: canonical JSON."""
    listed = [
        {
            "work": work,
            "digest": answer.result.digest,
            "size": answer.result.size,
            "groups": list(spec.groups),
            "tokens": answer.num_tokens,
            "version": spec.version,
        }
        for work, spec, answer in rollouts(heard.story)
    ]
    return canonical_json({"run": heard.name, "results": listed})


def rollouts(story: RunStory) -> Iterator[tuple[str, RolloutSpec, RolloutAnswer]]:
    """Every result that stands, in the order of the works."""
    for work, each in sorted(story.standing.items(), key=lambda item: _number(item[0])):
        if isinstance(each.answer, RolloutAnswer) and isinstance(each.spec, RolloutSpec):
            yield work, each.spec, each.answer


def _taken_back(said: KeyRevoked | ContributionWithdrawn, place: Answered) -> TakenBack:
    if isinstance(said, KeyRevoked):
        return TakenBack(
            "revoked key", said.node, said.author, said.reason, place.index, place.at_ms
        )
    named = {"data": said.data, "party": said.party, "key": said.key}
    ((what, name),) = [(what, name) for what, name in named.items() if name is not None]
    return TakenBack(what, name, said.author, said.reason, place.index, place.at_ms)  # type: ignore[arg-type]  # a key of `named`


def _run_of(work: str) -> str:
    return work.rpartition(".")[0]


def _number(work: str) -> int:
    return int(work.rpartition(".")[2])
