"""What a lab shows of who owns a run: holders, their votes and how these were decided, what the model earned."""

from archipel.records.document import Document
from archipel.records.recipe_charter import CharterTerms


class HolderView(Document):
    """One holder; the treasury is `treasury`."""

    holder: str
    units: int
    """Of 10^12; before the shares are divided, what it would have."""
    issued_units: int
    """When they were divided; 0 before, or if it came later."""
    earned_micro: int
    """Pay for accepted work that it kept; counted until the shares are divided."""
    funded_micro: int
    """Credits of its own that the run spent: of what it set aside, what it did not get back."""
    trusts: str | None
    """Whose ballot counts for it where it casts none."""


class VoteView(Document):
    """A proposal, and its ballots so far or in the end."""

    entry: int
    """Position of its opening in the ledger."""
    author: str
    about: str
    text: str
    licence: str | None
    price_micro: int | None
    recipe: str | None
    spend_to: str | None
    spend_units: int | None
    spend_micro: int | None
    until_ms: int
    phase: str
    """`open`, `adopted` or `rejected`."""
    all: int
    """Weight that could be cast: units, or operators."""
    yes: int
    no: int
    abstain: int
    undone: str
    """Why what was adopted could not be carried out."""


class MeterView(Document):
    """A key whose receipts count, as far as they were entered."""

    meter: str
    weights: str
    receipts: int
    """Number of the last."""
    due_micro: int
    """What these come to."""
    paid_micro: int
    """Of that, what came in and went to the holders."""


class OwnershipView(Document):
    """Of one run."""

    run: str
    size: int
    """Entries of the ledger that it follows from."""
    now_ms: int
    charter: CharterTerms
    is_divided: bool
    why_not: str | None
    """Why the shares cannot be divided yet."""
    issued_entry: int | None
    num_holders: int
    holders: tuple[HolderView, ...]
    """Who holds most first."""
    treasury_micro: int
    """Credits of the treasury."""
    votes: tuple[VoteView, ...]
    """Open ones first, then the newest decided."""
    meters: tuple[MeterView, ...] = ()
    """Whose receipts count; none where a lab knows of no earnings."""
