"""A process without a network: in a namespace of its own, that has no way out and no way back.

Parts: `leave_network`; `go_offline`, for a process that keeps sockets which it made before and shows what it has left.
Sockets belong to where they were made: a server that listens already goes on being reached, and dials nobody.
"""

import os
import socket
import threading
from dataclasses import dataclass
from pathlib import Path

from archipel.work.sandbox import kernel

NOWHERE = ("192.0.2.1", 9)
"""An address that nobody has (RFC 5737)."""
TRY_S = 2.0


class StillOnline(OSError):
    """Not cut off from the network; the message says why."""


def leave_network() -> tuple[int, int] | None:
    """Into a network namespace of our own, whose one interface is loopback, and down.

    Returns who we were (user, group), where a user namespace was needed for it; None: it was not.

    Raises:
        OSError: this system allows it to nobody like us.
    """
    try:
        kernel.unshare(kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)
    except PermissionError:  # not root: a user namespace makes us root of nothing else
        user = kernel.own_user()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNET | kernel.CLONE_NEWIPC)
        return user
    return None


@dataclass(frozen=True)
class Offline:
    """What a process that went offline found when it tried."""

    namespace: str
    """As the kernel names it."""
    interfaces: tuple[str, ...]
    refused: str
    """What the kernel said to a connection elsewhere."""


def go_offline() -> Offline:
    """Leave the network for good, threads and processes to come included, and try it.

    Raises:
        StillOnline: it cannot be done here, other threads run, or it can be seen not to hold.
    """
    if threading.active_count() > 1 or len(list(Path("/proc/self/task").iterdir())) > 1:
        raise StillOnline("other threads are running, which would stay where they are")
    before = _namespace()
    try:
        was = leave_network()
        if was is not None:
            kernel.map_own_user(*was)
        kernel.drop_capabilities()  # without them nothing leads back
        kernel.prctl(kernel.PR_SET_NO_NEW_PRIVS, 1)
    except OSError as error:
        raise StillOnline(f"this system lets nobody like us leave its network: {error}") from None
    names = tuple(name for _, name in socket.if_nameindex())
    if _namespace() == before or names != ("lo",):
        raise StillOnline(f"still in {before}, with interfaces {', '.join(names)}")
    return Offline(_namespace(), names, _refused())


def _namespace() -> str:
    return os.readlink("/proc/self/ns/net")  # noqa: PTH115  it is no path


def _refused() -> str:
    with socket.socket() as line:
        line.settimeout(TRY_S)
        try:
            line.connect(NOWHERE)
        except OSError as error:
            return str(error.strerror or error)
    raise StillOnline(f"a connection to {NOWHERE[0]} was made")
