"""A device's side of a pool: find the gateway, be paired once, hold layers, come back when the link is lost.

Parts: `Membership`, `address_of`. Law: a device calls out, and nobody calls it; it believes the certificate that it
was paired with, at whatever address that answers.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archipel.serve.pool.credentials import own_credentials
from archipel.serve.pool.links import LinkLost, SocketLink
from archipel.serve.pool.paired import PAIRED, PairedDevices
from archipel.serve.pool.pairing import Joiner, NotPaired, read_code
from archipel.serve.pool.stage import Gift, Stage, work
from archipel.serve.pool.tls import connect
from archipel.serve.pool.weights import Copies

FIRST_WAIT_S, LONGEST_WAIT_S = 0.5, 15.0
DEFAULT_PORT = 8460


class BadAddress(ValueError):
    """No address of a gateway."""


def address_of(text: str) -> tuple[str, int]:
    """HOST, HOST:PORT or [HOST]:PORT.

    Raises:
        BadAddress: it is none.
    """
    host, colon, port = text.rpartition(":")
    if not colon or (host.count(":") and not host.endswith("]")):
        host, port = text, str(DEFAULT_PORT)
    host = host.removeprefix("[").removesuffix("]")
    if not host or len(host) > 253 or not port.isascii() or not port.isdecimal():
        raise BadAddress(
            f"{text!r:.80} is no address; expected HOST:PORT, as the gateway prints it"
        )
    if not 0 < int(port[:6]) < 65536:
        raise BadAddress(f"{port:.10} is no port; expected 1 to 65535")
    return host, int(port)


@dataclass(frozen=True)
class Membership:
    """Of one device in one pool."""

    folder: Path
    """Its key and its list of paired devices."""
    address: tuple[str, int]
    gift: Gift
    say: Callable[[str], None]

    def pair(self, code: str) -> None:
        """Be known to the gateway from now on.

        Raises:
            NotPaired, LinkLost: it did not come to that.
        """
        joiner = Joiner(own_credentials(self.folder), self._paired, self.gift.name)
        found = joiner.join(self.address, read_code(code), int(time.time()))
        self.say(f"paired with {found.label}")

    def serve(self, copies: Copies) -> None:
        """Hold layers, and come back whenever the link is lost; for ever, so interrupt it.

        Raises:
            NotPaired: this device is paired with nobody.
        """
        wait_s = FIRST_WAIT_S
        while True:
            try:
                with self._connected() as link:
                    self.say("joined; Ctrl-C leaves")
                    wait_s = FIRST_WAIT_S
                    work(link, Stage(self.gift, copies))
            except LinkLost as error:
                self.say(f"{error}; trying again in {wait_s:.0f} s")
            time.sleep(wait_s)
            wait_s = min(2 * wait_s, LONGEST_WAIT_S)

    @property
    def _paired(self) -> PairedDevices:
        return PairedDevices(self.folder / PAIRED)

    def _connected(self) -> SocketLink:
        known = self._paired.all()
        if not known:
            raise NotPaired(
                "this device is paired with no gateway; give the code that the gateway shows"
            )
        lost: LinkLost | None = None
        for peer in reversed(known):
            try:
                return connect(self.address, peer.certificate, own_credentials(self.folder))
            except LinkLost as error:
                lost = lost or error
        raise lost or LinkLost("nobody answers")
