"""Readers of what a node presents that others signed, and of key files."""

import sqlite3
from pathlib import Path

from archipel.door.keys import USUAL, Keys
from archipel.identity import IdentityError
from archipel.key_file import Unusable, key_in, plain_file, sealed_file
from archipel.lab.entry import read_entry
from archipel.node.membership import opened
from archipel.records.grants import Attestation, Permit
from archipel.records.membership import Delegation, Invitation, NotSigned, read_signed, signed_from
from archipel.records.statements import InvalidRecord
from archipel.records.succession import Agreement
from fuzz.reading import Reader
from granted import attested, permitted
from keyring import delegation, invitation
from people import identity
from succeeding import agreement, succession

BOSS, NODE = identity("boss"), identity("node")
HERE = Path("file")


def _as_far_as_the_passphrase(data: bytes) -> object:
    """Stretching one for each input would be all that is measured."""
    try:
        return key_in(data, lambda: b"")
    except Unusable as error:
        if "takes a passphrase" in str(error):
            return None
        raise


def readers() -> dict[str, Reader]:
    given = delegation(BOSS, NODE.did, until_ms=9, lab=BOSS.did, replaces=BOSS.did)
    invited = invitation(BOSS, NODE.did, 9)
    seed = bytes(range(32))
    files = (plain_file(NODE.did, seed), sealed_file(NODE.did, seed, b"word", 2**14))
    keys = Keys(sqlite3.connect(":memory:", check_same_thread=False))
    attestation = attested(BOSS.did, NODE.did, "ada", 9)
    permit = permitted(BOSS.did, NODE, 9)
    return {
        "attestations": Reader(
            lambda data: read_signed(Attestation, signed_from(data)),
            (attestation.model_dump_json().encode(),),
            (NotSigned,),
        ),
        "permits": Reader(
            lambda data: read_signed(Permit, signed_from(data)),
            (permit.model_dump_json().encode(),),
            (NotSigned,),
        ),
        "agreements": Reader(
            lambda data: read_signed(Agreement, signed_from(data)),
            (agreement([b"entry"], BOSS, NODE).model_dump_json().encode(),),
            (NotSigned,),
        ),
        "successions": Reader(
            read_entry,
            (succession([b"entry"], BOSS, agreement([b"entry"], NODE, BOSS)).to_bytes(),),
            (InvalidRecord, IdentityError),
        ),
        "API keys": Reader(
            lambda data: keys.find(data.decode("latin-1")),
            (keys.make("ada", USUAL, 1).encode(),),
            (),
        ),
        "delegations": Reader(
            lambda data: opened(Delegation, data, HERE),
            (given.model_dump_json().encode(),),
            (NotSigned,),
        ),
        "invitations": Reader(
            lambda data: opened(Invitation, data, HERE),
            (invited.model_dump_json().encode(),),
            (NotSigned,),
        ),
        "key files": Reader(_as_far_as_the_passphrase, files, (Unusable,)),
    }
