"""Sending the parts of a version that a trusted child made: every file that its documents name, a few at a time.

Law: a part counts only if its bytes have the digest that a document gives it; what the lab has already is not sent again.
"""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from archipel.node.answer_files import AnswerFile, BadAnswer
from archipel.node.client import LabClient
from archipel.node.side_by_side import side_by_side
from archipel.node.uploads import send
from archipel.records.fields import BlobRef
from archipel.records.weight_parts import (
    MAX_INDEX_BYTES,
    MAX_LIST_BYTES,
    BadParts,
    read_blobs,
    read_index,
)
from archipel.work.part_plan import parts_folder

AT_ONCE = 3
"""One fewer than a lab takes for one lease."""


async def send_parts(
    client: LabClient, files: Mapping[str, Path], roots: Sequence[Path], work: str
) -> None:
    """Send the parts of the version whose documents are among `files`.

    roots: folders where a child may write.

    Raises:
        BadAnswer: a document is none, or a part is not the one that it names.
        LabUnreachable, LabRefused: from the lab.
    """
    folder = parts_folder(files["manifest"].parent)
    named = await asyncio.to_thread(lambda: list(_named(files, roots)))

    async def one(blob: BlobRef) -> None:
        path = folder / blob.digest.removeprefix("sha256:")
        file = await asyncio.to_thread(AnswerFile, path, roots)
        with file:
            if file.blob != blob:
                raise BadAnswer(f"the part {path.name} is {file.blob.digest} now")
            await send(client, file.rest, blob, work)

    await side_by_side(one, dict.fromkeys(named), AT_ONCE)


def _named(files: Mapping[str, Path], roots: Sequence[Path]) -> Iterator[BlobRef]:
    try:
        index = read_index(_document(files["manifest"], roots, MAX_INDEX_BYTES))
        yield from (part.manifest for part in index.parts)
        if "anchor" in files:
            anchor = _document(files["anchor"], roots, MAX_LIST_BYTES)
            yield from read_blobs(anchor, index, "anchor").blobs
        if "delta" in files:
            delta = _document(files["delta"], roots, MAX_LIST_BYTES)
            yield from read_blobs(delta, index, "delta").blobs
    except BadParts as error:
        raise BadAnswer(str(error)) from None


def _document(path: Path, roots: Sequence[Path], most: int) -> bytes:
    with AnswerFile(path, roots) as file:
        if file.blob.size > most:
            raise BadAnswer(f"{path.name} has {file.blob.size} bytes; at most {most} are read")
        return file.data()
