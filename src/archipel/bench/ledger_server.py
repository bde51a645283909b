"""A private PostgreSQL server, from the binaries that are installed here, reached through a Unix socket alone."""

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from archipel.extras import needs

START_S = 60
"""Longest for any one of its commands."""


class NoServer(RuntimeError):
    """There is none here, or it does not start; the message says what is missing."""


@contextmanager
def postgres_server(*, durable: bool) -> Iterator[str]:
    """URL of its one database while the block lasts.

    durable: whether a commit waits for the disk, as a real one does.

    Raises:
        NoServer: it cannot be had.
    """
    try:
        import psycopg  # noqa: F401  what reaches it
    except ImportError as error:
        raise NoServer(f"{needs('PostgreSQL', 'postgres')} ({error})") from None
    binaries = _binaries()
    if binaries is None:
        raise NoServer("no PostgreSQL server here: apt-get install postgresql")
    user, folder = _server_user(), Path(tempfile.mkdtemp(prefix="archipel-postgres-"))
    if user is not None:
        shutil.chown(folder, user)
    data = str(folder / "data")

    def run(*command: str) -> None:
        try:
            subprocess.run(  # noqa: S603  the server's own programs, no shell
                [str(binaries / command[0]), *command[1:]],
                user=user,
                cwd=folder,
                check=True,
                stdout=subprocess.DEVNULL,
                timeout=START_S,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise NoServer(f"PostgreSQL in {binaries}: {error}") from None

    try:
        run("initdb", "-D", data, "-U", "archipel", "-A", "trust", "--no-sync", "-E", "UTF8")
        settings = f"-c listen_addresses='' -c unix_socket_directories='{folder}'"
        settings += "" if durable else " -c fsync=off"
        run("pg_ctl", "-D", data, "-w", "-l", str(folder / "server.log"), "-o", settings, "start")
        try:
            yield f"postgresql://archipel@/postgres?host={folder}"
        finally:
            run("pg_ctl", "-D", data, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def empty_schema(server: str, name: str) -> str:
    """URL of a new schema, where one log has room."""
    import psycopg
    from psycopg.sql import SQL, Identifier

    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(name)))
    return f"{server}&options=-csearch_path%3D{name}"


def _binaries() -> Path | None:
    """The newest installed server's folder of programs."""
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
