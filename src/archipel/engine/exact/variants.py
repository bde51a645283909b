"""Variants of the exact contract, and the identity under which each is named (clauses 2 and 10)."""

import hashlib
from dataclasses import dataclass
from functools import cache

from archipel.engine.exact.tables import tables

VERSION = 1
"""Of docs/reference/exact.md."""
DIGIT = 63
"""A digit lies within -63 .. 63."""
BASE = 127
ONE_DIGIT_ACTIVATION = 127
TWO_DIGITS = DIGIT * BASE
"""8001: the largest integer of two digits."""
LENGTH = 4096
"""Of a row that is cut by its length: two such rows multiply to at most 2^24."""
WHOLE_WEIGHT = 2047
"""Largest integer of a weight in such a row: an f16 holds it."""


class UnknownVariant(ValueError):
    """No variant of the contract has this name."""


@dataclass(frozen=True)
class Variant:
    """How finely rows are cut."""

    name: str
    weight_digits: int
    activation_digits: int
    wide_attention: bool
    by_length: bool = False
    """Rows of a product, queries and keys are cut by the length of the row, not by its largest number, so
    that one f32 product is exact (1.6, 3.5)."""

    @property
    def weight_top(self) -> int:
        """Largest integer of a weight."""
        return DIGIT if self.weight_digits == 1 else TWO_DIGITS

    @property
    def activation_top(self) -> int:
        """Largest integer of an activation."""
        return ONE_DIGIT_ACTIVATION if self.activation_digits == 1 else TWO_DIGITS

    @property
    def attention_top(self) -> int:
        """Largest integer of a query, key or value."""
        return 16383 if self.wide_attention else 127

    @property
    def attention_weight_top(self) -> int:
        """M: largest integer of an attention weight."""
        return (1 << 20) - 1 if self.wide_attention or self.by_length else 1023

    @property
    def identity(self) -> str:
        """`exact-1-NAME-` and 16 hexadecimal digits: specification, variant and tables."""
        return _identity(self.name)


VARIANTS = {
    variant.name: variant
    for variant in (
        Variant("w7a8", 1, 1, False),
        Variant("w12a13", 1, 1, False, by_length=True),
        Variant("w7a15", 1, 2, False),
        Variant("w13a15", 2, 2, True),
    )
}
"""By name, the cheapest first."""


def variant_of(name: str) -> Variant:
    """The variant of this name.

    Raises:
        UnknownVariant: there is none.
    """
    if name not in VARIANTS:
        raise UnknownVariant(
            f"exact variant is {name!r:.40}; expected one of {', '.join(VARIANTS)}"
        )
    return VARIANTS[name]


@cache
def _identity(name: str) -> str:
    lines = [f"archipel exact contract {VERSION}", f"variant {name}"]
    lines += [f"{table} {digest}" for table, digest in tables().digests().items()]
    text = "".join(f"{line}\n" for line in lines)
    return f"exact-{VERSION}-{name}-{hashlib.sha256(text.encode('ascii')).hexdigest()[:16]}"
