"""Which components of a release somebody made again, as a file: what lifts a grade from present to reproduced.

Law: it names the release that was rebuilt, so that it speaks of no other; it is its writer's word, and whoever grades
says that it was given.
"""

from typing import Annotated, Literal

from pydantic import Field

from archipel.records.canonical import canonical_json, parse_canonical
from archipel.records.fields import Closed, Digest
from archipel.release.index import Kind

MAX_REBUILT_BYTES = 64 * 1024


class Rebuilt(Closed):
    """What became of a rebuild."""

    form: Literal[1] = 1
    release: Digest
    """SHA-256 of the release.json that was rebuilt."""
    kinds: Annotated[dict[Kind, bool], Field(max_length=64)]
    """Kind of component -> was all of it made again, and equal?"""

    def to_bytes(self) -> bytes:
        """Canonical JSON."""
        return canonical_json(self.model_dump(mode="json"))


def read_rebuilt(data: bytes) -> Rebuilt:
    """What a rebuild wrote.

    Raises:
        ValueError: it is no such file; the message names the fault (pydantic's ValidationError and NotCanonical are
            ValueErrors).
    """
    if len(data) > MAX_REBUILT_BYTES:
        raise ValueError(f"{len(data)} bytes; a rebuild's report has at most {MAX_REBUILT_BYTES}")
    parse_canonical(data)
    return Rebuilt.model_validate_json(data)
