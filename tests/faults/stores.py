"""Where the lab of a disturbed world keeps its ledger and its blobs: a folder, PostgreSQL (one lab or two), a bucket.

What is not installed here is left out. Law: a server is started once for a campaign and ended with it; every world
has a schema or a bucket of its own.
"""

import hashlib
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import pytest

from archipel.bench.ledger_server import NoServer, empty_schema, postgres_server
from archipel.blobs import BlobStore
from archipel.blobs.errors import BlobError
from archipel.blobs.port import Blobs
from archipel.blobs.s3 import S3Blobs
from archipel.blobs.s3_bucket import Bucket
from archipel.blobs.s3_place import place_of
from faults.proxy import KEPT_WHOLE, BadNetwork
from s3_server import S3Server, s3_server

Server = TypeVar("Server")
FOLDER, POSTGRES, TWO_LABS, BUCKET = "folder", "PostgreSQL", "two labs", "bucket"
SECOND = "second"
MOST_ON_THE_WAY = 10
"""Spoilt connections between a lab and its bucket; moto's server takes bytes whose signed digest is another."""


@dataclass(frozen=True)
class Store:
    """One world's."""

    name: str = FOLDER
    options: tuple[str, ...] = ()
    """Of `lab start`."""
    environment: Mapping[str, str] = field(default_factory=dict)
    ledger: str | None = None
    """A database; None: a file in the lab's home."""
    network: BadNetwork | None = None
    """Between the lab and its bucket."""
    blobs: Callable[[Path], Blobs] = lambda home: BlobStore(home / "blobs")
    """From the lab's home."""

    @property
    def has_two_labs(self) -> bool:
        return self.name == TWO_LABS


class Stores:
    """All that are to be had here."""

    def __init__(self) -> None:
        self._stack = ExitStack()
        self._number = 0
        self._postgres = self._begun(postgres_server(durable=True))
        self._s3: S3Server | None = self._begun(s3_server())

    @property
    def names(self) -> tuple[str, ...]:
        """What a world may be over."""
        databases = (POSTGRES, TWO_LABS) if self._postgres else ()
        return (FOLDER, *databases, *((BUCKET,) if self._s3 else ()))

    def close(self) -> None:
        """End the servers."""
        self._stack.close()

    @contextmanager
    def opened(self, name: str, seed: str) -> Iterator[Store]:
        """One that nobody used before, while the block lasts."""
        if name == FOLDER:
            yield Store()
        elif name == BUCKET:
            with self._bucket(seed) as store:
                yield store
        else:
            assert self._postgres is not None
            self._number += 1
            place = empty_schema(self._postgres, f"lab{self._number}")
            yield Store(name, ("--ledger", place), ledger=place)

    @contextmanager
    def _bucket(self, seed: str) -> Iterator[Store]:
        server = self._s3
        assert server is not None
        url, port = server.fresh(), urlsplit(server.endpoint).port
        network = BadNetwork(int(port or 0), f"bucket {seed}", MOST_ON_THE_WAY, KEPT_WHOLE)
        network.open()
        near = url.replace(server.endpoint, network.url)

        def blobs(home: Path) -> Blobs:
            return S3Blobs(Bucket(place_of(url), server.credentials), BlobStore(home / "looking"))

        try:
            yield Store(BUCKET, ("--blobs", near), server.environment, network=network, blobs=blobs)
        finally:
            network.close()

    def _begun(self, server: AbstractContextManager[Server]) -> Server | None:
        try:
            return self._stack.enter_context(server)
        except (NoServer, pytest.skip.Exception):
            return None


def lost(blobs: Blobs, digests: set[str]) -> list[str]:
    """Which of these are not there, or are other bytes."""
    return [each for each in sorted(digests) if not _is_whole(blobs, each)]


def _is_whole(blobs: Blobs, digest: str) -> bool:
    if not blobs.exists(digest):
        return False
    try:
        data = blobs.read_bytes(digest, blobs.size(digest))
    except (OSError, BlobError):
        return False
    return f"sha256:{hashlib.sha256(data).hexdigest()}" == digest
