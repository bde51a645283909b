"""A door and its nodes in the tests: questions with real keys, honest answers unless told to lie; and what must hold of
such a run in every state.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from archipel.identity import Identity
from archipel.lab.handouts import Receipt
from archipel.lab.programmes import door
from archipel.lab.state import LabState, Run
from archipel.records.adapter import AdapterForm
from archipel.records.canonical import sha256_digest
from archipel.records.door import (
    AdaptQuestion,
    Begun,
    DoorAsked,
    DoorWithdrawn,
    SampleQuestion,
)
from archipel.records.fields import BlobRef
from archipel.records.kinds.adapt import AdaptAnswer, AdaptSpec
from archipel.records.kinds.sample import SampleAnswer, SampleSpec
from archipel.records.programmes.door import DoorPace
from archipel.records.statements import LeaseGranted, ModelFile, RunOpened
from archipel.records.terms import Terms
from archipel.records.words import WorkAnswer
from people import Provider, identity

if TYPE_CHECKING:
    from world import World

FORM = AdapterForm(rank=4, alpha_micro=32_000_000, targets=("q_proj",), rank_stabilised=False)
DOOR = identity("door")
TRUSTED = identity("trusted trainer")
DOOR_TERMS = Terms(
    versions=1, evaluate_every=1, checkpoint_every=1, keep_versions=1, trusted_deadline_ms=60_000
)
DOOR_PACE: dict[str, Any] = {
    "door": DOOR.did,
    "adapt": "trusted",
    "rank": 8,
    "turn_tokens": 10_000,
    "sample_tokens": 10_000,
    "question_bytes": 1000,
    "answer_bytes": 1000,
    "state_bytes": 2000,
    "queued": 64,
    "keep_ms": 100_000,
    "min_deadline_ms": 1000,
    "slack_milli": 4000,
    "adapt_per_million_micro": 2_000_000,
    "sample_per_million_micro": 1_000_000,
}


def door_pace(**given: Any) -> DoorPace:
    return DoorPace(**(DOOR_PACE | given))


def open_door(world: "World", name: str = "door", **given: Any) -> "Asker":
    """A door's run, and its door."""
    world.speak(
        world.operator,
        RunOpened,
        run=name,
        recipe=world.put(f"recipe of {name}".encode()),
        terms=DOOR_TERMS,
        pace=door_pace(**given),
        model=(ModelFile(name="config.json", blob=world.put(b"{}")),),
        trusted=(TRUSTED.did,),
    )
    return Asker(world, name)


@dataclass
class Asker:
    """The door of a run."""

    world: "World"
    run: str
    identity: Identity = DOOR
    lasts_ms: int = 50_000

    @property
    def next_number(self) -> int:
        return door.course(self.world.run(self.run)).next_number

    def ask(self, question: AdaptQuestion | SampleQuestion, tenant: str = "t", **lies: Any) -> int:
        """Its number."""
        fields = {
            "run": self.run,
            "number": self.next_number,
            "tenant": sha256_digest(tenant.encode()),
            "share": 1,
            "num_tokens": 100,
            "lasts_ms": self.lasts_ms,
            "question": question,
        } | lies
        self.say(DoorAsked, **fields)
        return int(fields["number"])

    def adapt(self, text: str = "step", tenant: str = "t", **said: Any) -> int:
        """To train; without more, from the beginning."""
        start = {name: said.pop(name) for name in ("state", "after", "again") if name in said}
        if not start:
            start = {"begins": Begun(form=said.pop("form", FORM), seed=7)}
        if "again" not in start:
            start["operations"] = said.pop("operations", None) or self.world.put(text.encode())
        return self.ask(AdaptQuestion(**start), tenant, **said)

    def sample(
        self, text: str = "prompt", tenant: str = "t", adapter: BlobRef | None = None, **said: Any
    ) -> int:
        questions = self.world.put(text.encode())
        return self.ask(SampleQuestion(adapter=adapter, questions=questions), tenant, **said)

    def withdraw(self, *numbers: int) -> None:
        self.say(DoorWithdrawn, run=self.run, numbers=numbers)

    def say(self, kind: type, **fields: Any) -> Receipt:
        return self.world.speak(self.identity, kind, **fields)


@dataclass
class Hand(Provider):
    """A node that does a door's work."""

    kinds: tuple[str, ...] = ("adapt", "sample")
    bits: str = ""
    """What its states have more than others'."""
    machine: str | None = "test-cpu"

    def answer_kind(self, grant: LeaseGranted) -> type[WorkAnswer]:
        if isinstance(grant.spec, AdaptSpec):
            return AdaptAnswer
        return SampleAnswer if isinstance(grant.spec, SampleSpec) else super().answer_kind(grant)

    def words(self, grant: LeaseGranted) -> dict[str, Any]:
        spec = grant.spec
        if isinstance(spec, AdaptSpec):
            before = "" if spec.state is None else spec.state.digest
            made = f"{before} {spec.operations.digest}{self.bits}"
            return {
                "state": self.put(f"state {made}".encode()),
                "outcomes": self.put(f"outcomes {made}".encode()),
                "num_tokens": spec.num_tokens,
                "busy_ms": 5,
                "machine": self.machine,
            }
        if isinstance(spec, SampleSpec):
            return {
                "policy": spec.policy,
                "result": self.put(f"samples {spec.questions.digest}".encode()),
                "num_tokens": spec.num_tokens // 2,
                "busy_ms": 5,
            }
        return super().words(grant)


def hand(world: "World", name: str, who: Identity | None = None, **stated: Any) -> Hand:
    made = Hand(world, who or identity(name), **stated)
    made.join()
    return made


def trainer(world: "World", **stated: Any) -> Hand:
    """A node whose key the run trusts."""
    return hand(world, "", TRUSTED, **stated)


def asked_next(node: Hand) -> int | None:
    """The question of the lease that it is given, which it then answers."""
    granted = node.ask()
    if granted is None:
        return None
    node.answer(granted)
    assert isinstance(granted.spec, AdaptSpec | SampleSpec)
    return granted.spec.question


def kept(asker: Asker) -> set[int]:
    return set(door.course(asker.world.run(asker.run)).answered)


def trained(asker: Asker, number: int) -> AdaptAnswer:
    answer = door.course(asker.world.run(asker.run)).answered[number].answer
    assert isinstance(answer, AdaptAnswer)
    return answer


def taken(node: Hand) -> LeaseGranted:
    granted = node.ask()
    assert granted is not None
    return granted


def check_door(state: LabState, run: Run) -> None:
    """1 every question in one place  2 leases  3 money  4 bounds and what is told at once"""
    slice_, pace = door.course(run), door.pace(run)
    # 1
    busy = {each.number for each in slice_.held.values()}
    assert not slice_.asked.keys() & slice_.answered.keys()
    assert all(number < slice_.next_number for number in (*slice_.asked, *slice_.answered))
    assert set(slice_.ready) <= set(slice_.asked)
    assert not set(slice_.ready) & busy
    for number, each in slice_.asked.items():
        after = getattr(each.question, "after", None)
        assert (number in slice_.ready) == (after is None and number not in busy)
        assert after is None or after in slice_.asked
    # 2
    leases = {work: each for work, each in state.leases.items() if each.spec.run == run.name}
    assert set(run.leases) == set(leases) == set(slice_.held)
    for work, held in slice_.held.items():
        assert leases[work].spec.question == held.number  # type: ignore[union-attr]  # of its kinds
    assert len(busy) == len(slice_.held)
    # 3
    promised = sum(each.price_micro for each in leases.values())
    assert state.book.get(f"held:{run.name}", 0) == promised
    counts = slice_.counts
    most = pace.adapt_micro(counts.adapt_tokens) + counts.adapted
    most += pace.sample_micro(counts.sample_tokens) + counts.sampled
    assert run.paid_micro <= most
    # 4
    assert slice_.num_adapts == sum(kind == "adapt" for kind in slice_.ready.values())
    assert len(slice_.asked) + len(slice_.answered) <= pace.queued
    ends = [each.until_ms for number, each in slice_.asked.items() if number not in busy]
    ends += [each.until_ms for each in slice_.answered.values()]
    assert not ends or 0 < slice_.ends_ms <= min(ends)
