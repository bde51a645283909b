"""A small release, and a web server on 127.0.0.1 that has it: it can break off, lie, crawl and forget."""

import contextlib
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from archipel.records.canonical import sha256_digest
from archipel.records.fields import BlobRef
from archipel.release import places
from archipel.release.index import Component, Parent, Released
from archipel.release.oms.folder import sign_folder
from archipel.release.oms.key import SigningKey
from people import identity

KEY = SigningKey.from_scalar(7)
BLOB = bytes(range(256)) * 4000
FILES = {
    "README.md": b"a card\n",
    "config.json": b"{}",
    "model.safetensors": b"weights" * 50_000,
    "data/a.txt": b"the same",
    "data/b/a.txt": b"the same",
    "data/empty": b"",
}


def small_release(folder: Path, title: str = "small", parents: tuple[Parent, ...] = ()) -> Path:
    """A signed folder: an index that names one blob, and some files."""
    digest = sha256_digest(BLOB)
    place = places.blob_place(digest)
    index = Released(
        title=title, run="small", lab=identity("lab").did, origin="o", tree_size=1,
        tree_root=f"sha256:{'0' * 64}", version=0, weights=f"sha256:{'1' * 64}", at_ms=1,
        components=(Component(kind="dataset", name="d", places=("data",), licence="MIT"),),
        blobs=(BlobRef(digest=digest, size=len(BLOB)),), parents=parents,
    )  # fmt: skip
    own = {places.INDEX: index.to_bytes(), places.KEY: KEY.public.pem, place: BLOB}
    for path, data in (FILES | own).items():
        where = folder / path
        where.parent.mkdir(parents=True, exist_ok=True)
        where.write_bytes(data)
    (folder / places.SIGNATURE).write_bytes(sign_folder(folder, title, KEY, places.SIGNATURE))
    return folder


@dataclass
class Web:
    """What it has, how it misbehaves, and what it was asked."""

    folder: Path
    url: str = ""
    break_at: dict[str, int] = field(default_factory=dict)
    """File -> byte at which its connection breaks, once."""
    lie: dict[str, bytes] = field(default_factory=dict)
    """File -> what is sent in its place."""
    crawl: set[str] = field(default_factory=set)
    """Files of which a byte comes now and then."""
    lost: set[str] = field(default_factory=set)
    ignores_range: bool = False
    status: dict[str, int] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)
    """(file, range)"""

    @property
    def counted(self) -> Counter[str]:
        """How often each file was asked for."""
        return Counter(name for name, _ in self.asked)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, web: Web) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.web = web


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        web, name = self.server.web, self.path.removeprefix("/m/")
        asked = self.headers.get("Range", "")
        web.asked.append((name, asked))
        path = web.folder / name
        if name in web.status or name in web.lost or not path.is_file():
            self.send_response(web.status.get(name, 404))
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        data = web.lie.get(name, path.read_bytes())
        start = int(asked[6:-1]) if asked and not web.ignores_range else 0
        if start >= len(data) and start:
            self.send_response(416)
            self.send_header("Content-Length", "0")
            self.end_headers()
            return
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        self._body(name, data, start)

    def _body(self, name: str, data: bytes, start: int) -> None:
        web = self.server.web
        with contextlib.suppress(OSError):
            if name in web.crawl:
                for each in data[start : start + 200]:
                    self.wfile.write(bytes([each]))
                    time.sleep(0.05)
            elif name in web.break_at:
                self.wfile.write(data[start : web.break_at.pop(name)])
                self.close_connection = True
                return
            self.wfile.write(data[start:])


@contextlib.contextmanager
def web_of(folder: Path) -> Iterator[Web]:
    """A server of this folder, for as long as it is wanted."""
    web = Web(folder)
    server = _Server(web)
    web.url = f"http://127.0.0.1:{server.server_address[1]}/m"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield web
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
