"""Evidence that a lab signed what does not go together, as a file that anybody can check. Pure.

    fork        two heads of one key, and a proof that the smaller is over other entries than the larger begins with
    rollback    a smaller head shown after a larger one that goes on from it

Parts: `Evidence`, `between` (which of them two heads are), `read_evidence` and `written` (the file: a DSSE envelope by
whoever saw it), `shown` (what it comes to). Law: a fork is shown by the lab's own signatures, whoever hands the file on;
of a rollback they show the heads, and that the smaller one was shown later is the observer's word alone.
"""

import base64
import hashlib
import json
from dataclasses import dataclass
from typing import Any

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.ledger.merkle import (
    EMPTY_ROOT,
    HASH_BYTES,
    MAX_PROOF_HASHES,
    BadProof,
    NodeHashes,
    consistency_proof,
    subtree_hash,
    verify_consistency,
)
from archipel.ledger.signed_note import NoteKey, signature_line, signatures_by
from archipel.ledger.tree_head import BadTreeHead, TreeHead, verify_tree_head
from archipel.ledger.verification import lab_key

TYPE = "application/vnd.archipel.evidence+json"
FORK, ROLLBACK = "fork", "rollback"
MAX_EVIDENCE_BYTES = 65_535
"""Of a file."""
MAX_WHERE_CHARS = 500
MAX_TIME_MS = 2**53 - 1
_MEMBERS = {"kind", "lab", "earlier", "later", "root", "proof", "earlier_ms", "later_ms", "where"}


class BadEvidence(ValueError):
    """A file that shows nothing of the kind; the message says why."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two heads of one lab that do not go together."""

    kind: str
    """`FORK` or `ROLLBACK`."""
    lab: str
    """did:key, whose key signed both."""
    earlier: bytes
    """The head that was seen first, a signed note."""
    later: bytes
    root: bytes
    """Of a fork: root over as many entries as the smaller head, in the tree of the larger; empty where sizes are equal."""
    proof: tuple[bytes, ...]
    """Of consistency, from the smaller size to the larger."""
    earlier_ms: int
    """Unix time, by the observer's clock."""
    later_ms: int
    where: str
    """Where the later one was shown."""


@dataclass(frozen=True, slots=True)
class Finding:
    """What a file of evidence comes to."""

    evidence: Evidence
    smaller: TreeHead
    larger: TreeHead
    observer: str
    """did:key of whoever signed the file."""


def between(smaller: TreeHead, larger: TreeHead, nodes: NodeHashes) -> tuple[bytes, list[bytes]]:
    """(root over the smaller head's size in the larger one's tree, proof of consistency to it).

    nodes: of the tree under `larger`. The heads go on from each other if the root is the smaller one's.
    """
    if smaller.size == 0:
        return EMPTY_ROOT, []
    if smaller.size == larger.size:
        return larger.root, []
    root = subtree_hash(0, smaller.size, nodes)
    return root, consistency_proof(smaller.size, larger.size, nodes)


def bare(head: TreeHead, key: NoteKey) -> bytes:
    """A head's note with its log's signatures alone: others may have added theirs without end."""
    text, signatures = signatures_by(head.note, key)
    return (text + "\n" + signature_line(key, signatures[0])).encode()


def name_of(evidence: Evidence) -> str:
    """Of its file: the same for the same two heads, whoever saw them."""
    pair = b"\0".join([evidence.kind.encode(), *sorted((evidence.earlier, evidence.later))])
    return f"{hashlib.sha256(pair).hexdigest()[:32]}.evidence"


def written(evidence: Evidence, observer: Identity) -> bytes:
    """The file, signed by whoever saw it."""
    told = {
        "kind": evidence.kind,
        "lab": evidence.lab,
        "earlier": evidence.earlier.decode(),
        "later": evidence.later.decode(),
        "root": _text(evidence.root),
        "proof": [_text(each) for each in evidence.proof],
        "earlier_ms": evidence.earlier_ms,
        "later_ms": evidence.later_ms,
        "where": evidence.where[:MAX_WHERE_CHARS],
    }
    return sign(observer, _bytes(told), TYPE).to_json()


def read_evidence(data: bytes) -> Finding:
    """What a file shows, all of it checked.

    1. Signed by the observer that it names. 2. In the one form that `written` gives. 3. Both heads by the lab's key.
    4. Of a fork: the larger head's tree begins with another root than the smaller head's. 5. Of a rollback: the later
    head is smaller, and the earlier one goes on from it.

    Raises:
        BadEvidence: any of these fails.
    """
    if len(data) > MAX_EVIDENCE_BYTES:
        raise BadEvidence(f"{len(data)} bytes or more; the limit is {MAX_EVIDENCE_BYTES}")
    try:
        envelope = Envelope.from_json(data)
        observer = verify(envelope, TYPE)
    except IdentityError as error:
        raise BadEvidence(f"no file of evidence, or not by its observer: {error}") from None
    evidence = _parsed(envelope.payload)
    smaller, larger = shown(evidence)
    return Finding(evidence, smaller, larger, observer)


def shown(evidence: Evidence) -> tuple[TreeHead, TreeHead]:
    """(the smaller head, the larger one), once they are shown not to go together; raises as `read_evidence`."""
    try:
        key = lab_key(evidence.lab)
        earlier, later = (
            verify_tree_head(note, key) for note in (evidence.earlier, evidence.later)
        )
    except (IdentityError, BadTreeHead) as error:
        raise BadEvidence(f"its heads are not both signed by {evidence.lab}: {error}") from None
    smaller, larger = sorted((earlier, later), key=lambda head: head.size)
    if evidence.kind == ROLLBACK:
        if later.size >= earlier.size:
            raise BadEvidence(f"{later.size} entries after {earlier.size} are no rollback")
        _check_leads(smaller, larger, smaller.root, evidence.proof)
        return smaller, larger
    if smaller.size == larger.size:
        if smaller.root == larger.root:
            raise BadEvidence(f"both heads are over the same {smaller.size} entries")
        return smaller, larger
    _check_leads(smaller, larger, evidence.root, evidence.proof)
    if evidence.root == smaller.root:
        raise BadEvidence(f"the head over {larger.size} entries goes on from the other one")
    return smaller, larger


def _check_leads(
    smaller: TreeHead, larger: TreeHead, root: bytes, proof: tuple[bytes, ...]
) -> None:
    try:
        verify_consistency(smaller.size, larger.size, root, larger.root, proof)
    except BadProof as error:
        raise BadEvidence(
            f"its proof from {smaller.size} to {larger.size} entries does not hold: {error}"
        ) from None


def _parsed(payload: bytes) -> Evidence:
    try:
        told = json.loads(payload)
    except (ValueError, RecursionError):
        told = None
    if not isinstance(told, dict) or set(told) != _MEMBERS or _bytes(told) != payload:
        raise BadEvidence(f"expected canonical JSON with exactly {', '.join(sorted(_MEMBERS))}")
    words, times = ("lab", "earlier", "later", "where"), ("earlier_ms", "later_ms")
    if told["kind"] not in (FORK, ROLLBACK):
        raise BadEvidence(f"kind is {told['kind']!r:.40}; expected {FORK} or {ROLLBACK}")
    if not all(isinstance(told[name], str) for name in words):
        raise BadEvidence(f"{', '.join(words)} are texts")
    if not all(type(told[name]) is int and 0 <= told[name] <= MAX_TIME_MS for name in times):
        raise BadEvidence(f"{', '.join(times)} are milliseconds from 0 to {MAX_TIME_MS}")
    if len(told["where"]) > MAX_WHERE_CHARS:
        raise BadEvidence(f"`where` has {len(told['where'])} characters, at most {MAX_WHERE_CHARS}")
    proof = told["proof"]
    if not isinstance(proof, list) or len(proof) > MAX_PROOF_HASHES:
        raise BadEvidence(f"the proof is a list of at most {MAX_PROOF_HASHES} hashes")
    return Evidence(
        kind=told["kind"],
        lab=told["lab"],
        earlier=told["earlier"].encode("utf-8", "replace"),
        later=told["later"].encode("utf-8", "replace"),
        root=b"" if told["root"] == "" else _hash(told["root"]),
        proof=tuple(_hash(each) for each in proof),
        earlier_ms=told["earlier_ms"],
        later_ms=told["later_ms"],
        where=told["where"],
    )


def _hash(text: Any) -> bytes:
    try:
        found = base64.b64decode(text, validate=True)
    except (ValueError, TypeError):
        found = b""
    if len(found) != HASH_BYTES or _text(found) != text:
        raise BadEvidence(f"{text!r:.60} is not the base64 of {HASH_BYTES} bytes")
    return found


def _text(value: bytes) -> str:
    return base64.b64encode(value).decode()


def _bytes(told: dict[str, Any]) -> bytes:
    return json.dumps(told, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
