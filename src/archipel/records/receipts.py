"""Usage receipts: what a served model was asked and what is due for it, one for each window of time, each signed, each naming
the one before (decision 0081).

Parts: `Usage`, `Row` (of one caller), `UsageReceipt` (what is signed), `Line` (a receipt and its rows, as a meter keeps them).
Laws: no prompt, answer or name is in any of it; of a receipt alone, which is what enters a ledger, not even how many callers
there were. Sums go on from the receipt before, so the newest says what all came to.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from archipel.records.canonical import canonical_json, sha256_digest
from archipel.records.fields import Closed, Count, Did, Digest, LeftOut, Millis, Sparing
from archipel.records.membership import Signed
from archipel.records.stakes import MAX_MOVED_MICRO

RECEIPT_TYPE = "application/vnd.archipel.receipt.v1+json"
"""DSSE payload type."""
MAX_ROWS = 2048
"""Callers in one window: a server has at most half as many API keys."""
MAX_LINE_BYTES = 1_000_000
"""Of a receipt with its rows."""
MILLION = 1_000_000
MAX_PRICE = 10**12
"""Micro-credits for a million tokens."""

Price = Annotated[int, Field(ge=0, le=MAX_PRICE)]
Number = Annotated[int, Field(ge=1, le=MAX_MOVED_MICRO)]
Who = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
"""A caller, as only whoever has the meter's key and the caller's can tell."""


class Usage(Closed):
    """Sums."""

    answers: Count
    tokens_in: Count
    """Of prompts, and of texts that were read."""
    tokens_out: Count
    micro: Count
    """Micro-credits that are due for it."""

    def plus(self, other: "Usage") -> "Usage":
        """Both together. Raises ValidationError: beyond what a record may hold."""
        return Usage(
            answers=self.answers + other.answers,
            tokens_in=self.tokens_in + other.tokens_in,
            tokens_out=self.tokens_out + other.tokens_out,
            micro=self.micro + other.micro,
        )


NOTHING = Usage(answers=0, tokens_in=0, tokens_out=0, micro=0)


class Row(Usage):
    """Of one caller, in one window."""

    who: Who

    @property
    def usage(self) -> Usage:
        """Its sums."""
        return Usage(**self.model_dump(exclude={"who"}))


class UsageReceipt(Sparing):
    """Of one window."""

    meter: Did
    """Whose key signs it."""
    number: Number
    """From 1 on, without a gap."""
    previous: Annotated[Digest | None, LeftOut] = None
    """Of the receipt before; the first has none."""
    weights: Digest
    """Of what was served: as a run's versions have it where it is one of these. The same in all receipts of a meter."""
    price_micro: Price
    """For a million tokens, read or answered."""
    from_ms: Millis
    """Unix time, by the server's clock."""
    until_ms: Millis
    is_after_break: Annotated[Literal[True] | None, LeftOut] = None
    """The server before was cut off: what it had answered since the receipt before is in none."""
    rows: Digest
    """Of the list of rows."""
    window: Usage
    """All rows together."""
    all: Usage
    """The same of all receipts up to this one."""

    @model_validator(mode="after")
    def _goes_on(self) -> Self:
        if (self.number == 1) != (self.previous is None):
            raise ValueError("the first receipt names none before it, and every other one does")
        if self.until_ms < self.from_ms:
            raise ValueError("a window that ends before it begins")
        return self


class Line(Closed):
    """As a meter keeps it."""

    receipt: Signed
    rows: Annotated[tuple[Row, ...], Field(min_length=1, max_length=MAX_ROWS)]


def due_micro(num_tokens: int, price_micro: int) -> int:
    """For so many tokens of one caller in one window: rounded down, so nobody pays for what it had not."""
    return num_tokens * price_micro // MILLION


def rows_digest(rows: tuple[Row, ...]) -> str:
    """Of a receipt's rows."""
    return sha256_digest(canonical_json([each.model_dump(mode="json") for each in rows]))


def receipt_digest(signed: Signed) -> str:
    """By which the next receipt names this one."""
    return sha256_digest(signed.payload.encode())
