"""`archipel lab backup`, `restore` and `status`: a lab can be moved, and an older copy is named."""

import io
import json
import shutil
import stat
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from archipel.blobs import BlobStore
from archipel.cli.archipel import run
from archipel.identity import Identity
from archipel.lab import backups
from archipel.ledger.location import open_log
from archipel.ledger.verification import lab_key
from archipel.records.canonical import sha256_digest
from small_ledger import LAB, grow


def lab(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["lab", *arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = grow(tmp_path / "home", 0, 3).parent
    for name in backups.KEYS:
        Identity.load_or_create(home / name)
    return home


def test_a_lab_moves_with_its_copy_and_goes_on(home: Path, tmp_path: Path) -> None:
    copy, moved = tmp_path / "copy", tmp_path / "moved"
    extra = BlobStore(home / "blobs").put_bytes(b"of no use to the lab any more")
    code, out, err = lab("backup", str(copy), "--home", str(home), "--json")
    assert code == 0, err
    assert not BlobStore(copy / "blobs").exists(extra)
    code, out, err = lab("backup", str(copy), "--home", str(home), "--all-blobs", "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["entries"], told["missing_blobs"], told["blobs"]) == (4, [], 1)
    for folder in (copy, moved):
        if folder is moved:
            code, out, err = lab("restore", str(copy), "--home", str(moved), "--json")
            assert code == 0, err
            assert json.loads(out)["root"] == told["root"]
        for name in backups.KEYS:
            assert stat.S_IMODE((folder / name).stat().st_mode) == 0o600
            assert (folder / name).read_bytes() == (home / name).read_bytes()
    assert sorted(path.name for path in copy.iterdir() if path.is_file()) == sorted(
        [*backups.KEYS, backups.LEDGER, backups.HEAD]
    )
    assert BlobStore(moved / "blobs").exists(extra)
    grow(moved, 3, 1)
    code, _, err = lab("status", "--home", str(moved), "--json")
    assert code == 1, "it does not run"


def test_a_copy_is_made_beside_a_lab_at_work_and_the_same_folder_takes_what_is_new(
    home: Path, tmp_path: Path
) -> None:
    copy = tmp_path / "copy"
    log = open_log(home / "ledger.sqlite", lab_key(LAB.did).name, LAB, home / "ledger.head")
    try:
        assert (home / "ledger.sqlite-wal").exists()
        assert lab("backup", str(copy), "--home", str(home))[0] == 0
    finally:
        log.close()
    assert not (copy / "ledger.sqlite-wal").exists()
    grow(home, 3, 2)
    code, out, err = lab("backup", str(copy), "--home", str(home), "--json")
    assert code == 0, err
    assert json.loads(out)["entries"] == 6
    assert lab("restore", str(copy), "--home", str(tmp_path / "moved"))[0] == 0


def test_a_restore_overwrites_nothing_and_names_an_older_copy(home: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert lab("backup", str(copy), "--home", str(home))[0] == 0
    grow(home, 3, 2)
    code, _, err = lab("restore", str(copy), "--home", str(home))
    assert code == 1
    assert "holds a ledger of 6 entries, root " in err
    assert "has 4 entries, root " in err
    newest = tmp_path / "newest.head"
    shutil.copy(home / "ledger.head", newest)
    before = sorted(path.name for path in home.iterdir())
    (home / "ledger.sqlite").rename(tmp_path / "lost.sqlite")
    for options in (
        ["--home", str(home)],
        ["--home", str(tmp_path / "new"), "--head", str(newest)],
    ):
        code, _, err = lab("restore", str(copy), *options)
        assert code == 1
        assert "ends at entry 4" in err
        assert "over 6 entries: this is an older copy" in err
    assert sorted(path.name for path in home.iterdir()) == [
        n for n in before if n != "ledger.sqlite"
    ]
    code, _, err = lab("restore", str(tmp_path), "--home", str(tmp_path / "new"))
    assert code == 1
    assert "holds no whole copy" in err


def test_keys_go_nowhere_where_others_may_read(home: Path, tmp_path: Path) -> None:
    open_folder = tmp_path / "open"
    open_folder.mkdir(mode=0o755)
    open_folder.chmod(0o755)
    code, _, err = lab("backup", str(open_folder), "--home", str(home))
    assert code == 1
    assert "chmod 700" in err
    assert list(open_folder.iterdir()) == []
    code, _, err = lab("backup", str(tmp_path / "x"), "--home", str(tmp_path / "nowhere"))
    assert code == 1
    assert "there is no lab" in err


def test_blobs_are_hashed_on_their_way_and_missing_ones_are_named(tmp_path: Path) -> None:
    store = BlobStore(tmp_path / "old")
    good, rotten = store.put_bytes(b"good"), store.put_bytes(b"rotten")
    gone = sha256_digest(b"gone")
    assert backups.lacking([tmp_path / "new", tmp_path / "old"], [good, gone]) == (gone,)
    copied = backups.copy_blobs(tmp_path / "old", tmp_path / "new", [good, gone])
    assert (copied.blobs, copied.bytes, copied.missing) == (1, 4, (gone,))
    assert BlobStore(tmp_path / "new").read_bytes(good, 10) == b"good"
    assert backups.copy_blobs(tmp_path / "old", tmp_path / "new", [good]).blobs == 0
    path = store.path(rotten)
    path.chmod(0o600)
    path.write_bytes(b"r0tten")
    with pytest.raises(backups.BadBackup, match="rotted"):
        backups.copy_blobs(tmp_path / "old", tmp_path / "new", [rotten])
    assert not BlobStore(tmp_path / "new").exists(rotten)
    assert not list((tmp_path / "new").rglob("*.partial"))


def test_another_lab_s_copy_is_not_mixed_in(home: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    Identity.load_or_create(other / "lab.key")
    before = (other / "lab.key").read_bytes()
    code, _, err = lab("backup", str(other), "--home", str(home))
    assert code == 1
    assert "is another key" in err
    assert (other / "lab.key").read_bytes() == before


def test_the_status_of_a_lab_that_does_not_run_comes_from_its_files(
    home: Path, tmp_path: Path
) -> None:
    (home / "url").write_text("http://127.0.0.1:9")
    code, out, _ = lab("status", "--home", str(home), "--json")
    told = json.loads(out)
    assert (code, told["phase"], told["entries"], told["snapshot_of"]) == (
        1,
        "not running",
        4,
        None,
    )
    assert told["disk"]["ledger_bytes"] > 0
    code, out, _ = lab("status", "--home", str(home))
    assert "4 entries, newest snapshot none yet" in out
    assert "archipel.lab/" in out
    (home / "ledger.sqlite").write_bytes(b"")
    code, out, _ = lab("status", "--home", str(home))
    assert (code, "there is no ledger at" in out) == (1, True)
    code, _, err = lab("status", "--home", str(tmp_path / "empty"))
    assert (code, "there is no lab at" in err) == (1, True)
    assert not (tmp_path / "empty").exists()
