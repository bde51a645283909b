"""Processes that make shards, from outside: started once, asked one task at a time each.

Parts: `ChildLines`. Law: whoever leaves, by an error or Ctrl-C, leaves no process behind; a child that ended
or says nothing for `SHARD_LIMIT_S` is an error that names what it was at.
"""

import json
import queue
import socket
import subprocess
import sys
import threading
from collections.abc import Mapping
from contextlib import suppress
from typing import Any, Self

from archipel.records.corpus import BadCorpus, Shard
from archipel.training.corpus.sources import BadSource
from archipel.training.corpus.tokenising import Task

SHARD_LIMIT_S = 3600.0
"""The largest shard at a tenth of the slowest tokenizer's speed."""
MAX_REPLY_BYTES = 65_536


class ChildLost(BadCorpus):
    """A process that makes shards ended, or does not answer."""


class ChildLines:
    """`count` children; used as a context, which ends them."""

    def __init__(
        self, count: int, setup: Mapping[str, Any], environment: Mapping[str, str]
    ) -> None:
        self._free: queue.Queue[_Child] = queue.Queue()
        self._all: list[_Child] = []
        self._lock = threading.Lock()
        try:
            for _ in range(count):
                self._all.append(_Child(setup, environment))
                self._free.put(self._all[-1])
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """End all of them, at once."""
        with self._lock:
            for child in self._all:
                child.end()
            self._all = []

    def make(self, task: Task) -> Shard:
        """Make one shard in a child that is free; called by as many threads as there are children.

        Raises:
            BadSource, OSError: as `make_shard`.
            ChildLost: the child ended or said nothing.
        """
        child = self._free.get(timeout=SHARD_LIMIT_S)
        try:
            return child.make(task)
        finally:
            self._free.put(child)


class _Child:
    def __init__(self, setup: Mapping[str, Any], environment: Mapping[str, str]) -> None:
        self._line, theirs = socket.socketpair()
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-P", "-m", "archipel.training.corpus.shard_child"],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                env=dict(environment),
                start_new_session=True,  # deaf to our Ctrl-C: it is ended by us
            )
        self._line.settimeout(SHARD_LIMIT_S)
        self._replies = self._line.makefile("rb")
        self._say(setup)

    def _say(self, value: Mapping[str, Any]) -> None:
        self._line.sendall(json.dumps(value).encode() + b"\n")

    def make(self, task: Task) -> Shard:
        try:
            self._say(task.to_json())
            reply = self._replies.readline(MAX_REPLY_BYTES)
        except OSError as error:
            raise ChildLost(f"the process that made {task.path.name} is lost: {error}") from None
        if not reply.endswith(b"\n"):
            raise ChildLost(
                f"the process that made {task.path.name} ended; see what it said, and the machine's memory: "
                "fewer processes or smaller shards take less"
            )
        return _shard(reply)

    def end(self) -> None:
        with suppress(OSError):
            self._line.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for it
        self._process.kill()
        self._process.wait()
        self._replies.close()
        self._line.close()


def _shard(reply: bytes) -> Shard:
    told = json.loads(reply)
    if "fault" not in told:
        return Shard(**told)
    if told["errno"] is None:
        raise BadSource(told["fault"])
    raise OSError(told["errno"], told["fault"], told["filename"])
