"""What is said of how answers are looked at, and of what vouches for them."""

from typing import TypeAlias

from archipel.records.audits import AuditsDrawn, VerdictContested
from archipel.records.plants import PlantsCommitted, PlantsRevealed
from archipel.records.stakes import StakeGiven, StakePut, StakeReturned

Judging: TypeAlias = (
    AuditsDrawn
    | VerdictContested
    | PlantsCommitted
    | PlantsRevealed
    | StakePut
    | StakeGiven
    | StakeReturned
)
"""What may stand in a ledger of that."""
