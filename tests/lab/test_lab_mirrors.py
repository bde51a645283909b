"""Mirrors of other labs: what a lab did is kept and shown, whatever it shows next; nothing else is believed."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore, StorageFull
from archipel.identity import Identity
from archipel.lab.garbage import needed
from archipel.lab.mirrors import seen
from archipel.lab.mirrors.blobs import KeptBlobs, NotNow, NotThere
from archipel.lab.mirrors.comparing import MAX_FILES, Elsewhere, compared
from archipel.lab.mirrors.cosigned import MAX_COSIGNERS, STALE_S, Cosigned, witness_name
from archipel.lab.mirrors.keeping import EVIDENCE, LEDGER, Keeper
from archipel.lab.mirrors.room import GIB, SPARE_BYTES, Room
from archipel.lab.mirrors.seen_files import keep_seen, mirrors_in
from archipel.lab.refusals import Busy, Malformed
from archipel.ledger.cosignature import cosigned, cosigned_at, witness_key
from archipel.ledger.evidence import (
    FORK,
    ROLLBACK,
    BadEvidence,
    Evidence,
    read_evidence,
    written,
)
from archipel.ledger.merkle import consistency_proof, leaf_hash, nodes_from_leaves, root_of
from archipel.ledger.mirror import MAX_WITNESSES, Mirror
from archipel.ledger.signed_note import open_note
from archipel.ledger.storage import LedgerCorrupt, LedgerError, LedgerUnavailable
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.fields import BlobRef
from archipel.records.mirror_documents import MAX_FAULTS, MirrorFault, MirrorView, is_name
from people import identity

LAB, OBSERVER = identity("lab"), identity("observer")
KEY = lab_key(LAB.did)
URL = "http://lab.example"


@pytest.fixture(scope="module")
def entries() -> list[bytes]:
    golden = json.loads((Path(__file__).parents[1] / "vectors" / "ledger-12.json").read_text())
    return [each.encode() for each in golden["entries"][:40]]


@dataclass
class Showing:
    """A lab that shows these entries under its own signed head."""

    shown: list[bytes]

    def head(self, did: str) -> TreeHead:
        assert did == LAB.did
        return sign_tree_head(LAB, KEY.name, len(self.shown), root_of(self.shown))

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        yield from self.shown[start:size]


def keeper(folder: Path) -> Keeper:
    return Keeper(folder, LAB.did, OBSERVER)


def fresh() -> MirrorView:
    return MirrorView(name="lab", lab=LAB.did, url=URL)


def forked(entries: list[bytes]) -> list[bytes]:
    return [*entries[:6], *entries[7:]]


def test_what_a_lab_shows_is_kept_folded_and_signed_as_it_grows(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept, view = keeper(tmp_path), fresh()
    for size in (5, 5, len(entries)):
        view = kept.look(view, Showing(entries[:size]), size)
        assert (view.entries, view.folded, view.standing) == (size, size, "followed")
        note, key = kept.cosign(1_800_000_000)
        assert cosigned_at(note.encode(), witness_key(key.split("+")[0], OBSERVER.public_key))
        assert note.split("\n")[1] == str(size)
    assert view.head_ms == len(entries)
    again = keeper(tmp_path)  # after a kill
    assert again.look(view, Showing(entries), 99).folded == len(entries)
    assert Mirror(tmp_path / LEDGER, KEY).size == len(entries)


@pytest.mark.parametrize("grows", [-3, 0, 1])
def test_a_second_history_is_kept_as_evidence_and_never_forgotten(
    tmp_path: Path, entries: list[bytes], grows: int
) -> None:
    """It is smaller than what was shown before, as large, or larger."""
    first, second = entries[:12], forked(entries)[: 12 + grows]
    kept = keeper(tmp_path)
    view = kept.look(fresh(), Showing(first), 1)
    view = kept.look(view, Showing(second), 2)
    assert (view.standing, view.entries) == ("forked", 12)
    (fault,) = view.faults
    found = read_evidence((tmp_path / EVIDENCE / str(fault.evidence)).read_bytes())
    assert found.evidence.kind == FORK
    assert found.evidence.earlier == Showing(first).head(LAB.did).note
    assert found.evidence.later == Showing(second).head(LAB.did).note
    view = kept.look(view, Showing([*second, entries[0]]), 3)
    assert len(view.faults) == len(list((tmp_path / EVIDENCE).iterdir())) == 1
    view = kept.look(view, Showing(entries[:13]), 4)  # its first face again
    assert (view.standing, view.entries) == ("forked", 13)


def test_an_older_ledger_is_a_rollback_until_the_lab_has_caught_up(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path)
    view = kept.look(fresh(), Showing(entries[:12]), 1)
    for now_ms in (2, 3):
        view = kept.look(view, Showing(entries[:7]), now_ms)
        assert (view.standing, view.entries, len(view.faults)) == ("gone-back", 12, 1)
    found = read_evidence((tmp_path / EVIDENCE / str(view.faults[0].evidence)).read_bytes())
    assert (found.evidence.kind, found.smaller.size, found.larger.size) == (ROLLBACK, 7, 12)
    view = kept.look(view, Showing(entries[:13]), 4)
    assert (view.standing, view.faults[0].over_ms) == ("followed", 4)


def test_an_entry_that_breaks_a_rule_is_named_and_its_history_not_signed(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path)
    view = kept.look(fresh(), Showing([*entries[:6], b"no entry", *entries[6:]]), 1)
    assert (view.standing, view.faults[0].entry, view.folded) == ("broken", 6, 6)
    assert view.entries == len(entries) + 1
    assert kept.cosign(5)[0] == ""
    assert kept.look(view, Showing([*entries[:6], b"no entry", *entries[6:]]), 2) .faults == view.faults  # fmt: skip


class Garbled(Showing):
    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        yield from (each[::-1] for each in super().entries(size, start))


def test_bytes_that_its_signature_does_not_cover_are_no_fault_of_the_lab(
    tmp_path: Path, entries: list[bytes]
) -> None:
    """Whoever stands between can send anything; only what is signed is held against a lab."""
    kept = keeper(tmp_path)
    with pytest.raises(LedgerCorrupt):
        kept.look(fresh(), Garbled(entries[:5]), 1)
    view = kept.look(fresh(), Showing(entries[:5]), 1)
    with pytest.raises(LedgerUnavailable, match="do not lead to the head"):
        kept.look(view, Garbled(entries), 2)
    assert not (tmp_path / EVIDENCE).exists()
    assert kept.look(view, Showing(entries), 3).entries == len(entries)


class GarbledOnce(Showing):
    """Not the same bytes for the same entries: only those asked for from the middle on are others."""

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        yield from (each[::-1] if start else each for each in super().entries(size, start))


def test_a_history_that_holds_when_asked_for_as_a_whole_is_no_fault(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path)
    view = kept.look(fresh(), Showing(entries[:5]), 1)
    view = kept.look(view, GarbledOnce(entries), 2)
    assert (view.faults, view.entries, view.standing) == ((), 5, "followed")
    assert kept.look(view, Showing(entries), 3).entries == len(entries)


def test_damage_on_the_own_disk_is_not_held_against_the_lab(
    tmp_path: Path, entries: list[bytes]
) -> None:
    view = keeper(tmp_path).look(fresh(), Showing(entries), 1)
    bundle = next((tmp_path / LEDGER / "tile" / "entries").rglob("*.p/*"))
    data = bytearray(bundle.read_bytes())
    data[len(data) // 2] ^= 1
    bundle.write_bytes(data)
    with pytest.raises(OSError, match="own disk"):
        keeper(tmp_path).look(view, Showing(entries), 2)


def elsewhere(folder: Path, view: MirrorView) -> Elsewhere:
    """Another host that has this mirror."""

    def read(path: str, most: int) -> bytes:
        place = folder / (path[1:] if path.startswith("/evidence/") else f"{LEDGER}{path}")
        try:
            return place.read_bytes()[:most]
        except OSError as error:
            raise LedgerError(str(error)) from None

    return Elsewhere("http://other.example", view, read)


@pytest.mark.parametrize(("here", "there"), [(12, 9), (9, 12), (10, 10)])
def test_a_lab_with_two_faces_is_found_by_whoever_compares(
    tmp_path: Path, entries: list[bytes], here: int, there: int
) -> None:
    one, other = keeper(tmp_path / "one"), keeper(tmp_path / "other")
    mine = one.look(fresh(), Showing(entries[:here]), 1)
    theirs = other.look(fresh(), Showing(forked(entries)[:there]), 1)
    view = compared(one, mine, elsewhere(tmp_path / "other", theirs), 2)
    assert view.standing == "forked"
    found = read_evidence((tmp_path / "one" / EVIDENCE / str(view.faults[0].evidence)).read_bytes())
    assert {found.smaller.size, found.larger.size} == {here, there}
    third = keeper(tmp_path / "third")  # which saw but one face, and hears of the other
    heard = third.look(fresh(), Showing(entries[:here]), 3)
    silent = elsewhere(tmp_path / "one", view.model_copy(update={"head": ""}))
    heard = compared(third, heard, silent, 4)
    assert (heard.standing, heard.faults[0].where) == ("forked", "http://other.example")
    assert read_evidence((tmp_path / "third" / EVIDENCE / str(heard.faults[0].evidence)).read_bytes())  # fmt: skip


def test_what_a_lab_signed_elsewhere_is_taken_in_and_less_here_is_then_a_rollback(
    tmp_path: Path, entries: list[bytes]
) -> None:
    """So a mirror catches up from another one when its lab is gone."""
    one, other = keeper(tmp_path / "one"), keeper(tmp_path / "other")
    view = one.look(fresh(), Showing(entries[:6]), 1)
    theirs = other.look(fresh(), Showing(entries[:12]), 1)
    signed, _ = other.cosign(5)
    theirs = theirs.model_copy(update={"cosigned": signed})
    view = compared(one, view, elsewhere(tmp_path / "other", theirs), 2)
    assert (view.standing, view.entries, view.folded) == ("followed", 12, 12)
    (kept,) = (tmp_path / "one" / LEDGER / "witnesses").iterdir()
    assert kept.read_text() == signed
    assert one.look(view, Showing(entries[:13]), 3).standing == "followed"
    assert one.look(view, Showing(entries[:6]), 4).standing == "gone-back"


def of(lab: Identity, kind: str = FORK, sizes: tuple[int, int] = (5, 5)) -> bytes:
    """Sound evidence against this lab."""
    entries = [b"%d" % number for number in range(9)]
    last = [b"other"] if kind == FORK else []
    heads = [
        sign_tree_head(lab, lab_key(lab.did).name, len(each), root_of(each))
        for each in (entries[: sizes[0]], [*entries[: sizes[1] - len(last)], *last])
    ]
    nodes = nodes_from_leaves([leaf_hash(each) for each in entries[: sizes[0]]])
    proof = [] if kind == FORK else consistency_proof(sizes[1], sizes[0], nodes)
    said = Evidence(kind, lab.did, heads[0].note, heads[1].note, b"", tuple(proof), 1, 2, "x")
    return written(said, OBSERVER)


def test_what_another_host_says_is_believed_only_as_far_as_it_is_signed(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path / "one")
    view = kept.look(fresh(), Showing(entries[:6]), 1)
    forged = sign_tree_head(OBSERVER, lab_key(OBSERVER.did).name, 6, bytes(32)).note.decode()
    fault = MirrorFault(kind="fork", at_ms=1, words="it lies", evidence="none.evidence")
    lying = fresh().model_copy(update={"head": forged, "faults": (fault,)})
    (tmp_path / EVIDENCE).mkdir()
    (tmp_path / EVIDENCE / "none.evidence").write_bytes(b"{}")
    with pytest.raises(BadEvidence):
        compared(kept, view, elsewhere(tmp_path, lying), 2)
    for wrong in (of(OBSERVER), of(LAB, ROLLBACK, (8, 4))):
        (tmp_path / EVIDENCE / "none.evidence").write_bytes(wrong)
        with pytest.raises(BadEvidence, match="another lab, or of no fork"):
            compared(kept, view, elsewhere(tmp_path, lying), 2)
    quiet = fresh().model_copy(update={"head": forged})
    assert compared(kept, view, elsewhere(tmp_path, quiet), 2) == view


def changing(place: Elsewhere, name: str, change: Callable[[bytes], bytes]) -> Elsewhere:
    """The same host, whose files of this name are others."""

    def read(path: str, most: int) -> bytes:
        data = place.read(path, most)
        return change(data) if name in path else data

    return replace(place, read=read)


def test_tiles_and_bundles_of_another_host_that_are_none_change_nothing(
    tmp_path: Path, entries: list[bytes]
) -> None:
    one, other = keeper(tmp_path / "one"), keeper(tmp_path / "other")
    view = one.look(fresh(), Showing(entries[:6]), 1)
    place = elsewhere(tmp_path / "other", other.look(fresh(), Showing(entries[:12]), 1))
    for name, change, why in (
        ("/tile/0/", lambda data: data[:-1], "a tile that is none"),
        ("/tile/entries/", lambda data: data + b"x", "a bundle that is none"),
        ("/tile/entries/", lambda data: data[:-1] + b"!", "lead to"),
    ):
        with pytest.raises(LedgerError, match=why):
            compared(one, view, changing(place, name, change), 2)
    assert one.mirror.size == 6
    assert not (tmp_path / "one" / EVIDENCE).exists()
    assert compared(one, view, place, 3).entries == 12
    third = keeper(tmp_path / "third")  # which has not heard of the lab itself
    assert compared(third, fresh(), place, 4).folded == 12


@pytest.mark.parametrize("size", [0, 6])
def test_a_witness_s_head_is_kept_with_what_it_leads_to_if_the_lab_signed_it_too(
    tmp_path: Path, entries: list[bytes], size: int
) -> None:
    other = keeper(tmp_path / "other")
    theirs = other.look(fresh(), Showing(entries[:12]), 1)
    signed, _ = other.cosign(5)
    head = sign_tree_head(OBSERVER, lab_key(OBSERVER.did).name, 12, root_of(entries[:12]))
    text = open_note(head.note, lab_key(OBSERVER.did))
    not_the_labs = head.note + cosigned(text, witness_name(OBSERVER.did), OBSERVER, 5).encode()
    unsworn = Showing(entries[:12]).head(LAB.did).note
    forged = signed[:-6] + "AAAA=\n"
    for name, note in (("a", not_the_labs), ("b", unsworn), ("c", forged.encode()), ("d", signed.encode())):  # fmt: skip
        kept = keeper(tmp_path / name)
        view = kept.look(fresh(), Showing(entries[:size]), 1) if size else fresh()
        told = theirs.model_copy(update={"cosigned": note.decode()})
        view = compared(kept, view, elsewhere(tmp_path / "other", told), 2)
        assert view.entries == 12
        found = [each.read_bytes() for each in (tmp_path / name / LEDGER).glob("witnesses/*")]
        assert found == ([signed.encode()] if name == "d" else [])


def test_forks_that_are_known_are_not_asked_for_again_and_few_at_a_time(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path / "one")
    view = kept.look(fresh(), Showing(entries[:6]), 1)
    names = [f"{number}.evidence" for number in range(MAX_FILES + 2)]
    faults = tuple(MirrorFault(kind="fork", at_ms=1, words="", where=name, evidence=name) for name in names)  # fmt: skip
    (tmp_path / EVIDENCE).mkdir()
    for number, name in enumerate(names):
        (tmp_path / EVIDENCE / name).write_bytes(of(LAB, sizes=(number + 1, number + 1)))
    asked = list[str]()
    place = elsewhere(tmp_path, fresh().model_copy(update={"faults": faults}))
    place = changing(place, EVIDENCE, lambda data: asked.append("") or data)  # type: ignore[func-returns-value]  # None
    view = compared(kept, view, place, 2)
    assert len(asked) == MAX_FILES
    assert [each.where for each in view.faults] == ["http://other.example"], "one of a place"
    known = [each.evidence for each in view.faults]
    assert [each.name for each in (tmp_path / "one" / EVIDENCE).iterdir()] == known
    told = faults[0].model_copy(update={"evidence": known[0]})
    again = replace(place, view=fresh().model_copy(update={"faults": (told,)}))
    assert compared(kept, view, again, 3) is view
    assert len(asked) == MAX_FILES


def test_silence_counts_from_the_first_question_after_the_last_answer() -> None:
    view = seen.answered(fresh(), 10)
    for now_ms, stands in ((20, "followed"), (119, "followed"), (120, "silent"), (500, "silent")):
        view = seen.unanswered(view, now_ms, "connection refused", 100)
        assert (view.standing, view.since_ms) == (stands, 20)
    view = seen.answered(view, 501)
    assert (view.standing, view.since_ms, view.reason) == ("followed", 0, "")


def test_faults_are_bounded_and_the_first_of_each_kind_stays() -> None:
    view = fresh()
    for number in range(100):
        fault = MirrorFault(kind="fork", at_ms=number, words="", where=f"w{number}", evidence=f"e{number}")  # fmt: skip
        view = seen.faulty(view, fault)
        view = seen.faulty(view, MirrorFault(kind="broken", at_ms=number, words="", entry=number))
    assert len(view.faults) == MAX_FAULTS
    assert {(each.kind, each.at_ms) for each in view.faults} >= {("fork", 0), ("broken", 0), ("fork", 99)}  # fmt: skip


def test_blobs_are_fetched_swept_and_kept_within_their_quota(
    tmp_path: Path, entries: list[bytes]
) -> None:
    kept = keeper(tmp_path)
    kept.look(fresh(), Showing(entries), 1)
    state, asked = kept.state, list[str]()
    live = needed(state)
    assert len(live) > 2

    def fetch(blob: BlobRef, store: BlobStore) -> None:
        asked.append(blob.digest)
        if len(asked) == 1:
            raise NotThere
        if len(asked) <= 3:
            raise StorageFull("no room")
        raise NotNow

    blobs = KeptBlobs(tmp_path / "blobs", 10**6)
    said = blobs.keep_up(state, fetch, 1e9, lambda number, wanted: True)
    assert (said.wanted, said.kept, said.gone, said.unfit) == (len(live), 0, 1, 1)
    assert len(asked) == 6, (
        "one that does not fit is tried once more; after three that do not come it ends"
    )
    said = blobs.keep_up(state, fetch, 1e9, lambda number, wanted: False)
    assert len(asked) == 6, "no time is left"
    stray = BlobStore(tmp_path / "blobs").put_bytes(b"needed by nobody")
    KeptBlobs(tmp_path / "blobs", 10**6).keep_up(state, fetch, 4e9, lambda number, wanted: False)
    assert not BlobStore(tmp_path / "blobs").exists(stray)


def signed(number: int, at_s: int, size: int = 3) -> bytes:
    witness = identity(f"witness-{number}")
    head = sign_tree_head(LAB, KEY.name, size, bytes(32))
    text = "\n".join(head.note.decode().split("\n")[:3]) + "\n"
    name = witness_name(witness.did)
    return head.note + cosigned(text, name, witness, at_s).encode()


def test_strangers_signatures_are_shown_within_bounds_and_push_nobody_out() -> None:
    found = Cosigned(KEY)
    for number in range(MAX_COSIGNERS):
        found.take(signed(number, 1000 + number), 2000)
    with pytest.raises(Busy):
        found.take(signed(99, 2000), 2000)
    found.take(signed(5, 1500, size=7), 2000)
    assert (found.shown()[0].size, len(found.shown())) == (7, MAX_COSIGNERS)
    found.take(signed(5, 1400, size=2), 2000)
    assert found.shown()[0].size == 7
    found.take(signed(99, 1000 + STALE_S), 1001 + STALE_S)
    assert len(found.shown()) == MAX_COSIGNERS
    for bad in (b"", signed(1, 9000), sign_tree_head(LAB, KEY.name, 3, bytes(32)).note,
                signed(1, 1).replace(b"\n3\n", b"\n4\n"), b"x" * 5000):  # fmt: skip
        with pytest.raises(Malformed):
            found.take(bad, 2000)


def test_what_was_seen_is_read_back_and_damage_is_passed_over(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        keep_seen(tmp_path / name, fresh().model_copy(update={"name": name}))
    (tmp_path / "b" / "seen.json").write_bytes(b"{")
    assert [view.name for view in mirrors_in(tmp_path)] == ["a"]
    assert mirrors_in(tmp_path / "none") == []
    assert not any(map(is_name, ("", ".", "..", "a/b", ".hidden", "a\n", "x" * 81)))


@pytest.mark.parametrize(
    ("room", "said"),
    [
        ({"most": 400_000}, "more than 400000 bytes"),
        ({"free": lambda _: (100 * GIB, SPARE_BYTES - 1)}, "are not for mirrors"),
        ({"free": lambda _: (10_000, 999)}, "1000 are not for mirrors"),
    ],
)
def test_a_ledger_without_end_leaves_its_host_the_disk_as_it_was(
    tmp_path: Path, entries: list[bytes], room: dict[str, Any], said: str
) -> None:
    """Not one tile stays of a growth that did not end, whatever came of it; and what stood before goes on."""
    kept = keeper(tmp_path)
    view = kept.look(fresh(), Showing(entries), 1)
    before = {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()}
    bounded = Keeper(tmp_path, LAB.did, OBSERVER, Room(tmp_path / LEDGER, **room))
    endless = Showing([*entries, *[bytes(1000)] * 600])  # a bundle is written before it is too much
    with pytest.raises(LedgerUnavailable, match=said):
        bounded.look(view, endless, 2)
    assert {each: each.read_bytes() for each in tmp_path.rglob("*") if each.is_file()} == before


def test_room_counts_what_is_there_already_and_what_came(
    tmp_path: Path, entries: list[bytes]
) -> None:
    size = sum(map(len, entries))
    room = Room(tmp_path / LEDGER, most=size + 100)
    kept = Keeper(tmp_path, LAB.did, OBSERVER, room)
    view = kept.look(fresh(), Showing(entries[:20]), 1)
    assert kept.look(view, Showing(entries), 2).entries == len(entries)
    for each in (room, Room(tmp_path / LEDGER, most=size + 100)):
        with pytest.raises(LedgerUnavailable, match="may take here"):
            list(each.passed([bytes(101)]))


def test_witnesses_without_end_leave_a_bounded_number_of_files_and_the_largest_head(
    tmp_path: Path,
) -> None:
    """Keys cost nothing: a place that mirrors the same lab can show another witness at every look."""
    mirror, sizes = Mirror(tmp_path, KEY), [999, *range(1, MAX_WITNESSES + 20)]
    mirror.named = frozenset({"ours"})

    def signs(name: str, size: int) -> set[str]:
        mirror.keep_cosigned(name, sign_tree_head(LAB, KEY.name, size, bytes(32)).note)
        return {path.name for path in (tmp_path / "witnesses").iterdir()}

    for number, size in enumerate(sizes):
        kept = signs(f"witness-{number}", size)
    first = {f"witness-{number}.note" for number in range(MAX_WITNESSES)}
    assert kept == first, "whoever was there stays, whatever strangers sign besides"
    assert "witness-5.note" in signs("witness-5", 7)
    kept = signs("ours", 3)
    assert "ours.note" in kept
    kept |= signs("late", 2000)
    assert signs("later", 2001) >= {"ours.note", "later.note", "witness-0.note", "witness-5.note"}
    assert len(signs("latest", 1)) == MAX_WITNESSES
