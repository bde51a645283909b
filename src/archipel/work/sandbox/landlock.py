"""Landlock: a process fences itself off from files, TCP and other processes, for good.

Law: only what a rule names is allowed; a kernel that knows fewer rights fences fewer, and the
version returned says which. Source: Linux, Documentation/userspace-api/landlock.rst.

Not fenced by any version so far: names, sizes, modes and times of files (stat, chmod, utime);
`seccomp` refuses what changes them.
"""

import ctypes
import os
import stat
import struct
from collections.abc import Iterable
from pathlib import Path

from archipel.work.sandbox import kernel

_CREATE_RULESET, _ADD_RULE, _RESTRICT_SELF = 444, 445, 446
_CREATE_RULESET_VERSION = 1
_RULE_PATH_BENEATH = 1

_EXECUTE, _WRITE_FILE, _READ_FILE, _READ_DIR = 1 << 0, 1 << 1, 1 << 2, 1 << 3
_REMOVE_MAKE_BITS = ((1 << 13) - 1) & ~0b1111  # remove and make, all kinds: bits 4 to 12
_REFER, _TRUNCATE, _IOCTL_DEVICE = 1 << 13, 1 << 14, 1 << 15
_MAKE_DEVICE_BITS = (1 << 6) | (1 << 11)  # character and block devices: nobody's work
_BIND_TCP, _CONNECT_TCP = 1 << 0, 1 << 1
_SCOPE_ABSTRACT_SOCKETS, _SCOPE_SIGNALS = 1 << 0, 1 << 1

READ = _EXECUTE | _READ_FILE | _READ_DIR
"""Execute too: a shared library is mapped executable, and no_new_privs takes the harm out."""
WRITE = READ | _WRITE_FILE | (_REMOVE_MAKE_BITS & ~_MAKE_DEVICE_BITS) | _REFER | _TRUNCATE
CHANGE = READ | _WRITE_FILE | _TRUNCATE
"""What is there may be changed, and nothing made or removed."""
DEVICE = _READ_FILE | _WRITE_FILE | _IOCTL_DEVICE
_FILE_BITS = _EXECUTE | _WRITE_FILE | _READ_FILE | _TRUNCATE | _IOCTL_DEVICE
"""What a rule on a single file may name."""

VERSION_WITH_TRUNCATE = 3
VERSION_WITH_TCP = 4
VERSION_WITH_SIGNALS = 6


def version() -> int:
    """The Landlock ABI version of this kernel.

    Raises:
        OSError: Landlock is not compiled in, or is disabled.
    """
    return kernel.syscall("landlock", _CREATE_RULESET, 0, 0, _CREATE_RULESET_VERSION)


def fence(rules: Iterable[tuple[Path, int]], *, is_network_allowed: bool) -> int:
    """Allow each path its rights and nothing else; return the ABI version that enforces it.

    Paths that do not exist or cannot be reached are skipped. Needs no_new_privs, and binds only
    the calling thread and what it starts later.

    Raises:
        OSError: the kernel has no Landlock or refuses; then nothing is fenced.
    """
    ruleset = prepared(rules, is_network_allowed=is_network_allowed)
    try:
        enter(ruleset)
    finally:
        os.close(ruleset)
    return version()


def enter(ruleset: int) -> None:
    """Live by a prepared ruleset from now on: a domain of its own, which cannot see or signal the one
    that it was entered from.

    Raises:
        OSError: the kernel refuses (a process may be in 16 domains at once).
    """
    kernel.syscall("landlock_restrict_self", _RESTRICT_SELF, ruleset, 0)


def prepared(rules: Iterable[tuple[Path, int]], *, is_network_allowed: bool) -> int:
    """Descriptor of a ruleset as `fence` takes it, for processes that are yet to start.

    Raises:
        OSError: as `fence`.
    """
    abi = version()
    handled = _handled_files(abi)
    has_tcp = abi >= VERSION_WITH_TCP and not is_network_allowed
    tcp = _BIND_TCP | _CONNECT_TCP if has_tcp else 0
    scoped = _SCOPE_ABSTRACT_SOCKETS | _SCOPE_SIGNALS if abi >= VERSION_WITH_SIGNALS else 0
    words = struct.pack("=QQQ", handled, tcp, scoped)
    # An older kernel takes a longer structure as long as the part it does not know is zero.
    attributes = ctypes.create_string_buffer(words, len(words))
    ruleset = kernel.syscall(
        "landlock_create_ruleset",
        _CREATE_RULESET,
        ctypes.cast(attributes, ctypes.c_void_p),
        len(words),
        0,
    )
    try:
        for path, rights in rules:
            _allow(ruleset, path, rights & handled)
    except OSError:
        os.close(ruleset)
        raise
    return ruleset


def _handled_files(abi: int) -> int:
    bits = READ | WRITE | _MAKE_DEVICE_BITS | _IOCTL_DEVICE
    if abi < 2:
        bits &= ~_REFER
    if abi < VERSION_WITH_TRUNCATE:
        bits &= ~_TRUNCATE
    if abi < 5:
        bits &= ~_IOCTL_DEVICE
    return bits


def _allow(ruleset: int, path: Path, rights: int) -> None:
    try:
        beneath = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError, PermissionError):
        return
    try:
        if not stat.S_ISDIR(os.fstat(beneath).st_mode):
            rights &= _FILE_BITS
        rule = struct.pack("=Qi", rights, beneath)
        buffer = ctypes.create_string_buffer(rule, len(rule))
        kernel.syscall(
            "landlock_add_rule",
            _ADD_RULE,
            ruleset,
            _RULE_PATH_BENEATH,
            ctypes.cast(buffer, ctypes.c_void_p),
            0,
        )
    finally:
        os.close(beneath)
