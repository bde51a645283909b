"""Whoever was told to end ends: what keeps it is named and cut off, and nothing is cut off before."""

import asyncio
import errno
import gc
import logging
import os
import queue
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
from uvicorn import Config

from archipel import connections, source_environment
from archipel.cli import archipel
from archipel.cli.last_deadline import CUT_OFF, last_deadline
from archipel.connections import NO_DESCRIPTOR, OneSentence, Server

SOON_S, LIMIT_S = 0.02, 20.0
STUCK = """
import sys, threading
from concurrent.futures import ThreadPoolExecutor
from archipel.cli.last_deadline import last_deadline
ThreadPoolExecutor(1, "keeper").submit(threading.Event().wait)
last_deadline(0.2)()
sys.stdout.write("x" * int(sys.argv[1]))
"""


def test_what_keeps_a_process_that_was_told_to_end_is_named_with_where_it_stands() -> None:
    told: queue.Queue[str] = queue.Queue()
    held = threading.Event()
    keeper = threading.Thread(target=held.wait, name="keeper")
    keeper.start()
    begin = last_deadline(SOON_S, told.put)
    with pytest.raises(queue.Empty):
        told.get(timeout=10 * SOON_S)
    begin()
    begin()
    said = told.get(timeout=LIMIT_S)
    held.set()
    keeper.join(LIMIT_S)
    assert "keeper (in wait, threading.py:" in said
    assert "last-deadline" not in said, "who waits for the end keeps nobody"


def test_a_server_says_that_it_was_told_to_end_in_the_signals_own_handler() -> None:
    told: list[str] = []
    server = Server(Config(lambda: None))
    server.when_told = lambda: told.append("told")
    server.handle_exit(signal.SIGTERM, None)
    assert told == ["told"]
    assert server.should_exit


def test_no_server_of_this_project_is_one_that_says_nothing() -> None:
    sources = Path(connections.__file__).parent.rglob("*.py")
    silent = [path.name for path in sources if "uvicorn.Server" in path.read_text()]
    assert silent == ["connections.py"], "subclass connections.Server, and give it a last deadline"


def test_callers_for_whom_no_descriptor_is_left_are_told_of_in_a_sentence_now_and_then() -> None:
    only = OneSentence()

    def record(text: str) -> logging.LogRecord:
        cause = OSError(errno.EMFILE, "Too many open files")
        return logging.LogRecord("asyncio", 40, "", 0, text, (), (OSError, cause, None))

    first, second, other = (
        record(text) for text in (f"{NO_DESCRIPTOR}\nx", NO_DESCRIPTOR, "a riddle")
    )
    assert [only.filter(each) for each in (first, second, other)] == [True, False, True]
    assert first.exc_info is None
    assert "ulimit -n" in first.getMessage()
    assert other.exc_info is not None


def test_asyncio_still_begins_so_where_no_descriptor_is_left(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("asyncio"), "filters", [])  # of servers before

    class Full(socket.socket):
        def accept(self) -> tuple[socket.socket, object]:
            raise OSError(errno.EMFILE, "Too many open files")

    async def accepting() -> None:
        loop = asyncio.get_running_loop()
        loop.remove_reader = lambda *_: None  # type: ignore[method-assign]
        loop.call_later = lambda *_: None  # type: ignore[method-assign, assignment]
        with Full() as full:
            loop._accept_connection(asyncio.Protocol, full)  # type: ignore[attr-defined]

    with caplog.at_level(logging.ERROR, "asyncio"):
        asyncio.run(accepting())
    assert caplog.records[0].msg.startswith(NO_DESCRIPTOR)


@pytest.mark.parametrize(
    ("raised", "said"),
    [
        (MemoryError(), "no memory left"),
        (SystemError("error return without exception set"), "no memory left"),
        (OSError(errno.EMFILE, "x", "/a"), "may open no more files"),
        (ImportError("libx.so: failed to map segment from shared object"), "no memory left"),
        (RuntimeError("RandomnessType: Unable to create type object!"), "no memory left"),
        (RuntimeError("unable to open file </x> in read-only mode: Too many open files (24)"), "no more files"),
        (ImportError("liby.so: cannot open shared object file: Too many open files"), "no more files"),
    ],
)  # fmt: skip
def test_what_the_system_does_not_give_ends_a_command_in_a_sentence(
    raised: Exception, said: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    def short(**_: object) -> None:
        raise raised

    monkeypatch.setattr(sys, "unraisablehook", sys.unraisablehook)
    monkeypatch.setattr(archipel.command, "main", short)
    with pytest.raises(SystemExit) as ended:
        archipel.run(["x"])
    assert ended.value.code == 1
    assert said in capfd.readouterr().err


def test_a_library_that_is_not_there_is_no_want_of_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    def lacks(**_: object) -> None:
        raise ImportError("No module named 'x'")

    monkeypatch.setattr(archipel.command, "main", lacks)
    with pytest.raises(ImportError, match="No module"):
        archipel.run(["x"])


@pytest.mark.slow
@pytest.mark.parametrize("unread_bytes", [0, 2**20])
def test_a_pool_that_never_ends_keeps_no_process_whether_somebody_reads_or_not(
    unread_bytes: int,
) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", STUCK, str(unread_bytes)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if unread_bytes else subprocess.PIPE,
        env={**source_environment(), "PATH": os.defpath},
    ) as process:
        try:
            assert process.wait(LIMIT_S) == CUT_OFF
        finally:
            process.kill()
        if process.stderr is not None:
            assert b"keeper_0 (in wait, threading.py:" in process.stderr.read()


@pytest.mark.slow
def test_no_command_looks_for_garbage_among_all_that_it_loaded_when_it_is_over() -> None:
    program = (
        "import atexit, gc, sys\n"
        "from archipel.cli import archipel\n"
        "atexit.register(lambda: print(gc.get_freeze_count()))\n"
        "sys.argv = ['archipel', '--help']\n"
        "archipel.run()\n"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**source_environment(), "PATH": os.defpath},
        capture_output=True,
        text=True,
        timeout=LIMIT_S,
        check=True,
    ).stdout
    assert int(told.splitlines()[-1]) > len(gc.get_objects()) // 1000


def test_a_request_that_is_cut_off_at_the_end_is_a_sentence(
    caplog: pytest.LogCaptureFixture,
) -> None:
    begun = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        begun.set()
        await asyncio.sleep(60)

    async def story() -> None:
        config = Config(app, lifespan="off", timeout_graceful_shutdown=1, log_config=None)
        server = Server(config)
        with socket.create_server(("127.0.0.1", 0)) as listener:
            serving = asyncio.create_task(server.serve([listener]))
            _, writer = await asyncio.open_connection(*listener.getsockname())
            writer.write(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await begun.wait()
            server.should_exit = True
            await serving
            writer.close()

    async def bounded() -> None:
        async with asyncio.timeout(30):
            await story()

    with caplog.at_level(logging.ERROR, "uvicorn.error"):
        asyncio.run(bounded())
    assert any("timeout graceful shutdown exceeded" in each.message for each in caplog.records)
    assert not any(each.exc_info for each in caplog.records)
