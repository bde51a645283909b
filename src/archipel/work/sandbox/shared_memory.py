"""Shared memory of a process's own: what lies in `/dev/shm` then is seen by it and what it starts, and goes with the last of them.

Law: nothing of it is seen elsewhere, nor anything of others in it. Source: Linux, mount_namespaces(7), shm_overview(7).
"""

import errno
from collections.abc import Iterable
from pathlib import Path

from archipel.work.sandbox import kernel

PLACE = Path("/dev/shm")  # noqa: S108  which has no other


def own_shared_memory(needed: Iterable[Path]) -> None:
    """Into a mount namespace of our own, with an empty `PLACE`; before capabilities are given up.

    needed: paths that have to be there afterwards.

    Raises:
        OSError: this system allows it to nobody like us, or one of those lies in `PLACE`.
    """
    for path in needed:
        if path.resolve() != PLACE.resolve() and path.resolve().is_relative_to(PLACE.resolve()):
            raise OSError(errno.EBUSY, f"{path} lies in {PLACE}, and would be hidden")
    try:
        kernel.unshare(kernel.CLONE_NEWNS)
    except PermissionError:  # not root: a user namespace makes us root of nothing else
        user = kernel.own_user()
        kernel.unshare(kernel.CLONE_NEWUSER | kernel.CLONE_NEWNS)
        kernel.map_own_user(*user)
    kernel.mount(
        "none", Path("/"), "", kernel.MS_REC | kernel.MS_PRIVATE
    )  # else others see it, too
    kernel.mount("tmpfs", PLACE, "tmpfs", kernel.MS_NOSUID | kernel.MS_NODEV)
