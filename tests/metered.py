"""Receipts as a meter writes them, made without a server."""

from typing import Any

from archipel.identity import Identity
from archipel.market.receipts import Opened, read_line, sealed, summed
from archipel.records.receipts import NOTHING, Row, UsageReceipt, due_micro, rows_digest
from people import identity

METER = identity("meter")
PRICE = 2_000_000
"""Two micro-credits a token."""


def row(name: str, tokens_in: int, tokens_out: int, price: int = PRICE) -> Row:
    return Row(
        who=(name.encode().hex() + "0" * 16)[:16], answers=1, tokens_in=tokens_in, tokens_out=tokens_out,
        micro=due_micro(tokens_in + tokens_out, price),
    )  # fmt: skip


class Book:
    """A chain of receipts of one meter; what is said of a receipt may be a lie."""

    def __init__(self, weights: str, by: Identity = METER) -> None:
        self.weights, self.by = weights, by
        self.lines: list[bytes] = []
        self.newest: Opened | None = None

    def write(self, *rows: Row, **lies: Any) -> Opened:
        before = self.newest
        window = summed([each.usage for each in rows])
        said: dict[str, Any] = {
            "meter": self.by.did,
            "number": len(self.lines) + 1,
            "previous": None if before is None else before.digest,
            "weights": self.weights,
            "price_micro": PRICE,
            "from_ms": 1000 * len(self.lines),
            "until_ms": 1000 * len(self.lines) + 1000,
            "rows": rows_digest(rows),
            "window": window,
            "all": summed([NOTHING if before is None else before.receipt.all, window]),
        } | lies
        self.lines.append(sealed(UsageReceipt(**said), rows, self.by))
        self.newest, _ = read_line(self.lines[-1][:-1])
        return self.newest

    def due(self, micro: int) -> Opened:
        """One more, by which so much more is due: a number that two divides."""
        return self.write(row("user", 0, micro // 2))
