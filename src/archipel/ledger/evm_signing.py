"""A transaction that carries a text and no money, signed by the key in a file. Needs the extra `anchor`.

Parts: `Payer` (the key), `Offer` (what it costs at most), `offered` (bounded by who pays). Laws: the secret is in no
sentence; nothing is signed for another chain than was named (EIP-155) or for more than was allowed.
"""

import re
from dataclasses import dataclass, field
from pathlib import Path

from archipel.extras import needs
from archipel.key_file import Unusable, read_private
from archipel.ledger.evm import ChainError

MAX_GAS = 100_000
"""A text of 320 bytes takes at most 33,800 (EIP-7623); a chain of dearer bytes has room."""
MAX_NONCE = 2**64 - 1
WEI_PER_ETHER = 10**18
_SECRET = re.compile(rb"(?:0x)?([0-9a-fA-F]{64})\n?")


class NoSigning(ChainError):
    """The extra is not installed, or there is no key to sign with."""


@dataclass(frozen=True)
class Offer:
    """What is paid at most: every chain of this kind takes a price for a unit of gas."""

    gas: int
    price_wei: int

    @property
    def cost_wei(self) -> int:
        """All of it."""
        return self.gas * self.price_wei


def offered(gas: int, price_wei: int, max_wei: int) -> Offer:
    """The offer that outlives two blocks of rising prices, if it costs no more than `max_wei`.

    gas: the node's estimate; price_wei: the node's price of a unit, paid a quarter above it (a block's base fee
    rises by at most an eighth: EIP-1559).

    Raises:
        ChainError: more gas than such a text takes, or too dear.
    """
    if gas > MAX_GAS:
        raise ChainError(
            f"the node says {gas} units of gas; an anchored head takes at most {MAX_GAS}"
        )
    offer = Offer(gas, price_wei + price_wei // 4)
    if offer.cost_wei > max_wei:
        raise ChainError(
            f"an anchored head would cost up to {offer.cost_wei / WEI_PER_ETHER:.9f} of the chain's coin, at most "
            f"{max_wei / WEI_PER_ETHER:.9f} are allowed; wait until it is cheaper, or raise --max-cost"
        )
    return offer


@dataclass(frozen=True)
class Payer:
    """Whose key pays."""

    address: str
    secret: bytes = field(repr=False)

    def signed(self, chain: int, nonce: int, to: str, data: bytes, offer: Offer) -> tuple[str, str]:
        """(hash, the transaction as it is sent), of a transfer of nothing to `to` with `data`.

        Raises:
            ChainError: a nonce that no account has (EIP-2681).
        """
        from eth_account import Account
        from eth_utils.address import to_checksum_address

        if nonce >= MAX_NONCE:
            raise ChainError(f"the node says that {self.address} has sent {nonce} transactions")
        told = {"chainId": chain, "nonce": nonce, "to": to_checksum_address(to), "value": 0}
        told |= {"data": data, "gas": offer.gas, "gasPrice": offer.price_wei}
        done = Account.sign_transaction(told, self.secret)
        return f"0x{bytes(done.hash).hex()}", f"0x{bytes(done.raw_transaction).hex()}"


def payer_in(path: Path) -> Payer:
    """The key in a file of 64 hexadecimal digits, mode 0600.

    Raises:
        NoSigning: the extra is missing, or the file holds no such key or is open to others.
    """
    try:
        from eth_account import Account
    except ImportError:
        raise NoSigning(needs("signing a transaction", "anchor")) from None
    try:
        found = _SECRET.fullmatch(read_private(path))
        if found is None:
            raise Unusable("holds no key of a chain; expected 64 hexadecimal digits")
        secret = bytes.fromhex(found[1].decode())
        return Payer(str(Account.from_key(secret).address), secret)
    except OSError as error:
        raise NoSigning(f"cannot read the key in {path}: {error.strerror}") from None
    except Unusable as error:
        raise NoSigning(f"{path} {error}") from None
    except ValueError:  # the library's own sentence would tell the secret
        raise NoSigning(f"{path} holds a number that is no key of a chain") from None


def is_address(text: str) -> bool:
    """Whether this is an account's address; capital letters, where there are some, must be its checksum (EIP-55)."""
    if not re.fullmatch(r"0x[0-9a-fA-F]{40}", text):
        return False
    try:
        from eth_utils.address import to_checksum_address
    except ImportError:
        raise NoSigning(needs("checking an address", "anchor")) from None
    return text[2:] in (text[2:].lower(), text[2:].upper(), str(to_checksum_address(text))[2:])
