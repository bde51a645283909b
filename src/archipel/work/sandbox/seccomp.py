"""Seccomp: system calls that work never needs fail with EPERM.

Law: a short list of refusals (`calls`), for what namespaces and Landlock leave open: sockets of every
family (a Unix socket in the file system or a virtual machine's vsock passes a network namespace; of these a driver
may listen at one kind),
io_uring (which would open sockets around this filter), other processes' memory, descriptors, limits
and priorities, changes of mode, owner, times and attributes by path, and parts of the kernel with a
history of holes. A later filter only adds refusals to an earlier one.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import os
import platform
import socket
import struct
from collections.abc import Iterator
from dataclasses import dataclass

from archipel.work.sandbox import calls, kernel

_SECCOMP_SET_MODE_FILTER = 1
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_AND = 0x54
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_PASS_OVER = 0x00050000  # nothing is done, and no error told
_CLONE_THREAD = 0x00010000
_SOCKET_KIND = 0xF  # of a socket's type; above it flags
_X32_BIT = 0x40000000  # the x86-64 kernel's second system call table

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}
_TO_WRITE = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC

_LINE_BYTES = 8
_OWN_PID = 0x7FFF_F00D  # stands for the installing process; Linux gives no process this number
_Line = tuple[int, int, int, int]
"""A classic BPF instruction: code, jump if true, jump if false, operand."""


@dataclass(frozen=True, slots=True)
class Allowance:
    """What is allowed beyond what always is."""

    network: bool = False
    new_processes: bool = False
    """Without them signals go to the calling process only."""
    driver: bool = False
    """Of an accelerator: one kind of Unix socket, to be found by, not to reach anybody. libcuda offers its descriptor of unified
    memory to processes that share memory with it, and does not start where it cannot."""
    writing: bool = True
    """Opening files to write them; what is open already may be written."""


def refuse(allowance: Allowance) -> None:
    """Refuse the listed calls from now on, in this thread and whatever it starts.

    Raises:
        OSError: as `compiled` and `install`.
    """
    install(compiled(allowance))


def compiled(allowance: Allowance) -> bytes:
    """The filter, for any process to install.

    Raises:
        OSError: an architecture without a table here.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCHITECTURE:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    lines = [*_prologue(machine), *_body(machine, allowance), (_RETURN, 0, 0, _ALLOW)]
    return b"".join(struct.pack("=HBBI", *line) for line in lines)


def install(program: bytes) -> None:
    """Live by a filter that was compiled here or in a parent. Needs no_new_privs.

    Raises:
        OSError: a kernel without seccomp filters.
    """
    machine = platform.machine()
    program = program.replace(struct.pack("=I", _OWN_PID), struct.pack("=I", os.getpid()))
    filters = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16-bit count, padding, and the address
    header = struct.pack("@HP", len(program) // _LINE_BYTES, ctypes.addressof(filters))
    buffer = ctypes.create_string_buffer(header, len(header))
    kernel.syscall(
        "seccomp",
        _SECCOMP_NUMBER[machine],
        _SECCOMP_SET_MODE_FILTER,
        0,
        ctypes.cast(buffer, ctypes.c_void_p),
    )


def _body(machine: str, allowance: Allowance) -> Iterator[_Line]:
    column = 0 if machine == "x86_64" else 1
    names = dict(calls.ALWAYS)
    conditions = calls.OF_ITSELF
    are_meeting = allowance.network and allowance.new_processes
    if allowance.driver and not allowance.network:
        names |= calls.CONNECT
        yield from _listening_only(column)
    elif not allowance.network:
        names |= calls.SOCKET
    if not allowance.new_processes:
        names |= calls.FORK
        conditions += calls.of_process(_OWN_PID)
        yield from _threads_only(column)
    if not allowance.writing:
        names |= calls.WRITES
        yield from _reading_only(column)
    for condition in conditions:
        is_passed_over = are_meeting and condition is calls.OWN_SCHEDULE
        yield from _only_if(condition, column, _PASS_OVER if is_passed_over else _REFUSE)
    for pair in names.values():
        number = pair[column]
        if number is not None:
            yield from _returned(number, _REFUSE)


def _prologue(machine: str) -> list[_Line]:
    """Load the call's number; one through another architecture's table kills the process."""
    lines = [
        (_LOAD_WORD, 0, 0, _OFFSET_ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, _AUDIT_ARCHITECTURE[machine]),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD_WORD, 0, 0, _OFFSET_NUMBER),
    ]
    if machine == "x86_64":
        lines += [(_JUMP_AT_LEAST, 0, 1, _X32_BIT), (_RETURN, 0, 0, _REFUSE)]
    return lines


def _returned(number: int, verdict: int) -> list[_Line]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, verdict)]


def _flags(number: int, argument: int, bits: int, verdicts: tuple[int, int]) -> list[_Line]:
    """The first verdict where an argument's low half has any of `bits`, else the second."""
    return [
        (_JUMP_EQUAL, 0, 4, number),
        (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT + 8 * argument),  # both are little-endian
        (_JUMP_ANY_BIT, 0, 1, bits),
        (_RETURN, 0, 0, verdicts[0]),
        (_RETURN, 0, 0, verdicts[1]),
    ]


def _threads_only(column: int) -> Iterator[_Line]:
    """Clone makes threads only; clone3, whose flags a filter cannot see, is unknown, so that the
    C library falls back to clone.
    """
    clone, clone3 = calls.CLONE[column], calls.CLONE3[column]
    if clone is not None and clone3 is not None:
        yield from _returned(clone3, _UNKNOWN)
        yield from _flags(clone, 0, _CLONE_THREAD, (_ALLOW, _REFUSE))


def _listening_only(column: int) -> Iterator[_Line]:
    """Sockets of Unix that only a connection makes useful; whoever may not connect can but wait for one."""
    number = calls.SOCKET["socket"][column]
    if number is not None:
        yield (_JUMP_EQUAL, 0, 7, number)
        yield (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT)
        yield (_JUMP_EQUAL, 0, 4, socket.AF_UNIX)
        yield (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT + 8)
        yield (_AND, 0, 0, _SOCKET_KIND)
        yield (_JUMP_EQUAL, 0, 1, socket.SOCK_SEQPACKET)
        yield (_RETURN, 0, 0, _ALLOW)
        yield (_RETURN, 0, 0, _REFUSE)


def _reading_only(column: int) -> Iterator[_Line]:
    openat2 = calls.OPENAT2[column]
    if openat2 is not None:
        yield from _returned(openat2, _UNKNOWN)
    for _, pair, argument in calls.OPENINGS:
        number = pair[column]
        if number is not None:
            yield from _flags(number, argument, _TO_WRITE, (_REFUSE, _ALLOW))


def _only_if(condition: calls.OnlyIf, column: int, verdict: int) -> Iterator[_Line]:
    """Allow where every word has its value, else give this verdict; each test jumps to it."""
    number = condition.number[column]
    if number is None:
        return
    words = condition.words
    yield (_JUMP_EQUAL, 0, 2 * len(words) + 2, number)
    for place, (half, value) in enumerate(words):
        yield (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT + 4 * half)
        yield (_JUMP_EQUAL, 0, 2 * (len(words) - place) - 1, value)
    yield (_RETURN, 0, 0, _ALLOW)
    yield (_RETURN, 0, 0, verdict)
