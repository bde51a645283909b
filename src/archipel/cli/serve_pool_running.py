"""A gateway while it runs: engine, port for devices, and a file that says how it stands."""

import contextlib
import json
import os
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, mending, printable
from archipel.cli.serve_pool_status import say_code

if TYPE_CHECKING:
    from archipel.engine.protocol import OpenEngine
    from archipel.serve.pool.gateway import PoolEngine
    from archipel.serve.pool.hosting import Host
    from archipel.serve.pool.stage import Gift
    from archipel.serve.served import Served

SAID_S = 1.0
"""How often the file is written."""
MAX_SLOTS = 64


@dataclass(frozen=True)
class Wanted:
    """What a gateway is to be, as the command was asked."""

    name: str
    model: Path
    address: tuple[str, int]
    numbers: str
    max_cache_bytes: int
    max_new_tokens: int
    shows_codes: bool = True
    """Whether what is said is shown to a person and not written to a file: a code never lies in one."""


@contextlib.contextmanager
def running(wanted: Wanted, gift: "Gift", folder: Path) -> "Iterator[tuple[Served, str]]":
    """The pool, ready for devices and clients; and what to say of it.

    Raises:
        Mendable: no such model, port or key.
    """
    from archipel.engine.capacity import EngineLimits
    from archipel.identity import BadKeyFile
    from archipel.model.directory import InvalidModel
    from archipel.model.tokenizer import InvalidTokenizer
    from archipel.serve.pool.devices import Devices
    from archipel.serve.pool.gateway import PoolEngine
    from archipel.serve.pool.hosting import Host, Place
    from archipel.serve.pool.links import LinkLost
    from archipel.serve.pool.paired import STATUS
    from archipel.serve.pool.serving import serve_pool
    from archipel.serve.pool.stage import Refused
    from archipel.serve.pool.weights import Original

    limits = replace(EngineLimits.serving(wanted.max_cache_bytes), max_slots=MAX_SLOTS)
    devices = Devices()
    with mending(InvalidModel, InvalidTokenizer, BadKeyFile, Refused, LinkLost):
        engine = PoolEngine(Original(wanted.model), devices, wanted.numbers, limits)
        one = serve_pool(
            wanted.name, wanted.model, engine, wanted.max_new_tokens, round(time.time())
        )
        try:
            place = Place(folder, wanted.address, gift.name, wanted.shows_codes)
            host = Host(place, engine, devices, _say)
        except OSError as error:
            raise Mendable(
                f"{wanted.address[0]}:{wanted.address[1]} cannot be had for devices: {error.strerror or error}; "
                "choose --pool-port, 0 takes a free one"
            ) from None
        devices.tell = lambda: _load(one)
        if gift.memory_bytes:
            host.hold_here(gift.name, gift.memory_bytes)
    _say_how_to_join(host, wanted)
    try:
        with _status_kept(folder / STATUS, wanted.name, host, engine):
            yield one, f"{one.fingerprint}, context {one.positions}"
    finally:
        host.close()


def _load(one: "Served") -> None:
    """A device joined: layers are loaded onto it before anybody asks, beside whatever runs."""
    from archipel.serve.question import Refusal

    with contextlib.suppress(Refusal):  # crowded: the next request sees to it
        one.desk.run(_welcome)


def _welcome(engine: "OpenEngine") -> None:
    from archipel.serve.pool.gateway import PoolEngine

    if isinstance(engine, PoolEngine):
        engine.welcome(is_loaded=True)


def _say(text: str) -> None:
    click.echo(printable(text))


def _say_how_to_join(host: "Host", wanted: Wanted) -> None:
    from archipel.cli.serve_open import reached_at
    from archipel.serve.access import LOOPBACK

    at = f"{reached_at(wanted.address[0])}:{host.address[1]}"
    is_near = wanted.address[0] in (*LOOPBACK, "::1")
    where = (
        "on this machine alone (--pool-host 0.0.0.0 lets others in)"
        if is_near
        else "on another device"
    )
    if not wanted.shows_codes:
        click.echo(f"devices join at {at}; a code for one: archipel serve pool code")
        return
    click.echo(f"{where}, within ten minutes:\n  archipel serve pool join {at} {host.invite()}")


@contextlib.contextmanager
def _status_kept(path: Path, name: str, host: "Host", engine: "PoolEngine") -> Iterator[None]:
    """For `status`, as long as this lasts."""
    from archipel.cli.serve_open import reached_at
    from archipel.key_file import write_private
    from archipel.serve.pool.hosting import status_of

    ended = threading.Event()

    def write() -> None:
        before = b""
        while True:
            found = status_of(engine, host.devices)
            at = f"{reached_at(host.address[0])}:{host.address[1]}"
            found |= {"name": name, "address": at, "pid": os.getpid()}
            data = json.dumps(found).encode()
            if data != before:
                with contextlib.suppress(OSError):
                    write_private(path, data, anew=True)
                before = data
            say_code(path.parent, host.invite)
            if ended.wait(SAID_S):
                return

    thread = threading.Thread(target=write, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(5 * SAID_S)
        path.unlink(missing_ok=True)
