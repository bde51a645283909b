"""What is asked of a node of an EVM chain (Ethereum and its like), over JSON-RPC.

Parts: `Chain` (one node's answers, each bounded in bytes and time), `Placed` (where a transaction stands),
`answer_in`, `quantity` (pure). Law: the node is believed about the chain and about nothing else: what it says of
prices and gas is bounded by whoever pays.
Source: ethereum/execution-apis; quantities and data as its `schemas/base-types`.
"""

import json
import re
import time
from dataclasses import dataclass
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from archipel.ledger.anchored_head import MAX_CALLDATA_BYTES
from archipel.ledger.storage import LedgerError

MAX_ANSWER_BYTES = 4 * 2**20
"""A block's answer lists the hash of every transaction in it, 69 bytes each."""
ANSWER_LIMIT_S = 30.0
_QUANTITY = re.compile(r"0x(?:0|[1-9a-f][0-9a-f]{0,63})")
_HASH = re.compile(r"0x[0-9a-f]{64}")
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}")
_DATA = re.compile(r"0x(?:[0-9a-f]{2})*")


class ChainError(LedgerError):
    """A node of a chain that refuses, or answers what no such node answers."""


class ChainUnreachable(ChainError):
    """No answer within its time; the next try may get one."""


@dataclass(frozen=True)
class Placed:
    """Where a transaction that succeeded stands, by the node that was asked."""

    block: int
    at_s: int
    """The block's own time, seconds since 1970."""
    newest: int
    """Number of the newest block."""
    sender: str
    data: bytes
    """Its calldata; one byte more than an anchored head has, where it is longer."""


class Chain:
    """A node of a chain, to be used as a block."""

    def __init__(self, url: str, limit_s: float = ANSWER_LIMIT_S) -> None:
        """Asks nothing yet. Raises ChainError: no http(s) address."""
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ChainError("the node's address is no http:// or https:// URL")
        self.name = parts.hostname
        """Of the node, for sentences: the rest of an address may hold its owner's key."""
        self._url, self._limit_s, self._number = url, limit_s, 0
        self._http = httpx.Client(timeout=limit_s, trust_env=False)

    def __enter__(self) -> Self:
        """The same."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connection."""
        self._http.close()

    def ask(self, method: str, *params: Any) -> Any:
        """The result of one call.

        Raises:
            ChainUnreachable: no whole answer in time. ChainError: a refusal, or no JSON-RPC answer.
        """
        self._number += 1
        body = {"jsonrpc": "2.0", "id": self._number, "method": method, "params": list(params)}
        try:
            return answer_in(self._post(body), self._number)
        except ChainUnreachable:
            raise
        except ChainError as error:
            raise ChainError(f"{method} at {self.name}: {error}") from None

    def number(self, method: str, *params: Any) -> int:
        """A result that is a quantity."""
        return quantity(self.ask(method, *params))

    def placed(self, tx: str) -> Placed | None:
        """Where a transaction stands; None: in no block yet.

        1. The node knows it under this hash. 2. It succeeded. 3. Transaction, receipt and block name one block.

        Raises:
            ChainError: any of these fails.
        """
        sent = self.ask("eth_getTransactionByHash", tx)
        if sent is None:
            raise ChainError(
                f"{self.name} knows no transaction {tx}: another chain, or it was dropped"
            )
        sent = _object(sent)
        receipt = self.ask("eth_getTransactionReceipt", tx)
        if sent.get("blockNumber") is None or receipt is None:
            return None
        receipt, number = _object(receipt), quantity(sent["blockNumber"])
        block = self.ask("eth_getBlockByNumber", hex(number), False)
        if block is None:
            return None
        block = _object(block)
        names = {
            _text(one, key, _HASH) for one, key in ((sent, "hash"), (receipt, "transactionHash"))
        }
        if names != {tx}:
            raise ChainError(f"{self.name} told of another transaction than {tx}")
        if quantity(receipt.get("status")) != 1:
            raise ChainError(f"the transaction {tx} failed on the chain: it anchors nothing")
        pairs = ((sent, "blockHash"), (receipt, "blockHash"), (block, "hash"))
        if len({_text(one, key, _HASH) for one, key in pairs}) != 1:
            raise ChainUnreachable(
                f"{self.name} changed its mind about the block of {tx}; ask again"
            )
        data = _text(sent, "input", _DATA)[2 : 2 * (MAX_CALLDATA_BYTES + 2)]
        return Placed(
            number,
            quantity(block.get("timestamp")),
            max(number, self.number("eth_blockNumber")),
            _text(sent, "from", _ADDRESS).lower(),
            bytes.fromhex(data),
        )

    def _post(self, body: dict[str, Any]) -> bytes:
        data, until = b"", time.monotonic() + self._limit_s
        try:
            with self._http.stream("POST", self._url, json=body) as answer:
                for part in answer.iter_bytes():
                    data += part
                    if len(data) > MAX_ANSWER_BYTES:
                        raise ChainError(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
                    if time.monotonic() > until:
                        raise ChainUnreachable(
                            f"{self.name} sent no whole answer in {self._limit_s:.0f} s"
                        )
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ChainUnreachable(f"no answer from {self.name}: {type(error).__name__}") from None
        return data


def answer_in(data: bytes, number: int) -> Any:
    """The result in a JSON-RPC answer to call `number`.

    Raises:
        ChainError: a refusal, in the node's words, or no such answer.
    """
    try:
        answer = json.loads(data)
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict) or not ("result" in answer or "error" in answer):
        raise ChainError("expected a JSON-RPC answer, got something else; is this a chain's node?")
    fault = answer.get("error")
    if fault is not None:
        said = fault.get("message") if isinstance(fault, dict) else None
        raise ChainError(f"the node refused: {str(said)[:200]!r}")
    if answer.get("id") != number:
        raise ChainError("the answer to another call")
    return answer.get("result")


def quantity(value: Any) -> int:
    """A number as these nodes write it: hexadecimal, no leading zeros, below 2^256. Raises ChainError."""
    if not isinstance(value, str) or not _QUANTITY.fullmatch(value):
        raise ChainError(f"expected a quantity such as 0x1f, got {str(value)[:40]!r}")
    return int(value, 16)


def _object(value: Any) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ChainError(f"expected an object, got {str(value)[:40]!r}")
    return value


def _text(value: dict[str, Any], key: str, form: re.Pattern[str]) -> str:
    text = value.get(key)
    if not isinstance(text, str) or not form.fullmatch(text):
        raise ChainError(f"{key} is {str(text)[:40]!r}, which it is nowhere")
    return text
