"""A tree head on a public chain: the text that a transaction carries, and the file that says where. Pure.

    archipel.anchored-head/1
    archipel.lab/z6Mk...        origin of the tree head
    1234                        its size
    q1+...=                     its root, base64

Parts: `calldata` (the text), `AnchoredHead` (the file), `read_anchored_head`, `check_prefix` (is the anchored head this ledger's?).
Law: one head gives one text, so whoever has the ledger compares bytes and parses nothing of a stranger's.
"""

import base64
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.ledger.merkle import (
    EMPTY_ROOT,
    BadProof,
    NodeHashes,
    consistency_proof,
    subtree_hash,
    verify_consistency,
)
from archipel.ledger.storage import LedgerCorrupt, LedgerError
from archipel.ledger.tree_head import TreeHead
from archipel.records.canonical import (
    MAX_SAFE_INTEGER,
    NotCanonical,
    canonical_json,
    parse_canonical,
)

MAX_FILE_BYTES = 1_024
"""Of the file."""
MAX_CALLDATA_BYTES = 320
"""Of the text: a bound on what is paid for."""


class BadAnchoredHead(LedgerError):
    """A file that says of no head where it is anchored, or a head that no transaction can carry."""


class AnchoredHead(BaseModel):
    """Which transaction carries which head. Closed: an unknown key is an error."""

    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    form: Literal["archipel.anchored-head/1"] = "archipel.anchored-head/1"
    chain: Annotated[int, Field(ge=1, le=MAX_SAFE_INTEGER)]
    """Its id (EIP-155): 1 is Ethereum."""
    tx: Annotated[str, Field(pattern=r"^0x[0-9a-f]{64}$")]
    block: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)] | None
    """None: sent, and not seen in a block yet."""
    origin: Annotated[str, Field(pattern=r"^[!-~]{1,200}$")]
    size: Annotated[int, Field(ge=0, le=MAX_SAFE_INTEGER)]
    root: Annotated[str, Field(pattern=r"^[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$")]
    """The one base64 of 32 bytes."""

    @property
    def name(self) -> str:
        """Of its file: two transactions never share one."""
        return f"{self.chain}-{self.tx}.json"

    def calldata(self) -> bytes:
        """What the transaction carries."""
        return f"{self.form}\n{self.origin}\n{self.size}\n{self.root}\n".encode()

    def to_bytes(self) -> bytes:
        """Its file."""
        return canonical_json(self.model_dump()) + b"\n"


def calldata(head: TreeHead) -> bytes:
    """The text that anchors `head`, at most MAX_CALLDATA_BYTES bytes of ASCII."""
    return anchored(head, 1, "0x" + "0" * 64).calldata()


def anchored(head: TreeHead, chain: int, tx: str, block: int | None = None) -> AnchoredHead:
    """That the transaction `tx` of `chain` carries `head`.

    Raises:
        BadAnchoredHead: a head whose origin or size is out of its bounds.
    """
    root = base64.b64encode(head.root).decode()
    try:
        return AnchoredHead(
            chain=chain, tx=tx, block=block, origin=head.origin, size=head.size, root=root
        )
    except ValidationError as error:
        raise BadAnchoredHead(f"this head cannot be anchored: {_fault(error)}") from None


def read_anchored_head(data: bytes) -> AnchoredHead:
    """The anchored head in a file.

    Raises:
        BadAnchoredHead: too long, not canonical, an unknown key, or a value out of bounds.
    """
    if len(data) > MAX_FILE_BYTES or not data.endswith(b"\n"):
        raise BadAnchoredHead(
            f"no anchored head: expected one line of at most {MAX_FILE_BYTES} bytes, as `archipel ledger anchor` writes it"
        )
    try:
        return AnchoredHead.model_validate(parse_canonical(data[:-1]))
    except NotCanonical as error:
        raise BadAnchoredHead(f"no anchored head: {error}") from None
    except ValidationError as error:
        raise BadAnchoredHead(f"no anchored head: {_fault(error)}") from None


def check_prefix(anchor: AnchoredHead, head: TreeHead, node: NodeHashes) -> None:
    """Check that the ledger under the verified `head` had the anchored root at the anchored size.

    1. One origin. 2. The ledger is as long. 3. Its root at that size, from `node`, is a prefix of `head`
    (RFC 6962 2.1.2). 4. That root is the anchored one.

    Raises:
        BadAnchoredHead: another ledger, a shorter one, or another history. LedgerCorrupt: `node` is not under `head`.
    """
    if anchor.origin != head.origin:
        raise BadAnchoredHead(
            f"the anchored head is of {anchor.origin}; this is the ledger {head.origin}"
        )
    if anchor.size > head.size:
        raise BadAnchoredHead(
            f"the anchored head is over {anchor.size} entries, this ledger has {head.size}: take a newer copy of it"
        )
    root = subtree_hash(0, anchor.size, node) if anchor.size else EMPTY_ROOT
    proof = consistency_proof(anchor.size, head.size, node)
    try:
        verify_consistency(anchor.size, head.size, root, head.root, proof)
    except BadProof as error:
        raise LedgerCorrupt(
            f"the hashes of this ledger do not lead to its signed root: {error}; `archipel ledger verify` names the file"
        ) from None
    if base64.b64encode(root).decode() != anchor.root:
        raise BadAnchoredHead(
            f"the anchored head says root {anchor.root} at {anchor.size} entries, this ledger had "
            f"{base64.b64encode(root).decode()}: the anchored head is of another history; keep both, and ask who sent it"
        )


def _fault(error: ValidationError) -> str:
    fault = error.errors(include_url=False, include_input=False)[0]
    return f"{'.'.join(str(part) for part in fault['loc']) or 'file'}: {fault['msg']}"
