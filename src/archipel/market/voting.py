"""Ballots counted: what each weighs, whom it speaks for, and what that comes to (decision 0077). Pure, integers only.

Law: the order of ballots says nothing, nor does that of delegations; every unit is counted once, whoever voted for it.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from archipel.records.recipe_charter import MILLION


@dataclass(frozen=True, slots=True)
class Count:
    """What the ballots come to, in weight."""

    all: int = 0
    """That could be cast."""
    yes: int = 0
    no: int = 0
    abstain: int = 0
    is_adopted: bool = False

    @property
    def cast(self) -> int:
        """That was."""
        return self.yes + self.no + self.abstain


def counted(
    weights: Mapping[str, int],
    ballots: Mapping[str, str],
    delegates: Mapping[str, str],
    *,
    quorum: int,
    majority: int,
) -> Count:
    """What a vote comes to.

    Args:
        weights: holder -> weight, of all who may vote.
        ballots: holder -> `yes`, `no` or `abstain`.
        delegates: holder -> whose ballot counts for it where it has none of its own.
        quorum: of all weight, in millionths, what has to be cast at least; of nothing nothing is adopted.
        majority: of yes and no, in millionths, what yes has to exceed; at a million, all of it.
    """
    sums = {"yes": 0, "no": 0, "abstain": 0}
    found: dict[str, str | None] = dict(ballots)
    for holder, weight in weights.items():
        says = _said_for(holder, found, delegates)
        if says is not None:
            sums[says] += weight
    total, cast = sum(weights.values()), sum(sums.values())
    yes, no = sums["yes"], sums["no"]
    is_enough = yes * MILLION > majority * (yes + no) or (majority == MILLION and not no)
    return Count(
        all=total,
        yes=yes,
        no=no,
        abstain=sums["abstain"],
        is_adopted=yes > 0 and cast * MILLION >= quorum * total and is_enough,
    )


def _said_for(
    holder: str, found: dict[str, str | None], delegates: Mapping[str, str]
) -> str | None:
    """The ballot that counts for a holder; what is found on the way is remembered, so a line is walked once."""
    walked = []
    here: str | None = holder
    while here is not None and here not in found:
        found[here] = None  # a ring, should there be one, has no ballot
        walked.append(here)
        here = delegates.get(here)
    says = None if here is None else found[here]
    found.update(dict.fromkeys(walked, says))
    return says


def line(did: str, delegates: Mapping[str, str]) -> Iterator[str]:
    """`did`, whom it delegates to, whom that one does, and so on; a ring ends where it closes."""
    seen: set[str] = set()
    here: str | None = did
    while here is not None and here not in seen:
        seen.add(here)
        yield here
        here = delegates.get(here)
