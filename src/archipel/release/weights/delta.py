"""The bytes of an anchor and of a delta, and what a version's weights are once they are applied.

Weights here are the tensors' bytes, one after the other in the order of their names. Laws: nothing is believed before
its digest agrees, whoever decoded it; nothing larger is made than the manifest implies.
"""

from collections.abc import Callable, Iterator
from typing import Any

from archipel.records.canonical import NotCanonical, parse_canonical, sha256_digest
from archipel.release.weights.difference import (
    BLOCK_WEIGHTS,
    BadDifference,
    Block,
    decoded,
    inflate,
)
from archipel.release.weights.manifest import WIDTH, BadVersion, Manifest
from archipel.release.weights.stored import (
    LENGTH_BYTES,
    BadStored,
    read_header,
)

Decode = Callable[[bytes, Block], bytes]
"""As `difference.decoded`: the bytes after, of the weights before; raises BadDifference."""
FORMAT = "archipel/delta/1"
MAX_HEADER_BYTES = 8 * 1024 * 1024
_KEYS = frozenset({"format", "parent", "state", "version", "body", "blocks"})
_BLOCK_KEYS = ("num_changed", "positions", "gap_planes", "unit_planes", "where", "amount")


def from_anchor(data: bytes, manifest: Manifest) -> bytes:
    """The weights of a version out of its anchor.

    Raises:
        BadVersion: damaged, or another version's.
    """
    try:
        raw = inflate(data, LENGTH_BYTES, LENGTH_BYTES + MAX_HEADER_BYTES + manifest.size)
        header = read_header(raw, len(raw))
    except (BadDifference, BadStored) as error:
        raise BadVersion(f"the anchor: {error}") from None
    held = {each.name: each for each in header.tensors}
    if sorted((e.name, e.shape) for e in header.tensors) != manifest.forms:
        raise BadVersion("the anchor has other tensors than the manifest names")
    parts = [raw[held[each.name].start : held[each.name].end] for each in manifest.tensors]
    return _believed(b"".join(parts), manifest, "the anchor")


def after_delta(
    before: bytes, held: Manifest, data: bytes, target: Manifest, decode: Decode = decoded
) -> bytes:
    """The weights of `target`, from those `before`, of `held`, and the delta in between.

    decode: does what `decoded` does, in less time.

    Raises:
        BadVersion: damaged, of other versions, or it leads elsewhere.
    """
    if target.parent != held.state or target.version != held.version + 1:
        raise BadVersion(f"version {target.version} does not follow version {held.version}")
    if target.forms != held.forms or target.adapter != held.adapter:
        raise BadVersion(f"version {target.version} has other tensors than the one before it")
    said, blocks = read_delta(data)
    if said != (held.state, target.state, target.version):
        raise BadVersion(f"the delta is not the one from version {held.version} to the next")
    pieces = list(_pieces(before))
    if len(blocks) != len(pieces):
        raise BadVersion(f"the delta has {len(blocks)} blocks; these weights need {len(pieces)}")
    try:
        after = b"".join(decode(*each) for each in zip(pieces, blocks, strict=True))
    except BadDifference as error:
        raise BadVersion(f"the delta: {error}") from None
    return _believed(after, target, "the delta")


def read_delta(data: bytes) -> tuple[tuple[str, str, int], tuple[Block, ...]]:
    """((state before, state after, version after), its blocks).

    Raises:
        BadVersion: it is none.
    """
    length = int.from_bytes(data[:LENGTH_BYTES], "little")
    if length > MAX_HEADER_BYTES or len(data) < LENGTH_BYTES + length:
        raise BadVersion(f"a delta of {len(data)} bytes whose header has {length}: cut short")
    try:
        fields = parse_canonical(data[LENGTH_BYTES : LENGTH_BYTES + length])
    except NotCanonical as error:
        raise BadVersion(f"the delta's header is {error!s:.200}") from None
    if not isinstance(fields, dict) or fields.keys() != _KEYS or fields["format"] != FORMAT:
        raise BadVersion(f"the delta's header is not of format {FORMAT}")
    body = data[LENGTH_BYTES + length :]
    if sha256_digest(body) != fields["body"]:
        raise BadVersion("the delta's frames are not what its header says")
    return (fields["parent"], fields["state"], fields["version"]), _blocks(fields["blocks"], body)


def _blocks(table: Any, body: bytes) -> tuple[Block, ...]:
    if not isinstance(table, list):
        raise BadVersion("the delta's blocks are no list")
    found, start = [], 0
    for fields in table:
        if not isinstance(fields, dict) or fields.keys() != set(_BLOCK_KEYS):
            raise BadVersion(f"a block of a delta needs exactly {', '.join(_BLOCK_KEYS)}")
        if not all(type(value) is int and value >= 0 for value in fields.values()):
            raise BadVersion("a block of a delta has a field that is no natural number")
        middle = start + fields["where"]
        end = middle + fields["amount"]
        frames = {"where": body[start:middle], "amount": body[middle:end]}
        found.append(Block(**{**fields, **frames}))
        start = end
    if start != len(body):
        raise BadVersion(f"the delta's blocks need {start} bytes, and there are {len(body)}")
    return tuple(found)


def _pieces(weights: bytes) -> Iterator[bytes]:
    step = WIDTH * BLOCK_WEIGHTS
    return (weights[start : start + step] for start in range(0, len(weights), step))


def _believed(weights: bytes, manifest: Manifest, what: str) -> bytes:
    """The same, once each tensor has the digest that the manifest gives it."""
    start, view = 0, memoryview(weights)
    for each in manifest.tensors:
        if sha256_digest(view[start : start + each.size]) != each.digest:
            raise BadVersion(
                f"{what} leads to another {each.name} than version {manifest.version} names"
            )
        start += each.size
    return weights
