"""What `archipel serve` and its kin do once something is ready to answer: keys, addresses, a sign for `serve list`, an end."""

import contextlib
import os
import socket
import sys
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, home_folder, mending, until_ctrl_c
from archipel.cli.last_deadline import last_deadline

if TYPE_CHECKING:
    from archipel.serve.access import Access
    from archipel.serve.asked import Asked
    from archipel.serve.desk import Desk
    from archipel.serve.metering import Metering
    from archipel.serve.signed.keeping import Signing

KEY_FILE = "serve.key"
SIGNING_KEY_FILE = "answers.key"
"""Of this machine's own signatures under answers."""
FAR = ("192.0.2.1", "2001:db8::1")
"""Addresses of nobody (RFC 5737, RFC 3849): the system says from which of its own it would go there, and sends nothing."""
INTERRUPTED = 130
STEP_S = 40.0
"""For the step that an engine makes when its answers are cut off, and for all that is cleared away then."""


@dataclass(frozen=True)
class Opening:
    """A door that is about to open."""

    listener: socket.socket
    address: str
    """Where clients find it, with its scheme."""
    access: "Access"
    key_file: Path | None
    """Where the API keys stand; None: nobody needs one."""
    timeout_s: float
    """For one question in all."""
    log: Path | None
    """Where a detached server writes what it says."""


def opening_at(
    host: str, port: int, keys_file: Path | None, timeout_s: float, log: Path | None
) -> Opening:
    """Listen there; nobody is answered yet. To be called before the network is left, if it is.

    Raises:
        Mendable: the address is taken or not this machine's, or the keys cannot be used.
    """
    from archipel.serve.access import LOOPBACK, Access, InvalidKeys, keys_of
    from archipel.serve.server import listening

    key_file = None if keys_file is None else keys_file.resolve()
    if key_file is None and host not in (*LOOPBACK, "::1"):
        key_file = _own_key_file()
    access = Access()
    if key_file is not None:
        with mending(InvalidKeys, OSError):
            access = Access(frozenset(), keys_of(key_file))
    try:
        listener = listening(host, port)
    except OSError as error:
        said = f"{host}:{port} cannot be had: {error.strerror or error}{_own_at(port)}"
        raise Mendable(f"{said}; choose --port, 0 takes a free one") from None
    address = f"http://{reached_at(host)}:{listener.getsockname()[1]}"
    return Opening(listener, address, access, key_file, timeout_s, log)


def own_signing() -> "Signing":
    """With the key of this machine's answers, made on first use."""
    from archipel.cli.keys import load_or_make_key
    from archipel.serve.signed.keeping import Signing

    return Signing(load_or_make_key(home_folder("serve", None) / SIGNING_KEY_FILE))


def _own_at(port: int) -> str:
    """Which server of this user's has the port, and how to end it."""
    from archipel.serve.running import those_that_run

    found = those_that_run(home_folder("serve", None, make=False) / "running")
    names = [each.name for each in found if each.port == port]
    return f" by your {names[0]} (archipel serve stop {port})" if names else ""


def keep_open(
    opening: Opening,
    served: "Mapping[str, Asked]",
    said: str,
    desks: "Iterable[Desk] | None" = None,
    signing: "Signing | None" = None,
    metering: "Metering | None" = None,
) -> None:
    """Say where it is, and answer until told to end.

    said: of what is served, for whoever looks; desks: all that drive something of it, None where each has its `desk`;
    signing: of answers, if any is; metering: ended with the server, if anything is counted.
    """
    import asyncio

    from archipel.serve.door import make_door
    from archipel.serve.server import CUT_S, DRAIN_S, Ending, serve

    driving = _desks(served) if desks is None else tuple(desks)
    called = ", ".join(served)
    click.echo(f"{called} at {opening.address} ({said}); Ctrl-C ends it")
    if opening.log is None:
        _say_ways_in(opening, served)

    def cut() -> None:
        for each in driving:
            each.end()

    door = make_door(served, opening.access, opening.timeout_s, signing)
    when_told = last_deadline(DRAIN_S + CUT_S + STEP_S)
    ending = Ending(say=lambda text: click.echo(text, err=True), cut=cut, when_told=when_told)
    is_forced = False
    with _sign(opening, called), until_ctrl_c():
        is_forced = asyncio.run(serve(door, opening.listener, ending))
        if metering is not None:
            metering.close()
        click.echo("stopped", err=True)
    if is_forced:  # a step of the engine may take long, and nothing in it can be interrupted
        sys.stdout.flush()
        os._exit(INTERRUPTED)
    for each in driving:
        each.close()


def _say_ways_in(opening: Opening, served: "Mapping[str, Asked]") -> None:
    """For a browser, a terminal and other programs; and who of those that are served takes no messages."""
    click.echo(f"  open {opening.address} in a browser, or: archipel chat --url {opening.address}")
    click.echo(
        f"  export OPENAI_BASE_URL={opening.address}/v1 OPENAI_API_KEY={_key_to_show(opening)}"
    )
    silent = [name for name, each in served.items() if each.chat_template is None]
    if silent:
        click.echo(
            f"  no chat template in {', '.join(silent)}: texts are gone on with, messages are refused"
        )


def _desks(served: "Mapping[str, Asked]") -> "tuple[Desk, ...]":
    found = [getattr(each, "desk", None) for each in served.values()]
    return tuple(dict.fromkeys(each for each in found if each is not None))


def _key_to_show(opening: Opening) -> str:
    """One that was made here is shown; of several users' keys none is."""
    if opening.key_file is None:
        return "none"
    is_own = opening.key_file == home_folder("serve", None) / KEY_FILE
    return opening.access.keys[0] if is_own else f"KEY  # one of {opening.key_file}"


@contextlib.contextmanager
def _sign(opening: Opening, called: str) -> Iterator[None]:
    """For `serve list` and `serve stop`, as long as this lasts; where home takes no file, there is none."""
    from archipel.serve.running import Running, Sign

    running = Running(
        name=called,
        address=opening.address,
        port=opening.listener.getsockname()[1],
        pid=os.getpid(),
        since=round(time.time()),
        key_file=None if opening.key_file is None else str(opening.key_file),
        log=None if opening.log is None else str(opening.log),
    )
    try:
        folder = home_folder("serve", None) / "running"
        folder.mkdir(mode=0o700, exist_ok=True)
        sign = Sign.put_up(folder, running)
    except (OSError, Mendable) as error:
        click.echo(f"not in `archipel serve list`: {error}", err=True)
        yield
        return
    try:
        yield
    finally:
        sign.take_down()


def reached_at(host: str) -> str:
    """A name by which clients reach what listens there: an address of this machine, where it listens on all."""
    if host not in ("0.0.0.0", "::"):  # noqa: S104  compared, not listened on
        return f"[{host}]" if ":" in host else host
    is_new = host == "::"
    family, far = (socket.AF_INET6, FAR[1]) if is_new else (socket.AF_INET, FAR[0])
    with socket.socket(family, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect((far, 9))
            found = str(probe.getsockname()[0])
        except OSError:  # no way out of this machine
            found = "::1" if is_new else "127.0.0.1"
    return f"[{found}]" if is_new else found


def _own_key_file() -> Path:
    """With the API key of this machine, made once, mode 0600."""
    import secrets

    path = home_folder("serve", None) / KEY_FILE
    try:
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(f"sk-{secrets.token_urlsafe(32)}\n")
    except FileExistsError:
        pass
    return path
