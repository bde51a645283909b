"""The bytes of a delta: eight bytes of header length, a canonical JSON header, coded frames.

The header names the version before and the version after, the digest of the frames, and for each
block its numbers and the lengths of its two frames (see `difference`).
Law: a parse is checked whole before anything in it is used; there is one encoding.
"""

from dataclasses import dataclass
from typing import Any, Self

from archipel.model.difference import Block
from archipel.model.manifest import CorruptWeights, TooLarge, is_digest
from archipel.records.canonical import NotCanonical, canonical_json, parse_canonical, sha256_digest

FORMAT = "archipel/delta/1"
MAX_HEADER_BYTES = 8 * 1024 * 1024
"""Far more than the block table of the largest state that a manifest may describe."""
_LENGTH_BYTES = 8
_HEADER_KEYS = frozenset({"format", "parent", "state", "version", "body", "blocks"})
_BLOCK_KEYS = frozenset(Block.__dataclass_fields__)


@dataclass(frozen=True)
class DeltaFile:
    """A delta as it travels."""

    parent: str
    """State digest of the version before."""
    state: str
    """State digest of the version after."""
    version: int
    """Number of the version after."""
    blocks: tuple[Block, ...]

    def to_bytes(self) -> bytes:
        """The encoding that `from_bytes` reads."""
        body = b"".join(frame for block in self.blocks for frame in (block.where, block.amount))
        header = canonical_json(
            {
                "format": FORMAT,
                "parent": self.parent,
                "state": self.state,
                "version": self.version,
                "body": sha256_digest(body),
                "blocks": [_block_fields(block) for block in self.blocks],
            }
        )
        return len(header).to_bytes(_LENGTH_BYTES, "little") + header + body

    @classmethod
    def from_bytes(cls, data: bytes) -> Self:
        """Read a delta; its frames stay compressed.

        Raises:
            TooLarge: the header is longer than MAX_HEADER_BYTES.
            CorruptWeights: cut short, not canonical, or frames that are not what the header says.
        """
        length = int.from_bytes(data[:_LENGTH_BYTES], "little")
        if length > MAX_HEADER_BYTES:
            raise TooLarge(f"delta header of {length} bytes; the limit is {MAX_HEADER_BYTES}")
        if len(data) < _LENGTH_BYTES + length:
            raise CorruptWeights(f"delta of {len(data)} bytes is cut short")
        fields = _header(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
        body = memoryview(data)[_LENGTH_BYTES + length :]
        if sha256_digest(body) != fields["body"]:
            raise CorruptWeights(f"delta body of {len(body)} bytes is not what its header says")
        blocks = _blocks(fields["blocks"], body)
        return cls(fields["parent"], fields["state"], fields["version"], blocks)


def _header(data: bytes) -> dict[str, Any]:
    try:
        fields = parse_canonical(data)
    except NotCanonical as error:
        raise CorruptWeights(f"delta header: {error}") from None
    if not isinstance(fields, dict) or fields.keys() != _HEADER_KEYS:
        raise CorruptWeights(f"delta header needs exactly the fields {sorted(_HEADER_KEYS)}")
    if fields["format"] != FORMAT:
        raise CorruptWeights(
            f"delta format is {fields['format']!r:.60}; this reader knows {FORMAT}"
        )
    if not all(is_digest(fields[key]) for key in ("parent", "state", "body")):
        raise CorruptWeights("delta header: parent, state and body are sha256:<64 hex>")
    if type(fields["version"]) is not int:
        raise CorruptWeights("delta header: version is not an integer")
    return fields


def _block_fields(block: Block) -> dict[str, int]:
    """The block's numbers; its frames are represented by their lengths."""
    fields = {key: getattr(block, key) for key in _BLOCK_KEYS}
    return fields | {"where": len(block.where), "amount": len(block.amount)}


def _blocks(table: Any, body: memoryview) -> tuple[Block, ...]:
    if not isinstance(table, list):
        raise CorruptWeights("delta header: blocks is not a list")
    blocks, start = [], 0
    for fields in table:
        _check_block(fields)
        middle = start + fields["where"]
        end = middle + fields["amount"]
        frames = {"where": bytes(body[start:middle]), "amount": bytes(body[middle:end])}
        blocks.append(Block(**{**fields, **frames}))
        start = end
    if start != len(body):
        raise CorruptWeights(f"delta blocks need {start} bytes, the body has {len(body)}")
    return tuple(blocks)


def _check_block(fields: Any) -> None:
    if not isinstance(fields, dict) or fields.keys() != _BLOCK_KEYS:
        raise CorruptWeights(f"a delta block needs exactly the fields {sorted(_BLOCK_KEYS)}")
    if not all(type(value) is int and value >= 0 for value in fields.values()):
        raise CorruptWeights("a delta block has a field that is not a natural number")
