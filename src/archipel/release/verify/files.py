"""Steps 1 to 3: what lies there and what the index says of it, who signed it, and whether every byte is as signed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from archipel.plurals import counted
from archipel.release import places
from archipel.release.index import MAX_FILES, MAX_INDEX_BYTES, Released, plain_path, read_index
from archipel.release.oms.bundle import MAX_BUNDLE_BYTES, read_bundle, verify
from archipel.release.oms.folder import MAX_DEPTH, file_sha256
from archipel.release.oms.key import MAX_PUBLIC_BYTES, PublicKey
from archipel.release.oms.voucher import vouched_by
from archipel.release.verify.report import Looked, Step

MAX_VOUCHER_BYTES = 64 * 1024


class NoBundle(ValueError):
    """The folder is no release; the message says what was expected."""


def look_at_paths(looked: Looked) -> None:
    """1. The index is one, every file is a plain one inside the folder, every component is there.

    Raises:
        NoBundle: there is no index at all.
    """
    step = looked.step("index and paths")
    looked.files = tuple(sorted(_files(looked.folder, step)))
    path = looked.folder / places.INDEX
    if places.INDEX not in looked.files:
        raise NoBundle(
            f"{looked.folder} holds no {places.INDEX}, so it is no release; expected a folder that "
            "`archipel release make` wrote"
        )
    try:
        looked.index = read_index(read_bounded(path, MAX_INDEX_BYTES))
    except ValueError as error:
        step.fault(f"{places.INDEX}: {error!s:.400}")
        return
    there = set(looked.files)
    for component in looked.index.components:
        for place in component.places:
            if place not in there and not any(each.startswith(f"{place}/") for each in there):
                step.fault(f"{place} is missing: the index names it as part of {component.name!r}")
    _look_at_blobs(looked.index, there, step)
    step.shown.append(
        f"{counted(len(looked.files), 'file')}, {counted(len(looked.index.components), 'component')}"
    )


def _look_at_blobs(index: Released, there: set[str], step: Step) -> None:
    named = {places.blob_place(blob.digest) for blob in index.blobs}
    for place in sorted(named - there):
        step.fault(f"{place} is missing: the index names it among the blobs")
    found = {each for each in there if each.startswith(f"{places.BLOBS}/")}
    for place in sorted(found - named):
        step.fault(f"{place}: the index names no such blob")


def look_at_signature(looked: Looked) -> None:
    """2. The signature is by the key that was expected, or by the one that the bundle brings; who vouches for it."""
    step = looked.step("signature")
    key = _key(looked, step)
    if key is None:
        return
    try:
        data = read_bounded(looked.folder / places.SIGNATURE, MAX_BUNDLE_BYTES)
        bundle = read_bundle(data)
        looked.signed = verify(bundle, key)
        if bundle.method == "key" and bundle.hint is not None and bundle.to_bytes() != data:
            step.fault(
                f"{places.SIGNATURE} holds, and is spelled in another way than it was written"
            )
        if set(looked.signed.ignored) - {places.SIGNATURE}:
            step.fault(
                f"{places.SIGNATURE} leaves files out: {', '.join(looked.signed.ignored):.200}"
            )
    except FileNotFoundError:
        step.fault(f"{places.SIGNATURE} is missing: nobody signed this release")
        return
    except ValueError as error:
        step.fault(f"{places.SIGNATURE} does not go with {places.KEY}: {error!s:.300}")
        return
    if not step.faults:
        looked.signer = key.hint
        step.shown.append(f"{counted(len(looked.signed.digests), 'file')} signed by {key.hint}")
        _look_at_voucher(looked, key, step)


def _key(looked: Looked, step: Step) -> PublicKey | None:
    """Whom to believe: the key that was named, else the one that lies there."""
    expected, beside, own = looked.expected, looked.folder / places.KEY, None
    try:
        own = PublicKey.from_pem(read_bounded(beside, MAX_PUBLIC_BYTES))
    except FileNotFoundError:
        step.fault(f"{places.KEY} is missing: the public key that the release is checked with")
    except ValueError as error:
        step.fault(f"{places.KEY}: {error!s:.200}")
    given = None if expected.pem is None else PublicKey.from_pem(expected.pem)
    wanted = given.hint if given is not None else expected.hint
    if wanted is None:
        step.unshown.append(
            "whose key this is: the bundle brings it itself; compare it with what its owner publishes (--key)"
        )
    elif own is not None and own.hint != wanted:
        step.fault(f"{places.KEY} is the key {own.hint}; expected {wanted}")
    return given or own


def _look_at_voucher(looked: Looked, key: PublicKey, step: Step) -> None:
    path = looked.folder / places.VOUCHER
    if not path.is_file():
        step.unshown.append(
            "that the lab's operator knows of this release: nobody vouches for the key"
        )
        return
    try:
        index = read_bounded(looked.folder / places.INDEX, MAX_INDEX_BYTES)
        did = vouched_by(read_bounded(path, MAX_VOUCHER_BYTES), index, key.hint)
    except ValueError as error:
        step.fault(f"{places.VOUCHER}: {error!s:.300}")
        return
    step.shown.append(f"the key is vouched for by {did}")


def look_at_digests(looked: Looked) -> None:
    """3. Every file is signed and as it was signed; nothing that was signed is missing."""
    step = looked.step("every file's digest")
    if looked.signed is None:
        step.unshown.append("no digest was compared: there is no signature that holds")
        return
    digests, there = looked.signed.digests, set(looked.files) - {places.SIGNATURE}
    for path in sorted(digests.keys() - there):
        step.fault(f"{path} is missing: it was signed")
    num_bytes = 0
    for path in sorted(there):
        looked.tell(f"digest of {path}")
        if path not in digests:
            step.fault(f"{path} was signed by nobody: it was added")
            looked.damaged.add(path)
            continue
        digest, size = file_sha256(looked.folder / path)
        num_bytes += size
        if digest != digests[path]:
            step.fault(
                f"{path} is not as it was signed: sha256:{digest}, expected sha256:{digests[path]}"
            )
            looked.damaged.add(path)
        elif path.startswith(f"{places.BLOBS}/") and path != _blob_place(digest):
            step.fault(f"{path} holds the blob sha256:{digest}, which lies elsewhere")
    if not step.faults:
        step.shown.append(f"{counted(len(there), 'file')}, {num_bytes} bytes, as they were signed")


def read_bounded(path: Path, most: int) -> bytes:
    """A regular file of at most so many bytes.

    Raises:
        ValueError: it is larger, or no regular file. OSError: it cannot be read.
    """
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK), "rb") as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise ValueError(f"{path.name} is no regular file")
        data = file.read(most + 1)
    if len(data) > most:
        raise ValueError(f"{path.name} has more than {most} bytes, which none of its kind has")
    return data


def _files(folder: Path, step: Step) -> Iterator[str]:
    """Regular files below, relative; all else is a fault. No link is followed."""
    waiting, found = [("", 0)], 0
    while waiting:
        inside, depth = waiting.pop()
        with os.scandir(folder / inside) as entries:
            for each in entries:
                path, found = f"{inside}/{each.name}" if inside else each.name, found + 1
                if found > MAX_FILES:
                    step.fault(
                        f"there are more than {MAX_FILES} files and folders; no release has so many"
                    )
                    return
                kind = each.stat(follow_symlinks=False).st_mode
                if stat.S_ISDIR(kind) and depth < MAX_DEPTH:
                    waiting.append((path, depth + 1))
                elif not stat.S_ISREG(kind):
                    step.fault(f"{path!r:.200} is a {_kind(kind)}; a release has plain files alone")
                elif fault := _unplain(path):
                    step.fault(fault)
                else:
                    yield path


def _unplain(path: str) -> str:
    try:
        plain_path(path)
    except ValueError as error:
        return str(error)
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISLNK(mode):
        return "symbolic link"
    return "folder that lies too deep" if stat.S_ISDIR(mode) else "pipe, socket or device"


def _blob_place(digest: str) -> str:
    return places.blob_place(f"sha256:{digest}")
