"""Successions of a world's lab, made as `archipel lab succeed` makes them, honest or not."""

from typing import Any

from archipel.identity import Identity
from archipel.lab.entry import Entry
from archipel.lab.recovery import pages
from archipel.lab.taking_over import entry_of, succession_of
from archipel.ledger.merkle import root_of
from archipel.ledger.taken_over import agreed
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.membership import Signed
from archipel.records.succession import Agreement
from people import identity
from world import World

NEXT, THIRD = identity("next lab"), identity("third lab")
STEWARD = identity("next operator")


def entries(world: World) -> list[bytes]:
    return list(pages(world.lab.log))


def head_over(told: list[bytes], signer: Identity) -> TreeHead:
    return sign_tree_head(signer, lab_key(signer.did).name, len(told), root_of(told))


def agreement(told: list[bytes], by: Identity, lab: Identity, /, **other: Any) -> Signed:
    """To NEXT; other: fields that say something else."""
    said = Agreement(
        predecessor=lab.did,
        size=len(told),
        root=f"sha256:{root_of(told).hex()}",
        successor=NEXT.did,
        by=by.did,
    )
    return agreed(by, said.model_copy(update=other))


def succession(
    told: list[bytes],
    lab: Identity,
    /,
    *agreements: Signed,
    successor: Identity = NEXT,
    **other: Any,
) -> Entry:
    """other: fields that say something else."""
    head = head_over(told, lab)
    said = succession_of(successor, lab.did, head, (STEWARD.did,), "it burned down", agreements)
    return entry_of(successor, said.model_copy(update=other), 1_800_000_900_000)
