"""Buckets: signatures are those of Amazon's published examples, and a store that checks them keeps a whole mirror."""

import hashlib
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from archipel.release.mirroring.s3 import EMPTY, Access, address_of, signed
from mirrors import small_release
from releases import files, said

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
EXAMPLE = Access("AKIAIOSFODNN7EXAMPLE", SECRET)
AT = datetime(2013, 5, 24, tzinfo=UTC)
HOST = "https://examplebucket.s3.amazonaws.com"


def test_a_get_is_signed_as_in_amazon_s_example() -> None:
    headers = signed(("GET", f"{HOST}/test.txt", {"Range": "bytes=0-9"}), EMPTY, EXAMPLE, AT)
    assert headers["Authorization"].endswith(
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date,"
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41"
    )


def test_a_put_is_signed_as_in_amazon_s_example() -> None:
    payload = hashlib.sha256(b"Welcome to Amazon S3.").hexdigest()
    given = {"Date": "Fri, 24 May 2013 00:00:00 GMT", "x-amz-storage-class": "REDUCED_REDUNDANCY"}
    headers = signed(("PUT", f"{HOST}/test%24file.text", given), payload, EXAMPLE, AT)
    assert headers["Authorization"].endswith(
        "Signature=98ad721746da40c64f1a55b78f14c238d841ea1380cd77a1b5971af0ece108bd"
    )


def test_a_place_is_an_address_and_a_secret_is_shown_nowhere() -> None:
    assert address_of("s3://models/a/b", EXAMPLE) == "https://models.s3.us-east-1.amazonaws.com/a/b"
    local = Access("k", SECRET, endpoint="http://127.0.0.1:9/")
    assert address_of("s3://models", local) == "http://127.0.0.1:9/models"
    for place in ("s3://", "s3://UPPER/x", "s3://models/../x", "s3://models/a b", "http://models"):
        with pytest.raises(ValueError, match="like s3://bucket/prefix"):
            address_of(place, EXAMPLE)
    assert SECRET not in repr(EXAMPLE)
    assert SECRET not in str(signed(("GET", f"{HOST}/x", {}), EMPTY, EXAMPLE, AT))


@dataclass
class Store:
    """Objects, and what was asked."""

    url: str = ""
    objects: dict[str, tuple[bytes, str]] = field(default_factory=dict)
    asked: list[tuple[str, str]] = field(default_factory=list)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *_: object) -> None:
        pass

    def do_GET(self) -> None:
        store: Store = self.server.store  # type: ignore[attr-defined]  # set below
        store.asked.append((self.command, self.path))
        size = int(self.headers.get("Content-Length", "0"))
        body = self.rfile.read(size)
        if not self._may(body):
            self._send(403, b"<Code>SignatureDoesNotMatch</Code>")
        elif self.command == "PUT":
            store.objects[self.path] = (body, self.headers["x-amz-meta-sha256"])
            self._send(200, b"")
        elif self.path not in store.objects:
            self._send(404, b"")
        else:
            data, digest = store.objects[self.path]
            self._send(200, data, {"x-amz-meta-sha256": digest})

    def do_HEAD(self) -> None:
        self.do_GET()

    def do_PUT(self) -> None:
        self.do_GET()

    def _may(self, body: bytes) -> bool:
        """What was signed is what came."""
        said = self.headers["Authorization"]
        names = said.partition("SignedHeaders=")[2].partition(",")[0].split(";")
        given = {name: self.headers[name] for name in names}
        for own in ("host", "x-amz-content-sha256", "x-amz-date"):
            given.pop(own)
        at = datetime.strptime(self.headers["x-amz-date"], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        payload = hashlib.sha256(body).hexdigest()
        url = f"http://{self.headers['Host']}{self.path}"
        return signed((self.command, url, given), payload, EXAMPLE, at)["Authorization"] == said

    def _send(self, status: int, data: bytes, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)


@pytest.fixture
def store(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Store]:
    found = Store()
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    server.daemon_threads = True
    server.store = found  # type: ignore[attr-defined]  # for the handler
    found.url = f"http://127.0.0.1:{server.server_address[1]}"
    monkeypatch.setenv("ARCHIPEL_HOME", str(tmp_path / "own"))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", EXAMPLE.key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    monkeypatch.setenv("AWS_ENDPOINT_URL", found.url)
    for name in ("AWS_SESSION_TOKEN", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ENDPOINT_URL_S3"):
        monkeypatch.delenv(name, raising=False)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    yield found
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_release_goes_into_a_bucket_and_out_of_it_and_only_what_is_missing_goes_again(
    store: Store, tmp_path: Path
) -> None:
    upstream = small_release(tmp_path / "upstream")
    place = "s3://models/small"
    said("mirror", str(upstream), place)
    kept = {path.removeprefix("/models/small/"): data for path, (data, _) in store.objects.items()}
    assert kept == files(upstream)
    store.asked.clear()
    del store.objects["/models/small/README.md"]
    said("mirror", str(upstream), place)
    put = [path for method, path in store.asked if method == "PUT"]
    assert put == ["/models/small/README.md", "/models/small/release.sig"]
    said("mirror", place, str(tmp_path / "out"))
    assert files(tmp_path / "out") == files(upstream)
    another = small_release(tmp_path / "another", title="another")
    assert "holds another release" in said("mirror", str(another), place, code=1)


def test_a_wrong_key_is_refused_by_the_store_and_not_repeated(
    store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "hushhush")
    upstream = small_release(tmp_path / "upstream")
    told = said("mirror", str(upstream), "s3://models/small", code=1)
    assert "403" in told
    assert "hushhush" not in told
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    assert "set AWS_ACCESS_KEY_ID" in said("mirror", str(upstream), "s3://models/small", code=1)
    assert "cannot be written to" in said("mirror", str(upstream), "http://h/m", code=1)
