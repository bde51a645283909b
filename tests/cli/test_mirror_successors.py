"""Whoever mirrors a lab is told who continues it: one that the ledger names, over what was mirrored, and nobody else."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from archipel.blobs import BlobStore
from archipel.cli import mirror_successors
from archipel.cli.ledger_reader import LabUnreadable
from archipel.cli.mirror_successors import (
    ASKED_AT_ONCE,
    LOOK_EVERY_S,
    MAX_SUCCESSORS_ASKED,
    SuccessorReader,
    Successors,
    continues,
    named_in,
    succession_at,
)
from archipel.identity import Identity
from archipel.lab.lab import Lab
from archipel.lab.mirrors.keeping import Keeper
from archipel.lab.taking_over import succession_of
from archipel.ledger.location import open_log
from archipel.ledger.log import Log
from archipel.ledger.storage import LedgerError, LedgerUnavailable
from archipel.ledger.tree_head import TreeHead, sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.mirror_documents import MirrorView
from archipel.records.succession import LabSucceeded, Successor, SuccessorsNamed
from people import envelope, identity
from small_ledger import LAB, grow

HEIR, URL = identity("heir"), "http://heir.example"


class Shown:
    """The lab, out of its own rows."""

    def __init__(self, log: Log) -> None:
        self._log = log

    def head(self, did: str) -> TreeHead:
        return self._log.head

    def entries(self, size: int, start: int = 0) -> Iterator[bytes]:
        yield from self._log.read(start, size - start)


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Keeper:
    """Of a lab that names HEIR."""
    tmp_path = tmp_path_factory.mktemp("kept")
    folder = tmp_path / "first"
    grow(folder, 0, 2)
    log = open_log(folder / "ledger.sqlite", lab_key(LAB.did).name, LAB, folder / "ledger.head")

    async def say() -> None:
        lab = Lab(LAB, log, BlobStore(folder / "blobs"), lambda: 1_700_000_000_000, in_thread=False)
        seq = lab.state.sequences.get(LAB.did, 0) + 1
        named = (Successor(did=HEIR.did, address=URL), Successor(did=identity("quiet").did))
        said = SuccessorsNamed(lab=LAB.did, author=LAB.did, seq=seq, successors=named, ask=())
        await lab.submit(envelope(LAB, said))

    asyncio.run(say())
    found = Keeper(tmp_path / "mirror", LAB.did, identity("observer"))
    found.look(MirrorView(name="lab", lab=LAB.did, url="http://lab"), Shown(log), 1)
    log.close()
    return found


def taken_over(kept: Keeper, by: Identity = HEIR, head: TreeHead | None = None) -> LabSucceeded:
    found = head or kept.mirror.head
    assert found is not None
    return succession_of(by, LAB.did, found, (by.did,), "")


def signed(size: int, root: bytes = bytes(32)) -> TreeHead:
    return sign_tree_head(LAB, lab_key(LAB.did).name, size, root)


def test_a_named_successor_over_what_is_mirrored_continues_it_and_nobody_else(
    kept: Keeper,
) -> None:
    assert [(each.did, each.address) for each in named_in(kept)] == [(HEIR.did, URL)]
    assert continues(kept, taken_over(kept))
    assert continues(kept, taken_over(kept, head=signed(99))), "it had more"
    assert continues(kept, taken_over(kept, identity("quiet"))), "named without an address"
    assert not continues(kept, taken_over(kept, identity("stranger")))
    assert not continues(kept, taken_over(kept, head=signed(2))), "another history"
    other = taken_over(kept).model_copy(update={"predecessor": identity("another lab").did})
    assert not continues(kept, other)
    assert not continues(kept, taken_over(kept).model_copy(update={"size": 2}))
    same_length = signed(kept.mirror.size)
    assert not continues(kept, taken_over(kept, head=same_length)), "another history, as long"


def test_a_named_successor_of_another_lab_does_not_continue_this_one(kept: Keeper) -> None:
    lab = identity("another lab")
    head = sign_tree_head(lab, lab_key(lab.did).name, 99, bytes(32))
    assert not continues(kept, succession_of(HEIR, lab.did, head, (HEIR.did,), ""))


def test_whom_the_ledger_does_not_name_is_not_told_of(kept: Keeper) -> None:
    stranger = taken_over(kept, identity("stranger"))
    assert Successors(lambda url: stranger).look(kept, 0.0) == ""


def test_an_address_is_asked_once_whoever_names_it_and_the_lab_itself_never(
    kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    charter = (
        Successor(did=identity("second").did, address=URL),
        Successor(did=identity("third").did, address="http://third.example"),
        Successor(did=LAB.did, address="http://lab.example"),
    )
    opened = SimpleNamespace(pace=SimpleNamespace(charter=SimpleNamespace(successors=charter)))
    plain = SimpleNamespace(pace=SimpleNamespace(charter=None))
    state = SimpleNamespace(
        lab=LAB.did,
        successors=kept.state.successors,
        live=("a", "b"),
        runs={"a": SimpleNamespace(opened=plain), "b": SimpleNamespace(opened=opened)},
    )
    monkeypatch.setattr(Keeper, "state", state)
    assert [each.address for each in named_in(kept)] == [URL, "http://third.example"]


def test_a_mirror_that_is_damaged_names_nobody(
    kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    def damaged(number: int) -> bytes:
        raise LedgerUnavailable("an entry does not have its hash")

    monkeypatch.setattr(kept.mirror, "entry", damaged)
    assert list(named_in(kept)) == []


def test_it_is_said_in_a_sentence_with_what_to_type_and_asked_no_more_often_than_nodes_do(
    kept: Keeper,
) -> None:
    asked: list[str] = []

    def ask(url: str) -> LabSucceeded | None:
        asked.append(url)
        if len(asked) == 1:
            raise LedgerUnavailable("no answer")
        return None if len(asked) == 2 else taken_over(kept)

    found = Successors(ask)
    assert [found.look(kept, now_s) for now_s in (0.0, LOOK_EVERY_S - 1)] == ["", ""]
    assert asked == [URL]
    assert found.look(kept, LOOK_EVERY_S) == ""
    said = found.look(kept, 2 * LOOK_EVERY_S)
    assert said.startswith(f"{HEIR.did} continues this ledger from {kept.mirror.size} entries on")
    assert f"--mirror {URL}" in said
    assert (found.look(kept, 9 * LOOK_EVERY_S), len(asked)) == (said, 3)


@pytest.mark.parametrize("where", ["127.0.0.1:9", "[::1]:9", "localhost:9", "169.254.169.254"])
def test_a_lab_elsewhere_leads_nobody_to_their_own_machine_or_its_link(where: str) -> None:
    with pytest.raises(LabUnreadable, match="is not asked: "):
        succession_at(f"http://{where}", "https://lab.example")


def test_a_lab_on_this_machine_may_lead_to_another_that_is_here() -> None:
    with pytest.raises(LedgerError) as caught:
        succession_at("http://127.0.0.1:9", "http://127.0.0.1:8440")
    assert "is not asked" not in str(caught.value)


def test_all_that_drip_in_one_look_keep_a_mirror_for_less_than_the_next() -> None:
    assert ASKED_AT_ONCE * SuccessorReader.LIMIT_S <= LOOK_EVERY_S / 4


def test_of_many_successors_few_are_asked_in_one_look_and_all_in_turn(
    kept: Keeper, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever drips keeps a mirror from its next look as often as it is asked."""
    many = [Successor(did=HEIR.did, address=f"http://heir{n}.example") for n in range(40)]
    monkeypatch.setattr(mirror_successors, "named_in", lambda keeper: iter(many))
    asked: list[str] = []
    found = Successors(lambda url: asked.append(url))
    for look in range(-(-MAX_SUCCESSORS_ASKED // ASKED_AT_ONCE)):
        assert found.look(kept, look * LOOK_EVERY_S) == ""
        assert len(asked) == (look + 1) * ASKED_AT_ONCE
    assert {*asked} == {each.address for each in many[:MAX_SUCCESSORS_ASKED]}
