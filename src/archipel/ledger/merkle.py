"""The RFC 6962 Merkle tree over SHA-256: roots, appending, inclusion and consistency proofs.

Parts: `Frontier` grows a tree in O(log n) memory; `inclusion_proof` and `consistency_proof` build
proofs from any source of node hashes; `verify_inclusion` and `verify_consistency` check them.

Law: pure. A node hash comes from a `NodeHashes` function, so that leaf hashes, C2SP tiles or a
cache may stand behind it. Source: RFC 6962 section 2.1; RFC 9162 section 2.1 for verification.
"""

from collections.abc import Callable, Iterable, Sequence
from hashlib import sha256

HASH_BYTES = 32
MAX_PROOF_HASHES = 63
"""Enough for 2^63 leaves, and the bound of the C2SP witness protocol."""
EMPTY_ROOT = sha256(b"").digest()

NodeHashes = Callable[[int, int], bytes]
"""(level, index) -> hash of the complete subtree over leaves [index << level, index + 1 << level)."""


class BadProof(ValueError):
    """A proof that does not show what it is said to show."""


def leaf_hash(entry: bytes) -> bytes:
    """SHA-256 of 0x00 and the entry."""
    return sha256(b"\x00" + entry).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256 of 0x01 and the two children."""
    return sha256(b"\x01" + left + right).digest()


class Frontier:
    """A tree reduced to what its growth needs: the roots of its complete subtrees, large to small."""

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count():
            raise ValueError(
                f"a tree of {size} leaves has {size.bit_count()} complete subtrees; got {len(hashes)}"
            )
        self.size = size
        self.hashes = tuple(hashes)

    def extended(self, leaf_hashes: Iterable[bytes]) -> "Frontier":
        """The frontier after these leaves; this one stays as it was."""
        nodes, waiting, odd = list(leaf_hashes), list(self.hashes), []
        size, height = self.size + len(nodes), self.size
        while nodes:  # a level at a time: the subtree that waits here comes first, an odd one stays
            if height & 1:
                nodes.insert(0, waiting.pop())
            if len(nodes) & 1:
                odd.append(nodes.pop())
            nodes = [
                sha256(b"\x01" + left + right).digest()
                for left, right in zip(nodes[::2], nodes[1::2], strict=True)
            ]
            height >>= 1
        return Frontier(size, waiting + odd[::-1])

    def root(self) -> bytes:
        """The Merkle tree hash of all leaves."""
        return _join_right_to_left(self.hashes) if self.hashes else EMPTY_ROOT


def root_of(entries: Iterable[bytes]) -> bytes:
    """The Merkle tree hash of `entries`."""
    return Frontier().extended(leaf_hash(entry) for entry in entries).root()


def nodes_from_leaves(leaf_hashes: Sequence[bytes]) -> NodeHashes:
    """Node hashes computed from all leaf hashes, each once."""
    levels: list[list[bytes]] = [list(leaf_hashes)]

    def node(level: int, index: int) -> bytes:
        while len(levels) <= level:
            below = levels[-1]
            pairs = zip(below[::2], below[1::2], strict=False)  # an odd last node has no parent yet
            levels.append([node_hash(left, right) for left, right in pairs])
        return levels[level][index]

    return node


def inclusion_proof(index: int, size: int, node: NodeHashes) -> list[bytes]:
    """The audit path of leaf `index` in the tree of the first `size` leaves (RFC 6962 2.1.1).

    Raises:
        ValueError: index is not below size.
    """
    if not 0 <= index < size:
        raise ValueError(f"leaf {index} is not in a tree of {size}")
    siblings = []
    start, end = 0, size
    while end - start > 1:
        middle = start + _left_size(end - start)
        if index < middle:
            siblings.append((middle, end))
            end = middle
        else:
            siblings.append((start, middle))
            start = middle
    return [subtree_hash(first, last, node) for first, last in reversed(siblings)]


def consistency_proof(old_size: int, new_size: int, node: NodeHashes) -> list[bytes]:
    """Proof that the tree of `old_size` is a prefix of that of `new_size` (RFC 6962 2.1.2).

    Raises:
        ValueError: old_size is not in [0, new_size].
    """
    if not 0 <= old_size <= new_size:
        raise ValueError(f"expected 0 <= old size <= new size, got {old_size} and {new_size}")
    if old_size in (0, new_size):
        return []
    ranges = []
    start, end = 0, new_size
    while end != old_size:
        middle = start + _left_size(end - start)
        if old_size <= middle:
            ranges.append((middle, end))
            end = middle
        else:
            ranges.append((start, middle))
            start = middle
    if start > 0:  # else the old tree is a complete subtree, and the verifier has its root
        ranges.append((start, end))
    return [subtree_hash(first, last, node) for first, last in reversed(ranges)]


def verify_inclusion(
    leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes
) -> None:
    """Check that the leaf hash `leaf` is number `index` under `root`, the root over `size` leaves.

    Raises:
        BadProof: it is not shown.
    """
    if not 0 <= index < size:
        raise BadProof(f"leaf {index} cannot be in a tree of {size}")
    _check_hashes([leaf, root, *proof])
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    _check_length(proof, inner + border)
    seed = _climb(leaf, proof[:inner], index)
    if _climb_border(seed, proof[inner:]) != root:
        raise BadProof("the path leads to another root")


def verify_consistency(
    old_size: int, new_size: int, old_root: bytes, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that `new_root` over `new_size` leaves extends `old_root` over `old_size`.

    An empty old tree is a prefix of every tree: nothing is then shown about `new_root`.

    Raises:
        BadProof: it is not shown.
    """
    if not 0 <= old_size <= new_size:
        raise BadProof(f"a tree of {new_size} cannot extend one of {old_size}")
    _check_hashes([old_root, new_root, *proof])
    if old_size == 0 and old_root != EMPTY_ROOT:
        raise BadProof("the old tree is empty, but its root is not the empty root")
    if old_size in (0, new_size):
        _check_length(proof, 0)
        if old_size == new_size and old_root != new_root:
            raise BadProof("trees of one size have different roots")
        return
    inner = ((old_size - 1) ^ (new_size - 1)).bit_length()
    border = ((old_size - 1) >> inner).bit_count()
    shift = (old_size & -old_size).bit_length() - 1  # height of the old tree's last subtree
    inner -= shift
    rest = list(proof)
    if old_size == 1 << shift:
        seed = old_root
        _check_length(rest, inner + border)
    else:
        _check_length(rest, 1 + inner + border)
        seed = rest.pop(0)
    path = (old_size - 1) >> shift
    lefts = [sibling for bit, sibling in enumerate(rest[:inner]) if path >> bit & 1]
    if _climb_border(_climb_border(seed, lefts), rest[inner:]) != old_root:
        raise BadProof("the proof does not lead to the old root")
    if _climb_border(_climb(seed, rest[:inner], path), rest[inner:]) != new_root:
        raise BadProof("the proof does not lead to the new root")


def _left_size(size: int) -> int:
    """The largest power of two below `size` (at least 2)."""
    return 1 << ((size - 1).bit_length() - 1)


def subtree_hash(start: int, end: int, node: NodeHashes) -> bytes:
    """Hash of the subtree over leaves [start, end); `start` is aligned as RFC 6962 splits do."""
    complete = []
    while start < end:
        level = (end - start).bit_length() - 1
        complete.append(node(level, start >> level))
        start += 1 << level
    return _join_right_to_left(complete)


def _join_right_to_left(hashes: Sequence[bytes]) -> bytes:
    joined = hashes[-1]
    for left in reversed(hashes[:-1]):
        joined = node_hash(left, joined)
    return joined


def _climb(seed: bytes, siblings: Sequence[bytes], path: int) -> bytes:
    """Join siblings bottom up; bit j of `path` says that we are the right child at level j."""
    for level, sibling in enumerate(siblings):
        is_right = path >> level & 1
        seed = node_hash(sibling, seed) if is_right else node_hash(seed, sibling)
    return seed


def _climb_border(seed: bytes, siblings: Sequence[bytes]) -> bytes:
    """Join siblings that all lie to the left."""
    for sibling in siblings:
        seed = node_hash(sibling, seed)
    return seed


def _check_hashes(hashes: Sequence[bytes]) -> None:
    if len(hashes) > MAX_PROOF_HASHES + 2:
        raise BadProof(f"more than {MAX_PROOF_HASHES} hashes in a proof")
    for item in hashes:
        if len(item) != HASH_BYTES:
            raise BadProof(f"a hash has {HASH_BYTES} bytes; got {len(item)}")


def _check_length(proof: Sequence[bytes], expected: int) -> None:
    if len(proof) != expected:
        raise BadProof(f"a proof for these sizes has {expected} hashes; got {len(proof)}")
