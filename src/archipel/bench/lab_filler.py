"""A lab's history made in process: real entries, signed by those who say them, folded as they come.

Grants come from the lab's own rules and every entry is what a node, a learner or the lab would have
written; nothing is checked on the way in, because nobody lies. Blobs are named, not made: neither a
replay nor a restart reads them.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from archipel.bench.lab_run import RUN, TERMS, capabilities, pace
from archipel.bench.lab_wire import refer
from archipel.blobs import BlobStore
from archipel.identity import Identity, sign
from archipel.lab.apply import apply
from archipel.lab.decide import grant, next_seq, opportunities
from archipel.lab.entry import Entry
from archipel.lab.recovery import snapshot_ref
from archipel.lab.snapshots import FORMAT, encode_state
from archipel.lab.state import LabState
from archipel.lab.upkeep import SNAPSHOT_EVERY
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.verification import lab_key
from archipel.records.kinds import Answer
from archipel.records.kinds.evaluate import EvaluateAnswer, EvaluateSpec
from archipel.records.kinds.rollout import RolloutAnswer, RolloutSpec
from archipel.records.kinds.update import PromptBatch, UpdateAnswer, UpdateSpec
from archipel.records.statements import (
    RECORD_TYPE,
    LabOpened,
    LeaseGranted,
    LeaseRequested,
    ModelFile,
    NodeJoined,
    Recorded,
    RunOpened,
    SnapshotTaken,
    WorkAnswered,
    encode,
)

GROUP = 1024
"""Entries appended together."""
TRUSTED_KINDS = ("update", "evaluate")
_BLOB = refer(b"named, not made")


class Filler:
    """A lab of `nodes` nodes whose ledger grows as far as it is told."""

    terms = TERMS
    """Of its run."""
    step_ms = 3
    """Between two entries."""

    def __init__(self, nodes: int, log: Log | None, identity: Identity, groups: int = 200) -> None:
        """`log`: None for a state without a ledger."""
        self.identity = identity
        self.state = LabState(lab=identity.did)
        self.people = {
            each.did: each
            for each in (Identity.from_seed(b"node %-27d" % number) for number in range(nodes))
        }
        self.learner = Identity.from_seed(b"learner".ljust(32))
        self._operator = Identity.from_seed(b"operator".ljust(32))
        self._groups = groups
        self._log = log
        self._data: list[bytes] = []
        self._now_ms = self._begins_ms()
        self._begin()

    def say(self, author: Identity, statement: Recorded) -> Entry:
        """One more entry."""
        self._now_ms += self.step_ms
        envelope = sign(author, encode(statement), RECORD_TYPE)
        entry = Entry(self._now_ms, envelope, statement)
        self.state = apply(self.state, statement, self._now_ms)
        if self._log is not None:
            self._data.append(entry.to_bytes())
            if len(self._data) >= GROUP:
                self.flush()
        return entry

    def continue_in(self, log: Log) -> None:
        """What is said from now on goes there: the same ledger, opened again."""
        self._log = log

    def flush(self) -> None:
        """Everything said is in the ledger."""
        if self._log is not None and self._data:
            self._log.append(self._data)
            self._data = []

    def request(self, author: Identity, kinds: tuple[str, ...]) -> LeaseGranted | None:
        """A lease for `author`, as the lab would grant it now."""
        seq = self._next(author)
        asked = LeaseRequested(
            lab=self.state.lab, author=author.did, seq=seq, kinds=kinds, holding=()
        )
        given = grant(self.state, asked, self._now_ms, opportunities(self.state), {})
        if given is not None:
            self.say(self.identity, given)
        return given

    def answered(self, author: Identity, work: LeaseGranted) -> WorkAnswered:
        """An honest answer, not said yet."""
        return WorkAnswered(
            lab=self.state.lab,
            author=author.did,
            seq=self._next(author),
            work=work.work,
            answer=self._answer(work),
        )

    def learn(self) -> None:
        """The learner does what there is for it."""
        while (work := self.request(self.learner, TRUSTED_KINDS)) is not None:
            self.say(self.learner, self.answered(self.learner, work))

    def work(self, until: Callable[[], bool]) -> None:
        """Every node in turn takes a lease and answers it; the learner publishes."""
        while not until():
            self.learn()
            for author in self.people.values():
                work = self.request(author, ("rollout",))
                if work is None:
                    self.learn()
                    break
                self.say(author, self.answered(author, work))
                if until():
                    break

    def announce(self, size: int, data: bytes) -> None:
        """A snapshot of the first `size` entries is there."""
        taken = SnapshotTaken(
            lab=self.state.lab,
            author=self.state.lab,
            seq=next_seq(self.state),
            format=FORMAT,
            size=size,
            state=snapshot_ref(data),
        )
        self.say(self.identity, taken)

    def _begins_ms(self) -> int:
        return time.time_ns() // 1_000_000

    def _begin(self) -> None:
        lab = self.state.lab
        operator, author = self._operator.did, self._operator.did
        self.say(self.identity, LabOpened(lab=lab, author=lab, seq=1, operators=(operator,)))
        opened = RunOpened(
            lab=lab, author=author, seq=1, run=RUN, recipe=_BLOB, terms=self.terms,
            pace=pace(self._groups), model=(ModelFile(name="config.json", blob=_BLOB),),
            trusted=(self.learner.did,),
        )  # fmt: skip
        self.say(self._operator, opened)
        self._join(self.learner, TRUSTED_KINDS)
        for each in self.people.values():
            self._join(each, ("rollout",))

    def _join(self, author: Identity, kinds: tuple[str, ...]) -> None:
        said = capabilities(kinds)
        seq = self._next(author)
        self.say(
            author, NodeJoined(lab=self.state.lab, author=author.did, seq=seq, capabilities=said)
        )

    def _next(self, author: Identity) -> int:
        known = (self.state.sequences, self.state.asked)
        return max(int(numbers.get(author.did, 0)) for numbers in known) + 1

    def _answer(self, work: LeaseGranted) -> Answer:
        spec = work.spec
        if isinstance(spec, EvaluateSpec):
            return EvaluateAnswer(
                version=spec.version, policy=spec.policy, report=_BLOB, metrics={}
            )
        if isinstance(spec, RolloutSpec):
            return RolloutAnswer(policy=spec.policy, result=_BLOB, num_tokens=16, busy_ms=1)
        if not isinstance(spec, UpdateSpec):
            raise TypeError(f"nobody here answers {spec.kind} work")
        version = spec.version
        is_saved = version > 0 and version % self.terms.checkpoint_every == 0
        return UpdateAnswer(
            version=version,
            parent=spec.parent,
            policy=refer(b"version %d" % version).digest,
            manifest=_BLOB,
            anchor=_BLOB,
            delta=None,
            memory=_BLOB if is_saved else None,
            prompts=tuple(
                PromptBatch(batch=batch, blob=_BLOB)
                for batch in range(0 if version == 0 else version + 1, version + 2)
            ),
            metrics={"reward_micro": 500_000},
        )


def grown(
    home: Path, sizes: Sequence[int], nodes: int, tell: Callable[[str], None] = lambda _: None
) -> Iterator[int]:
    """Grow one ledger in `home`, with snapshots as a lab takes them; it rests, closed, at each of `sizes`. Yields
    how many entries there are then: what a learner does at once may be a few more.

    The last snapshot is as old as one can be: a restart then has the most to fold.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    identity = Identity.load_or_create(home / "lab.key")
    origin = lab_key(identity.did).name
    store = BlobStore(home / "blobs")
    filler: Filler | None = None
    for size in sizes:
        log = open_log(home / "ledger.sqlite", origin, identity, home / "ledger.head")
        try:
            if filler is None:
                filler = Filler(nodes, log, identity)
            filler.continue_in(log)
            _grow(filler, store, size, tell)
        finally:
            log.close()
        yield filler.state.size


def _grow(filler: Filler, store: BlobStore, size: int, tell: Callable[[str], None]) -> None:
    while filler.state.size < size:
        taken = filler.state.snapshot[0] if filler.state.snapshot else 0
        goal = min(size, taken + SNAPSHOT_EVERY)
        filler.work(lambda goal=goal: filler.state.size >= goal)  # type: ignore[misc]
        if filler.state.size < size:
            tell(f"{filler.state.size} of {size} entries made")
            data = encode_state(filler.state)
            store.put_bytes(data, privileged=True)
            filler.announce(filler.state.size, data)
    filler.flush()
