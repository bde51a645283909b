"""A bundle written: contents, papers, index, signature, in this order, beside its place until it is whole.

Parts: `Plan`, `write_bundle`. Laws: the same plan gives the same bytes; a bundle appears by one rename; a call that was
cut off goes on from what it wrote, and leaves nothing of another selection behind.
"""

import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from archipel.identity import Identity
from archipel.release import places
from archipel.release.components import index_of
from archipel.release.contents import Content, Contents
from archipel.release.facts import Facts
from archipel.release.gathering import CannotRelease
from archipel.release.index import Parent, Released, plain_path
from archipel.release.layout import alike, misplaced
from archipel.release.oms.folder import sign_folder
from archipel.release.oms.key import SigningKey
from archipel.release.oms.voucher import vouch
from archipel.release.openness.card import Grade
from archipel.release.openness.grade import grade
from archipel.release.papers.slsa import provenance
from archipel.release.papers.writing import PAPERS, written
from archipel.release.stated import Stated

CHUNK_BYTES = 1024 * 1024
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Plan:
    """A release as it is to be written."""

    facts: Facts
    stated: Stated
    contents: Contents
    key: SigningKey
    operator: Identity | None = None
    """Who vouches for the key; None: nobody does."""
    parents: tuple[Parent, ...] = ()
    """What the weights were made from."""

    @property
    def index(self) -> Released:
        """Of the bundle: which component is where, papers and grade included."""
        papers = {*PAPERS, *provenance(self.facts, self.stated, None), places.OPENNESS}
        return index_of(self.facts, self.stated, self.contents, papers, self.parents)


def write_bundle(plan: Plan, out: Path, tell: Tell) -> Grade:
    """Write it to `out`, which must not exist; returns how open it is. tell: now and then told what is being done.

    Raises:
        CannotRelease: something is there already, or a name has no place in a bundle.
        OSError: the disk.
    """
    if out.exists():
        raise CannotRelease(f"{out} is there already; name another folder")
    files = _files(plan)
    for fault in (*misplaced(files), *alike(files)):
        raise CannotRelease(fault)
    partial = out.with_name(f"{out.name}.partial")
    partial.mkdir(parents=True, exist_ok=True)
    for number, (place, content) in enumerate(sorted(files.items())):
        tell(f"file {number + 1} of {len(files)}: {place}")
        _put(partial, _checked(place), content)
    _sweep(partial, {*files, places.OPENNESS, places.SIGNATURE})
    graded = grade(partial, note=lambda part: tell(f"how open its {part} is"))
    _put(partial, places.OPENNESS, graded.to_bytes())
    signature = sign_folder(
        partial,
        plan.index.title,
        plan.key,
        places.SIGNATURE,
        lambda path, _: tell(f"signing {path}"),
    )
    _put(partial, places.SIGNATURE, signature)
    os.sync()
    partial.rename(out)
    return graded


def _files(plan: Plan) -> dict[str, Content]:
    """All but the grade and the signature, which are made of these."""
    index = plan.index
    said = index.to_bytes()
    files = dict(plan.contents.files)
    files |= written(plan.facts, plan.stated, index, plan.operator)
    files[places.INDEX], files[places.KEY] = said, plan.key.public.pem
    if plan.operator is not None:
        files[places.VOUCHER] = vouch(plan.operator, said, plan.key.public.hint)
    return files


def digest_of(path: Path) -> str:
    """`sha256:<hex>` of a file."""
    hasher = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            hasher.update(chunk)
    return f"sha256:{hasher.hexdigest()}"


def _put(folder: Path, place: str, content: Content) -> None:
    """Whole or not at all; what is there already with the same bytes stays."""
    path = folder / place
    size = len(content) if isinstance(content, bytes) else content.stat().st_size
    if path.is_file() and path.stat().st_size == size and _is_same(path, content):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    aside = path.with_name(f".{path.name}.partial")
    if isinstance(content, bytes):
        aside.write_bytes(content)
    else:
        shutil.copyfile(content, aside)
    aside.chmod(0o644)
    aside.replace(path)


def _is_same(path: Path, content: Content) -> bool:
    if isinstance(content, bytes):
        return path.read_bytes() == content
    return digest_of(path) == digest_of(content)


def _checked(place: str) -> str:
    try:
        return plain_path(place)
    except ValueError as error:
        raise CannotRelease(
            f"a file of the release has a name that it cannot have: {error}"
        ) from None


def _sweep(folder: Path, kept: set[str]) -> None:
    """What an earlier call left, that had other contents."""
    for root, _, names in os.walk(folder, topdown=False):
        for name in names:
            path = Path(root) / name
            if path.relative_to(folder).as_posix() not in kept:
                path.unlink()
        if root != str(folder) and not any(Path(root).iterdir()):
            Path(root).rmdir()
