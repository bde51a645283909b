"""`archipel update secret` and the engines of `archipel node join`: what is missing is said, or made, at once."""

import socket
import stat
from pathlib import Path

import pytest

from archipel.cli import agents
from archipel.cli.archipel import run
from archipel.cli.doors import Mendable
from archipel.cli.engines import require_engine
from archipel.cli.secrets import given_secret
from archipel.node.secrets import MAX_SECRET_BYTES, NoSecret, make_secret, read_secret
from archipel.node.settings import NodeSettings


@pytest.fixture
def secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "update" / "secrets"


def called(*arguments: str) -> int:
    with pytest.raises(SystemExit) as ended:
        run(list(arguments))
    return int(ended.value.code or 0)


def test_a_secret_is_made_once_for_its_operator_alone(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert called("update", "secret", "mine") == 0
    made = read_secret(secrets, "mine")
    assert len(made) == 64
    assert stat.S_IMODE((secrets / "mine").stat().st_mode) == 0o600
    assert stat.S_IMODE(secrets.stat().st_mode) == 0o700
    assert str(secrets / "mine") in capsys.readouterr().out
    assert called("update", "secret", "mine") == 1
    assert "there already and stays as it is" in capsys.readouterr().err
    assert read_secret(secrets, "mine") == made
    assert called("update", "secret", "other") == 0
    assert read_secret(secrets, "other") != made


@pytest.mark.parametrize("name", ["../up", "Mine", "", "a" * 64, "-a", "a\n"])
def test_a_name_that_no_recipe_can_have_is_refused(secrets: Path, name: str) -> None:
    with pytest.raises(ValueError, match="expected lower-case letters"):
        make_secret(secrets, name)
    assert not secrets.exists()


def test_a_secret_that_is_missing_or_open_to_others_is_not_read(secrets: Path) -> None:
    with pytest.raises(NoSecret, match="`archipel update secret mine`"):
        read_secret(secrets, "mine")
    make_secret(secrets, "mine").chmod(0o640)
    with pytest.raises(NoSecret, match="may be read by others"):
        read_secret(secrets, "mine")


def test_an_engine_that_is_not_installed_is_refused_before_anything_is_joined(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "home"))
    monkeypatch.setattr("archipel.cli.engines.find_spec", lambda package: None)
    assert called("node", "join", "http://127.0.0.1:9", "--engine", "vllm") == 1
    assert "pip install -c constraints.txt -e '.[vllm]'" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()
    require_engine("archipel")


@pytest.mark.parametrize(
    ("size", "why"), [(0, "is empty"), (MAX_SECRET_BYTES + 1, "longer than a secret may be, 4096")]
)
def test_a_secret_is_read_whole_or_refused_at_every_door(
    secrets: Path, tmp_path: Path, size: int, why: str
) -> None:
    secrets.mkdir(parents=True)
    for path in (secrets / "mine", tmp_path / "a secret of mine.txt"):
        path.write_bytes(b"x" * size)
        path.chmod(0o600)
    with pytest.raises(NoSecret, match=why):
        read_secret(secrets, "mine")
    with pytest.raises(Mendable, match=why):
        given_secret(tmp_path / "a secret of mine.txt")
    (tmp_path / "a secret of mine.txt").write_bytes(b"x" * MAX_SECRET_BYTES)
    assert given_secret(tmp_path / "a secret of mine.txt") == b"x" * MAX_SECRET_BYTES
    assert given_secret(None) is None


def test_a_secret_file_without_a_secret_ends_eval_in_one_sentence(
    secrets: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "empty").touch()
    words = ("eval", str(tmp_path), "secret-order", "--secret-file", str(tmp_path / "empty"))
    assert called(*words) == 1
    assert "is empty, expected a secret" in capsys.readouterr().err


def test_what_the_learner_keeps_for_each_shape_is_bounded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every update has other shapes: caches of a thousand of them are memory that grows over updates."""
    started: list[NodeSettings] = []
    monkeypatch.setattr(agents, "run_agent", lambda settings, *_: started.append(settings))
    assert called("update", "join", "http://127.0.0.1:9", "--home", str(tmp_path)) == 0
    (settings,) = started
    caches = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
    assert all(int(settings.environment[name]) <= 64 for name in caches)


def test_a_place_where_ranks_cannot_meet_is_refused_before_a_node_begins(
    secrets: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        place = f"127.0.0.1:{taken.getsockname()[1]}"
        words = ("--ranks", "1", "--hosts", "2", "--rendezvous", place)
        assert called("update", "join", "http://127.0.0.1:7", *words) == 1
    said = capsys.readouterr().err
    assert f"ranks cannot meet at {place}" in said
    assert "in use; name another --rendezvous" in said
    assert not (secrets.parent / "node.key").exists()
