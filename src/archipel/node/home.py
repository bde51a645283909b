"""A node's home folder: one agent at a time, and what its child may read and write there.

`scratch` (answers), `memory` (the trusted role's checkpoints; what runs keep on a stranger's machine), `replay` (updates that it has to catch up
with), `models`, `blobs` (the cache).
"""

import fcntl
import os
import shutil
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

from archipel.node.lasting import FOLDER, MODE
from archipel.node.patience import NodeFailed
from archipel.node.settings import NodeSettings
from archipel.work.messages import Setup

MODELS_FOLDER, REPLAY_FOLDER = "models", "replay"
MAX_IDLE_MODELS = 8
"""Model directories kept of runs that nothing was asked of since the agent's start."""
PROBE_BYTES = 4096
"""A block: an empty file fits on a full disk."""


@contextmanager
def alone_in(home: Path) -> Iterator[None]:
    """Two agents with one key and one scratch folder would undo each other's work.

    Raises:
        NodeFailed: another agent is there; its lock goes when it ends, however it ends.
    """
    descriptor = os.open(home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        if not isinstance(error, BlockingIOError):  # some network disks know no locks
            raise NodeFailed(
                f"{home} cannot be locked: {error.strerror}; choose a --home on a local disk"
            ) from None
        raise NodeFailed(
            f"another node runs from {home}; stop it, or give this one another --home"
        ) from None
    try:
        yield
    finally:
        os.close(descriptor)


def is_taken(home: Path) -> bool:
    """Whether an agent runs from there now. Raises OSError."""
    try:
        descriptor = os.open(home / "lock", os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def ready_home(settings: NodeSettings, sending: Collection[str]) -> Setup:
    """Make the folders and describe them to a new child.

    The scratch folder is emptied of all but the answers to `sending`, which are on their way.

    Raises:
        OSError: the disk is full, or the folder is not ours; one sentence says what to do.
    """
    scratch, memory, models = (settings.home / n for n in ("scratch", FOLDER, MODELS_FOLDER))
    replay = settings.home / REPLAY_FOLDER
    for folder in (scratch, models, *([replay] if settings.trusted else [])):
        folder.mkdir(parents=True, exist_ok=True)
    memory.mkdir(mode=MODE, parents=True, exist_ok=True)
    for left in scratch.iterdir():
        if left.is_dir() and not left.is_symlink():
            if left.name not in sending:
                shutil.rmtree(left)
        else:
            left.unlink()
    _require_room_in(scratch)
    return setup_of(settings)


def setup_of(settings: NodeSettings) -> Setup:
    """What a child may read and write in a home, as it is told."""
    scratch, memory, models = (settings.home / n for n in ("scratch", FOLDER, MODELS_FOLDER))
    readable = (*settings.readable, settings.home / "blobs", models)
    if settings.trusted:
        readable = (*readable, settings.home / REPLAY_FOLDER)
    return Setup(
        scratch=scratch,
        readable=readable,
        kinds=settings.kinds,
        memory=memory,
        max_lasting_bytes=None if settings.trusted else settings.lasting_bytes,
        threads=settings.threads,
        engine=settings.engine,
        dtype=settings.dtype,
        device=settings.device,
        engines=settings.engines,
        spread=settings.spread,
        max_memory_bytes=settings.memory_bound(),
        max_file_bytes=None if settings.trusted else settings.max_scratch_bytes,
        trusted=settings.trusted,
        network=settings.turns_network,
    )


def hosts_setup(settings: NodeSettings) -> Setup:
    """The trusted role's child that only answers turns: a folder of its own, and no tensor library.

    Raises:
        OSError: the disk is full, or the folder is not ours.
    """
    scratch, models = settings.home / "turns", settings.home / MODELS_FOLDER
    for folder in (scratch, models, settings.home / "blobs"):
        folder.mkdir(parents=True, exist_ok=True)
    return Setup(
        scratch=scratch,
        readable=(*settings.readable, settings.home / "blobs", models),
        kinds=(),
        memory=None,
        threads=1,
        engine="archipel",
        dtype="float32",
        device="cpu",
        max_memory_bytes=settings.memory_bound(),
        max_file_bytes=settings.max_scratch_bytes,
        trusted=True,
        network=settings.turns_network,
    )


def forget_models(models: Path, in_use: Collection[str]) -> None:
    """Remove the directories of runs that are not in use, but for the newest few; the lab has them all."""
    idle = [folder for folder in models.iterdir() if folder.name not in in_use]
    for folder in sorted(idle, key=lambda each: each.stat().st_mtime)[:-MAX_IDLE_MODELS]:
        shutil.rmtree(folder, ignore_errors=True)


def make_empty(folder: Path) -> None:
    """The folder itself stays: a confined child was let into this one, not into its successor.

    Raises:
        OSError: the disk is full or not writable.
    """
    folder.mkdir(exist_ok=True)
    for left in folder.iterdir():
        left.unlink()


def _require_room_in(scratch: Path) -> None:
    """Libraries look for a folder that takes a temporary file, and end the child if there is none."""
    probe = scratch / "probe"
    try:
        probe.write_bytes(bytes(PROBE_BYTES))
    except OSError as error:
        raise OSError(
            f"no temporary file can be written into {scratch} ({error.strerror}); make room on its "
            "disk, or mend it"
        ) from None
    finally:
        probe.unlink(missing_ok=True)
