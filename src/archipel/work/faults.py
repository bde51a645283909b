"""What an exception in a child says to its agent: one sentence, and whose fault it is.

Law: whatever a run's data, recipe, prompts or weights raise is the work's fault; the machine's is only what
its memory and its disk refuse, and an engine that computes another model. A full disk is nobody's: the same work goes on when there is room.
"""

import errno
import os

from archipel.work.kind import MachineUnfit, Unanswered, WorkFailed
from archipel.work.messages import Failed

MAX_REASON_CHARACTERS = 2000
DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.EFBIG, None})
"""None: a library that reports a full disk in words of its own (`safetensors`)."""
NO_ROOM = os.strerror(errno.ENOSPC)
"""In whatever class of error a library wraps it."""
NO_MEMORY = ("can't allocate memory", "not enough memory", "out of memory")
"""What tensor libraries say that raise RuntimeError for it."""


def failed(error: BaseException) -> Failed:
    """The reply to work that raised `error`."""
    if isinstance(error, Unanswered):
        return Failed(reason=_text(str(error)), fault=error.fault)
    if isinstance(error, MachineUnfit):
        return Failed(reason=_text(str(error)), fault="machine")
    if isinstance(error, WorkFailed):
        return _failed(str(error))
    if _is_memory(error):
        return Failed(
            reason="out of memory: lower the load or raise --max-memory-gb", fault="machine"
        )
    if (isinstance(error, OSError) and error.errno in DISK) or NO_ROOM in str(error):
        return Failed(reason=_text(f"{error}; make room on the disk, or mend it"), fault=None)
    if isinstance(error, SystemExit):
        return _failed(f"what the run uses ended its own process: {error}")
    is_ours = type(error).__module__.startswith("archipel.") and str(error)
    return _failed(str(error) if is_ours else f"{type(error).__name__}: {error}")


def _is_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError):
        return True
    if isinstance(error, OSError):
        return error.errno == errno.ENOMEM
    return isinstance(error, RuntimeError) and any(
        words in str(error).lower() for words in NO_MEMORY
    )


def _failed(reason: str) -> Failed:
    return Failed(reason=_text(reason), fault="work")


def _text(reason: str) -> str:
    """Bounded, and fit for a pipe: half a surrogate pair is no text."""
    return reason[:MAX_REASON_CHARACTERS].encode("utf-8", "backslashreplace").decode()
