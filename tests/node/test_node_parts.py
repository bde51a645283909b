"""A node fetches the parts that it needs, from mirrors that it does not believe and from the lab, and no others."""

import asyncio
import hashlib
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from archipel.blobs import BlobStore
from archipel.node.exchange import LabRefused, LabUnreachable
from archipel.node.mirrors import REST_S, Mirrors
from archipel.node.parts import AT_ONCE, fetch_parts, in_parts, read_parts
from archipel.records.canonical import sha256_digest
from archipel.records.chain import Publication
from archipel.records.fields import BlobRef
from archipel.records.part_manifest import TensorFact, part_manifest
from archipel.records.weight_parts import InParts, Part
from archipel.records.weight_state import state_of
from archipel.work.joining import Receipt, join

PARTS = 9


def ref(data: bytes) -> BlobRef:
    return BlobRef(digest=sha256_digest(data), size=len(data))


class Lab:
    """Blobs by digest; counts what is asked for, and how much of it at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: dict[str, bytes] = {}
        self.asked: list[str] = []
        self.at_once = self.most_at_once = 0

    def keep(self, data: bytes) -> BlobRef:
        self.files[ref(data).digest] = data
        return ref(data)

    async def fetch(self, *blobs: BlobRef) -> list[Path]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        paths = []
        for blob in blobs:
            await asyncio.sleep(0)
            self.asked.append(blob.digest)
            if blob.digest not in self.files:
                raise LabUnreachable(f"{blob.digest} is nowhere")
            path = self.folder / blob.digest[7:]
            path.write_bytes(self.files[blob.digest])
            paths.append(path)
        self.at_once -= 1
        return paths

    def version(self) -> Publication:
        receipts = []
        for number in range(PARTS):
            fact = TensorFact(f"model.layers.{number}.w", (2,), ref(bytes([number])).digest)
            state = state_of([fact])
            manifest = self.keep(part_manifest([fact], state, 0, None))
            part = Part(
                manifest=manifest,
                state=state,
                first=fact.name,
                last=fact.name,
                tensors=1,
                weights=2,
            )
            anchor = self.keep(b"anchor %d" % number)
            receipts.append(Receipt(number=number, part=part, anchor=anchor, delta=None))
        made = join(receipts, lambda blob: self.files[blob.digest], 0, None)
        assert made.anchor is not None
        index, anchor = self.keep(made.index.to_bytes()), self.keep(made.anchor.to_bytes())
        manifest = InParts(digest=index.digest, size=index.size, parts=PARTS)
        return Publication(0, made.index.state, manifest, anchor, None)


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_only_the_parts_that_are_wanted_are_fetched_a_few_at_a_time(lab: Lab) -> None:
    made, heard = lab.version(), list[tuple[int, int]]()

    async def story() -> None:
        documents = await read_parts(made, "anchor", lab.fetch)
        lab.asked.clear()
        wanted = (1, 2, 3, 4, 6, 8)
        files = await fetch_parts(documents, wanted, lab.fetch, lambda *told: heard.append(told))
        pairs = [(documents.index.parts[n].manifest, documents.blobs.blobs[n]) for n in wanted]
        assert sorted(lab.asked) == sorted(each.digest for pair in pairs for each in pair)
        assert [weights.name for _, weights in files] == [blob.digest[7:] for _, blob in pairs]
        size = sum(each.size for pair in pairs for each in pair)
        assert heard[-1] == (size, size)
        assert [here for here, _ in heard] == sorted(here for here, _ in heard)

    asyncio.run(story())
    assert 1 < lab.most_at_once <= AT_ONCE


def test_a_whole_version_is_a_link_with_all_its_parts(lab: Lab) -> None:
    made = lab.version()
    link = asyncio.run(in_parts(made, "anchor", lab.fetch))
    assert link.parts is not None
    assert len(link.parts) == PARTS
    assert (link.delta, link.policy) == (None, made.policy)


def test_a_part_that_is_nowhere_ends_the_fetch_and_the_others_are_let_go(lab: Lab) -> None:
    made = lab.version()
    del lab.files[ref(b"anchor 2").digest]
    with pytest.raises(LabUnreachable):
        asyncio.run(in_parts(made, "anchor", lab.fetch))
    assert ref(b"anchor 8").digest not in lab.asked


@pytest.mark.parametrize("lie", ["policy", "parts", "list", "size", "delta"])
def test_documents_that_are_not_the_published_versions_are_refused(lab: Lab, lie: str) -> None:
    made = lab.version()
    elsewhere = ref(b"elsewhere").digest
    assert isinstance(made.manifest, InParts)
    fields: dict[str, Any] = {
        name: getattr(made, name) for name in ("version", "policy", "manifest", "anchor", "delta")
    }
    fields |= {
        "policy": {"policy": elsewhere},
        "parts": {"manifest": made.manifest.model_copy(update={"parts": PARTS + 1})},
        "list": {"anchor": made.manifest.plain},
        "size": {"manifest": made.manifest.model_copy(update={"size": 2**40})},
        "delta": {"anchor": None},
    }[lie]
    with pytest.raises(LabRefused):
        asyncio.run(read_parts(Publication(**fields), "anchor", lab.fetch))


class Files(SimpleHTTPRequestHandler):
    """Plain files, without a word about it."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def mirror(folder: Path, *blobs: bytes) -> Iterator[str]:
    """A folder of blobs behind a plain web server."""
    for data in blobs:
        name = hashlib.sha256(data).hexdigest()
        place = folder / "blobs" / name[:2] / name[2:]
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
    handler = partial(Files, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            thread.join(10)


def test_a_mirror_that_gives_other_bytes_is_asked_no_more_and_the_next_one_is(
    tmp_path: Path,
) -> None:
    one, two, store = b"one" * 1000, b"two" * 1000, BlobStore(tmp_path / "here")
    with mirror(tmp_path / "liar", one, two) as liar, mirror(tmp_path / "fair", one, two) as fair:
        for path in (tmp_path / "liar" / "blobs").rglob("*"):
            if path.is_file():
                path.write_bytes(path.read_bytes()[::-1])

        async def story() -> None:
            mirrors = Mirrors((liar, fair), store)
            await mirrors.fetch(ref(one))
            after = mirrors.bytes_down
            await mirrors.fetch(ref(two))
            assert mirrors.bytes_down - after == len(two), "the liar was not asked again"
            await mirrors.close()

        asyncio.run(story())
    assert store.read_bytes(ref(one).digest, 5000) == one
    assert store.read_bytes(ref(two).digest, 5000) == two


def test_a_mirror_that_does_not_answer_or_has_it_not_leaves_the_blob_to_others(
    tmp_path: Path,
) -> None:
    data, store, now = b"data" * 100, BlobStore(tmp_path / "here"), [0.0]
    with mirror(tmp_path / "other", b"something else") as other:

        async def story() -> None:
            mirrors = Mirrors(("http://127.0.0.1:9", other), store, lambda: now[0])
            await mirrors.fetch(ref(data))
            assert not store.exists(ref(data).digest)
            assert mirrors.resting == ("http://127.0.0.1:9",)
            now[0] = REST_S
            assert mirrors.resting == ()
            await mirrors.close()

        asyncio.run(story())


@pytest.mark.parametrize("is_cut_off", [False, True])
def test_a_mirror_that_drips_is_left_for_longer_each_time(tmp_path: Path, is_cut_off: bool) -> None:
    """Else it would cost every lease: what the work needs would not be there before its end."""
    data, store, now = b"data" * 100_000, BlobStore(tmp_path / "here"), [0.0]

    def clock_s() -> float:
        now[0] += 0.0 if is_cut_off else 10.0
        return now[0]

    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(OSError, asyncio.CancelledError):
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(data))
            while True:
                writer.write(b"d")
                await writer.drain()
                await asyncio.sleep(0.01)
        writer.close()

    async def story() -> None:
        async with await asyncio.start_server(drip, "127.0.0.1", 0) as server:
            url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
            mirrors = Mirrors((url,), store, clock_s)
            for rest_s in (REST_S, 2 * REST_S, 4 * REST_S):
                began_s = now[0]
                with pytest.raises(TimeoutError) if is_cut_off else nullcontext():
                    async with asyncio.timeout(0.1 if is_cut_off else 30.0):
                        await mirrors.fetch(ref(data))
                assert not store.exists(ref(data).digest)
                now[0] = max(now[0], began_s) + rest_s - 25.0
                assert mirrors.resting == (url,)
                now[0] += 25.0
                assert mirrors.resting == ()
            await mirrors.close()

    asyncio.run(story())
