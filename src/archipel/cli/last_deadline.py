"""The last deadline of a process that was told to end: what still runs when it is over is named, and cut off.

Threads of a pool are waited for at Python's own end, however long a disk, a database or a library keeps them. Law: no
process outlives being told to end by more than its command says; what it promised stands on the disk before that, so this
end costs no more than a kill does.
"""

import os
import queue
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress

CUT_OFF = 1
"""The exit code."""
LAB_S = 20.0
"""Of a lab, in which it answers for two seconds at most: whoever manages services allows thirty."""
NODE_S = 25.0
"""Of a node or a trusted role that gives its work back."""
PAGES_S = 10.0
"""Of what serves nothing but pages and signatures."""
CLEARED_S = 60.0
"""Of any command, once it is done: nothing is left but to clear away."""
MOST_NAMED = 4
TELL_S = 1.0


def last_deadline(limit_s: float, cut: Callable[[str], None] | None = None) -> Callable[[], None]:
    """What to call when the end begins, from anywhere, signal handlers too; called again it changes nothing.

    limit_s: seconds from then on. cut: what ends the process, told what still runs.
    """
    begun: queue.SimpleQueue[None] = queue.SimpleQueue()  # nothing else may be used in a handler

    def wait() -> None:
        begun.get()
        time.sleep(limit_s)
        (cut or _cut_off)(f"not ended {limit_s:g} s after it was to, because of {_at_work()}")

    threading.Thread(target=wait, name="last-deadline", daemon=True).start()
    return lambda: begun.put(None)


def _at_work() -> str:
    """Threads that Python waits for, and where each stands."""
    frames, own = sys._current_frames(), threading.get_ident()
    found = []
    for each in threading.enumerate():
        frame = frames.get(each.ident or 0)
        if each.ident != own and not each.daemon and frame is not None:
            code = frame.f_code
            at = f"{os.path.basename(code.co_filename)}:{frame.f_lineno}"  # noqa: PTH119  no path is opened
            found.append(f"{each.name} (in {code.co_name}, {at})")
    more = f" and {len(found) - MOST_NAMED} more" if len(found) > MOST_NAMED else ""
    return ", ".join(found[:MOST_NAMED]) + more or "nothing that is known"


def _cut_off(why: str) -> None:
    """What is said may find nobody who reads: nothing waits for that."""

    def tell() -> None:
        with suppress(OSError, ValueError):
            print(f"archipel: {why}; it is cut off", file=sys.stderr, flush=True)

    with suppress(RuntimeError):  # no thread can be started any more
        telling = threading.Thread(target=tell, daemon=True)
        telling.start()
        telling.join(TELL_S)
    os._exit(CUT_OFF)
