"""Stakes, as everybody reads them: what a provider says to vouch with more or to leave with what is its own."""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.fields import Did
from archipel.records.statement import Statement

MAX_MOVED_MICRO = 10**15
"""A billion credits: sums of many stay what a record may hold."""
Micro = Annotated[int, Field(ge=1, le=MAX_MOVED_MICRO)]
"""Micro-credits that move."""


class StakePut(Statement):
    """A provider vouches for its work with so much of its balance."""

    kind: Literal["stake.put"] = "stake.put"
    micro: Micro


class StakeGiven(Statement):
    """An operator vouches for a provider out of its own balance; from then on the stake is the provider's."""

    kind: Literal["stake.given"] = "stake.given"
    node: Did
    micro: Micro


class StakeReturned(Statement):
    """A provider that has left takes its stake back, once nothing that it did can be judged any more."""

    kind: Literal["stake.returned"] = "stake.returned"
