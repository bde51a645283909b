"""Credits and the world outside, as everybody reads them: what came in or went out, and what is set aside for a run."""

from typing import Annotated, Literal, TypeAlias

from pydantic import Field

from archipel.records.fields import Did, LeftOut, RunName, Sparing
from archipel.records.grants import Granting
from archipel.records.stakes import MAX_MOVED_MICRO, Micro
from archipel.records.statement import Statement

Reference = Annotated[str, Field(pattern=r"^[!-*,.-<>?A-~]([ -~]{0,98}[!-~])?$")]
"""What an invoice or a transfer calls it: up to 100 ASCII characters, no space at either end, and not begun as what a
spreadsheet computes (= + - @). A lab takes each once."""
Direction = Literal["in", "out"]
"""Into an account, against money that was received for it; or out of it, against money that was paid."""


class CreditsSettled(Statement, Sparing):
    """An operator says what was settled outside: money was received for credits, or paid for them."""

    kind: Literal["credits.settled"] = "credits.settled"
    account: Did
    """Whose wallet."""
    direction: Direction
    micro: Micro
    reference: Reference
    usd_micro: Annotated[int | None, Field(ge=0, le=MAX_MOVED_MICRO), LeftOut] = None
    """Millionths of a US dollar that were received or paid; None: not said."""


class RunFunded(Statement):
    """A sponsor sets credits of its own aside for a run; what is unspent at its end goes back to who set it aside."""

    kind: Literal["run.funded"] = "run.funded"
    run: RunName
    micro: Micro


Paying: TypeAlias = CreditsSettled | RunFunded | Granting
"""What may stand in a ledger of money that comes, goes, is set aside and is granted."""
