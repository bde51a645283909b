"""Operators of nodes in the tests: what they delegate, and what a lab's operator invites with."""

from archipel.identity import Identity, pre_authentication_encoding
from archipel.records.membership import (
    DELEGATION_TYPE,
    INVITATION_TYPE,
    Delegation,
    Invitation,
    Signed,
    payload_of,
)


def signed(by: Identity, said: Delegation | Invitation) -> Signed:
    kind = DELEGATION_TYPE if isinstance(said, Delegation) else INVITATION_TYPE
    payload = payload_of(said)
    signature = by.sign_bytes(pre_authentication_encoding(kind, payload.encode()))
    return Signed(payload=payload, signature=signature.hex())


def delegation(operator: Identity, node: str, issued_ms: int = 1, **more: object) -> Signed:
    fields = {"operator": operator.did, "node": node, "issued_ms": issued_ms} | more
    return signed(operator, Delegation(**fields))  # type: ignore[arg-type]  # as the test says


def invitation(
    by: Identity, lab: str, until_ms: int, uses: int = 1, name: str = "1f" * 8
) -> Signed:
    said = Invitation(lab=lab, by=by.did, name=name, uses=uses, until_ms=until_ms)
    return signed(by, said)
