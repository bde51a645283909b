"""By what a node comes to a lab: its operator's delegation, the lab's invitation, and the effort that it asks of newcomers.

Law: what another signed is looked at here before it is sent, so that a wrong file is one sentence on this machine.
"""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.ledger.signed_note import BadNote, NoteKey
from archipel.ledger.tree_head import BadTreeHead, verify_tree_head
from archipel.node.client import LabClient
from archipel.node.exchange import Bounds, LabRefused
from archipel.node.patience import NodeFailed
from archipel.node.settings import NodeSettings
from archipel.node.standing import Doing, Standing
from archipel.records.documents import LabFacts, NodeView, Receipt
from archipel.records.membership import (
    DELEGATION_TYPE,
    INVITATION_TYPE,
    MAX_EFFORT_BITS,
    Delegation,
    Effort,
    Invitation,
    KeyRevoked,
    NodePaused,
    NodeResumed,
    NotSigned,
    Signed,
    effort_prefix,
    find_nonce,
    payload_of,
    read_signed,
    signed_from,
)

DELEGATION_FILE, INVITATION_FILE = "delegation.json", "invitation.json"
MAX_SIGNED_BYTES = 4096
TRIES_AT_ONCE = 50_000
"""Nonces that are tried before anybody else has a turn: some tens of milliseconds."""
MAX_HEAD_AGE_S = 1200.0
"""After that an effort begins anew, over a newer head."""
NOT_FOUND = 404
HEAD = Bounds(max_bytes=16_384)

_TYPE_OF = {Delegation: DELEGATION_TYPE, Invitation: INVITATION_TYPE}
S = TypeVar("S", Delegation, Invitation)


def seal(by: Identity, said: Delegation | Invitation) -> Signed:
    """Sign what another will present."""
    envelope = sign(by, payload_of(said).encode(), _TYPE_OF[type(said)])
    return Signed(payload=envelope.payload.decode(), signature=envelope.signature.hex())


def opened(kind: type[S], data: bytes, source: Path) -> tuple[S, Signed]:
    """What is in a file that somebody signed, once the signature holds.

    Raises:
        NotSigned: it holds no delegation, or no invitation, or is not by whom it names.
    """
    word = kind.__name__.lower()
    try:
        if len(data) > MAX_SIGNED_BYTES:
            raise NotSigned(f"more than {MAX_SIGNED_BYTES} bytes")
        signed = signed_from(data)
        said = read_signed(kind, signed)
        signer = said.operator if isinstance(said, Delegation) else said.by
        payload, signature = signed.payload.encode(), bytes.fromhex(signed.signature)
        verify(Envelope(payload, _TYPE_OF[kind], signer, signature), _TYPE_OF[kind])
    except (NotSigned, IdentityError) as error:
        raise NotSigned(f"{source} holds no {word} ({error}); ask for it again") from None
    return said, signed


def read(kind: type[S], path: Path) -> tuple[S, Signed]:
    """The same of a file. Raises NotSigned, OSError."""
    with path.open("rb") as file:
        return opened(kind, file.read(MAX_SIGNED_BYTES + 1), path)


async def revoke_key(url: str, identity: Identity, node: str, reason: str) -> Receipt:
    """An operator of nodes takes back that a key speaks for it. Raises LabUnreachable, LabRefused."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(KeyRevoked, node=node, reason=reason)


async def pause_node(url: str, identity: Identity, node: str, reason: str) -> Receipt:
    """A node's operator has it given no work. Raises LabUnreachable, LabRefused."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(NodePaused, node=node, reason=reason)


async def resume_node(url: str, identity: Identity, node: str) -> Receipt:
    """A node's operator lets it have work again. Raises LabUnreachable, LabRefused."""
    async with LabClient(url, identity) as client:
        await client.greet()
        return await client.submit(NodeResumed, node=node)


async def brought(lab: LabClient, settings: NodeSettings, standing: Standing) -> dict[str, Any]:
    """Fields of this node's `node.joined`, beside what it can.

    Raises:
        NodeFailed: a file is not what it should be, or the lab asks for more than any lab may.
        LabUnreachable, LabRefused: from the lab.
    """
    did, fields = lab.identity.did, dict[str, Any]()
    try:
        delegation = _present(Delegation, settings.delegation, settings.kept_in / DELEGATION_FILE)
        invitation = _present(Invitation, settings.invitation, settings.kept_in / INVITATION_FILE)
    except (NotSigned, OSError) as error:
        raise NodeFailed(str(error)) from None
    if delegation is not None:
        if delegation[0].node != did:
            raise NodeFailed(
                f"the delegation is to {delegation[0].node}, and this node's key is {did}; have the operator run "
                f"`archipel operator delegate {did}`"
            )
        fields["delegation"] = delegation[1]
    if invitation is not None and invitation[0].lab == lab.lab:
        fields["invitation"] = invitation[1]
    facts = await lab.read(LabFacts, "/lab")
    if facts.joining is not None and facts.joining.effort_bits and not await _is_known(lab):
        fields["effort"] = await _effort(lab, facts, facts.joining.effort_bits, standing)
    return fields


def _present(kind: type[S], given: Path | None, usual: Path) -> tuple[S, Signed] | None:
    if given is None and not usual.exists():
        return None
    return read(kind, given or usual)


async def _is_known(lab: LabClient) -> bool:
    try:
        await lab.read(NodeView, f"/nodes/{lab.identity.did}")
    except LabRefused as error:
        if error.status == NOT_FOUND:
            return False
        raise
    return True


async def _effort(lab: LabClient, facts: LabFacts, bits: int, standing: Standing) -> Effort:
    if bits > MAX_EFFORT_BITS:
        raise NodeFailed(
            f"the lab asks newcomers for an effort of {bits} bits, and no lab may ask for more than {MAX_EFFORT_BITS}"
        )
    try:
        key = NoteKey.from_text(facts.ledger_key)
    except BadNote as error:
        raise LabRefused("bad-head", str(error), 200) from None
    standing.at(Doing.KNOCKING)
    standing.news.append(f"the lab asks newcomers for 2^{bits} hashes; computing them")
    while (found := await _over_newest_head(lab, key, bits, time.monotonic)) is None:
        continue
    standing.at(Doing.CONNECTING)
    return found


async def _over_newest_head(
    lab: LabClient, key: NoteKey, bits: int, clock_s: Callable[[], float]
) -> Effort | None:
    """None: this head is old by now."""
    note = await lab.get_bytes("/ledger/head", HEAD)
    try:
        head = verify_tree_head(note, key)
    except BadTreeHead as error:
        raise LabRefused("bad-head", str(error), 200) from None
    root, begun_s, first = f"sha256:{head.root.hex()}", clock_s(), 0
    prefix = effort_prefix(lab.lab, lab.identity.did, root)
    while clock_s() - begun_s < MAX_HEAD_AGE_S:
        nonce = await asyncio.to_thread(find_nonce, prefix, bits, first, TRIES_AT_ONCE)
        if nonce is not None:
            return Effort(size=head.size, root=root, nonce=nonce)
        first += TRIES_AT_ONCE
    return None
