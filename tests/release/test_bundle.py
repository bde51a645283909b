"""A bundle made of a lab's home, and looked at by somebody who believes nobody."""

import io
import json
import os
import random
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path

import pytest

import archipel
from archipel.cli.archipel import run
from archipel.release.verify.files import look_at_digests, look_at_paths, look_at_signature
from archipel.release.verify.looking import verify
from archipel.release.verify.report import Expected, Looked, Report
from releasing import lab_home
from tiny import NAME, SECRET


def said(*arguments: str, code: int = 0) -> str:
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        run(["release", *arguments])
    assert int(ended.value.code or 0) == code, out.getvalue() + err.getvalue()
    if code:
        assert "Traceback" not in err.getvalue()
    return out.getvalue() + err.getvalue()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder with a lab's home `lab`, a release `bundle`, and the keys of whoever made it."""
    folder = tmp_path_factory.mktemp("site")
    patch = pytest.MonkeyPatch()
    patch.setenv("ARCHIPEL_HOME", str(folder / "own"))
    lab_home(folder / "lab")
    (folder / "secret").write_bytes(SECRET)
    (folder / "release.toml").write_text('[licences]\ndefault = "CC-BY-4.0"\n')
    made(folder, "bundle")
    yield folder
    patch.undo()


def made(folder: Path, name: str, *more: str, home: str = "lab") -> Path:
    words = ["--home", str(folder / home), "--out", str(folder / name)]
    own = ["--stated", str(folder / "release.toml"), "--secret-file", str(folder / "secret")]
    said("make", NAME, *words, *own, *more)
    return folder / name


def files(folder: Path) -> dict[str, bytes]:
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def looked_at(folder: Path, expected: Expected = Expected()) -> Report:  # noqa: B008  frozen
    return verify(folder, expected, lambda where: None)


def test_a_bundle_holds_step_by_step_and_the_same_ledger_gives_the_same_bytes(site: Path) -> None:
    report = looked_at(site / "bundle")
    assert list(report.faults) == []
    assert [step.outcome for step in report.steps[:-1]] == ["holds"] * 8
    assert report.index is not None
    assert report.index.missing == ()
    assert files(made(site, "again")) == files(site / "bundle")
    assert list((site / "bundle").glob("*.partial")) == []


def test_a_copy_of_the_lab_gives_the_same_bundle(site: Path) -> None:
    """A mirror beside blobs, as `release collect` keeps them."""
    copied = site / "copied"
    shutil.copytree(site / "lab" / "blobs", copied / "blobs")
    shutil.copytree(site / "bundle" / "ledger", copied / "ledger")
    assert files(made(site, "copy-of", home="copied")) == files(site / "bundle")


def quick(folder: Path) -> list[str]:
    """Faults of the steps that look at every byte."""
    looked = Looked(folder, Expected(), lambda where: None)
    for look in (look_at_paths, look_at_signature, look_at_digests):
        look(looked)
    return [fault for step in looked.steps for fault in step.faults]


@contextmanager
def spoilt(path: Path) -> Iterator[None]:
    data = path.read_bytes()
    try:
        yield
    finally:
        path.unlink(missing_ok=True)
        path.write_bytes(data)


def test_one_flipped_byte_anywhere_is_found_and_its_file_is_named(site: Path) -> None:
    rng, bundle = random.Random(7), site / "bundle"
    for name, data in files(bundle).items():
        path, at = bundle / name, rng.randrange(len(data))
        with spoilt(path):
            flipped = bytearray(data)
            flipped[at] ^= 1 << rng.randrange(8)
            path.write_bytes(flipped)
            faults = quick(bundle)
        assert any(name in fault for fault in faults), (name, at, faults)
    assert quick(bundle) == []


def test_a_file_that_is_missing_cut_short_or_added_is_named(site: Path) -> None:
    bundle = site / "bundle"
    for name, data in files(bundle).items():
        if name == "release.json":
            continue
        path = bundle / name
        with spoilt(path):
            path.unlink()
            assert any(name in fault for fault in quick(bundle)), name
            path.write_bytes(data[: len(data) // 2])
            assert any(name in fault for fault in quick(bundle)), name
    for name in ("more.txt", "ledger/tile/0/000", "blobs/sha256/ab/more", "LICENSES/MIT.txt"):
        path = bundle / name
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"added")
        faults = quick(bundle)
        path.unlink()
        assert any(name in fault for fault in faults), (name, faults)


OFFLINE = """
import socket, sys
for name in ("torch", "numpy", "safetensors", "tokenizers"):
    sys.modules[name] = None
def refused(*args, **kwargs):
    raise AssertionError("a socket was opened")
class Refused(socket.socket):
    __init__ = refused
socket.socket, socket.create_connection, socket.getaddrinfo = Refused, refused, refused
from archipel.cli.archipel import run
run(["release", "verify", sys.argv[1], "--json"])
"""


def test_verifying_needs_neither_a_network_nor_a_tensor_library(site: Path) -> None:
    source = str(Path(archipel.__file__).parents[1])
    ended = subprocess.run(
        [sys.executable, "-c", OFFLINE, str(site / "bundle")],
        env={"PATH": os.defpath, "PYTHONPATH": source},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    told = json.loads(ended.stdout)
    assert told["holds"]
    assert [step["step"] for step in told["steps"]] == list(range(1, 10))
