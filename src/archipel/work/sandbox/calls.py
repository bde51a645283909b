"""System calls by name: their numbers, and which of them are refused when.

A number is (x86_64, aarch64), None where the architecture never had the call. Sources: Linux,
arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h.
"""

from collections.abc import Mapping
from dataclasses import dataclass

Numbers = tuple[int | None, int | None]

SOCKET: Mapping[str, Numbers] = {"socket": (41, 198)}
CONNECT: Mapping[str, Numbers] = {"connect": (42, 203)}
FORK: Mapping[str, Numbers] = {"fork": (57, None), "vfork": (58, None)}
CLONE: Numbers = (56, 220)
CLONE3: Numbers = (435, 435)

TIMES_AND_ATTRIBUTES: Mapping[str, Numbers] = {
    "utime": (132, None),
    "utimes": (235, None),
    "futimesat": (261, None),
    "setxattr": (188, 5),
    "lsetxattr": (189, 6),
    "fsetxattr": (190, 7),
    "setxattrat": (463, 463),
    "removexattr": (197, 14),
    "lremovexattr": (198, 15),
    "fremovexattr": (199, 16),
    "removexattrat": (466, 466),
    "file_setattr": (469, 469),
}
OUTLIVE_THEIR_MAKER: Mapping[str, Numbers] = {
    "shmget": (29, 194),
    "semget": (64, 190),
    "msgget": (68, 186),
    "mq_open": (240, 180),
}
"""Memory and queues that no bound of a process counts, and that stay when it ends."""
ALWAYS: Mapping[str, Numbers] = {
    "io_uring_setup": (425, 425),
    "io_uring_enter": (426, 426),
    "io_uring_register": (427, 427),
    "ptrace": (101, 117),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "process_madvise": (440, 440),
    "process_mrelease": (448, 448),
    "pidfd_getfd": (438, 438),
    "pidfd_send_signal": (424, 424),
    "migrate_pages": (256, 238),
    "move_pages": (279, 239),
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
    "mount_setattr": (442, 442),
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
    **TIMES_AND_ATTRIBUTES,
    **OUTLIVE_THEIR_MAKER,
}
WRITES: Mapping[str, Numbers] = {"truncate": (76, 45), "creat": (85, None)}
"""Refused where nothing is to be written, beside openings for writing."""
OPENINGS: tuple[tuple[str, Numbers, int], ...] = (("open", (2, None), 1), ("openat", (257, 56), 2))
"""(name, number, which argument holds the flags)"""
OPENAT2: Numbers = (437, 437)
"""Its flags lie in memory, where a filter cannot look."""


@dataclass(frozen=True)
class OnlyIf:
    """A call that is allowed only with these arguments."""

    number: Numbers
    words: tuple[tuple[int, int], ...]
    """(half, value): half 2i is the low half of argument i, 2i + 1 its high half."""


_PRIO_PROCESS, _IOPRIO_WHO_PROCESS = 0, 1

OWN_SCHEDULE = OnlyIf((144, 119), ((0, 0),))
"""sched_setscheduler. Where processes may be started and meet over sockets it is passed over for other threads, not refused:
libzmq, by which vLLM's do, sets each of its threads by number to the schedule that it has, and aborts at any error (thread.cpp)."""
OF_ITSELF: tuple[OnlyIf, ...] = (
    OnlyIf((302, 261), ((0, 0),)),  # prlimit64
    OnlyIf((203, 122), ((0, 0),)),  # sched_setaffinity
    OWN_SCHEDULE,
    OnlyIf((142, 118), ((0, 0),)),  # sched_setparam
    OnlyIf((314, 274), ((0, 0),)),  # sched_setattr
    OnlyIf((141, 140), ((0, _PRIO_PROCESS), (2, 0))),  # setpriority
    OnlyIf((251, 30), ((0, _IOPRIO_WHO_PROCESS), (2, 0))),  # ioprio_set
    OnlyIf((280, 88), ((2, 0), (3, 0))),  # utimensat: of a file that is open, not by path
)
"""Allowed on the calling thread itself, which process id 0 stands for; not on any other."""


def of_process(pid: int) -> tuple[OnlyIf, ...]:
    """Signals, allowed from process `pid` to itself only."""
    return (
        OnlyIf((62, 129), ((0, pid),)),  # kill
        OnlyIf((234, 131), ((0, pid),)),  # tgkill
        OnlyIf((129, 138), ((0, pid),)),  # rt_sigqueueinfo
        OnlyIf((297, 240), ((0, pid),)),  # rt_tgsigqueueinfo
        OnlyIf((200, 130), ((0, pid),)),  # tkill
    )
