"""`archipel lab succeed`: a home from a mirror alone, whole or not there; and ledgers of two keys as the other commands read them."""

import asyncio
import io
import json
import shutil
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore
from archipel.cli.archipel import run
from archipel.cli.ledger_continued import succeeding
from archipel.identity import Identity
from archipel.lab.lab import Lab
from archipel.lab.taking_over import entry_of, succession_of, take_over
from archipel.ledger.location import open_log, read_log
from archipel.ledger.mirror import Mirror
from archipel.ledger.storage import LedgerCorrupt
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from archipel.records.statements import NodesForgotten
from archipel.records.succession import MAX_SUCCESSORS, Successor, SuccessorsNamed
from people import envelope, identity
from small_ledger import LAB, grow

HEIR = identity("heir")


def typed(*words: object) -> tuple[int, dict[str, Any], str]:
    """(exit code, what it says for machines, its complaint)"""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run([*map(str, words), "--json"])
    code = int(ended.value.code or 0)
    return code, {} if code else json.loads(out.getvalue()), err.getvalue()


def named(folder: Path, *dids: str) -> None:
    """The lab of `folder` says who may continue it."""
    log = open_log(folder / "ledger.sqlite", lab_key(LAB.did).name, LAB, folder / "ledger.head")

    async def say() -> None:
        store = BlobStore(folder / "blobs")
        lab = Lab(LAB, log, store, lambda: 1_700_000_000_000, in_thread=False)
        said = SuccessorsNamed(
            lab=LAB.did,
            author=LAB.did,
            seq=lab.state.sequences.get(LAB.did, 0) + 1,
            successors=tuple(Successor(did=each) for each in dids),
            ask=(),
        )
        await lab.submit(envelope(LAB, said))

    asyncio.run(say())
    log.close()


def mirrored(ledger: Path, folder: Path) -> Path:
    log = read_log(ledger, lab_key(LAB.did))
    Mirror(folder / "ledger", log.key).extend(log.entries(), log.head)
    log.close()
    (folder / "blobs").mkdir()
    return folder


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A lab's folder, in which HEIR may say who continues it."""
    grow(tmp_path / "first", 0, 3)
    named(tmp_path / "first", HEIR.did)
    return tmp_path / "first"


def agreed(tmp_path: Path, mirror: Path, successor: str) -> Path:
    key, out = tmp_path / "heir.key", tmp_path / "agreement.json"
    if not key.exists():
        HEIR.save(key)
    words = ("--successor", successor, "--key", key, "--out", out)
    code, told, err = typed("lab", "agree", mirror, *words)
    assert code == 0, err
    assert (told["by"], told["successor"]) == (HEIR.did, successor)
    return out


def test_a_home_is_made_from_a_mirror_and_verifies_with_both_labs_heads(
    first: Path, tmp_path: Path
) -> None:
    mirror = mirrored(first / "ledger.sqlite", tmp_path / "mirror")
    home = tmp_path / "next"
    words = ("lab", "succeed", mirror, "--home", home)
    code, _, err = typed(*words, "--dry-run")
    assert (code, f"there is no {home / 'lab.key'}" in err, home.exists()) == (1, True, False)
    home.mkdir(mode=0o700)
    did = Identity.load_or_create(home / "lab.key").did
    code, _, err = typed(*words, "--dry-run")
    assert (code, f"none of {did} may continue this ledger" in err) == (1, True)
    assert [each.name for each in home.iterdir()] == ["lab.key"], "a dry run makes no key"
    code, _, err = typed(*words)
    assert code == 1
    assert "may continue this ledger" in err
    assert not (home / "ledger.sqlite").exists()
    paper = agreed(tmp_path, mirror, did)
    none = tmp_path / "none.json"
    none.write_text("{}")
    code, _, err = typed(*words, "--agreement", none)
    assert (code, f"{none} is no agreement" in err) == (1, True)
    code, told, err = typed(*words, "--agreement", paper, "--dry-run")
    assert (code, told["written"]) == (0, False), err
    assert not (home / "ledger.sqlite").exists()
    assert told["missing"] == []
    code, told, err = typed(*words, "--agreement", paper)
    assert code == 0, err
    assert (told["predecessor"], told["entries"], told["missing"]) == (LAB.did, 5, [])
    code, shown, err = typed(
        "ledger", "verify", home / "ledger.sqlite", "--head", first / "ledger.head"
    )
    assert code == 0, err
    assert (shown["lab"], shown["entries"]) == (did, 6)
    before = (home / "ledger.sqlite").read_bytes()
    assert typed(*words, "--agreement", paper)[0] == 0, "again: only blobs that were missing"
    assert (home / "ledger.sqlite").read_bytes() == before
    grow(first, 3, 1)
    newer = mirrored(first / "ledger.sqlite", tmp_path / "newer")
    code, _, err = typed(
        "lab", "succeed", newer, "--home", home, "--agreement", agreed(tmp_path, newer, did)
    )
    assert code == 1
    assert "holds the ledger of" in err
    code, _, err = typed(
        "ledger", "verify", home / "ledger.sqlite", "--head", first / "ledger.head"
    )
    assert code == 1
    assert "went on, or had signed two histories" in err, "the first lab did not let go"


def test_an_agreement_for_another_lab_or_head_is_of_no_use(first: Path, tmp_path: Path) -> None:
    mirror = mirrored(first / "ledger.sqlite", tmp_path / "mirror")
    paper = agreed(tmp_path, mirror, identity("another lab").did)
    code, _, err = typed(
        "lab", "succeed", mirror, "--home", tmp_path / "next", "--agreement", paper
    )
    assert code == 1
    assert "agreements.0" in err
    paper.write_text("{}")
    code, _, err = typed(
        "lab", "succeed", mirror, "--home", tmp_path / "next", "--agreement", paper
    )
    assert code == 1
    assert "expected a payload and a signature" in err


def test_a_mirror_that_is_shorter_than_a_cosigned_head_is_refused_unless_told(
    first: Path, tmp_path: Path
) -> None:
    mirror = mirrored(first / "ledger.sqlite", tmp_path / "mirror")
    witnesses = mirror / "ledger" / "witnesses"
    witnesses.mkdir()
    longer = sign_tree_head(LAB, lab_key(LAB.did).name, 9, bytes(32))
    (witnesses / "w.example.note").write_bytes(longer.note)
    did = Identity.load_or_create(tmp_path / "next" / "lab.key").did
    shutil.move(witnesses, tmp_path / "aside")
    words = (
        "lab",
        "succeed",
        mirror,
        "--home",
        tmp_path / "next",
        "--agreement",
        agreed(tmp_path, mirror, did),
    )
    shutil.move(tmp_path / "aside", witnesses)
    code, _, err = typed(*words)
    assert code == 1
    assert "--as-far-as 5" in err
    code, _, err = typed(*words, "--as-far-as", 4)
    assert code == 1
    code, told, err = typed(*words, "--as-far-as", 5)
    assert code == 0, err
    assert told["entries"] == 5


def test_a_home_that_was_stopped_while_it_was_made_goes_on_and_never_holds_half(
    first: Path, tmp_path: Path
) -> None:
    log = read_log(first / "ledger.sqlite", lab_key(LAB.did))
    entries, head = list(log.entries()), log.head
    log.close()
    said = succession_of(HEIR, LAB.did, head, (HEIR.did,), "")
    entry, home = entry_of(HEIR, said, 1), tmp_path / "next"

    def stopped() -> Any:
        yield from entries[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        take_over(home, HEIR, stopped(), entry)
    assert not (home / "ledger.sqlite").exists()
    with pytest.raises(LedgerCorrupt, match="run this again"):
        take_over(home, HEIR, [*entries[:-1], b"another"], entry)
    whole = take_over(home, HEIR, entries, entry)
    assert whole.size == len(entries) + 1
    assert [each.name for each in sorted(home.iterdir())] == ["ledger.head", "ledger.sqlite"]
    with pytest.raises(ValueError, match="has a ledger already"):
        take_over(home, HEIR, entries, entry)


def test_a_mirror_goes_on_under_the_successors_head_and_under_no_other_labs(
    first: Path, tmp_path: Path
) -> None:
    mirror = mirrored(first / "ledger.sqlite", tmp_path / "mirror")
    kept = Mirror(mirror / "ledger", lab_key(LAB.did))
    entries, head = list(kept.entries()), kept.head
    assert head is not None
    entry = entry_of(HEIR, succession_of(HEIR, LAB.did, head, (HEIR.did,), ""), 1)
    after = take_over(tmp_path / "next", HEIR, entries, entry)
    kept.extend(succeeding([entry.to_bytes()], LAB.did, HEIR.did), after)
    assert list(Mirror(mirror / "ledger", lab_key(HEIR.did)).entries())[:-1] == entries
    other = identity("another lab")
    said = NodesForgotten(lab=other.did, author=other.did, seq=1, nodes=(HEIR.did,))
    plain = b'{"at_ms":1,"record":%b}' % envelope(other, said)
    for told in ([plain], [entry.to_bytes(), plain]):
        with pytest.raises(LedgerCorrupt, match="no entry between says"):
            list(succeeding(told, LAB.did, other.did))
    assert list(succeeding([plain], LAB.did, LAB.did)) == [plain]


def test_whoever_is_named_as_a_successor_is_named_by_a_key(tmp_path: Path) -> None:
    HEIR.save(tmp_path / "operator.key")
    words = ("lab", "name-successors", "--key", tmp_path / "operator.key")
    code, _, err = typed(*words, "heir=https://next.example")
    assert (code, "got 'heir'; expected did:key:z6Mk" in err, "pydantic" in err) == (2, True, False)
    code, _, err = typed(*words, *[HEIR.did] * (MAX_SUCCESSORS + 1))
    assert (code, f"at most {MAX_SUCCESSORS} and" in err) == (2, True)
