"""Anchors: one head is one text, a file says nothing else, and only a ledger's own prefix goes with it."""

import base64

import pytest
from hypothesis import given
from hypothesis import strategies as st

from archipel.ledger.anchored_head import (
    MAX_CALLDATA_BYTES,
    MAX_FILE_BYTES,
    AnchoredHead,
    BadAnchoredHead,
    anchored,
    calldata,
    check_prefix,
    read_anchored_head,
)
from archipel.ledger.evm import Chain, ChainError, answer_in, quantity
from archipel.ledger.evm_signing import MAX_GAS, offered
from archipel.ledger.merkle import leaf_hash, nodes_from_leaves, root_of
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.canonical import MAX_SAFE_INTEGER, canonical_json
from people import identity

LAB = identity("lab")
ORIGIN = lab_key(LAB.did).name
TOLD = [b"entry %d" % number for number in range(11)]
NODES = nodes_from_leaves([leaf_hash(each) for each in TOLD])
TX = "0x" + "5e" * 32


def head(size: int, told: list[bytes] = TOLD) -> TreeHead:
    return sign_tree_head(LAB, ORIGIN, size, root_of(told[:size]))


def test_one_head_is_one_text_that_names_all_of_it() -> None:
    root = base64.b64encode(root_of(TOLD)).decode()
    assert calldata(head(11)) == f"archipel.anchored-head/1\n{ORIGIN}\n11\n{root}\n".encode()
    assert anchored(head(11), 5, TX, 7).calldata() == calldata(head(11))
    longest = TreeHead("x" * 200, MAX_SAFE_INTEGER, b"\xff" * 32, b"")
    assert len(calldata(longest)) <= MAX_CALLDATA_BYTES
    assert (
        len(anchored(longest, MAX_SAFE_INTEGER, TX, MAX_SAFE_INTEGER).to_bytes()) <= MAX_FILE_BYTES
    )
    for origin, size in (("x" * 201, 1), ("two words", 1), ("x\n", 1), ("x", 2**53)):
        with pytest.raises(BadAnchoredHead, match="cannot be anchored"):
            calldata(TreeHead(origin, size, bytes(32), b""))


@given(st.binary(min_size=32, max_size=32))
def test_every_root_has_one_spelling(root: bytes) -> None:
    made = anchored(TreeHead("x", 1, root, b""), 1, TX)
    assert read_anchored_head(made.to_bytes()) == made
    assert base64.b64decode(made.root) == root
    other = made.root[:42] + chr(ord(made.root[42]) + 1) + "="
    with pytest.raises(BadAnchoredHead):
        read_anchored_head(made.to_bytes().replace(made.root.encode(), other.encode()))


def test_a_file_is_closed() -> None:
    made = anchored(head(11), 1, TX, 7)
    said = made.model_dump()
    assert read_anchored_head(canonical_json(said) + b"\n") == made
    wrong = [
        {"more": 1},
        {"form": "archipel.anchored-head/2"},
        {"chain": 0},
        {"tx": TX.upper()},
        {"tx": TX + "\n"},
        {"block": -1},
        {"block": "7"},
        {"size": True},
        {"root": made.root[:-1]},
        {"origin": "a b"},
    ]
    for each in wrong:
        with pytest.raises(BadAnchoredHead, match="no anchored head"):
            read_anchored_head(canonical_json(said | each) + b"\n")
    whole = made.to_bytes()
    for data in (
        whole[:-1],
        whole + b"\n",
        b" " + whole,
        whole[:-1] + b" " * 1024 + b"\n",
        b"[" * 900 + b"\n",
    ):
        with pytest.raises(BadAnchoredHead, match="no anchored head"):
            read_anchored_head(data)


def test_only_a_prefix_of_this_ledger_goes_with_an_anchor() -> None:
    for size in range(12):
        check_prefix(anchored(head(size), 1, TX), head(11), NODES)
    lied = [*TOLD[:4], b"another", *TOLD[5:]]
    for size in range(5, 12):
        with pytest.raises(BadAnchoredHead, match="another history"):
            check_prefix(anchored(head(size, lied), 1, TX), head(11), NODES)
    check_prefix(anchored(head(4, lied), 1, TX), head(11), NODES)  # they part later
    with pytest.raises(BadAnchoredHead, match="newer copy"):
        check_prefix(anchored(head(11), 1, TX), head(10), NODES)
    elsewhere = TreeHead("archipel.lab/other", 11, root_of(TOLD), b"")
    with pytest.raises(BadAnchoredHead, match="this is the ledger"):
        check_prefix(anchored(elsewhere, 1, TX), head(11), NODES)


def test_hashes_that_are_not_under_the_signed_head_show_nothing() -> None:
    """A mirror whose tiles were replaced by those of the anchored history is not believed."""
    lied = [*TOLD[:4], b"another", *TOLD[5:]]
    nodes = nodes_from_leaves([leaf_hash(each) for each in lied])
    for size in range(5, 12):
        with pytest.raises(LedgerCorrupt, match="signed root"):
            check_prefix(anchored(head(size, lied), 1, TX), head(11), nodes)


def test_what_a_node_says_of_costs_is_bounded_by_who_pays() -> None:
    offer = offered(30_000, 1_000, 10**9)
    assert (offer.gas, offer.price_wei, offer.cost_wei) == (30_000, 1_250, 37_500_000)
    assert offered(30_000, 1_000, 37_500_000) == offer
    with pytest.raises(ChainError, match="--max-cost"):
        offered(30_000, 1_000, 37_499_999)
    with pytest.raises(ChainError, match="at most 100000"):
        offered(MAX_GAS + 1, 1, 10**30)
    with pytest.raises(ChainError, match="--max-cost"):
        offered(MAX_GAS, 2**256 - 1, 10**18)


def test_an_answer_is_one_to_this_call() -> None:
    assert answer_in(b'{"jsonrpc":"2.0","id":3,"result":"0x1"}', 3) == "0x1"
    assert answer_in(b'{"id":3,"result":null}', 3) is None
    with pytest.raises(ChainError, match="another call"):
        answer_in(b'{"id":4,"result":"0x1"}', 3)
    with pytest.raises(ChainError, match="insufficient funds"):
        answer_in(b'{"id":3,"error":{"code":-32000,"message":"insufficient funds"}}', 3)
    for data in (b"", b"<html>", b"[]", b"{}", b"[" * 100_000):
        with pytest.raises(ChainError, match="something else"):
            answer_in(data, 3)


def test_a_quantity_has_one_spelling() -> None:
    assert [quantity(each) for each in ("0x0", "0x1f")] == [0, 31]
    for value in ("0x", "0x01", "0xG", "31", 31, None, "0x1\n", "0x" + "f" * 65, "0X1"):
        with pytest.raises(ChainError, match="quantity"):
            quantity(value)


def test_an_address_says_only_its_host() -> None:
    for url in ("ftp://x/y", "secret-token", "http://"):
        with pytest.raises(ChainError) as refused:
            Chain(url)
        assert "secret" not in str(refused.value)
    with Chain("https://node.example/v3/secret") as node:
        assert node.name == "node.example"


def test_an_anchor_never_changes() -> None:
    with pytest.raises(ValueError, match="frozen"):
        AnchoredHead.__setattr__(anchored(head(1), 1, TX), "block", 3)
