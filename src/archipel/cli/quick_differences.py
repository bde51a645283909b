"""Deltas decoded with numpy, where it is installed; plain Python otherwise. Both give the same bytes, which are hashed."""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from archipel.release.weights.delta import Decode
    from archipel.release.weights.difference import Block


def decode() -> "Decode":
    """The quickest that this machine has."""
    from archipel.release.weights.difference import decoded

    try:
        import numpy  # noqa: F401  is it there?
    except ImportError:
        return decoded
    return decoded_by_numpy


def decoded_by_numpy(old: bytes, block: "Block") -> bytes:
    """As `release.weights.difference.decoded`.

    Raises:
        BadDifference: as there.
    """
    import numpy

    from archipel.model import difference
    from archipel.release.weights.difference import BadDifference

    told = difference.Block(
        block.num_changed,
        block.positions,
        block.gap_planes,
        block.unit_planes,
        block.where,
        block.amount,
    )
    try:
        new = difference.decode_block(numpy.frombuffer(old, dtype="<u2"), told)
    except difference.BadDifference as error:
        raise BadDifference(str(error)) from None
    return new.astype("<u2", copy=False).tobytes()
