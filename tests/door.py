"""The lab's HTTP door without a network: requests go straight into the application."""

import base64
from pathlib import Path
from typing import Any

import httpx

from archipel.identity import Identity
from archipel.lab.api import make_api
from archipel.records.statements import BlobOffered
from people import envelope, ref
from world import World

PROBLEM_MEDIA_TYPE = "application/problem+json"


class Door:
    """Speaks HTTP to a world's lab."""

    def __init__(self, world: World, mirrors: Path | None = None) -> None:
        self._world = world
        self.api = make_api(world.lab, mirrors=mirrors)
        transport = httpx.ASGITransport(self.api, raise_app_exceptions=True)
        self._http = httpx.AsyncClient(transport=transport, base_url="http://lab.test")

    def close(self) -> None:
        self._world.await_(self._http.aclose())

    def request(self, method: str, path: str, **options: Any) -> httpx.Response:
        return self._world.await_(self._http.request(method, path, **options))

    def get(self, path: str, **options: Any) -> httpx.Response:
        return self.request("GET", path, **options)

    def say(self, data: bytes) -> httpx.Response:
        return self.request("POST", "/records", content=data)

    def ask(self, data: bytes, wait_s: float = 0.0) -> httpx.Response:
        return self.request("POST", "/leases", content=data, params={"wait_s": wait_s})

    def offer(self, author: Identity, data: bytes, work: str | None, **lies: Any) -> dict[str, str]:
        """The header that permits an upload."""
        fields = {"blob": ref(data), "work": work} | lies
        statement = self._world.statement(author, BlobOffered, **fields)
        return {"Archipel-Offer": base64.b64encode(envelope(author, statement)).decode()}

    def upload(
        self, author: Identity, data: bytes, work: str | None, sent: bytes | None = None
    ) -> httpx.Response:
        """Offer `data`, and send it, or `sent` in its place."""
        headers = self.offer(author, data, work)
        content = data if sent is None else sent
        return self.request("PUT", f"/blobs/{ref(data).digest}", headers=headers, content=content)


def problem(answer: httpx.Response) -> str:
    """The problem's name, after checking that the document is one (RFC 9457)."""
    assert answer.headers["content-type"] == PROBLEM_MEDIA_TYPE, answer.text
    body = answer.json()
    assert set(body) == {"type", "title", "status", "detail"}
    assert body["status"] == answer.status_code
    assert body["detail"]
    return str(body["type"]).rsplit("/", 1)[-1]
