"""A private PostgreSQL server for the ledger's tests, from the Debian package's binaries."""

import itertools
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from archipel.bench.ledger_server import NoServer, empty_schema
from archipel.bench.ledger_server import postgres_server as server

_NUMBERS = itertools.count()


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running server's database, reached through a Unix socket."""
    with ExitStack() as stack:
        try:
            url = stack.enter_context(server(durable=False))
        except NoServer as error:
            pytest.skip(str(error))
        yield url


@pytest.fixture
def postgres_location(postgres_server: str) -> str:
    """URL of an empty database schema on the server."""
    return empty_schema(postgres_server, f"log{next(_NUMBERS)}")


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new log may live: each test that takes this runs on both storages."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_location"))
    return str(tmp_path / "ledger.sqlite")
