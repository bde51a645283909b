"""The code that runs all of it, as one source archive and a list of pinned versions: the same bytes every time.

The archive is a gzip file of stored blocks: what a compressor makes of the same bytes is another thing in every
release of its library. Source: RFC 1951 section 3.2.4, RFC 1952.
"""

import io
import re
import tarfile
import tomllib
import zlib
from collections.abc import Iterator, Mapping
from importlib import metadata
from pathlib import Path

import archipel

PACKAGE = "archipel"
_STORED_BYTES = 65_535
_SPARED = ("__pycache__",)
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"
"""A gzip member without a name or a time, of no known system."""


def archive_name() -> str:
    """Of this version's archive."""
    return f"{PACKAGE}-{archipel.__version__}.tar.gz"


def source_archive(folder: Path, more: Mapping[str, bytes]) -> bytes:
    """All files of the package in `folder`, and `more` at the top of the archive; nobody's, of no time.

    Raises:
        OSError: a file cannot be read.
    """
    top = f"{PACKAGE}-{archipel.__version__}"
    files = {f"{top}/{name}": data for name, data in more.items()}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and not set(_SPARED) & set(path.parts) and path.suffix != ".pyc":
            inside = path.relative_to(folder).as_posix()
            files[f"{top}/src/{PACKAGE}/{inside}"] = path.read_bytes()
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, data in sorted(files.items()):
            about = tarfile.TarInfo(name)
            about.size, about.mode = len(data), 0o644
            archive.addfile(about, io.BytesIO(data))
    return gzipped(out.getvalue())


def gzipped(data: bytes) -> bytes:
    """A gzip file that holds `data` as it is."""
    blocks = [data[at : at + _STORED_BYTES] for at in range(0, len(data), _STORED_BYTES)] or [b""]
    body = b"".join(
        bytes([number == len(blocks) - 1])
        + len(block).to_bytes(2, "little")
        + (len(block) ^ 0xFFFF).to_bytes(2, "little")
        + block
        for number, block in enumerate(blocks)
    )
    ending = zlib.crc32(data).to_bytes(4, "little") + (len(data) % 2**32).to_bytes(4, "little")
    return _HEADER + body + ending


def beside_package() -> dict[str, bytes]:
    """What makes the archive installable: the sources' own pyproject.toml and licence, or what the installed package says."""
    root, found = Path(archipel.__file__).parents[2], {}
    for name in ("pyproject.toml", "LICENSE", "README.md"):
        if (root / name).is_file() and (root / "src" / PACKAGE).is_dir():
            found[name] = (root / name).read_bytes()
    if "pyproject.toml" not in found:
        found["pyproject.toml"] = _project().encode()
    if "LICENSE" not in found and (text := own_licence()) is not None:
        found["LICENSE"] = text
    return found


def own_licence() -> bytes | None:
    """The text of this software's licence, where it lies beside it."""
    beside = Path(archipel.__file__).parents[2] / "LICENSE"
    if beside.is_file():
        return beside.read_bytes()
    try:
        files = metadata.files(PACKAGE) or []
    except metadata.PackageNotFoundError:
        return None
    for each in files:
        if each.name == "LICENSE":
            return Path(str(each.locate())).read_bytes()
    return None


def lock() -> bytes:
    """`name==version` of every installed distribution that this one needs, without extras, sorted."""
    found, asked = dict[str, str](), [PACKAGE]
    while asked:
        for name in _needed(asked.pop()):
            version = _version(name)
            if version is not None and name not in found:
                found[name] = version
                asked.append(name)
    return "".join(f"{name}=={version}\n" for name, version in sorted(found.items())).encode()


def _needed(name: str) -> Iterator[str]:
    for line in _requirements(name):
        wanted = _NAME.match(line)
        if wanted is not None and "extra ==" not in line:
            yield re.sub(r"[-_.]+", "-", wanted[0]).lower()


def _requirements(name: str) -> list[str]:
    try:
        return metadata.requires(name) or []
    except metadata.PackageNotFoundError:
        beside = Path(archipel.__file__).parents[2] / "pyproject.toml"
        if name != PACKAGE or not beside.is_file():
            return []
        return list(tomllib.loads(beside.read_text())["project"]["dependencies"])


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None  # of another system, by its marker


def _project() -> str:
    needed = ", ".join(f'"{name}"' for name in sorted(set(_needed(PACKAGE))))
    return (
        '[build-system]\nrequires = ["setuptools>=77"]\nbuild-backend = "setuptools.build_meta"\n\n'
        f'[project]\nname = "{PACKAGE}"\nversion = "{archipel.__version__}"\nrequires-python = ">=3.11"\n'
        f"dependencies = [{needed}]\n\n"
        '[project.scripts]\narchipel = "archipel.cli.archipel:run"\n\n'
        '[tool.setuptools.packages.find]\nwhere = ["src"]\n\n[tool.setuptools.package-data]\narchipel = ["**/*"]\n'
    )
