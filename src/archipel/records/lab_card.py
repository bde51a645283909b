"""What a lab says of itself to whoever looks for one: a card, signed by its key (decision 0117).

Parts: `LabCard` (what is signed), `NamedWitness`. Laws: closed and bounded; an address is https, or http on the same machine,
in one spelling; nothing in a card is a measurement, so a reader asks, or computes, what may be measured.
"""

import ipaddress
import re
from typing import Annotated, Literal, Self
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, model_validator

from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import Did, LeftOut, Millis, Sparing
from archipel.records.own_machine import is_own_machine
from archipel.records.statement import Seq

CARD_TYPE = "application/vnd.archipel.lab-card.v1+json"
"""DSSE payload type."""
MAX_CARD_BYTES = 8_000
"""Of a card's canonical JSON."""
MAX_ADDRESS_CHARACTERS = 200
MAX_ADDRESSES = 8
MAX_WITNESSES = 8
MAX_MIRRORS = 8
MAX_HEAD_CHARACTERS = 4_000
"""Of a signed head, with the signatures of a few witnesses."""
MAX_VALID_MS = 92 * 86_400_000
"""A lab that was not heard of for a quarter of a year is in no directory."""

_NUMBER = re.compile(r"(?:.*\.)?(?:[0-9]+|0x[0-9a-f]*)", re.IGNORECASE)
"""A host that ends like this some programs take for an address: 127.1, 0x7f000001, 2130706433."""


def spelled(address: str) -> str:
    """An address as a card has it.

    Raises:
        ValueError: it is none, or in another spelling; the message says which.
    """
    parts = urlsplit(address)
    host = parts.hostname or ""
    netloc = f"[{host}]" if ":" in host else host
    netloc += "" if parts.port is None else f":{parts.port}"
    plain = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}"
    if not address.isascii() or not address.isprintable() or " " in address or not host:
        raise ValueError(f"{address!a:.80} is no address; expected https://HOST[:PORT][/PATH]")
    if plain != address:
        raise ValueError(f"{address!a:.80} is not in its one spelling; expected {plain!a:.80}")
    _check_host(host)
    if parts.scheme != "https" and not (parts.scheme == "http" and is_loopback(address)):
        raise ValueError(
            f"{address!a:.80} is neither https:// nor http:// on the same machine; put the lab behind TLS"
        )
    return address


def is_loopback(address: str) -> bool:
    """Whether this address means the machine of whoever asks, or a name below localhost, which some look up and some do not."""
    host = urlsplit(address).hostname or ""
    return host.endswith(".localhost") or is_own_machine(host)


def _check_host(host: str) -> None:
    """Raises ValueError: no lab is found there by anybody but itself, whatever it means to whom asks."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        if host.endswith(".") or _NUMBER.fullmatch(host):
            raise ValueError(
                f"{host!a:.80} is neither a name nor an address in numbers as they are written"
            ) from None
        return
    if isinstance(address, ipaddress.IPv6Address) and (
        address.ipv4_mapped or address.sixtofour or address.teredo or address.scope_id
    ):
        raise ValueError(f"{host!a:.80} holds another address; expected that one")
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise ValueError(f"{host!a:.80} is nobody's own address")


def _of_one_line(text: str) -> str:
    if not text.isprintable() or text != text.strip():
        raise ValueError("expected one line of printable text without spaces around it")
    return text


Address = Annotated[str, Field(max_length=MAX_ADDRESS_CHARACTERS), AfterValidator(spelled)]
Head = Annotated[str, Field(max_length=MAX_HEAD_CHARACTERS)]
Line = Annotated[str, Field(min_length=1, max_length=500), AfterValidator(_of_one_line)]
Short = Annotated[str, Field(min_length=1, max_length=100), AfterValidator(_of_one_line)]


class NamedWitness(Sparing):
    """Who signs the lab's heads, as the lab says: believed once its signature is seen."""

    key: Annotated[str, Field(max_length=512), AfterValidator(_of_one_line)]
    """Its verifier key line: name, key id, key (C2SP note)."""
    address: Annotated[Address | None, LeftOut] = None


class LabCard(Sparing):
    """What a lab says of itself."""

    lab: Did
    """Whose key signs it."""
    number: Seq
    """The card with the highest is the one that counts; two with the same contradict each other."""
    issued_ms: Millis
    until_ms: Millis
    """From then on nobody shows it."""
    addresses: Annotated[tuple[Address, ...], Field(max_length=MAX_ADDRESSES)]
    """Where it is asked, the best first."""
    purpose: Annotated[Line | None, LeftOut] = None
    """What the lab is for."""
    licence: Annotated[Short | None, LeftOut] = None
    """Under which it means to give its models away."""
    jurisdiction: Annotated[Short | None, LeftOut] = None
    contact: Annotated[Line | None, LeftOut] = None
    origin: Annotated[str, Field(min_length=1, max_length=256)]
    """Of its ledger: the name in its tree heads."""
    head: Annotated[Head | None, LeftOut] = None
    """Its newest signed tree head, perhaps with signatures of witnesses (C2SP note)."""
    witnesses: Annotated[tuple[NamedWitness, ...], Field(max_length=MAX_WITNESSES)] = ()
    mirrors: Annotated[tuple[Address, ...], Field(max_length=MAX_MIRRORS)] = ()
    """Where copies of its ledger lie."""
    withdrawn: Annotated[Literal[True] | None, LeftOut] = None
    """It is no more to be found; kept as long as any card of it could be valid."""

    @model_validator(mode="after")
    def _agrees(self) -> Self:
        valid_ms = self.until_ms - self.issued_ms
        if not 0 < valid_ms <= MAX_VALID_MS:
            raise ValueError(f"valid for {valid_ms} ms; expected 1 to {MAX_VALID_MS}")
        if self.withdrawn and (self.addresses or valid_ms != MAX_VALID_MS):
            raise ValueError("a withdrawn card has no address, and holds as long as a card can")
        if not self.withdrawn and not self.addresses:
            raise ValueError("a card without an address; expected one, or `withdrawn`")
        return self


def card_bytes(card: LabCard) -> bytes:
    """What is signed.

    Raises:
        ValueError: more than MAX_CARD_BYTES.
    """
    data = canonical_json(card.model_dump(mode="json"))
    if len(data) > MAX_CARD_BYTES:
        raise ValueError(f"a card of {len(data)} bytes; the limit is {MAX_CARD_BYTES}, say less")
    return data


def card_from_bytes(data: bytes) -> LabCard:
    """The card that was signed.

    Raises:
        ValueError: not the canonical form of one (`NotCanonical` and pydantic's own are such).
    """
    if len(data) > MAX_CARD_BYTES:
        raise ValueError(f"a card of {len(data)} bytes; the limit is {MAX_CARD_BYTES}")
    parse_canonical(data)
    return LabCard.model_validate_json(data)
