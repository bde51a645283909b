"""Held-out text that is bound before anybody contributes, and shown after.

A text (salt and windows of tokens) has one form as bytes; their SHA-256 is its commitment. A run's opening lists one for each
merge; the text of a merge is shown once its version is made. Because a blob is named by the same hash, the commitment is
also the name under which the text is fetched. So the owner cannot choose text after seeing contributions, members
cannot train on it before, and anybody can repeat the gate.
Parts: `GateText`, `secret_of_run` and `gate_text` (which windows a merge has, from one secret), `commitment`, `revealed`.
Law: pure; integers alone; what was shown scores nothing again while there is other text. What it does not show: that the
owner told nobody.
"""

import hashlib
import hmac
import struct
from dataclasses import dataclass

import numpy as np

from archipel.training.corpus.permutation import Permutation

MAGIC = b"ACGT"
FORM = 1
SALT_BYTES = 32
MIN_SECRET_BYTES = 32
MAX_WINDOWS = 1 << 16
MAX_WINDOW = 1 << 16
"""Tokens of one window."""
MAX_TOKENS = 1 << 24
"""Of one text: 64 megabytes."""
MAX_TOKEN = (1 << 31) - 1
_HEADER = struct.Struct("<4sIII32s")
"""Magic, form, number of windows, tokens of each, salt."""


class BadText(ValueError):
    """Bytes that are no held-out text, or another one than was bound."""


@dataclass(frozen=True)
class GateText:
    """What a merge's loss gate is judged on."""

    salt: bytes
    """32 bytes that nobody can guess: without them, text that is public could be tried."""
    windows: np.ndarray
    """(n, length) int64: tokens, each window by itself."""

    def to_bytes(self) -> bytes:
        """Its one form.

        Raises:
            BadText: beyond the bounds.
        """
        if self.windows.ndim != 2 or len(self.salt) != SALT_BYTES:
            raise BadText(
                f"windows have {self.windows.ndim} axes and the salt {len(self.salt)} bytes; expected 2 and {SALT_BYTES}"
            )
        count, length = self.windows.shape
        _check_counts(count, length)
        if self.windows.min() < 0 or self.windows.max() > MAX_TOKEN:
            raise BadText(f"a token is outside 0..{MAX_TOKEN}; give the corpus's own windows")
        header = _HEADER.pack(MAGIC, FORM, count, length, self.salt)
        return header + self.windows.astype("<u4").tobytes()


def commitment(text: GateText) -> str:
    """64 hexadecimal digits: SHA-256 of its bytes, which is also the digest of the blob.

    Raises:
        BadText: beyond the bounds.
    """
    return hashlib.sha256(text.to_bytes()).hexdigest()


def revealed(data: bytes, bound: str) -> GateText:
    """The text that was bound.

    Raises:
        BadText: another one, or no text.
    """
    found = hashlib.sha256(data).hexdigest()
    if not hmac.compare_digest(found, bound):
        raise BadText(
            f"the text's hash is {found}, expected {bound:.80}: it is not what the run's opening bound"
        )
    return read_text(data)


def read_text(data: bytes) -> GateText:
    """A text from its bytes.

    Raises:
        BadText: another length or header, or a token out of bounds.
    """
    if len(data) < _HEADER.size:
        raise BadText(f"{len(data)} bytes, expected at least {_HEADER.size}")
    magic, form, count, length, salt = _HEADER.unpack_from(data)
    if (magic, form) != (MAGIC, FORM):
        raise BadText(
            f"it begins with {magic.hex()} and form {form}, expected {MAGIC.hex()} and {FORM}"
        )
    _check_counts(count, length)
    if len(data) != _HEADER.size + 4 * count * length:
        raise BadText(
            f"{len(data)} bytes, expected {_HEADER.size + 4 * count * length} of {count} windows"
        )
    windows = np.frombuffer(data, "<u4", offset=_HEADER.size).astype(np.int64)
    if windows.max() > MAX_TOKEN:
        raise BadText(f"a token is {windows.max()}, expected at most {MAX_TOKEN}")
    return GateText(salt, windows.reshape(count, length))


def secret_of_run(secret: bytes, opening: bytes) -> bytes:
    """What one run draws by, of a secret that several may name: text that one of them has shown scores none of another.

    opening: the bytes of the statement that opened the run.
    """
    return hmac.new(secret, b"archipel gate of a run 1 " + opening, hashlib.sha256).digest()


def merges_until_shown(pool: int, count: int) -> int:
    """Merges of `count` windows each until windows come again that an earlier one has shown."""
    return pool // count


def gate_text(secret: bytes, version: int, pool: np.ndarray, count: int) -> GateText:
    """The text of the merge that makes `version`: `count` different windows of the pool, drawn by the secret alone.

    No window is in the texts of two versions before all of the pool were used, but for fewer than `count`; then they are
    drawn in another order.
    pool: (n, length) tokens that are in no shard of the corpus; one pool and one secret for all merges of a run.

    Raises:
        ValueError: a short secret, or more windows than there are.
    """
    if len(secret) < MIN_SECRET_BYTES or not 1 <= count <= len(pool):
        raise ValueError(
            f"a secret of {len(secret)} bytes and {count} of {len(pool)} windows; expected at least"
            f" {MIN_SECRET_BYTES} bytes and 1 to {len(pool)} windows"
        )
    passes, place = divmod(version - 1, merges_until_shown(len(pool), count))
    seed = int.from_bytes(_drawn(secret, b"order", passes), "big")
    order = Permutation(len(pool), seed, ())
    taken = [order[each] for each in range(place * count, (place + 1) * count)]
    return GateText(_drawn(secret, b"salt", version), pool[taken].astype(np.int64))


def _drawn(secret: bytes, what: bytes, number: int) -> bytes:
    return hmac.new(secret, b"archipel gate 2 %b %d" % (what, number), hashlib.sha256).digest()


def _check_counts(count: int, length: int) -> None:
    if not (
        1 <= count <= MAX_WINDOWS and 2 <= length <= MAX_WINDOW and count * length <= MAX_TOKENS
    ):
        raise BadText(
            f"{count} windows of {length} tokens; expected 1 to {MAX_WINDOWS} of 2 to {MAX_WINDOW}, and at most"
            f" {MAX_TOKENS} tokens together"
        )
