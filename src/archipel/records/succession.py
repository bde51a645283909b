"""A lab that goes on under another's key, in words: who may continue a ledger, who agreed to it, and the entry that does.

What share holders and named keys sign beforehand travels as the exact bytes that they signed. Law: an agreement is over one
predecessor, one prefix (size and root) and one successor, so it can be used once and nowhere else; whether it suffices, the
rules say (`lab.succession`).
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from archipel.records.fields import (
    MAX_TRUSTED_KEYS,
    Closed,
    Count,
    Did,
    Digest,
    LeftOut,
    Reason,
    Sparing,
)
from archipel.records.membership import Signed, TakingPart
from archipel.records.statement import Statement

AGREEMENT_TYPE = "application/vnd.archipel.succession.v1+json"
"""DSSE payload type of an agreement."""
MAX_SUCCESSORS = 16
MAX_SUCCESSIONS = 64
"""Of one ledger."""
MAX_AGREEMENTS = 24
"""With the longest head and reason, a succession still fits a record."""
MAX_ASKED = 16
MAX_HEAD_CHARACTERS = 4096
"""Of a signed tree head: one signature of its lab, and a few of witnesses."""

Address = Annotated[str, Field(pattern=r"^https?://[!-~]{1,240}$")]
"""Where a lab answers."""


class Successor(Sparing):
    """A key that may continue a ledger, or say who does; and where it answers."""

    did: Did
    address: Annotated[Address | None, LeftOut] = None
    """None: nobody knows yet; whoever looks for it is told by others."""


Successors = Annotated[tuple[Successor, ...], Field(max_length=MAX_SUCCESSORS)]


class Agreement(Closed):
    """A key agrees that one lab continues one ledger from one head on."""

    predecessor: Did
    size: Annotated[int, Field(ge=1)]
    """Entries that are taken over."""
    root: Digest
    """Of these."""
    successor: Did
    by: Did
    """Whose key signs it."""


class SuccessorsNamed(Statement):
    """An operator of the lab says who may continue its ledger if it cannot; it replaces what was said before."""

    kind: Literal["successors.named"] = "successors.named"
    successors: Successors
    ask: Annotated[tuple[Address, ...], Field(max_length=MAX_ASKED)]
    """Where else nodes may look for whoever continues it, by its owners' agreement, say: the word of who answers there counts
    for nothing, and the whole ledger is folded before it is followed."""

    @model_validator(mode="after")
    def _are_told_apart(self) -> Self:
        named = [each.did for each in self.successors]
        if len({*named}) < len(named) or len({*self.ask}) < len(self.ask):
            raise ValueError("a successor or an address is named twice")
        return self


class LabSucceeded(Statement):
    """The first entry that a successor writes: whose ledger it continues, from where on, and who agreed.

    Its author is the lab from here on; what stands before it was written by the one before.
    """

    kind: Literal["lab.succeeded"] = "lab.succeeded"
    predecessor: Did
    size: Annotated[Count, Field(ge=1)]
    """Entries before this one, all of them the predecessor's ledger."""
    root: Digest
    head: Annotated[str, Field(max_length=MAX_HEAD_CHARACTERS)]
    """The predecessor's signed tree head over them (C2SP note)."""
    operators: Annotated[tuple[Did, ...], Field(min_length=1, max_length=MAX_TRUSTED_KEYS)]
    """Keys that may open and stop runs from here on; those of the predecessor may no more."""
    reason: Reason
    agreements: Annotated[tuple[Signed, ...], Field(max_length=MAX_AGREEMENTS)]
    """`Agreement`s, beside the successor's own signature."""


Succeeding: TypeAlias = TakingPart | SuccessorsNamed | LabSucceeded
"""What may stand in a ledger of who takes part in it, and who continues it."""


def agreement_to(said: LabSucceeded, by: str) -> Agreement:
    """What a key has to sign that agrees to this succession."""
    return Agreement(
        predecessor=said.predecessor, size=said.size, root=said.root, successor=said.author, by=by
    )
