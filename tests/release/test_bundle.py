"""A bundle made of a lab's home, and looked at by somebody who believes nobody."""

import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import archipel
from releases import files, looked_at, made, quick, spoilt


def test_a_bundle_holds_step_by_step(site: Path) -> None:
    report = looked_at(site / "bundle")
    assert list(report.faults) == []
    assert [step.outcome for step in report.steps[:-1]] == ["holds"] * 8
    assert report.index is not None
    assert report.index.missing == ()


def test_the_same_ledger_gives_the_same_bytes_from_a_copy_and_after_a_call_that_was_cut_off(
    site: Path,
) -> None:
    """The copy is a mirror beside blobs, as `release collect` keeps them."""
    copied, begun = site / "copied", site / "copy-of.partial"
    shutil.copytree(site / "lab" / "blobs", copied / "blobs")
    shutil.copytree(site / "bundle" / "ledger", copied / "ledger")
    shutil.copytree(site / "bundle", begun)
    (begun / "release.sig").write_bytes(b"of another selection")
    (begun / "config.json").write_bytes(b"{")
    (begun / "old" / "folder").mkdir(parents=True)
    (begun / "old" / "folder" / ".config.json.partial").write_bytes(b"x")
    assert files(made(site, "copy-of", home="copied")) == files(site / "bundle")
    assert not begun.exists()


@pytest.mark.slow
def test_a_bundle_made_twice_is_the_same_bytes(site: Path) -> None:
    assert files(made(site, "again")) == files(site / "bundle")
    assert list((site / "bundle").rglob("*.partial")) == []


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
    for number, (name, data) in enumerate(files(bundle).items()):
        if name == "release.json":
            continue
        path = bundle / name
        with spoilt(path):
            if number % 2:
                path.unlink()
            else:
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
