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
from archipel.lab.entry import read_entry
from archipel.lab.handouts import Outgoing, Receipt
from archipel.lab.lab import Lab
from archipel.lab.programmes import rl
from archipel.lab.recovery import pages, replay
from archipel.lab.snapshots import decode_state, encode_state
from archipel.lab.state import OPEN_PHASES, LabState, Phase, Run
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.signed_note import NoteKey
from archipel.records.fields import BlobRef
from archipel.records.kinds.rollout import RolloutSpec
from archipel.records.pauses import RunPaused, RunResumed, RunRetried
from archipel.records.programmes.rl import RlPace
from archipel.records.statements import (
    LeaseGranted,
    ModelFile,
    RunOpened,
    RunStopped,
    Statement,
    decode,
)
from archipel.records.terms import Terms
from memory import MemoryBlobs, MemoryStorage
from outer import check_outer
from people import EOS, VOCAB, Learner, Provider, envelope, identity, ref
from questions import check_door

T = TypeVar("T")

ORIGIN = "archipel.test/lab"
START_MS = 1_800_000_000_000
TERMS = {
    "versions": 4,
    "evaluate_every": 2,
    "checkpoint_every": 3,
    "keep_versions": 64,
    "trusted_deadline_ms": 120_000,
}
PACE = {
    "groups_per_update": 4,
    "group_size": 2,
    "max_staleness": 1,
    "seed": 7,
    "vocab_size": VOCAB,
    "max_new_tokens": 5,
    "temperature_micro": 1_000_000,
    "stop_tokens": (EOS,),
    "max_groups_per_lease": 64,
    "min_deadline_ms": 30_000,
    "slack_milli": 4000,
    "price_micro": 1000,
}


class World:
    """One lab and everybody around it; with a folder, its blobs and its ledger lie there."""

    def __init__(
        self, folder: Path | None = None, *, ledger_on_disk: bool = True, lab: str = "lab"
    ) -> None:
        self._name = lab
        self._ledger = folder / "ledger.sqlite" if folder and ledger_on_disk else None
        self.now_ms = START_MS
        self.operator = identity("operator")
        self.storage = MemoryStorage()
        self.blobs = MemoryBlobs() if folder is None else BlobStore(folder / "blobs")
        self._runner = asyncio.Runner()
        self._last_seq = 0
        self.lab = self._open_lab()
        self.await_(self.lab.found([self.operator.did]))

    def _open_lab(self) -> Lab:
        own = identity(self._name)
        if self._ledger is None:
            log = Log(self.storage, NoteKey(ORIGIN, own.public_key), own)
        else:
            log = open_log(self._ledger, ORIGIN, own)
        return Lab(own, log, self.blobs, clock_ms=lambda: self.now_ms, in_thread=False)

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

    def ask_for_copy(self, data: bytes, ms: int = 0) -> LeaseGranted | None:
        """A request that still waits when time has passed and the lab looks at its deadlines."""
        self.now_ms += ms

        async def story() -> Outgoing | None:
            asked = asyncio.create_task(self.lab.lease(data, 0.02))
            for _ in range(3):
                await asyncio.sleep(0)
            self.lab.expire_leases()
            return await asked

        answer = self.await_(story())
        return None if answer is None else granted_in(answer)

    def tick(self, ms: int) -> None:
        """Time passes, and the lab looks at its deadlines."""
        self.now_ms += ms
        self.await_(self._expire())

    async def _expire(self) -> None:
        self.lab.expire_leases()
        self.lab.draw_audits()

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
        return None if answer is None else granted_in(answer)

    def statement(self, author: Identity, kind: type[Statement], **fields: Any) -> Statement:
        self._last_seq += 1  # as clocks do: nobody's next number is below what anybody used before
        seq = self._last_seq
        return kind(**({"lab": self.state.lab, "author": author.did, "seq": seq} | fields))

    def put(self, data: bytes, *, privileged: bool = False) -> BlobRef:
        self.blobs.put_bytes(data, privileged=privileged)
        return ref(data)

    def open_run(self, name: str = "run", trusted: tuple[str, ...] = (), **pace: Any) -> Run:
        self.speak(
            self.operator,
            RunOpened,
            run=name,
            recipe=self.put(f"recipe of {name}".encode()),
            terms=Terms(**{key: pace.get(key, value) for key, value in TERMS.items()}),
            pace=RlPace(**(PACE | {key: v for key, v in pace.items() if key not in TERMS})),
            model=(ModelFile(name="config.json", blob=self.put(b"{}")),),
            trusted=trusted or (identity("learner").did,),
        )
        return self.run(name)

    def stop_run(self, name: str = "run") -> None:
        self.speak(self.operator, RunStopped, run=name, reason="enough")

    def pause_run(self, name: str = "run", reason: str = "until Monday") -> None:
        self.speak(self.operator, RunPaused, run=name, reason=reason)

    def resume_run(self, name: str = "run") -> None:
        self.speak(self.operator, RunResumed, run=name)

    def retry_run(self, name: str = "run") -> None:
        self.speak(self.operator, RunRetried, run=name)

    def provider(
        self, name: str, speed_milli: int = 0, *, join: bool = True, **stated: Any
    ) -> "Provider":
        """A node; `stated`: fields of `Provider` that its capabilities are made of."""
        provider = Provider(self, identity(name), speed_milli, **stated)
        if join:
            provider.join()
        return provider

    def learner(self, name: str = "learner", *, join: bool = True, **stated: Any) -> "Learner":
        learner = Learner(self, identity(name), **stated)
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
        assert sum(state.book.values()) == 0
        orders = self.lab.orders
        assert orders.nodes.keys() == state.nodes.keys()
        assert list(orders.runs) == sorted(state.runs, key=lambda name: state.runs[name].entry)
        assert list(orders.leases) == sorted(
            state.leases, key=lambda work: state.leases[work].entry
        )
        others = {"pretrain": check_outer, "door": check_door}
        for run in state.runs.values():
            others.get(run.opened.pace.programme, check_groups)(state, run)
        outer = any(run.opened.pace.programme in others for run in state.runs.values())
        for did, node in state.nodes.items():
            units = sum(tally.units for tally in node.tallies.values())
            assert outer or state.book.get(did, 0) == units * PACE["price_micro"]
            assert set(node.leases) == {w for w, each in state.leases.items() if each.node == did}

    def check_replay(self) -> None:
        """The ledger from empty gives the live state, every signature verified; so does a snapshot."""
        assert replay(self.state.lab, pages(self.lab.log)) == self.state
        assert decode_state(encode_state(self.state)) == self.state

    def statements(self) -> list[Statement]:
        """Everything in the ledger."""
        return [read_entry(data).statement for data in pages(self.lab.log)]


def granted_in(answer: Outgoing) -> LeaseGranted:
    statement = decode(Envelope.from_json(answer.handout.grant.encode()).payload)
    assert isinstance(statement, LeaseGranted)
    return statement


def check_groups(state: LabState, run: Run) -> None:
    """Every admitted group is in exactly one place, and no update is ever too stale."""
    works = [work for work, lease in state.leases.items() if lease.spec.run == run.name]
    assert set(run.leases) == set(works)
    assert {work: state.leases[work].entry for work in works} == run.leases
    is_closed = run.phase not in OPEN_PHASES and not works
    assert run.name in state.live or is_closed
    slice_, pace, name = rl.course(run), rl.pace(run), run.name
    learned = max(run.version, 0) * pace.groups_per_update
    holders = [
        (group, work)
        for work, lease in sorted(state.leases.items(), key=lambda item: item[1].entry)
        if isinstance(lease.spec, RolloutSpec) and lease.spec.run == name
        for group in lease.spec.groups
    ]
    leased = {group for group, _ in holders}
    for group in leased:
        holding = [work for each, work in holders if each == group]
        assert holding[0] == slice_.holders[group]
        assert len(holding) <= 2
        twins = [slice_.twins.get(work) for work in holding]
        assert twins == (holding[::-1] if len(holding) == 2 else [None])
        assert len({state.leases[work].node for work in holding}) == len(holding)
    assert slice_.holders.keys() == leased
    assert slice_.twins.keys() <= state.leases.keys()
    own, version = rl.batches(run), max(run.version, 0)
    further = [*own.further(version)[: rl.num_further(run)]]
    assert sorted([*range(learned), *slice_.accepted, *slice_.pool, *leased]) == [
        *range(slice_.next_group),
        *further,
    ]
    assert rl.in_flight(run) == len(leased)
    assert slice_.owed == sum(group not in slice_.accepted for group in rl.next_batch(run))
    ceiling = (pace.max_staleness + max(run.version, 0) + 1) * pace.groups_per_update
    assert slice_.next_group <= ceiling
    assert slice_.next_group <= run.opened.terms.versions * pace.groups_per_update
    assert max(slice_.staleness, default=0) <= pace.max_staleness
    consumed = sum(slice_.staleness.values())
    assert consumed == learned if not pace.refill else learned <= consumed
    if is_closed:
        assert not any(
            (slice_.accepted, slice_.results, slice_.prompts, slice_.made, slice_.memory)
        )
        assert slice_.num_groups >= learned
    else:
        assert slice_.num_groups == consumed + len(slice_.accepted)
    held = sum(each.price_micro for each in state.leases.values() if each.spec.run == name)
    assert state.book.get(f"held:{name}", 0) == held
    assert run.paid_micro == slice_.num_groups * pace.price_micro
    for group, work in slice_.accepted.items():
        spec = slice_.results[work].spec
        assert isinstance(spec, RolloutSpec)
        assert group in spec.groups
        assert own.origin(group) - spec.version <= pace.max_staleness


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
