"""Steps 1 to 3: what lies there and what the index says of it, who signed it, and whether every byte is as signed."""

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from archipel.plurals import counted
from archipel.release import places
from archipel.release.index import MAX_FILES, MAX_INDEX_BYTES, Released, plain_path, read_index
from archipel.release.layout import alike, misplaced
from archipel.release.oms.bundle import MAX_BUNDLE_BYTES, read_bundle, verify
from archipel.release.oms.folder import MAX_DEPTH, file_sha256
from archipel.release.oms.key import MAX_PUBLIC_BYTES, PublicKey
from archipel.release.oms.voucher import vouched_by
from archipel.release.verify.report import Looked, Stamp, Step

MAX_VOUCHER_BYTES = 64 * 1024
MAX_HOLLOW_BYTES = 1024**3
MAX_HOLLOW = 1000
"""A larger file than that takes more than one byte in so many on the disk."""


class NoBundle(ValueError):
    """The folder is no release; the message says what was expected."""


def look_at_paths(looked: Looked) -> None:
    """1. The index is one, every file is a plain one inside the folder, every component is there.

    Raises:
        NoBundle: there is no index at all.
    """
    step = looked.step("index and paths")
    looked.stamps = dict(sorted(_files(looked.folder, step)))
    path = looked.folder / places.INDEX
    if not os.path.lexists(path):
        raise NoBundle(
            f"{looked.folder} holds no {places.INDEX}, so it is no release; expected a folder that "
            "`archipel release make` wrote"
        )
    if places.INDEX not in looked.files:
        step.fault(f"{places.INDEX}: it is not among the plain files that were looked at")
        return
    try:
        looked.index = read_index(read_bounded(path, MAX_INDEX_BYTES))
    except ValueError as error:
        step.fault(f"{places.INDEX}: {error!s:.400}")
        return
    for fault in (*misplaced(looked.files), *alike(looked.files)):
        step.fault(fault)
    there = looked.there | {above for each in looked.files for above in _above(each)}
    for component in looked.index.components:
        for place in component.places:
            if place not in there:
                step.fault(f"{place} is missing: the index names it as part of {component.name!r}")
    _look_at_blobs(looked, looked.index, step)
    step.shown.append(
        f"{counted(len(looked.files), 'file')}, {counted(len(looked.index.components), 'component')}"
    )


def _above(path: str) -> Iterator[str]:
    """The folders that it lies in."""
    while slash := path.rpartition("/")[1]:
        path = path.rpartition(slash)[0]
        yield path


def _look_at_blobs(looked: Looked, index: Released, step: Step) -> None:
    named = {places.blob_place(blob.digest): blob.size for blob in index.blobs}
    if len(named) != len(index.blobs):
        step.fault(f"{places.INDEX} names a blob twice")
    for place in sorted(named.keys() - looked.there):
        step.fault(f"{place} is missing: the index names it among the blobs")
    found = {each for each in looked.there if each.startswith(f"{places.BLOBS}/")}
    for place in sorted(found - named.keys()):
        step.fault(f"{place}: the index names no such blob")
    for place in sorted(found & named.keys()):
        size = looked.stamps[place].size
        if size != named[place]:
            step.fault(f"{place} has {size} bytes; the index says {named[place]}")
            looked.damaged.add(place)


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
    looked.voucher = did
    step.shown.append(f"the key is vouched for by {did}")


def look_at_digests(looked: Looked) -> None:
    """3. Every file is signed and as it was signed; nothing that was signed is missing."""
    step = looked.step("every file's digest")
    if looked.signed is None:
        step.unshown.append("no digest was compared: there is no signature that holds")
        return
    digests, there = looked.signed.digests, looked.there - {places.SIGNATURE}
    for path in sorted(digests.keys() - there):
        step.fault(f"{path} is missing: it was signed")
    num_bytes = 0
    for path in sorted(there):
        looked.tell(f"digest of {path}")
        if path not in digests:
            step.fault(f"{path} was signed by nobody: it was added")
            looked.damaged.add(path)
            continue
        stamp = looked.stamps[path]
        if stamp.size > MAX_HOLLOW_BYTES and stamp.allocated * MAX_HOLLOW < stamp.size:
            step.fault(
                f"{path} says {stamp.size} bytes and takes {stamp.allocated} on the disk: it is holes, and was not read"
            )
            looked.damaged.add(path)
            continue
        if path in looked.damaged:
            continue  # of another size than its name has: said before
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


def look_again(looked: Looked) -> None:
    """Part of step 3, when all others are done: what was looked at is what lies there still."""
    step = looked.steps[2]
    now = dict(_files(looked.folder, Step(0, "")))
    for path in sorted(now.keys() | looked.there):
        if now.get(path) != looked.stamps.get(path):
            step.fault(
                f"{path} was written while it was looked at; let nobody write there, and look again"
            )


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


def _files(folder: Path, step: Step) -> Iterator[tuple[str, Stamp]]:
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
                found_as = each.stat(follow_symlinks=False)
                kind = found_as.st_mode
                if stat.S_ISDIR(kind) and depth < MAX_DEPTH:
                    waiting.append((path, depth + 1))
                elif not stat.S_ISREG(kind):
                    step.fault(f"{path!r:.200} is a {_kind(kind)}; a release has plain files alone")
                elif fault := _unplain(path):
                    step.fault(fault)
                else:
                    yield path, _stamp(found_as)


def _stamp(found: os.stat_result) -> Stamp:
    marks = (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns)
    return Stamp(found.st_size, 512 * found.st_blocks, marks)


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
