"""What owners of a run say: shares that change hands, votes that are delegated, proposals, ballots, gifts (0076, 0077); and
what operators of the lab say of what a model earned (0081).

Law: nobody says how a vote ended. It follows from the ballots, the charter and the shares at the opening; whoever folds
the ledger counts it, at the first entry after its time is over.
"""

from typing import Annotated, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from archipel.records.fields import Count, Did, Digest, LeftOut, RunName, Sparing
from archipel.records.membership import Signed
from archipel.records.recipe_charter import UNITS
from archipel.records.stakes import MAX_MOVED_MICRO, Micro
from archipel.records.statement import Statement
from archipel.records.withdrawal import ContributionWithdrawn

MAX_PROPOSAL_CHARACTERS = 2000
LICENCE = r"^[A-Za-z0-9.+-]+( AND [A-Za-z0-9.+-]+)*$"
"""SPDX identifiers joined by AND."""

Units = Annotated[int, Field(ge=1, le=UNITS)]
"""Of a run's shares; all together are 10^12."""
About = Literal["licence", "price", "recipe", "spending", "other"]
Says = Literal["yes", "no", "abstain"]


class ShareTransferred(Statement):
    """A holder gives some of its shares to somebody else."""

    kind: Literal["share.transferred"] = "share.transferred"
    run: RunName
    to: Did
    units: Units


class VoteDelegated(Statement, Sparing):
    """A holder lets another one vote for it wherever it casts no ballot itself, until it says otherwise."""

    kind: Literal["vote.delegated"] = "vote.delegated"
    run: RunName
    to: Annotated[Did | None, LeftOut] = None
    """None: nobody any more."""


class Spending(Sparing):
    """What the treasury is to give, and to whom."""

    to: Did
    units: Annotated[Units | None, LeftOut] = None
    """Of its shares."""
    micro: Annotated[Micro | None, LeftOut] = None
    """Of its credits."""

    @model_validator(mode="after")
    def _is_something(self) -> Self:
        if self.units is None and self.micro is None:
            raise ValueError("a spending of nothing: give units, micro or both")
        return self


class ProposalOpened(Statement, Sparing):
    """A holder asks the others to decide; who holds what at this entry decides what a ballot weighs."""

    kind: Literal["proposal.opened"] = "proposal.opened"
    run: RunName
    about: About
    text: Annotated[str, Field(min_length=1, max_length=MAX_PROPOSAL_CHARACTERS)]
    licence: Annotated[str | None, Field(pattern=LICENCE, max_length=256), LeftOut] = None
    """Of what the run made, as an SPDX expression."""
    price_micro: Annotated[int | None, Field(ge=0, le=MAX_MOVED_MICRO), LeftOut] = None
    """Micro-credits for a million tokens that it serves."""
    recipe: Annotated[Digest | None, LeftOut] = None
    """Of the next run."""
    spending: Annotated[Spending | None, LeftOut] = None

    @model_validator(mode="after")
    def _says_what_it_is_about(self) -> Self:
        given = {
            "licence": self.licence,
            "price": self.price_micro,
            "recipe": self.recipe,
            "spending": self.spending,
        }
        said = [name for name, value in given.items() if value is not None]
        if said != [self.about] and not (self.about == "other" and not said):
            raise ValueError(f"a proposal about {self.about} that says {said or 'nothing'}")
        return self


class BallotCast(Statement):
    """A holder's word on a proposal; its first one counts."""

    kind: Literal["ballot.cast"] = "ballot.cast"
    run: RunName
    proposal: Count
    """Position of its `proposal.opened` in the ledger."""
    says: Says


class TreasuryGiven(Statement):
    """Somebody gives credits to the treasury of a run."""

    kind: Literal["treasury.given"] = "treasury.given"
    run: RunName
    micro: Micro


class MeterNamed(Statement):
    """An operator of the lab says whose receipts count for a run."""

    kind: Literal["meter.named"] = "meter.named"
    run: RunName
    meter: Did
    """The key that signs them; it is of one run alone."""
    weights: Digest
    """What it serves: a version of the run."""


class RevenueEntered(Statement):
    """An operator of the lab says that a model's users paid; it goes to who holds the run's shares at this entry."""

    kind: Literal["revenue.entered"] = "revenue.entered"
    run: RunName
    first: Count
    """Number of the first receipt that this is for: the one behind the last that was entered."""
    receipt: Signed
    """The last of them (`receipts.UsageReceipt`)."""
    micro: Micro
    """What came in; with all that was entered before, no more than the receipts come to."""


Owning: TypeAlias = (
    ShareTransferred
    | VoteDelegated
    | ProposalOpened
    | BallotCast
    | TreasuryGiven
    | MeterNamed
    | RevenueEntered
    | ContributionWithdrawn
)
"""What may stand in a ledger of that, and of a contribution that is taken back, by whoever gave it."""
