"""Mirrors over HTTP: what was seen of other labs, their ledgers and blobs as files, and signatures handed in by witnesses.

    /mirrors                              every mirror and how its lab stands
    /mirrors/NAME/checkpoint, /tile/...   as any web server would hand out a mirror: `archipel ledger verify` takes it
    /mirrors/NAME/blobs/DIGEST            as a lab hands out its own
    /mirrors/NAME/evidence/FILE           files that show a fork or a rollback
    /mirrors/NAME/witnesses               names of the files below, a line each
    /mirrors/NAME/witnesses/FILE          heads of that lab with witnesses' signatures
    /ledger/cosignatures                  takes a head of this lab with a witness's signature
    /ledger/witnesses                     the newest of each

Law: a path is one of the few forms above or nothing; what is read has the bound of its kind; the disk is read in threads.
"""

import asyncio
from collections.abc import Callable
from io import FileIO
from pathlib import Path
from typing import Annotated

from fastapi import FastAPI, Header, Request
from fastapi.responses import PlainTextResponse, Response

from archipel.blobs.errors import BadDigest
from archipel.blobs.layout import hexadecimal
from archipel.lab.description import BYTES_BODY, DOWNLOADS
from archipel.lab.doorman import Buckets, Rate
from archipel.lab.downloads import OCTETS, BlobBytes, NotThere, part_of
from archipel.lab.lab import Lab
from archipel.lab.mirrors.cosigned import MAX_COSIGNED_BYTES, Cosigned
from archipel.lab.mirrors.keeping import BLOBS, EVIDENCE, LEDGER
from archipel.lab.mirrors.seen_files import mirrors_in
from archipel.lab.refusals import Busy, NoSuchRange, StorageExhausted, Unknown
from archipel.lab.requests import address_of, bounded_body
from archipel.ledger.evidence import MAX_EVIDENCE_BYTES
from archipel.ledger.mirror import CHECKPOINT, COSIGNED_SUFFIX, WITNESSES, cosigned_files
from archipel.ledger.signed_note import MAX_NOTE_BYTES
from archipel.ledger.tiles import ENTRIES, MAX_BUNDLE_BYTES, TILE_BYTES, place_at
from archipel.records.mirror_documents import MirrorView, WitnessView, is_name

HANDED_IN = Rate(burst=30, per_s=0.2)
"""Signatures from one address."""
IMMUTABLE = {"Cache-Control": "public, max-age=31536000, immutable", "Accept-Ranges": "bytes"}
CHANGING = {"Cache-Control": "no-cache"}


def mirror_routes(
    api: FastAPI, lab: Lab, folder: Path | None, named: Callable[[], frozenset[str]] = frozenset
) -> None:
    """Add them. folder: of this lab's mirrors; None: it keeps none. named: witnesses that this lab names."""
    _file_routes(api, lab, folder or Path("/nonexistent"))
    _witness_routes(api, lab, named)

    @api.get("/mirrors", summary="Mirrors that this lab keeps of others, and how those stand")
    async def mirrors() -> list[MirrorView]:
        return [] if folder is None else await asyncio.to_thread(mirrors_in, folder)


def _file_routes(api: FastAPI, lab: Lab, folder: Path) -> None:
    @api.get(
        "/mirrors/{name}/blobs/{digest}",
        summary="A blob in a mirror; Range requests resume",
        response_class=Response,
        responses=DOWNLOADS,
    )
    async def blob(
        name: str, digest: str, wanted: Annotated[str | None, Header(alias="Range")] = None
    ) -> Response:
        file = await asyncio.to_thread(_opened, _mirror(folder, name) / BLOBS, digest)
        size = file.seek(0, 2)
        headers = IMMUTABLE | {"ETag": f'"{digest}"'}
        try:
            part = part_of(wanted, size)
        except NotThere as error:
            file.close()
            raise NoSuchRange(str(error), size) from None
        return BlobBytes(file, part, size, headers, lab.mesh)

    @api.get(
        "/mirrors/{name}/{path:path}",
        summary="A file of a mirror: checkpoint, tile, evidence or a witness's signature",
        response_class=Response,
        responses={200: {"content": {OCTETS: {}}}},
    )
    async def file(name: str, path: str) -> Response:
        if path == WITNESSES:
            found = await asyncio.to_thread(cosigned_files, _mirror(folder, name) / LEDGER)
            return PlainTextResponse("".join(f"{each}\n" for each in found), headers=CHANGING)
        place, most = _place(path)
        data = await asyncio.to_thread(_read, _mirror(folder, name) / place, most)
        if path == CHECKPOINT or WITNESSES in place.parts:
            return PlainTextResponse(data, headers=CHANGING)
        return Response(data, media_type=OCTETS, headers=IMMUTABLE)


def _witness_routes(api: FastAPI, lab: Lab, named: Callable[[], frozenset[str]]) -> None:
    cosigned = Cosigned(lab.log.key, named)
    buckets = Buckets(HANDED_IN, lambda: lab.clock_ms() / 1000)

    @api.put(
        "/ledger/cosignatures",
        summary="Hand in a head of this lab with a witness's signature (C2SP tlog-cosignature)",
        status_code=204,
        openapi_extra=BYTES_BODY,
    )
    async def hand_in(request: Request) -> Response:
        if not buckets.take(address_of(request)):
            raise Busy("too many signatures from one address; try again in a minute")
        cosigned.take(await bounded_body(request, MAX_COSIGNED_BYTES), lab.clock_ms() // 1000)
        return Response(status_code=204)

    @api.get("/ledger/witnesses", summary="Who signed this lab's heads, the newest of each")
    async def witnesses() -> list[WitnessView]:
        return cosigned.shown()


def _mirror(folder: Path, name: str) -> Path:
    if not is_name(name):
        raise Unknown(f"no mirror is named {name!r:.80}")
    return folder / name


def _place(path: str) -> tuple[Path, int]:
    """(where a file lies in a mirror's folder, most bytes of its kind)."""
    tile = place_at(path)
    if tile is not None:
        return Path(LEDGER) / path, MAX_BUNDLE_BYTES if tile.level == ENTRIES else TILE_BYTES
    if path == CHECKPOINT:
        return Path(LEDGER) / path, MAX_NOTE_BYTES
    kind, _, name = path.partition("/")
    if kind == EVIDENCE and is_name(name):
        return Path(EVIDENCE) / name, MAX_EVIDENCE_BYTES
    if kind == WITNESSES and is_name(name) and name.endswith(COSIGNED_SUFFIX):
        return Path(LEDGER) / WITNESSES / name, MAX_NOTE_BYTES
    raise Unknown(
        f"a mirror has no {path!r:.80}; it has {CHECKPOINT}, tile/..., {EVIDENCE}/..., {WITNESSES}/..."
    )


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(most)
    except OSError as error:
        raise _unread(error, f"this lab's mirror has no {path.name!r:.80}") from None


def _opened(root: Path, digest: str) -> FileIO:
    try:
        name = hexadecimal(digest)
        return FileIO(root / name[:2] / name[2:])
    except BadDigest as error:
        raise Unknown(str(error)) from None
    except OSError as error:
        raise _unread(error, f"no blob {digest} in this mirror") from None


def _unread(error: OSError, missing: str) -> Unknown | StorageExhausted:
    if isinstance(error, FileNotFoundError | NotADirectoryError | IsADirectoryError):
        return Unknown(missing)
    return StorageExhausted(f"the lab's disk cannot serve this now: {error.strerror}")
