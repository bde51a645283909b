"""Links between the devices of a pool: frames of a header and a payload, over any stream socket.

Frame: length of the header, length of the payload (4 bytes each, big-endian); the header, an object in canonical
JSON; the payload, any bytes.
Parts: `Link` (what a pool speaks through), `SocketLink` (its one form), `link_pair` (within one machine); `tls` makes
them between machines.
Law: every wait has a deadline and every length a bound; memory is taken as bytes arrive, not as lengths promise.
"""

import select
import socket
import ssl
import struct
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol, Self, TypeVar

from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical

_LENGTHS = struct.Struct(">II")
_CHUNK_BYTES = 256 * 1024


T = TypeVar("T")


class LinkLost(ConnectionError):
    """The other end is gone, too slow, or says what is no frame; the message is a sentence. The link is closed."""


class LinkQuiet(LinkLost):
    """Nothing arrived in the time given; the link is whole, and may be waited on again."""


class Link(Protocol):
    """A way to one other device. One thread may send while another receives."""

    def send(self, header: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
        """Send one frame. Raises LinkLost."""

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """The next frame's header and payload, whole within `timeout_s` seconds.

        Raises:
            LinkQuiet: none has begun. LinkLost: anything else.
        """

    def close(self) -> None:
        """Let go; whoever waits in `send` or `receive` gets a LinkLost."""


@dataclass(frozen=True)
class Bounds:
    """What one link takes."""

    header_bytes: int = 1024 * 1024
    payload_bytes: int = 64 * 1024 * 1024
    send_s: float = 30.0
    """How long the other end may take to read one frame."""


BOUNDS = Bounds()


class SocketLink:
    """A link over a connected stream socket, plain or TLS, which it owns from here on."""

    def __init__(
        self, connected: socket.socket, bounds: Bounds = BOUNDS, certificate: bytes = b""
    ) -> None:
        connected.setblocking(False)
        self.certificate = certificate
        """DER of what the other end proved to have the key of; empty: it showed none, or is this machine."""
        self.host = _host_of(connected)
        """The address at the other end; empty: it is this machine's own, or gone."""
        self._socket = connected
        self._bounds = bounds
        # An SSL object is not to be read and written at once (Python < 3.13), so each call into it is alone,
        # and the waits between them are not.
        self._calling = threading.Lock()
        self._sending, self._receiving = threading.Lock(), threading.Lock()
        self._inside = 0
        self._closed = False

    def send(self, header: Mapping[str, Any], payload: bytes | memoryview = b"") -> None:
        """As `Link.send`.

        Raises:
            LinkLost: the other end is gone, or did not read it in time.
            ValueError: beyond the bounds, or a header that has no canonical form: nothing was sent.
        """
        head = canonical_json(dict(header))
        sizes = len(head), memoryview(payload).nbytes
        if wrong := _wrong_lengths(sizes, self._bounds):
            raise ValueError(wrong)
        until = time.monotonic() + self._bounds.send_s
        with self._turn(self._sending, until, "send"):
            self._write(b"".join((_LENGTHS.pack(*sizes), head, payload)), until)

    def receive(self, timeout_s: float) -> tuple[dict[str, Any], bytes]:
        """As `Link.receive`."""
        until = time.monotonic() + timeout_s
        with self._turn(self._receiving, until, "receive"):
            head, load = _LENGTHS.unpack(self._read(_LENGTHS.size, until, begins=True))
            if wrong := _wrong_lengths((head, load), self._bounds):
                raise LinkLost(f"the other end announced what is no frame: {wrong}")
            header = read_header(self._read(head, until))
            return header, self._read(load, until)

    def close(self) -> None:
        """As `Link.close`; again is no harm."""
        with self._calling:
            self._closed = True
            with suppress(
                OSError
            ):  # not an SSL socket's own, which would take its state from under a reader
                socket.socket.shutdown(self._socket, socket.SHUT_RDWR)
            if not self._inside:
                self._socket.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @contextmanager
    def _turn(self, lock: threading.Lock, until: float, what: str) -> Iterator[None]:
        """Alone in this direction; a frame that is not finished ends the link."""
        if not lock.acquire(timeout=max(until - time.monotonic(), 0)):
            raise LinkQuiet(f"another thread has been at it to {what} all the time")
        try:
            with self._calling:
                if self._closed:
                    raise LinkLost("this link is closed")
                self._inside += 1
            try:
                yield
            except LinkQuiet:
                raise
            except BaseException:
                self.close()
                raise
            finally:
                with self._calling:
                    self._inside -= 1
                    if self._closed and not self._inside:
                        self._socket.close()
        finally:
            lock.release()

    def _write(self, data: bytes, until: float) -> None:
        left = memoryview(data)
        while left:
            part = left[:_CHUNK_BYTES]
            left = left[self._call(partial(self._socket.send, part), select.POLLOUT, until) :]

    def _read(self, num_bytes: int, until: float, *, begins: bool = False) -> bytes:
        data = bytearray()
        while (missing := num_bytes - len(data)) > 0:
            receive = partial(self._socket.recv, min(missing, _CHUNK_BYTES))
            try:
                part = self._call(receive, select.POLLIN, until)
            except _TooLong as error:
                if begins and not data:
                    raise LinkQuiet("nothing came in the time given") from None
                raise error from None
            if not part:
                raise LinkLost("the other end has closed the link")
            data += part
        return bytes(data)

    def _call(self, call: Callable[[], T], events: int, until: float) -> T:
        """What a call into the socket gives, once it can give it."""
        while True:
            try:
                with self._calling:
                    if self._closed:
                        raise LinkLost("this link is closed")
                    return call()
            except ssl.SSLWantReadError:
                wanted = select.POLLIN
            except ssl.SSLWantWriteError:
                wanted = select.POLLOUT
            except BlockingIOError:
                wanted = events
            except LinkLost:
                raise
            except OSError as error:
                raise LinkLost(lost_words(error)) from None
            if not ready(self._socket, wanted, until):
                raise _TooLong("the other end took too long over one frame")


class _TooLong(LinkLost):
    pass


def link_pair(bounds: Bounds = BOUNDS) -> tuple[SocketLink, SocketLink]:
    """Two ends of one link within this machine."""
    one, other = socket.socketpair()
    return SocketLink(one, bounds), SocketLink(other, bounds)


def _host_of(connected: socket.socket) -> str:
    try:
        name = connected.getpeername()
    except OSError:
        return ""
    return str(name[0]) if isinstance(name, tuple) else ""


def read_header(data: bytes) -> dict[str, Any]:
    """What a frame's header says. Raises LinkLost."""
    try:
        header = parse_canonical(data)
    except NotCanonical as error:
        raise LinkLost(f"the other end sent a header that is none: {error}") from None
    if not isinstance(header, dict):
        raise LinkLost(f"the other end sent a header that is no object, but {data[:40]!r}")
    return header


def ready(waited: socket.socket, events: int, until: float) -> bool:
    """Whether a socket can be read or written before `until` (monotonic seconds), or has an error to tell."""
    left_s = until - time.monotonic()
    if left_s <= 0:
        return False
    poll = select.poll()
    poll.register(waited, events)
    return bool(poll.poll(1000 * left_s))


def lost_words(error: OSError) -> str:
    """What a failure of a socket means for its link, in a sentence."""
    if isinstance(error, ssl.SSLCertVerificationError):
        return "another device answers there; expected the one that was paired (pair again if it has a new key)"
    if isinstance(error, ssl.SSLError):
        said = (error.reason or str(error)).lower().replace("_", " ")
        if any(each in said for each in ("certificate", "unknown ca", "access denied")):
            return f"the other end does not know this device ({said}); pair them again"
        return f"the link's encryption failed: {said}"
    return f"the link broke: {error.strerror or error}"


def _wrong_lengths(sizes: tuple[int, int], bounds: Bounds) -> str:
    """What is wrong with a frame of a header and a payload of so many bytes; nothing: nothing."""
    head_bytes, payload_bytes = sizes
    if not 0 < head_bytes <= bounds.header_bytes:
        return f"a header has 1 to {bounds.header_bytes} bytes; got one of {head_bytes}"
    if payload_bytes > bounds.payload_bytes:
        return f"a payload has at most {bounds.payload_bytes} bytes; got one of {payload_bytes}"
    return ""
