"""Is a succession what it says: by the predecessor's head, and by whoever agreed? Pure; for a lab's fold and for nodes.

Law: signatures are looked at, and that each is over this succession and no other. Whether they suffice is for whoever asks.
"""

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.ledger.signed_note import BadNote
from archipel.ledger.tree_head import BadTreeHead, verify_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.canonical import canonical_json
from archipel.records.membership import NotSigned, Signed, read_signed
from archipel.records.succession import AGREEMENT_TYPE, Agreement, LabSucceeded, agreement_to


class BadSuccession(ValueError):
    """A `lab.succeeded` whose head or agreements do not hold; the message names the field."""


def check_taken_over(said: LabSucceeded) -> frozenset[str]:
    """Every key that agreed to it: the successor's own, and those beside it.

    1. The head is the predecessor's. 2. It is over this prefix. 3. Every agreement is its signer's. 4. It is to this succession.
    That the successor signed `said` itself is shown where its envelope is opened.

    Raises:
        BadSuccession: any of these fails.
    """
    try:
        head = verify_tree_head(said.head.encode(), lab_key(said.predecessor))
    except (BadTreeHead, BadNote, IdentityError, UnicodeEncodeError) as error:
        raise BadSuccession(f"head: not signed by {said.predecessor}: {error}") from None
    if (head.size, f"sha256:{head.root.hex()}") != (said.size, said.root):
        raise BadSuccession(
            f"head: over {head.size} entries under sha256:{head.root.hex()}; expected {said.size} under {said.root}"
        )
    return frozenset(
        (said.author, *(_agreed(said, number) for number in range(len(said.agreements))))
    )


def _agreed(said: LabSucceeded, number: int) -> str:
    """Who signed one of its agreements."""
    signed = said.agreements[number]
    try:
        found = read_signed(Agreement, signed)
        verify(enveloped(signed, found.by), AGREEMENT_TYPE)
    except (NotSigned, IdentityError) as error:
        raise BadSuccession(f"agreements.{number}: {error}") from None
    if found != agreement_to(said, found.by):
        raise BadSuccession(
            f"agreements.{number}: {found.by} agreed that {found.successor} continues {found.predecessor} from {found.size} "
            f"entries under {found.root} on; this is {said.author}, from {said.size} under {said.root} of {said.predecessor}"
        )
    return found.by


def agreed(by: Identity, said: Agreement) -> Signed:
    """Sign it."""
    payload = canonical_json(said.model_dump(mode="json"))
    return Signed(
        payload=payload.decode(), signature=sign(by, payload, AGREEMENT_TYPE).signature.hex()
    )


def enveloped(signed: Signed, signer: str) -> Envelope:
    """An agreement as its signature is looked at."""
    return Envelope(
        signed.payload.encode(), AGREEMENT_TYPE, signer, bytes.fromhex(signed.signature)
    )
