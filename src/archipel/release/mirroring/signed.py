"""Whose signature a release has, and what it says: read from each origin before anything else.

Law: an origin whose signature does not hold, or is another one, is left and named; none is believed for being first.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from archipel.release import places
from archipel.release.index import MAX_FILES, plain_path
from archipel.release.mirroring.origins import Cut, NotThere, Origin, TooLong, Unusable
from archipel.release.oms.bundle import MAX_BUNDLE_BYTES, read_bundle, verify
from archipel.release.oms.key import MAX_PUBLIC_BYTES, PublicKey
from archipel.release.oms.statement import SignedFiles

TRIES = 3
STAGING = ".mirroring"
"""Folder in a mirror for what is not whole yet; no file of a release lies there."""


class CannotMirror(ValueError):
    """There is nothing to copy, or nowhere to; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Whose:
    """What is expected of the signing key; both None: the one that the first origin brings."""

    hint: str | None = None
    pem: bytes | None = None


@dataclass(frozen=True, slots=True)
class Agreed:
    """What is copied, and from where."""

    signature: bytes
    """`release.sig`."""
    files: SignedFiles
    hint: str
    """Of the key that signed it."""
    origins: tuple[Origin, ...]
    """Those that have this very signature."""
    left: dict[str, str]
    """Origin -> why nothing more is asked of it."""


def agree(origins: Sequence[Origin], whose: Whose) -> Agreed:
    """1. Each origin's signature holds, by the key that is expected or the one that it brings. 2. The first that holds
    is the one. 3. Whoever has another is left.

    Raises:
        CannotMirror: none holds.
    """
    left: dict[str, str] = {}
    found: tuple[bytes, SignedFiles, str] | None = None
    same: list[Origin] = []
    for origin in origins:
        try:
            said = _signature(origin, whose)
        except (Unusable, ValueError) as error:
            left[origin.name] = str(error)
            continue
        found = found or said
        if said[0] == found[0]:
            same.append(origin)
        else:
            left[origin.name] = f"it has another release, signed by {said[2]}"
    if found is None:
        reasons = "; ".join(f"{name}: {why}" for name, why in left.items())
        raise CannotMirror(f"no release could be read. {reasons}")
    return Agreed(found[0], found[1], found[2], tuple(same), left)


def _signature(origin: Origin, whose: Whose) -> tuple[bytes, SignedFiles, str]:
    pem = whose.pem or read_whole(origin, places.KEY, MAX_PUBLIC_BYTES)
    key = PublicKey.from_pem(pem)
    if whose.hint not in (None, key.hint):
        raise ValueError(f"it is signed by the key {key.hint}; expected {whose.hint}")
    data = read_whole(origin, places.SIGNATURE, MAX_BUNDLE_BYTES)
    files = verify(read_bundle(data), key)
    if len(files.digests) > MAX_FILES:
        raise ValueError(f"it names {len(files.digests)} files; at most {MAX_FILES}")
    for path in files.digests:
        if plain_path(path).split("/")[0] == STAGING:
            raise ValueError(f"it names {path:.200}, where a mirror keeps what is not whole")
    if places.INDEX not in files.digests or places.SIGNATURE in files.digests:
        raise ValueError(
            f"its signature is not over {places.INDEX} and all else, so it is no release"
        )
    return data, files, key.hint


def read_whole(origin: Origin, path: str, most: int) -> bytes:
    """A small file.

    Raises:
        Unusable: it does not come, or is larger than any such file.
    """
    fault = ""
    for _ in range(TRIES):
        data = bytearray()
        try:
            with origin.read(path, 0) as answer:
                for piece in answer.pieces:
                    data += piece
                    if len(data) > most:
                        raise Unusable(
                            f"its {path} has more than {most} bytes, as none of its kind has"
                        )
                return bytes(data)
        except NotThere:
            raise Unusable(f"it has no {path}, so it is no release") from None
        except (Cut, TooLong) as error:
            fault = str(error)
    raise Unusable(f"its {path} broke off {TRIES} times: {fault}")
