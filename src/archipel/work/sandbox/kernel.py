"""Linux calls that Python has no name for. Every failure is an OSError that names the call."""

import ctypes
import os
from functools import cache
from pathlib import Path

PR_SET_PDEATHSIG = 1
PR_GET_PDEATHSIG = 2
PR_CAPBSET_DROP = 24
PR_SET_NO_NEW_PRIVS = 38
PR_GET_NO_NEW_PRIVS = 39
CLONE_NEWNS = 0x00020000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000
MS_NOSUID, MS_NODEV, MS_REC, MS_PRIVATE = 0x2, 0x4, 0x4000, 0x40000

_CAPABILITY_VERSION_3 = 0x20080522
_MAX_CAPABILITY = 63


def syscall(name: str, number: int, *arguments: int | ctypes.c_void_p) -> int:
    """Call system call `number`; integers are passed as 64-bit words."""
    words = [ctypes.c_long(a) if isinstance(a, int) else a for a in arguments]
    return _checked(name, _libc().syscall(ctypes.c_long(number), *words))


def prctl(option: int, argument: int = 0) -> int:
    """`prctl(option, argument, 0, 0, 0)`."""
    words = [ctypes.c_ulong(word) for word in (argument, 0, 0, 0)]
    return _checked(f"prctl({option})", _libc().prctl(option, *words))


def parent_death_signal() -> int:
    """The signal this process gets when its parent dies; 0 for none."""
    signal = ctypes.c_int()
    _checked("prctl(2)", _libc().prctl(PR_GET_PDEATHSIG, ctypes.byref(signal), 0, 0, 0))
    return signal.value


def advise(start: ctypes.c_void_p, num_bytes: int, advice: int) -> None:
    """`madvise`: what is to become of `num_bytes` of this process's memory from `start`."""
    _checked("madvise", _libc().madvise(start, ctypes.c_size_t(num_bytes), advice))


def unshare(flags: int) -> None:
    """Leave the namespaces named by `flags` for new ones."""
    _checked("unshare", _libc().unshare(flags))


def mount(source: str, target: Path, kind: str, flags: int) -> None:
    """`mount`, without data; seen in this process's mount namespace."""
    words = [each.encode() for each in (source, str(target), kind)]
    _checked("mount", _libc().mount(*words, ctypes.c_ulong(flags), None))


def drop_capabilities() -> None:
    """Give up every capability, for this process and whatever it starts."""
    for capability in range(_MAX_CAPABILITY + 1):
        try:
            prctl(PR_CAPBSET_DROP, capability)
        except OSError:  # unknown to this kernel, or we may not: then no_new_privs bounds us
            break
    header = (ctypes.c_uint32 * 2)(_CAPABILITY_VERSION_3, 0)
    nothing = (ctypes.c_uint32 * 6)()
    _checked("capset", _libc().capset(header, nothing))


def own_user() -> tuple[int, int]:
    """(user, group), to be asked before a user namespace has other numbers for them."""
    return os.geteuid(), os.getegid()


def map_own_user(uid: int, gid: int) -> None:
    """In a new user namespace, stay who we were."""
    for name, text in [
        ("setgroups", "deny"),
        ("uid_map", f"{uid} {uid} 1"),
        ("gid_map", f"{gid} {gid} 1"),
    ]:
        descriptor = os.open(f"/proc/self/{name}", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)


@cache
def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _checked(name: str, result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{name}: {os.strerror(number)}")
    return result
