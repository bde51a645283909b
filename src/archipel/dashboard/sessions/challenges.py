"""Challenges of a lab: given out without being remembered, and answered once. The clock and chance are arguments.

A challenge is 16 bytes of chance and an HMAC of these, the lab and the time until which it holds, so strangers who ask
for millions fill nothing; remembered are those alone that a valid signature has answered, until their time is over.
"""

import hashlib
import hmac

from archipel.records.login import Challenge

CHALLENGE_MS = 60_000
MAX_ANSWERED = 8192
"""Answered challenges whose time is not over."""
NONCE_DIGITS = 32


class BadLogin(ValueError):
    """A log-in that does not hold; the message says what to do."""


class Challenges:
    """Of one lab, while its process lasts."""

    def __init__(self, lab: str, key: bytes) -> None:
        """key: 32 bytes that nobody else knows."""
        self.lab = lab
        self._key = key
        self._answered: dict[str, int] = {}
        """Challenge -> until when it would hold."""

    def make(self, nonce: bytes, now_ms: int) -> Challenge:
        """nonce: 16 bytes of chance."""
        until_ms = now_ms + CHALLENGE_MS
        return Challenge(
            lab=self.lab, challenge=self._sealed(nonce.hex(), until_ms), until_ms=until_ms
        )

    def answer(self, challenge: str, until_ms: int, now_ms: int) -> None:
        """It is used up. Raises BadLogin: it is none of this lab's, over, or was answered before."""
        if not hmac.compare_digest(self._sealed(challenge[:NONCE_DIGITS], until_ms), challenge):
            raise BadLogin(
                "this challenge is none of this lab's, or of its process before; log in again"
            )
        if now_ms >= until_ms:
            raise BadLogin(
                f"this challenge held until {until_ms} (Unix milliseconds); log in again"
            )
        if challenge in self._answered:
            raise BadLogin("this challenge was answered before; log in again")
        self._answered = {each: end for each, end in self._answered.items() if end > now_ms}
        if len(self._answered) >= MAX_ANSWERED:
            raise BadLogin("too many log-ins within a minute; try again in one")
        self._answered[challenge] = until_ms

    def _sealed(self, nonce: str, until_ms: int) -> str:
        words = f"archipel.login.v1 {self.lab} {nonce} {until_ms}".encode()
        return nonce + hmac.new(self._key, words, hashlib.sha256).hexdigest()
