"""A witness never signs two histories, whatever it is asked and whenever it dies; what it signed can be checked."""

import base64
from pathlib import Path

import pytest

from archipel.identity import Identity
from archipel.ledger.cosignature import cosigned, cosigned_at, witness_key
from archipel.ledger.merkle import (
    BadProof,
    consistency_proof,
    inclusion_proof,
    leaf_hash,
    nodes_from_leaves,
    root_of,
)
from archipel.ledger.proof_file import proof_text, shown
from archipel.ledger.signed_note import BadNote, NoteKey, open_note
from archipel.ledger.storage import LedgerCorrupt, LedgerInUse
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.ledger.witness import Witness, submission

LAB, OTHER, SIGNER = (Identity.from_seed(bytes(31) + bytes([n])) for n in (7, 8, 9))
KEY = lab_key(LAB.did)
ONE = [b"entry %d" % number for number in range(40)]
TWO = ONE[:10] + [b"other %d" % number for number in range(30)]


def note(entries: list[bytes], signer: Identity = LAB) -> bytes:
    return sign_tree_head(signer, KEY.name, len(entries), root_of(entries)).note


def asked(old: int, entries: list[bytes], claimed: int | None = None) -> bytes:
    nodes = nodes_from_leaves([leaf_hash(each) for each in entries])
    proof = tuple(consistency_proof(old, len(entries), nodes)) if 0 < old <= len(entries) else ()
    return submission(old if claimed is None else claimed, proof, note(entries))


def witness(folder: Path) -> Witness:
    return Witness(folder, "example.com/w", SIGNER, {KEY.name: KEY}, lambda: 1_800_000_000)


@pytest.fixture
def sworn(tmp_path: Path):
    found = witness(tmp_path / "w")
    yield found
    found.close()


def test_a_history_is_signed_as_it_grows_and_the_signature_holds(sworn: Witness) -> None:
    for old, new in ((0, 1), (1, 5), (5, 5), (5, 16), (16, 40)):
        reply = sworn.add(asked(old, ONE[:new]))
        assert reply.status == 200
        whole = note(ONE[:new]) + reply.body.encode()
        assert cosigned_at(whole, sworn.key) == 1_800_000_000
        assert open_note(whole, KEY) == open_note(note(ONE[:new]), KEY)


def test_no_second_history_is_signed(sworn: Witness) -> None:
    assert sworn.add(asked(0, ONE[:20])).status == 200
    cases = {
        409: [asked(0, ONE[:30]), asked(10, TWO), asked(19, ONE[:30]), asked(20, TWO[:20])],
        422: [
            asked(20, TWO),
            submission(20, (), note(ONE[:30])),
            submission(20, (bytes(32),) * 3, note(ONE[:30])),
        ],
        400: [
            asked(21, ONE[:20]),
            b"",
            b"old 20\n\n"[:6],
            b"old 020\n\n" + note(ONE),
            b"old 20\n%%\n\n" + note(ONE),
        ],
        403: [
            submission(20, (), note(ONE, OTHER)),
            submission(20, (), note(ONE).replace(b"40\n", b"41\n")),
        ],
        404: [submission(0, (), b"example.com/log\n" + note(ONE))],
    }
    for status, bodies in cases.items():
        for body in bodies:
            assert sworn.add(body).status == status, body
    assert sworn.add(asked(0, ONE[:30])).body == "20\n"
    assert sworn.add(asked(20, ONE)).status == 200


def test_what_was_signed_is_known_after_a_restart_and_held_by_one_process(tmp_path: Path) -> None:
    first = witness(tmp_path)
    assert first.add(asked(0, ONE[:20])).status == 200
    with pytest.raises(LedgerInUse):
        witness(tmp_path)
    first.close()
    again = witness(tmp_path)
    assert again.add(asked(0, TWO)).status == 409
    (file,) = tmp_path.glob("*.note")
    file.write_bytes(file.read_bytes()[:-9])
    with pytest.raises(LedgerCorrupt, match="signs nothing more"):
        again.add(asked(20, ONE))
    again.close()


def test_nothing_is_signed_that_could_not_be_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sworn = witness(tmp_path)
    monkeypatch.setattr(
        Path, "replace", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left"))
    )
    with pytest.raises(Exception, match="nothing was signed"):
        sworn.add(asked(0, ONE))
    monkeypatch.undo()
    assert sworn.add(asked(0, TWO)).status == 200
    sworn.close()


def test_a_cosignature_is_of_its_time_its_text_and_its_witness() -> None:
    text = open_note(note(ONE), KEY)
    key = witness_key("example.com/w", SIGNER.public_key)
    line = cosigned(text, "example.com/w", SIGNER, 7)
    assert cosigned_at(note(ONE) + line.encode(), key) == 7
    data = bytearray(base64.b64decode(line.split()[-1]))
    data[11] ^= 1
    later = line.replace(line.split()[-1], base64.b64encode(data).decode())
    for bad in (note(ONE) + later.encode(), note(TWO) + line.encode()):
        with pytest.raises(BadNote, match="does not hold"):
            cosigned_at(bad, key)
    with pytest.raises(BadNote, match="no signature"):
        cosigned_at(note(ONE), key)
    assert NoteKey.from_text(key.to_text()) == key


def test_a_proof_file_shows_one_entry_and_no_other() -> None:
    nodes = nodes_from_leaves([leaf_hash(each) for each in ONE])
    data = proof_text(7, inclusion_proof(7, 40, nodes), note(ONE))
    index, head = shown(data, ONE[7], KEY)
    assert (index, head.size) == (7, 40)
    lines = data.split(b"\n")
    bad = [
        (data, ONE[8]),
        (data.replace(b"index 7", b"index 6"), ONE[7]),
        (data.replace(b"@v1", b"@v2"), ONE[7]),
        (data.replace(b"index 7", b"extra AAAA\nindex 7"), ONE[7]),
        (b"\n".join(lines[:2] + lines[3:]), ONE[7]),
        (data.replace(lines[2], lines[3]), ONE[7]),
        (data[: data.index(b"\n\n")], ONE[7]),
        (b"", ONE[7]),
        (b"\xff" + data, ONE[7]),
    ]
    for spoiled, entry in bad:
        with pytest.raises(BadProof):
            shown(spoiled, entry, KEY)
    with pytest.raises(BadProof, match="does not hold"):
        shown(data, ONE[7], lab_key(OTHER.did))
