"""How a command ends where the system lacks something: one sentence and an exit code, never a traceback.

Parts: `ended_by`, `ended_starved`, `ended_unloaded`, `say`.
"""

import contextlib
import errno
import os
import sys

import click

SHORT_OF = {
    errno.ENOSPC: "no space left where the output goes",
    errno.EMFILE: "this process may open no more files: raise its limit (ulimit -n), then start it again",
    errno.ENFILE: "this machine opens no more files: end what else runs here, then start it again",
    errno.ENOMEM: "no memory left: end what else runs here, or allow it more, then start it again",
}
"""What an operating system does not give -> a sentence."""
LOADER = {
    "failed to map segment": errno.ENOMEM,
    "Unable to create type object": errno.ENOMEM,
    "Unable to instantiate PyTypeObject": errno.ENOMEM,
    os.strerror(errno.ENOMEM): errno.ENOMEM,
    os.strerror(errno.EMFILE): errno.EMFILE,
}
"""What the system's loader says where it lacks something, and libraries that pass it on."""
UNSAID = ("error return without exception set", "without setting an exception")
"""How Python says that its own parts failed and could not say why: seen where they had no memory for the words."""
UNIX = frozenset({"fcntl", "grp", "pwd", "resource", "termios"})
"""Modules of Python that Windows lacks."""


def ended_by(error: OSError) -> int:
    """The exit code after what the operating system would not do, and a sentence about it."""
    if error.errno in SHORT_OF:
        said = SHORT_OF[error.errno]
        sys.unraisablehook = lambda lost: None  # what was half made cannot be cleared away in order
    elif error.filename is None:
        raise error
    else:
        said = f"{error.filename}: {error.strerror}"
    say(f"archipel: {said}")
    return 1


def ended_starved(error: MemoryError | SystemError) -> int:
    """The exit code after memory ended, which inside of Python itself may be an error without a word.

    Raises:
        SystemError: `error` itself; it is something else.
    """
    if isinstance(error, SystemError) and not any(each in str(error) for each in UNSAID):
        raise error
    return ended_by(OSError(errno.ENOMEM, ""))


def ended_unloaded(error: ImportError | RuntimeError) -> int:
    """The exit code after a library that could not be loaded, or what it loads, and a sentence about what the system lacks.

    Raises:
        ImportError, RuntimeError: `error` itself; it is something else.
    """
    if isinstance(error, ImportError) and error.name in UNIX:
        say(
            "archipel: this command needs Linux or macOS, for locks and limits that this system does not have; "
            "on Windows run it under WSL 2. `archipel plan` works here"
        )
        return 1
    for words, number in LOADER.items():
        if words in str(error):
            return ended_by(OSError(number, ""))
    raise error


def say(text: str) -> None:
    """To whoever still reads."""
    with contextlib.suppress(OSError):
        click.echo(text, err=True)
