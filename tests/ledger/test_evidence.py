"""Evidence shows what a lab's own signatures show, whoever hands the file on, and nothing that they do not."""

import base64
import json
from dataclasses import replace
from typing import Any

import pytest

from archipel.identity import Envelope, Identity, sign
from archipel.ledger.evidence import (
    FORK,
    MAX_EVIDENCE_BYTES,
    MAX_TIME_MS,
    MAX_WHERE_CHARS,
    ROLLBACK,
    TYPE,
    BadEvidence,
    Evidence,
    bare,
    between,
    name_of,
    read_evidence,
    shown,
    written,
)
from archipel.ledger.merkle import leaf_hash, nodes_from_leaves, root_of
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key

LAB, OTHER, OBSERVER = (Identity.from_seed(bytes(31) + bytes([n])) for n in (7, 8, 9))
KEY = lab_key(LAB.did)
ONE = [b"entry %d" % number for number in range(40)]
TWO = ONE[:10] + [b"other %d" % number for number in range(30)]


def head(entries: list[bytes], signer: Identity = LAB) -> TreeHead:
    return sign_tree_head(signer, lab_key(signer.did).name, len(entries), root_of(entries))


def evidence(kind: str, earlier: list[bytes], later: list[bytes]) -> Evidence:
    """What an observer would write down of two histories, whether or not they go together."""
    small, large = sorted((earlier, later), key=len)
    nodes = nodes_from_leaves([leaf_hash(each) for each in large])
    root, proof = between(head(small), head(large), nodes)
    root = root if kind == FORK and len(small) < len(large) else b""
    notes = bare(head(earlier), KEY), bare(head(later), KEY)
    return Evidence(kind, LAB.did, *notes, root, tuple(proof), 1, 2, "https://lab.example")


@pytest.mark.parametrize(("small", "large"), [(11, 40), (16, 33), (32, 40), (39, 40), (25, 25)])
def test_two_histories_are_shown_whichever_was_seen_first(small: int, large: int) -> None:
    for earlier, later in ((ONE[:small], TWO[:large]), (TWO[:large], ONE[:small])):
        found = read_evidence(written(evidence(FORK, earlier, later), OBSERVER))
        assert (found.smaller.size, found.larger.size) == (small, large)
        assert found.observer == OBSERVER.did


@pytest.mark.parametrize(("small", "large"), [(1, 40), (8, 9), (10, 40), (25, 25)])
def test_heads_that_go_on_from_each_other_are_no_fork(small: int, large: int) -> None:
    for later in (ONE, TWO) if small <= 10 else (ONE,):
        with pytest.raises(BadEvidence):
            shown(evidence(FORK, ONE[:small], later[:large]))


def test_a_rollback_is_a_smaller_head_after_the_one_that_goes_on_from_it() -> None:
    for small in (0, 1, 16, 39):
        found = read_evidence(written(evidence(ROLLBACK, ONE, ONE[:small]), OBSERVER))
        assert (found.smaller.size, found.larger.size) == (small, 40)
    for earlier, later in ((ONE[:10], ONE), (ONE, ONE), (ONE, TWO[:20])):
        with pytest.raises(BadEvidence):
            shown(evidence(ROLLBACK, earlier, later))


def test_nothing_is_shown_by_other_keys_proofs_or_bytes() -> None:
    sound = evidence(FORK, ONE[:20], TWO)
    by_other = head(TWO[:20], OTHER).note
    for bad in (
        replace(sound, earlier=by_other),
        replace(sound, lab=OTHER.did),
        replace(sound, root=head(ONE[:20]).root),
        replace(sound, root=bytes(32)),
        replace(sound, root=b""),
        replace(sound, proof=sound.proof[1:]),
        replace(sound, kind=ROLLBACK),
        replace(sound, later=sound.later.replace(b"\n40\n", b"\n41\n")),
    ):
        with pytest.raises(BadEvidence):
            shown(bad)
    data = written(sound, OBSERVER)
    for place in range(0, len(data), 37):
        with pytest.raises(BadEvidence):
            read_evidence(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


def test_a_file_has_one_name_for_the_same_heads_whoever_saw_them() -> None:
    one, other = evidence(FORK, ONE[:20], TWO), evidence(FORK, TWO, ONE[:20])
    assert name_of(one) == name_of(replace(other, earlier_ms=5, where="elsewhere"))
    assert name_of(one) != name_of(evidence(FORK, ONE[:21], TWO))


def test_signatures_of_others_are_left_out_of_what_is_kept() -> None:
    plain = head(ONE)
    crowded = replace(plain, note=plain.note + "— w.example AAAAAAAA\n".encode() * 40)
    assert bare(crowded, KEY) == plain.note


SOUND = written(evidence(FORK, ONE[:20], TWO), OBSERVER)
PAYLOAD = Envelope.from_json(SOUND).payload


def signed(payload: Any) -> bytes:
    """A file whose observer signed this, in the one spelling."""
    if not isinstance(payload, bytes):
        payload = json.dumps(payload, sort_keys=True, separators=(",", ":")).encode()
    return sign(OBSERVER, payload, TYPE).to_json()


@pytest.mark.parametrize(
    ("said", "why"),
    [
        ({"kind": "broken"}, "kind is"),
        ({"lab": 1}, "are texts"),
        ({"earlier": None}, "are texts"),
        ({"later": ["x"]}, "are texts"),
        ({"where": 5}, "are texts"),
        ({"where": "x" * (MAX_WHERE_CHARS + 1)}, "characters"),
        ({"earlier_ms": -1}, "milliseconds"),
        ({"later_ms": MAX_TIME_MS + 1}, "milliseconds"),
        ({"later_ms": True}, "milliseconds"),
        ({"later_ms": 1.0}, "milliseconds"),
        ({"proof": "x"}, "list of at most"),
        ({"proof": [""] * 64}, "list of at most"),
        ({"proof": [5]}, "base64"),
        ({"proof": [base64.b64encode(bytes(32)).decode()] * 63}, "does not hold"),
        ({"root": base64.b64encode(bytes(31)).decode()}, "base64"),
        ({"root": base64.b64encode(bytes(32)).decode() + "\n"}, "base64"),
        ({"root": "A" * 42 + "B="}, "base64"),
        ({"root": 0}, "base64"),
        ({"unknown": 1}, "with exactly"),
    ],
)
def test_a_file_has_one_form_within_bounds(said: dict[str, Any], why: str) -> None:
    with pytest.raises(BadEvidence, match=why):
        read_evidence(signed(json.loads(PAYLOAD) | said))


def test_a_file_has_one_spelling_and_times_and_places_up_to_their_bounds() -> None:
    plain = json.loads(PAYLOAD)
    for payload in (b"[]", b"{", b"[" * 9000, json.dumps(plain).encode(),
                    {name: plain[name] for name in plain if name != "proof"}):  # fmt: skip
        with pytest.raises(BadEvidence, match="canonical JSON"):
            read_evidence(signed(payload))
    widest = {"where": "x" * MAX_WHERE_CHARS, "earlier_ms": 0, "later_ms": MAX_TIME_MS}
    found = read_evidence(signed(plain | widest)).evidence
    assert (len(found.where), found.earlier_ms, found.later_ms) == (500, 0, 2**53 - 1)
    with pytest.raises(BadEvidence, match="bytes or more"):
        read_evidence(SOUND + b" " * MAX_EVIDENCE_BYTES)
    with pytest.raises(BadEvidence, match="not by its observer"):
        read_evidence(sign(OBSERVER, PAYLOAD, "application/json").to_json())


def test_what_is_written_is_read_as_it_was_seen_and_a_long_place_is_cut() -> None:
    seen = replace(evidence(FORK, ONE[:20], TWO), where="y" * 900)
    found = read_evidence(written(seen, OBSERVER))
    assert found.evidence == replace(seen, where="y" * MAX_WHERE_CHARS)
    named = written(replace(seen, where="https://l\u00e4b.example"), OBSERVER)
    assert read_evidence(named).evidence.where == "https://l\u00e4b.example"
    assert Envelope.from_json(named).payload.isascii(), "one spelling, whatever the reader's own"
