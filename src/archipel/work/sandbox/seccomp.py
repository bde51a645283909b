"""Seccomp: system calls that work never needs fail with EPERM.

Law: a short list of refusals, for what namespaces and Landlock leave open: sockets of every family
(a Unix socket in the file system or a virtual machine's vsock passes a network namespace), io_uring
(which would open sockets around this filter), other processes' memory and descriptors, changes of
mode and owner by path, and parts of the kernel with a history of holes.
Source: Linux, Documentation/userspace-api/seccomp_filter.rst.
"""

import ctypes
import errno
import platform
import struct

from archipel.work.sandbox import kernel

_SECCOMP_SET_MODE_FILTER = 1
_LOAD_WORD, _JUMP_EQUAL, _JUMP_AT_LEAST, _JUMP_ANY_BIT, _RETURN = 0x20, 0x15, 0x35, 0x45, 0x06
_OFFSET_NUMBER, _OFFSET_ARCHITECTURE, _OFFSET_FIRST_ARGUMENT = 0, 4, 16
_ALLOW, _KILL_PROCESS = 0x7FFF0000, 0x80000000
_REFUSE = 0x00050000 | errno.EPERM
_UNKNOWN = 0x00050000 | errno.ENOSYS
_CLONE_THREAD = 0x00010000
_X32_BIT = 0x40000000  # the x86-64 kernel's second system call table

_AUDIT_ARCHITECTURE = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_SECCOMP_NUMBER = {"x86_64": 317, "aarch64": 277}

# name: (x86_64, aarch64); None where the architecture never had it
_Numbers = dict[str, tuple[int | None, int | None]]
_SOCKET: _Numbers = {"socket": (41, 198)}
_FORK: _Numbers = {"fork": (57, None), "vfork": (58, None)}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
_ALWAYS_REFUSED: _Numbers = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "pidfd_getfd": (438, 438),
    "kcmp": (312, 272),
    "add_key": (248, 217),
    "request_key": (249, 218),
    "keyctl": (250, 219),
    "bpf": (321, 280),
    "perf_event_open": (298, 241),
    "userfaultfd": (323, 282),
    "unshare": (272, 97),
    "setns": (308, 268),
    "mount": (165, 40),
    "umount2": (166, 39),
    "pivot_root": (155, 41),
    "chroot": (161, 51),
    "open_tree": (428, 428),
    "move_mount": (429, 429),
    "fsopen": (430, 430),
    "open_by_handle_at": (304, 265),
    "init_module": (175, 105),
    "finit_module": (313, 273),
    "delete_module": (176, 106),
    "kexec_load": (246, 104),
    "kexec_file_load": (320, 294),
    "chmod": (90, None),
    "fchmodat": (268, 53),
    "fchmodat2": (452, 452),
    "chown": (92, None),
    "lchown": (94, None),
    "fchownat": (260, 54),
}


def refuse(*, is_network_allowed: bool, may_start_processes: bool) -> None:
    """Refuse the listed calls from now on, in this thread and whatever it starts.

    Needs no_new_privs.

    Raises:
        OSError: an architecture without a table here, or a kernel without seccomp filters.
    """
    machine = platform.machine()
    if machine not in _AUDIT_ARCHITECTURE:
        raise OSError(errno.ENOSYS, f"no system call table for {machine}")
    names = dict(_ALWAYS_REFUSED)
    if not is_network_allowed:
        names |= _SOCKET
    if not may_start_processes:
        names |= _FORK
    column = 0 if machine == "x86_64" else 1
    numbers = [pair[column] for pair in names.values()]
    lines = [
        *_prologue(machine),
        *([] if may_start_processes else _threads_only(machine)),
        *(line for number in numbers if number is not None for line in _refusal(number)),
        (_RETURN, 0, 0, _ALLOW),
    ]
    program = b"".join(struct.pack("=HBBI", *line) for line in lines)
    filters = ctypes.create_string_buffer(program, len(program))
    # struct sock_fprog: a 16-bit count, padding, and the address
    header = struct.pack("@HP", len(lines), ctypes.addressof(filters))
    buffer = ctypes.create_string_buffer(header, len(header))
    kernel.syscall(
        "seccomp",
        _SECCOMP_NUMBER[machine],
        _SECCOMP_SET_MODE_FILTER,
        0,
        ctypes.cast(buffer, ctypes.c_void_p),
    )


_Line = tuple[int, int, int, int]
"""A classic BPF instruction: code, jump if true, jump if false, operand."""


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


def _refusal(number: int) -> list[_Line]:
    return [(_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _REFUSE)]


def _threads_only(machine: str) -> list[_Line]:
    """Clone makes threads only; clone3, whose flags a filter cannot see, is unknown, so that the
    C library falls back to clone.
    """
    return [
        (_JUMP_EQUAL, 0, 1, _CLONE3),
        (_RETURN, 0, 0, _UNKNOWN),
        (_JUMP_EQUAL, 0, 4, _CLONE[machine]),
        (_LOAD_WORD, 0, 0, _OFFSET_FIRST_ARGUMENT),  # the flags' low half: both are little-endian
        (_JUMP_ANY_BIT, 0, 1, _CLONE_THREAD),
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _REFUSE),
    ]
