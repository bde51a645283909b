"""What a recipe says of who owns what its run makes and how owners decide (decision 0076), and what records say of it. Pure.

Law: all of it is fixed when the run opens; the parts add up to the whole, in millionths.
"""

from typing import Annotated, ClassVar, Literal, Self

from pydantic import Field, model_validator

from archipel.records.fields import Closed, Did, LeftOut, Sparing
from archipel.records.recipe_form import Section
from archipel.records.succession import MAX_SUCCESSORS, Address, Successor

MILLION = 1_000_000
UNITS = 10**12
"""All shares of a run together."""
MAX_CONTRIBUTORS = 32
MAX_WEIGHT = 10**9
MAX_VOTING_S = 90 * 86_400.0

Share = Annotated[float, Field(ge=0.0, le=1.0)]
Millionths = Annotated[int, Field(ge=0, le=MILLION)]
Weight = Annotated[int, Field(ge=1, le=MAX_WEIGHT)]


class CharterSection(Section):
    """Who owns what the run makes, and how owners decide. A run without this section has no owners in the ledger."""

    LATER: ClassVar[frozenset[str]] = frozenset({"successors"})

    providers: Share = 0.7
    """Part of the whole for those who were paid for accepted work, in proportion to the pay that they kept."""
    sponsors: Share = 0.2
    """Part for those whose credits the run spent, in proportion: of sponsors what they set aside and did not get back, of
    the run's operator what it paid."""
    data: Share = 0.0
    """Part for those named under `contributors`, by their weights."""
    treasury: Share = 0.1
    """Part of the run's treasury: it votes on nothing, and owners decide what it is spent on. The four add up to 1."""
    contributors: Annotated[dict[Did, Weight], Field(max_length=MAX_CONTRIBUTORS)] = Field(
        default={}
    )
    """Key (did:key:z6Mk...) -> weight, of those who bring data, code or whatever else no ledger measures."""
    ballots: Literal["shares", "operators"] = "shares"
    """What a ballot weighs: `shares`, what its holder has; `operators`, the same for every holder of `least` that earned
    as much."""
    quorum: Share = 0.25
    """Of all that could be cast, so much has to be for a proposal to be adopted."""
    majority: Annotated[float, Field(ge=0.5, le=1.0)] = 0.5
    """Of yes and no together, yes has to be more than this; at 1, all."""
    voting_s: Annotated[float, Field(ge=1.0, le=MAX_VOTING_S)] = 604_800.0
    """So long ballots are taken after a proposal was opened."""
    least: Share = 0.001
    """Part of the whole that a holder has to have to open a proposal, and to vote where ballots go by operators."""
    successors: Annotated[dict[Did, Address | Literal[""]], Field(max_length=MAX_SUCCESSORS)] = (
        Field(default={})
    )
    """Key (did:key:z6Mk...) -> address (https://..., or nothing where nobody knows yet), of those who may continue the run at
    another lab if this one dies or refuses, without its key. With any of them named, those that the lab names say nothing
    here; owners of more than half of all shares that vote always may."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        parts = (self.providers, self.sponsors, self.data, self.treasury)
        whole = sum(round(each * MILLION) for each in parts)
        if whole != MILLION:
            raise ValueError(
                f"charter.providers, sponsors, data and treasury add up to {whole / MILLION:g}, expected 1: say whose the "
                "rest is"
            )
        if bool(self.contributors) != (round(self.data * MILLION) > 0):
            raise ValueError(
                f"charter.data is {self.data:g} and charter.contributors names {len(self.contributors)}; name whose that "
                "part is, and give no part of nothing"
            )
        return self


class Contributor(Closed):
    """Whose a part of the data's part is."""

    did: Did
    weight: Weight


class CharterTerms(Sparing):
    """The same in integers; parts in millionths of the whole."""

    providers: Millionths
    sponsors: Millionths
    data: Millionths
    treasury: Millionths
    ballots: Literal["shares", "operators"]
    quorum: Millionths
    """Of all that could be cast."""
    majority: Annotated[int, Field(ge=MILLION // 2, le=MILLION)]
    """Of yes and no together, yes has to be more than this; at a million, all."""
    voting_ms: Annotated[int, Field(ge=1000, le=round(MAX_VOTING_S * 1000))]
    least: Millionths
    contributors: Annotated[
        tuple[Contributor, ...] | None, Field(min_length=1, max_length=MAX_CONTRIBUTORS), LeftOut
    ] = None
    successors: Annotated[
        tuple[Successor, ...] | None, Field(min_length=1, max_length=MAX_SUCCESSORS), LeftOut
    ] = None
    """Who may continue the run elsewhere; None: whoever its lab names, or its owners agree on."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        whole = self.providers + self.sponsors + self.data + self.treasury
        if whole != MILLION:
            raise ValueError(f"the parts add up to {whole} millionths, expected {MILLION}")
        named = [each.did for each in self.contributors or ()]
        if bool(named) != (self.data > 0):
            raise ValueError(f"{self.data} millionths for data, and {len(named)} named for it")
        if named != sorted(set(named)):
            raise ValueError("contributors are named once each, in the order of their keys")
        heirs = [each.did for each in self.successors or ()]
        if heirs != sorted(set(heirs)):
            raise ValueError("successors are named once each, in the order of their keys")
        return self

    @property
    def least_units(self) -> int:
        """Units that a holder must have to open a proposal."""
        return self.least * (UNITS // MILLION)


def charter_terms(section: CharterSection | None) -> CharterTerms | None:
    """What a recipe says, in integers; None: the run has no owners in the ledger."""
    if section is None:
        return None
    named = sorted(section.contributors.items())
    successors = tuple(
        Successor(did=did, address=address or None)
        for did, address in sorted(section.successors.items())
    )
    return CharterTerms(
        providers=round(section.providers * MILLION),
        sponsors=round(section.sponsors * MILLION),
        data=round(section.data * MILLION),
        treasury=round(section.treasury * MILLION),
        ballots=section.ballots,
        quorum=round(section.quorum * MILLION),
        majority=round(section.majority * MILLION),
        voting_ms=round(section.voting_s * 1000),
        least=round(section.least * MILLION),
        contributors=tuple(Contributor(did=did, weight=weight) for did, weight in named) or None,
        successors=successors or None,
    )
