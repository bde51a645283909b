"""Where a private key lies: a file that its owner alone can read, sealed by a passphrase or not.

Forms, both below a line with the key's name (`name did:key:...`; one flipped bit would give another key):
    PKCS#8 PEM, the 32-byte Ed25519 key as it is;
    canonical JSON, the key sealed by ChaCha20-Poly1305 (RFC 8439) under what scrypt (RFC 7914) makes of a passphrase.
Law: what is sealed is bound to its name and its parameters, and these are bounded before any memory is taken.
"""

import os
import re
import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from tempfile import mkstemp
from typing import Annotated, Literal

from cryptography.exceptions import InternalError, InvalidTag, UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.ciphers.aead import ChaCha20Poly1305
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from archipel.records.canonical import canonical_json

MAX_KEY_FILE_BYTES = 4_096
MAX_PASSPHRASE_BYTES = 1_024
SEED_BYTES = 32
SCRYPT_N = 2**17
"""With r = 8 a guess takes 128 MiB and some tenths of a second."""
_MIN_N, _MAX_N = 2**14, 2**18
_NAMED = re.compile(rb"name ([!-~]+)\n")

Passphrase = Callable[[], bytes]
"""Asked only when a key is sealed."""


class Unusable(ValueError):
    """A key file that gives no key; the message is the end of a sentence that begins with its path."""


class _Sealed(BaseModel):
    model_config = ConfigDict(frozen=True, strict=True, extra="forbid")

    kdf: Literal["scrypt"] = "scrypt"
    n: Annotated[int, Field(ge=_MIN_N, le=_MAX_N)]
    r: Literal[8] = 8
    p: Literal[1] = 1
    salt: Annotated[str, Field(pattern=r"^[0-9a-f]{32}$")]
    cipher: Literal["chacha20-poly1305"] = "chacha20-poly1305"
    nonce: Annotated[str, Field(pattern=r"^[0-9a-f]{24}$")]
    sealed: Annotated[str, Field(pattern=r"^[0-9a-f]{96}$")]
    """The key, and the tag of 16 bytes."""

    def bound_to(self, name: bytes) -> bytes:
        """What the tag covers besides the key."""
        rest: dict[str, object] = self.model_dump(exclude={"sealed"})
        return name + b"\n" + canonical_json(rest)


def read_private(path: Path) -> bytes:
    """The file's bytes, if nobody but its owner can have them.

    Raises:
        FileNotFoundError: there is no such file. Unusable: others can read it, or it is a pipe or device.
    """
    # Opened so, a pipe that nobody writes to holds up nobody.
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
        known = os.fstat(file.fileno())
        if not stat.S_ISREG(known.st_mode):
            raise Unusable("is no regular file; expected one that holds a key")
        mode = stat.S_IMODE(known.st_mode)
        if mode & 0o077:
            raise Unusable(
                f"has mode {mode:04o}, so others on this machine may have the key; expected 0600. Run `chmod 600 "
                f"{path}`, or delete it to get a new identity"
            )
        return file.read(MAX_KEY_FILE_BYTES)  # a longer file is cut, and so no longer a key


def key_in(data: bytes, passphrase: Passphrase | None) -> tuple[str, bytes]:
    """(the name above the key or nothing, the 32-byte key); `passphrase` is asked if it is sealed.

    Raises:
        Unusable: no such key, or another passphrase.
    """
    said = _NAMED.match(data)
    name, body = (b"", data) if said is None else (said[1], data[said.end() :])
    seed = _unsealed(name, body, passphrase) if body.startswith(b"{") else _plain(data)
    return name.decode(), seed


def name_in(data: bytes) -> str | None:
    """The name above the key, which the key itself is not looked at for; None: there is none."""
    said = _NAMED.match(data)
    return None if said is None else said[1].decode()


def is_sealed(data: bytes) -> bool:
    """Whether a key file asks for a passphrase."""
    said = _NAMED.match(data)
    return data[said.end() if said else 0 :].startswith(b"{")


def plain_file(name: str, seed: bytes) -> bytes:
    """The bytes of a file with the key as it is."""
    pem = Ed25519PrivateKey.from_private_bytes(seed).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return f"name {name}\n".encode() + pem


def sealed_file(name: str, seed: bytes, passphrase: bytes, n: int | None = None) -> bytes:
    """The bytes of a file with the key sealed. Raises Unusable: no passphrase, or one that is too long."""
    n = SCRYPT_N if n is None else n
    salt, nonce = secrets.token_bytes(16), secrets.token_bytes(12)
    blank = _Sealed(n=n, salt=salt.hex(), nonce=nonce.hex(), sealed="0" * 96)
    lock = ChaCha20Poly1305(_stretched(passphrase, salt, n))
    closed = lock.encrypt(nonce, seed, blank.bound_to(name.encode()))
    whole = blank.model_copy(update={"sealed": closed.hex()})
    return f"name {name}\n".encode() + canonical_json(whole.model_dump()) + b"\n"


def write_private(path: Path, data: bytes, *, anew: bool) -> bool:
    """Put a key file there, mode 0600, whole or not at all; `anew`: over one that is there.

    Returns whether it is there now: without `anew`, of two that write at once the first wins.

    Raises:
        OSError: it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, partial = mkstemp(dir=path.parent, prefix=f".{path.name}.")  # mkstemp makes it 0600
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if anew:
            Path(partial).replace(path)
        else:
            path.hardlink_to(partial)
    except FileExistsError:
        return False
    finally:
        Path(partial).unlink(missing_ok=True)
    return True


def _plain(data: bytes) -> bytes:
    try:
        key = serialization.load_pem_private_key(data, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm, InternalError) as error:
        raise Unusable(f"is not an unencrypted PEM private key: {error}") from None
    if not isinstance(key, Ed25519PrivateKey):
        raise Unusable(f"holds a {type(key).__name__}; expected an Ed25519 key")
    return key.private_bytes_raw()


def _unsealed(name: bytes, body: bytes, passphrase: Passphrase | None) -> bytes:
    try:
        lock = _Sealed.model_validate_json(body)
    except ValidationError as error:
        fault = error.errors(include_url=False, include_input=False)[0]
        raise Unusable(f"is no sealed key: {fault['msg']}; restore it from a copy") from None
    if passphrase is None:
        raise Unusable("is sealed by a passphrase, and nobody was asked for it")
    key = _stretched(passphrase(), bytes.fromhex(lock.salt), lock.n)
    try:
        sealed, nonce = bytes.fromhex(lock.sealed), bytes.fromhex(lock.nonce)
        return ChaCha20Poly1305(key).decrypt(nonce, sealed, lock.bound_to(name))
    except InvalidTag:
        raise Unusable("opens by another passphrase, or is damaged; try again") from None


def _stretched(passphrase: bytes, salt: bytes, n: int) -> bytes:
    if not 0 < len(passphrase) <= MAX_PASSPHRASE_BYTES:
        raise Unusable(
            f"takes a passphrase of 1 to {MAX_PASSPHRASE_BYTES} bytes, and got {len(passphrase)}"
        )
    if n & (n - 1):
        raise Unusable(f"is no sealed key: scrypt's n is {n}, expected a power of two")
    return Scrypt(salt=salt, length=SEED_BYTES, n=n, r=8, p=1).derive(passphrase)
