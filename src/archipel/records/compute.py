"""Pledges of compute: a provider's word that so much of its machines' time goes to a lab, or to a purpose.

They move no money and bind nobody but whoever signs them; a lab enters them so that everybody can compare them with what
its ledger shows was done. (Of pay that goes to a pool: `grants.PoolPledged`.)
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from archipel.records.fields import LeftOut, Millis, Sparing
from archipel.records.statement import Statement

MILLION = 1_000_000
MAX_HOURS_A_WEEK = 168 * 100_000
"""Of all machines of one provider."""
MAX_PLEDGED_MS = 1100 * 86_400_000
"""No pledge of compute lasts longer: three years."""
MAX_PURPOSES = 8
"""That one run declares."""
Purpose = Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9-]{0,31}$")]
"""A tag that runs declare, such as `medicine`."""
Purposes = Annotated[tuple[Purpose, ...], Field(min_length=1, max_length=MAX_PURPOSES)]
PledgeName = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""Drawn by whoever pledges; it tells a provider's pledges apart, the same at every lab."""


class ComputePledged(Statement, Sparing):
    """A provider pledges compute to this lab, or to whatever serves a purpose, until a time; what it said before under this
    name holds no more.
    """

    kind: Literal["compute.pledged"] = "compute.pledged"
    name: PledgeName
    purpose: Annotated[Purpose | None, LeftOut] = None
    """None: to the lab that the statement is addressed to."""
    share: Annotated[int | None, Field(ge=1, le=MILLION), LeftOut] = None
    """Millionths of the time that its machines work."""
    hours: Annotated[int | None, Field(ge=1, le=MAX_HOURS_A_WEEK), LeftOut] = None
    """Hours of work a week."""
    until_ms: Millis

    @model_validator(mode="after")
    def _says_how_much(self) -> Self:
        if (self.share is None) == (self.hours is None):
            raise ValueError(
                "a pledge of compute says how much: a share, or hours a week, not both"
            )
        return self


class ComputeWithdrawn(Statement):
    """A provider takes a pledge of compute back; what was done until then stays counted."""

    kind: Literal["compute.withdrawn"] = "compute.withdrawn"
    name: PledgeName


Pledging: TypeAlias = ComputePledged | ComputeWithdrawn
"""What may stand in a ledger of that."""
