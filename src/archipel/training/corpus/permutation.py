"""A permutation of 0 .. n-1 of which any place can be asked alone: the same on every machine.

A Feistel network over pairs (a, b) with a * b a little above n (Black and Rogaway, Ciphers with Arbitrary Finite
Domains, 2002, section 5), whose round function is SHA-256; what falls outside is permuted again until it is inside.
Law: integers only; it is a bijection whatever the round function gives.
"""

import hashlib
from dataclasses import dataclass, field
from math import isqrt

ROUNDS = 12
_DOMAIN = b"archipel.permutation.v1\x00"


@dataclass(frozen=True)
class Permutation:
    """Of 0 .. length-1, by a seed and what it is for."""

    length: int
    seed: int
    parts: tuple[int, ...]
    """What it is for, such as (epoch, shard)."""
    _key: bytes = field(init=False, repr=False)
    _sides: tuple[int, int] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        said = ":".join(map(str, (self.length, self.seed, *self.parts)))
        object.__setattr__(self, "_key", _DOMAIN + said.encode() + b"\x00")
        left = isqrt(max(self.length - 1, 0)) + 1
        object.__setattr__(self, "_sides", (left, -(-self.length // left)))

    def __getitem__(self, place: int) -> int:
        """What stands at `place`. Raises IndexError."""
        if not 0 <= place < self.length:
            raise IndexError(f"place {place} of a permutation of {self.length}")
        while True:
            place = self._once(place)
            if place < self.length:
                return place

    def _once(self, place: int) -> int:
        left, right = self._sides
        b, a = divmod(place, left)
        for number in range(ROUNDS):
            if number % 2:
                b = (b + self._drawn(number, a)) % right
            else:
                a = (a + self._drawn(number, b)) % left
        return b * left + a

    def _drawn(self, number: int, value: int) -> int:
        drawn = hashlib.sha256(self._key + b"%d:%d" % (number, value)).digest()
        return int.from_bytes(drawn[:8], "big")
