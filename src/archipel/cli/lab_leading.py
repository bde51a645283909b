"""A lab's place among those that share its ledger: it leads at once, or follows until it does."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from archipel.cli.doors import LabUrl, Mendable
from archipel.cli.grouped import as_one
from archipel.cli.lab_tls import TLS, certificate_of, shown_url
from archipel.cli.ledger_checked import HEAD_FILE, lab_of
from archipel.cli.listening import listen, publish_url
from archipel.plurals import counted

if TYPE_CHECKING:
    import socket
    from collections.abc import Callable

    from archipel.blobs.port import LabBlobs
    from archipel.identity import Identity
    from archipel.lab.certificate import Certificate
    from archipel.lab.following import Follower
    from archipel.lab.state import LabState
    from archipel.ledger.log import Log

DEFAULT_PORT = 8440


@dataclass(frozen=True)
class Door:
    """Where a lab listens: opened when it is first asked for, and the same from then on."""

    host: str
    port: int
    address: str | None
    certificate: "Certificate | None" = None
    when_told: "Callable[[], None]" = lambda: None
    """Called as soon as whoever answers there is told to end."""

    @cached_property
    def listener(self) -> "socket.socket":
        """Raises Mendable: it cannot be had."""
        return listen(self.host, self.port)

    @property
    def shown(self) -> str:
        """Where it listens, as an address."""
        return shown_url(self.certificate, self.host, self.listener.getsockname()[1])

    @property
    def told(self) -> str:
        """Where others reach it."""
        return self.address or self.shown


def _door(
    host: str, port: int, address: str | None, tls_cert: Path | None, tls_key: Path | None
) -> Door:
    return Door(host, port, address, certificate_of(tls_cert, tls_key))


door_options = as_one(
    "door",
    _door,
    click.option(
        "--host",
        default="127.0.0.1",
        show_default=True,
        help="Address to listen on; 0.0.0.0 lets others in.",
    ),
    click.option(
        "--port",
        default=DEFAULT_PORT,
        show_default=True,
        type=click.IntRange(0, 65535),
        help="0 takes a free one.",
    ),
    click.option(
        "--address",
        metavar="URL",
        type=LabUrl(),
        help="Where others reach this lab, told to labs that share its ledger [http://HOST:PORT].",
    ),
    *TLS,
)


@dataclass(frozen=True)
class Place:
    """Where a lab's things lie."""

    folder: Path
    ledger: str | Path
    blobs: "Callable[[], LabBlobs]"
    """Opens their store, as it is then."""

    def open(self, identity: "Identity", told: str) -> "Log":
        """The log, for writing. Raises LedgerLed: another lab leads it. LedgerError."""
        from archipel.ledger.location import open_log
        from archipel.ledger.verification import lab_key

        origin = lab_key(identity.did).name
        return open_log(self.ledger, origin, identity, self.folder / HEAD_FILE, told)


def led(
    place: Place, identity: "Identity", door: Door, per_address: int
) -> "tuple[Log, LabState | None]":
    """The log once this lab leads it, and its state as far as it was followed; until then the door says who leads.

    Raises:
        LedgerInUse: another process has this very home, or a ledger that cannot be shared. LedgerError: it cannot be had.
        Mendable: the ledger is another lab's.
    """
    from archipel.ledger.location import is_shared
    from archipel.ledger.storage import LedgerLed

    told = door.told if is_shared(place.ledger) else ""
    try:
        return place.open(identity, told), None
    except LedgerLed:
        _check_key(place, identity)
    publish_url(place.folder, door.shown)
    follower = _follower(place, identity, told)
    return _followed(follower, door, per_address), follower.warm()


def _check_key(place: Place, identity: "Identity") -> None:
    """Raises Mendable: the ledger is not of this home's key, so this lab never leads it."""
    from archipel.ledger.storage import LedgerMissing

    try:
        did = lab_of(place.ledger)
    except LedgerMissing:  # its leader founds it just now
        return
    if did != identity.did:
        raise Mendable(
            f"this database holds the ledger of {did}, and {place.folder} the key of {identity.did}; copy lab.key and "
            "operator.key from the home of the lab that leads, or name another ledger"
        )


def _follower(place: Place, identity: "Identity", told: str) -> "Follower":
    from archipel.lab.following import Follower
    from archipel.ledger.location import follow_log, leader_watch
    from archipel.ledger.verification import lab_key

    where = str(place.ledger)
    return Follower(
        identity.did,
        leader_watch(where),
        follow_log(where, lab_key(identity.did)),
        place.blobs(),
        lambda: place.open(identity, told),
    )


def _followed(follower: "Follower", door: Door, per_address: int) -> "Log":
    """Serve as a follower until it leads."""
    from archipel.lab.following import FollowerServer

    click.echo(
        f"another lab leads this ledger; following it at {door.shown}, and taking its place when it ends",
        err=True,
    )
    try:
        server = FollowerServer(follower, per_address, door.certificate, door.when_told)
        server.run(sockets=[door.listener.dup()])
    except KeyboardInterrupt:
        click.echo("stopped", err=True)
        raise SystemExit(0) from None
    if follower.log is None:
        raise Mendable(f"this lab can follow no more: {follower.failure}; start it again")
    click.echo(f"leading now, after {counted(follower.log.size, 'entry', 'entries')}", err=True)
    return follower.log


def ending(failure: Any) -> Mendable:
    """What a lab that could not go on says."""
    from archipel.ledger.storage import LeaderLost

    if isinstance(failure, LeaderLost):
        return Mendable(f"this lab leads no more: {failure}")
    return Mendable(f"the lab could not go on: {failure}; start it again")
