"""What the lab knows of a kind of work and of a programme: the shapes that their tables hold.

Law: pure; every field is required, so that a rule that is forgotten is an error at import, not a default
that fails open. A rule about a kind sees its run, never another kind, nodes or money.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from archipel.lab.calling import EVERYBODY, Electorate
from archipel.lab.state import Lease, Node, Phase, Run
from archipel.lab.waits import Sight
from archipel.records.documents import AcceptedWork, Wait
from archipel.records.fields import BlobRef
from archipel.records.terms import AnyProgramme
from archipel.records.words import Words

ReadBlob = Callable[[BlobRef], bytes]
"""The bytes of a blob that an answer names; raises MissingBlob when they are not here."""


@dataclass(frozen=True, slots=True)
class Crowd:
    """How fast the nodes that do a kind of work are together, at one moment."""

    count: int = 0
    measured: int = 0
    """Sum of the measured rates, units per second times 10^6."""
    slowest: int = 0
    """Smallest measured rate; 0 when there is none."""
    claimed_milli: int = 0
    """Sum of the claimed speeds of nodes that were not measured, tokens per second times 1000."""
    slowest_claim_milli: int = 0
    unknown: int = 0
    """Nodes with neither."""
    voters: Electorate = EVERYBODY
    """Of those who audit: whose work is known."""


@dataclass(frozen=True, slots=True)
class Asking:
    """Who asks for work, in what company."""

    run: Run
    node: Node
    crowd: Crowd
    is_counted: bool
    """The crowd includes the node."""
    here: Callable[[str], frozenset[str]] = lambda did: frozenset((did,))
    """A node, and the others of its operator that are here: one party."""
    num_keys: Callable[[str], int] = lambda did: 1
    """So many nodes that party has at the most, whether they are here or not: told at once."""
    most_micro: int | None = None
    """The highest price that its run can pay; None: any."""
    rate_micro: int | None = None
    """Micro-credits per million verified tokens, where the node works at a price that a market found."""
    now_ms: int = 0


@dataclass(frozen=True, slots=True)
class Effort:
    """What an accepted answer counts for its node."""

    units: int
    tokens: int
    bytes_in: int


@dataclass(frozen=True, slots=True)
class Moment:
    """When and where an entry was taken in."""

    at_ms: int
    entry: int
    record: str = ""
    """Digest of the statement that brought an answer, where its run is audited."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Copies:
    """How work of a kind is given to a second node while the first still holds it."""

    waited_for: Callable[[Run], Iterable[str]]
    """Works that the run waits for with nothing else to hand out, and that one node alone holds."""
    late_ms: Callable[[Run, Node, Lease], int]
    """Age at which a lease that this node holds is late."""
    spec: Callable[[Run, Lease], Any]
    """The copy's: the same work, as it would be handed out now."""
    expected_ms: Callable[[Run, Node, Any], int | None]
    """How long this node should take; None when its run has not measured it, or it was late itself."""
    twin: Callable[[Run, str], str | None]
    """The other lease on the same work."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """One kind of work, as the lab sees it."""

    words: Words[Any, Any]
    programme: str | None
    """The programme that owns it; None for a kind that attaches to any."""
    slice: type | None
    """Its own part of a run's state; None when that lies in the programme's."""
    audited: bool
    """Its answers may be drawn for an audit, where the run has terms for that."""
    due: Callable[[Run], bool]
    """Whether there is any to hand out; cheap, as it is asked after every record."""
    needs: Callable[[Run], str | None]
    """What a node must have stated to be given such work (`records.terms.needed`); None: nothing."""
    may_have: Callable[[Run, Crowd, int, str], bool] = lambda run, crowd, now_ms, did: True
    """(run, crowd, Unix milliseconds, node): False where `offer` has none for that node, told at once, whoever else it may
    have some for: asked of everybody who waits.
    """
    deposit_micro: Callable[[Run], int] = lambda run: 0
    """What a stranger has to vouch with to be given such work, whatever its run's audits ask for."""
    called: Callable[[Run, Crowd, int], frozenset[str] | None] = lambda run, crowd, now_ms: None
    """(run, crowd, Unix milliseconds): the only strangers for whom `may_have` is true; None: anybody may be asked."""
    offer: Callable[[Asking], Any | None]
    """The best spec for the node that asks."""
    patience_ms: Callable[[Run, Node, Any], int]
    price_micro: Callable[[Run, Any], int]
    """Posted, for all of it."""
    most_tokens: Callable[[Run, Any], int]
    """That an answer to a spec can bring, where these are bought in a market; 0: they never are."""
    upload_limit: Callable[[Run, Lease], int]
    """Bytes that an honest answer to this lease can need."""
    check: Callable[[Run, Lease, Any], None]
    """Refuse an answer by its own words alone."""
    inspect: Callable[[Run, Lease, Any, ReadBlob], None]
    """Refuse an answer by the bytes it names; may take long, and reads nothing but its arguments."""
    missed: Callable[[Run, Lease], tuple[str, ...]] = lambda run, lease: ()
    """(run, a lease that is about to be granted): works whose leases end with it, because their answers would come too
    late; they are given up once `granted` has followed.
    """
    granted: Callable[[Run, Lease], Run]
    given_up: Callable[[Run, Lease], Run]
    accepted: Callable[[Run, Lease, Any, Moment], Run]
    earned: Callable[[Run, Lease, Any], int]
    """Of the lease's price, what an accepted answer is paid."""
    withheld: Callable[[Run, Lease, Any], int] = lambda run, lease, answer: 0
    """Of the lease's price, what stays held until its programme says whose it is (`ProgrammeRules.paid_out`)."""
    effort: Callable[[Lease, Any], Effort]
    copies: Copies | None
    """None when a second node never gets it."""
    size: Callable[[Any], int]
    """Units of work in a spec."""
    inputs: Callable[[Run, Any], tuple[AcceptedWork, ...] | None]
    """The accepted works that the spec has the digest of."""
    shows: Callable[[Run], Mapping[str, Any]]
    """What a run's view says of it."""
    keeps: Callable[[Run], Iterable[BlobRef]]
    """Blobs of a run that are still needed because of it."""

    @property
    def name(self) -> str:
        """The kind."""
        return self.words.name


@dataclass(frozen=True, slots=True)
class Pay:
    """Pay that was withheld for an accepted answer, now that it is known what it was worth."""

    node: str
    paid_micro: int
    back_micro: int
    """What goes back to who pays for the run."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a learner takes in with a version."""

    kind: str
    """Of the work that brings it."""
    units: int
    """Of that work, as its batches came out so far."""
    parts: int
    """Rollouts of one unit."""
    is_awaited: bool
    """The learner waits for it now."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProgrammeRules:
    """One programme, as the lab sees it."""

    words: AnyProgramme
    slice: type
    """Its part of a run's state."""
    begin: Callable[[Any], Any]
    """The slice of a run that is just opened, from its pace."""
    begins_in: Phase
    """`PREPARING` where version 0 comes first."""
    closed: Callable[[Run], Run]
    """The run without what only its work needed: it is complete or stopped, and nobody holds any."""
    load: Callable[[Run], int]
    """Units of work in nodes' hands: runs share the nodes by how little they have."""
    shows: Callable[[Run], Mapping[str, Any]]
    """What a run's view says of it (`RunView.progress`)."""
    busy_ms: Callable[[Run], int]
    """Time between an update's lease and its publication, summed from version 1 on."""
    demand: Callable[[Run], Demand | None]
    """What strangers have to bring for a version; None: the learner waits for every batch, however many work."""
    waits: Callable[[Sight, Run], list[Wait]]
    """What the run waits for, most upstream cause first."""
    keeps: Callable[[Run], Iterable[BlobRef]]
    """Blobs that the run still needs besides its chain of versions."""
    inputs: Callable[[Run, int], tuple[int, tuple[AcceptedWork, ...]] | None]
    """(position of the grant, accepted works) that a version was made from; None when forgotten."""
    touched: Callable[[Run, Any], tuple[int, ...]]
    """Versions that learned from the answer to this spec, or are being made from it."""
    answered_by: Callable[[Run, str], list[str]]
    """Works that a node answered and that not all was learned from yet."""
    paid_out: Callable[[Run], tuple[Run, tuple[Pay, ...]]]
    """The run without what was withheld of it and is due now, and that; asked whenever a lease of it has ended."""
    forfeited: Callable[[Run, str, int], tuple[Run, int]]
    """(run, work, its price) -> the run in which nothing more is paid for this answer, which was found wrong, and what was
    paid for it; what was withheld for it goes back (`paid_out`).
    """
    withdrawn: Callable[[Run, str], tuple[Run, int] | None]
    """The run without that answer, which is done again, and what was paid for it; None: it was learned from."""

    @property
    def name(self) -> str:
        """The programme."""
        return self.words.name
