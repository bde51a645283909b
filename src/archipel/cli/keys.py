"""Private keys as commands come by them: a passphrase is asked on the terminal, or read from a file or descriptor.

Law: never from an argument or an environment variable, which others on the machine can read.
"""

import getpass
import os
import select
import stat
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from archipel.cli.doors import Mendable, home_folder, mending
from archipel.key_file import MAX_PASSPHRASE_BYTES, Passphrase, name_in, read_private

if TYPE_CHECKING:
    from archipel.identity import Identity

PASSPHRASE_LIMIT_S = 60.0
"""For a pipe to give its line."""


def load_key(path: Path) -> "Identity":
    """The key in a file. Raises Mendable: there is none, or it does not open."""
    from archipel.identity import Identity, IdentityError

    try:
        with mending(IdentityError):
            return Identity.load(path, passphrase_of(path))
    except FileNotFoundError:
        raise Mendable(
            f"there is no key at {path}; name another place, or make one: `archipel lab start` makes a lab's, "
            "`archipel node key` a node's, `archipel operator new --key FILE` anybody's"
        ) from None
    except OSError as error:
        raise Mendable(str(error)) from None


def operator_key(given: Path | None) -> "Identity":
    """That of this machine's lab's operator, where no other is given. Raises Mendable: as `load_key`."""
    return load_key(given or home_folder("lab", None, make=False) / "operator.key")


def load_or_make_key(path: Path) -> "Identity":
    """The same, made on first use, without a passphrase."""
    from archipel.identity import Identity, IdentityError

    with mending(IdentityError, OSError):
        return Identity.load_or_create(path, passphrase_of(path))


def name_of_key(path: Path, *, make: bool = False) -> str:
    """The did of the key in a file, for which nobody is asked if it stands above the key; `make`: on first use."""
    if make and not path.exists():
        return load_or_make_key(path).did
    with mending(ValueError, OSError):
        return name_in(read_private(path)) or load_key(path).did


def passphrase_of(path: Path) -> Passphrase:
    """Where the passphrase of the key at `path` comes from, if it is asked for."""

    def asked() -> bytes:
        given = given_file()
        if given is not None:
            return read_passphrase(given)
        return _from_terminal(f"passphrase of {path}: ")

    return asked


def new_passphrase(path: Path, given: Path | None) -> bytes:
    """One to seal the key at `path` with: from a file, or twice from the terminal."""
    if given is not None:
        return read_passphrase(given)
    first = _from_terminal(f"new passphrase of {path}: ")
    if first != _from_terminal("the same again: "):
        raise Mendable("these were two passphrases; nothing was changed, try again")
    if not first:
        raise Mendable("an empty passphrase seals nothing; nothing was changed")
    return first


def read_passphrase(source: Path) -> bytes:
    """The first line of a file or descriptor (/dev/fd/3).

    Raises:
        Mendable: it cannot be read or says nothing for long, is empty or too long, or a file that others can read.
    """
    with mending(OSError):
        known, data = _first_line(source)
    if stat.S_ISREG(known.st_mode) and known.st_mode & 0o077:
        raise Mendable(f"{source} may be read by others; run: chmod 600 {source}")
    word = data.removesuffix(b"\r")
    if not 0 < len(word) <= MAX_PASSPHRASE_BYTES:
        raise Mendable(
            f"{source}: the first line has {len(word)} bytes, expected a passphrase of 1 to {MAX_PASSPHRASE_BYTES}"
        )
    return word


def _first_line(source: Path) -> tuple[os.stat_result, bytes]:
    """(what it is, the line or more than a passphrase has); of a pipe whose writer stays, too."""
    until, data = time.monotonic() + PASSPHRASE_LIMIT_S, b""
    descriptor = os.open(source, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with os.fdopen(descriptor, "rb", buffering=0) as file:
        known = os.fstat(descriptor)
        while b"\n" not in data and len(data) < MAX_PASSPHRASE_BYTES + 2:
            left_s = until - time.monotonic()
            if left_s <= 0 or not select.select([file], [], [], left_s)[0]:
                raise Mendable(
                    f"{source} gave no line in {PASSPHRASE_LIMIT_S:.0f} s; write the passphrase to it"
                )
            part = file.read(MAX_PASSPHRASE_BYTES + 2)
            if part == b"":
                break
            data += part or b""  # nothing yet
    return known, data.split(b"\n", 1)[0]


def given_file() -> Path | None:
    """What --passphrase-file named, if it was given."""
    context = click.get_current_context(silent=True)
    return None if context is None else context.find_root().params.get("passphrase_file")


def _from_terminal(prompt: str) -> bytes:
    if sys.stdin is None or not sys.stdin.isatty():
        raise Mendable(
            f"{prompt.rstrip(': ')} is asked for, and there is no terminal; give it as "
            "`archipel --passphrase-file FILE ...` (/dev/fd/3 for a descriptor)"
        )
    try:
        return getpass.getpass(prompt).encode()
    except EOFError:
        raise click.Abort from None
