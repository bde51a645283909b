"""Mirrors over HTTP: a mirror is handed out as files and nothing beside it; witnesses hand signatures in."""

from collections.abc import Iterator

import pytest

from archipel.blobs import BlobStore
from archipel.lab.mirrors.cosigned import witness_name
from archipel.lab.mirrors.keeping import BLOBS, EVIDENCE, LEDGER
from archipel.lab.mirrors.seen_files import keep_seen
from archipel.ledger.cosignature import cosigned
from archipel.ledger.merkle import root_of
from archipel.ledger.mirror import Mirror
from archipel.ledger.signed_note import open_note
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.mirror_documents import MirrorFault, MirrorView
from door import Door
from people import identity
from world import World

OTHER = identity("other-lab")
ENTRIES = [b"entry %d" % number for number in range(300)]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Door, World]]:
    home = tmp_path_factory.mktemp("home")
    folder = home / "mirrors" / "other"
    folder.mkdir(parents=True)
    (home / "lab.key").write_text("secret")
    (home / LEDGER).mkdir()
    (home / LEDGER / "checkpoint").write_text("secret")
    key = lab_key(OTHER.did)
    head = sign_tree_head(OTHER, key.name, len(ENTRIES), root_of(ENTRIES))
    Mirror(folder / LEDGER, key).extend(ENTRIES, head)
    BlobStore(folder / BLOBS).put_bytes(b"0123456789")
    (folder / EVIDENCE).mkdir()
    (folder / EVIDENCE / "x.evidence").write_bytes(b"shown")
    (folder / LEDGER / "witnesses").mkdir()
    (folder / LEDGER / "witnesses" / "w.example.note").write_bytes(b"signed")
    (folder / LEDGER / "witnesses" / ".hidden.note").write_bytes(b"secret")
    (folder / LEDGER / "witnesses" / "w.key").write_bytes(b"secret")
    fault = MirrorFault(kind="rollback", at_ms=1, words="went back")
    view = MirrorView(name="other", lab=OTHER.did, url="http://o", entries=300, since_ms=1, faults=(fault,))  # fmt: skip
    keep_seen(folder, view)
    world = World(ledger_on_disk=False)
    found = Door(world, home / "mirrors")
    yield found, world
    found.close()
    world.close()


@pytest.fixture
def door(opened: tuple[Door, World]) -> Door:
    return opened[0]


def test_a_mirror_is_handed_out_as_files(door: Door) -> None:
    assert door.get("/mirrors").json()[0]["entries"] == 300
    for path in ("tile/entries/000", "tile/entries/001.p/44", "tile/0/000", "tile/1/000.p/1"):
        assert door.get(f"/mirrors/other/{path}").status_code == 200, path
    assert door.get("/mirrors/other/checkpoint").text.split("\n")[1] == "300"
    assert door.get("/mirrors/other/evidence/x.evidence").content == b"shown"
    assert door.get("/mirrors/other/witnesses").text == "w.example.note\n"
    assert door.get("/mirrors/other/witnesses/w.example.note").content == b"signed"
    assert door.get("/mirrors/none/witnesses").text == ""


def test_a_blob_in_a_mirror_is_resumed(door: Door) -> None:
    digest = "sha256:84d89877f0d4041efb6bf91a16f0248f2fd573e6af05c19f96bedb9f882f7882"
    path = f"/mirrors/other/blobs/{digest}"
    assert door.get(path).content == b"0123456789"
    part = door.request("GET", path, headers={"Range": "bytes=4-"})
    assert (part.status_code, part.content) == (206, b"456789")
    assert door.request("GET", path, headers={"Range": "bytes=10-"}).status_code == 416


@pytest.mark.parametrize("path", [
    "other/seen.json", "other/ledger/checkpoint", "other/tile/0/../../seen.json", "other/evidence/../seen.json",
    "other/evidence/.x", "other/signed/lock", "../lab.key", "%2e%2e/checkpoint", "%2e%2e/lab.key", "other/%2e%2e/%2e%2e/lab.key",
    "other/evidence/%2e%2e%2fseen.json", "other/blobs/..", "other/blobs/sha256:00", "none/checkpoint",
    "other/witnesses/.hidden.note", "other/witnesses/w.key", "other/witnesses/../checkpoint.note", "other/witnesses/%2e%2e%2fw.note",
    "other/witnesses/", "other//checkpoint", "other/tile/0/001", "other/", ".hidden/checkpoint", "other/blobs/partial",
])  # fmt: skip
def test_nothing_beside_a_mirror_s_files_is_reached(door: Door, path: str) -> None:
    answer = door.get(f"/mirrors/{path}")
    assert answer.status_code in (404, 307)
    assert b"secret" not in answer.content


def test_metrics_say_how_mirrored_labs_stand(door: Door) -> None:
    text = door.get("/metrics").text
    assert 'archipel_mirror_fault{kind="rollback",mirror="other"} 1.0' in text
    assert 'archipel_mirror_entries{mirror="other"} 300.0' in text


def test_a_witness_s_signature_is_taken_in_and_shown(opened: tuple[Door, World]) -> None:
    door, log, witness = opened[0], opened[1].lab.log, identity("witness")
    name = witness_name(witness.did)
    line = cosigned(open_note(log.head.note, log.key), name, witness, 1_700_000_000)
    note = log.head.note + line.encode()
    path = "/ledger/cosignatures"
    assert door.request("PUT", path, content=note).status_code == 204
    (shown,) = door.get("/ledger/witnesses").json()
    assert (shown["size"], shown["note"]) == (log.size, note.decode())
    for bad, status in ((b"", 400), (log.head.note, 400), (note + b"x" * 9000, 413)):
        assert door.request("PUT", path, content=bad).status_code == status
