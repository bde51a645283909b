"""A private PostgreSQL server for the ledger's tests, from the Debian package's binaries."""

import itertools
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

_NUMBERS = itertools.count()


def _binaries() -> Path | None:
    """The newest installed server's folder of binaries."""
    on_path = shutil.which("initdb")
    if on_path:
        return Path(on_path).parent
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), key=lambda p: int(p.parts[-3]))
    return found[-1].parent if found else None


def _server_user() -> str | None:
    """Who runs the server: it refuses to be root."""
    if os.geteuid() != 0:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return "postgres" if "postgres" in names else "nobody"


@pytest.fixture(scope="session")
def postgres_server() -> Iterator[str]:
    """URL of a running server's database, reached through a Unix socket."""
    pytest.importorskip("psycopg", reason="psycopg is not installed (archipel[postgres])")
    binaries = _binaries()
    if binaries is None:
        pytest.skip("no PostgreSQL server here: apt-get install postgresql")
    user = _server_user()
    folder = Path(tempfile.mkdtemp(prefix="archipel-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data = folder / "data"

    def run(*command: str) -> None:
        subprocess.run(
            [str(binaries / command[0]), *command[1:]],
            user=user,
            cwd=folder,
            check=True,
            stdout=subprocess.DEVNULL,
            timeout=60,
        )

    try:
        run("initdb", "-D", str(data), "-U", "archipel", "-A", "trust", "--no-sync", "-E", "UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}' -c fsync=off"
        log = str(folder / "server.log")
        run("pg_ctl", "-D", str(data), "-w", "-l", log, "-o", settings, "start")
        try:
            yield f"postgresql://archipel@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", str(data), "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def postgres_location(postgres_server: str) -> str:
    """URL of an empty database schema on the server."""
    import psycopg

    name = f"log{next(_NUMBERS)}"
    with psycopg.connect(postgres_server, autocommit=True) as connection:
        connection.execute(f"CREATE SCHEMA {name}")
    return f"{postgres_server}&options=-csearch_path%3D{name}"


@pytest.fixture(params=["sqlite", "postgres"])
def location(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Where a new log may live: each test that takes this runs on both storages."""
    if request.param == "postgres":
        return str(request.getfixturevalue("postgres_location"))
    return str(tmp_path / "ledger.sqlite")
