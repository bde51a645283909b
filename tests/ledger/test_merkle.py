"""Properties of the RFC 6962 tree, with the public vectors of Certificate Transparency."""

import hashlib
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.ledger.merkle import (
    EMPTY_ROOT,
    BadProof,
    Frontier,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
    root_of,
    verify_consistency,
    verify_inclusion,
)

# The classic eight entries and the roots of their prefixes.
ENTRIES = [
    bytes.fromhex(entry)
    for entry in [
        "",
        "00",
        "10",
        "2021",
        "3031",
        "40414243",
        "5051525354555657",
        "606162636465666768696a6b6c6d6e6f",
    ]
]
ROOTS = [
    "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
]
INCLUSION = [  # leaf index, tree size, path
    (0, 1, []),
    (
        0,
        8,
        [
            "96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4",
        ],
    ),
    (
        5,
        8,
        [
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (
        1,
        5,
        [
            "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
]
CONSISTENCY = [  # old size, new size, proof
    (1, 1, []),
    (1, 8, INCLUSION[1][2]),
    (
        6,
        8,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
    (
        2,
        5,
        [
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
        ],
    ),
    (
        6,
        7,
        [
            "0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
        ],
    ),
]
LEAVES = [leaf_hash(entry) for entry in ENTRIES]
OTHER = hashlib.sha256(b"other").digest()
sizes = st.integers(min_value=1, max_value=130)


def _tree(size: int) -> tuple[list[bytes], bytes]:
    leaves = [leaf_hash(b"%d" % index) for index in range(size)]
    return leaves, Frontier().extended(leaves).root()


def _recursive_root(entries: list[bytes]) -> bytes:
    """The definition of RFC 6962 2.1, word for word: an oracle for the incremental one."""
    if not entries:
        return hashlib.sha256(b"").digest()
    if len(entries) == 1:
        return hashlib.sha256(b"\x00" + entries[0]).digest()
    k = 1
    while k * 2 < len(entries):
        k *= 2
    halves = _recursive_root(entries[:k]) + _recursive_root(entries[k:])
    return hashlib.sha256(b"\x01" + halves).digest()


@pytest.mark.parametrize("size", range(9))
def test_roots_equal_the_public_vectors(size: int) -> None:
    assert root_of(ENTRIES[:size]).hex() == ROOTS[size]
    assert EMPTY_ROOT.hex() == ROOTS[0]


@given(st.lists(st.binary(max_size=4), max_size=70), st.integers(min_value=0, max_value=70))
def test_growing_a_tree_in_batches_equals_the_recursive_definition(
    entries: list[bytes], cut: int
) -> None:
    first = Frontier().extended(leaf_hash(entry) for entry in entries[:cut])
    before = first.root()
    second = Frontier(first.size, first.hashes).extended(leaf_hash(e) for e in entries[cut:])
    assert second.root() == _recursive_root(entries) == root_of(entries)
    assert first.root() == before == _recursive_root(entries[:cut])


@pytest.mark.parametrize(("index", "size", "path"), INCLUSION)
def test_inclusion_proofs_equal_the_public_vectors(index: int, size: int, path: list[str]) -> None:
    proof = inclusion_proof(index, size, nodes_from_leaves(LEAVES))
    assert [item.hex() for item in proof] == path
    verify_inclusion(LEAVES[index], index, size, proof, bytes.fromhex(ROOTS[size]))


@pytest.mark.parametrize(("old", "new", "expected"), CONSISTENCY)
def test_consistency_proofs_equal_the_public_vectors(
    old: int, new: int, expected: list[str]
) -> None:
    proof = consistency_proof(old, new, nodes_from_leaves(LEAVES))
    assert [item.hex() for item in proof] == expected
    verify_consistency(old, new, bytes.fromhex(ROOTS[old]), bytes.fromhex(ROOTS[new]), proof)


@given(sizes, st.data())
def test_every_leaf_is_provable_and_only_as_itself(size: int, data: st.DataObject) -> None:
    leaves, root = _tree(size)
    index = data.draw(st.integers(min_value=0, max_value=size - 1))
    proof = inclusion_proof(index, size, nodes_from_leaves(leaves))
    assert len(proof) <= (size - 1).bit_length()
    verify_inclusion(leaves[index], index, size, proof, root)
    for bad_leaf, bad_index, bad_proof, bad_root in [
        (OTHER, index, proof, root),
        (leaves[index], index + 1, proof, root),
        (leaves[index], index - 1, proof, root),
        (leaves[index], index, [*proof, root], root),
        (leaves[index], index, [root, *proof], root),
        (leaves[index], index, proof, OTHER),
        (leaves[index], index, proof, b""),
        (b"", index, proof, root),
        *(
            (leaves[index], index, [*proof[:i], OTHER, *proof[i + 1 :]], root)
            for i in range(len(proof))
        ),
        *((leaves[index], index, proof[:i] + proof[i + 1 :], root) for i in range(len(proof))),
    ]:
        with pytest.raises(BadProof):
            verify_inclusion(bad_leaf, bad_index, size, bad_proof, bad_root)


@given(sizes, sizes)
def test_every_growth_is_provable_and_no_rewrite_is(one: int, two: int) -> None:
    old, new = sorted((one, two))
    leaves, new_root = _tree(new)
    old_root = _tree(old)[1]
    proof = consistency_proof(old, new, nodes_from_leaves(leaves))
    verify_consistency(old, new, old_root, new_root, proof)
    rewritten = Frontier().extended([OTHER, *leaves[1:]])
    rewritten_proof = consistency_proof(old, new, nodes_from_leaves([OTHER, *leaves[1:]]))
    for bad_old, bad_new, bad_proof in [
        (old_root, rewritten.root(), rewritten_proof),
        (old_root, rewritten.root(), proof),
        (OTHER, new_root, proof),
        (old_root, OTHER, proof),
        (old_root, new_root, [*proof, new_root]),
        (old_root, new_root, [old_root, *proof]),
        *((old_root, new_root, proof[:i] + proof[i + 1 :]) for i in range(len(proof))),
        *((old_root, new_root, [*proof[:i], OTHER, *proof[i + 1 :]]) for i in range(len(proof))),
    ]:
        with pytest.raises(BadProof):
            verify_consistency(old, new, bad_old, bad_new, bad_proof)


def test_a_tree_cannot_shrink_and_an_empty_one_has_one_root() -> None:
    root = bytes.fromhex(ROOTS[3])
    verify_consistency(0, 3, EMPTY_ROOT, root, [])
    for old, new, old_root, proof in [
        (4, 3, root, []),
        (-1, 3, root, []),
        (0, 3, OTHER, []),
        (0, 3, EMPTY_ROOT, [root]),
        (3, 3, OTHER, []),
        (3, 3, root, [root]),
        (2, 3, root, [root] * 1000),
    ]:
        with pytest.raises(BadProof):
            verify_consistency(old, new, old_root, root, proof)


def test_a_proof_of_another_shape_is_refused_even_if_its_hashes_add_up() -> None:
    """Leaf 3 of 4 has only left siblings, as leaf 1 of 2 would have with one sibling more."""
    proof = inclusion_proof(3, 4, nodes_from_leaves(LEAVES))
    with pytest.raises(BadProof, match="has 1 hashes; got 2"):
        verify_inclusion(LEAVES[3], 1, 2, proof, bytes.fromhex(ROOTS[4]))


def test_hashes_of_other_lengths_are_refused_even_if_their_bytes_add_up() -> None:
    """A byte of one child moved to the other gives the same bytes to hash."""
    left, right, root = LEAVES[0], LEAVES[1], bytes.fromhex(ROOTS[2])
    verify_inclusion(left, 0, 2, [right], root)
    with pytest.raises(BadProof, match="32 bytes; got 33"):
        verify_inclusion(left + right[:1], 0, 2, [right[1:]], root)
    verify_consistency(1, 2, left, root, [right])
    with pytest.raises(BadProof, match="32 bytes; got 33"):
        verify_consistency(1, 2, left + right[:1], root, [right[1:]])


def test_a_node_cannot_pass_for_a_leaf() -> None:
    pair = LEAVES[0] + LEAVES[1]
    assert leaf_hash(pair) != bytes.fromhex(ROOTS[2])
    assert root_of([b"\x01" + pair]) != bytes.fromhex(ROOTS[2])


def test_proofs_outside_the_tree_are_never_built() -> None:
    node = nodes_from_leaves(LEAVES)
    for call in [
        lambda: inclusion_proof(8, 8, node),
        lambda: inclusion_proof(-1, 8, node),
        lambda: inclusion_proof(0, 0, node),
        lambda: consistency_proof(5, 4, node),
        lambda: Frontier(3, [OTHER]),
    ]:
        with pytest.raises(ValueError, match=r"leaf|size|subtrees"):
            call()


def test_roots_of_all_prefixes_differ() -> None:
    roots = [_tree(size)[1] for size in range(40)]
    assert len(set(roots)) == 40
    assert all(one != two for one, two in pairwise(roots))


def _spoiled(proof: list[bytes]) -> list[list[bytes]]:
    """A hash missing, one more at either end, one changed, two swapped."""
    spoiled = [[*proof, OTHER], [OTHER, *proof]]
    for place in range(len(proof)):
        spoiled += [proof[:place] + proof[place + 1 :]]
        spoiled += [[*proof[:place], OTHER, *proof[place + 1 :]]]
    for one, two in pairwise(range(len(proof))):
        spoiled += [[*proof[:one], proof[two], proof[one], *proof[two + 1 :]]]
    return spoiled


def test_of_the_public_trees_no_other_leaf_size_root_or_hash_is_shown() -> None:
    node = nodes_from_leaves(LEAVES)
    for size in range(1, 9):
        root = bytes.fromhex(ROOTS[size])
        for index in range(size):
            proof = inclusion_proof(index, size, node)
            verify_inclusion(LEAVES[index], index, size, proof, root)
            wrong = [(each, size, proof, root) for each in range(-1, 9) if each != index]
            wrong += [(index, 2 * size, proof, root), (index, size // 2, proof, root)]
            wrong += [(index, size, each, root) for each in _spoiled(proof)]
            wrong += [
                (index, size, proof, bytes.fromhex(each)) for each in ROOTS if each != root.hex()
            ]
            for bad_index, bad_size, bad_proof, bad_root in wrong:
                with pytest.raises(BadProof):
                    verify_inclusion(LEAVES[index], bad_index, bad_size, bad_proof, bad_root)


def test_of_the_public_trees_no_other_growth_is_shown() -> None:
    node = nodes_from_leaves(LEAVES)
    roots = [bytes.fromhex(each) for each in ROOTS]
    for new in range(2, 9):
        for old in range(1, new):
            proof = consistency_proof(old, new, node)
            verify_consistency(old, new, roots[old], roots[new], proof)
            wrong = [(old, each, roots[new], proof) for each in (old, 2 * new, old - 1)]
            wrong += [(old, new, root, proof) for root in (*roots[:new], *roots[new + 1 :])]
            wrong += [(old, new, roots[new], each) for each in _spoiled(proof)]
            for bad_old, bad_new, bad_root, bad_proof in wrong:
                with pytest.raises(BadProof):
                    verify_consistency(bad_old, bad_new, roots[old], bad_root, bad_proof)
