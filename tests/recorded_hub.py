"""A hub on 127.0.0.1 that answers as `/api/models` of Hugging Face's does, and misbehaves as it is told."""

import contextlib
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlsplit

LICENCES = ("apache-2.0", "llama3", "mit", "other")


def model(number: int) -> dict[str, Any]:
    """As the interface lists one when it is asked by `expand`."""
    organisation = f"org-{number % 7}"
    return {
        "_id": f"{number:024x}",
        "id": f"{organisation}/model-{number}",
        "author": organisation,
        "downloads": 1_000_000 // (number + 1),
        "downloadsAllTime": 9_000_000 // (number + 1),
        "likes": number,
        "createdAt": "2022-03-02T23:29:04.000Z" if number % 5 == 0 else "2025-06-10T08:00:00.000Z",
        "gated": "manual" if number % 4 == 1 else False,
        "private": False,
        "disabled": False,
        "pipeline_tag": "text-generation",
        "tags": ["transformers", f"license:{LICENCES[number % 4]}", "region:us"],
        "safetensors": {"parameters": {"BF16": 7_000_000_000}, "total": 7_000_000_000},
        "childrenModelCount": {"adapter": 3, "merge": 0, "quantized": 5, "finetune": number},
        "baseModels": {"relation": "finetune", "models": [{"_id": "a", "id": "org-0/model-0"}]},
    }


Fault = Callable[["Handler"], bool]
"""Answers in its own way, and says whether it did."""


@dataclass
class Hub:
    """What it holds, and what it was asked."""

    models: list[dict[str, Any]]
    a_page: int = 4
    faults: list[Fault | None] = field(default_factory=list)
    """For the first requests, one each."""
    asked: list[str] = field(default_factory=list)
    tags: list[str | None] = field(default_factory=list)
    """If-None-Match of each request."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Path -> bytes, beside the list."""
    url: str = ""

    def page(self, cursor: int) -> tuple[bytes, str | None]:
        """Bytes, and where the next one is."""
        body = json.dumps(self.models[cursor : cursor + self.a_page]).encode()
        follows = cursor + self.a_page
        return body, f"{self.url}/api/models?cursor={follows}" if follows < len(
            self.models
        ) else None


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    @property
    def hub(self) -> Hub:
        return self.server.hub  # type: ignore[attr-defined, no-any-return]

    def do_GET(self) -> None:
        hub = self.hub
        hub.asked.append(self.path)
        hub.tags.append(self.headers.get("If-None-Match"))
        fault = hub.faults.pop(0) if hub.faults else None
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            if fault is None or not fault(self):
                self.serve()

    def serve(self) -> None:
        path = urlsplit(self.path)
        if path.path in self.hub.files:
            body, follows = self.hub.files[path.path], None
        else:
            cursor = int(parse_qs(path.query).get("cursor", ["0"])[0])
            body, follows = self.hub.page(cursor)
        tag = f'"{hash(body) & 0xFFFFFFFF:x}"'
        if self.headers.get("If-None-Match") == tag:
            self.send(304, b"", {"ETag": tag})
            return
        headers = {"ETag": tag} | ({"Link": f'<{follows}>; rel="next"'} if follows else {})
        self.send(200, body, headers)

    def send(self, code: int, body: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(code)
        for key, value in ({"Content-Length": str(len(body))} | (headers or {})).items():
            self.send_header(key, value)
        self.end_headers()
        self.wfile.write(body)


def answering(code: int, body: bytes = b"", **headers: str) -> Fault:
    """With this, once."""
    named = {key.replace("_", "-"): value for key, value in headers.items()}

    def fault(handler: Handler) -> bool:
        handler.send(code, body, named)
        return True

    return fault


def cut_off(handler: Handler) -> bool:
    """Half of what Content-Length says."""
    handler.send(200, b'[{"id": "a/b"', {"Content-Length": "5000"})
    handler.close_connection = True
    return True


def endless(handler: Handler) -> bool:
    """A body without an end."""
    handler.send(200, b"[", {"Content-Length": str(10**12)})
    with contextlib.suppress(OSError):
        while True:
            handler.wfile.write(b" " * 65_536)
    handler.close_connection = True
    return True


def dripping(handler: Handler) -> bool:
    """A byte now and then."""
    handler.send(200, b"[", {"Content-Length": "100000"})
    with contextlib.suppress(OSError):
        for _ in range(20):
            handler.wfile.write(b" ")
            time.sleep(0.02)
    handler.close_connection = True
    return True


@contextlib.contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """Until the block ends."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.hub = hub  # type: ignore[attr-defined]
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    hub.url = f"http://127.0.0.1:{server.server_address[1]}"
    try:
        yield hub
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
