"""docs/reference/protocol.md: its tables are the records', and a reader written from it reads the golden vectors."""

import hashlib
import json
import re
from pathlib import Path
from typing import Any

import pytest
from cryptography.exceptions import InvalidSignature

import protocol_reader as reader
from archipel.records.membership import Effort, effort_bits
from protocol_tables import current
from protocol_vectors import answers, vectors

HERE = Path(__file__).parents[1]
PAGE = (HERE.parent / "docs" / "reference" / "protocol.md").read_text("utf-8")
VECTORS: dict[str, Any] = json.loads((HERE / "vectors" / "protocol-1.json").read_text("utf-8"))
SHOWN: dict[str, Any] = json.loads((HERE / "vectors" / "protocol-2.json").read_text("utf-8"))
CLAUSES = set(re.findall(r"^(\d+\.\d+) ", PAGE, re.MULTILINE))
LEDGER = VECTORS["ledger"]
ENTRIES = [each.encode() for each in LEDGER["entries"]]
LAB = json.loads(VECTORS["exchange"][2])["signatures"][0]["keyid"]


def _flat(lists: list[Any]) -> list[Any]:
    return [each for part in lists for each in part]


def _bytes(hexes: list[str]) -> list[bytes]:
    return [bytes.fromhex(each) for each in hexes]


def test_the_bounds_on_the_page_are_those_of_the_records() -> None:
    assert current(PAGE) == PAGE, "run: python tests/protocol_tables.py docs/reference/protocol.md"


def test_every_clause_that_is_cited_is_there_once() -> None:
    cited = {
        clause
        for path in HERE.rglob("*.py")
        for said in re.findall(r"\(protocol ([\d., ]+)\)", path.read_text("utf-8"))
        for clause in said.replace(" ", "").split(",")
    }
    assert len(cited) > 10
    assert cited <= CLAUSES
    assert len(re.findall(r"^\d+\.\d+ ", PAGE, re.MULTILINE)) == len(CLAUSES)


def test_the_reader_knows_nothing_of_this_software() -> None:
    assert "archipel" not in re.findall(
        r"^(?:from|import) (\w+)", Path(reader.__file__).read_text(), re.M
    )


def test_statements_have_one_encoding() -> None:
    for name, kept in json.loads((HERE / "vectors" / "statements.json").read_text("utf-8")).items():
        assert reader.canonical(json.loads(kept["bytes"])).decode() == kept["bytes"], name
    odd = {"\x7f": 'ü "\\\n\x01', "a": [None, True, -5, {}]}
    assert reader.canonical(odd) == '{"a":[null,true,-5,{}],"\x7f":"ü \\"\\\\\\n\\u0001"}'.encode()


def test_what_a_node_shows_of_others_is_signed_by_them() -> None:
    kept = json.loads((HERE / "vectors" / "statements.json").read_text("utf-8"))
    joined = json.loads(kept["node.joined (newcomer)"]["bytes"])
    said = reader.presented(joined["delegation"], "delegation", "operator")
    assert (said["node"], said["lab"]) == (joined["author"], joined["lab"])
    invited = reader.presented(joined["invitation"], "invitation", "by")
    assert invited["lab"] == joined["lab"]
    with pytest.raises(InvalidSignature):
        reader.presented(joined["delegation"], "invitation", "operator")
    effort = Effort(**joined["effort"])
    bits = reader.effort_bits(joined["lab"], joined["author"], joined["effort"])
    assert bits == effort_bits(joined["lab"], joined["author"], effort)


def test_an_exchange_opens_and_fits_together() -> None:
    joined, asked, granted, answered = (reader.opened(e.encode()) for e in VECTORS["exchange"])
    assert (joined["kind"], asked["kind"]) == ("node.joined", "lease.requested")
    assert (granted["node"], granted["request_seq"]) == (asked["author"], asked["seq"])
    assert (answered["work"], answered["author"]) == (granted["work"], granted["node"])
    assert answered["answer"]["policy"] == granted["spec"]["policy"]
    assert granted["author"] == granted["lab"] == LAB


@pytest.mark.parametrize("place", range(4))
def test_a_changed_signature_or_payload_does_not_open(place: int) -> None:
    envelope = json.loads(VECTORS["exchange"][place])
    for part, field in ((envelope, "payload"), (envelope["signatures"][0], "sig")):
        kept = part[field]
        part[field] = kept[:20] + ("A" if kept[20] != "A" else "B") + kept[21:]
        with pytest.raises(InvalidSignature):
            reader.opened(reader.canonical(envelope))
        part[field] = kept


def test_the_ledger_has_the_signed_root_and_its_proofs_lead_there() -> None:
    size, root = reader.head(LEDGER["head"].encode(), LAB)
    leaves = [reader.leaf(entry) for entry in ENTRIES]
    assert (size, root) == (len(leaves), reader.root(leaves))
    for number, proof in enumerate(LEDGER["inclusion"]):
        assert reader.inclusion_root(leaves[number], number, size, _bytes(proof)) == root
    for old, shown in LEDGER["consistency"].items():
        before = bytes.fromhex(shown["root"])
        assert before == reader.root(leaves[: int(old)])
        roots = reader.consistency_roots(int(old), size, before, _bytes(shown["proof"]))
        assert roots == (before, root)
    for entry in ENTRIES:
        assert reader.canonical(json.loads(entry)) == entry
        reader.opened(reader.canonical(json.loads(entry)["record"]))


def test_payloads_parcels_and_deltas_read_as_the_page_says() -> None:
    parcel = VECTORS["parcel"]
    document, *blobs = reader.parcel(bytes.fromhex(parcel["bytes"]))
    assert (document.decode(), [each.hex() for each in blobs]) == (
        parcel["document"],
        parcel["blobs"],
    )
    tensors, labels = reader.payload(bytes.fromhex(VECTORS["prompts"]["bytes"]))
    assert tensors["tokens"] == _flat(VECTORS["prompts"]["prompts"])
    assert labels["batch"] == str(VECTORS["prompts"]["batch"])
    rollouts = VECTORS["rollouts"]
    tensors, labels = reader.payload(bytes.fromhex(rollouts["bytes"]))
    assert tensors["lengths"] == _flat(rollouts["lengths"])
    assert tensors["tokens"] == _flat(_flat(rollouts["tokens"]))
    assert labels["work"] == reader.opened(VECTORS["exchange"][3].encode())["work"]
    for delta in VECTORS["deltas"]:
        assert reader.moved(delta["old"], bytes.fromhex(delta["bytes"])) == delta["new"]


def test_a_witness_signs_what_goes_on_from_what_it_signed_last() -> None:
    known, statuses = (0, hashlib.sha256().digest()), []
    for each in SHOWN["witness"]["exchange"]:
        statuses.append(each["status"])
        if each["status"] == 400:
            continue
        old, proof, note = reader.submission(each["asked"].encode())
        if each["status"] == 404:
            continue
        size, root = reader.head(note, LAB)
        if each["status"] == 409:
            assert old != known[0]
            assert (each["told"], each["type"]) == (f"{known[0]}\n", "text/x.tlog.size")
            continue
        assert old == known[0]
        if old:
            assert reader.consistency_roots(old, size, known[1], proof) == (known[1], root)
        assert reader.cosigned_at(each["told"], note, SHOWN["witness"]["key"]) == 1_800_000_000
        with pytest.raises(InvalidSignature):
            reader.cosigned_at(
                each["told"], note.replace(b"\n", b"x\n", 1), SHOWN["witness"]["key"]
            )
        known = (size, root)
    assert statuses == [200, 200, 409, 404, 400]


def test_a_proof_file_and_a_mirrors_files_lead_to_the_signed_root() -> None:
    index, proof, note = reader.proof_file(SHOWN["proof"]["file"].encode())
    size, root = reader.head(note, LAB)
    assert index == SHOWN["proof"]["index"]
    assert reader.inclusion_root(reader.leaf(ENTRIES[index]), index, size, proof) == root
    files = SHOWN["mirror"]
    assert reader.head(files["checkpoint"].encode(), LAB) == (size, root)
    entries = reader.bundled(bytes.fromhex(files[reader.tile_path(-1, 0, size)]))
    assert entries == ENTRIES
    hashes = bytes.fromhex(files[reader.tile_path(0, 0, size)])
    leaves = [hashes[at : at + 32] for at in range(0, len(hashes), 32)]
    assert leaves == [reader.leaf(entry) for entry in entries]
    assert reader.root(leaves) == root
    for level, index, width, path in SHOWN["places"]:
        assert reader.tile_path(level, index, width) == path
    assert reader.tile_path(-1, 1234067, 256) == "tile/entries/x001/x234/067"


def test_what_a_lab_answered_once_it_answers_still_and_perhaps_more() -> None:
    """Also of what the page's table says nothing may be missing."""
    kept, now = SHOWN["lab"], answers()["lab"]
    assert now.keys() >= kept.keys()
    for path, old in kept.items():
        new = now[path]
        assert (new["status"], new["type"]) == (old["status"], old["type"]), path
        if "json" in old["type"]:
            assert _goes_on(json.loads(old["body"]), json.loads(new["body"])), path
        else:
            assert new["body"] == old["body"], path


def _goes_on(old: Any, new: Any) -> bool:
    if isinstance(old, dict):
        return all(
            key == "software" or (key in new and _goes_on(old[key], new[key])) for key in old
        )
    if isinstance(old, list):
        return len(old) == len(new) and all(map(_goes_on, old, new))
    return bool(old == new)


def test_this_software_still_writes_the_same_bytes() -> None:
    written = json.loads(json.dumps(vectors()))
    for each in ("keys", "exchange", "ledger", "prompts", "rollouts", "parcel"):
        assert written[each] == VECTORS[each], each  # deltas: another zstd may compress otherwise
    shown = json.loads(json.dumps(answers()))
    for each in ("witness", "proof", "mirror", "places"):
        assert shown[each] == SHOWN[each], each
