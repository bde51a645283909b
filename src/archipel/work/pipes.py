"""Standard streams of a process that answers on one of them, and writing to one that may not read."""

import os
import select
import time
from typing import IO


def private_output() -> IO[bytes]:
    """Standard output for answers alone; what libraries print goes to the log."""
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return answers


def write_within(fd: int, data: bytes, limit_s: float) -> None:
    """All of `data` into a pipe, as fast as its reader takes it.

    Raises:
        TimeoutError: it did not take all of it in `limit_s` seconds.
        OSError: nobody reads there any more.
    """
    until, left = time.monotonic() + limit_s, memoryview(data)
    os.set_blocking(fd, False)
    poll = select.poll()
    poll.register(fd, select.POLLOUT)
    while left:
        left_s = until - time.monotonic()
        if left_s <= 0 or not poll.poll(1000 * left_s):
            raise TimeoutError(f"{len(left)} of {len(data)} bytes were not read in {limit_s:.0f} s")
        try:
            left = left[os.write(fd, left) :]
        except BlockingIOError:
            continue
