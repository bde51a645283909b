"""`archipel ledger verify --head`: whether a ledger goes on from what its lab signed before."""

import io
import json
import shutil
import sqlite3
from contextlib import redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

from archipel.cli.archipel import run
from archipel.identity import Identity
from archipel.ledger.tree_head import sign_tree_head
from archipel.ledger.verification import lab_key
from small_ledger import grow


def replay(*arguments: str) -> tuple[int, str, str]:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["ledger", "verify", *arguments])
    return int(ended.value.code or 0), out.getvalue(), err.getvalue()


def test_a_ledger_that_went_on_from_a_kept_head_holds_and_the_kept_head_moves_along(
    tmp_path: Path,
) -> None:
    path, kept = grow(tmp_path / "lab", 0, 3), tmp_path / "kept"
    code, out, err = replay(str(path), "--save-head", str(kept))
    assert code == 0, err
    assert "an older copy looks the same" in out
    first = kept.read_bytes()
    assert first.decode().rstrip() in out
    grow(tmp_path / "lab", 3, 2)
    shutil.copy(kept, tmp_path / "first")
    code, out, err = replay(str(path), "--save-head", str(kept), "--json")
    assert code == 0, err
    told = json.loads(out)
    assert (told["entries"], told["compared_heads"]) == (6, [str(kept)])
    assert kept.read_text() == told["head"] != first.decode()
    for head in (tmp_path / "first", kept, path.with_name("ledger.head")):
        code, out, err = replay("--ledger", str(path), "--head", str(head))
        assert code == 0, err
        assert f"goes on from the head in {head}" in out
        assert f"root {told['root']}" in out


def test_an_older_backup_and_a_copy_cut_off_are_named_and_nothing_is_kept(tmp_path: Path) -> None:
    path, kept = grow(tmp_path / "lab", 0, 5), tmp_path / "kept"
    older = tmp_path / "older"
    shutil.copytree(tmp_path / "lab", older)
    grow(tmp_path / "lab", 5, 2)
    assert replay(str(path), "--save-head", str(kept))[0] == 0
    before = kept.read_bytes()
    for option in ("--head", "--save-head"):
        code, _, err = replay(str(older / "ledger.sqlite"), option, str(kept))
        assert code == 1
        assert "ends at entry 6" in err
        assert "over 8 entries: this is an older copy" in err
    assert kept.read_bytes() == before
    assert replay(str(older / "ledger.sqlite"))[0] == 0, "by itself it looks whole"
    cut = tmp_path / "cut"
    cut.mkdir()
    shutil.copy(path, cut / "ledger.sqlite")
    with sqlite3.connect(cut / "ledger.sqlite") as database:
        for (name,) in database.execute(
            "SELECT name FROM sqlite_schema WHERE type = 'trigger'"
        ).fetchall():
            database.execute(f"DROP TRIGGER {name}")
        database.execute("DELETE FROM entry WHERE position >= 4")
    database.close()
    code, _, err = replay(str(cut / "ledger.sqlite"))
    assert code == 1
    assert "cut off or is damaged, its signed head covers 8" in err


def test_two_histories_of_one_lab_are_told_apart_by_a_head(tmp_path: Path) -> None:
    kept = tmp_path / "kept"
    assert replay(str(grow(tmp_path / "one", 0, 3)), "--save-head", str(kept))[0] == 0
    other = grow(tmp_path / "two", 10, 4)
    assert replay(str(other))[0] == 0
    code, _, err = replay(str(other), "--head", str(kept))
    assert code == 1
    assert "signed two histories" in err
    assert err.count("\n") == 1


def test_what_is_no_head_of_this_lab_ends_as_one_sentence(tmp_path: Path) -> None:
    path = grow(tmp_path / "lab", 0, 1)
    stranger = Identity.from_seed(bytes(32))
    note = sign_tree_head(stranger, lab_key(stranger.did).name, 1, bytes(32)).note
    for name, data in (
        ("other", note),
        ("empty", b""),
        ("text", b"x" * 9000),
        ("slots", bytes(8192)),
    ):
        (tmp_path / name).write_bytes(data)
        code, _, err = replay(str(path), "--head", str(tmp_path / name))
        assert code == 1
        assert "holds no tree head by archipel.lab/" in err
    code, _, err = replay(str(path), "--head", str(tmp_path / "nowhere"))
    assert code == 1
    assert "cannot read the head in" in err
    assert replay(str(path), "--ledger", str(path))[0] == 2
