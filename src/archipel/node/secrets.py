"""The trusted role's secrets on this machine: one file each, which nobody but its operator may read."""

import os
import re
import secrets
from pathlib import Path

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,62}")
"""As recipes write it."""
MAX_SECRET_BYTES = 4096
NUM_BYTES = 32


class NoSecret(ValueError):
    """The secret is not here, or others may read it; the message says what to do."""


def make_secret(folder: Path, name: str) -> Path:
    """A new random secret; returns its file.

    Raises:
        ValueError: no recipe can name it so.
        FileExistsError: it is there already; what it graded would be graded otherwise with another.
        OSError: the folder cannot be written.
    """
    if not NAME.fullmatch(name):
        raise ValueError(
            f"got the name {name!r:.80}, expected lower-case letters, digits and dashes, as the recipe's "
            "environment.secret"
        )
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / name
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW
    try:
        descriptor = os.open(path, flags, 0o600)
    except FileExistsError:
        raise FileExistsError(
            f"{path} is there already and stays as it is; runs that it grades need it"
        ) from None
    with os.fdopen(descriptor, "wb") as file:
        file.write(secrets.token_hex(NUM_BYTES).encode())
    return path


def read_secret(folder: Path, name: str) -> bytes:
    """The secret of that name.

    Raises:
        NoSecret: it is missing, empty, too long, or others may read it.
        OSError: it cannot be read.
    """
    path = folder / name
    if not path.is_file():
        raise NoSecret(
            f"the run needs secret {name!r}: make one with `archipel update secret {name}`, or put yours into "
            f"{path} (mode 0600)"
        )
    if path.stat().st_mode & 0o077:
        raise NoSecret(f"{path} may be read by others; run: chmod 600 {path}")
    return read_secret_file(path)


def read_secret_file(path: Path) -> bytes:
    """All bytes of a secret, so that everybody who has the file grades alike.

    Raises:
        NoSecret: it is empty, or longer than a secret may be.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        value = file.read(MAX_SECRET_BYTES + 1)
    if not value:
        raise NoSecret(f"{path} is empty, expected a secret: any bytes, {MAX_SECRET_BYTES} at most")
    if len(value) > MAX_SECRET_BYTES:
        raise NoSecret(f"{path} is longer than a secret may be, {MAX_SECRET_BYTES} bytes")
    return value
