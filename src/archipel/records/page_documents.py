"""What pages show that no other document tells: operators, audits, releases, and a lab in a few numbers."""

from typing import Literal

from archipel.records.document import Document

NodeOrder = Literal["joined", "earned", "work"]
"""By what a list of nodes is sorted, the most first."""


class Counts(Document):
    """A lab in a few numbers."""

    runs: int
    live_runs: int
    """That go on."""
    nodes: int
    """Known, whether they are here or gone."""
    here: int
    """Nodes of which the lab heard lately; of a replica: that joined and did not leave."""
    operators: int
    leases: int
    open_cases: int
    paid_micro: int
    """Micro-credits that runs paid, or promised to open leases."""


class PledgeCounts(Document):
    """Pledges of compute in a few numbers."""

    pledges: int
    """That are remembered."""
    holding: int
    hours: int
    """A week, of those that hold and say so many hours."""
    given_ms: int
    """To those that hold; work that counts for two of them counts twice."""


class OperatorView(Document):
    """Whoever answers for one or more nodes, and what is known of it."""

    operator: str
    """Its key; a node without an operator is its own."""
    nodes: tuple[str, ...]
    """Keys of its nodes, those that are here first; at most MAX_NODES_SHOWN."""
    num_nodes: int
    groups: int
    tokens: int
    wallet_micro: int
    stake_micro: int
    verified: int
    """Answers found right since one was found wrong last."""
    refuted: int
    """Verdicts against it, ever."""
    quarantined_by: str | None = None
    """Work whose verdict bars it; None: it is not barred."""


class AuditView(Document):
    """An answer that is or was looked at again."""

    run: str
    work: str
    kind: str
    node: str
    """Whose answer it is."""
    operator: str | None = None
    stage: str
    answered: int
    """Entry of the answer."""
    drawn_ms: int
    """The lab's time of the entry that drew it."""
    looked: tuple[str, ...] = ()
    """Keys that looked."""
    looks: tuple[str, ...] = ()
    """The works by which they did, in the same order."""
    closed_ms: int | None = None
    """The lab's time of the entry that ended it; None: it is open."""
    verdict: str | None = None
    reason: str = ""
    """In words, as the verdict says it."""
    slashed_micro: int = 0


class ReleaseView(Document):
    """A signed release folder that the lab shows."""

    name: str
    """Of its folder."""
    title: str = ""
    run: str | None = None
    version: int | None = None
    weights: str = ""
    """State digest of that version."""
    tree_size: int | None = None
    """Entries of the ledger that it brings."""
    licence: str | None = None
    """Of its parameters; None: none is stated."""
    signed_by: str
    """SHA-256 of the public key whose signature holds; empty: none does."""
    made_ms: int
    """When its last entry was received by its lab."""
    openness: tuple[tuple[str, str], ...]
    """(scheme, class), computed from the release's bytes."""
    holds: bool
    """Whether its files are those that were signed."""
    size_bytes: int
    files: int
    shares: tuple[tuple[str, int], ...] = ()
    """(owner, millionths)."""
    shaped_by: tuple[tuple[str, int], ...] = ()
    """(who, millionths of what its weights learned from), the largest first."""
    parents: tuple[str, ...] = ()
    problems: tuple[str, ...] = ()


class KnownLabView(Document):
    """Another lab, as its card and those who hand it on tell; nothing of it is measured."""

    lab: str
    """Its key, which signed the card."""
    addresses: tuple[str, ...]
    purpose: str = ""
    licence: str = ""
    jurisdiction: str = ""
    contact: str = ""
    number: int
    """Of its card."""
    issued_ms: int
    until_ms: int
    entries: int | None = None
    """Of its ledger, under the signed head in the card; None: it shows none."""
    witnessed: tuple[tuple[str, int], ...] = ()
    """(witness, Unix seconds) of those that signed this head, and that the card names."""
    mirrors: tuple[str, ...] = ()
    since_ms: int
    """When the first card of it came."""
    reached_ms: int | None = None
    """When it last gave its card at its own address."""
    sources: tuple[str, ...] = ()
    contradicted: bool = False
    """It signed two cards under one number."""


MAX_NODES_SHOWN = 64
