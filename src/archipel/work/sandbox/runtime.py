"""What Python, the dynamic linker and the tensor library read and touch besides the work itself.

Law: public files only. No home directory, no temporary directory, no other process's `/proc`.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

_SYSTEM = (
    "/usr",
    "/lib",
    "/lib64",
    "/bin",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/localtime",
    "/etc/nsswitch.conf",  # with passwd: the name of the user that caches are filed under
    "/etc/passwd",
    "/etc/OpenCL",
    "/etc/fonts",  # read by what draws; a dataset of reasoning-gym imports it
    "/nix/store",
    "/proc/self",  # this process's own; a process it starts has none
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/version",
    "/proc/devices",
    "/proc/driver/nvidia",
    "/proc/sys/vm",
    "/sys/devices",
    "/sys/bus",
    "/sys/class",
    "/sys/module",
    "/sys/fs/cgroup",
    "/sys/kernel/mm",
)
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ACCELERATORS = (
    "nvidia[0-9]*",
    "nvidiactl",
    "nvidia-uvm",
    "nvidia-uvm-tools",
    "nvidia-modeset",
    "nvidia-caps/*",
    "kfd",
    "dri/renderD*",
    "accel/*",
)

PROCESS, THREADS = Path("/proc/self"), Path("/proc/self/task")
"""This process's own: what the system says of it; its threads' names, and what else it may say of itself."""


def readable_paths() -> Iterator[Path]:
    """The interpreter, its packages, this package, and what the system offers everyone."""
    yield from map(Path, _SYSTEM)
    yield from map(Path, (sys.prefix, sys.base_prefix, sys.exec_prefix))
    yield Path(__file__).parents[2]  # the archipel package itself: it may be an editable install
    for entry in sys.path:
        if Path(entry).name in ("site-packages", "dist-packages"):
            yield Path(entry)


def plain_devices() -> Iterator[Path]:
    """Devices that are nobody's data: null and chance."""
    yield from map(Path, _DEVICES)


def device_paths() -> Iterator[Path]:
    """Those, and the accelerators that work is for."""
    yield from plain_devices()
    for pattern in _ACCELERATORS:
        yield from Path("/dev").glob(pattern)
