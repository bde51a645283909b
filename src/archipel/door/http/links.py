"""Addresses of a checkpoint's files that hold for a while and need no key: signed by a secret of this process.

Law: whoever has one can read those files until it ends, and nothing else; a door that starts anew honours none of before.
"""

import hashlib
import hmac
import secrets
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Links:
    """Of one process."""

    _secret: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def path(self, folder: str, file: str, ends_s: int) -> str:
        """Where a file of a folder is, until then. file: its name, or the archive's of all."""
        return f"/files/{folder}/{ends_s}/{self._sign(folder, file, ends_s)}/{file}"

    def holds(self, folder: str, file: str, ends: str, signature: str, now_s: float) -> bool:
        """Whether somebody was given this one, and it has not ended."""
        if not (ends.isascii() and ends.isdecimal() and len(ends) < 16):
            return False
        expected = self._sign(folder, file, int(ends))
        return hmac.compare_digest(expected.encode(), signature.encode()) and now_s < int(ends)

    def _sign(self, folder: str, file: str, ends_s: int) -> str:
        said = f"{folder}\0{file}\0{ends_s}".encode()
        return hmac.new(self._secret, said, hashlib.sha256).hexdigest()
