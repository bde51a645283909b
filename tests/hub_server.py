"""A hub on 127.0.0.1 that answers as Hugging Face's does, with files from memory; it can break off."""

import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

COMMIT = "5" * 40
REPOSITORY = "someone/small"


@dataclass
class Hub:
    """What it holds, and what it was asked."""

    files: dict[str, bytes]
    licence: str | None = "apache-2.0"
    break_at: dict[str, int] = field(default_factory=dict)
    """File -> byte at which its connection breaks, once."""
    lie: dict[str, bytes] = field(default_factory=dict)
    """File -> what is sent in its place."""
    asked: list[tuple[str, str, str]] = field(default_factory=list)
    """Method, file, range of each request for a file."""
    url: str = ""

    def card(self) -> bytes:
        """What the API says of the repository."""
        return json.dumps(
            {
                "id": REPOSITORY, "modelId": REPOSITORY, "sha": COMMIT, "private": False, "tags": [],
                "cardData": {"license": self.licence} if self.licence else None,
                "siblings": [self._sibling(name, data) for name, data in self.files.items()],
            }
        ).encode()  # fmt: skip

    def _sibling(self, name: str, data: bytes) -> dict[str, object]:
        row: dict[str, object] = {"rfilename": name, "size": len(data), "blobId": git(data)}
        if name.endswith(".safetensors"):
            sha = hashlib.sha256(data).hexdigest()
            row["lfs"] = {"sha256": sha, "size": len(data), "pointerSize": 134}
        return row


def git(data: bytes) -> str:
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


class _Server(ThreadingHTTPServer):
    def __init__(self, hub: Hub) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.hub = hub


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, with_body: bool) -> None:
        hub, path = self.server.hub, self.path.partition("?")[0]
        if path.startswith(f"/api/models/{REPOSITORY}"):
            self.send(200, hub.card(), {"Content-Type": "application/json"}, with_body)
            return
        start = f"/{REPOSITORY}/resolve/{COMMIT}/"
        name = path.removeprefix(start)
        if not path.startswith(start) or name not in hub.files:
            error = {"X-Error-Code": "RepoNotFound" if "/api/" in path else "EntryNotFound"}
            self.send(404, b"{}", error, with_body)
            return
        asked = self.headers.get("Range", "")
        hub.asked.append((self.command, name, asked))
        data = hub.lie.get(name, hub.files[name])
        headers = {"ETag": f'"{git(data)}"', "X-Repo-Commit": COMMIT, "Accept-Ranges": "bytes"}
        first = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        self.send(206 if first else 200, data[first:], headers, with_body, name)

    def send(
        self, code: int, data: bytes, headers: dict[str, str], with_body: bool, name: str = ""
    ) -> None:
        self.send_response(code)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if not with_body:
            return
        cut = self.server.hub.break_at.pop(name, None)
        self.wfile.write(data[:cut])
        if cut is not None:
            self.wfile.flush()
            self.close_connection = True
            self.connection.shutdown(2)


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Until the block ends."""
    server = _Server(hub)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
