"""A whole lab in memory: its clock stands until a story moves it, and its people have real keys.

`World` holds the lab, `Provider` is a node (honest unless the story makes it lie), `Learner` is the
trusted role. `World.check` states what must hold after every step of every story.
"""

import asyncio
from collections.abc import Coroutine
from pathlib import Path
from typing import Any, TypeVar

from archipel.blobs import BlobStore
from archipel.identity import Envelope, Identity
from archipel.lab.lab import Lab, Receipt, replay
from archipel.lab.state import LabState, Phase, Run
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.signed_note import NoteKey
from archipel.records.fields import BlobRef
from archipel.records.statements import (
    LeaseGranted,
    ModelFile,
    Pace,
    RolloutSpec,
    RunOpened,
    RunStopped,
    Statement,
    decode,
)
from memory import MemoryBlobs, MemoryStorage
from people import EOS, VOCAB, Learner, Provider, envelope, identity, ref

T = TypeVar("T")

ORIGIN = "archipel.test/lab"
START_MS = 1_800_000_000_000
PACE = {
    "versions": 4,
    "groups_per_update": 4,
    "group_size": 2,
    "max_staleness": 1,
    "evaluate_every": 2,
    "seed": 7,
    "vocab_size": VOCAB,
    "max_new_tokens": 5,
    "temperature_micro": 1_000_000,
    "stop_tokens": (EOS,),
    "max_groups_per_lease": 64,
    "min_deadline_ms": 30_000,
    "update_deadline_ms": 120_000,
    "slack_milli": 4000,
    "price_micro": 1000,
}


class World:
    """One lab and everybody around it; with a folder, its blobs and its ledger lie there."""

    def __init__(self, folder: Path | None = None, *, ledger_on_disk: bool = True) -> None:
        self._ledger = folder / "ledger.sqlite" if folder and ledger_on_disk else None
        self.now_ms = START_MS
        self.operator = identity("operator")
        self.storage = MemoryStorage()
        self.blobs = MemoryBlobs() if folder is None else BlobStore(folder / "blobs")
        self._runner = asyncio.Runner()
        self._seqs: dict[str, int] = {}
        self.lab = self._open_lab()
        self.lab.found([self.operator.did])

    def _open_lab(self) -> Lab:
        own = identity("lab")
        if self._ledger is None:
            log = Log(self.storage, NoteKey(ORIGIN, own.public_key), own)
        else:
            log = open_log(self._ledger, ORIGIN, own)
        return Lab(own, log, self.blobs, clock_ms=lambda: self.now_ms)

    def restart(self) -> None:
        """The lab is killed and comes back with what its disk holds."""
        self.lab.log.close()
        self.lab = self._open_lab()

    def close(self) -> None:
        self.lab.log.close()
        self._runner.close()

    @property
    def state(self) -> LabState:
        return self.lab.state

    def run(self, name: str = "run") -> Run:
        return self.state.runs[name]

    def tick(self, ms: int) -> None:
        """Time passes, and the lab looks at its deadlines."""
        self.now_ms += ms
        self.lab.expire_leases()

    def await_(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` on this world's one event loop; from inside it, as far as it gets at once."""
        try:
            asyncio.get_running_loop()
        except RuntimeError:
            return self._runner.run(work)
        try:
            work.send(None)
        except StopIteration as end:
            return end.value  # type: ignore[no-any-return]  # T, by the coroutine's type
        work.close()
        return None  # type: ignore[return-value]  # a request for work that would have to wait

    def speak(self, author: Identity, kind: type[Statement], **fields: Any) -> Receipt:
        return self.say(envelope(author, self.statement(author, kind, **fields)))

    def say(self, data: bytes) -> Receipt:
        return self.await_(self.lab.submit(data))

    def ask(self, data: bytes, wait_s: float = 0.0) -> LeaseGranted | None:
        answer = self.await_(self.lab.lease(data, wait_s))
        return None if answer is None else self._granted(answer)

    def statement(self, author: Identity, kind: type[Statement], **fields: Any) -> Statement:
        seq = self._seqs.get(author.did, 0) + 1
        self._seqs[author.did] = seq
        return kind(**({"lab": self.state.lab, "author": author.did, "seq": seq} | fields))

    def put(self, data: bytes) -> BlobRef:
        self.blobs.put_bytes(data)
        return ref(data)

    def open_run(self, name: str = "run", trusted: tuple[str, ...] = (), **pace: Any) -> Run:
        self.speak(
            self.operator,
            RunOpened,
            run=name,
            recipe=self.put(f"recipe of {name}".encode()),
            pace=Pace(**(PACE | pace)),
            model=(ModelFile(name="config.json", blob=self.put(b"{}")),),
            trusted=trusted or (identity("learner").did,),
        )
        return self.run(name)

    def stop_run(self, name: str = "run") -> None:
        self.speak(self.operator, RunStopped, run=name, reason="enough")

    def provider(self, name: str, speed_milli: int = 0, *, join: bool = True) -> "Provider":
        provider = Provider(self, identity(name), speed_milli)
        if join:
            provider.join()
        return provider

    def learner(self, name: str = "learner", *, join: bool = True) -> "Learner":
        learner = Learner(self, identity(name))
        if join:
            learner.join()
        return learner

    def started(self, **pace: Any) -> "Learner":
        """A run at version 0, and its learner."""
        self.open_run(**pace)
        learner = self.learner()
        learner.work()
        return learner

    def check(self) -> None:
        """What holds in every state of every lab."""
        state = self.state
        assert sum(state.balances.values()) == 0
        for run in state.runs.values():
            check_groups(state, run)
        for did, node in state.nodes.items():
            assert state.balances.get(did, 0) == node.groups * PACE["price_micro"]

    def check_replay(self) -> None:
        """The ledger from empty gives the live state, every signature verified on the way."""
        assert replay(self.state.lab, self.lab.log) == self.state

    def _granted(self, answer: Envelope) -> LeaseGranted:
        statement = decode(answer.payload)
        assert isinstance(statement, LeaseGranted)
        return statement


def check_groups(state: LabState, run: Run) -> None:
    """Every admitted group is in exactly one place, and no update is ever too stale."""
    pace, name = run.opened.pace, run.opened.run
    learned = max(run.version, 0) * pace.groups_per_update
    leased = [
        group
        for lease in state.leases.values()
        if isinstance(lease.spec, RolloutSpec) and lease.spec.run == name
        for group in lease.spec.groups
    ]
    assert sorted([*range(learned), *run.accepted, *run.pool, *leased]) == list(
        range(run.next_group)
    )
    assert run.next_group <= (pace.max_staleness + max(run.version, 0) + 1) * pace.groups_per_update
    assert run.next_group <= pace.versions * pace.groups_per_update
    assert max(run.staleness, default=0) <= pace.max_staleness
    assert sum(run.staleness.values()) == learned
    assert run.num_groups == learned + len(run.accepted)
    for group, work in run.accepted.items():
        assert group in run.results[work].groups
        assert group // pace.groups_per_update - run.results[work].version <= pace.max_staleness


def finish(world: World, learner: Learner, providers: list[Provider], limit: int = 4000) -> None:
    """Everybody works honestly until every run is complete."""
    for _ in range(limit):
        if all(run.phase is Phase.COMPLETE for run in world.state.runs.values()):
            return
        learner.work()
        for provider in providers:
            granted = provider.ask()
            if granted is not None:
                world.tick(10)
                provider.answer(granted)
    raise AssertionError("the run did not end")
