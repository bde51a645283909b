"""Which peers a node dials that a lab names: numbers only, and nothing more private than the lab itself.

Law: pure. A lab may be anybody's: it must not make a node ask around in the networks that only its owner reaches.
"""

import ipaddress
import re
from collections.abc import Iterable

from archipel.records.sources import FIRST_PORT

_SPELLED = re.compile(r"(?:([0-9.]{7,15})|\[([0-9a-f:.]{2,45})\]):([1-9][0-9]{3,4})", re.ASCII)
LOOPBACK, PRIVATE, PUBLIC = 0, 1, 2
"""How far an address is seen."""

Address = ipaddress.IPv4Address | ipaddress.IPv6Address


class BadPlace(ValueError):
    """Not where a node can listen; the message says what was expected."""


class NotDialled(ValueError):
    """An address that no peer of this lab may have; the message says why."""


def peer_url(spelled: str, labs: str) -> str:
    """`http://HOST:PORT` of a peer.

    Args:
        spelled: as the lab names it.
        labs: the lab's own address, as numbers.

    Raises:
        NotDialled: it is a name, a service's port, or more private than the lab's own address.
    """
    found = _SPELLED.fullmatch(spelled)
    if found is None or not FIRST_PORT <= int(found[3]) <= 65_535:
        raise NotDialled(
            f"{spelled!a:.80}: expected numbers and a port from {FIRST_PORT} on, as 192.0.2.1:8441"
        )
    reach, lab_reach = _reach(found[1] or found[2]), _reach(labs)
    if reach < lab_reach:
        raise NotDialled(f"{spelled} is more private than the lab's own address {labs}")
    return f"http://{spelled}"


def check_successor(seen: Iterable[str], *, is_lab_here: bool) -> None:
    """Whether a lab may be looked for where another one says.

    Args:
        seen: what the host that it said means here, as numbers.
        is_lab_here: the lab that says so is on this machine itself.

    Raises:
        NotDialled: it means this machine, and the lab is elsewhere; or it is nobody's own address, as that of a cloud's metadata.
    """
    for each in seen:
        if _reach(each) == LOOPBACK and not is_lab_here:
            raise NotDialled(f"{each} is this machine, and the lab that names it is not")


def place_of(text: str) -> tuple[str, int]:
    """Host and port to listen at; port 0: any that is free.

    Raises:
        BadPlace: it is not an address in numbers and a port that peers would dial.
    """
    host, _, port = text.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    try:
        ipaddress.ip_address(host)
        number = int(port) if port.isascii() and port.isdecimal() and len(port) <= 5 else -1
    except ValueError:
        number = -1
    if number and not FIRST_PORT <= number <= 65_535:
        raise BadPlace(
            f"{text!a:.80}: expected HOST:PORT with HOST in numbers and a PORT of {FIRST_PORT} to 65535 or 0 "
            "(write --serve-blobs after the lab's address)"
        )
    return host, number


def _reach(host: str) -> int:
    """Raises NotDialled: nobody listens at such an address."""
    try:
        address: Address = ipaddress.ip_address(host)
    except ValueError:
        raise NotDialled(f"{host!a:.80} is no address in numbers") from None
    if isinstance(address, ipaddress.IPv6Address):
        address = address.ipv4_mapped or address.sixtofour or address
    if address.is_loopback:
        return LOOPBACK
    if address.is_unspecified or address.is_multicast or address.is_link_local:
        raise NotDialled(f"{host} is nobody's own address")
    if address.is_private or not address.is_global:
        return PRIVATE
    return PUBLIC
