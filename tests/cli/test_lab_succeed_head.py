"""Which head of a mirror is continued: the newest, or the newest that is whole; never silently below what a witness signed."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore
from archipel.blobs.layout import hexadecimal
from archipel.cli.doors import Mendable
from archipel.cli.lab_succeed_head import left_out, left_out_words, mirrored
from archipel.lab.garbage import needed
from archipel.lab.mirrors.blobs import KeptBlobs, NotNow
from archipel.lab.mirrors.complete import COMPLETE
from archipel.lab.mirrors.keeping import BLOBS, LEDGER, Keeper
from archipel.lab.mirrors.seen_files import keep_seen
from archipel.ledger.merkle import root_of
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.fields import BlobRef
from archipel.records.mirror_documents import MirrorView
from people import identity

LAB, OBSERVER = identity("lab"), identity("observer")
KEY = lab_key(LAB.did)
WHOLE, ALL = 47, 52


class Showing:
    """A lab that shows these entries."""

    def __init__(self, entries: list[bytes]) -> None:
        self._entries = entries

    def head(self, did: str) -> TreeHead:
        return sign_tree_head(LAB, KEY.name, len(self._entries), root_of(self._entries))

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        yield from self._entries[start:size]


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    golden = json.loads((Path(__file__).parents[1] / "vectors" / "ledger-12.json").read_text())
    return [each.encode() for each in golden["entries"][:ALL]]


@pytest.fixture(autouse=True)
def any_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody has the bytes whose digests stand in the golden ledger: whatever lies under a name is taken for them."""
    monkeypatch.setattr(BlobStore, "_require_sound", lambda self, digest: None)


def lay(folder: Path, digests: set[str]) -> None:
    """Something by these names."""
    for name in map(hexadecimal, digests):
        (folder / name[:2]).mkdir(parents=True, exist_ok=True)
        (folder / name[:2] / name[2:]).write_bytes(b"x")


def nothing_comes(blob: BlobRef, store: BlobStore) -> None:
    raise NotNow


@pytest.fixture
def lagging(tmp_path: Path, entries: list[bytes]) -> tuple[Path, Keeper]:
    """A mirror of all entries, with the blobs of half of them."""
    kept = Keeper(tmp_path, LAB.did, OBSERVER)
    view = MirrorView(name="lab", lab=LAB.did, url="http://lab.example")
    view = kept.look(view, Showing(entries[:WHOLE]), 1)
    lay(tmp_path / BLOBS, needed(kept.state))
    assert KeptBlobs(tmp_path / BLOBS, 10**6).is_whole(kept.state)
    kept.complete.reached(kept.mirror.head, kept.state)
    view = kept.look(view, Showing(entries), 2)
    _, key = kept.cosign(1_800_000_000)
    keep_seen(tmp_path, view.model_copy(update={"witness": key}))
    assert not KeptBlobs(tmp_path / BLOBS, 10**6).is_whole(kept.state)
    return tmp_path, kept


def test_a_whole_head_keeps_its_blobs_until_a_newer_one_is_whole(
    lagging: tuple[Path, Keeper], entries: list[bytes]
) -> None:
    folder, kept = lagging
    before = kept.complete.state
    assert before is not None
    assert needed(before) - needed(kept.state)
    again = Keeper(folder, LAB.did, OBSERVER)  # after a kill
    again.look(MirrorView(name="lab", lab=LAB.did, url="http://lab.example"), Showing(entries), 3)
    assert again.complete.state is not None
    assert (again.complete.state.size, again.state.size) == (WHOLE, ALL)

    def kept_up(complete: Any) -> bool:
        blobs = KeptBlobs(folder / BLOBS, 10**6)
        blobs.keep_up(again.state, nothing_comes, 4e9, lambda number, wanted: True, complete)
        return all(map(BlobStore(folder / BLOBS).exists, needed(before)))

    assert kept_up(again.complete.state)
    assert not kept_up(None)


def test_the_newest_whole_head_is_continued_and_what_that_leaves_out_is_told(
    lagging: tuple[Path, Keeper], tmp_path: Path
) -> None:
    folder, kept = lagging
    found = mirrored(folder, None, tmp_path / "none")
    assert (found.checked.head.size, len(list(found.entries()))) == (WHOLE, WHOLE)
    told = left_out(found)
    assert (told["entries"], told["newest"]) == (ALL - WHOLE, ALL)
    before, after = dict(found.state.book), dict(kept.state.book)
    for who in {*before, *after}:
        assert told["balances_micro"].get(who, 0) == after.get(who, 0) - before.get(who, 0)
    assert f"--as-far-as {ALL}" in next(left_out_words(told))
    assert mirrored(folder, ALL, tmp_path / "none").checked.head.size == ALL, "insisted on"
    assert mirrored(folder, None).checked.head.size == ALL, "blobs are not asked about"
    assert mirrored(folder, None, tmp_path / "none", ALL).checked.head.size == ALL, "agreed to"
    lay(tmp_path / "elsewhere", needed(kept.state))
    assert mirrored(folder, None, tmp_path / "elsewhere").checked.head.size == ALL
    with pytest.raises(Mendable, match=f"over {WHOLE}"):
        mirrored(folder, 7, tmp_path / "none")


def test_a_head_that_a_witness_signed_is_gone_below_only_if_the_operator_names_the_lower_one(
    lagging: tuple[Path, Keeper], tmp_path: Path
) -> None:
    folder, kept = lagging
    assert kept.mirror.head is not None
    kept.mirror.keep_cosigned("w.example", kept.mirror.head.note)
    with pytest.raises(Mendable, match=f"--as-far-as {WHOLE} to leave it out"):
        mirrored(folder, None, tmp_path / "none")
    assert mirrored(folder, WHOLE, tmp_path / "none").checked.head.size == WHOLE
    assert mirrored(folder, ALL, tmp_path / "none").checked.head.size == ALL


def test_a_whole_head_of_another_history_or_key_is_none(
    lagging: tuple[Path, Keeper], tmp_path: Path
) -> None:
    folder, _ = lagging
    for note in (sign_tree_head(LAB, KEY.name, WHOLE, bytes(32)).note, b"nonsense"):
        (folder / COMPLETE).write_bytes(note)
        assert mirrored(folder, None, tmp_path / "none").checked.head.size == ALL
    assert (folder / LEDGER).is_dir()
