"""`archipel operator`, `lab invite`, `node key`: keys, words and files, without a lab."""

import json
import os
import stat
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from archipel.cli import keys
from archipel.cli.archipel import command
from archipel.cli.doors import Mendable
from archipel.identity import Identity
from archipel.key_file import is_sealed
from archipel.node.membership import read
from archipel.records.membership import Delegation, Invitation

FAST = 2**14


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path))
    monkeypatch.setattr("archipel.key_file.SCRYPT_N", FAST)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def said(*words: object) -> Result:
    return CliRunner().invoke(command, [str(word) for word in words])


def word_in(path: Path, text: str = "a long sentence\n", mode: int = 0o600) -> Path:
    path.touch(mode=mode)
    path.write_text(text)
    return path


def problem(shown: Result) -> str:
    assert shown.exit_code != 0
    return str(shown.exception) + shown.output


def test_a_sealed_operators_key_delegates_where_its_passphrase_is_given(home: Path) -> None:
    word = word_in(home / "word")
    made = said("operator", "new", "--new-passphrase-file", word)
    boss, key = made.output.splitlines()[0], home / "operator" / "operator.key"
    assert is_sealed(key.read_bytes())
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    node = said("node", "key").output.strip()
    assert "no terminal" in problem(said("operator", "delegate", node))
    wrong = word_in(home / "wrong", "another")
    assert "another passphrase" in problem(
        said("--passphrase-file", wrong, "operator", "delegate", node)
    )
    assert said("--passphrase-file", word, "operator", "delegate", node, "--days", 2).exit_code == 0
    delegation, _ = read(Delegation, home / "delegation.json")
    assert (delegation.operator, delegation.node) == (boss, node)
    assert delegation.until_ms == delegation.issued_ms + 2 * 86_400_000
    assert "there already" in problem(said("operator", "new"))


@pytest.mark.parametrize(("text", "mode"), [("word", 0o644), ("", 0o600), ("x" * 1025, 0o600)])
def test_a_passphrase_that_others_can_read_or_that_is_none_is_refused(
    home: Path, text: str, mode: int
) -> None:
    word = word_in(home / "word", text)
    word.chmod(mode)
    told = problem(said("operator", "new", "--new-passphrase-file", word))
    assert "chmod 600" in told or "expected a passphrase" in told
    assert not (home / "operator" / "operator.key").exists()


def test_a_nodes_key_is_sealed_and_unsealed_and_its_name_needs_no_passphrase(home: Path) -> None:
    node, word, key = (
        said("node", "key").output.strip(),
        word_in(home / "word"),
        home / "node" / "node.key",
    )
    said("operator", "passphrase", key, "--new-passphrase-file", word)
    assert is_sealed(key.read_bytes())
    assert said("node", "key").output.strip() == node
    assert said("--passphrase-file", word, "operator", "passphrase", key, "--remove").exit_code == 0
    assert Identity.load(key).did == node
    unit = said("--passphrase-file", "word", "node", "service", "http://lab:8440").output
    assert f'"--passphrase-file" "{word}" "node" "join"' in unit


def test_a_new_key_takes_the_old_ones_place_and_keeps_it(home: Path) -> None:
    old = said("node", "key").output.strip()
    (home / "node" / "delegation.json").write_text("to the old key")
    facts = json.loads(said("node", "key", "--new", "--json").stdout)
    assert facts["replaces"] == old != facts["node"]
    assert Identity.load(home / "node" / "node.key").did == facts["node"]
    (kept,) = (home / "node").glob("node.key.*")
    assert Identity.load(kept).did == old
    assert not (home / "node" / "delegation.json").exists()


def test_an_invitation_is_signed_by_the_labs_operator_and_is_its_owners_alone(home: Path) -> None:
    for name in ("lab", "operator"):
        Identity.load_or_create(home / "lab" / f"{name}.key")
    assert said("lab", "invite", "--uses", 3, "--days", 1).exit_code == 0
    path = home / "invitation.json"
    invitation, _ = read(Invitation, path)
    assert invitation.by == Identity.load(home / "lab" / "operator.key").did
    assert invitation.lab == Identity.load(home / "lab" / "lab.key").did
    assert invitation.uses == 3
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_list_of_keys_that_is_none_is_one_sentence(home: Path) -> None:
    (home / "friends").write_text("did:key:nobody # a friend\n")
    told = problem(said("lab", "joining", "--policy", "listed", "--allow", "friends"))
    assert "did:key:nobody" in told


def test_a_passphrase_comes_through_a_pipe_whose_writer_stays_and_a_silent_one_is_not_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys, "PASSPHRASE_LIMIT_S", 0.02)
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe, 0o600)
    with pytest.raises(Mendable, match="gave no line"):
        keys.read_passphrase(pipe)
    held = os.open(pipe, os.O_RDWR)
    try:
        os.write(held, b"sesame\r\nmore\n")
        assert keys.read_passphrase(pipe) == b"sesame"
        os.write(held, b"x" * 3000)
        with pytest.raises(Mendable, match="bytes, expected a passphrase"):
            keys.read_passphrase(pipe)
    finally:
        os.close(held)
