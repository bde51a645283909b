"""Names of the exact contract (docs/reference/exact.md, clause 10.2), for those who pass them on without computing.

Law: a name once given stays; `engine.exact` makes the same names from its tables, which a test compares.
"""

from typing import Annotated, Literal

from pydantic import Field

Contract = Annotated[str, Field(pattern=r"^exact-[0-9]{1,4}-[a-z0-9]{1,16}-[0-9a-f]{16}$")]
"""Specification, variant and tables; with weights, prompt and seed it fixes every bit of an answer."""
Contracts = Annotated[tuple[Contract, ...], Field(min_length=1, max_length=16)]
VariantName = Literal["w7a8", "w12a13", "w7a15", "w13a15"]

CONTRACTS: dict[str, str] = {
    "w7a8": "exact-1-w7a8-a3da035c00dc4692",
    "w12a13": "exact-1-w12a13-9e1a02504e3b6107",
    "w7a15": "exact-1-w7a15-6dabffb7aa3972f0",
    "w13a15": "exact-1-w13a15-88a86e20507f1ace",
}
"""By variant, the cheapest first."""


def variant_named(contract: str) -> str | None:
    """The variant that a contract's identity names; None if this software knows no such contract."""
    return next((name for name, known in CONTRACTS.items() if known == contract), None)
