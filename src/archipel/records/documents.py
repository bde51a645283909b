"""What a lab shows outside its ledger, as both sides read it: one type per document.

Law: what a node acts on is a sealed record (`Sealed`: a statement in its envelope, verified by whoever reads it) or is covered
by a digest in one; the rest is for people and their tools. A reader ignores fields that it does not know; what it knows fits.
"""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.capacity import CapacityView, PlaceView
from archipel.records.document import BadDocument as BadDocument
from archipel.records.document import Document as Document
from archipel.records.document import read_document as read_document
from archipel.records.fields import (
    MAX_REASON_CHARACTERS,
    Closed,
    Count,
    Digest,
    KindName,
    RunName,
    WorkId,
)
from archipel.records.joining_document import JoiningFacts
from archipel.records.kinds import Answer, Spec
from archipel.records.sources import (
    MAX_FETCHES_TOLD,
    MAX_SOURCES_TOLD,
    BlobSources,
    Fetched,
    Serving,
)
from archipel.records.succession import MAX_SUCCESSIONS

MAX_SEALED_CHARACTERS = 65_535
"""An envelope is no larger (`identity.MAX_ENVELOPE_BYTES`)."""
MAX_RUNS_TOLD = MAX_BLOBS_TOLD = 64
MAX_VERSIONS_PER_PAGE = 1000
BLOB_MARK_DIGITS = 16
"""So many hexadecimal digits of a digest say which small blob is at hand."""

Sealed = Annotated[str, Field(max_length=MAX_SEALED_CHARACTERS)]
"""A signed statement: its envelope's canonical JSON."""
BlobMark = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]


class AcceptedWork(Closed):
    """One accepted answer and what it answers, as the lab hands it to whoever works on from it."""

    work: WorkId
    spec: Spec
    answer: Answer


def inputs_digest(inputs: Sequence[AcceptedWork]) -> Digest:
    """What a spec says of the answers that it builds on."""
    return sha256_digest(canonical_json([each.model_dump(mode="json") for each in inputs]))


# --- what a node acts on ------------------------------------------------------------------------


class LabFacts(Document):
    """`/lab`: who it is."""

    lab: str
    software: str
    operators: tuple[str, ...]
    ledger_key: str
    """Verifier key of its tree heads (C2SP note)."""
    ledger_size: Count
    founding: Sealed
    """`lab.opened`, by the lab: who may open runs."""
    joining: JoiningFacts | None = None
    """Who may join that is new there; None: it does not say."""
    successions: Annotated[tuple[Sealed, ...], Field(max_length=MAX_SUCCESSIONS)] = ()
    """Every `lab.succeeded` of its ledger, in order; `founding` is the first lab's."""
    successors: Sealed | None = None
    """`successors.named`, by an operator: who may continue its ledger, and where they answer; None: nobody was named."""


class KeyFacts(Document):
    """`/keys/<did>`: what a key must know before it speaks."""

    did: str
    last_seq: Count
    """Its next number has to exceed this."""
    now_ms: Count
    """The lab's clock, which deadlines are measured by."""
    wallet_micro: int = 0
    """What its own wallet holds; below zero: what it owes."""


class Opening(Document):
    """`/runs/<run>/opening`: how the run was opened, in its operator's own words."""

    opening: Sealed
    """`run.opened`."""


class Inputs(Document):
    """`/runs/<run>/updates/<version>`: what a version is made from."""

    grant: Sealed
    """`lease.granted`; its spec has the digest of `inputs`."""
    inputs: tuple[AcceptedWork, ...]


class HeldRun(Document):
    """What a node has of one run already."""

    opening: bool
    version: Annotated[int, Field(ge=-1)]
    """Newest version whose publication it has seen."""
    weights: Annotated[int, Field(ge=-1)]
    """Oldest version that its child holds weights of, among the kinds it does; -1 for none."""


class Have(Document):
    """What a node has, so that it need not be sent again; nothing depends on its being true."""

    runs: dict[RunName, HeldRun] = Field(default={}, max_length=MAX_RUNS_TOLD)
    blobs: Annotated[tuple[BlobMark, ...], Field(max_length=MAX_BLOBS_TOLD)] = ()
    """Marks of the small blobs that came last."""
    serving: Serving | None = None
    """That it passes versions on; None: it only fetches."""
    fetched: Annotated[tuple[Fetched, ...], Field(max_length=MAX_FETCHES_TOLD)] = ()
    """How large blobs came since the last request that was answered."""


class Asked(Document):
    """Body of `/leases`: a request for work."""

    request: Sealed
    """`lease.requested`."""
    have: Have = Have()


class Submitted(Document):
    """Body of `/records`: a statement, its small blobs beside it, and perhaps the next request."""

    record: Sealed
    next: Asked | None = None


class Handout(Document):
    """A lease, and the news that its node needs for it; small blobs come beside it."""

    grant: Sealed
    opening: Sealed | None = None
    versions: tuple[Sealed, ...] = ()
    """Publications (`work.answered`) after the version that the node knows."""
    inputs: tuple[AcceptedWork, ...] | None = None
    """Of the spec's digest."""
    sources: Annotated[tuple[BlobSources, ...], Field(max_length=MAX_SOURCES_TOLD)] = ()
    """Where large blobs lie besides at the lab."""


class Receipt(Document):
    """Where an accepted statement stands in the ledger."""

    index: Count
    head: str
    """The signed tree head that covers it."""
    handout: Handout | None = None
    """The next lease, if it was asked for and there is one at once."""


class UploadState(Document):
    """`/blobs/<digest>/state`."""

    complete: bool
    offset: Count


# --- what people look at ------------------------------------------------------------------------


class RunView(Document):
    """Where a run stands."""

    run: str
    programme: str
    phase: str
    version: int
    versions: int
    recipe: str
    exact: str | None = None
    """The exact contract that everything is sampled by."""
    sampled_by: str | None = None
    """Where there is none: engine, precision and device that rollouts are sampled by; None: any."""
    adapter: str | None = None
    """What is trained over the run's first weights, in words; None: whole weights."""
    plays: str | None = None
    """The environment whose episodes are played."""
    backend: str | None = None
    """The library that computes its model, whose sampling is not batch-invariant; None: archipel's own networks do."""
    opened_at_ms: int
    published_at_ms: tuple[int, ...]
    """Of the first and the two newest versions."""
    learner_utilisation: float
    reward: float | None
    """Mean reward of the newest batch."""
    rewards: tuple[float, ...]
    """Of each version from 1 on; thinned out in very long runs."""
    evaluations: tuple[dict[str, int], ...]
    spent_micro: int
    """Micro-credits paid or promised."""
    funded_micro: int | None = None
    """What sponsors have set aside for it so far; None: it is on its operator's account."""
    left_micro: int | None = None
    """Of that, what it can still promise."""
    progress: dict[str, Any]
    """What its programme counts."""
    troubles: tuple[str, ...] = ()
    """Kinds of work that fail time after time, and what they said last."""
    verdicts: tuple[str, ...] = ()
    """The newest verdicts against nodes, with what was found."""
    capacity: CapacityView | None = None
    """Who works for it and who waits; None: its learner was not measured yet, or waits for every batch anyway."""
    purposes: tuple[str, ...] | None = None
    """What it is for, as its recipe says; None: it does not say."""


class NodeView(Document):
    """One node's totals."""

    node: str
    kinds: tuple[KindName, ...]
    engine: str
    device: str
    batch_invariant: bool
    exact: tuple[str, ...] = ()
    """Exact contracts that it stated."""
    classes: tuple[str, ...] = ()
    """Engine, precision and device that it samples by where a run asks for one."""
    plays: tuple[str, ...] = ()
    """Environments that it plays."""
    backends: tuple[str, ...] = ()
    """Libraries that compute models here which archipel's own networks do not."""
    protections: tuple[str, ...]
    groups: int
    """Units of work accepted, of every kind."""
    tokens: int
    groups_per_s: float
    bytes_in: int
    leases: tuple[str, ...]
    expired: int
    returned: int
    present: bool
    paused: str | None = None
    """Why its operator has it given no work; None: it is not paused."""
    revoked: str | None = None
    """Why its operator retired its key; None: it did not."""
    silent_s: float
    credit_micro: int
    """What it was paid and did not lose, its stake included; of the node, or of its operator."""
    stake_micro: int = 0
    """Of that, what it vouches with."""
    operator: str | None = None
    """Whose node it is; None: its own."""
    places: tuple[PlaceView, ...] = ()
    """What it is to runs that work with as many nodes as they need."""


class LeaseView(Document):
    """An open lease."""

    work: str
    kind: str
    node: str
    version: int
    groups: int
    """Units of work."""
    age_s: float
    left_s: float


class Wait(Document):
    """One thing that a run waits for."""

    run: str
    waiting_for: str
    owner: str
    """Who can end the wait: a node, the operator, or nobody."""
    left_s: float | None
    """Until the lab itself ends the wait (the deadline); None when only the owner can."""
    advice: Annotated[str, Field(max_length=MAX_REASON_CHARACTERS)]
