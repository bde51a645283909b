"""What is said of a contribution whose giver, or the lab's operator, takes it back.

Law: it is a word in the ledger and changes nothing in it: what was made is made. Whoever keeps a release looks up what
it affects (`archipel release affected`).
"""

from typing import Annotated, Literal, Self

from pydantic import model_validator

from archipel.records.fields import Did, Digest, LeftOut, Reason, RunName, Sparing
from archipel.records.statement import Statement


class ContributionWithdrawn(Statement, Sparing):
    """Data, a party's whole part in a run, or what one key did in it is no longer given."""

    kind: Literal["contribution.withdrawn"] = "contribution.withdrawn"
    run: RunName
    data: Annotated[Digest | None, LeftOut] = None
    """Of bytes that the run was made from."""
    party: Annotated[Did | None, LeftOut] = None
    """An operator of nodes, or a key without one: all that it did."""
    key: Annotated[Did | None, LeftOut] = None
    """One node's key."""
    reason: Reason

    @model_validator(mode="after")
    def _is_one_thing(self) -> Self:
        if len([each for each in (self.data, self.party, self.key) if each is not None]) != 1:
            raise ValueError("a withdrawal names one of data, party and key")
        return self
