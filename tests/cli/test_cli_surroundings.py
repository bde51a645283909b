"""The command line in odd surroundings: users without homes, other encodings, what a child inherits."""

import errno
import os
import signal
import subprocess
import sys
import threading
import types
from pathlib import Path

import pytest
from click.testing import CliRunner

from archipel import source_environment
from archipel.cli import archipel as program
from archipel.cli import lacking
from archipel.cli.archipel import command
from archipel.cli.doors import (
    Mendable,
    child_environment,
    home_folder,
    mending,
    printable,
    readable_folders,
)
from archipel.cli.lacking import UNIX, ended_by, ended_unloaded
from archipel.cli.recipes import find_recipe, shipped_recipes

NOBODY = {"PATH": os.defpath, **source_environment()}
BARE_LOCALE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}


def _homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    def unnamed(path: Path) -> Path:
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.setattr(Path, "expanduser", unnamed)
    monkeypatch.delenv("ARCHIPEL_HOME", raising=False)


def test_a_user_without_a_home_needs_only_a_named_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _homeless(monkeypatch)
    assert home_folder("node", tmp_path / "here").is_dir()
    with pytest.raises(Mendable, match="no home folder; name one in ARCHIPEL_HOME, or with --home"):
        home_folder("node", None)
    with pytest.raises(Mendable, match="no home folder"):
        home_folder("node", None, make=False)


def test_who_only_reads_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "none"))
    for arguments in (["ledger", "verify"], ["lab", "gc"]):
        with pytest.raises(SystemExit) as ended:
            program.run(arguments)
        assert ended.value.code == 1
    assert not (tmp_path / "none").exists()


def test_a_child_inherits_what_shows_it_modules_libraries_and_devices_and_no_secrets(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    seen = {
        "LD_LIBRARY_PATH": "/opt/cuda/lib64",
        "LC_ALL": "C.UTF-8",
        "ROCR_VISIBLE_DEVICES": "1",
        "GPU_DEVICE_ORDINAL": "0",
        "ZE_AFFINITY_MASK": "0",
        "HSA_OVERRIDE_GFX_VERSION": "10.3.0",
        "PYTORCH_CUDA_ALLOC_CONF": "x",
        "CUDA_VISIBLE_DEVICES": "2",
    }
    hidden = {
        "AWS_PROFILE": "me",
        "VLLM_API_KEY": "k",
        "NVIDIA_NGC_TOKEN": "t",
        "SSH_AUTH_SOCK": "s",
    }
    for name, value in (seen | hidden).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", "/elsewhere")
    given = child_environment()
    assert {name: given.get(name) for name in seen} == seen
    assert not hidden.keys() & given.keys()
    own = source_environment().get("PYTHONPATH")
    assert given["PYTHONPATH"] == os.pathsep.join(filter(None, [own, "/elsewhere"]))


def test_folders_of_modules_are_readable_unless_keys_lie_in_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home, modules = tmp_path / "me", tmp_path / "modules"
    for folder in (home / "node", home / "lib", modules):
        folder.mkdir(parents=True)
    named = (home, home / "lib", modules, tmp_path, tmp_path / "none", Path("relative"), Path())
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(map(str, named)))
    monkeypatch.setenv("LD_LIBRARY_PATH", "")
    _, *opened = readable_folders(home / "node")
    assert opened == [home / "lib", modules]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_recipes_are_utf8_whatever_the_locale(tmp_path: Path, mark: bytes) -> None:
    file = tmp_path / "mine.toml"
    text = "# Prüfung ✓\n" + shipped_recipes()["secret-order"]
    file.write_bytes(mark + text.encode())
    told = f"from archipel.cli.recipes import *; print(find_recipe({str(file)!r}).digest)"
    done = subprocess.run(
        [sys.executable, "-c", told],
        env=NOBODY | BARE_LOCALE,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.stdout.strip() == find_recipe("secret-order").digest, done.stderr


@pytest.mark.parametrize(
    ("content", "name", "said"),
    [
        (b"[run]\n# \xe9t\xe9", "latin.toml", "line 2 is not UTF-8"),
        (b"#" * 2_000_000, "large.toml", "more than"),
        (None, "n" * 5000, "too long"),
        (None, "nu\0l", "cannot be read"),
        (None, ".", "no recipe file"),
    ],
)
def test_a_file_that_is_no_recipe_is_one_sentence(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, name: str, said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    if content is not None:
        Path(name).write_bytes(content)
    with pytest.raises(Mendable) as caught:
        find_recipe(name)
    assert said in str(caught.value)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["run", "list", "--lab", "127.0.0.1:8440"], "did you mean http://127.0.0.1:8440 ?"),
        (["node", "join", "127.0.0.1:8440"], "did you mean http://127.0.0.1:8440 ?"),
        (["update", "join", "ftp://lab"], "not reached by ftp"),
        (["ledger", "verify", "--lab", "http://::1:8440"], "did you mean http://[::1]:8440 ?"),
        (
            ["run", "open", "secret-order", "--weights", ".", "--trust", "did:key:zBAD"],
            "expected did:key:z",
        ),
        (["lab", "start", "--operator", "did:key:zBAD"], "expected did:key:z"),
    ],
)
def test_names_of_labs_and_keys_are_looked_at_before_anything_else(
    arguments: list[str], said: str
) -> None:
    shown = CliRunner().invoke(command, arguments)
    assert shown.exit_code == 2
    assert said in shown.output.replace("\n", " ")


def test_a_file_that_may_not_be_used_is_one_sentence(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    error = PermissionError(13, "Permission denied", str(tmp_path))
    assert ended_by(error) == 1
    assert capsys.readouterr().err == f"archipel: {tmp_path}: Permission denied\n"
    said = rf"^{tmp_path}: Permission denied; see to its owner"
    with pytest.raises(Mendable, match=said), mending(OSError):
        raise error
    with pytest.raises(Mendable, match=r"^nothing there$"), mending(OSError):
        raise OSError("nothing there")


@pytest.mark.parametrize(
    ("number", "said"),
    [
        (errno.ENOSPC, "no space left"),
        (errno.EMFILE, "ulimit -n"),
        (errno.ENFILE, "this machine opens no more files"),
        (errno.ENOMEM, "no memory left"),
    ],
)
def test_what_the_machine_has_no_more_of_is_one_sentence(
    number: int, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    assert ended_by(OSError(number, "")) == 1
    assert said in (shown := capsys.readouterr().err)
    assert shown.count("\n") == 1


def test_what_is_no_lack_of_the_machine_s_stays_an_error() -> None:
    nameless, own = OSError(errno.EIO, "Input/output error"), ImportError("no such name")
    with pytest.raises(OSError, match="Input/output") as caught:
        ended_by(nameless)
    assert caught.value is nameless
    with pytest.raises(ImportError) as missing:
        ended_unloaded(own)
    assert missing.value is own


@pytest.mark.parametrize(
    ("loader", "said"),
    [
        ("libx.so: failed to map segment from shared object", "no memory left"),
        ("libx.so: cannot open: Cannot allocate memory", "no memory left"),
        ("libx.so: cannot open shared object file: Too many open files", "ulimit -n"),
    ],
)
def test_a_library_that_found_no_room_is_one_sentence_even_when_nobody_reads_it(
    loader: str, said: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    assert ended_unloaded(ImportError(loader)) == 1
    assert said in capsys.readouterr().err
    sys.unraisablehook(types.SimpleNamespace(exc_value=OSError()))  # type: ignore[arg-type]
    assert capsys.readouterr().err == "", "nothing is said of what was half made"

    def gone(*_: object, **__: object) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(lacking.click, "echo", gone)
    assert ended_unloaded(ImportError(loader)) == 1


WINDOWS = f"""
import sys
for name in {sorted(UNIX)}:
    sys.modules[name] = None
from archipel.cli.archipel import run
run(sys.argv[1:])
"""


@pytest.mark.parametrize(
    ("words", "code"),
    [
        (["plan", "train", "--budget", "1000"], 0),
        (["lab", "start", "--home", "x"], 1),
        (["labs"], 1),
        (["node", "join", "http://127.0.0.1:9"], 1),
    ],
)
def test_a_system_without_unix_s_modules_plans_and_says_where_the_rest_runs(
    words: list[str], code: int, tmp_path: Path
) -> None:
    done = subprocess.run(
        [sys.executable, "-c", WINDOWS, *words],
        env=NOBODY | {"HOME": str(tmp_path)},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == code, done.stderr
    assert "Traceback" not in done.stderr
    assert ("WSL 2" in done.stderr) == bool(code)
    assert bool(done.stdout) != bool(code)


def test_a_command_without_memory_ends_in_a_sentence(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def starved(**_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(program.command, "main", starved)
    with pytest.raises(SystemExit) as ended:
        program._run(["lab"])
    assert ended.value.code == 1
    assert "no memory left" in capsys.readouterr().err


def test_an_error_of_python_itself_is_no_lack_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(**_: object) -> None:
        raise SystemError("bad argument to internal function")

    monkeypatch.setattr(program.command, "main", broken)
    with pytest.raises(SystemError, match="bad argument"):
        program._run(["lab"])


def test_text_of_strangers_does_not_move_the_cursor() -> None:
    assert printable("a\x1b[2Jb\x07\n\u202ec") == "a?[2Jb?\n?c"


def test_ctrl_c_in_a_finaliser_comes_once_more() -> None:
    heard = threading.Event()
    before = signal.signal(signal.SIGINT, lambda number, frame: heard.set())
    try:
        program._pass_on(types.SimpleNamespace(exc_type=KeyboardInterrupt))
        assert heard.wait(5.0)
    finally:
        signal.signal(signal.SIGINT, before)
