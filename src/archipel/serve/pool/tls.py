"""Encrypted links between two devices that know each other: TLS 1.3, both ends pinned by their certificates.

A device's certificate is signed by its own Ed25519 key. Nothing in it is believed but the key: no authority, no name,
no date. Whoever does not prove to have the key of one of the certificates that this device knows gets no link.
Law: what was never pinned is told nothing but that it is refused; a handshake has a deadline.
"""

import select
import socket
import ssl
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

from archipel.serve.pool.credentials import Credentials, name_of
from archipel.serve.pool.links import BOUNDS, Bounds, LinkLost, SocketLink, lost_words, ready

HANDSHAKE_S = 10.0
STRANGERS = Bounds(header_bytes=8 * 1024, payload_bytes=0, send_s=HANDSHAKE_S)
"""What is taken from whoever showed no certificate."""
_MET = {"met": "pool-1"}
"""What the listening end says first; it knows by then who the other is."""


def connect(
    address: tuple[str, int],
    peer: bytes,
    own: Credentials,
    limit_s: float = HANDSHAKE_S,
    bounds: Bounds = BOUNDS,
) -> SocketLink:
    """A link to the device at this address whose certificate (DER) is `peer`.

    Raises:
        LinkLost: nobody answers there, somebody else does, or it does not know this device.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.load_cert_chain(own.certificate, own.key)
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(cadata=peer)
    return _connect(address, context, lambda shown: shown == peer, limit_s, bounds)


def connect_unpaired(
    address: tuple[str, int],
    is_it: Callable[[bytes], bool],
    limit_s: float = HANDSHAKE_S,
    bounds: Bounds = BOUNDS,
) -> SocketLink:
    """A link to whoever has the key of a certificate (DER) that `is_it` accepts, to which this device shows none.

    Raises:
        LinkLost: nobody answers there, or somebody else does.
    """
    context = _context(ssl.PROTOCOL_TLS_CLIENT)
    context.verify_mode = ssl.CERT_NONE  # of authorities; `is_it` looks at the certificate
    return _connect(address, context, is_it, limit_s, bounds)


def accept(
    connected: socket.socket,
    own: Credentials,
    known: Iterable[bytes],
    limit_s: float = HANDSHAKE_S,
    bounds: Bounds = BOUNDS,
) -> SocketLink:
    """A link to whoever called: `certificate` is one of `known` (DER), or empty if it showed none.

    Raises:
        LinkLost: no TLS 1.3 in time, or another certificate.
    """
    peers = frozenset(known)
    context = _context(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(own.certificate, own.key)
    context.verify_mode = ssl.CERT_OPTIONAL
    context.num_tickets = 0
    if peers:
        context.load_verify_locations(cadata=b"".join(sorted(peers)))
    link = _shaken(
        context.wrap_socket(connected, server_side=True, do_handshake_on_connect=False),
        lambda shown: not shown or shown in peers,
        time.monotonic() + limit_s,
        bounds,
    )
    try:
        link.send(_MET)
    except LinkLost:
        link.close()
        raise
    return link


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # devices have no names; certificates are compared whole
    return context


def _connect(
    address: tuple[str, int],
    context: ssl.SSLContext,
    is_it: Callable[[bytes], bool],
    limit_s: float,
    bounds: Bounds,
) -> SocketLink:
    until = time.monotonic() + limit_s
    try:
        connected = socket.create_connection(address, timeout=limit_s)
    except OSError as error:
        raise LinkLost(
            f"nobody answers at {address[0]}:{address[1]}: {error.strerror or error}"
        ) from None
    wrapped = context.wrap_socket(connected, do_handshake_on_connect=False)
    link = _shaken(wrapped, is_it, until, bounds)
    try:
        header, _ = link.receive(max(until - time.monotonic(), 0))
        if header != _MET:
            raise LinkLost(f"expected {_MET} first; got {str(header)[:80]}")
    except LinkLost:
        link.close()
        raise
    return link


def _shaken(
    wrapped: ssl.SSLSocket, is_it: Callable[[bytes], bool], until: float, bounds: Bounds
) -> SocketLink:
    """The link, once both ends have proved who they are."""
    try:
        with suppress(OSError):
            wrapped.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        wrapped.setblocking(False)
        _shake_hands(wrapped, until)
        shown = wrapped.getpeercert(binary_form=True) or b""
        if not is_it(shown):
            raise LinkLost(
                f"another device answers there ({name_of(shown)[:23]}...); "
                "expected the one that was paired: pair again if it has a new key"
            )
        return SocketLink(wrapped, bounds if shown else STRANGERS, shown)
    except OSError as error:
        wrapped.close()
        raise error if isinstance(error, LinkLost) else LinkLost(lost_words(error)) from None


def _shake_hands(wrapped: ssl.SSLSocket, until: float) -> None:
    while True:
        try:
            return wrapped.do_handshake()
        except ssl.SSLWantReadError:
            events = select.POLLIN
        except ssl.SSLWantWriteError:
            events = select.POLLOUT
        if not ready(wrapped, events, until):
            raise LinkLost("the other end did not finish the TLS handshake in time")
