"""Receipts of a meter, read and checked as a chain: what anybody can tell who has its file. Pure.

Parts: `sealed` and `read_line` (a line to and from bytes), `opened` (a signed receipt), `Chain` (all lines in order). Law: a
receipt counts only behind the one it names, under the key that signed the first, of the same weights, after its time.
"""

from dataclasses import dataclass, field

from pydantic import ValidationError

from archipel.identity import Envelope, Identity, IdentityError, sign, verify
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical
from archipel.records.membership import NotSigned, Signed, read_signed
from archipel.records.receipts import (
    MAX_LINE_BYTES,
    NOTHING,
    RECEIPT_TYPE,
    Line,
    Row,
    Usage,
    UsageReceipt,
    due_micro,
    receipt_digest,
    rows_digest,
)


class BadReceipt(ValueError):
    """Bytes that are no receipt, or one that does not follow; the message says why."""


@dataclass(frozen=True)
class Opened:
    """A receipt whose signature holds."""

    receipt: UsageReceipt
    signed: Signed

    @property
    def digest(self) -> str:
        """By which the next one names it."""
        return receipt_digest(self.signed)


def sealed(receipt: UsageReceipt, rows: tuple[Row, ...], identity: Identity) -> bytes:
    """The line, with its newline. Raises BadReceipt: it is too long."""
    envelope = sign(identity, canonical_json(receipt.model_dump(mode="json")), RECEIPT_TYPE)
    signed = Signed(payload=envelope.payload.decode(), signature=envelope.signature.hex())
    line = Line(receipt=signed, rows=rows)
    data = canonical_json(line.model_dump(mode="json")) + b"\n"
    if len(data) > MAX_LINE_BYTES:
        raise BadReceipt(f"{len(data)} bytes for {len(rows)} callers; at most {MAX_LINE_BYTES}")
    return data


def opened(signed: Signed) -> Opened:
    """What was signed, its signature verified. Raises BadReceipt."""
    try:
        receipt = read_signed(UsageReceipt, signed)
        envelope = Envelope(
            signed.payload.encode(), RECEIPT_TYPE, receipt.meter, bytes.fromhex(signed.signature)
        )
        verify(envelope, RECEIPT_TYPE)
    except (NotSigned, IdentityError) as error:
        raise BadReceipt(f"no receipt: {error}") from None
    return Opened(receipt, signed)


def read_line(data: bytes) -> tuple[Opened, tuple[Row, ...]]:
    """A line without its newline: the receipt, and the rows that it is over. Raises BadReceipt."""
    if len(data) > MAX_LINE_BYTES:
        raise BadReceipt(f"a line of more than {MAX_LINE_BYTES} bytes; expected a receipt")
    try:
        parse_canonical(data)
        line = Line.model_validate_json(data)
    except NotCanonical as error:
        raise BadReceipt(f"no line of receipts: {error}"[:300]) from None
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        where = ".".join(map(str, fault["loc"])) or "line"
        raise BadReceipt(f"no line of receipts: {where}: {fault['msg']}"[:300]) from None
    found = opened(line.receipt)
    _check_rows(found.receipt, line.rows)
    return found, line.rows


def _check_rows(receipt: UsageReceipt, rows: tuple[Row, ...]) -> None:
    if rows_digest(rows) != receipt.rows:
        raise BadReceipt(f"receipt {receipt.number} is over other rows than stand beside it")
    names = [each.who for each in rows]
    if names != sorted(set(names)):
        raise BadReceipt(f"receipt {receipt.number} names a caller twice, or out of order")
    for each in rows:
        due = due_micro(each.tokens_in + each.tokens_out, receipt.price_micro)
        if each.micro != due:
            raise BadReceipt(
                f"receipt {receipt.number}: {each.micro} micro-credits for a caller's tokens; at its price it is {due}"
            )
    if summed([each.usage for each in rows]) != receipt.window:
        raise BadReceipt(
            f"receipt {receipt.number}: its rows do not come to the sums of its window"
        )


def summed(usages: list[Usage]) -> Usage:
    """All together. Raises BadReceipt: more than a record may hold."""
    total = NOTHING
    try:
        for each in usages:
            total = total.plus(each)
    except ValidationError:
        raise BadReceipt("sums beyond what a record may hold") from None
    return total


MAX_CALLERS = 100_000
"""Of one meter, whose sums are kept by whoever checks its file."""


@dataclass
class Chain:
    """Lines so far, oldest first."""

    newest: Opened | None = None
    breaks: list[int] = field(default_factory=list)
    """Numbers of receipts before which something was lost."""
    by_caller: dict[str, Usage] = field(default_factory=dict)

    def take(self, data: bytes) -> Opened:
        """One line more. Raises BadReceipt: it is none, or does not follow."""
        found, rows = read_line(data)
        why = _why_not_next(self.newest, found.receipt)
        if why:
            raise BadReceipt(f"receipt {found.receipt.number}: {why}")
        self.newest = found
        if found.receipt.is_after_break:
            self.breaks.append(found.receipt.number)
        for each in rows:
            before = self.by_caller.get(each.who, NOTHING)
            self.by_caller[each.who] = summed([before, each.usage])
        if len(self.by_caller) > MAX_CALLERS:
            raise BadReceipt(f"more than {MAX_CALLERS} callers; expected the users of one server")
        return found


def _why_not_next(before: Opened | None, one: UsageReceipt) -> str:
    """Why a receipt cannot stand behind another; empty: it can."""
    if before is None:
        if one.number != 1:
            return "it is the first here; the receipts before it are missing"
        return "" if one.all == one.window else "the first one's sums are not its window's"
    last = before.receipt
    if one.meter != last.meter:
        return f"it is signed by {one.meter}, those before it by {last.meter}"
    if one.number != last.number + 1 or one.previous != before.digest:
        return f"it does not name receipt {last.number} as the one before it"
    if one.weights != last.weights:
        return f"it is of other weights, {one.weights}, than those before it, {last.weights}"
    if one.from_ms < last.until_ms:
        return "its window begins before the one before it ends"
    if one.all != summed([last.all, one.window]):
        return "its sums are not those before it and its own"
    return ""
