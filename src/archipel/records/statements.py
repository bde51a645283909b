"""Every statement that may enter a lab's ledger, and the two that only ask (`LeaseRequested`, `BlobOffered`).

A statement names the lab it is meant for, its author and the author's sequence number, so it cannot
be replayed here or at another lab. Its bytes are canonical JSON; `decode` accepts nothing else.
"""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field, TypeAdapter, ValidationError

from archipel.records.backends import BackendNames
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.compute import Pledging
from archipel.records.door import AtDoor
from archipel.records.engine_classes import EngineClasses
from archipel.records.episodes import PlayedNames
from archipel.records.exact import Contracts
from archipel.records.fields import (
    MAX_FORGOTTEN,
    MAX_KINDS,
    MAX_LEASES_PER_NODE,
    MAX_MODEL_FILES,
    MAX_RECORD_BYTES,
    MAX_TRUSTED_KEYS,
    AskedRuns,
    BlobRef,
    Closed,
    Count,
    Did,
    Fault,
    FileName,
    KindName,
    LeftOut,
    Millis,
    Reason,
    RunName,
    Sparing,
    WorkId,
)
from archipel.records.judging import Judging
from archipel.records.kinds import Answer, Spec
from archipel.records.membership import Effort, Signed
from archipel.records.money import Paying
from archipel.records.ownership import Owning
from archipel.records.pauses import Pausing, RunRetried
from archipel.records.programmes import Pace
from archipel.records.rounds import Trading
from archipel.records.seeded import RunSeeded
from archipel.records.statement import Seq, Statement
from archipel.records.succession import Succeeding
from archipel.records.terms import Terms

RECORD_TYPE = "application/vnd.archipel.record.v1+json"
"""DSSE payload type of every statement."""


class InvalidRecord(ValueError):
    """Bytes that are no statement; the message names the field and its fault."""


class NotTheAuthor(ValueError):
    """A statement in somebody else's name than its signer's."""


class LabOpened(Statement):
    """The first entry of every ledger: whose lab it is and who may open runs."""

    kind: Literal["lab.opened"] = "lab.opened"
    operators: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]


class ModelFile(Closed):
    """One file of the initial model directory."""

    name: FileName
    blob: BlobRef


class RunOpened(Statement):
    """An operator opens a run: recipe, terms, pace, initial weights, and whom it trusts."""

    kind: Literal["run.opened"] = "run.opened"
    run: RunName
    recipe: BlobRef
    terms: Terms
    pace: Pace
    """The programme's own; it names the programme."""
    model: Annotated[tuple[ModelFile, ...], Field(min_length=1, max_length=MAX_MODEL_FILES)]
    trusted: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]
    """Keys that may do trusted kinds of work in this run."""


class RunStopped(Statement):
    """An operator ends a run early; what was accepted stays accepted."""

    kind: Literal["run.stopped"] = "run.stopped"
    run: RunName
    reason: Reason


class Capabilities(Sparing):
    """What a node says of itself; believed only as a first guess."""

    kinds: Annotated[tuple[KindName, ...], Field(min_length=1, max_length=MAX_KINDS)]
    engine: Annotated[str, Field(max_length=64)]
    device: Annotated[str, Field(max_length=64)]
    software: Annotated[str, Field(max_length=64)]
    speed_milli: Count
    """Sampled tokens per second times 1000, by the node's own benchmark at joining."""
    batch_invariant: bool
    """The engine's self-test found rollouts bitwise independent of their batch."""
    protections: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=16)]
    """What confines the child process that runs work."""
    exact: Annotated[Contracts | None, LeftOut] = None
    """Exact contracts whose known vectors came out right here, bit for bit."""
    memory_mb: Annotated[Count | None, LeftOut] = None
    """Megabytes (10^6) that its work may take; None: it does not say, and is given anything."""
    plays: Annotated[PlayedNames | None, LeftOut] = None
    """Environments that answer turns here, with the version of their rules."""
    backends: Annotated[BackendNames | None, LeftOut] = None
    """Libraries that are here and compute models which this software does not."""
    classes: Annotated[EngineClasses | None, LeftOut] = None
    """Engine, precision and device that it samples by where a run asks for one; None: none that has a name."""


class NodeJoined(Statement, Sparing):
    """A node presents itself; joining anew gives back whatever it still held."""

    kind: Literal["node.joined"] = "node.joined"
    capabilities: Capabilities
    delegation: Annotated[Signed | None, LeftOut] = None
    """Its operator's word that this key speaks for it (`Delegation`); None: as before, or nobody's but its own."""
    invitation: Annotated[Signed | None, LeftOut] = None
    """The lab's own word that it may come (`Invitation`)."""
    effort: Annotated[Effort | None, LeftOut] = None
    """What a lab may ask of who is new there."""


class NodeLeft(Statement):
    """A node goes; whatever it still held returns to the pool, and it counts no more."""

    kind: Literal["node.left"] = "node.left"


class NodesForgotten(Statement, Sparing):
    """The lab forgets nodes that are gone, or that never did anything, to make room for others."""

    kind: Literal["nodes.forgotten"] = "nodes.forgotten"
    nodes: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_FORGOTTEN)]
    revocations: Annotated[Literal["kept"] | None, LeftOut] = None
    """Whether operators that revoked a key are kept for that alone; None: as ledgers were written before."""


class LeaseRequested(Statement, Sparing):
    """A node asks for work; never in the ledger by itself, the grant quotes its `seq`."""

    kind: Literal["lease.requested"] = "lease.requested"
    kinds: Annotated[tuple[KindName, ...], Field(min_length=1, max_length=MAX_KINDS)]
    holding: Annotated[tuple[WorkId, ...], Field(max_length=MAX_LEASES_PER_NODE)]
    """Leases it knows of; any other was lost on its way and returns to the pool."""
    runs: Annotated[AskedRuns | None, LeftOut] = None
    """The only ones whose work it takes; None: any."""


class LeaseGranted(Statement, Sparing):
    """The lab gives one node one piece of work until a deadline, at a price."""

    kind: Literal["lease.granted"] = "lease.granted"
    work: WorkId
    node: Did
    request_seq: Seq
    """`seq` of the request it answers: the request cannot be replayed."""
    deadline_ms: Millis
    """Unix time."""
    price_micro: Count
    """Micro-credits paid on acceptance; by the token, the most that they can come to."""
    spec: Spec
    per_million_micro: Annotated[Count | None, LeftOut] = None
    """Micro-credits per million verified tokens, where a market has found the price; None: the price is for all of it."""


class LeaseReturned(Statement, Sparing):
    """A node gives its lease back unfinished; the work returns to the pool at once."""

    kind: Literal["lease.returned"] = "lease.returned"
    work: WorkId
    reason: Reason
    fault: Annotated[Fault | None, LeftOut] = None
    """Whose fault that is, as far as the node can tell; None: nobody's, it was stopped, say."""


class LeaseExpired(Statement):
    """The lab takes a lease back; the work returns to the pool."""

    kind: Literal["lease.expired"] = "lease.expired"
    work: WorkId
    cause: Literal["deadline", "lost", "quarantine"]
    """The deadline passed in silence, the grant never reached its node, or its node is believed no more."""


class BlobOffered(Statement):
    """Permission slip for an upload: who sends which bytes for what; never in the ledger."""

    kind: Literal["blob.offered"] = "blob.offered"
    blob: BlobRef
    work: WorkId | None
    """The lease that it serves; None for an operator who opens a run."""


class WorkAnswered(Statement):
    """A node's answer to its lease; in the ledger only if every cheap check passed."""

    kind: Literal["work.answered"] = "work.answered"
    work: WorkId
    answer: Answer


class SnapshotTaken(Statement):
    """The lab's state after the first `size` entries, as a blob; a replay that knows its form checks it."""

    kind: Literal["snapshot.taken"] = "snapshot.taken"
    format: Count
    """Of the bytes: what a later release knows of a state, this one does not."""
    size: Count
    state: BlobRef


Recorded: TypeAlias = (
    LabOpened
    | RunOpened
    | RunStopped
    | RunRetried
    | Pausing
    | RunSeeded
    | NodeJoined
    | NodeLeft
    | NodesForgotten
    | LeaseGranted
    | LeaseReturned
    | LeaseExpired
    | WorkAnswered
    | Judging
    | Trading
    | Paying
    | Owning
    | AtDoor
    | SnapshotTaken
    | Succeeding
    | Pledging
)
"""What may stand in a ledger."""

Asking: TypeAlias = LeaseRequested | BlobOffered
"""What is only said."""

AnyStatement: TypeAlias = Recorded | Asking
_ANY = TypeAdapter[AnyStatement](Annotated[Recorded | Asking, Field(discriminator="kind")])


def encode(statement: Statement) -> bytes:
    """Canonical bytes, the ones that are signed."""
    return canonical_json(statement.model_dump(mode="json"))


def decode(data: bytes) -> AnyStatement:
    """Parse a statement.

    Raises:
        InvalidRecord: too large, not canonical, an unknown kind or field, a value out of bounds.
    """
    if len(data) > MAX_RECORD_BYTES:
        raise InvalidRecord(f"record of {len(data)} bytes; at most {MAX_RECORD_BYTES} are accepted")
    try:
        parse_canonical(data)
        return _ANY.validate_json(data)
    except NotCanonical as error:
        raise InvalidRecord(str(error)) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(str(part) for part in fault["loc"]) or "record"
        raise InvalidRecord(f"{where}: {fault['msg']:.500}") from None


def decode_again(data: bytes) -> AnyStatement:
    """The statement in bytes that `decode` has read before: one value has one encoding, so they are not compared."""
    return _ANY.validate_json(data)


def decode_said(data: bytes, signer: str) -> AnyStatement:
    """Parse a statement that the key `signer` has signed: everybody speaks for itself alone.

    Raises:
        InvalidRecord: as `decode`. NotTheAuthor: another key is named as its author.
    """
    statement = decode(data)
    if statement.author != signer:
        raise NotTheAuthor(f"author is {statement.author}, but {signer} signed")
    return statement
